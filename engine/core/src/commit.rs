//! Commits in the background: a fold sets its changes aside and goes on while threads build the
//! rows and write them, each commit only after the log made the outputs before it durable (I6).
//!
//! A commit that finds no room in its store is passing, as an append is that finds none in the log:
//! its rows are kept and tried again until there is room. Any other failure ends the job.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, SystemClock};
use crate::log::{Log, LogError, Position};
use crate::mutant;
use crate::panics;
use crate::partition::Partition;
use crate::processor::FrozenRows;
use crate::store::{Applied, Rows, Store, StoreError};
use crate::thread::{Builder, JoinHandle};

/// Longest time that a thread waits without looking; everything it waits for also wakes it.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// How long a job that found no room is left alone. Nothing tells when there is room again.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// Threads that commit for all tasks of a process.
pub struct Committer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    log: Arc<dyn Log>,
    queue: Mutex<Queue>,
    queue_max: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Places taken: by waiting jobs, and by reservations that have not become jobs yet. Jobs that
    /// are tried again may be above the bound, by one for each thread.
    taken: usize,
    closed: bool,
}

/// What is to be committed.
pub struct CommitJob {
    /// Partition of the outputs.
    pub partition: Partition,
    /// The outputs are durable once the log's durable position has reached this.
    pub after: Position,
    /// Where to.
    pub store: Arc<dyn Store>,
    /// Builds the fold's rows.
    pub fold_rows: FrozenRows,
    /// The task's own rows, sorted, a key range apart from the fold's.
    pub task_rows: Rows,
    /// How far the fold had come.
    pub applied: Applied,
}

/// Why a commit did not take place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The outputs in front of it will not become durable.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The rows could not be built or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Building or writing panicked.
    #[error("{0}")]
    Panicked(String),
    /// The committer was dropped first.
    #[error("the committer has stopped")]
    Stopped,
}

/// A place in the queue.
pub struct Reservation<'a> {
    shared: &'a Shared,
}

/// Tells what became of a job.
pub struct CommitHandle {
    outcome: Arc<Outcome>,
    applied: Applied,
}

#[derive(Default)]
struct Outcome {
    /// Once the job is over.
    result: Mutex<Option<Result<(), CommitError>>>,
    /// Whether the last try found no room.
    is_full: AtomicBool,
}

/// A job in the queue.
struct Waiting {
    partition: Partition,
    after: Position,
    store: Arc<dyn Store>,
    rows: JobRows,
    applied: Applied,
    outcome: Arc<Outcome>,
    /// After a try that found no room: not before this time.
    not_before: Option<Duration>,
}

/// What a job writes. It is built once, and tried again with the same rows.
enum JobRows {
    Unbuilt(FrozenRows, Rows),
    Built(Vec<Rows>),
}

/// What a try came to.
enum Tried {
    Over(Result<(), CommitError>),
    /// No room; the job and its rows, to be tried again.
    Full(Box<Waiting>),
}

impl Committer {
    /// Starts `threads` threads. At most `queue_max` jobs wait for them (I29).
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(log: Arc<dyn Log>, threads: usize, queue_max: usize) -> std::io::Result<Self> {
        let mut committer = Self::manual(log, queue_max);
        for index in 0..threads {
            let shared = committer.shared.clone();
            let builder = Builder::new().name(format!("commit-{index}"));
            committer.threads.push(builder.spawn(move || shared.work())?);
        }
        Ok(committer)
    }

    /// A committer without threads: jobs are done by [`Self::run_ready`], so that a test decides
    /// when.
    #[must_use]
    pub fn manual(log: Arc<dyn Log>, queue_max: usize) -> Self {
        let shared = Shared { log, queue: Mutex::default(), queue_max };
        Self { shared: Arc::new(shared), threads: Vec::new() }
    }

    /// A place in the queue, if there is one.
    #[must_use]
    pub fn try_reserve(&self) -> Option<Reservation<'_>> {
        let mut queue = self.shared.queue.lock();
        if queue.taken >= self.shared.queue_max {
            return None;
        }
        queue.taken += 1;
        Some(Reservation { shared: &self.shared })
    }

    /// Does the jobs whose outputs are durable, on the calling thread, and returns how many are over.
    /// Those that find no room are tried once and stay.
    pub fn run_ready(&self) -> usize {
        let (mut count, mut full) = (0, Vec::new());
        while let Some(waiting) = self.shared.take_ready(None) {
            match self.shared.run(waiting) {
                None => count += 1,
                Some(waiting) => full.push(waiting),
            }
        }
        full.into_iter().for_each(|waiting| self.shared.put_back(waiting, None));
        count
    }
}

impl Drop for Committer {
    /// Ends after the commits under way; those that wait are given up.
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.log.progress().bump();
        for thread in self.threads.drain(..) {
            // Panics of jobs are caught, so there is nothing to learn from the join.
            drop(thread.join());
        }
        for waiting in self.shared.queue.lock().waiting.drain(..) {
            *waiting.outcome.result.lock() = Some(Err(CommitError::Stopped));
        }
    }
}

