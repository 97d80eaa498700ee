//! What the dispatcher needs of the folds of the journal when it opens a lane: a port, so that
//! sinks and processors do not know each other. `resume/` answers it from the views.

use hongbao_engine::partition::Partition;
use hongbao_engine::records::Offset;

/// The folded journal as far as sinks need it.
pub trait JournalView: Send + Sync {
    /// Offset of the first record of `journal[partition]` that is not folded yet.
    ///
    /// # Errors
    /// [`ViewError`] when the fold has stopped.
    fn folded(&self, partition: Partition) -> Result<Offset, ViewError>;

    /// Where a lane stands at the folded offset, or later.
    ///
    /// # Errors
    /// [`ViewError`].
    fn lane(&self, partition: Partition, lane: &str) -> Result<LaneResume, ViewError>;

    /// First lane sequence that is not accepted at the folded offset, or later: the next one due, 1 at
    /// the beginning. Asked only where several processes write; whoever folds the journal up to an
    /// order's acceptance has folded all that was missing in front of it (rules 1 and 2).
    ///
    /// # Errors
    /// [`ViewError`].
    fn accepted(&self, partition: Partition, lane: &str) -> Result<u64, ViewError>;

    /// Who has opened a lane at the folded offset, or later. Asked again and again where several
    /// processes write (rule 4); a view that can say it without the rest of [`Self::lane`] should.
    ///
    /// # Errors
    /// [`ViewError`].
    fn opened(&self, partition: Partition, lane: &str) -> Result<Option<Winner>, ViewError> {
        Ok(self.lane(partition, lane)?.opened)
    }
}

/// Where a lane of one partition stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneResume {
    /// The winning `Opened` of source `sink.<lane>`: the first of the highest epoch.
    pub opened: Option<Winner>,
    /// First lane sequence that has not ended; 1 at the beginning, and also accepted as 0.
    pub low_water: u64,
    /// Sequences at or above `low_water` that ended (credited, refused, reported), as
    /// `(first, count)`, ascending and disjoint.
    pub ended: Vec<(u64, u64)>,
    /// Sequences that have an attempt whose outcome is not known, ascending and disjoint.
    pub open: Vec<OpenRange>,
    /// The latest time that the journal is known to have seen, in milliseconds since the Unix epoch, the
    /// intents of `open` included; 0 if it is empty: shows whether the clock went back since (I14).
    pub last_at_ms: i64,
}

/// Who won an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Winner {
    /// The random number it opened with.
    pub writer: [u8; 16],
    /// The epoch, from 1.
    pub epoch: u32,
}

/// Orders with an unresolved attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRange {
    /// First lane sequence.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Time of the first intent since the order last had no unresolved attempt. Earlier is safe,
    /// later is not (I14).
    pub first_intent_ms: i64,
    /// Whether the journal already calls the last attempt unknown; false when its intent has no
    /// outcome yet, be an earlier attempt unknown or not.
    pub is_unknown: bool,
}

/// The fold cannot answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal's view of {partition} is not available: {what}")]
pub struct ViewError {
    /// Which partition.
    pub partition: u16,
    /// Why.
    pub what: String,
}
