//! The log of a world. Groups become durable when the world syncs them; the end of the process
//! takes what was not synced, in the way of the profile; faults are put on by the operator of the
//! world. Over the in-memory log of the engine, which the conformance suite holds to the contract.

mod device;
mod undisturbed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hongbao_engine::clock::Clock;
use hongbao_engine::log::{Appended, Log, LogError, Position, check_group};
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::partition::Partition;
use hongbao_engine::progress::Progress;
use hongbao_engine::records::{Frame, Offset, ReadBatch, crc};
use hongbao_schemas::award::Award;
use hongbao_schemas::control::Control;
use hongbao_schemas::journal::Fact;
use hongbao_schemas::order::Order;
use parking_lot::Mutex;

use crate::clock::SimClock;
use crate::fuse::Fuse;
use crate::options::LogProfile;
use crate::random::Random;
use crate::trace::Trace;

pub use undisturbed::Undisturbed;

use device::Device;

/// A log whose durability, faults and losses are decided by the world. See the [module](self).
pub struct SimLog {
    name: &'static str,
    inner: MemoryLog,
    clock: Arc<SimClock>,
    fuse: Arc<Fuse>,
    trace: Arc<Trace>,
    profile: LogProfile,
    sync_ms: (u32, u32),
    state: Mutex<State>,
}

struct State {
    random: Random,
    devices: Vec<Device>,
    late_arrivals: u64,
    announced: BTreeMap<(u64, u16, String), i64>,
    /// First offsets that processes still find, of topics that were trimmed.
    starts: BTreeMap<(u16, String), Offset>,
    met: BTreeMap<&'static str, u64>,
}

impl SimLog {
    /// An empty log.
    #[must_use]
    pub fn new(name: &'static str, partitions: u16, parts: LogParts) -> Self {
        let LogParts { clock, fuse, trace, profile, sync_ms, seed } = parts;
        let devices = (0..partitions).map(|_| Device::default()).collect();
        let wall: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        Self {
            name,
            inner: MemoryLog::manual(partitions, wall),
            clock,
            fuse,
            trace,
            profile,
            sync_ms,
            state: Mutex::new(State {
                random: Random::of(seed, name),
                devices,
                late_arrivals: 0,
                announced: BTreeMap::new(),
                starts: BTreeMap::new(),
                met: BTreeMap::new(),
            }),
        }
    }

    /// The log as it is, without faults and whoever is alive: for oracles.
    #[must_use]
    pub fn undisturbed(self: &Arc<Self>) -> Undisturbed {
        Undisturbed(Arc::clone(self))
    }

    /// Makes durable what is due; whether anything was.
    pub fn sync_due(&self) -> bool {
        let now_ms = self.clock.now_ms();
        if self.next_due_ms().is_none_or(|due_ms| now_ms < due_ms) {
            return false;
        }
        let mut any = false;
        for partition in 0..self.partitions() {
            let late = self.state.lock().devices[usize::from(partition)].take_late(now_ms);
            for group in late {
                self.trace.note(now_ms, "late", [u64::from(partition), group.digest()], || {
                    format!("{}/{partition}: a group of the process before arrives", self.name)
                });
                self.state.lock().late_arrivals += 1;
                any |= group.append_to(&self.inner, Partition(partition)).is_ok();
                self.state.lock().devices[usize::from(partition)].appended(now_ms, group);
            }
            let count = self.state.lock().devices[usize::from(partition)].take_due(now_ms);
            if count > 0 {
                any = true;
                self.inner.sync_groups(Partition(partition), count);
                self.trace.note(now_ms, "durable", [u64::from(partition), count as u64], || {
                    format!("{}/{partition}: {count} groups", self.name)
                });
            }
        }
        any
    }

    /// Groups of processes before that arrived later.
    #[must_use]
    pub fn late_arrivals(&self) -> u64 {
        self.state.lock().late_arrivals
    }

