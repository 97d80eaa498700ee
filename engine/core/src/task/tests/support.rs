//! A fold that is easy to check, a world to run it in, and a fuse that ends a process at any call.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::clock::{Clock, ManualClock};
use crate::log::{Appended, LogError, Position};
use crate::memory::log::MemoryLog;
use crate::memory::store::MemoryStore;
use crate::processor::{FrozenRows, OutputIndex};
use crate::progress::Progress;
use crate::records::{Envelope, Frame, FrameRef, RecordBuf};
use crate::store::{StoreError, Visit};

use super::*;

pub const P0: Partition = Partition(0);
pub const INPUT: &str = "in";
const STATE_KEY: &[u8] = b"su";

/// The running sum of the input's numbers. Writes each sum to `sums`, and to `odd` the odd numbers.
pub struct SumFold {
    store: Arc<dyn Store>,
    pub sum: u64,
    /// Records since the last freeze, and in it: each stands for 10 staged bytes.
    staged: [usize; 2],
    topics: [OutputIndex; 2],
    pub poison: Option<u64>,
    /// Bytes that it holds even when everything is committed.
    pub base_bytes: usize,
}

impl SumFold {
    pub fn open(store: Arc<dyn Store>, outputs: &mut Outputs) -> Result<Self, ProcessorError> {
        let stored = store.get(STATE_KEY)?;
        let sum = stored.map_or(0, |value| number(&value));
        let topics = [outputs.topic("sums"), outputs.topic("odd")];
        Ok(Self { store, sum, staged: [0; 2], topics, poison: None, base_bytes: 0 })
    }
}

