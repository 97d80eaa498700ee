//! A topic's records in the order in which they count: each writer's by its sequence, once, and
//! none of a writer that was replaced (I5, I24). Written one record at a time, from the rules
//! alone: a repeat is left out, what comes too early waits for what is missing, an older epoch is
//! left out.

use std::collections::{BTreeMap, VecDeque};

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Offset, ReadBatch};
use hongbao_schemas::journal::Fact;

use crate::report::{At, Invariant, Report};

/// Bytes read at a time.
const READ_BYTES: usize = 4 << 20;

/// A record that counts.
#[derive(Clone, Copy, Debug)]
pub struct Record<'r> {
    /// Where it stands.
    pub offset: Offset,
    /// Who wrote it; empty for producers.
    pub source: &'r str,
    /// The writer's epoch.
    pub epoch: u32,
    /// Its number within source and epoch, from 1; 0 when not numbered.
    pub seq: u64,
    /// What it says.
    pub bytes: &'r [u8],
}

/// How far one writer was followed.
#[derive(Debug, Default)]
struct Writer {
    epoch: u32,
    /// Last sequence that counted.
    mark: u64,
    /// Early records by epoch and sequence.
    early: BTreeMap<(u32, u64), Held>,
    /// Where the records of this epoch stand: first sequence, first offset, count.
    runs: Vec<(u64, Offset, u64)>,
}

/// A record kept beyond its batch.
#[derive(Debug, Default)]
struct Held {
    offset: Offset,
    source: String,
    epoch: u32,
    seq: u64,
    bytes: Vec<u8>,
}

/// Reads one topic of one partition from its beginning.
pub struct Stream<'a> {
    log: &'a dyn Log,
    partition: Partition,
    topic: String,
    batch: ReadBatch,
    frame: usize,
    place: usize,
    next_read: Offset,
    writers: BTreeMap<String, Writer>,
    released: VecDeque<Held>,
    current: Held,
    /// Records that counted and had a sequence.
    pub numbered: u64,
    /// Records left out since their writer had been replaced.
    pub outdated: u64,
}

/// What becomes of a record.
enum Fate {
    Counts,
    Waits,
    Repeats,
    Outdated,
}

impl<'a> Stream<'a> {
    /// A stream at the first record of a topic.
    ///
    /// # Errors
    /// [`LogError`]; `OutOfRange` when the beginning was trimmed: it cannot be folded then.
    pub fn open(log: &'a dyn Log, partition: Partition, topic: &str) -> Result<Self, LogError> {
        let (start, end) = log.range(partition, topic)?;
        if start > 0 {
            let topic = topic.to_owned();
            return Err(LogError::OutOfRange { topic, partition: partition.0, offset: 0, start, end });
        }
        Ok(Self {
            log,
            partition,
            topic: topic.to_owned(),
            batch: ReadBatch::new(),
            frame: 0,
            place: 0,
            next_read: 0,
            writers: BTreeMap::new(),
            released: VecDeque::new(),
            current: Held::default(),
            numbered: 0,
            outdated: 0,
        })
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// End of what can be read.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn end(&self) -> Result<Offset, LogError> {
        Ok(self.log.range(self.partition, &self.topic)?.1)
    }

    /// A place in the topic, to be printed.
    #[must_use]
    pub fn at(&self, offset: Offset) -> At<'_> {
        At(&self.topic, self.partition, offset)
    }

    /// Epoch and last sequence of each writer.
    pub fn marks(&self) -> impl Iterator<Item = (&str, u32, u64)> {
        self.writers.iter().map(|(source, writer)| (source.as_str(), writer.epoch, writer.mark))
    }

    /// The next record that counts among those below an offset; `None` when there is none.
    ///
    /// # Errors
    /// [`LogError`]; `Corrupt` when the partition cannot be read (I26).
    pub fn next(&mut self, below: Offset, report: &mut Report) -> Result<Option<Record<'_>>, LogError> {
        if let Some(held) = self.released.pop_front() {
            self.current = held;
            return Ok(Some(self.current.view()));
        }
        let found = loop {
            if !self.fill(below)? {
                return Ok(None);
            }
            let place = (self.frame, self.place);
            self.place += 1;
            if self.admit(place, report)? {
                break place;
            }
        };
        Ok(record_at(&self.batch, found))
    }

    /// Sees to it that the next record is in the batch; false when it is not below the offset.
    fn fill(&mut self, below: Offset) -> Result<bool, LogError> {
        loop {
            while let Some(frame) = self.batch.get(self.frame) {
                if self.place < frame.len() {
                    return Ok(frame.first_offset() + (self.place as u64) < below);
                }
                (self.frame, self.place) = (self.frame + 1, 0);
            }
            if self.next_read >= below {
                return Ok(false);
            }
            self.log.read(self.partition, &self.topic, self.next_read, READ_BYTES, &mut self.batch)?;
            (self.frame, self.place) = (0, 0);
            match self.batch.next_offset() {
                Some(next) => self.next_read = next,
                None => return Ok(false),
            }
        }
    }

    /// Whether the record counts now.
    fn admit(&mut self, place: (usize, usize), report: &mut Report) -> Result<bool, LogError> {
        let Some(record) = record_at(&self.batch, place) else { return Ok(false) };
        if record.seq == 0 {
            return Ok(true);
        }
        if !self.writers.contains_key(record.source) {
            self.writers.insert(record.source.to_owned(), Writer::default());
        }
        let Some(writer) = self.writers.get_mut(record.source) else { return Ok(false) };
        match writer.fate(record.epoch, record.seq) {
            Fate::Counts => {
                self.numbered += 1;
                writer.count(record.epoch, record.seq, record.offset);
                self.numbered += writer.release(&mut self.released);
                return Ok(true);
            }
            Fate::Waits => {
                writer.early.insert((record.epoch, record.seq), Held::of(&record));
            }
            Fate::Repeats => {
                let at = At(&self.topic, self.partition, record.offset);
                if let Some(first) = writer.offset_of(record.seq) {
                    compare_repeat(self.log, (at, first), &record, report)?;
                }
            }
            Fate::Outdated => self.outdated += 1,
        }
        Ok(false)
    }

    /// Tells what is still missing. To call when all was read.
    pub fn finish(&self, report: &mut Report) {
        report.checked(Invariant::I5, "records in sequence", self.numbered);
        report.checked(Invariant::I24, "records of older epochs", self.outdated);
        for (source, writer) in &self.writers {
            let Some(((epoch, seq), held)) = writer.early.first_key_value() else { continue };
            let expected = if *epoch == writer.epoch { writer.mark + 1 } else { 1 };
            let at = self.at(held.offset);
            report.find(
                Invariant::I5,
                format_args!("{at}: {source} wrote {seq} of epoch {epoch}, and {expected} is missing"),
            );
        }
    }
}

