//! A log in memory. It keeps the whole contract of [`Log`] except that a process takes it along,
//! and can be told to fail: to lose what is not synced, to be full, to be damaged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::log::{Appended, Log, LogError, Position, check_group};
use crate::partition::Partition;
use crate::progress::Progress;
use crate::records::{Frame, Offset, OwnedFrame, ReadBatch};

/// A [`Log`] in memory.
pub struct MemoryLog {
    partitions: Vec<Mutex<PartitionLog>>,
    clock: Arc<dyn Clock>,
    progress: Progress,
    durability: Durability,
    bytes_max: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durability {
    AtOnce,
    BySync,
}

#[derive(Default)]
struct PartitionLog {
    topics: BTreeMap<String, Topic>,
    appended: Position,
    durable: Position,
    /// Groups appended and not yet durable, with the end of each topic they wrote to.
    unsynced: VecDeque<Vec<(String, Offset)>>,
    bytes: usize,
    failed: Option<LogError>,
}

#[derive(Default)]
struct Topic {
    start: Offset,
    /// First offset not readable.
    end: Offset,
    /// First offset not appended.
    appended: Offset,
    frames: VecDeque<OwnedFrame>,
}

impl MemoryLog {
    /// A log whose groups are durable as soon as they are appended.
    #[must_use]
    pub fn new(partitions: u16, clock: Arc<dyn Clock>) -> Self {
        Self::with(partitions, clock, Durability::AtOnce)
    }

    /// A log whose groups become durable only by [`MemoryLog::sync`] or [`MemoryLog::sync_groups`].
    #[must_use]
    pub fn manual(partitions: u16, clock: Arc<dyn Clock>) -> Self {
        Self::with(partitions, clock, Durability::BySync)
    }

    fn with(partitions: u16, clock: Arc<dyn Clock>, durability: Durability) -> Self {
        let partitions = (0..partitions).map(|_| Mutex::default()).collect();
        let bytes_max = AtomicUsize::new(usize::MAX);
        Self { partitions, clock, progress: Progress::default(), durability, bytes_max }
    }

    /// Makes everything appended durable.
    pub fn sync(&self) {
        for partition in 0..self.partitions() {
            self.sync_groups(Partition(partition), usize::MAX);
        }
    }

    /// Makes the next `count` groups of a partition durable, in the order of their append.
    pub fn sync_groups(&self, partition: Partition, count: usize) {
        if let Ok(part) = self.part(partition) {
            let mut part = part.lock();
            for _ in 0..count {
                let Some(ends) = part.unsynced.pop_front() else { break };
                part.durable.0 += 1;
                part.publish(&ends);
            }
        }
        self.progress.bump();
    }

    /// Loses everything not durable, as a crash of the machine would. The log goes on.
    pub fn crash(&self) {
        for part in &self.partitions {
            let mut part = part.lock();
            part.unsynced.clear();
            part.appended = part.durable;
            let mut lost = 0;
            for topic in part.topics.values_mut() {
                lost += topic.cut(topic.end);
            }
            part.bytes -= lost;
        }
    }

