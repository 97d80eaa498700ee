//! Where a lane stands when a dispatcher opens it: the port of the sinks ([`JournalView`]), answered
//! by the views. A crate of its own, because sinks and processors do not know each other, and
//! because the program, its simulator and its driver of cases must run the same: an attempt that is
//! told wrongly here is a second credit (I10, I14).

#[cfg(test)]
mod tests;

use std::sync::Arc;

use hongbao_engine::mutant;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::Offset;
use hongbao_engine::task::TaskStatus;
use hongbao_processors::views::{LaneState, SentRange, ViewsReader};
use hongbao_sinks::journal_view::{JournalView, LaneResume, OpenRange, ViewError, Winner};

/// Whether a lane may send in a partition, given whether orders of it are unresolved; else why not.
pub type Admit = Box<dyn Fn(&str, u16, bool) -> Result<(), String> + Send + Sync>;

/// The folds of a partition.
pub struct PartitionFolds {
    /// Of its awards.
    pub intake: Arc<TaskStatus>,
    /// Of its journal.
    pub views: Arc<TaskStatus>,
}

/// The views of a process as sinks see them.
pub struct FoldedJournal {
    reader: Arc<ViewsReader>,
    /// By partition.
    folds: Vec<PartitionFolds>,
    admit: Admit,
}

impl FoldedJournal {
    /// The journal as these views fold it; `folds` by partition. Lanes that `admit` turns away are not
    /// available.
    #[must_use]
    pub fn new(reader: Arc<ViewsReader>, folds: Vec<PartitionFolds>, admit: Admit) -> Self {
        Self { reader, folds, admit }
    }
}

fn unavailable(partition: Partition, what: impl ToString) -> ViewError {
    ViewError { partition: partition.0, what: what.to_string() }
}

impl JournalView for FoldedJournal {
    fn folded(&self, partition: Partition) -> Result<Offset, ViewError> {
        let folds = self.folds.get(usize::from(partition.0));
        let PartitionFolds { intake, views } =
            folds.ok_or_else(|| unavailable(partition, "there is no such partition"))?;
        // Where awards were lost, so may the journal have been that says what was sent (I14): the views
        // alone cannot tell if their store is older than the loss.
        let lost = intake.halted().filter(|_| intake.is_log_changed() && !mutant!(M95));
        match views.halted().or(lost) {
            Some(reason) => Err(unavailable(partition, reason)),
            None => Ok(views.applied()),
        }
    }

    fn lane(&self, partition: Partition, lane: &str) -> Result<LaneResume, ViewError> {
        let state =
            self.reader.lane_state(partition.0, lane).map_err(|error| unavailable(partition, error))?;
        let is_unresolved = !state.sent.is_empty();
        (self.admit)(lane, partition.0, is_unresolved).map_err(|reason| unavailable(partition, reason))?;
        let as_of_ms = self.reader.as_of_ms(partition.0).map_err(|error| unavailable(partition, error))?;
        resume(state, as_of_ms).map_err(|what| unavailable(partition, format!("lane {lane}: {what}")))
    }

    fn accepted(&self, partition: Partition, lane: &str) -> Result<u64, ViewError> {
        self.reader.lane_next_seq(partition.0, lane).map_err(|error| unavailable(partition, error))
    }
}

/// What a sink goes on from.
fn resume(state: LaneState, as_of_ms: i64) -> Result<LaneResume, String> {
    let epoch =
        u32::try_from(state.epoch).map_err(|_| format!("its epoch {} is out of bounds", state.epoch))?;
    // Time goes on with ticks and intents; a clock behind the latest of them went back (I14).
    let intents = state.sent.iter().map(|range| range.first_intent_at_ms).max();
    Ok(LaneResume {
        opened: state.writer.map(|writer| Winner { writer, epoch }),
        low_water: state.low_water,
        ended: state.ended,
        open: state.sent.iter().map(open_range).collect(),
        last_at_ms: intents.unwrap_or(0).max(as_of_ms),
    })
}

fn open_range(range: &SentRange) -> OpenRange {
    OpenRange {
        first: range.first,
        count: range.count,
        first_intent_ms: range.first_intent_at_ms,
        is_unknown: range.unknown.is_some() && !range.in_flight,
    }
}
