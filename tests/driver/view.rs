//! The folded journal as the dispatcher sees it, over the views of the world.

use std::sync::Arc;

use hongbao_engine::partition::Partition;
use hongbao_engine::records::Offset;
use hongbao_engine::task::TaskStatus;
use hongbao_processors::views::{ReadError, ViewsReader};
use hongbao_sinks::journal_view::{JournalView, LaneResume, OpenRange, ViewError, Winner};

/// Views and their tasks, by partition.
pub struct WorldView {
    pub reader: Arc<ViewsReader>,
    pub tasks: Vec<Arc<TaskStatus>>,
}

impl JournalView for WorldView {
    fn folded(&self, partition: Partition) -> Result<Offset, ViewError> {
        Ok(self.tasks[usize::from(partition.0)].applied())
    }

    fn lane(&self, partition: Partition, lane: &str) -> Result<LaneResume, ViewError> {
        let failed = |error: ReadError| ViewError { partition: partition.0, what: error.to_string() };
        let state = self.reader.lane_state(partition.0, lane).map_err(failed)?;
        let open = state.sent.iter().map(|range| OpenRange {
            first: range.first,
            count: range.count,
            first_intent_ms: range.first_intent_at_ms,
            is_unknown: range.unknown.is_some() && !range.in_flight,
        });
        let intents = state.sent.iter().map(|range| range.first_intent_at_ms).max();
        let epoch = u32::try_from(state.epoch).unwrap();
        Ok(LaneResume {
            opened: state.writer.map(|writer| Winner { writer, epoch }),
            low_water: state.low_water,
            ended: state.ended.clone(),
            open: open.collect(),
            last_at_ms: intents.unwrap_or(0).max(self.reader.as_of_ms(partition.0).map_err(failed)?),
        })
    }

    fn accepted(&self, partition: Partition, lane: &str) -> Result<u64, ViewError> {
        let failed = |error: ReadError| ViewError { partition: partition.0, what: error.to_string() };
        self.reader.lane_next_seq(partition.0, lane).map_err(failed)
    }
}
