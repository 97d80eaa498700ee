//! Reads a lane's orders from the low-water mark on, and sorts them into fresh ones, ones that an
//! earlier process left unresolved, and ones that have ended.

use std::collections::VecDeque;
use std::sync::Arc;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::mutant;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{FrameRef, Offset, ReadBatch};

use crate::batch::OrderChunk;
use crate::journal_view::{LaneResume, OpenRange};

use super::ready::Ready;

/// Reads `orders.<lane>` of one partition.
#[derive(Debug, Default)]
pub struct Reader {
    topic: String,
    next_seq: u64,
    next_offset: Offset,
    ended: VecDeque<(u64, u64)>,
    open: VecDeque<OpenRange>,
    /// Orders in `open`, at most: those of a range that was begun count until it is done.
    open_left: u64,
    /// Version of the log's progress when there was nothing more to read.
    end_seen_at: Option<u64>,
}

/// What to read from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The log.
    pub log: &'a dyn Log,
    /// The partition.
    pub partition: Partition,
    /// About how much to read at once, in bytes.
    pub max_bytes: usize,
    /// The log's progress from before the read.
    pub version: u64,
}

/// An order that an earlier process left unresolved.
#[derive(Debug)]
pub struct FoundOpen {
    /// Lane sequence.
    pub seq: u64,
    /// Encoded record.
    pub record: Arc<[u8]>,
    /// What the journal says of it.
    pub range: OpenRange,
}

/// Why a lane cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Orders are missing (I5).
    #[error("order {expected_seq} is missing in front of {found_seq} at offset {offset}")]
    Gap {
        /// Lane sequence expected.
        expected_seq: u64,
        /// Lane sequence found; 0 for a record without one.
        found_seq: u64,
        /// Where.
        offset: Offset,
    },
}

impl Reader {
    /// Reads from where a lane stands.
    #[must_use]
    pub fn resume(topic: String, resume: &LaneResume) -> Self {
        let skipped = u64::from(mutant!(M46) && resume.low_water > 1);
        let next_seq = resume.low_water.max(1) + skipped;
        let open: VecDeque<OpenRange> = resume.open.iter().copied().filter(|_| !mutant!(M45)).collect();
        Self {
            topic,
            next_seq,
            // A sequence's offset is at least as large as the number of sequences before it.
            next_offset: next_seq - 1,
            ended: resume.ended.iter().copied().filter(|_| !mutant!(M47)).collect(),
            open_left: open.iter().map(|range| range.count).sum(),
            open,
            end_seen_at: None,
        }
    }

    /// Whether there may be something to read that is wanted: `ready` orders wait already, of at
    /// least `ready_min`. Unresolved orders are looked up without waiting for that, since the life
    /// of their keys runs.
    #[must_use]
    pub fn wants(&self, ready: usize, ready_min: usize, version: u64) -> bool {
        (ready < ready_min || !self.open.is_empty()) && self.end_seen_at != Some(version)
    }

    /// Unresolved orders that were not read yet, at most.
    #[must_use]
    pub fn open_left(&self) -> u64 {
        self.open_left
    }

    /// Reads once. Fresh orders go to `ready`, unresolved ones to `open`. Returns how many records
    /// were read.
    ///
    /// # Errors
    /// [`ReadError`]; the lane must stop in this partition.
    pub fn read(
        &mut self,
        source: Source<'_>,
        buffer: &mut ReadBatch,
        ready: &mut Ready,
        open: &mut Vec<FoundOpen>,
    ) -> Result<usize, ReadError> {
        let Source { log, partition, max_bytes, version } = source;
        log.read(partition, &self.topic, self.next_offset, max_bytes, buffer)?;
        let Some(next_offset) = buffer.next_offset() else {
            self.end_seen_at = Some(version);
            return Ok(0);
        };
        for frame in buffer.frames() {
            self.sort_frame(frame, ready, open)?;
        }
        self.skip_ended();
        self.next_offset = next_offset.max(self.next_seq - 1);
        Ok(buffer.record_count())
    }

    fn sort_frame(
        &mut self,
        frame: FrameRef<'_>,
        ready: &mut Ready,
        open: &mut Vec<FoundOpen>,
    ) -> Result<(), ReadError> {
        let first_seq = frame.envelope().first_seq;
        if first_seq == 0 || first_seq > self.next_seq {
            let (expected_seq, offset) = (self.next_seq, frame.first_offset());
            return Err(ReadError::Gap { expected_seq, found_seq: first_seq, offset });
        }
        let end_seq = first_seq + frame.len() as u64;
        while self.next_seq < end_seq {
            self.skip_ended();
            let index = (self.next_seq - first_seq) as usize;
            if index >= frame.len() {
                break;
            }
            match self.open.front().copied() {
                Some(range) if range.first <= self.next_seq => {
                    self.take_open(frame.get(index), range, open);
                }
                _ => self.take_fresh(frame, index, end_seq, ready),
            }
        }
        Ok(())
    }

    /// Moves past orders that have ended.
    fn skip_ended(&mut self) {
        while let Some((first, count)) = self.ended.front().copied()
            && first <= self.next_seq
        {
            self.next_seq = self.next_seq.max(first + count);
            self.ended.pop_front();
        }
        while let Some(range) = self.open.pop_front_if(|range| range.first + range.count <= self.next_seq) {
            self.open_left -= range.count;
        }
    }