    /// Limits the bytes of records kept by each partition; an append beyond it is
    /// [`LogError::Full`].
    pub fn set_bytes_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::SeqCst);
    }

    /// Makes every later append and durability question of a partition fail.
    pub fn fail(&self, partition: Partition, reason: &str) {
        if let Ok(part) = self.part(partition) {
            part.lock().failed = Some(LogError::Failed(reason.to_owned()));
        }
        self.progress.bump();
    }

    /// Makes every later call for a partition say that it is damaged (I26).
    pub fn corrupt(&self, partition: Partition, what: &str) {
        if let Ok(part) = self.part(partition) {
            let what = what.to_owned();
            part.lock().failed = Some(LogError::Corrupt { partition: partition.0, what });
        }
        self.progress.bump();
    }

    /// Drops the records of a topic from offset `end` on, durable ones too: a log that lost what
    /// it had promised.
    pub fn lose_from(&self, partition: Partition, topic: &str, end: Offset) {
        let Ok(part) = self.part(partition) else { return };
        let mut part = part.lock();
        let Some(topic) = part.topics.get_mut(topic) else { return };
        topic.end = topic.end.min(end);
        let lost = topic.cut(end);
        part.bytes -= lost;
    }

    /// Replaces a record by `bytes`: a log that is not the one that was written. Returns whether
    /// there is such a record.
    pub fn overwrite(&self, partition: Partition, topic: &str, offset: Offset, bytes: &[u8]) -> bool {
        let Ok(part) = self.part(partition) else { return false };
        let mut part = part.lock();
        let found = part.topics.get_mut(topic).and_then(|topic| topic.frame_mut(offset));
        let Some(frame) = found else { return false };
        let mut records: Vec<Vec<u8>> = frame.view().records().map(|(_, bytes)| bytes.to_vec()).collect();
        records[(offset - frame.first_offset) as usize] = bytes.to_vec();
        frame.bytes.clear();
        frame.ends.clear();
        for record in records {
            frame.bytes.extend_from_slice(&record);
            frame.ends.push(frame.bytes.len() as u32);
        }
        true
    }

    fn part(&self, partition: Partition) -> Result<&Mutex<PartitionLog>, LogError> {
        let known = self.partitions.get(usize::from(partition.0));
        known.ok_or_else(|| LogError::Invalid(format!("there is no partition {partition}")))
    }
}

impl Log for MemoryLog {
    fn partitions(&self) -> u16 {
        self.partitions.len() as u16
    }

