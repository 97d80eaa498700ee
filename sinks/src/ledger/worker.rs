//! The thread that drives the shards. What fails, fails for its partition alone (I26): its answers
//! that wait become unknown unless they are durable, what comes later is not begun, and the others
//! go on. Every ticket completes exactly once, with what is certain and no more (I10).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use hongbao_engine::commit::Committer;
use hongbao_engine::log::{Log, LogError, Position};
use hongbao_engine::panics;
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_schemas::order::Order;

use crate::downstream::{Completed, Completion, Outcome, Outcomes, Reason, Ticket, Told};
use crate::ledger::LedgerError;
use crate::ledger::driver::{Job, LedgerStatus};
use crate::ledger::shard::Shard;

/// Jobs decided in one round before durability is looked at again.
const ROUND_JOBS_MAX: usize = 32;
const WAIT_MAX: Duration = Duration::from_millis(20);
/// Wait between two tries to append when the device is full.
const FULL_WAIT: Duration = Duration::from_millis(100);
/// Why a partition that has stopped, or stops now, gives no answer.
const FAILED: Reason = Reason::Borrowed("ledger_failed");

/// Where answers go.
pub struct Teller {
    /// To the port.
    pub completed: Sender<Completion>,
    /// Called after answers were given.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// Counts, and what has stopped.
    pub status: Arc<LedgerStatus>,
}

impl Teller {
    fn tell(&self, ticket: Ticket, result: Completed) {
        drop(self.completed.send(Completion { ticket, result }));
    }
}

/// An answer that waits until it is durable.
pub struct Waiting {
    partition: Partition,
    position: Position,
    completion: Completion,
}

/// The shards and what goes on with them.
pub struct Worker {
    /// By partition; none where it has stopped.
    pub shards: Vec<Option<Shard>>,
    /// Commits for all of them.
    pub committer: Committer,
    /// The book.
    pub log: Arc<dyn Log>,
    /// What there is to do.
    pub jobs: Receiver<Job>,
    /// Answers in the order in which they were decided.
    pub waiting: VecDeque<Waiting>,
    /// Where answers go.
    pub teller: Teller,
    /// Whether to end when nothing is left to do.
    pub stopping: Arc<AtomicBool>,
}

impl Worker {
    /// Works until it is told to stop.
    pub fn run(mut self) {
        let worked = panics::catch(|| {
            self.work();
            self.finish();
        });
        if let Err(text) = worked {
            self.fail(&LedgerError::Panicked(text));
        }
    }

    fn work(&mut self) {
        loop {
            let seen = self.log.progress().version();
            let decided = self.decide_some();
            let told = self.tell_durable();
            self.commit(false);
            let staged = self.shards.iter().flatten().map(|shard| shard.staged_bytes() as u64).sum();
            self.teller.status.set_staged_bytes(staged);
            if decided + told > 0 {
                continue;
            }
            if self.stopping.load(Ordering::Acquire) && self.jobs.is_empty() && self.waiting.is_empty() {
                return;
            }
            self.log.progress().wait(seen, WAIT_MAX);
        }
    }

    fn decide_some(&mut self) -> usize {
        let mut decided = 0;
        while decided < ROUND_JOBS_MAX && !self.shards.iter().flatten().any(Shard::is_full) {
            let Ok(job) = self.jobs.try_recv() else { break };
            decided += 1;
            let (ticket, is_credit) = match &job {
                Job::Credit(ticket, _) => (*ticket, true),
                Job::Ask(ticket, _) => (*ticket, false),
            };
            let partition = self.partition_of(&job);
            let index = usize::from(partition.0);
            if !self.shards.get(index).is_some_and(Option::is_some) {
                self.refuse(&job);
                continue;
            }
            let waiting = panics::catch(|| self.decide(index, job));
            match waiting.unwrap_or_else(|text| Err(LedgerError::Panicked(text))) {
                Ok(waiting) => self.waiting.push_back(waiting),
                Err(error) => {
                    self.halt(partition, &error);
                    // It may be in the book, wholly or in part.
                    self.teller.tell(ticket, no_answer(is_credit));
                    (self.teller.wake)();
                }
            }
        }
        decided
    }

    fn partition_of(&self, job: &Job) -> Partition {
        match job {
            Job::Credit(_, batch) => batch.partition(),
            Job::Ask(_, record) => {
                let act_id = Order::decode(record).map_or("", |order| order.act_id);
                partition_of(act_id.as_bytes(), self.shards.len() as u16)
            }
        }
    }

    /// Answers a job that is not begun, since its partition has stopped or is not there.
    fn refuse(&self, job: &Job) {
        match job {
            Job::Credit(ticket, _) => self.teller.tell(*ticket, sent(Outcome::NotSent(FAILED))),
            Job::Ask(ticket, _) => self.teller.tell(*ticket, no_answer(false)),
        }
        (self.teller.wake)();
    }

