//! The thread that drives the shards, behind the downstream port.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use hongbao_engine::commit::Committer;
use hongbao_engine::log::{Log, LogError, Position};
use hongbao_engine::panics;
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_engine::store::Store;
use hongbao_schemas::order::Order;
use parking_lot::Mutex;

use crate::batch::Batch;
use crate::downstream::{
    Capabilities, Completed, Completion, Downstream, KeyLife, Outcome, Outcomes, Ticket, Told,
};
use crate::ledger::LedgerError;
use crate::ledger::shard::{LedgerLimits, Shard};

/// Orders a batch at most.
const ITEMS_MAX: u32 = 2000;
/// Submissions open at once, queued ones included; bounds the memory of the queue (I29).
const IN_FLIGHT_MAX: u32 = 64;
/// How long a batch waits for more orders.
const BATCH_DELAY: Duration = Duration::from_millis(1);
/// Jobs decided in one round before durability is looked at again.
const ROUND_JOBS_MAX: usize = 32;
const WAIT_MAX: Duration = Duration::from_millis(20);
/// Wait between two tries to append when the device is full.
const FULL_WAIT: Duration = Duration::from_millis(100);
const COMMIT_QUEUE_MAX: usize = 64;

/// What a ledger is opened over.
pub struct LedgerSpec {
    /// The book.
    pub log: Arc<dyn Log>,
    /// One store a partition of the book, in order.
    pub stores: Vec<Arc<dyn Store>>,
    /// Called, from the ledger's thread, when something completed; it must not block.
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
    halted: Mutex<Option<String>>,
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

    /// Orders rejected since the start.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Memory held by postings that are not committed, in bytes.
    #[must_use]
    pub fn staged_bytes(&self) -> u64 {
        self.staged_bytes.load(Ordering::Relaxed)
    }

    /// Why the ledger has stopped, if it has.
    #[must_use]
    pub fn halted(&self) -> Option<String> {
        self.halted.lock().clone()
    }

    fn count(&self, outcomes: &Outcomes, len: usize) {
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
        self.rejected.fetch_add(count(|outcome| matches!(outcome, Outcome::Rejected(_))), Ordering::Relaxed);
    }
}

enum Job {
    Credit(Ticket, Batch),
    Ask(Ticket, Arc<[u8]>),
}

/// The embedded ledger as a downstream. Dropping it finishes what was submitted, commits and ends.
pub struct LedgerDownstream {
    jobs: Option<Sender<Job>>,
    done: Receiver<Completion>,
    log: Arc<dyn Log>,
    status: Arc<LedgerStatus>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LedgerDownstream {
    /// Opens all shards, folding what the book has beyond the stores, and starts the thread.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(spec: LedgerSpec) -> Result<Self, LedgerError> {
        let mut shards = Vec::new();
        for (index, store) in spec.stores.into_iter().enumerate() {
            let partition = Partition(index as u16);
            shards.push(Shard::open(partition, Arc::clone(&spec.log), store, spec.limits)?);
        }
        let thread_error = |error: std::io::Error| LedgerError::Thread(error.to_string());
        let committer = Committer::start(Arc::clone(&spec.log), 1, COMMIT_QUEUE_MAX).map_err(thread_error)?;
        let (jobs, received) = unbounded();
        let (completed, done) = unbounded();
        let status = Arc::new(LedgerStatus::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let teller = Teller { completed, wake: spec.wake, status: Arc::clone(&status) };
        let worker = Worker {
            shards,
            committer,
            log: Arc::clone(&spec.log),
            jobs: received,
            deciding: None,
            waiting: VecDeque::new(),
            teller,
            stopping: Arc::clone(&stopping),
        };
        let builder = std::thread::Builder::new().name("ledger".to_owned());
        let thread = builder.spawn(move || worker.run()).map_err(thread_error)?;
        Ok(Self { jobs: Some(jobs), done, log: spec.log, status, stopping, thread: Some(thread) })
    }

    /// What other threads may know.
    #[must_use]
    pub fn status(&self) -> Arc<LedgerStatus> {
        Arc::clone(&self.status)
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The thread lives as long as the sender; a failed ledger answers for itself.
            drop(jobs.send(job));
        }
        self.log.progress().bump();
    }
}

