//! What stands in for what could not be opened or has stopped, so that one damaged partition does not
//! keep a node from starting and the others from working (I26).

use std::sync::Arc;

use hongbao_engine::log::{Appended, Log, LogError, Position};
use hongbao_engine::partition::Partition;
use hongbao_engine::progress::Progress;
use hongbao_engine::records::{Frame, Offset, ReadBatch};
use hongbao_engine::store::{Applied, Rows, Store, StoreError, Visit};
use hongbao_engine::task::TaskStatus;

/// In the place of a store that could not be opened: says why, whatever is asked.
#[derive(Debug)]
pub struct UnopenedStore(pub StoreError);

impl Store for UnopenedStore {
    fn applied(&self) -> Result<Applied, StoreError> {
        Err(self.0.clone())
    }

    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Err(self.0.clone())
    }

    fn multi_get(&self, _: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        Err(self.0.clone())
    }

    fn scan(&self, _: &[u8], _: &[u8], _: &mut Visit<'_>) -> Result<(), StoreError> {
        Err(self.0.clone())
    }

    fn commit(&self, _: &[Rows], _: Applied) -> Result<(), StoreError> {
        Err(self.0.clone())
    }
}

/// The log as publishers see it: a partition whose intake has stopped takes no awards, since nobody
/// would decide them before a person has acted.
pub struct PublishedLog {
    log: Arc<dyn Log>,
    /// By partition.
    intakes: Vec<Arc<TaskStatus>>,
}

impl PublishedLog {
    /// The log, and the intakes of its partitions in order.
    pub fn new(log: Arc<dyn Log>, intakes: Vec<Arc<TaskStatus>>) -> Self {
        Self { log, intakes }
    }
}

impl Log for PublishedLog {
    fn partitions(&self) -> u16 {
        self.log.partitions()
    }

    fn append(&self, partition: Partition, group: &[Frame<'_>]) -> Result<Appended, LogError> {
        let intake = self.intakes.get(usize::from(partition.0));
        match intake.and_then(|intake| Some(format!("{} has halted: {}", intake.name(), intake.halted()?))) {
            Some(what) => Err(LogError::Corrupt { partition: partition.0, what }),
            None => self.log.append(partition, group),
        }
    }

    fn durable(&self, partition: Partition) -> Result<Position, LogError> {
        self.log.durable(partition)
    }

    fn range(&self, partition: Partition, topic: &str) -> Result<(Offset, Offset), LogError> {
        self.log.range(partition, topic)
    }

    fn read(
        &self,
        partition: Partition,
        topic: &str,
        from: Offset,
        max_bytes: usize,
        out: &mut ReadBatch,
    ) -> Result<(), LogError> {
        self.log.read(partition, topic, from, max_bytes, out)
    }

    fn trim(&self, partition: Partition, floors: &[(&str, Offset)]) -> Result<(), LogError> {
        self.log.trim(partition, floors)
    }

    fn progress(&self) -> &Progress {
        self.log.progress()
    }
}
