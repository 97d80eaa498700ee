//! Commits in the background: a fold sets its changes aside and goes on while threads build the
//! rows and write them, each commit only after the log made the outputs before it durable (I6).

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::log::{Log, LogError, Position};
use crate::panics;
use crate::partition::Partition;
use crate::processor::FrozenRows;
use crate::store::{Applied, Rows, Store, StoreError};

/// Longest time that a thread waits without looking; everything it waits for also wakes it.
const WAIT_MAX: Duration = Duration::from_millis(100);

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
    waiting: VecDeque<(CommitJob, Arc<Outcome>)>,
    /// Places taken: by waiting jobs, and by reservations that have not become jobs yet.
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

type Outcome = Mutex<Option<Result<(), CommitError>>>;

impl Committer {
    /// Starts `threads` threads. At most `queue_max` jobs wait for them (I29).
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(log: Arc<dyn Log>, threads: usize, queue_max: usize) -> std::io::Result<Self> {
        let mut committer = Self::manual(log, queue_max);
        for index in 0..threads {
            let shared = committer.shared.clone();
            let builder = std::thread::Builder::new().name(format!("commit-{index}"));
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

    /// Does the jobs whose outputs are durable, on the calling thread, and returns how many.
    pub fn run_ready(&self) -> usize {
        let mut count = 0;
        while let Some((job, outcome)) = self.shared.take_ready() {
            self.shared.run(job, &outcome);
            count += 1;
        }
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
        for (_, outcome) in self.shared.queue.lock().waiting.drain(..) {
            *outcome.lock() = Some(Err(CommitError::Stopped));
        }
    }
}

impl Reservation<'_> {
    /// Queues a job in the reserved place.
    pub fn submit(self, job: CommitJob) -> CommitHandle {
        let handle = CommitHandle { outcome: Arc::default(), applied: job.applied };
        {
            let mut queue = self.shared.queue.lock();
            queue.waiting.push_back((job, handle.outcome.clone()));
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
        let outcome = self.outcome.lock().clone()?;
        Some(outcome.map(|()| self.applied))
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let seen = self.log.progress().version();
            if self.queue.lock().closed {
                return;
            }
            match self.take_ready() {
                Some((job, outcome)) => self.run(job, &outcome),
                None => self.log.progress().wait(seen, WAIT_MAX),
            }
        }
    }

    /// The first job that need not wait, also because its outputs never become durable.
    fn take_ready(&self) -> Option<(CommitJob, Arc<Outcome>)> {
        let mut queue = self.queue.lock();
        let index = queue.waiting.iter().position(|(job, _)| {
            self.log.durable(job.partition).map_or(true, |durable| durable >= job.after)
        })?;
        let job = queue.waiting.remove(index)?;
        queue.taken -= 1;
        Some(job)
    }

    fn run(&self, job: CommitJob, outcome: &Outcome) {
        let result =
            panics::catch(|| self.commit(job)).unwrap_or_else(|text| Err(CommitError::Panicked(text)));
        *outcome.lock() = Some(result);
        self.log.progress().bump();
    }

    fn commit(&self, job: CommitJob) -> Result<(), CommitError> {
        if self.log.durable(job.partition)? < job.after {
            return Err(LogError::Failed("outputs are not durable any more".to_owned()).into());
        }
        crate::kill_point!("commit.begun");
        let mut runs = (job.fold_rows)()?;
        runs.push(job.task_rows);
        runs.retain(|rows| !rows.is_empty());
        crate::kill_point!("commit.rows.built");
        job.store.commit(&runs, job.applied)?;
        crate::kill_point!("commit.done");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
