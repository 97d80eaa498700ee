//! Why a task stops. Every one of these stops one partition of one task and no other (I26).

use crate::commit::CommitError;
use crate::inputs::InputError;
use crate::log::LogError;
use crate::outputs::OutputError;
use crate::processor::ProcessorError;
use crate::records::Offset;
use crate::store::StoreError;

/// Why a task stops. It has to be opened again to go on.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The log failed, is damaged, or no longer keeps what is to be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store failed or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The fold found its input or its state to contradict an invariant.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    /// A writer's records are not complete.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The log holds other outputs than the fold makes.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A commit failed.
    #[error("commit: {0}")]
    Commit(#[from] CommitError),
    /// The log ends before the records that the store has applied: it lost what was durable, or
    /// is another log.
    #[error("the store has applied {topic} up to offset {applied}, but the log ends at {log_end}")]
    LogBehindStore {
        /// Input topic.
        topic: String,
        /// First offset not applied.
        applied: Offset,
        /// End of the log.
        log_end: Offset,
    },
    /// The last applied record is not in the log any more, so nothing proves that the log is the
    /// one that was folded.
    #[error("record {offset} of {topic}, the last applied, was trimmed; the log starts at {log_start}")]
    LastRecordTrimmed {
        /// Input topic.
        topic: String,
        /// Offset of the last applied record.
        offset: Offset,
        /// First offset kept.
        log_start: Offset,
    },
    /// The last applied record is another one than that which the store has applied.
    #[error("record {offset} of {topic} has CRC-32C {found:08x}, but {stored:08x} was applied")]
    LastRecordChanged {
        /// Input topic.
        topic: String,
        /// Offset of the record.
        offset: Offset,
        /// What the store says.
        stored: u32,
        /// What the log holds.
        found: u32,
    },
    /// A graceful stop did not get its last commit through in time; the work is not lost, it will
    /// be done again after the next start.
    #[error("the last commit did not end within {waited_ms} ms")]
    StopTimeout {
        /// How long it was waited for.
        waited_ms: u128,
    },
    /// A graceful stop found no room in the store for its last commit; the work is not lost, it will
    /// be done again after the next start.
    #[error("there is no space left for the last commit")]
    StoreFull,
    /// The task has stopped before, for this reason.
    #[error("halted: {0}")]
    Halted(String),
    /// Any other task's reason.
    #[error("{0}")]
    Other(String),
}

impl TaskError {
    /// Whether the log certainly lacks what the store was folded from: it lost what was durable, or
    /// is another log (rule 5, I26).
    #[must_use]
    pub fn is_log_changed(&self) -> bool {
        matches!(
            self,
            Self::LogBehindStore { .. }
                | Self::LastRecordChanged { .. }
                | Self::Output(OutputError::Lost { .. })
        )
    }
}
