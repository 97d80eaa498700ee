//! Reads a lane's orders from the low-water mark on, and sorts them into fresh ones, ones that an
//! earlier process left unresolved, and ones that have ended.
//!
//! A lane has one writer, intake, whose sequences are the lane's and never begin anew. Where several
//! processes can write the log (rule 2), its records may lie there more than once and in pieces:
//! ```text
//! frame                          what becomes of it
//! all below the next sequence    left out: a repeat
//! holds the next sequence        taken on from there
//! above the next sequence        held aside until the missing ones come
//! holds one not accepted yet     not read, nor what is behind it
//! ```
//! Accepted is what the journal says as far as it is folded. While facts are missing there, what lies
//! behind them is no part of the fold, and whoever folds an intent in front of the order's acceptance
//! takes it for one of no order (rule 1).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::aside::Aside;
use hongbao_engine::log::{Log, LogError};
use hongbao_engine::mutant;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{FrameRef, Offset, ReadBatch};

use crate::batch::OrderChunk;
use crate::journal_view::{LaneResume, OpenRange, ViewError};

use super::ready::Ready;

/// Epoch of the writer of orders: a fold, which needs none.
const ORDERS_EPOCH: u32 = 0;

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
    /// Orders behind missing ones.
    aside: Aside,
    /// Version of the log's progress when there was nothing more to read.
    end_seen_at: Option<u64>,
    /// [`Source::accepted`] when what came next was not accepted.
    stopped_at: Option<u64>,
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
    /// First lane sequence that is not known to be accepted; the largest where an order can be read
    /// only with its acceptance, and no gap can be in front of that.
    pub accepted: u64,
    /// Bytes that may be held aside (I29).
    pub held_bytes_max: usize,
    /// Monotonic time.
    pub now: Duration,
}

