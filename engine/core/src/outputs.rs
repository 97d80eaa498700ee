//! What a fold wrote: appended once, with consecutive sequences per topic, however often the fold
//! is run again.
//!
//! After a crash the log may hold outputs behind the committed sequences. A restarted fold makes
//! them again; what it makes is compared with what is there, and only what is missing is appended
//! (I4, I5). A difference stops the partition: two logics would both have told their story.

use std::sync::Arc;

use crate::log::{Log, LogError, Position};
use crate::mutant;
use crate::partition::Partition;
use crate::processor::{OutputTopic, Outputs};
use crate::records::{Envelope, Frame, FrameRef, Offset, ReadBatch};
use crate::store::Rows;

/// Kind of the rows that keep output sequences: `~s` and the topic.
pub const SEQUENCE_ROWS: [u8; 2] = *b"~s";

/// Bytes read at a time when outputs are compared.
const REPLAY_READ_BYTES: usize = 1 << 20;

/// The outputs of one task. See the [module](self).
pub struct OutputLog {
    log: Arc<dyn Log>,
    partition: Partition,
    source: String,
    outputs: Outputs,
    /// What is kept besides [`Outputs`], by topic in the same order.
    tails: Vec<Tail>,
    position: Position,
}

/// What is known of one topic besides its sequence.
struct Tail {
    /// No own record at or behind the next sequence lies below this offset.
    search_from: Offset,
    replay: Option<Box<Replay>>,
}

/// Reads own records behind the committed sequence back from a topic.
struct Replay {
    next_offset: Offset,
    /// End of the topic when the task was opened: what is behind it this task appended itself.
    end: Offset,
    /// Whether own records may have been trimmed: they were there, but cannot be compared.
    trimmed: bool,
    batch: ReadBatch,
    frame: usize,
}

/// What a flush came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is in the log or submitted to it.
    All,
    /// The log is full; everything is kept for the next flush.
    LogFull,
}

/// Why outputs cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log holds another record than the one the fold makes: the fold's logic has changed, its
    /// input has, or it is no pure function of it (I4).
    #[error("{topic}/{partition} holds another record at offset {offset} (sequence {seq}) than is made now")]
    Differs {
        /// Output topic.
        topic: String,
        /// Partition.
        partition: u16,
        /// Sequence of the record.
        seq: u64,
        /// Its offset.
        offset: Offset,
    },
    /// The log holds outputs whose input it does not hold.
    #[error("{topic}/{partition} holds sequence {seq} at offset {offset}, but the input for it is not there")]
    Ahead {
        /// Output topic.
        topic: String,
        /// Partition.
        partition: u16,
        /// First sequence that the fold does not make.
        seq: u64,
        /// Its offset.
        offset: Offset,
    },
    /// All own records of a topic were trimmed, so that it is unknown which of them there were.
    #[error("the records of {source_name} in {topic}/{partition} were trimmed below offset {start}")]
    Trimmed {
        /// The writer.
        source_name: String,
        /// Output topic.
        topic: String,
        /// Partition.
        partition: u16,
        /// First offset kept.
        start: Offset,
    },
    /// The log ends before what could be read of it at the last commit: it lost what was durable, or is
    /// another log.
    #[error("{topic}/{partition} could be read up to offset {readable}, but the log ends at {log_end}")]
    Lost {
        /// Output topic.
        topic: String,
        /// Partition.
        partition: u16,
        /// Its end at the last commit.
        readable: Offset,
        /// Its end now.
        log_end: Offset,
    },
    /// A stored sequence cannot be read.
    #[error("the stored sequence of {0:?} is damaged")]
    Row(String),
}