impl Processor for SumFold {
    fn apply(&mut self, frames: &[FrameRef<'_>], outputs: &mut Outputs) -> Result<(), ProcessorError> {
        for (offset, record) in frames.iter().flat_map(|frame| frame.records()) {
            let value = number(record);
            if self.poison == Some(value) {
                return Err(ProcessorError::Invariant {
                    invariant: "I8",
                    offset,
                    what: format!("{value} is poison"),
                });
            }
            self.sum += value;
            self.staged[0] += 1;
            outputs.push_with(self.topics[0], |bytes| bytes.extend_from_slice(&self.sum.to_le_bytes()));
            if value % 2 == 1 {
                outputs.push_with(self.topics[1], |bytes| bytes.extend_from_slice(record));
            }
        }
        Ok(())
    }

    fn freeze(&mut self) -> Result<FrozenRows, ProcessorError> {
        assert_eq!(self.staged[1], 0, "frozen twice");
        self.staged = [0, self.staged[0]];
        // Look-ups in the store are a part of a fold's state, here only to be one more call.
        self.store.get(STATE_KEY)?;
        let sum = self.sum;
        Ok(Box::new(move || {
            let mut rows = Rows::new();
            rows.put(STATE_KEY, &sum.to_le_bytes());
            Ok(vec![rows])
        }))
    }

    fn committed(&mut self) {
        self.staged[1] = 0;
    }

    fn staged_bytes(&self) -> usize {
        self.base_bytes + self.staged.iter().sum::<usize>() * 10
    }
}

fn number(record: &[u8]) -> u64 {
    u64::from_le_bytes(record.try_into().unwrap())
}

/// What a machine keeps when a process dies, and the process.
pub struct World {
    pub clock: Arc<ManualClock>,
    pub log: Arc<MemoryLog>,
    pub store: Arc<MemoryStore>,
    pub policy: TaskPolicy,
    pub process: Option<Process>,
}

pub struct Process {
    pub committer: Arc<Committer>,
    pub task: TaskRunner<SumFold>,
}

impl World {
    /// A world whose log is durable at once, without a process.
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::at(1_000));
        let log = Arc::new(MemoryLog::new(1, clock.clone()));
        Self { log, store: Arc::default(), clock, policy: TaskPolicy::default(), process: None }
    }

    /// A world whose log has to be synced.
    pub fn manual() -> Self {
        let world = Self::new();
        let log = Arc::new(MemoryLog::manual(1, world.clock.clone()));
        Self { log, ..world }
    }

    pub fn open(&mut self) -> Result<(), TaskError> {
        self.open_with(self.log.clone(), self.store.clone())
    }

    pub fn open_with(&mut self, log: Arc<dyn Log>, store: Arc<dyn Store>) -> Result<(), TaskError> {
        self.open_on(Committer::manual(log.clone(), 4), log, store)
    }

    pub fn open_on(
        &mut self,
        committer: Committer,
        log: Arc<dyn Log>,
        store: Arc<dyn Store>,
    ) -> Result<(), TaskError> {
        let committer = Arc::new(committer);
        let clock: Arc<dyn Clock> = self.clock.clone();
        let ports = TaskPorts { log, store: store.clone(), committer: committer.clone(), clock };
        let spec = TaskSpec {
            name: "sum/0",
            source: "sum",
            partition: P0,
            input_topic: INPUT,
            outputs: &["sums", "odd"],
        };
        let task =
            TaskRunner::open(&spec, ports, self.policy.clone(), |outputs| SumFold::open(store, outputs))?;
        self.process = Some(Process { committer, task });
        Ok(())
    }

    pub fn task(&mut self) -> &mut TaskRunner<SumFold> {
        &mut self.process.as_mut().unwrap().task
    }

    pub fn status(&mut self) -> Arc<TaskStatus> {
        self.task().status()
    }

    /// Numbers by a producer, as one frame.
    pub fn produce(&self, values: &[u64]) {
        self.send(Envelope::PRODUCER, values);
    }

    /// Numbers by a sequenced writer, as one frame.
    pub fn send(&self, envelope: Envelope<'_>, values: &[u64]) {
        let mut records = RecordBuf::new();
        for value in values {
            records.push(&value.to_le_bytes());
        }
        self.log.append(P0, &[Frame { topic: INPUT, envelope, records: &records }]).unwrap();
    }

    /// Ends the process and loses what is not durable.
    pub fn crash(&mut self) {
        self.process = None;
        self.log.crash();
    }

    pub fn commit(&mut self) -> usize {
        self.process.as_mut().unwrap().committer.run_ready()
    }

    /// Applies and commits everything there is; after a crash of the process, in a new one.
    pub fn finish(&mut self) {
        self.log.set_bytes_max(usize::MAX);
        if self.process.is_none() {
            self.open().unwrap();
        }
        self.log.sync();
        self.task().drain().unwrap();
        self.log.sync();
        self.task().commit_now().unwrap();
    }

    /// Records of a topic as numbers, having checked that an output's sequences have no gap and
    /// no repeat (I5).
    pub fn numbers(&self, topic: &str) -> Vec<u64> {
        let mut batch = ReadBatch::new();
        self.log.read(P0, topic, 0, usize::MAX, &mut batch).unwrap();
        let mut numbers = Vec::new();
        for frame in batch.frames() {
            if topic != INPUT {
                assert_eq!(frame.envelope().first_seq, numbers.len() as u64 + 1, "sequences of {topic}");
                assert_eq!(frame.envelope().source, "sum");
            }
            numbers.extend(frame.records().map(|(_, record)| number(record)));
        }
        numbers
    }

    /// Checks that what the store says is the fold of the log up to where it says it is (I6).
    pub fn check_store(&self) {
        let applied = self.store.applied().unwrap();
        let input = self.selected(applied.offset);
        let stored = self.store.get(STATE_KEY).unwrap().map_or(0, |value| number(&value));
        assert_eq!(stored, input.iter().sum::<u64>(), "state at {}", applied.offset);
    }

    /// Checks the outputs against the input, all of it.
    pub fn check_outputs(&self) {
        let input = self.selected(u64::MAX);
        let mut sum = 0;
        let sums: Vec<u64> = input
            .iter()
            .map(|value| {
                sum += value;
                sum
            })
            .collect();
        assert_eq!(self.numbers("sums"), sums);
        let odd: Vec<u64> = input.into_iter().filter(|value| value % 2 == 1).collect();
        assert_eq!(self.numbers("odd"), odd);
    }

    /// The input below `end` as it is to be applied, found out the naive way: frame by frame, and
    /// after each the held ones over and over.
    fn selected(&self, end: Offset) -> Vec<u64> {
        let mut batch = ReadBatch::new();
        self.log.read(P0, INPUT, 0, usize::MAX, &mut batch).unwrap();
        let (mut selected, mut held, mut epoch, mut mark) = (Vec::new(), Vec::new(), 0, 0);
        for frame in batch.frames().filter(|frame| frame.first_offset() < end) {
            for (index, (_, record)) in frame.records().enumerate() {
                let envelope = frame.envelope();
                if envelope.first_seq == 0 {
                    selected.push(number(record));
                } else {
                    held.push((envelope.epoch, envelope.first_seq + index as u64, number(record)));
                }
                while let Some(next) = held.iter().position(|(of_epoch, seq, _)| {
                    (*of_epoch == epoch && *seq == mark + 1) || (*of_epoch > epoch && *seq == 1)
                }) {
                    let (of_epoch, seq, value) = held.remove(next);
                    (epoch, mark) = (of_epoch, seq);
                    selected.push(value);
                }
            }
        }
        selected
    }

    /// The sequence that a writer of the only sequenced source has to go on with: behind the last
    /// one without a gap before it.
    pub fn next_seq(&self) -> u64 {
        let mut batch = ReadBatch::new();
        self.log.read(P0, INPUT, 0, usize::MAX, &mut batch).unwrap();
        let sent: Vec<_> = batch
            .frames()
            .flat_map(|frame| {
                let first_seq = frame.envelope().first_seq;
                (0..frame.len() as u64).map(move |index| if first_seq == 0 { 0 } else { first_seq + index })
            })
            .collect();
        (1..).find(|seq| !sent.contains(seq)).unwrap()
    }
}