/// Where orders go.
#[derive(Debug)]
pub struct Sorted<'a> {
    /// Fresh ones.
    pub ready: &'a mut Ready,
    /// Unresolved ones.
    pub open: &'a mut Vec<FoundOpen>,
    /// Counts records that were held aside.
    pub set_aside: &'a mut u64,
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
    /// The folded journal does not tell what was accepted.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Orders are missing and did not come in time (I5).
    #[error("order {expected_seq} is missing in front of {found_seq} at offset {offset}")]
    Gap {
        /// Lane sequence expected.
        expected_seq: u64,
        /// Lane sequence found.
        found_seq: u64,
        /// Where.
        offset: Offset,
    },
    /// More is held behind missing orders than there is room for (I29).
    #[error("{bytes} bytes are held behind order {expected_seq}, which is missing, the limit is {bytes_max}")]
    TooMuchHeld {
        /// Lane sequence expected.
        expected_seq: u64,
        /// Bytes held.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Records that no intake writes: what sequence they have in the lane cannot be told.
    #[error("the records of {writer:?} at offset {offset} have epoch {epoch} and sequence {first_seq}")]
    Foreign {
        /// The writer.
        writer: String,
        /// Its epoch.
        epoch: u32,
        /// Sequence of the first of them; 0 for records without one.
        first_seq: u64,
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
            // Whoever leaves a gap writes what is behind it again, behind what was missing. So the
            // topic holds all orders once in their sequence, and each of those at an offset at least
            // as large as the number of orders before it.
            next_offset: next_seq - 1,
            ended: resume.ended.iter().copied().filter(|_| !mutant!(M47)).collect(),
            open_left: open.iter().map(|range| range.count).sum(),
            open,
            ..Self::default()
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

    /// What was accepted when it stopped in front of an order that was not. There is nothing to read
    /// until that changes.
    #[must_use]
    pub fn stopped_at(&self) -> Option<u64> {
        self.stopped_at
    }

    /// The orders that are missing for `timeout` or longer, if any, although everything was read that
    /// the log had at `version`.
    ///
    /// # Errors
    /// [`ReadError::Gap`].
    pub fn check_missing(&self, version: u64, now: Duration, timeout: Duration) -> Result<(), ReadError> {
        let Some(held) = self.aside.first() else { return Ok(()) };
        let is_late = now.saturating_sub(self.aside.since()) >= timeout;
        if !is_late || self.end_seen_at != Some(version) {
            return Ok(());
        }
        let (found_seq, offset) = (held.first_seq, held.first_offset);
        Err(ReadError::Gap { expected_seq: self.next_seq, found_seq, offset })
    }

    /// Reads once. Returns how many records were read.
    ///
    /// # Errors
    /// [`ReadError`]; the lane must stop in this partition.
    pub fn read(
        &mut self,
        source: Source<'_>,
        buffer: &mut ReadBatch,
        mut sorted: Sorted<'_>,
    ) -> Result<usize, ReadError> {
        self.stopped_at = None;
        source.log.read(source.partition, &self.topic, self.next_offset, source.max_bytes, buffer)?;
        let Some(mut next_offset) = buffer.next_offset() else {
            self.end_seen_at = Some(source.version);
            return Ok(0);
        };
        let mut count = 0;
        for frame in buffer.frames() {
            check_writer(frame)?;
            let first_seq = frame.envelope().first_seq;
            if first_seq.saturating_add(frame.len() as u64) > source.accepted {
                self.stopped_at = Some(source.accepted);
                next_offset = frame.first_offset();
                break;
            }
            if first_seq > self.next_seq {
                self.skip_ended();
            }
            if first_seq <= self.next_seq || mutant!(M69) {
                self.take_on(frame, source.now, &mut sorted);
            } else {
                self.hold(frame, source, &mut sorted)?;
            }
            count += frame.len();
        }
        self.skip_ended();
        self.next_offset = next_offset.max(self.next_seq - 1);
        Ok(count)
    }

    /// Takes on a frame that is not ahead, and what has waited for it.
    fn take_on(&mut self, frame: FrameRef<'_>, now: Duration, sorted: &mut Sorted<'_>) {
        let before = self.next_seq;
        self.sort_frame(frame, sorted);
        if !self.aside.is_empty() && self.next_seq > before {
            self.release(now, sorted);
        }
    }

    fn hold(
        &mut self,
        frame: FrameRef<'_>,
        source: Source<'_>,
        sorted: &mut Sorted<'_>,
    ) -> Result<(), ReadError> {
        let expected_seq = self.next_seq;
        if self.aside.is_empty() {
            let (topic, partition) = (&*self.topic, source.partition.0);
            tracing::warn!(topic, partition, expected_seq, "an order is missing, later ones are held aside");
        }
        *sorted.set_aside += frame.len() as u64 - self.aside.hold(frame, source.now);
        let (bytes, bytes_max) = (self.aside.bytes(), source.held_bytes_max);
        if bytes > bytes_max {
            return Err(ReadError::TooMuchHeld { expected_seq, bytes, bytes_max });
        }
        Ok(())
    }

    /// Takes on what was held aside and is not ahead any more.
    fn release(&mut self, now: Duration, sorted: &mut Sorted<'_>) {
        loop {
            self.skip_ended();
            if self.aside.first().is_some_and(|first| first.first_seq > self.next_seq) {
                return self.aside.wait_anew(now);
            }
            let Some(frame) = self.aside.take_first() else { return };
            self.sort_frame(frame.view(), sorted);
        }
    }

    fn sort_frame(&mut self, frame: FrameRef<'_>, sorted: &mut Sorted<'_>) {
        let first_seq = frame.envelope().first_seq;
        if mutant!(M69) {
            self.next_seq = self.next_seq.max(first_seq);
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
                    self.take_open(frame.get(index), range, sorted.open);
                }
                _ => self.take_fresh(frame, index, end_seq, sorted.ready),
            }
        }
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

fn check_writer(frame: FrameRef<'_>) -> Result<(), ReadError> {
    let envelope = frame.envelope();
    if envelope.epoch == ORDERS_EPOCH && envelope.first_seq > 0 {
        return Ok(());
    }
    Err(ReadError::Foreign {
        writer: envelope.source.to_owned(),
        epoch: envelope.epoch,
        first_seq: envelope.first_seq,
        offset: frame.first_offset(),
    })
}

#[cfg(test)]
mod tests;
