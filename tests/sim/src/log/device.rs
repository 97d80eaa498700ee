//! What stands between appended and durable in one partition.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use hongbao_engine::log::{Appended, Log, LogError};
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, Offset, RecordBuf, crc};

use crate::random::Random;

/// Durable groups that can still be lost.
const HISTORY_MAX: usize = 64;
/// How late a group on its way may arrive.
const LATE_MAX_MS: u64 = 20_000;

/// One partition's device.
#[derive(Default)]
pub struct Device {
    /// Appends find no room until then.
    pub full_until_ms: i64,
    /// Nothing becomes durable until then.
    pub stalled_until_ms: i64,
    /// A sync has failed.
    pub is_failed: bool,
    /// Bytes are not what was written.
    pub is_damaged: bool,
    unsynced: VecDeque<Unsynced>,
    /// First offset of each topic in the last durable groups.
    history: VecDeque<Vec<(String, Offset)>>,
    late: BTreeMap<(i64, u64), OwnedGroup>,
    late_count: u64,
}

struct Unsynced {
    due_ms: i64,
    /// Number of the process that appended it; 0 for a late one.
    process: u64,
    firsts: Vec<(String, Offset)>,
    group: Option<OwnedGroup>,
}

/// A group kept beyond its append.
#[derive(Clone)]
pub struct OwnedGroup {
    frames: Vec<OwnedFrame>,
}

#[derive(Clone)]
struct OwnedFrame {
    topic: String,
    source: String,
    epoch: u32,
    first_seq: u64,
    records: Vec<Vec<u8>>,
}

impl OwnedGroup {
    fn of(group: &[Frame<'_>]) -> Self {
        let frames = group.iter().map(|frame| OwnedFrame {
            topic: frame.topic.to_owned(),
            source: frame.envelope.source.to_owned(),
            epoch: frame.envelope.epoch,
            first_seq: frame.envelope.first_seq,
            records: (0..frame.records.len())
                .filter_map(|index| frame.records.get(index))
                .map(<[u8]>::to_vec)
                .collect(),
        });
        Self { frames: frames.collect() }
    }

    /// Tells groups apart.
    pub fn digest(&self) -> u64 {
        let records = self.frames.iter().flat_map(|frame| &frame.records);
        records.fold(0, |sum, record| crate::trace::mix(sum, u64::from(crc(record))))
    }

    /// Appends the group as it was.
    pub fn append_to(&self, log: &MemoryLog, partition: Partition) -> Result<Appended, LogError> {
        let buffers = self.frames.iter().map(|frame| {
            let mut records = RecordBuf::new();
            frame.records.iter().for_each(|record| records.push(record));
            records
        });
        let buffers: Vec<RecordBuf> = buffers.collect();
        let frames = self.frames.iter().zip(&buffers).map(|(frame, records)| Frame {
            topic: &frame.topic,
            envelope: Envelope { source: &frame.source, epoch: frame.epoch, first_seq: frame.first_seq },
            records,
        });
        log.append(partition, &frames.collect::<Vec<_>>())
    }
}

impl Device {
    /// A process has appended a group, with these first offsets.
    pub fn append(
        &mut self,
        (due_ms, process): (i64, u64),
        group: &[Frame<'_>],
        firsts: &[Offset],
        keeps: bool,
    ) {
        let firsts = group.iter().zip(firsts).map(|(frame, first)| (frame.topic.to_owned(), *first));
        let (firsts, group) = (firsts.collect(), keeps.then(|| OwnedGroup::of(group)));
        self.unsynced.push_back(Unsynced { due_ms, process, firsts, group });
    }

    /// A late group was appended.
    pub fn appended(&mut self, now_ms: i64, group: OwnedGroup) {
        let late = Unsynced { due_ms: now_ms, process: 0, firsts: Vec::new(), group: Some(group) };
        self.unsynced.push_back(late);
        self.history.clear();
    }

    /// Groups on their way that arrive now.
    pub fn take_late(&mut self, now_ms: i64) -> Vec<OwnedGroup> {
        let mut arrived = Vec::new();
        while let Some(first) = self.late.first_entry()
            && first.key().0 <= now_ms
        {
            arrived.push(first.remove());
        }
        arrived
    }

    /// How many groups become durable now, in their order.
    pub fn take_due(&mut self, now_ms: i64) -> usize {
        if self.is_failed || now_ms < self.stalled_until_ms {
            return 0;
        }
        let count = self.unsynced.iter().take_while(|group| group.due_ms <= now_ms).count();
        self.publish(count);
        count
    }

    fn publish(&mut self, count: usize) {
        for durable in self.unsynced.drain(..count) {
            self.history.push_back(durable.firsts);
        }
        while self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
    }

    /// When something happens by itself.
    pub fn next_due_ms(&self) -> Option<i64> {
        let arrives = self.late.keys().next().map(|(at_ms, _)| *at_ms);
        let durable = self.unsynced.front().filter(|_| !self.is_failed);
        let durable = durable.map(|group| group.due_ms.max(self.stalled_until_ms));
        [arrives, durable].into_iter().flatten().min()
    }

    /// Whether something of an earlier process may still arrive.
    pub fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Sequences of a writer's records in a topic that are on their way.
    pub fn late_sequences(&self, topic: &str, source: &str) -> Vec<Range<u64>> {
        let frames = self.late.values().flat_map(|group| &group.frames);
        let own = frames.filter(|frame| frame.topic == topic && frame.source == source);
        own.map(|frame| frame.first_seq..frame.first_seq + frame.records.len() as u64).collect()
    }

    /// Groups not durable.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Groups not durable up to the last one that a living process has appended.
    pub fn unsynced_of(&self, living: u64) -> usize {
        self.unsynced.iter().rposition(|group| group.process == living).map_or(0, |last| last + 1)
    }

    /// The first `keep` groups survive. With a broker, of the others some arrive later, in their
    /// order and perhaps with gaps, and some never.
    pub fn end_of_process(&mut self, keep: usize, now_ms: i64, broker: Option<&mut Random>) {
        self.publish(keep);
        self.is_failed = false;
        let Some(random) = broker else { return self.unsynced.clear() };
        let arrive = *random.pick(&[0, 300, 700, 1_000]);
        let mut at_ms = now_ms;
        for group in self.unsynced.drain(..).filter_map(|unsynced| unsynced.group) {
            if !random.chance(arrive) {
                continue;
            }
            at_ms += random.magnitude(1, LATE_MAX_MS).cast_signed();
            self.late_count += 1;
            self.late.insert((at_ms, self.late_count), group);
        }
    }

    /// Forgets the last durable groups; from where on each topic is lost.
    pub fn lose_durable(&mut self, groups: usize) -> Vec<(String, Offset)> {
        let mut lost: BTreeMap<String, Offset> = BTreeMap::new();
        for _ in 0..groups {
            for (topic, first) in self.history.pop_back().unwrap_or_default() {
                lost.insert(topic, first);
            }
        }
        lost.into_iter().collect()
    }
}