impl Downstream for LedgerDownstream {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_items: ITEMS_MAX,
            max_in_flight: IN_FLIGHT_MAX,
            key_life: KeyLife::Forever,
            can_query: true,
            batch_delay: BATCH_DELAY,
        }
    }

    fn submit(&mut self, ticket: Ticket, batch: Batch) {
        self.send(Job::Credit(ticket, batch));
    }

    fn ask(&mut self, ticket: Ticket, record: Arc<[u8]>) {
        self.send(Job::Ask(ticket, record));
    }

    fn poll(&mut self, done: &mut Vec<Completion>) {
        done.extend(self.done.try_iter());
    }
}

impl Drop for LedgerDownstream {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.jobs = None;
        self.log.progress().bump();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Teller {
    completed: Sender<Completion>,
    wake: Arc<dyn Fn() + Send + Sync>,
    status: Arc<LedgerStatus>,
}

impl Teller {
    fn tell(&self, completion: Completion) {
        drop(self.completed.send(completion));
    }
}

/// An answer that waits until it is durable.
struct Waiting {
    partition: Partition,
    position: Position,
    completion: Completion,
}

struct Worker {
    shards: Vec<Shard>,
    committer: Committer,
    log: Arc<dyn Log>,
    jobs: Receiver<Job>,
    /// The job being decided, which has an answer even when deciding it fails.
    deciding: Option<(Ticket, bool)>,
    waiting: VecDeque<Waiting>,
    teller: Teller,
    stopping: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self) {
        let worked = panics::catch(|| self.work().and_then(|()| self.finish()));
        if let Err(error) = worked.unwrap_or_else(|text| Err(LedgerError::Panicked(text))) {
            tracing::error!(%error, "the ledger has stopped");
            self.fail(&error);
        }
    }

    fn work(&mut self) -> Result<(), LedgerError> {
        loop {
            let seen = self.log.progress().version();
            let decided = self.decide_some()?;
            let told = self.tell_durable()?;
            let mut staged_bytes = 0;
            for shard in &mut self.shards {
                shard.commit(&self.committer, false)?;
                staged_bytes += shard.staged_bytes() as u64;
            }
            self.teller.status.staged_bytes.store(staged_bytes, Ordering::Relaxed);
            if decided + told > 0 {
                continue;
            }
            if self.stopping.load(Ordering::Acquire) && self.jobs.is_empty() && self.waiting.is_empty() {
                return Ok(());
            }
            self.log.progress().wait(seen, WAIT_MAX);
        }
    }

    fn decide_some(&mut self) -> Result<usize, LedgerError> {
        let mut decided = 0;
        while decided < ROUND_JOBS_MAX && !self.shards.iter().any(Shard::is_full) {
            let Ok(job) = self.jobs.try_recv() else { break };
            self.deciding = Some(match &job {
                Job::Credit(ticket, _) => (*ticket, true),
                Job::Ask(ticket, _) => (*ticket, false),
            });
            let waiting = self.decide(job)?;
            self.deciding = None;
            self.waiting.push_back(waiting);
            decided += 1;
        }
        Ok(decided)
    }