    /// When the next group becomes durable or arrives, if there is one.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<i64> {
        self.state.lock().devices.iter().filter_map(Device::next_due_ms).min()
    }

    /// Whether something of an earlier process may still arrive.
    #[must_use]
    pub fn has_late(&self) -> bool {
        self.state.lock().devices.iter().any(Device::has_late)
    }

    /// The same, of one partition.
    #[must_use]
    pub fn has_late_of(&self, partition: u16) -> bool {
        self.with(partition, |device| device.has_late()) == Some(true)
    }

    /// The process has ended: of what was not durable about `keep_permille` thousandths survive. So
    /// does all up to what another process has appended that lives on.
    pub fn end_of_process(&self, keep_permille: u32, living: Option<u64>) {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock();
        let State { random, devices, .. } = &mut *state;
        let mut survivors = Vec::new();
        for (partition, device) in (0_u16..).zip(devices) {
            let keep = device.unsynced() * keep_permille as usize / 1_000;
            let keep = keep.max(living.map_or(0, |living| device.unsynced_of(living)));
            self.inner.sync_groups(Partition(partition), keep);
            survivors.push(keep as u64);
            let is_broker = self.profile == LogProfile::Broker;
            device.end_of_process(keep, now_ms, is_broker.then_some(random));
        }
        self.inner.crash();
        self.trace.note(now_ms, "log.cut", [survivors.iter().sum(), 0], || {
            format!("{}: groups that survive by partition: {survivors:?}", self.name)
        });
    }

    /// The partition is full until then.
    pub fn fill(&self, partition: u16, until_ms: i64) {
        self.with(partition, |device| device.full_until_ms = until_ms);
    }

    /// The next sync of the partition fails, and with it the log for this process.
    pub fn fail_sync(&self, partition: u16) {
        self.with(partition, |device| device.is_failed = true);
        self.inner.progress().bump();
    }

    /// Syncs of the partition take until then.
    pub fn stall(&self, partition: u16, until_ms: i64) {
        self.with(partition, |device| device.stalled_until_ms = until_ms);
    }

    /// The bytes of the partition are damaged for good.
    pub fn damage(&self, partition: u16) {
        self.with(partition, |device| device.is_damaged = true);
    }

    /// Loses the last durable groups; the records that each topic has lost.
    pub fn lose_durable(&self, partition: u16, groups: usize) -> Vec<(String, Vec<Vec<u8>>)> {
        let ends = self.with(partition, |device| device.lose_durable(groups)).unwrap_or_default();
        let lose = |(topic, end): (String, Offset)| {
            let records = self.records_from(partition, &topic, end);
            self.inner.lose_from(Partition(partition), &topic, end);
            (topic, records)
        };
        ends.into_iter().map(lose).collect()
    }

    /// Durable records of a topic from an offset on.
    fn records_from(&self, partition: u16, topic: &str, mut from: Offset) -> Vec<Vec<u8>> {
        let (_, end) = self.inner.range(Partition(partition), topic).unwrap_or_default();
        let (mut batch, mut records) = (ReadBatch::new(), Vec::new());
        while from < end && self.inner.read(Partition(partition), topic, from, 1 << 20, &mut batch).is_ok() {
            records
                .extend(batch.frames().flat_map(|frame| frame.records()).map(|(_, record)| record.to_vec()));
            from = batch.next_offset().unwrap_or(end);
        }
        records
    }

    /// Gives up a topic's beginning but for about its last `keep` durable records: no process finds it any
    /// more, and oracles still do. Where the topic begins then, if that is later than before.
    pub fn trim_to_last(&self, partition: u16, topic: &str, keep: u64) -> Option<Offset> {
        let (mut from, end) = self.inner.range(Partition(partition), topic).unwrap_or_default();
        let floor = end.saturating_sub(keep);
        let (mut start, mut batch) = (end, ReadBatch::new());
        // Whole frames are given up.
        while from < end && self.inner.read(Partition(partition), topic, from, 1 << 20, &mut batch).is_ok() {
            let mut frames = batch.frames();
            if let Some(kept) = frames.find(|frame| frame.first_offset() + frame.len() as u64 > floor) {
                start = kept.first_offset();
                break;
            }
            from = batch.next_offset().unwrap_or(end);
        }
        let is_later = start > self.start_of(partition, topic);
        is_later.then(|| self.state.lock().starts.insert((partition, topic.to_owned()), start));
        is_later.then_some(start)
    }

    /// Where processes find that a topic begins.
    fn start_of(&self, partition: u16, topic: &str) -> Offset {
        let state = self.state.lock();
        let mut starts = state.starts.iter();
        starts.find(|((of, name), _)| *of == partition && name == topic).map_or(0, |(_, start)| *start)
    }

    /// Sequences of a writer's records in a topic that are there, or on their way and sure to arrive.
    #[must_use]
    pub fn sequences(&self, partition: u16, topic: &str, source: &str) -> BTreeSet<u64> {
        let late = self.with(partition, |device| device.late_sequences(topic, source));
        let mut there: BTreeSet<u64> = late.unwrap_or_default().into_iter().flatten().collect();
        let (mut from, end) = self.inner.range(Partition(partition), topic).unwrap_or_default();
        let mut batch = ReadBatch::new();
        while from < end && self.inner.read(Partition(partition), topic, from, 1 << 20, &mut batch).is_ok() {
            for frame in batch.frames().filter(|frame| frame.envelope().source == source) {
                let first_seq = frame.envelope().first_seq;
                there.extend(first_seq..first_seq + frame.len() as u64);
            }
            from = batch.next_offset().unwrap_or(end);
        }
        there
    }

    /// The latest time that the wall clock of a process had told when it first wrote that it opens a lane.
    #[must_use]
    pub fn announced_ms(&self, process: u64, partition: u16, source: String) -> Option<i64> {
        self.state.lock().announced.get(&(process, partition, source)).copied()
    }

    /// All faults that can be repaired are.
    pub fn heal(&self) {
        for device in &mut self.state.lock().devices {
            device.full_until_ms = 0;
            device.stalled_until_ms = 0;
        }
    }

    fn with<T>(&self, partition: u16, change: impl FnOnce(&mut Device) -> T) -> Option<T> {
        self.state.lock().devices.get_mut(usize::from(partition)).map(change)
    }

    /// What a call of a living process meets.
    fn admit(&self, partition: Partition) -> Result<(), LogError> {
        let now_ms = self.clock.now_ms();
        let device = |device: &mut Device| (device.is_failed, device.is_damaged, device.full_until_ms);
        match self.with(partition.0, device) {
            None => Err(LogError::Invalid(format!("there is no partition {partition}"))),
            Some((true, ..)) => {
                self.meet("sync_fails");
                Err(LogError::Failed("sync failed".to_owned()))
            }
            Some((_, true, _)) => Err(self.damaged(partition)),
            Some((.., until_ms)) if now_ms < until_ms => {
                self.meet("log_full");
                Err(LogError::Full(self.name.to_owned()))
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether a call that failed has its effect all the same: the outcome of such an append is unknown.
    fn takes_anyway(&self, error: &LogError) -> bool {
        let takes = matches!(error, LogError::Failed(_)) && self.state.lock().random.chance(500);
        if takes {
            self.meet("append.unknown");
        }
        takes
    }

    fn meet(&self, what: &'static str) {
        *self.state.lock().met.entry(what).or_default() += 1;
    }

    /// What its processes have met and have said, by name.
    #[must_use]
    pub fn met(&self) -> BTreeMap<&'static str, u64> {
        self.state.lock().met.clone()
    }

    fn damaged(&self, partition: Partition) -> LogError {
        self.meet("log_damaged");
        LogError::Corrupt { partition: partition.0, what: "a frame is not what was written".to_owned() }
    }
}

/// What a log is made of.
pub struct LogParts {
    /// Time.
    pub clock: Arc<SimClock>,
    /// The end of its process.
    pub fuse: Arc<Fuse>,
    /// History.
    pub trace: Arc<Trace>,
    /// What the end of the process leaves.
    pub profile: LogProfile,
    /// Shortest and longest time until a group is durable.
    pub sync_ms: (u32, u32),
    /// Of its latencies.
    pub seed: u64,
}

impl Log for SimLog {
    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    fn append(&self, partition: Partition, group: &[Frame<'_>]) -> Result<Appended, LogError> {
        self.fuse.point();
        check_group(group)?;
        let admitted = self.admit(partition);
        if let Err(error) = &admitted
            && !self.takes_anyway(error)
        {
            return Err(error.clone());
        }
        let appended = self.inner.append(partition, group)?;
        let now_ms = self.clock.now_ms();
        {
            let mut state = self.state.lock();
            let (least, most) = self.sync_ms;
            let after_ms = state.random.within(u64::from(least), u64::from(most));
            let keeps = self.profile == LogProfile::Broker;
            let device = &mut state.devices[usize::from(partition.0)];
            let due = (now_ms + after_ms.cast_signed(), self.fuse.process());
            device.append(due, group, &appended.first_offsets, keeps);
            for said in group.iter().flat_map(said_by_sink) {
                *state.met.entry(said).or_default() += 1;
            }
            // The first fact of an epoch opens it.
            for frame in
                group.iter().filter(|frame| frame.envelope.epoch > 0 && frame.envelope.first_seq == 1)
            {
                let by = (self.fuse.process(), partition.0, frame.envelope.source.to_owned());
                state.announced.entry(by).or_insert_with(|| self.clock.latest_ms());
            }
        }
        let crcs =
            group.iter().fold(0, |sum, frame| crate::trace::mix(sum, u64::from(crc(frame.records.bytes()))));
        self.trace.note(now_ms, "append", [u64::from(partition.0), crcs], || {
            let frames: Vec<String> = group.iter().map(describe).collect();
            format!("{}/{partition}: {}", self.name, frames.join(", "))
        });
        self.fuse.point();
        admitted.map(|()| appended)
    }

    fn durable(&self, partition: Partition) -> Result<Position, LogError> {
        self.fuse.check();
        match self.admit(partition) {
            Err(LogError::Full(_)) | Ok(()) => self.inner.durable(partition),
            Err(error) => Err(error),
        }
    }

    fn range(&self, partition: Partition, topic: &str) -> Result<(Offset, Offset), LogError> {
        self.fuse.check();
        let (start, end) = self.inner.range(partition, topic)?;
        Ok((start.max(self.start_of(partition.0, topic)), end))
    }

    fn read(
        &self,
        partition: Partition,
        topic: &str,
        from: Offset,
        max_bytes: usize,
        out: &mut ReadBatch,
    ) -> Result<(), LogError> {
        self.fuse.check();
        if self.with(partition.0, |device| device.is_damaged) == Some(true) {
            return Err(self.damaged(partition));
        }
        let (start, end) = self.range(partition, topic)?;
        if from < start {
            let (topic, partition) = (topic.to_owned(), partition.0);
            return Err(LogError::OutOfRange { topic, partition, offset: from, start, end });
        }
        self.inner.read(partition, topic, from, max_bytes, out)
    }

    fn trim(&self, partition: Partition, floors: &[(&str, Offset)]) -> Result<(), LogError> {
        self.fuse.point();
        self.inner.trim(partition, floors)
    }

    fn progress(&self) -> &Progress {
        self.inner.progress()
    }
}

/// What a sink says seldom.
fn said_by_sink<'a>(frame: &'a Frame<'_>) -> impl Iterator<Item = &'static str> + 'a {
    let is_sinks = frame.topic == "journal" && frame.envelope.source.starts_with("sink.");
    let count = if is_sinks { frame.records.len() } else { 0 };
    let facts = (0..count).filter_map(|index| Fact::decode(frame.records.get(index)?).ok());
    facts.filter_map(|fact| match fact {
        Fact::Credit(fact) if fact.reason == "not sent in time" => Some("send_within.withdrew"),
        Fact::Credit(fact) if fact.reason.contains("key life is over") => Some("key_life.over"),
        Fact::Credit(fact) if fact.reason.contains("a clock went back") => Some("clock.went_back"),
        Fact::Credit(fact) if fact.reason.contains("too many attempts") => Some("attempts.over"),
        Fact::Credit(fact) if fact.reason == "unresolved for too long" => Some("unresolved.over"),
        _ => None,
    })
}

fn describe(frame: &Frame<'_>) -> String {
    let (topic, count, first_seq) = (frame.topic, frame.records.len(), frame.envelope.first_seq);
    let records = (0..count).filter_map(|index| frame.records.get(index));
    let told: Vec<String> = records.map(|record| tell(topic, record)).collect();
    let told = told.join("; ");
    match first_seq {
        0 => format!("{topic} [{told}]"),
        _ => format!("{topic} {}#{first_seq} [{told}]", frame.envelope.source),
    }
}

/// A record for people.
fn tell(topic: &str, record: &[u8]) -> String {
    if let Ok(award) = Award::decode(record) {
        return format!("award {} {}", award.order_no, award.amount_minor);
    }
    if let Ok(order) = Order::decode(record) {
        return format!("order {}", order.order_no);
    }
    match Fact::decode(record) {
        Ok(Fact::Accepted(fact)) => {
            format!("accepted {} as {} {}", fact.award.order_no, fact.lane, fact.lane_seq)
        }
        Ok(Fact::Rejected(fact)) => format!("rejected {} {}", fact.order_no, fact.code),
        Ok(Fact::Conflict(fact)) => format!("conflict {}", fact.order_no),
        Ok(Fact::Opened(fact)) => format!("opened epoch {}", fact.epoch),
        Ok(Fact::Credit(fact)) => {
            format!("{} {} {:?} {}", fact.stage.as_str(), fact.lane, fact.ranges, fact.reason)
        }
        Ok(Fact::Ticked(fact)) => format!("ticked {}", fact.at_ms),
        Ok(Fact::SettingsChanged(fact)) => format!("settings {}", fact.number),
        Err(_) if topic == "awards" => match Control::decode(record) {
            Ok(control) => format!("{} {}", control.kind.as_str(), control.number),
            Err(_) => format!("{} bytes", record.len()),
        },
        Err(_) => format!("{} bytes", record.len()),
    }
}
