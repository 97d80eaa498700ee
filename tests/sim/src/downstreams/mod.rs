//! Downstreams of a world. What one says and what it did are two things: each keeps a true book.
//! A [`Partner`](partner::Partner) is spoken to through the real request and answer code of the
//! HTTP adapter, the embedded ledger is the real one, driven by polls.

pub mod fault;
pub mod ledger;
pub mod partner;
pub mod port;
mod question;
pub mod watched;
mod wire;
pub mod words;

use hongbao_sinks::batch::Batch;

/// What left the process for a downstream.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Index of the downstream.
    pub downstream: usize,
    /// True time.
    pub at_ms: i64,
    /// The orders.
    pub batch: Batch,
    /// End of the durable journal of the batch's partition at that moment.
    pub journal_end: u64,
}

/// A question that left the process for a downstream.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// True time.
    pub at_ms: i64,
    /// Number of the order's lane.
    pub lane: usize,
}

/// What went wrong in a way that only the downstream sees.
#[derive(Clone, Debug)]
pub struct Breach {
    /// Id of the invariant.
    pub invariant: &'static str,
    /// The order.
    pub order_no: String,
    /// What happened.
    pub what: String,
    /// Whether a sender may do it that knows nothing of what it sent before.
    pub may_follow_loss: bool,
}
