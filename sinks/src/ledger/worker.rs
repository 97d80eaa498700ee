//! The loop that drives the desks, one a partition; a thread runs it, or polls step it. What fails,
//! fails for its partition alone (I26): its answers that wait become unknown unless they are durable,
//! what comes later is not begun, and the others go on. Every ticket completes exactly once, with
//! what is certain and no more (I10).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Receiver;
use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_engine::commit::Committer;
use hongbao_engine::log::Log;
use hongbao_engine::panics;
use hongbao_engine::partition::Partition;

use crate::ledger::desk::{Desk, Round};
use crate::ledger::port::{Job, Port, Teller};
use crate::ledger::shard::Shard;
use crate::ledger::{LedgerError, LedgerSpec, LedgerStatus};

const WAIT_MAX: Duration = Duration::from_millis(20);
/// How long a stop waits for the last answers and commits; as long as that of a fold.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The desks and what goes on with them.
pub struct Worker {
    /// By partition; none where it has stopped.
    desks: Vec<Option<Desk>>,
    /// Commits for all of them.
    committer: Arc<Committer>,
    /// The book.
    log: Arc<dyn Log>,
    /// What there is to do.
    jobs: Receiver<Job>,
    teller: Teller,
    status: Arc<LedgerStatus>,
}

impl Worker {
    /// Opens all shards, folding what the book has beyond the stores. A partition that cannot be
    /// opened is halted from the start, alone (I26). Commits go to `committer`, whose log must be the
    /// book.
    pub fn open(spec: LedgerSpec, committer: Arc<Committer>) -> Result<(Self, Port), LedgerError> {
        let LedgerSpec { log, stores, wake, limits } = spec;
        if stores.len() != usize::from(log.partitions()) {
            return Err(LedgerError::Stores { stores: stores.len(), partitions: log.partitions() });
        }
        let status = Arc::new(LedgerStatus::default());
        let open = |(partition, store)| {
            let opened = Shard::open(Partition(partition), Arc::clone(&log), store, limits);
            opened.map(Desk::new).map_err(|error| status.halt(Partition(partition), &error)).ok()
        };
        let desks = (0..).zip(stores).map(open).collect();
        let (port, jobs, teller) = Port::new(wake, Arc::clone(&status));
        Ok((Self { desks, committer, log, jobs, teller, status }, port))
    }

    /// Works until it is told to stop, then commits everything that can be committed.
    pub fn run(mut self, stopping: &AtomicBool) {
        let clock = SystemClock::new();
        let worked = panics::catch(|| {
            let since = self.work(&clock, stopping);
            let spent = clock.monotonic().saturating_sub(since);
            self.finish(&clock, STOP_TIMEOUT.saturating_sub(spent));
        });
        if let Err(text) = worked {
            self.fail(&LedgerError::Panicked(text));
        }
    }

    /// Works until it is told to stop and everything is answered. Half a minute after that a
    /// partition that still waits for its book or for a commit is given up: a device that does not
    /// answer would keep the process for ever. Returns when the stop was seen.
    pub fn work(&mut self, clock: &dyn Clock, stopping: &AtomicBool) -> Duration {
        let mut stopping_since = None;
        loop {
            let seen = self.log.progress().version();
            // Looked at first: what was submitted before a stop is then seen by the step.
            let is_stopping = stopping.load(Ordering::Acquire);
            let now = clock.monotonic();
            let has_moved = self.step(Round { now: Some(now), is_stopping });
            if is_stopping {
                let since = *stopping_since.get_or_insert(now);
                if !has_moved && self.desks.iter().flatten().all(Desk::is_done) {
                    return since;
                }
                if now.saturating_sub(since) >= STOP_TIMEOUT {
                    self.give_up();
                    return since;
                }
            }
            if !has_moved {
                self.log.progress().wait(seen, WAIT_MAX);
            }
        }
    }

    /// Stops the partitions that have not answered everything, and answers what holds.
    fn give_up(&mut self) {
        for index in 0..self.desks.len() {
            if self.desks[index].as_ref().is_some_and(|desk| !desk.is_done()) {
                self.halt(index, &LedgerError::StopTimeout);
            }
        }
        self.teller.wake();
    }