impl OutputLog {
    /// Outputs that start at sequence 1 in each of `topics`.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, partition: Partition, source: &str, topics: &[&str]) -> Self {
        let mut outputs = Outputs::new();
        for topic in topics {
            outputs.topic(topic);
        }
        let source = source.to_owned();
        Self { log, partition, source, outputs, tails: Vec::new(), position: Position::default() }
    }

    /// Takes over stored rows, their keys without the kind. Topics that are not registered yet are,
    /// in the order of the rows. Then looks up where the topics end.
    ///
    /// # Errors
    /// [`OutputError::Row`], [`OutputError::Lost`], [`OutputError::Log`].
    pub fn load(&mut self, rows: &Rows) -> Result<(), OutputError> {
        let mut stored = Vec::new();
        for (topic, value) in rows.iter() {
            let damaged = || OutputError::Row(String::from_utf8_lossy(topic).into_owned());
            let name = std::str::from_utf8(topic).map_err(|_| damaged())?;
            let (seq, search_from) = value.and_then(<[u8]>::split_first_chunk::<8>).ok_or_else(damaged)?;
            let search_from: [u8; 8] = search_from.try_into().map_err(|_| damaged())?;
            self.outputs.topic(name);
            for known in self.outputs.topics_mut().iter_mut().filter(|known| &*known.name == name) {
                known.first_seq = if mutant!(M09) { 1 } else { u64::from_le_bytes(*seq) };
            }
            stored.push((name, u64::from_le_bytes(search_from)));
        }
        for index in 0..self.outputs.topics().len() {
            let name = &self.outputs.topics()[index].name;
            let known = stored.iter().find(|(topic, _)| topic == &&**name);
            let tail = self.find_tail(index, known.map_or(0, |(_, search_from)| *search_from))?;
            self.tails.push(tail);
        }
        Ok(())
    }

    /// Adds all sequences to `rows`. Only when everything is [flushed](Self::flush).
    ///
    /// # Errors
    /// [`OutputError::Log`].
    pub fn save(&mut self, rows: &mut Rows) -> Result<(), OutputError> {
        for (topic, tail) in self.outputs.topics().iter().zip(&mut self.tails) {
            if tail.replay.is_none() {
                // Whatever is appended from now on gets an offset at or behind the readable end.
                let (_, end) = self.log.range(self.partition, &topic.name)?;
                tail.search_from = tail.search_from.max(end);
            }
            let mut value = [0; 16];
            value[..8].copy_from_slice(&topic.first_seq.to_le_bytes());
            value[8..].copy_from_slice(&tail.search_from.to_le_bytes());
            rows.put(&[&SEQUENCE_ROWS, topic.name.as_bytes()].concat(), &value);
        }
        Ok(())
    }

    /// The buffers that a fold writes to. They are empty after a full [`Self::flush`].
    pub fn outputs_mut(&mut self) -> &mut Outputs {
        &mut self.outputs
    }

    /// Everything flushed so far is durable once [`Log::durable`] has reached this.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Compares what was written with what is in the log and appends what is missing as one group.
    ///
    /// # Errors
    /// Any of [`OutputError`] but [`OutputError::Row`] and [`OutputError::Ahead`]; the outputs are
    /// of no use after it.
    pub fn flush(&mut self) -> Result<Flushed, OutputError> {
        // Topics that the fold has named since the task was opened.
        while self.tails.len() < self.outputs.topics().len() {
            let tail = self.find_tail(self.tails.len(), 0)?;
            self.tails.push(tail);
        }
        for (topic, tail) in self.outputs.topics_mut().iter_mut().zip(&mut self.tails) {
            let Some(replay) = tail.replay.as_mut().filter(|_| !topic.records.is_empty()) else { continue };
            let reader = Reader { log: &*self.log, partition: self.partition, source: &self.source };
            let there = replay.compare(&reader, topic, &mut tail.search_from)?;
            if there < topic.records.len() {
                tail.replay = None;
            }
            topic.first_seq += there as u64;
            topic.records.drop_front(there);
        }
        self.append()
    }

    /// Checks that the log holds no output behind those that were made. To call when the whole
    /// input that was there when the task was opened has been applied and flushed; again, after
    /// [`OutputError::Ahead`], with more of it.
    ///
    /// # Errors
    /// [`OutputError::Ahead`], [`OutputError::Log`].
    pub fn check_none_ahead(&mut self) -> Result<(), OutputError> {
        for (topic, tail) in self.outputs.topics().iter().zip(&mut self.tails) {
            let Some(replay) = tail.replay.as_mut() else { continue };
            let reader = Reader { log: &*self.log, partition: self.partition, source: &self.source };
            let (seq, offset) = match replay.find(&reader, topic, topic.first_seq)? {
                Found::End => {
                    tail.replay = None;
                    continue;
                }
                Found::TrimmedBelow(frame) | Found::Record(frame) => {
                    (frame.envelope().first_seq, frame.first_offset())
                }
            };
            let topic = topic.name.to_string();
            return Err(OutputError::Ahead { topic, partition: self.partition.0, seq, offset });
        }
        Ok(())
    }

    fn find_tail(&self, index: usize, search_from: Offset) -> Result<Tail, OutputError> {
        let name = &self.outputs.topics()[index].name;
        let (start, end) = self.log.range(self.partition, name)?;
        // Others write there too: sinks tell in the journal what was sent (I14).
        if end < search_from && !mutant!(M94) {
            let (topic, partition) = (name.to_string(), self.partition.0);
            return Err(OutputError::Lost { topic, partition, readable: search_from, log_end: end });
        }
        let replay = Replay {
            next_offset: search_from.max(start),
            end,
            trimmed: start > search_from,
            batch: ReadBatch::new(),
            frame: 0,
        };
        let replay = (replay.next_offset < end || replay.trimmed).then(|| Box::new(replay));
        Ok(Tail { search_from, replay })
    }

    fn append(&mut self) -> Result<Flushed, OutputError> {
        let topics = self.outputs.topics_mut();
        let source = &self.source;
        let frames = topics.iter().filter(|topic| !topic.records.is_empty()).map(|topic| Frame {
            topic: &topic.name,
            envelope: Envelope { source, epoch: 0, first_seq: topic.first_seq },
            records: &topic.records,
        });
        let mut group: Vec<Frame<'_>> = frames.collect();
        if group.is_empty() {
            return Ok(Flushed::All);
        }
        let alone = if mutant!(M15) { group.split_off(1) } else { Vec::new() };
        for frame in alone.iter().rev() {
            self.log.append(self.partition, std::slice::from_ref(frame))?;
        }
        let appended = match self.log.append(self.partition, &group) {
            Ok(appended) => appended,
            Err(LogError::Full(_)) => return Ok(Flushed::LogFull),
            Err(error) => return Err(error.into()),
        };
        self.position = appended.position;
        for topic in topics {
            topic.first_seq += topic.records.len() as u64;
            topic.records.clear();
        }
        Ok(Flushed::All)
    }
}

