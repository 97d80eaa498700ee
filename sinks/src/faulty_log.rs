//! For tests: a log in memory that refuses one partition or groups above a size, loses the answer of
//! an append, panics, and counts how often it was full.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use hongbao_engine::log::{Appended, Log, LogError, Position};
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::partition::Partition;
use hongbao_engine::progress::Progress;
use hongbao_engine::records::{Frame, Offset, ReadBatch};
use parking_lot::Mutex;

/// Which calls of a log are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    Append,
    /// Appends too, but what they append is there.
    AnswerOfAppend,
    Durable,
    Read,
    All,
}

/// A log over another one that refuses what a test says.
pub(crate) struct FaultyLog {
    inner: Arc<MemoryLog>,
    refused: Mutex<BTreeMap<u16, (Calls, LogError)>>,
    group_bytes_max: AtomicUsize,
    /// Appends that found no room.
    pub(crate) full: AtomicU64,
    /// Whether an append panics.
    pub(crate) panics: AtomicBool,
}

impl FaultyLog {
    pub(crate) fn over(inner: &Arc<MemoryLog>) -> Arc<Self> {
        Arc::new(Self {
            inner: inner.clone(),
            refused: Mutex::default(),
            group_bytes_max: AtomicUsize::new(usize::MAX),
            full: AtomicU64::new(0),
            panics: AtomicBool::new(false),
        })
    }

    /// Refuses these calls for a partition from now on.
    pub(crate) fn refuse(&self, partition: u16, calls: Calls, error: LogError) {
        self.refused.lock().insert(partition, (calls, error));
        self.progress().bump();
    }

    pub(crate) fn set_group_bytes_max(&self, bytes: usize) {
        self.group_bytes_max.store(bytes, Ordering::SeqCst);
    }

    fn check(&self, partition: Partition, call: Calls) -> Result<(), LogError> {
        match self.refused.lock().get(&partition.0) {
            Some((calls, error)) if *calls == call || *calls == Calls::All => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

impl Log for FaultyLog {
    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    fn append(&self, partition: Partition, group: &[Frame<'_>]) -> Result<Appended, LogError> {
        assert!(!self.panics.load(Ordering::SeqCst), "told to panic");
        self.check(partition, Calls::Append)?;
        let bytes = group.iter().map(|frame| frame.records.byte_len()).sum();
        let max_bytes = self.group_bytes_max.load(Ordering::SeqCst);
        if bytes > max_bytes {
            return Err(LogError::GroupTooLarge { bytes, max_bytes });
        }
        let appended = self.inner.append(partition, group);
        if matches!(appended, Err(LogError::Full(_))) {
            self.full.fetch_add(1, Ordering::SeqCst);
        }
        self.check(partition, Calls::AnswerOfAppend)?;
        appended
    }

    fn durable(&self, partition: Partition) -> Result<Position, LogError> {
        self.check(partition, Calls::Durable)?;
        self.inner.durable(partition)
    }

    fn range(&self, partition: Partition, topic: &str) -> Result<(Offset, Offset), LogError> {
        self.check(partition, Calls::All)?;
        self.inner.range(partition, topic)
    }

    fn read(
        &self,
        partition: Partition,
        topic: &str,
        from: Offset,
        max_bytes: usize,
        out: &mut ReadBatch,
    ) -> Result<(), LogError> {
        self.check(partition, Calls::Read)?;
        self.inner.read(partition, topic, from, max_bytes, out)
    }

    fn trim(&self, partition: Partition, floors: &[(&str, Offset)]) -> Result<(), LogError> {
        self.inner.trim(partition, floors)
    }

    fn progress(&self) -> &Progress {
        self.inner.progress()
    }
}