    /// Does what can be done without waiting: decides some, appends what is decided, answers what is
    /// durable, lets commits begin. Returns whether anything moved, so that a next step may do more.
    pub fn step(&mut self, round: Round) -> bool {
        self.take_jobs();
        let status = Arc::clone(&self.status);
        let decided = self.each(|desk, _| desk.work(round, &status));
        let told = self.each(Desk::tell_durable);
        self.teller.wake();
        self.commit(false);
        self.teller.wake();
        status.set_staged_bytes(self.desks.iter().flatten().map(|desk| desk.staged_bytes() as u64).sum());
        decided + told > 0
    }

    /// Brings what was submitted to its partition.
    fn take_jobs(&mut self) {
        let partitions = self.desks.len() as u16;
        while let Ok(job) = self.jobs.try_recv() {
            match self.desks.get_mut(usize::from(job.partition(partitions).0)) {
                Some(Some(desk)) => desk.push(job),
                _ => self.teller.tell(job.refused()),
            }
        }
    }

    /// Lets each partition work, and stops those that fail. Returns the sum of what they return.
    fn each(&mut self, work: impl Fn(&mut Desk, &mut Teller) -> Result<usize, LedgerError>) -> usize {
        let mut sum = 0;
        for index in 0..self.desks.len() {
            let Some(desk) = &mut self.desks[index] else { continue };
            let worked = panics::catch(|| work(desk, &mut self.teller));
            match worked.unwrap_or_else(|text| Err(LedgerError::Panicked(text))) {
                Ok(count) => sum += count,
                Err(error) => self.halt(index, &error),
            }
        }
        sum
    }

    /// Lets all shards commit, everything there is when `now`. Returns whether something is still
    /// to be committed.
    fn commit(&mut self, now: bool) -> bool {
        let committer = Arc::clone(&self.committer);
        self.each(|desk, _| desk.commit(&committer, now).map(usize::from)) > 0
    }

    /// Commits everything, so that a restart has nothing to read again. Gives up what finds no room in
    /// its store, and after `timeout` the rest: the next start folds it from the book again.
    pub fn finish(&mut self, clock: &dyn Clock, timeout: Duration) {
        let start = clock.monotonic();
        loop {
            let seen = self.log.progress().version();
            if !self.commit(true) {
                return;
            }
            // Nobody knows when there will be room, and others wait for the end.
            let mut left = self.desks.iter().flatten().filter(|desk| desk.uncommitted() > 0);
            let waited = clock.monotonic().saturating_sub(start);
            if waited >= timeout || left.all(Desk::waits_for_space) {
                return self.warn_uncommitted();
            }
            self.log.progress().wait(seen, WAIT_MAX);
        }
    }

    fn warn_uncommitted(&self) {
        for (partition, desk) in self.desks.iter().enumerate() {
            let Some(desk) = desk.as_ref().filter(|desk| desk.uncommitted() > 0) else { continue };
            let (postings, is_full) = (desk.uncommitted(), desk.waits_for_space());
            tracing::warn!(
                partition,
                postings,
                is_full,
                "the ledger ends without a commit; the next start folds these postings from the book again"
            );
        }
    }

    /// Stops a partition for good. Its answers that wait are given if they are durable; else they
    /// are unknown, for the book may hold them or not.
    fn halt(&mut self, index: usize, error: &LedgerError) {
        let partition = Partition(index as u16);
        self.status.halt(partition, error);
        let durable = panics::catch(|| self.log.durable(partition).ok());
        if let Some(desk) = self.desks.get_mut(index).and_then(Option::take) {
            desk.close(durable.ok().flatten(), &mut self.teller);
        }
    }

    /// Stops all partitions, and answers everything until the end.
    fn fail(&mut self, error: &LedgerError) {
        for index in 0..self.desks.len() {
            self.halt(index, error);
        }
        self.teller.wake();
        while let Ok(job) = self.jobs.recv() {
            self.teller.tell(job.refused());
            self.teller.wake();
        }
    }
}
