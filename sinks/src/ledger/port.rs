//! The two ends of a ledger: the port that a dispatcher submits to, and the teller that answers.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_schemas::order::Order;

use crate::batch::Batch;
use crate::downstream::{
    Capabilities, Completed, Completion, Downstream, KeyLife, Outcome, Outcomes, Reason, Ticket, Told,
};
use crate::ledger::LedgerStatus;

/// Orders a batch at most.
const ITEMS_MAX: u32 = 2000;
/// Submissions open at once, queued ones included; bounds the memory of the queue (I29).
const IN_FLIGHT_MAX: u32 = 64;
/// How long a batch waits for more orders.
const BATCH_DELAY: Duration = Duration::from_millis(1);
/// Why a partition that has stopped, or stops now, gives no answer.
const FAILED: Reason = Reason::Borrowed("ledger_failed");

/// What a ledger is given to do.
pub enum Job {
    /// To credit a batch.
    Credit(Ticket, Batch),
    /// To say what became of an order.
    Ask(Ticket, Arc<[u8]>),
}

impl Job {
    /// Where it belongs, in a ledger of so many partitions.
    pub fn partition(&self, partitions: u16) -> Partition {
        match self {
            Self::Credit(_, batch) => batch.partition(),
            Self::Ask(_, record) => {
                let act_id = Order::decode(record).map_or("", |order| order.act_id);
                partition_of(act_id.as_bytes(), partitions)
            }
        }
    }

    /// The answer when it is not begun, since its partition has stopped or is not there.
    pub fn refused(self) -> Completion {
        match self {
            Self::Credit(ticket, _) => Completion { ticket, result: sent(Outcome::NotSent(FAILED)) },
            Self::Ask(..) => self.unknown(),
        }
    }

    /// The answer when it may have been done or not.
    pub fn unknown(&self) -> Completion {
        match self {
            Self::Credit(ticket, _) => Completion { ticket: *ticket, result: sent(Outcome::Unknown(FAILED)) },
            Self::Ask(ticket, _) => {
                let told = Told::Unknown(FAILED);
                Completion { ticket: *ticket, result: Completed::Asked { told, pause: None } }
            }
        }
    }
}

fn sent(outcome: Outcome) -> Completed {
    Completed::Sent { outcomes: Outcomes::All(outcome), pause: None }
}

/// The end that answers.
pub struct Teller {
    completed: Sender<Completion>,
    wake: Arc<dyn Fn() + Send + Sync>,
    /// Whether something was answered since the last wake.
    has_told: bool,
}

impl Teller {
    /// Gives an answer; [`Self::wake`] must follow.
    pub fn tell(&mut self, completion: Completion) {
        drop(self.completed.send(completion));
        self.has_told = true;
    }

    /// Wakes whoever waits for answers, if any were given.
    pub fn wake(&mut self) {
        if std::mem::take(&mut self.has_told) {
            (self.wake)();
        }
    }
}

/// The end that submits. Who does the work, a thread or a poll, is up to its owner.
pub struct Port {
    jobs: Option<Sender<Job>>,
    done: Receiver<Completion>,
    status: Arc<LedgerStatus>,
}

impl Port {
    /// A port, what it submits, and the teller that answers it.
    pub fn new(
        wake: Arc<dyn Fn() + Send + Sync>,
        status: Arc<LedgerStatus>,
    ) -> (Self, Receiver<Job>, Teller) {
        let (jobs, submitted) = unbounded();
        let (completed, done) = unbounded();
        (Self { jobs: Some(jobs), done, status }, submitted, Teller { completed, wake, has_told: false })
    }

    /// What other threads may know.
    pub fn status(&self) -> &Arc<LedgerStatus> {
        &self.status
    }

    /// Nothing is submitted any more.
    pub fn close(&mut self) {
        self.jobs = None;
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The worker lives as long as the port; a failed one answers for itself.
            drop(jobs.send(job));
        }
    }
}

impl Downstream for Port {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_items: ITEMS_MAX,
            max_in_flight: IN_FLIGHT_MAX,
            key_life: KeyLife::Forever,
            can_query: true,
            batch_delay: BATCH_DELAY,
            timeout: Duration::ZERO,
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

    fn halted(&self, partition: Partition) -> Option<String> {
        self.status.halted_in(partition)
    }
}
