//! Reads over the views of all partitions, for any number of threads.

use std::sync::Arc;

use hongbao_engine::partition::partition_of;
use hongbao_engine::records::Offset;
use hongbao_engine::store::StoreError;
use parking_lot::{Mutex, RwLock};

use super::Shared;

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A cursor that these views did not give out, or not for this person and list.
    #[error("the cursor is not one that was given out for this list")]
    BadCursor,
    /// The views of a partition are not open yet.
    #[error("the views of partition {0} are not open")]
    NotOpen(u16),
    /// A store failed or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Answers from the views of all partitions. Every answer about one person, order or lane of a
/// partition shows one point of its journal; a read takes a partition's lock for microseconds and
/// reads the store outside of it.
#[derive(Debug)]
pub struct ViewsReader {
    partitions: Vec<RwLock<Option<Arc<Shared>>>>,
    /// Held while totals are summed up: whoever comes later sees no less (I18).
    pub(super) totals_turn: Mutex<()>,
}

impl ViewsReader {
    /// A reader over `partitions` partitions, none of them open yet; see [`super::Views::open`].
    #[must_use]
    pub fn new(partitions: u16) -> Self {
        let partitions = (0..partitions).map(|_| RwLock::new(None)).collect();
        Self { partitions, totals_turn: Mutex::new(()) }
    }

    pub(super) fn attach(&self, shared: Arc<Shared>) -> Result<(), StoreError> {
        let wrong = || StoreError::Open(format!("there is no partition {}", shared.partition));
        let place = self.partitions.get(usize::from(shared.partition)).ok_or_else(wrong)?;
        *place.write() = Some(shared);
        Ok(())
    }

    /// Number of partitions.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.partitions.len() as u16
    }

    pub(super) fn open(&self, partition: u16) -> Result<Arc<Shared>, ReadError> {
        let place = self.partitions.get(usize::from(partition));
        place.and_then(|place| place.read().clone()).ok_or(ReadError::NotOpen(partition))
    }

    /// The partition of a person.
    pub(super) fn home(&self, act_id: &str) -> Result<Arc<Shared>, ReadError> {
        self.open(partition_of(act_id.as_bytes(), self.partitions()).0)
    }

    /// Offset of the first journal record that a partition's views do not hold. Records that the
    /// engine drops before a fold sees them, repeats at the end of the journal say, do not count:
    /// whether a task has caught up is said by its status.
    ///
    /// # Errors
    /// [`ReadError::NotOpen`].
    pub fn folded(&self, partition: u16) -> Result<Offset, ReadError> {
        Ok(self.open(partition)?.state.read().folded)
    }

    /// Time up to which a partition's views reflect the journal, in milliseconds since the Unix
    /// epoch: the latest that intake stated, ticks included. 0 before the first.
    ///
    /// # Errors
    /// [`ReadError::NotOpen`].
    pub fn as_of_ms(&self, partition: u16) -> Result<i64, ReadError> {
        Ok(self.open(partition)?.state.read().now_ms)
    }

    /// Orders named by credit facts that could not follow what happened before: credited twice, say,
    /// or never accepted. They changed nothing; more than 0 is a fault somewhere. Without partitions
    /// whose views are not open.
    ///
    /// # Errors
    /// [`ReadError::NotOpen`] when none is.
    pub fn contradictions(&self) -> Result<u64, ReadError> {
        let counts = self.those_open()?.into_iter().map(|shared| shared.state.read().contradictions);
        Ok(counts.fold(0, u64::saturating_add))
    }

    /// Memory that the rows of people take, in bytes.
    ///
    /// # Errors
    /// [`ReadError::NotOpen`].
    pub fn users_bytes(&self) -> Result<usize, ReadError> {
        (0..self.partitions())
            .try_fold(0, |sum, partition| Ok(sum + self.open(partition)?.state.read().users.bytes()))
    }
}
