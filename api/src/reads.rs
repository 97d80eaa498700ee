//! What the API reads. Implemented over the folds by the binary; all calls are quick look-ups in
//! memory or a local store and never wait for a fold.

use crate::metrics::Sample;
use crate::model::{Counts, EntryView, LaneView, OrderView, Page, ReconcileRow, TotalsView, WalletView};

/// Whether reads may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Reads reflect everything that was acknowledged before the start.
    Ready,
    /// Still folding what was in the log at the start.
    Recovering(String),
    /// Partitions that have stopped (I26); what they hold may be incomplete.
    Halted(Vec<String>),
    /// Shutting down.
    Draining,
}

/// Intake's decision on one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// First of its order number.
    Accepted,
    /// Same order number, same payload.
    Duplicate,
    /// Same order number, other payload.
    Conflict,
    /// Refused; the stable code.
    Rejected(&'static str),
    /// Not decodable; the stable code.
    Undecodable,
}

/// Told one verdict a record, in order; none where it is not known any more. Must not block.
pub type Answer = Box<dyn FnOnce(Vec<Option<Verdict>>) + Send>;

/// Keeps a watch alive until it is dropped.
pub type Watch = Box<dyn std::any::Any + Send>;

/// A point of the `awards` topic that a reader waits for; see [`Reads::passed`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Barrier {
    /// Partition.
    pub partition: u16,
    /// End of `awards` when the barrier was made.
    pub awards_end: u64,
    /// Log position of intake's outputs, once intake has passed `awards_end`.
    pub outputs_position: Option<u64>,
    /// End of the journal, once those outputs are durable.
    pub journal_end: Option<u64>,
}

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A cursor that this API did not give out.
    #[error("the cursor is not one that this API gave out")]
    BadCursor,
    /// A name that cannot be grouped by.
    #[error("cannot group by `{0}`: use activity_id, scene_id or reward_type")]
    BadGroup(String),
    /// The partition that was asked has stopped (I26): which task, and why.
    #[error("{0}")]
    Halted(String),
    /// A store failed.
    #[error("{0}")]
    Failed(String),
}

/// Projections and their progress.
pub trait Reads: Send + Sync + 'static {
    /// Whether reads may be served.
    fn readiness(&self) -> Readiness;
    /// Why nobody decides the awards of a partition before a person has acted, if that is so (I26).
    fn intake_halted(&self, partition: u16) -> Option<String>;
    /// Verdicts so far, all partitions.
    fn counts(&self) -> Counts;
    /// Calls `answer` once intake has decided the `count` records of `awards` from `first` on; at
    /// once if it has. Dropping what is returned gives up.
    fn watch(&self, partition: u16, first: u64, count: usize, answer: Answer) -> Watch;
    /// A barrier at the present end of a partition.
    ///
    /// # Errors
    /// [`ReadError::Failed`].
    fn barrier(&self, partition: u16) -> Result<Barrier, ReadError>;
    /// Whether the views hold everything up to the barrier; notes in it how far things are.
    ///
    /// # Errors
    /// [`ReadError::Failed`].
    fn passed(&self, barrier: &mut Barrier) -> Result<bool, ReadError>;
    /// An order, refused ones included.
    ///
    /// # Errors
    /// [`ReadError::Failed`].
    fn order(&self, order_no: &str) -> Result<Option<OrderView>, ReadError>;
    /// A wallet; empty for a person without awards.
    ///
    /// # Errors
    /// [`ReadError`].
    fn wallet(&self, act_id: &str, items_cursor: Option<&str>) -> Result<WalletView, ReadError>;
    /// A page of a statement.
    ///
    /// # Errors
    /// [`ReadError`].
    fn entries(&self, act_id: &str, limit: usize, cursor: Option<&str>)
    -> Result<Page<EntryView>, ReadError>;
    /// Totals, grouped by the given columns and by asset.
    ///
    /// # Errors
    /// [`ReadError`].
    fn totals(&self, group_by: &[String]) -> Result<TotalsView, ReadError>;
    /// All lanes in the order of the topology.
    fn lanes(&self) -> Vec<LaneView>;
    /// Accepted against credited.
    fn reconcile(&self) -> Vec<ReconcileRow>;
    /// Everything to be scraped beside the HTTP side's own figures.
    fn samples(&self) -> Vec<Sample>;
}