    fn decide(&mut self, job: Job) -> Result<Waiting, LedgerError> {
        let partitions = self.shards.len() as u16;
        let (ticket, partition) = match &job {
            Job::Credit(ticket, batch) => (*ticket, batch.partition()),
            Job::Ask(ticket, record) => {
                let act_id = Order::decode(record).map_or("", |order| order.act_id);
                (*ticket, partition_of(act_id.as_bytes(), partitions))
            }
        };
        let index = usize::from(partition.0);
        let Some(shard) = self.shards.get_mut(index) else {
            let what = "an order of a partition that the ledger does not have".to_owned();
            return Err(LedgerError::Book { partition: partition.0, offset: 0, what });
        };
        let result = match job {
            Job::Credit(_, batch) => {
                let outcomes = shard.credit(&batch)?;
                hongbao_engine::kill_point!("ledger.decided");
                self.append(index)?;
                self.teller.status.count(&outcomes, batch.len());
                Completed::Sent { outcomes, pause: None }
            }
            Job::Ask(_, record) => Completed::Asked { told: shard.ask(&record)?, pause: None },
        };
        let position = self.shards[index].position();
        Ok(Waiting { partition, position, completion: Completion { ticket, result } })
    }

    /// Appends what a shard has decided. While there is no space, what was decided before is still
    /// answered; nothing is committed then.
    fn append(&mut self, index: usize) -> Result<(), LedgerError> {
        loop {
            let seen = self.log.progress().version();
            match self.shards[index].append() {
                Err(LedgerError::Log(LogError::Full(_))) if !self.stopping.load(Ordering::Acquire) => {
                    self.tell_durable()?;
                    self.log.progress().wait(seen, FULL_WAIT);
                }
                appended => return appended,
            }
        }
    }

    /// An answer stays in `waiting` until it is given, so that a failure in between loses none.
    fn tell_durable(&mut self) -> Result<usize, LedgerError> {
        let mut told = 0;
        for _ in 0..self.waiting.len() {
            let Some(first) = self.waiting.front() else { break };
            if !self.shards[usize::from(first.partition.0)].is_durable(first.position)? {
                self.waiting.rotate_left(1);
            } else if let Some(durable) = self.waiting.pop_front() {
                hongbao_engine::kill_point!("ledger.durable");
                self.teller.tell(durable.completion);
                hongbao_engine::kill_point!("ledger.answered");
                told += 1;
            }
        }
        if told > 0 {
            (self.teller.wake)();
        }
        Ok(told)
    }

    /// Commits everything, so that a restart has nothing to read again.
    fn finish(&mut self) -> Result<(), LedgerError> {
        loop {
            let seen = self.log.progress().version();
            let mut busy = false;
            for shard in &mut self.shards {
                busy |= shard.commit(&self.committer, true)? || shard.uncommitted() > 0;
            }
            if !busy {
                return Ok(());
            }
            self.log.progress().wait(seen, WAIT_MAX);
        }
    }

    /// Answers everything: what was decided may be in the book, the rest certainly is not.
    fn fail(&mut self, error: &LedgerError) {
        *self.teller.status.halted.lock() = Some(error.to_string());
        if let Some((ticket, is_credit)) = self.deciding.take() {
            let unknown = || sent(Outcome::Unknown("ledger_failed".into()));
            let result = if is_credit { unknown() } else { asked() };
            self.teller.tell(Completion { ticket, result });
        }
        for waiting in std::mem::take(&mut self.waiting) {
            let result = match waiting.completion.result {
                Completed::Sent { .. } => sent(Outcome::Unknown("ledger_failed".into())),
                Completed::Asked { .. } => asked(),
            };
            self.teller.tell(Completion { ticket: waiting.completion.ticket, result });
        }
        (self.teller.wake)();
        while let Ok(job) = self.jobs.recv() {
            let (ticket, result) = match job {
                // The job that failed is not among these, and none of these was begun.
                Job::Credit(ticket, _) => (ticket, sent(Outcome::NotSent("ledger_failed".into()))),
                Job::Ask(ticket, _) => (ticket, asked()),
            };
            self.teller.tell(Completion { ticket, result });
            (self.teller.wake)();
        }
    }
}

fn sent(outcome: Outcome) -> Completed {
    Completed::Sent { outcomes: Outcomes::All(outcome), pause: None }
}

fn asked() -> Completed {
    Completed::Asked { told: Told::Unknown("ledger_failed".into()), pause: None }
}