fn record_at(batch: &ReadBatch, (frame, place): (usize, usize)) -> Option<Record<'_>> {
    let frame = batch.get(frame)?;
    let envelope = frame.envelope();
    let ahead = place as u64;
    Some(Record {
        offset: frame.first_offset() + ahead,
        source: envelope.source,
        epoch: envelope.epoch,
        seq: if envelope.first_seq == 0 { 0 } else { envelope.first_seq + ahead },
        bytes: frame.get(place)?,
    })
}

/// A repeat says what was said before, but for two writers that opened the same epoch: the first
/// one won, and the other tries a higher one.
fn compare_repeat(
    log: &dyn Log,
    (at, first): (At<'_>, Offset),
    record: &Record<'_>,
    report: &mut Report,
) -> Result<(), LogError> {
    let mut batch = ReadBatch::new();
    log.read(at.1, at.0, first, 1, &mut batch)?;
    let before = batch.get(0).and_then(|frame| frame.get(0));
    let is_race =
        record.epoch > 0 && record.seq == 1 && matches!(Fact::decode(record.bytes), Ok(Fact::Opened(_)));
    if before != Some(record.bytes) && !is_race {
        let (source, seq) = (record.source, record.seq);
        report.find(Invariant::I4, format_args!("{at}: {source} wrote {seq} again, other than at {first}"));
    }
    Ok(())
}

impl Writer {
    fn fate(&self, epoch: u32, seq: u64) -> Fate {
        let next = if epoch == self.epoch { self.mark + 1 } else { 1 };
        match (epoch < self.epoch, seq.cmp(&next)) {
            (true, _) => Fate::Outdated,
            (false, std::cmp::Ordering::Less) => Fate::Repeats,
            (false, std::cmp::Ordering::Equal) => Fate::Counts,
            (false, std::cmp::Ordering::Greater) => Fate::Waits,
        }
    }

    fn count(&mut self, epoch: u32, seq: u64, offset: Offset) {
        if epoch != self.epoch {
            self.runs.clear();
        }
        (self.epoch, self.mark) = (epoch, seq);
        match self.runs.last_mut() {
            Some((first, at, count)) if *first + *count == seq && *at + *count == offset => *count += 1,
            _ => self.runs.push((seq, offset, 1)),
        }
    }

    /// Gives out what waited and can go on now; returns how many records.
    fn release(&mut self, released: &mut VecDeque<Held>) -> u64 {
        let mut count = 0;
        while let Some(first) = self.early.first_entry() {
            let (epoch, seq) = *first.key();
            match self.fate(epoch, seq) {
                Fate::Waits => break,
                Fate::Repeats | Fate::Outdated => drop(self.early.pop_first()),
                Fate::Counts => {
                    let Some((_, held)) = self.early.pop_first() else { break };
                    self.count(epoch, seq, held.offset);
                    released.push_back(held);
                    count += 1;
                }
            }
        }
        count
    }

    /// Where a record that counted stands.
    fn offset_of(&self, seq: u64) -> Option<Offset> {
        let run = self.runs.partition_point(|(first, ..)| *first <= seq).checked_sub(1)?;
        let (first, at, _) = self.runs.get(run)?;
        Some(at + (seq - first))
    }
}

impl Held {
    fn of(record: &Record<'_>) -> Self {
        let Record { offset, source, epoch, seq, bytes } = *record;
        Self { offset, source: source.to_owned(), epoch, seq, bytes: bytes.to_vec() }
    }

    fn view(&self) -> Record<'_> {
        let Self { offset, source, epoch, seq, bytes } = self;
        Record { offset: *offset, source, epoch: *epoch, seq: *seq, bytes }
    }
}