/// Lets so many calls through; the next and all later ones fail, as if the process had died there.
pub struct Fuse {
    left: AtomicI64,
    blown: AtomicBool,
    /// Whether the call at which it blows still has its effect.
    after_effect: bool,
}

impl Fuse {
    pub fn new(calls: i64, after_effect: bool) -> Arc<Self> {
        Arc::new(Self { left: calls.into(), blown: AtomicBool::default(), after_effect })
    }

    pub fn is_blown(&self) -> bool {
        self.blown.load(Ordering::SeqCst)
    }

    fn call<T, E>(&self, died: E, effect: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if self.is_blown() {
            return Err(died);
        }
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return effect();
        }
        self.blown.store(true, Ordering::SeqCst);
        if self.after_effect {
            effect()?;
        }
        Err(died)
    }
}

fn log_died() -> LogError {
    LogError::Failed("died".to_owned())
}

fn store_died() -> StoreError {
    StoreError::Failed("died".to_owned())
}

pub struct FusedLog(pub Arc<MemoryLog>, pub Arc<Fuse>);

impl Log for FusedLog {
    fn partitions(&self) -> u16 {
        self.0.partitions()
    }

    fn append(&self, partition: Partition, group: &[Frame<'_>]) -> Result<Appended, LogError> {
        self.1.call(log_died(), || self.0.append(partition, group))
    }

    fn durable(&self, partition: Partition) -> Result<Position, LogError> {
        self.1.call(log_died(), || self.0.durable(partition))
    }

    fn range(&self, partition: Partition, topic: &str) -> Result<(Offset, Offset), LogError> {
        self.1.call(log_died(), || self.0.range(partition, topic))
    }

    fn read(
        &self,
        partition: Partition,
        topic: &str,
        from: Offset,
        max_bytes: usize,
        out: &mut ReadBatch,
    ) -> Result<(), LogError> {
        self.1.call(log_died(), || self.0.read(partition, topic, from, max_bytes, out))
    }

    fn trim(&self, partition: Partition, floors: &[(&str, Offset)]) -> Result<(), LogError> {
        self.0.trim(partition, floors)
    }

    fn progress(&self) -> &Progress {
        self.0.progress()
    }
}

pub struct FusedStore(pub Arc<MemoryStore>, pub Arc<Fuse>);

impl Store for FusedStore {
    fn applied(&self) -> Result<Applied, StoreError> {
        self.1.call(store_died(), || self.0.applied())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.1.call(store_died(), || self.0.get(key))
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.1.call(store_died(), || self.0.multi_get(keys))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.1.call(store_died(), || self.0.scan(from, to, visit))
    }

    fn commit(&self, runs: &[Rows], applied: Applied) -> Result<(), StoreError> {
        self.1.call(store_died(), || self.0.commit(runs, applied))
    }
}