    fn append(&self, partition: Partition, group: &[Frame<'_>]) -> Result<Appended, LogError> {
        check_group(group)?;
        let appended_at_ms = self.clock.wall_ms();
        let appended = {
            let mut part = self.part(partition)?.lock();
            part.check()?;
            let bytes: usize = group.iter().map(|frame| frame.records.byte_len()).sum();
            let bytes_max = self.bytes_max.load(Ordering::SeqCst);
            if part.bytes.saturating_add(bytes) > bytes_max {
                let what = format!("partition {partition} may hold {bytes_max} bytes");
                return Err(LogError::Full(what));
            }
            part.append(group, appended_at_ms, self.durability)
        };
        if self.durability == Durability::AtOnce {
            self.progress.bump();
        }
        Ok(appended)
    }

    fn durable(&self, partition: Partition) -> Result<Position, LogError> {
        let part = self.part(partition)?.lock();
        part.check()?;
        Ok(part.durable)
    }

    fn range(&self, partition: Partition, topic: &str) -> Result<(Offset, Offset), LogError> {
        let part = self.part(partition)?.lock();
        part.check_damage()?;
        Ok(part.topics.get(topic).map_or((0, 0), |topic| (topic.start, topic.end)))
    }

    fn read(
        &self,
        partition: Partition,
        topic: &str,
        from: Offset,
        max_bytes: usize,
        out: &mut ReadBatch,
    ) -> Result<(), LogError> {
        out.clear();
        let part = self.part(partition)?.lock();
        part.check_damage()?;
        let (start, end) = part.topics.get(topic).map_or((0, 0), |topic| (topic.start, topic.end));
        if from < start || from > end {
            let topic = topic.to_owned();
            return Err(LogError::OutOfRange { topic, partition: partition.0, offset: from, start, end });
        }
        if let Some(topic) = part.topics.get(topic) {
            topic.read(from, max_bytes, out);
        }
        Ok(())
    }

    fn trim(&self, partition: Partition, floors: &[(&str, Offset)]) -> Result<(), LogError> {
        let mut part = self.part(partition)?.lock();
        part.check()?;
        let mut freed = 0;
        for (topic, floor) in floors {
            if let Some(topic) = part.topics.get_mut(*topic) {
                freed += topic.trim(*floor);
            }
        }
        part.bytes -= freed;
        Ok(())
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }
}

impl PartitionLog {
    fn check(&self) -> Result<(), LogError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// A device that failed can still be read.
    fn check_damage(&self) -> Result<(), LogError> {
        match &self.failed {
            Some(error @ LogError::Corrupt { .. }) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn append(&mut self, group: &[Frame<'_>], appended_at_ms: i64, durability: Durability) -> Appended {
        let mut first_offsets = Vec::with_capacity(group.len());
        let mut ends = Vec::with_capacity(group.len());
        for frame in group {
            if !self.topics.contains_key(frame.topic) {
                self.topics.insert(frame.topic.to_owned(), Topic::default());
            }
            let Some(topic) = self.topics.get_mut(frame.topic) else { continue };
            first_offsets.push(topic.appended);
            topic.append(frame, appended_at_ms);
            self.bytes += frame.records.byte_len();
            match durability {
                Durability::AtOnce => topic.end = topic.appended,
                Durability::BySync => ends.push((frame.topic.to_owned(), topic.appended)),
            }
        }
        self.appended.0 += 1;
        match durability {
            Durability::AtOnce => self.durable = self.appended,
            Durability::BySync => self.unsynced.push_back(ends),
        }
        Appended { first_offsets, position: self.appended }
    }

    fn publish(&mut self, ends: &[(String, Offset)]) {
        for (name, end) in ends {
            if let Some(topic) = self.topics.get_mut(name) {
                topic.end = *end;
            }
        }
    }
}

impl Topic {
    fn append(&mut self, frame: &Frame<'_>, appended_at_ms: i64) {
        self.frames.push_back(OwnedFrame {
            source: frame.envelope.source.to_owned(),
            epoch: frame.envelope.epoch,
            first_seq: frame.envelope.first_seq,
            first_offset: self.appended,
            appended_at_ms,
            bytes: frame.records.bytes().to_vec(),
            ends: frame.records.ends().to_vec(),
        });
        self.appended += frame.records.len() as u64;
    }

    /// Index of the frame that holds `offset`, or of the next one.
    fn index_of(&self, offset: Offset) -> usize {
        self.frames.partition_point(|frame| frame.first_offset + frame.ends.len() as u64 <= offset)
    }

    fn frame_mut(&mut self, offset: Offset) -> Option<&mut OwnedFrame> {
        let index = self.index_of(offset);
        self.frames.get_mut(index).filter(|frame| frame.first_offset <= offset)
    }

    fn read(&self, from: Offset, max_bytes: usize, out: &mut ReadBatch) {
        if from >= self.end {
            return;
        }
        let mut bytes = 0;
        for frame in self.frames.range(self.index_of(from)..) {
            let too_many = !out.is_empty() && bytes + frame.bytes.len() > max_bytes;
            if frame.first_offset >= self.end || too_many {
                break;
            }
            let seen = from.saturating_sub(frame.first_offset) as usize;
            copy_from(frame, seen, out.next_frame());
            bytes += frame.bytes.len();
        }
    }

    /// Drops whole frames below `floor` and returns their bytes.
    fn trim(&mut self, floor: Offset) -> usize {
        let count = self.index_of(floor.min(self.end));
        let freed = self.frames.drain(..count).map(|frame| frame.bytes.len()).sum();
        self.start = self.frames.front().map_or(self.appended, |frame| frame.first_offset);
        freed
    }

    /// Drops records from `end` on and returns their bytes.
    fn cut(&mut self, end: Offset) -> usize {
        let before: usize = self.frames.iter().map(|frame| frame.bytes.len()).sum();
        self.frames.retain(|frame| frame.first_offset < end);
        if let Some(last) = self.frames.back_mut() {
            last.ends.truncate((end - last.first_offset) as usize);
            last.bytes.truncate(last.ends.last().map_or(0, |end| *end as usize));
        }
        self.appended = self.appended.min(end.max(self.start));
        before - self.frames.iter().map(|frame| frame.bytes.len()).sum::<usize>()
    }
}

/// Copies a frame without its first `seen` records into `into`, reusing its memory.
fn copy_from(frame: &OwnedFrame, seen: usize, into: &mut OwnedFrame) {
    let cut = seen.checked_sub(1).and_then(|last| frame.ends.get(last).copied()).unwrap_or(0);
    into.source.push_str(&frame.source);
    into.epoch = frame.epoch;
    into.first_seq = if frame.first_seq > 0 { frame.first_seq + seen as u64 } else { 0 };
    into.first_offset = frame.first_offset + seen as u64;
    into.appended_at_ms = frame.appended_at_ms;
    into.bytes.extend_from_slice(&frame.bytes[cut as usize..]);
    into.ends.extend(frame.ends[seen..].iter().map(|end| end - cut));
}

#[cfg(test)]
mod tests;
