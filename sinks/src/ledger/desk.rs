//! One partition of the ledger at work. Its jobs go through in order, each decided, then in the book,
//! then durable, then answered; while one finds no room in the book, those behind it wait.

use std::collections::VecDeque;
use std::time::Duration;

use hongbao_engine::commit::Committer;
use hongbao_engine::log::{LogError, Position};
use hongbao_engine::store::StoreError;

use crate::downstream::{Completed, Completion};
use crate::ledger::port::{Job, Teller};
use crate::ledger::shard::Shard;
use crate::ledger::{LedgerError, LedgerStatus};

/// Jobs of a partition decided in one round before durability is looked at again.
const ROUND_JOBS_MAX: usize = 8;
/// How long a full book is left alone. Nothing tells when there is room again.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// What a round of the worker knows of the world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Time on a clock that never goes back; without it a full book is tried again in every round.
    pub now: Option<Duration>,
    /// Whether to end once nothing is left to do. Then a full book is a failure, and so is a full
    /// store that keeps jobs from being decided.
    pub is_stopping: bool,
}

/// A job that is decided, or just being decided, and not wholly in the book.
struct Begun {
    /// What to answer if the partition stops now: the book may hold it or not.
    unknown: Completion,
    /// What to answer once it is durable; none before it is decided.
    result: Option<Completed>,
    /// Orders in it.
    orders: usize,
}

/// An answer that waits until it is durable.
struct Waiting {
    position: Position,
    unknown: Completion,
    result: Completed,
}

/// One partition at work.
pub struct Desk {
    shard: Shard,
    /// Not begun.
    jobs: VecDeque<Job>,
    /// Nothing else is begun, and nothing committed, before it is in the book.
    begun: Option<Begun>,
    /// In the order of their positions.
    waiting: VecDeque<Waiting>,
    /// Since the book was full: when it is tried again.
    full_until: Option<Duration>,
}

impl Desk {
    /// Over an open shard.
    pub fn new(shard: Shard) -> Self {
        let (jobs, waiting) = (VecDeque::new(), VecDeque::new());
        Self { shard, jobs, begun: None, waiting, full_until: None }
    }

    /// Queues a job.
    pub fn push(&mut self, job: Job) {
        self.jobs.push_back(job);
    }

    /// Whether everything was answered.
    pub fn is_done(&self) -> bool {
        self.jobs.is_empty() && self.begun.is_none() && self.waiting.is_empty()
    }

    /// Memory held by what is not committed.
    pub fn staged_bytes(&self) -> usize {
        self.shard.staged_bytes()
    }

    /// Decides some jobs and appends what they post. Returns how many came into the book. After an
    /// error the partition must be closed.
    pub fn work(&mut self, round: Round, status: &LedgerStatus) -> Result<usize, LedgerError> {
        let mut count = usize::from(self.begun.is_some() && self.append(round, status)?);
        while self.begun.is_none() && count < ROUND_JOBS_MAX && !self.shard.is_full() {
            let Some(job) = self.jobs.pop_front() else { break };
            self.decide(job)?;
            count += usize::from(self.append(round, status)?);
        }
        let is_stuck = self.shard.is_full() && self.shard.waits_for_space() && self.waiting.is_empty();
        if round.is_stopping && is_stuck && !self.jobs.is_empty() {
            return Err(StoreError::Full("orders were left undecided at the stop".to_owned()).into());
        }
        Ok(count)
    }

    fn decide(&mut self, job: Job) -> Result<(), LedgerError> {
        // It has an answer even when deciding it fails.
        let begun = self.begun.insert(Begun { unknown: job.unknown(), result: None, orders: 0 });
        let result = match &job {
            Job::Credit(_, batch) => {
                let outcomes = self.shard.credit(batch)?;
                hongbao_engine::kill_point!("ledger.decided");
                begun.orders = batch.len();
                Completed::Sent { outcomes, pause: None }
            }
            Job::Ask(_, record) => Completed::Asked { told: self.shard.ask(record)?, pause: None },
        };
        begun.result = Some(result);
        Ok(())
    }

    /// Appends what is begun; false while there is no room.
    fn append(&mut self, round: Round, status: &LedgerStatus) -> Result<bool, LedgerError> {
        let is_paused = self.full_until.zip(round.now).is_some_and(|(until, now)| now < until);
        if is_paused && !round.is_stopping {
            return Ok(false);
        }
        match self.shard.append() {
            Err(LedgerError::Log(LogError::Full(_))) if !round.is_stopping => {
                self.full_until = round.now.map(|now| now + FULL_PAUSE);
                return Ok(false);
            }
            appended => appended?,
        }
        self.full_until = None;
        if let Some(Begun { unknown, result: Some(result), orders }) = self.begun.take() {
            if let Completed::Sent { outcomes, .. } = &result {
                status.count(outcomes, orders);
            }
            self.waiting.push_back(Waiting { position: self.shard.position(), unknown, result });
        }
        Ok(true)
    }

    /// Gives the answers that hold by now; returns how many. After an error the partition must be
    /// closed.
    pub fn tell_durable(&mut self, teller: &mut Teller) -> Result<usize, LedgerError> {
        let mut told = 0;
        while let Some(first) = self.waiting.front() {
            if !self.shard.is_durable(first.position)? {
                break;
            }
            hongbao_engine::kill_point!("ledger.durable");
            let Some(Waiting { unknown, result, .. }) = self.waiting.pop_front() else { break };
            teller.tell(Completion { ticket: unknown.ticket, result });
            hongbao_engine::kill_point!("ledger.answered");
            told += 1;
        }
        Ok(told)
    }

    /// Lets the shard commit, everything there is when `now`. Returns whether something is still to
    /// be committed. After an error the partition must be closed.
    pub fn commit(&mut self, committer: &Committer, now: bool) -> Result<bool, LedgerError> {
        Ok(self.shard.commit(committer, now)? || self.shard.uncommitted() > 0)
    }

    /// Postings that are not committed.
    pub fn uncommitted(&self) -> u64 {
        self.shard.uncommitted()
    }

    /// Whether a commit found no room in the store, and none may begin before it is over.
    pub fn waits_for_space(&self) -> bool {
        self.shard.waits_for_space()
    }

    /// Answers everything, since the partition stops: what is durable as it was decided; what was
    /// begun is unknown; the rest was not done.
    pub fn close(self, durable: Option<Position>, teller: &mut Teller) {
        for Waiting { position, unknown, result } in self.waiting {
            let is_durable = durable.is_some_and(|durable| durable >= position);
            let ticket = unknown.ticket;
            teller.tell(if is_durable { Completion { ticket, result } } else { unknown });
        }
        self.begun.into_iter().for_each(|begun| teller.tell(begun.unknown));
        self.jobs.into_iter().for_each(|job| teller.tell(job.refused()));
    }
}
