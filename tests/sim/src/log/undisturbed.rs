//! The log as oracles read it.

use std::sync::Arc;

use hongbao_engine::log::{Appended, Log, LogError, Position};
use hongbao_engine::partition::Partition;
use hongbao_engine::progress::Progress;
use hongbao_engine::records::{Frame, Offset, ReadBatch};

use super::SimLog;

/// Reads what is durable, whatever faults are on, whoever is alive, and also what was trimmed. Takes no
/// appends.
pub struct Undisturbed(pub(super) Arc<SimLog>);

impl Log for Undisturbed {
    fn partitions(&self) -> u16 {
        self.0.inner.partitions()
    }

    fn append(&self, _: Partition, _: &[Frame<'_>]) -> Result<Appended, LogError> {
        Err(LogError::Invalid("oracles only read".to_owned()))
    }

    fn durable(&self, partition: Partition) -> Result<Position, LogError> {
        self.0.inner.durable(partition)
    }

    fn range(&self, partition: Partition, topic: &str) -> Result<(Offset, Offset), LogError> {
        self.0.inner.range(partition, topic)
    }

    fn read(
        &self,
        partition: Partition,
        topic: &str,
        from: Offset,
        max_bytes: usize,
        out: &mut ReadBatch,
    ) -> Result<(), LogError> {
        self.0.inner.read(partition, topic, from, max_bytes, out)
    }

    fn trim(&self, _: Partition, _: &[(&str, Offset)]) -> Result<(), LogError> {
        Err(LogError::Invalid("oracles only read".to_owned()))
    }

    fn progress(&self) -> &Progress {
        self.0.inner.progress()
    }
}
