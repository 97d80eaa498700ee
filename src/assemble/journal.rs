//! What the dispatcher asks of the folded journal when it opens a lane, answered by the views.

use std::sync::Arc;

use hongbao_engine::partition::Partition;
use hongbao_engine::records::Offset;
use hongbao_engine::task::TaskStatus;
use hongbao_processors::views::ViewsReader;
use hongbao_sinks::journal_view::{JournalView, LaneResume, OpenRange, ViewError, Winner};

/// Whether a lane may send in a partition, given whether orders of it are unresolved; else why not.
pub type Admit = Box<dyn Fn(&str, u16, bool) -> Result<(), String> + Send + Sync>;

/// The views of a process as sinks see them.
pub struct FoldedJournal {
    reader: Arc<ViewsReader>,
    /// The views' tasks, by partition.
    tasks: Vec<Arc<TaskStatus>>,
    admit: Admit,
}

impl FoldedJournal {
    /// The journal as these views fold it.
    pub fn new(reader: Arc<ViewsReader>, tasks: Vec<Arc<TaskStatus>>, admit: Admit) -> Self {
        Self { reader, tasks, admit }
    }
}

fn unavailable(partition: Partition, what: impl ToString) -> ViewError {
    ViewError { partition: partition.0, what: what.to_string() }
}

impl JournalView for FoldedJournal {
    fn folded(&self, partition: Partition) -> Result<Offset, ViewError> {
        let task = self.tasks.get(usize::from(partition.0));
        let task = task.ok_or_else(|| unavailable(partition, "there is no such partition"))?;
        match task.halted() {
            Some(reason) => Err(unavailable(partition, reason)),
            None => Ok(task.applied()),
        }
    }

    fn lane(&self, partition: Partition, lane: &str) -> Result<LaneResume, ViewError> {
        let state =
            self.reader.lane_state(partition.0, lane).map_err(|error| unavailable(partition, error))?;
        let is_unresolved = !state.sent.is_empty();
        (self.admit)(lane, partition.0, is_unresolved).map_err(|reason| unavailable(partition, reason))?;
        let epoch = u32::try_from(state.epoch).map_err(|_| {
            unavailable(partition, format!("epoch {} of lane {lane} is out of bounds", state.epoch))
        })?;
        // Time goes on with ticks and intents; a clock behind the latest of them went back (I14).
        let intents = state.sent.iter().map(|range| range.first_intent_at_ms).max();
        let as_of_ms = self.reader.as_of_ms(partition.0).map_err(|error| unavailable(partition, error))?;
        let last_at_ms = intents.unwrap_or(0).max(as_of_ms);
        let open = state.sent.iter().map(|range| OpenRange {
            first: range.first,
            count: range.count,
            first_intent_ms: range.first_intent_at_ms,
            is_unknown: range.unknown.is_some() && !range.in_flight,
        });
        Ok(LaneResume {
            opened: state.writer.map(|writer| Winner { writer, epoch }),
            low_water: state.low_water,
            ended: state.ended.clone(),
            open: open.collect(),
            last_at_ms,
        })
    }

    fn accepted(&self, partition: Partition, lane: &str) -> Result<u64, ViewError> {
        self.reader.lane_next_seq(partition.0, lane).map_err(|error| unavailable(partition, error))
    }
}
