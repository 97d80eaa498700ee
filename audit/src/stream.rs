//! A topic's records in the order in which they count: each writer's by its sequence, once, and
//! none of a writer that was replaced (I5, I24). Written from the rules alone: a repeat is left out,
//! a frame that comes too early waits for what is missing, an older epoch is left out. A frame
//! counts as a whole, and what waited for it comes behind it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{FrameRef, Offset, OwnedFrame, ReadBatch};
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
    /// Early frames by epoch and first sequence.
    early: BTreeMap<(u32, u64), OwnedFrame>,
    /// Where the records of this epoch stand: first sequence, first offset, count.
    runs: Vec<(u64, Offset, u64)>,
}

/// The frame whose records come next.
#[derive(Clone, Copy, Debug)]
enum Current {
    /// Of the batch.
    Read(usize),
    /// It waited, and is the first of those released.
    Released,
}

/// Reads one topic of one partition from its beginning.
pub struct Stream<'a> {
    log: &'a dyn Log,
    partition: Partition,
    topic: String,
    batch: ReadBatch,
    /// Frame of the batch that is looked at next.
    frame: usize,
    next_read: Offset,
    current: Option<Current>,
    /// Record of the current frame that comes next.
    place: usize,
    writers: BTreeMap<String, Writer>,
    /// Frames that waited, each with the number of records that had counted before.
    released: VecDeque<(OwnedFrame, usize)>,
    /// From which record to which other frames waited.
    waits: Vec<Range<Offset>>,
    /// Records that counted and had a sequence.
    pub numbered: u64,
    /// Records left out since their writer had been replaced.
    pub outdated: u64,
}

/// What becomes of a frame.
enum Fate {
    /// It counts, without its first records.
    Counts(usize),
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
            next_read: 0,
            current: None,
            place: 0,
            writers: BTreeMap::new(),
            released: VecDeque::new(),
            waits: Vec::new(),
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

    /// The first record that waits where a fold has read the topic up to `offset` and no further:
    /// it would be missing for whoever goes on from there.
    #[must_use]
    pub fn waiting_at(&self, offset: Offset) -> Option<Offset> {
        let waits = |range: &&Range<Offset>| range.start < offset && offset <= range.end;
        let early = self.writers.values().flat_map(|writer| writer.early.values());
        let early = early.map(|frame| frame.first_offset).filter(|first| *first < offset);
        self.waits.iter().find(waits).map(|range| range.start).or_else(|| early.min())
    }

    /// The next record that counts among those below an offset; `None` when there is none.
    ///
    /// # Errors
    /// [`LogError`]; `Corrupt` when the partition cannot be read (I26).
    pub fn next(&mut self, below: Offset, report: &mut Report) -> Result<Option<Record<'_>>, LogError> {
        while !self.has_current() {
            if !self.fill(below)? {
                return Ok(None);
            }
            let index = self.frame;
            self.frame += 1;
            self.admit(index, report)?;
        }
        let place = self.place;
        let frame = match self.current {
            Some(Current::Read(index)) => {
                self.batch.get(index).filter(|frame| frame.first_offset() + (place as u64) < below)
            }
            Some(Current::Released) => self.released.front().map(|(frame, _)| frame.view()),
            None => None,
        };
        self.place += usize::from(frame.is_some());
        Ok(frame.and_then(|frame| record_of(frame, place)))
    }

    /// Whether the current frame has another record; goes on to what waited for it if not.
    fn has_current(&mut self) -> bool {
        loop {
            let len = match self.current {
                Some(Current::Read(index)) => self.batch.get(index).map_or(0, |frame| frame.len()),
                Some(Current::Released) => self.released.front().map_or(0, |(frame, _)| frame.ends.len()),
                None => return false,
            };
            if self.place < len {
                return true;
            }
            if matches!(self.current, Some(Current::Released)) {
                self.released.pop_front();
            }
            self.current = self.released.front().map(|_| Current::Released);
            self.place = self.released.front().map_or(0, |(_, skip)| *skip);
        }
    }

    /// Sees to it that the next frame is in the batch; false when it is not below the offset.
    fn fill(&mut self, below: Offset) -> Result<bool, LogError> {
        loop {
            if let Some(frame) = self.batch.get(self.frame) {
                return Ok(frame.first_offset() < below);
            }
            if self.next_read >= below {
                return Ok(false);
            }
            self.log.read(self.partition, &self.topic, self.next_read, READ_BYTES, &mut self.batch)?;
            self.frame = 0;
            match self.batch.next_offset() {
                Some(next) => self.next_read = next,
                None => return Ok(false),
            }
        }
    }

    /// Decides on a frame of the batch.
    fn admit(&mut self, index: usize, report: &mut Report) -> Result<(), LogError> {
        let Some(frame) = self.batch.get(index) else { return Ok(()) };
        let envelope = frame.envelope();
        if envelope.first_seq == 0 {
            (self.current, self.place) = (Some(Current::Read(index)), 0);
            return Ok(());
        }
        if !self.writers.contains_key(envelope.source) {
            self.writers.insert(envelope.source.to_owned(), Writer::default());
        }
        let Some(writer) = self.writers.get_mut(envelope.source) else { return Ok(()) };
        let at = (self.topic.as_str(), self.partition);
        match writer.fate(envelope.epoch, envelope.first_seq, frame.len()) {
            Fate::Counts(skip) => {
                writer.compare(self.log, at, frame, skip, report)?;
                writer.count(frame, skip);
                self.numbered += (frame.len() - skip) as u64;
                (self.current, self.place) = (Some(Current::Read(index)), skip);
                let end = frame.first_offset() + frame.len() as u64 - 1;
                for (waited, skip) in writer.release() {
                    self.waits.push(waited.first_offset..end);
                    writer.compare(self.log, at, waited.view(), skip.unwrap_or(waited.ends.len()), report)?;
                    let Some(skip) = skip else { continue };
                    self.numbered += (waited.ends.len() - skip) as u64;
                    self.released.push_back((waited, skip));
                }
            }
            Fate::Waits => {
                let place = (envelope.epoch, envelope.first_seq);
                // The same records again, perhaps cut longer: the longer frame is kept.
                let known = writer.early.get(&place).map_or(0, |known| known.ends.len());
                if known < frame.len() {
                    writer.early.insert(place, frame.to_owned_frame());
                }
            }
            Fate::Repeats => writer.compare(self.log, at, frame, frame.len(), report)?,
            Fate::Outdated => self.outdated += frame.len() as u64,
        }
        Ok(())
    }

    /// Tells what is still missing. To call when all was read.
    pub fn finish(&self, report: &mut Report) {
        report.checked(Invariant::I5, "records in sequence", self.numbered);
        report.checked(Invariant::I24, "records of older epochs", self.outdated);
        for (source, writer) in &self.writers {
            let Some(((epoch, seq), held)) = writer.early.first_key_value() else { continue };
            let expected = if *epoch == writer.epoch { writer.mark + 1 } else { 1 };
            let at = self.at(held.first_offset);
            report.find(
                Invariant::I5,
                format_args!("{at}: {source} wrote {seq} of epoch {epoch}, and {expected} is missing"),
            );
        }
    }
}

