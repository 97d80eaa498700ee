//! A batch on its way: planned, intended, durable, sent.

use std::time::Duration;

use hongbao_engine::log::Position;

use crate::batch::Batch;

use super::now::FirstIntent;

/// A batch between plan and outcome.
#[derive(Debug)]
pub struct Flight {
    /// Index of its lane.
    pub lane: usize,
    /// Index of its partition.
    pub track: usize,
    /// The orders.
    pub batch: Batch,
    /// Whether the orders are held one by one; else they are fresh.
    pub is_held: bool,
    /// The intent of this attempt.
    pub intent: FirstIntent,
    /// How far it is.
    pub stage: Stage,
}

/// How far a batch is. Nothing leaves before its intent is durable (I12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The intent is not in the log yet.
    Planned,
    /// The intent is appended, durable when the log has reached this.
    Intended(Position),
    /// The intent counts (rule 4), and was seen to at this monotonic time.
    Durable {
        /// Monotonic.
        since: Duration,
    },
    /// Submitted at this monotonic time.
    Sent {
        /// Monotonic.
        at: Duration,
    },
}

impl Flight {
    /// Whether it was submitted.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        matches!(self.stage, Stage::Sent { .. })
    }

    /// Number of orders.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.batch.len() as u64
    }
}