/// Where and whose records a [`Replay`] reads.
struct Reader<'a> {
    log: &'a dyn Log,
    partition: Partition,
    source: &'a str,
}

enum Found<'a> {
    /// The own records from the wanted sequence on.
    Record(FrameRef<'a>),
    /// The wanted record and those up to these were trimmed.
    TrimmedBelow(FrameRef<'a>),
    /// There are no more own records.
    End,
}

impl Replay {
    /// Compares the records of `topic` with those in the log and returns how many of them, from
    /// the first on, are there.
    fn compare(
        &mut self,
        reader: &Reader<'_>,
        topic: &OutputTopic,
        search_from: &mut Offset,
    ) -> Result<usize, OutputError> {
        let mut there = 0;
        while there < topic.records.len() {
            let seq = topic.first_seq + there as u64;
            match self.find(reader, topic, seq)? {
                Found::End if mutant!(M10) => there = topic.records.len(),
                Found::End => break,
                Found::TrimmedBelow(frame) => {
                    let trimmed = frame.envelope().first_seq - topic.first_seq;
                    there = topic.records.len().min(trimmed as usize);
                }
                Found::Record(frame) => {
                    let count = compare_frame(reader, topic, there, frame)?;
                    there += count;
                    *search_from = frame.first_offset() + count as u64;
                }
            }
        }
        Ok(there)
    }

    /// Looks for the own record with sequence `seq`, from where the last one was found on. Frames
    /// above it are passed over: whoever left a gap wrote them again behind it.
    fn find(&mut self, reader: &Reader<'_>, topic: &OutputTopic, seq: u64) -> Result<Found<'_>, OutputError> {
        loop {
            if let Some(found) = self.find_in_batch(reader, seq) {
                let Some(frame) = self.batch.get(self.frame) else { return Ok(Found::End) };
                return Ok(match found {
                    InBatch::TrimmedBelow => Found::TrimmedBelow(frame),
                    InBatch::At { skip } => Found::Record(frame.skipping(skip)),
                });
            }
            if self.next_offset >= self.end {
                return self.end_of(reader, topic);
            }
            reader.log.read(
                reader.partition,
                &topic.name,
                self.next_offset,
                REPLAY_READ_BYTES,
                &mut self.batch,
            )?;
            self.frame = 0;
            self.next_offset = self.batch.next_offset().unwrap_or(self.end);
        }
    }

    fn find_in_batch(&mut self, reader: &Reader<'_>, seq: u64) -> Option<InBatch> {
        // What came behind the end is this task's own, or another process's: its input is there as well.
        while let Some(frame) = self.batch.get(self.frame).filter(|frame| frame.first_offset() < self.end) {
            let envelope = frame.envelope();
            let own = envelope.source == reader.source && envelope.first_seq > 0;
            if own && self.trimmed && envelope.first_seq > seq {
                return Some(InBatch::TrimmedBelow);
            }
            if own && envelope.first_seq <= seq && seq < envelope.first_seq + frame.len() as u64 {
                self.trimmed = false;
                return Some(InBatch::At { skip: (seq - envelope.first_seq) as usize });
            }
            self.frame += 1;
        }
        None
    }

    fn end_of(&self, reader: &Reader<'_>, topic: &OutputTopic) -> Result<Found<'static>, OutputError> {
        if !self.trimmed {
            return Ok(Found::End);
        }
        let (start, _) = reader.log.range(reader.partition, &topic.name)?;
        Err(OutputError::Trimmed {
            source_name: reader.source.to_owned(),
            topic: topic.name.to_string(),
            partition: reader.partition.0,
            start,
        })
    }
}

enum InBatch {
    At { skip: usize },
    TrimmedBelow,
}

/// Compares the records of `topic` from index `from` on with those of `frame`. Returns how many
/// were compared.
fn compare_frame(
    reader: &Reader<'_>,
    topic: &OutputTopic,
    from: usize,
    frame: FrameRef<'_>,
) -> Result<usize, OutputError> {
    let mut count = 0;
    for (offset, existing) in frame.records() {
        let Some(made) = topic.records.get(from + count) else { break };
        if made != existing {
            return Err(OutputError::Differs {
                topic: topic.name.to_string(),
                partition: reader.partition.0,
                seq: topic.first_seq + (from + count) as u64,
                offset,
            });
        }
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests;
