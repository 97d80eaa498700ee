//! What other threads may know of a task: the API, metrics, and whoever waits for a record to be
//! applied.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crate::log::Position;
use crate::partition::Partition;
use crate::records::Offset;

use super::TaskError;

/// Where a task stands, written by its worker once per batch. The values are read one by one and
/// may be a batch apart from each other.
#[derive(Debug)]
pub struct TaskStatus {
    name: String,
    partition: Partition,
    input_topic: String,
    input_end: AtomicU64,
    applied: AtomicU64,
    applied_appended_at_ms: AtomicI64,
    outputs_position: AtomicU64,
    committed: AtomicU64,
    staged_bytes: AtomicUsize,
    repeats: AtomicU64,
    outdated: AtomicU64,
    recovered: AtomicBool,
    waits_for: AtomicU8,
    is_log_changed: bool,
    halted: OnceLock<String>,
}

/// What keeps a task from going on although it has work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WaitsFor {
    /// Nothing: it works, or has caught up.
    Nothing = 0,
    /// Room in the log for its outputs.
    LogSpace = 1,
    /// A commit, since too much is staged (I29).
    Commit = 2,
    /// Records missing in front of one that a writer sent (I5).
    MissingRecords = 3,
    /// Room in the store for a commit. The fold goes on until too much is staged (I29).
    StoreSpace = 4,
}

impl WaitsFor {
    /// Everything that a task may wait for.
    pub const ALL: [Self; 5] =
        [Self::Nothing, Self::LogSpace, Self::Commit, Self::MissingRecords, Self::StoreSpace];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::LogSpace => "log_space",
            Self::Commit => "commit",
            Self::MissingRecords => "missing_records",
            Self::StoreSpace => "store_space",
        }
    }
}

impl TaskStatus {
    /// A task that could not be opened: it has halted before its first step (I26).
    #[must_use]
    pub fn not_opened(name: &str, partition: Partition, input_topic: &str, error: &TaskError) -> Self {
        let is_log_changed = error.is_log_changed();
        let status = Self { is_log_changed, ..Self::new(name, partition, input_topic, 0) };
        status.set_halted(&error.to_string());
        status
    }

    /// A task that has applied and committed everything below `applied`.
    pub(crate) fn new(name: &str, partition: Partition, input_topic: &str, applied: Offset) -> Self {
        Self {
            name: name.to_owned(),
            partition,
            input_topic: input_topic.to_owned(),
            input_end: applied.into(),
            applied: applied.into(),
            applied_appended_at_ms: AtomicI64::default(),
            outputs_position: AtomicU64::default(),
            committed: applied.into(),
            staged_bytes: AtomicUsize::default(),
            repeats: AtomicU64::default(),
            outdated: AtomicU64::default(),
            recovered: AtomicBool::default(),
            waits_for: AtomicU8::default(),
            is_log_changed: false,
            halted: OnceLock::new(),
        }
    }

    /// Name of the task.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Partition of the task.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Topic that the task folds.
    #[must_use]
    pub fn input_topic(&self) -> &str {
        &self.input_topic
    }

    /// End of the input as last seen; `input_end - applied` is the lag in records.
    #[must_use]
    pub fn input_end(&self) -> Offset {
        self.input_end.load(Ordering::Acquire)
    }

    /// First input offset that is not applied, or whose outputs are not yet submitted to the log.
    #[must_use]
    pub fn applied(&self) -> Offset {
        self.applied.load(Ordering::Acquire)
    }

    /// When the last applied frame was appended, milliseconds since the Unix epoch by the log's
    /// clock; 0 before the first since the start.
    #[must_use]
    pub fn applied_appended_at_ms(&self) -> i64 {
        self.applied_appended_at_ms.load(Ordering::Acquire)
    }

    /// The outputs of everything applied are durable once the log's durable position has reached
    /// this.
    #[must_use]
    pub fn outputs_position(&self) -> Position {
        Position(self.outputs_position.load(Ordering::Acquire))
    }

    /// First input offset not yet in the store: where a restart would go on.
    #[must_use]
    pub fn committed(&self) -> Offset {
        self.committed.load(Ordering::Acquire)
    }

    /// Memory held by changes not yet committed, in bytes.
    #[must_use]
    pub fn staged_bytes(&self) -> usize {
        self.staged_bytes.load(Ordering::Relaxed)
    }

    /// Records left out since the start because they had been seen (I5).
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::Relaxed)
    }

    /// Records left out since the start because a writer of a newer epoch had taken over (I24).
    #[must_use]
    pub fn outdated(&self) -> u64 {
        self.outdated.load(Ordering::Relaxed)
    }

    /// Whether the task has reached the input's end as it was when the task was opened.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered.load(Ordering::Acquire)
    }

    /// What the task waits for.
    #[must_use]
    pub fn waits_for(&self) -> WaitsFor {
        let number = self.waits_for.load(Ordering::Relaxed);
        WaitsFor::ALL.into_iter().find(|what| *what as u8 == number).unwrap_or(WaitsFor::Nothing)
    }

    /// Whether the task was not opened since its log certainly lacks what its store was folded from.
    #[must_use]
    pub fn is_log_changed(&self) -> bool {
        self.is_log_changed
    }

    /// Why the task has stopped, if it has.
    #[must_use]
    pub fn halted(&self) -> Option<String> {
        self.halted.get().cloned()
    }

    pub(crate) fn set_input_end(&self, end: Offset) {
        self.input_end.store(end, Ordering::Release);
    }

    /// `outputs` before `applied`, so that whoever sees the one sees the other.
    pub(crate) fn set_applied(&self, applied: Offset, appended_at_ms: i64, outputs: Position) {
        self.outputs_position.store(outputs.0, Ordering::Release);
        self.applied_appended_at_ms.store(appended_at_ms, Ordering::Release);
        self.applied.store(applied, Ordering::Release);
    }

    pub(crate) fn set_committed(&self, committed: Offset) {
        self.committed.store(committed, Ordering::Release);
    }

    pub(crate) fn set_staged_bytes(&self, bytes: usize) {
        self.staged_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_left_out(&self, repeats: u64, outdated: u64) {
        self.repeats.store(repeats, Ordering::Relaxed);
        self.outdated.store(outdated, Ordering::Relaxed);
    }

    pub(crate) fn set_recovered(&self) {
        self.recovered.store(true, Ordering::Release);
    }

    pub(crate) fn set_waits_for(&self, what: WaitsFor) {
        self.waits_for.store(what as u8, Ordering::Relaxed);
    }

    /// Records why the task stops; the first reason stays.
    pub(crate) fn set_halted(&self, reason: &str) {
        let _first = self.halted.get_or_init(|| reason.to_owned());
    }
}
