//! The shards behind the downstream port without a thread: the caller's polls drive them. For
//! simulation, where one thread does everything; what is decided, and when it is answered, is as
//! with the thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::commit::Committer;
use hongbao_engine::log::{LogError, Position};
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_schemas::order::Order;

use crate::batch::Batch;
use crate::downstream::{
    Capabilities, Completed, Completion, Downstream, KeyLife, Outcome, Outcomes, Ticket, Told,
};
use crate::ledger::shard::Shard;
use crate::ledger::{LedgerError, LedgerSpec};

enum Job {
    Credit(Ticket, Batch),
    Ask(Ticket, Arc<[u8]>),
}

/// An answer that waits until it is durable.
struct Waiting {
    shard: usize,
    position: Position,
    completion: Completion,
}

/// The embedded ledger, driven by [`Downstream::poll`].
pub struct SteppedLedger {
    shards: Vec<Shard>,
    committer: Arc<Committer>,
    jobs: VecDeque<Job>,
    /// Decided, and not yet appended since the book is full.
    unappended: Option<(usize, Completion)>,
    waiting: VecDeque<Waiting>,
    failed: Option<String>,
}

impl SteppedLedger {
    /// Opens all shards, folding what the book has beyond the stores. Commits go to `committer`,
    /// whose log must be the book; `wake` of the spec is not used.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(spec: LedgerSpec, committer: Arc<Committer>) -> Result<Self, LedgerError> {
        let mut shards = Vec::new();
        for (index, store) in spec.stores.into_iter().enumerate() {
            shards.push(Shard::open(Partition(index as u16), Arc::clone(&spec.log), store, spec.limits)?);
        }
        let (jobs, waiting) = (VecDeque::new(), VecDeque::new());
        Ok(Self { shards, committer, jobs, unappended: None, waiting, failed: None })
    }

    /// Why the ledger has stopped, if it has.
    #[must_use]
    pub fn halted(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    fn work(&mut self, done: &mut Vec<Completion>) -> Result<(), LedgerError> {
        while self.append()? && !self.shards.iter().any(Shard::is_full) {
            let Some(job) = self.jobs.pop_front() else { break };
            self.decide(job)?;
        }
        self.tell_durable(done)?;
        for shard in &mut self.shards {
            shard.commit(&self.committer, false)?;
        }
        Ok(())
    }

    /// Appends what was decided last; false while the book is full.
    fn append(&mut self) -> Result<bool, LedgerError> {
        let Some((index, _)) = &self.unappended else { return Ok(true) };
        match self.shards[*index].append() {
            Err(LedgerError::Log(LogError::Full(_))) => return Ok(false),
            appended => appended?,
        }
        if let Some((shard, completion)) = self.unappended.take() {
            let position = self.shards[shard].position();
            self.waiting.push_back(Waiting { shard, position, completion });
        }
        Ok(true)
    }

    fn decide(&mut self, job: Job) -> Result<(), LedgerError> {
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
                // It has an answer even when deciding it fails.
                self.unappended = Some((index, Completion { ticket, result: unknown() }));
                Completed::Sent { outcomes: shard.credit(&batch)?, pause: None }
            }
            Job::Ask(_, record) => Completed::Asked { told: shard.ask(&record)?, pause: None },
        };
        self.unappended = Some((index, Completion { ticket, result }));
        Ok(())
    }

    fn tell_durable(&mut self, done: &mut Vec<Completion>) -> Result<(), LedgerError> {
        for _ in 0..self.waiting.len() {
            let Some(first) = self.waiting.front() else { break };
            if !self.shards[first.shard].is_durable(first.position)? {
                self.waiting.rotate_left(1);
            } else if let Some(durable) = self.waiting.pop_front() {
                done.push(durable.completion);
            }
        }
        Ok(())
    }

    /// Answers everything: what was decided may be in the book, the rest certainly is not.
    fn fail(&mut self, done: &mut Vec<Completion>) {
        let decided = self.unappended.take().map(|(_, completion)| completion);
        let decided = decided.into_iter().chain(self.waiting.drain(..).map(|waiting| waiting.completion));
        done.extend(decided.map(|completion| {
            let result = match completion.result {
                Completed::Sent { .. } => unknown(),
                Completed::Asked { .. } => asked(),
            };
            Completion { ticket: completion.ticket, result }
        }));
        done.extend(self.jobs.drain(..).map(|job| match job {
            Job::Credit(ticket, _) => {
                let outcomes = Outcomes::All(Outcome::NotSent("ledger_failed".into()));
                Completion { ticket, result: Completed::Sent { outcomes, pause: None } }
            }
            Job::Ask(ticket, _) => Completion { ticket, result: asked() },
        }));
    }
}

impl Downstream for SteppedLedger {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_items: 2000,
            max_in_flight: 64,
            key_life: KeyLife::Forever,
            can_query: true,
            batch_delay: Duration::from_millis(1),
            timeout: Duration::ZERO,
        }
    }

    fn submit(&mut self, ticket: Ticket, batch: Batch) {
        self.jobs.push_back(Job::Credit(ticket, batch));
    }

    fn ask(&mut self, ticket: Ticket, record: Arc<[u8]>) {
        self.jobs.push_back(Job::Ask(ticket, record));
    }

    fn poll(&mut self, done: &mut Vec<Completion>) {
        if self.failed.is_none()
            && let Err(error) = self.work(done)
        {
            tracing::error!(%error, "the ledger has stopped");
            self.failed = Some(error.to_string());
        }
        if self.failed.is_some() {
            self.fail(done);
        }
    }
}

fn unknown() -> Completed {
    Completed::Sent { outcomes: Outcomes::All(Outcome::Unknown("ledger_failed".into())), pause: None }
}

fn asked() -> Completed {
    Completed::Asked { told: Told::Unknown("ledger_failed".into()), pause: None }
}