fn record_of(frame: FrameRef<'_>, place: usize) -> Option<Record<'_>> {
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
    fn fate(&self, epoch: u32, first_seq: u64, count: usize) -> Fate {
        let next = if epoch == self.epoch { self.mark + 1 } else { 1 };
        if epoch < self.epoch {
            Fate::Outdated
        } else if first_seq > next {
            Fate::Waits
        } else if first_seq + count as u64 <= next {
            Fate::Repeats
        } else {
            Fate::Counts((next - first_seq) as usize)
        }
    }

    fn count(&mut self, frame: FrameRef<'_>, skip: usize) {
        let envelope = frame.envelope();
        if envelope.epoch != self.epoch {
            self.runs.clear();
        }
        let (first_seq, first) = (envelope.first_seq + skip as u64, frame.first_offset() + skip as u64);
        let count = (frame.len() - skip) as u64;
        (self.epoch, self.mark) = (envelope.epoch, first_seq + count - 1);
        match self.runs.last_mut() {
            Some((seq, at, known)) if *seq + *known == first_seq && *at + *known == first => *known += count,
            _ => self.runs.push((first_seq, first, count)),
        }
    }

    /// Gives out what waited and waits no more, in its order, each with the number of records that
    /// had counted before; none for what had counted as a whole.
    fn release(&mut self) -> Vec<(OwnedFrame, Option<usize>)> {
        let mut released = Vec::new();
        while let Some((&(epoch, first_seq), first)) = self.early.first_key_value() {
            let skip = match self.fate(epoch, first_seq, first.ends.len()) {
                Fate::Waits => break,
                Fate::Repeats => None,
                Fate::Outdated => {
                    self.early.pop_first();
                    continue;
                }
                Fate::Counts(skip) => Some(skip),
            };
            let Some((_, frame)) = self.early.pop_first() else { break };
            if let Some(skip) = skip {
                self.count(frame.view(), skip);
            }
            released.push((frame, skip));
        }
        released
    }

    /// The first records of a frame say what they said where they counted (I4).
    fn compare(
        &self,
        log: &dyn Log,
        (topic, partition): (&str, Partition),
        frame: FrameRef<'_>,
        count: usize,
        report: &mut Report,
    ) -> Result<(), LogError> {
        for place in 0..count {
            let Some(record) = record_of(frame, place) else { continue };
            if record.epoch != self.epoch {
                continue;
            }
            if let Some(first) = self.offset_of(record.seq) {
                compare_repeat(log, (At(topic, partition, record.offset), first), &record, report)?;
            }
        }
        Ok(())
    }

    /// Where a record that counted stands.
    fn offset_of(&self, seq: u64) -> Option<Offset> {
        let run = self.runs.partition_point(|(first, ..)| *first <= seq).checked_sub(1)?;
        let (first, at, count) = self.runs.get(run)?;
        (seq - first < *count).then(|| at + (seq - first))
    }
}

#[cfg(test)]
mod tests {
    use hongbao_engine::memory::log::MemoryLog;
    use hongbao_engine::records::{Envelope, Frame, RecordBuf};

    use super::*;

    const AT: Partition = Partition(0);

    /// Frames as writer, epoch, first sequence and records; each record is a letter.
    type Frames<'f> = &'f [(&'f str, u32, u64, &'f str)];

    fn log_of(frames: Frames<'_>) -> MemoryLog {
        let log = MemoryLog::new(1, std::sync::Arc::new(hongbao_engine::clock::ManualClock::default()));
        for (source, epoch, first_seq, letters) in frames {
            let mut records = RecordBuf::new();
            letters.bytes().for_each(|letter| records.push(&[letter]));
            let envelope = Envelope { source, epoch: *epoch, first_seq: *first_seq };
            log.append(AT, &[Frame { topic: "t", envelope, records: &records }]).unwrap();
        }
        log
    }

    /// What counts, as letter and offset, and what was found.
    fn read(frames: Frames<'_>, cuts: &[Offset]) -> (String, Report) {
        let log = log_of(frames);
        let (mut stream, mut report) = (Stream::open(&log, AT, "t").unwrap(), Report::new());
        let mut told = Vec::new();
        let end = stream.end().unwrap();
        for below in cuts.iter().copied().chain([end]) {
            while let Some(record) = stream.next(below, &mut report).unwrap() {
                told.push(format!("{}{}", char::from(record.bytes[0]), record.offset));
            }
        }
        stream.finish(&mut report);
        (told.join(" "), report)
    }

    #[test]
    fn frames_count_as_a_whole_and_what_waited_comes_behind() {
        let cases: [(&str, Frames<'_>, &str); 9] = [
            ("in order", &[("a", 0, 1, "xy"), ("a", 0, 3, "z")], "x0 y1 z2"),
            ("not numbered", &[("", 0, 0, "xy"), ("", 0, 0, "x")], "x0 y1 x2"),
            ("repeats", &[("a", 0, 1, "xy"), ("a", 0, 1, "xy"), ("a", 0, 2, "yz")], "x0 y1 z5"),
            (
                "early",
                &[("a", 0, 1, "w"), ("a", 0, 3, "y"), ("b", 0, 1, "q"), ("a", 0, 2, "x")],
                "w0 q2 x3 y1",
            ),
            // The frame that closes the gap holds what waited: that copy counts.
            ("closed with a copy", &[("a", 0, 2, "x"), ("a", 0, 1, "wxy")], "w1 x2 y3"),
            ("closed with a part", &[("a", 0, 2, "xyz"), ("a", 0, 1, "wx")], "w3 x4 y1 z2"),
            ("the longer one waits", &[("a", 0, 2, "x"), ("a", 0, 2, "xy"), ("a", 0, 1, "w")], "w3 x1 y2"),
            ("an older epoch", &[("a", 0, 1, "w"), ("a", 1, 1, "x"), ("a", 0, 2, "q")], "w0 x1"),
            ("a newer epoch waits", &[("a", 1, 2, "y"), ("a", 0, 1, "w"), ("a", 1, 1, "x")], "w1 x2 y0"),
        ];
        for (name, frames, expected) in cases {
            for cuts in [vec![], (0..6).collect()] {
                let (told, report) = read(frames, &cuts);
                assert_eq!(told, expected, "{name}, cut at {cuts:?}");
                assert!(report.broken().is_empty(), "{name}: {:?}", report.broken());
            }
        }
    }

    #[test]
    fn copies_that_differ_and_what_is_missing_are_found() {
        let cases: [(&str, Frames<'_>, Invariant); 4] = [
            ("a repeat", &[("a", 0, 1, "x"), ("a", 0, 1, "y")], Invariant::I4),
            ("what waited", &[("a", 0, 2, "q"), ("a", 0, 1, "wx")], Invariant::I4),
            ("the first of what waited", &[("a", 0, 2, "qy"), ("a", 0, 1, "wx")], Invariant::I4),
            ("a gap", &[("a", 0, 1, "x"), ("a", 0, 3, "z")], Invariant::I5),
        ];
        for (name, frames, invariant) in cases {
            assert_eq!(read(frames, &[]).1.broken(), [invariant], "{name}");
        }
    }

    #[test]
    fn a_place_between_early_records_and_the_missing_one_is_told() {
        let log = log_of(&[("a", 0, 1, "w"), ("a", 0, 3, "y"), ("b", 0, 1, "q"), ("a", 0, 2, "x")]);
        let (mut stream, mut report) = (Stream::open(&log, AT, "t").unwrap(), Report::new());
        while stream.next(2, &mut report).unwrap().is_some() {}
        assert_eq!(stream.waiting_at(2), Some(1), "while it waits");
        while stream.next(9, &mut report).unwrap().is_some() {}
        let places: Vec<Option<Offset>> = (0..5).map(|offset| stream.waiting_at(offset)).collect();
        assert_eq!(places, [None, None, Some(1), Some(1), None]);
    }
}
