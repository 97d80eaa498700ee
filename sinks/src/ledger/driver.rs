//! The embedded ledger behind the downstream port: opening, status, and the way to its thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use hongbao_engine::commit::Committer;
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::store::Store;
use parking_lot::Mutex;

use crate::batch::Batch;
use crate::downstream::{Capabilities, Completion, Downstream, Outcome, Outcomes, Ticket};
use crate::ledger::LedgerError;
use crate::ledger::port::Port;
use crate::ledger::shard::LedgerLimits;
use crate::ledger::worker::Worker;

const COMMIT_QUEUE_MAX: usize = 64;

/// What a ledger is opened over.
pub struct LedgerSpec {
    /// The book.
    pub log: Arc<dyn Log>,
    /// One store a partition of the book, in order.
    pub stores: Vec<Arc<dyn Store>>,
    /// Called, from where the ledger works, when something completed; it must not block.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// When to commit and how much to keep.
    pub limits: LedgerLimits,
}

/// What other threads may know of a ledger.
#[derive(Debug, Default)]
pub struct LedgerStatus {
    credited: AtomicU64,
    repeated: AtomicU64,
    rejected: AtomicU64,
    staged_bytes: AtomicU64,
    halted: Mutex<BTreeMap<u16, String>>,
}

impl LedgerStatus {
    /// Orders credited since the start, those whose answer waits for the book included.
    #[must_use]
    pub fn credited(&self) -> u64 {
        self.credited.load(Ordering::Relaxed)
    }

    /// Orders since the start that had been credited before.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// Orders rejected since the start, those in conflict with an earlier one included.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Memory held by postings that are not committed, in bytes.
    #[must_use]
    pub fn staged_bytes(&self) -> u64 {
        self.staged_bytes.load(Ordering::Relaxed)
    }

    /// Which partitions have stopped for good and why, if any has (I26). The others go on.
    #[must_use]
    pub fn halted(&self) -> Option<String> {
        let halted = self.halted.lock();
        let each: Vec<String> =
            halted.iter().map(|(partition, reason)| format!("partition {partition}: {reason}")).collect();
        (!each.is_empty()).then(|| each.join("; "))
    }

    /// Why a partition has stopped for good, if it has.
    #[must_use]
    pub fn halted_in(&self, partition: Partition) -> Option<String> {
        self.halted.lock().get(&partition.0).cloned()
    }

    /// A partition stops; the first reason stands.
    pub(super) fn halt(&self, partition: Partition, error: &LedgerError) {
        tracing::error!(partition = partition.0, %error, "a partition of the ledger has stopped");
        self.halted.lock().entry(partition.0).or_insert_with(|| error.to_string());
    }

    pub(super) fn set_staged_bytes(&self, bytes: u64) {
        self.staged_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn count(&self, outcomes: &Outcomes, len: usize) {
        let count = |wanted: fn(&Outcome) -> bool| match outcomes {
            Outcomes::All(outcome) => {
                if wanted(outcome) {
                    len
                } else {
                    0
                }
            }
            Outcomes::Each(each) => each.iter().filter(|outcome| wanted(outcome)).count(),
            Outcomes::Split(_) => 0,
        } as u64;
        self.credited.fetch_add(count(|outcome| *outcome == Outcome::Credited), Ordering::Relaxed);
        self.repeated.fetch_add(count(|outcome| *outcome == Outcome::AlreadyCredited), Ordering::Relaxed);
        let is_rejected = |outcome: &Outcome| matches!(outcome, Outcome::Rejected(_) | Outcome::Conflict(_));
        self.rejected.fetch_add(count(is_rejected), Ordering::Relaxed);
    }
}

/// The embedded ledger as a downstream. Dropping it finishes what was submitted, commits
/// and ends; what a full store or half a minute does not let it answer or commit is left to the next
/// start. A call to the device that does not come back still keeps its thread, and this one.
pub struct LedgerDownstream {
    port: Port,
    log: Arc<dyn Log>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LedgerDownstream {
    /// Opens all shards, folding what the book has beyond the stores, and starts the thread. A
    /// partition that cannot be opened is halted from the start, alone (I26).
    ///
    /// # Errors
    /// [`LedgerError::Thread`], [`LedgerError::Stores`].
    pub fn open(spec: LedgerSpec) -> Result<Self, LedgerError> {
        let log = Arc::clone(&spec.log);
        let thread_error = |error: std::io::Error| LedgerError::Thread(error.to_string());
        let committer = Committer::start(Arc::clone(&log), 1, COMMIT_QUEUE_MAX).map_err(thread_error)?;
        let (worker, port) = Worker::open(spec, Arc::new(committer))?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let builder = std::thread::Builder::new().name("ledger".to_owned());
        let thread = builder.spawn(move || worker.run(&stop)).map_err(thread_error)?;
        Ok(Self { port, log, stopping, thread: Some(thread) })
    }

    /// What other threads may know.
    #[must_use]
    pub fn status(&self) -> Arc<LedgerStatus> {
        Arc::clone(self.port.status())
    }
}

impl Downstream for LedgerDownstream {
    fn capabilities(&self) -> Capabilities {
        self.port.capabilities()
    }

    fn submit(&mut self, ticket: Ticket, batch: Batch) {
        self.port.submit(ticket, batch);
        self.log.progress().bump();
    }

    fn ask(&mut self, ticket: Ticket, record: Arc<[u8]>) {
        self.port.ask(ticket, record);
        self.log.progress().bump();
    }

    fn poll(&mut self, done: &mut Vec<Completion>) {
        self.port.poll(done);
    }

    fn halted(&self, partition: Partition) -> Option<String> {
        self.port.halted(partition)
    }
}

impl Drop for LedgerDownstream {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.port.close();
        self.log.progress().bump();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