    fn decide(&mut self, index: usize, job: Job) -> Result<Waiting, LedgerError> {
        let partition = Partition(index as u16);
        let (ticket, result) = match job {
            Job::Credit(ticket, batch) => {
                let outcomes = self.shard(index)?.credit(&batch)?;
                hongbao_engine::kill_point!("ledger.decided");
                self.append(index)?;
                self.teller.status.count(&outcomes, batch.len());
                (ticket, Completed::Sent { outcomes, pause: None })
            }
            Job::Ask(ticket, record) => {
                (ticket, Completed::Asked { told: self.shard(index)?.ask(&record)?, pause: None })
            }
        };
        let position = self.shard(index)?.position();
        Ok(Waiting { partition, position, completion: Completion { ticket, result } })
    }

    fn shard(&mut self, index: usize) -> Result<&mut Shard, LedgerError> {
        let stopped = || LedgerError::Log(LogError::Failed("the partition has stopped".to_owned()));
        self.shards.get_mut(index).and_then(Option::as_mut).ok_or_else(stopped)
    }

    /// Appends what a shard has decided. While there is no space, what was decided before is still
    /// answered; nothing is committed then.
    fn append(&mut self, index: usize) -> Result<(), LedgerError> {
        loop {
            let seen = self.log.progress().version();
            match self.shard(index)?.append() {
                Err(LedgerError::Log(LogError::Full(_))) if !self.stopping.load(Ordering::Acquire) => {
                    self.tell_durable();
                    self.log.progress().wait(seen, FULL_WAIT);
                }
                appended => return appended,
            }
        }
    }

    /// An answer stays in `waiting` until it is given, so that a failure in between loses none.
    fn tell_durable(&mut self) -> usize {
        let mut told = 0;
        let mut failed: BTreeMap<u16, LedgerError> = BTreeMap::new();
        for _ in 0..self.waiting.len() {
            let Some(first) = self.waiting.front() else { break };
            let shard = self.shards.get(usize::from(first.partition.0)).and_then(Option::as_ref);
            let is_durable = match shard.map(|shard| shard.is_durable(first.position)) {
                Some(Ok(is_durable)) => is_durable,
                Some(Err(error)) => {
                    failed.insert(first.partition.0, error.into());
                    false
                }
                None => false,
            };
            if !is_durable {
                self.waiting.rotate_left(1);
            } else if let Some(durable) = self.waiting.pop_front() {
                hongbao_engine::kill_point!("ledger.durable");
                self.teller.tell(durable.completion.ticket, durable.completion.result);
                hongbao_engine::kill_point!("ledger.answered");
                told += 1;
            }
        }
        if told > 0 {
            (self.teller.wake)();
        }
        for (partition, error) in failed {
            self.halt(Partition(partition), &error);
        }
        told
    }

    /// Lets all shards commit, everything there is when `now`. Returns whether something is still
    /// to be committed.
    fn commit(&mut self, now: bool) -> bool {
        let mut is_busy = false;
        for index in 0..self.shards.len() {
            let Some(shard) = &mut self.shards[index] else { continue };
            match shard.commit(&self.committer, now) {
                Ok(is_under_way) => is_busy |= is_under_way || shard.uncommitted() > 0,
                Err(error) => self.halt(Partition(index as u16), &error),
            }
        }
        is_busy
    }

    /// Commits everything, so that a restart has nothing to read again.
    fn finish(&mut self) {
        loop {
            let seen = self.log.progress().version();
            if !self.commit(true) {
                return;
            }
            self.log.progress().wait(seen, WAIT_MAX);
        }
    }

    /// Stops a partition for good. Its answers that wait are given if they are durable; else they
    /// are unknown, for the book may hold them or not.
    fn halt(&mut self, partition: Partition, error: &LedgerError) {
        self.teller.status.halt(partition, error);
        if let Some(shard) = self.shards.get_mut(usize::from(partition.0)) {
            *shard = None;
        }
        let durable = self.log.durable(partition).ok();
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.partition != partition {
                self.waiting.push_back(waiting);
                continue;
            }
            let Completion { ticket, result } = waiting.completion;
            let is_durable = durable.is_some_and(|durable| durable >= waiting.position);
            let is_credit = matches!(result, Completed::Sent { .. });
            self.teller.tell(ticket, if is_durable { result } else { no_answer(is_credit) });
        }
        (self.teller.wake)();
    }

    /// Stops all partitions, and answers everything until the end.
    fn fail(&mut self, error: &LedgerError) {
        for index in 0..self.shards.len() {
            self.halt(Partition(index as u16), error);
        }
        while let Ok(job) = self.jobs.recv() {
            self.refuse(&job);
        }
    }
}

fn sent(outcome: Outcome) -> Completed {
    Completed::Sent { outcomes: Outcomes::All(outcome), pause: None }
}

/// For what may have been done or not.
fn no_answer(is_credit: bool) -> Completed {
    if is_credit {
        sent(Outcome::Unknown(FAILED))
    } else {
        Completed::Asked { told: Told::Unknown(FAILED), pause: None }
    }
}