impl Reservation<'_> {
    /// Queues a job in the reserved place.
    pub fn submit(self, job: CommitJob) -> CommitHandle {
        let handle = CommitHandle { outcome: Arc::default(), applied: job.applied };
        {
            let mut queue = self.shared.queue.lock();
            let CommitJob { partition, after, store, fold_rows, task_rows, applied } = job;
            let (rows, outcome) = (JobRows::Unbuilt(fold_rows, task_rows), Arc::clone(&handle.outcome));
            let waiting = Waiting { partition, after, store, rows, applied, outcome, not_before: None };
            queue.waiting.push_back(waiting);
            // The place now belongs to the job; dropping the reservation gives one back.
            queue.taken += 1;
        }
        self.shared.log.progress().bump();
        handle
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.shared.queue.lock().taken -= 1;
    }
}

impl CommitHandle {
    /// What became of the job, once it is over: how far the store has come.
    ///
    /// # Errors
    /// [`CommitError`], as the result of the job.
    #[must_use]
    pub fn poll(&self) -> Option<Result<Applied, CommitError>> {
        let outcome = self.outcome.result.lock().clone()?;
        Some(outcome.map(|()| self.applied))
    }

    /// Whether the job found no room when it was tried last, and is not being tried now. It is tried
    /// again without being asked.
    #[must_use]
    pub fn waits_for_space(&self) -> bool {
        self.outcome.is_full.load(Ordering::Acquire)
    }
}

impl Shared {
    /// A thread: it lives in real time, so its pauses do too.
    fn work(&self) {
        let clock = SystemClock::new();
        loop {
            let seen = self.log.progress().version();
            if self.queue.lock().closed {
                return;
            }
            let Some(waiting) = self.take_ready(Some(clock.monotonic())) else {
                self.log.progress().wait(seen, WAIT_MAX);
                continue;
            };
            if let Some(full) = self.run(waiting) {
                self.put_back(full, Some(clock.monotonic() + FULL_PAUSE));
            }
        }
    }

    /// The first job that need not wait, also because its outputs never become durable. Without a
    /// time pauses count for nothing.
    fn take_ready(&self, now: Option<Duration>) -> Option<Waiting> {
        let mut queue = self.queue.lock();
        let index = queue.waiting.iter().position(|waiting| {
            let pause = now.zip(waiting.not_before);
            let is_paused = pause.is_some_and(|(now, not_before)| now < not_before);
            let is_durable = || {
                self.log
                    .durable(waiting.partition)
                    .map_or(true, |durable| durable >= waiting.after || mutant!(M01))
            };
            !is_paused && is_durable()
        })?;
        let waiting = queue.waiting.remove(index)?;
        queue.taken -= 1;
        // Open again while it is tried: a graceful stop at this moment waits for what comes of it.
        waiting.outcome.is_full.store(false, Ordering::Release);
        Some(waiting)
    }

    /// Keeps a job that found no room.
    fn put_back(&self, mut waiting: Waiting, not_before: Option<Duration>) {
        waiting.not_before = not_before;
        let mut queue = self.queue.lock();
        queue.waiting.push_back(waiting);
        queue.taken += 1;
    }

    /// Tries a job; gives it back if there was no room.
    fn run(&self, waiting: Waiting) -> Option<Waiting> {
        let outcome = Arc::clone(&waiting.outcome);
        let tried = panics::catch(|| self.try_commit(waiting))
            .unwrap_or_else(|text| Tried::Over(Err(CommitError::Panicked(text))));
        let full = match tried {
            Tried::Over(result) => {
                let result = if mutant!(M04) { Ok(()) } else { result };
                *outcome.result.lock() = Some(result);
                None
            }
            Tried::Full(waiting) => {
                outcome.is_full.store(true, Ordering::Release);
                Some(*waiting)
            }
        };
        self.log.progress().bump();
        full
    }

    fn try_commit(&self, mut waiting: Waiting) -> Tried {
        let runs = match self.build(&mut waiting) {
            Ok(runs) => runs,
            Err(error) => return Tried::Over(Err(error)),
        };
        crate::kill_point!("commit.rows.built");
        let applied = if mutant!(M02) { waiting.store.applied() } else { Ok(waiting.applied) };
        let result = applied.and_then(|applied| waiting.store.commit(&runs, applied));
        crate::kill_point!("commit.done");
        match result {
            Err(StoreError::Full(_)) => {
                waiting.rows = JobRows::Built(runs);
                Tried::Full(Box::new(waiting))
            }
            result => Tried::Over(result.map_err(CommitError::from)),
        }
    }

    fn build(&self, waiting: &mut Waiting) -> Result<Vec<Rows>, CommitError> {
        if self.log.durable(waiting.partition)? < waiting.after && !mutant!(M01) {
            return Err(LogError::Failed("outputs are not durable any more".to_owned()).into());
        }
        crate::kill_point!("commit.begun");
        match std::mem::replace(&mut waiting.rows, JobRows::Built(Vec::new())) {
            JobRows::Built(runs) => Ok(runs),
            JobRows::Unbuilt(fold_rows, task_rows) => {
                let mut runs = if mutant!(M03) { Vec::new() } else { fold_rows()? };
                runs.push(task_rows);
                runs.retain(|rows| !rows.is_empty());
                Ok(runs)
            }
        }
    }
}

#[cfg(test)]
mod tests;
