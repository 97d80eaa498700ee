//! The downstream port: whoever really gives the reward.
//!
//! Everything that waits is submit and poll, so real drivers and simulated ones fit; a driver
//! holds no decision about what an answer leads to. What it must keep:
//!
//! * `submit` and `ask` return at once, and every ticket completes exactly once within the
//!   driver's own timeout: an answer that does not come is [`Outcome::Unknown`].
//! * Nothing leaves before `submit`, and nothing is sent twice for one ticket: the dispatcher
//!   decides about every resend, since each needs an intent and a permit of its own (I12, I21).
//! * [`Outcome::NotSent`] is for what certainly had no effect; in doubt it is `Unknown` (I10).
//! * The idempotency key is a function of namespace and order number only, and equal keys carry
//!   equal bytes (I13).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::partition::Partition;

use crate::batch::Batch;

/// Why something came out as it did, for the journal and for people; at most [`REASON_BYTES_MAX`]
/// bytes of it are kept.
pub type Reason = Cow<'static, str>;

/// Longest reason that is written to the journal, in bytes.
pub const REASON_BYTES_MAX: usize = 128;

/// Names one submission; given by the dispatcher, never used twice in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A downstream of orders. See the [module](self) for what an implementation must keep.
pub trait Downstream: Send {
    /// What it can do; the same answer for the life of the value.
    fn capabilities(&self) -> Capabilities;

    /// Sends a batch of at most `max_items` orders. At most `max_in_flight` submissions are open
    /// at a time.
    fn submit(&mut self, ticket: Ticket, batch: Batch);

    /// Asks what became of one order, given its encoded `Order` record. Called only when
    /// [`Capabilities::can_query`]; at most [`Capabilities::max_in_flight`] asks are open at a time.
    fn ask(&mut self, ticket: Ticket, record: Arc<[u8]>);

    /// Appends everything that completed since the last call to `done`. Never waits.
    fn poll(&mut self, done: &mut Vec<Completion>);

    /// Why it has stopped for good for one partition, if it has (I26). What comes of that partition
    /// then completes without effect and says nothing about the others. Asked only after a
    /// submission or an ask without a definite answer.
    fn halted(&self, partition: Partition) -> Option<String> {
        let _ = partition;
        None
    }
}

/// What a downstream can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Largest batch, at least 1.
    pub max_items: u32,
    /// Most submissions open at once, at least 1.
    pub max_in_flight: u32,
    /// How long it remembers an idempotency key.
    pub key_life: KeyLife,
    /// Whether [`Downstream::ask`] may be called.
    pub can_query: bool,
    /// How long to wait for more orders before a batch below `max_items` is sent. Zero where small
    /// batches cost nothing.
    pub batch_delay: Duration,
    /// Longest time from [`Downstream::submit`] until the request has left for good: what has not
    /// left by then never does. Counts against the life of a key. Zero where nothing is sent.
    pub timeout: Duration,
}

/// How long a downstream remembers idempotency keys, counted from the first intent (I14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLife {
    /// For ever: the same key may be sent again at any time.
    Forever,
    /// At least this long.
    Lasts(Duration),
    /// Not at all: an order is sent once, and never again once an attempt of it is unresolved.
    None,
}

/// What became of one order of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done by this attempt.
    Credited,
    /// Was done by an earlier attempt with the same key.
    AlreadyCredited,
    /// Not done; try again after this time.
    Throttled {
        /// The stated time, if one was stated.
        retry_after: Option<Duration>,
    },
    /// Not done and never will be.
    Rejected(Reason),
    /// Not done with these bytes: its order number or key stands for another payload there, so a
    /// person has to look (I3, I13).
    Conflict(Reason),
    /// May or may not have been done.
    Unknown(Reason),
    /// Certainly not done, for no fault of the order.
    NotSent(Reason),
}

/// What became of the orders of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcomes {
    /// The same for every order.
    All(Outcome),
    /// One for each order, in the order of the batch. Orders without one count as unknown.
    Each(Vec<Outcome>),
    /// The batch as a whole was refused without effect, which says nothing of its orders: they
    /// are sent again in smaller batches. For a batch of one it is a rejection.
    Split(Reason),
}

/// The downstream wants to be left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Why.
    pub reason: Reason,
    /// How long.
    pub for_time: Duration,
    /// Whether a person has to change something (401, 403, 404, 405).
    pub is_configuration: bool,
}

/// What the downstream said when asked about one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was done.
    Credited,
    /// It was not done and never will be.
    Rejected(Reason),
    /// Another payload was done under its order number or key; a person has to look.
    Conflict(Reason),
    /// It is being worked on.
    Pending,
    /// It has never heard of the key.
    Absent,
    /// There was no usable answer.
    Unknown(Reason),
}

/// The end of a submission or of an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which one.
    pub ticket: Ticket,
    /// How it ended.
    pub result: Completed,
}

/// How a submission or an ask ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completed {
    /// A submission.
    Sent {
        /// What became of the orders.
        outcomes: Outcomes,
        /// Whether to pause.
        pause: Option<Pause>,
    },
    /// An ask.
    Asked {
        /// What was said.
        told: Told,
        /// Whether to pause.
        pause: Option<Pause>,
    },
}