    fn take_open(&mut self, record: Option<&[u8]>, range: OpenRange, open: &mut Vec<FoundOpen>) {
        if let Some(record) = record {
            open.push(FoundOpen { seq: self.next_seq, record: record.into(), range });
        }
        self.next_seq += 1;
        self.skip_ended();
    }

    /// Copies the fresh orders up to the next one that is not fresh.
    fn take_fresh(&mut self, frame: FrameRef<'_>, index: usize, end_seq: u64, ready: &mut Ready) {
        let ended_at = self.ended.front().map_or(end_seq, |(first, _)| *first);
        let open_at = self.open.front().map_or(end_seq, |range| range.first);
        let count = (end_seq.min(ended_at).min(open_at) - self.next_seq) as usize;
        let mut chunk = OrderChunk::starting_at(self.next_seq);
        let bytes = frame.get(index).map_or(0, <[u8]>::len);
        chunk.reserve(count, bytes * count + bytes);
        for record in (index..index + count).filter_map(|at| frame.get(at)) {
            chunk.push(record);
        }
        self.next_seq += count as u64;
        ready.push(Arc::new(chunk));
    }
}

#[cfg(test)]
mod tests {
    use hongbao_engine::clock::ManualClock;
    use hongbao_engine::memory::log::MemoryLog;
    use hongbao_engine::records::{Envelope, Frame, RecordBuf};

    use super::*;

    const TOPIC: &str = "orders.cash";
    const PARTITION: Partition = Partition(0);

    fn append(log: &MemoryLog, first_seq: u64, count: u64) {
        let mut records = RecordBuf::new();
        for seq in first_seq..first_seq + count {
            records.push(format!("order {seq}").as_bytes());
        }
        let envelope = Envelope { source: "intake", epoch: 0, first_seq };
        log.append(PARTITION, &[Frame { topic: TOPIC, envelope, records: &records }]).unwrap();
    }

    fn open(first: u64, count: u64) -> OpenRange {
        OpenRange { first, count, first_intent_ms: 5, is_unknown: false }
    }

    fn source(log: &MemoryLog, max_bytes: usize) -> Source<'_> {
        Source { log, partition: PARTITION, max_bytes, version: 7 }
    }

    /// Reads all there is and returns the sequences of fresh and of unresolved orders.
    fn read_all(log: &MemoryLog, resume: &LaneResume, max_bytes: usize) -> (Vec<u64>, Vec<u64>) {
        let mut reader = Reader::resume(TOPIC.to_owned(), resume);
        let (mut ready, mut found, mut buffer) = (Ready::default(), Vec::new(), ReadBatch::new());
        while reader.wants(0, 1, 7) {
            reader.read(source(log, max_bytes), &mut buffer, &mut ready, &mut found).unwrap();
        }
        let parts = ready.take(usize::MAX);
        for part in &parts {
            let crate::batch::Part::Run { chunk, from, to } = part else { panic!("a run") };
            for index in *from..*to {
                let seq = chunk.first_seq() + u64::from(index);
                assert_eq!(chunk.get(index as usize), Some(format!("order {seq}").as_bytes()));
            }
        }
        for order in &found {
            assert_eq!(&*order.record, format!("order {}", order.seq).as_bytes());
        }
        let fresh = parts.iter().flat_map(|part| part.first_seq()..part.first_seq() + part.len() as u64);
        (fresh.collect(), found.iter().map(|order| order.seq).collect())
    }

    #[test]
    fn sorts_orders_into_fresh_unresolved_and_ended() {
        let log = MemoryLog::new(1, Arc::new(ManualClock::at(0)));
        for (first_seq, count) in [(1, 4), (5, 4), (7, 2), (9, 12)] {
            append(&log, first_seq, count);
        }
        type Seqs = Vec<u64>;
        type Case = (u64, Vec<(u64, u64)>, Vec<OpenRange>, Seqs, Seqs);
        let cases: [Case; 5] = [
            (0, vec![], vec![], (1..21).collect(), vec![]),
            (1, vec![(1, 20)], vec![], vec![], vec![]),
            (6, vec![(7, 9)], vec![open(6, 1), open(18, 2)], vec![16, 17, 20], vec![6, 18, 19]),
            (
                3,
                vec![(3, 1), (5, 2), (19, 2)],
                vec![open(4, 1), open(7, 12)],
                vec![],
                vec![4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18],
            ),
            (21, vec![], vec![], vec![], vec![]),
        ];
        for (low_water, ended, open, fresh, unresolved) in cases {
            for max_bytes in [1, 40, 1 << 20] {
                let resume = LaneResume {
                    low_water,
                    ended: ended.clone(),
                    open: open.clone(),
                    ..LaneResume::default()
                };
                let found = read_all(&log, &resume, max_bytes);
                assert_eq!(found, (fresh.clone(), unresolved.clone()), "from {low_water} by {max_bytes}");
            }
        }
    }

    #[test]
    fn a_missing_order_stops_the_lane() {
        let log = MemoryLog::new(1, Arc::new(ManualClock::at(0)));
        append(&log, 1, 4);
        append(&log, 6, 1);
        let mut reader = Reader::resume(TOPIC.to_owned(), &LaneResume::default());
        let (mut ready, mut found, mut buffer) = (Ready::default(), Vec::new(), ReadBatch::new());
        let error = reader.read(source(&log, 1 << 20), &mut buffer, &mut ready, &mut found);
        assert!(matches!(error, Err(ReadError::Gap { expected_seq: 5, found_seq: 6, .. })), "{error:?}");
    }
}
