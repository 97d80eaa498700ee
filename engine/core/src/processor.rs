//! The processor port: a pure fold of one partition of one topic.

use std::sync::Arc;

use crate::records::{FrameRef, Offset, RecordBuf};
use crate::store::{Rows, StoreError};

/// Builds the sorted rows of a commit, on a background thread.
pub type FrozenRows = Box<dyn FnOnce() -> Result<Vec<Rows>, StoreError> + Send>;

/// A fold of one partition of one input topic. What it does is a function of the records applied
/// so far and of nothing else: no clock, no randomness, no second input (I4). Look-ups in its own
/// store are part of its state.
pub trait Processor: Send {
    /// Applies records in order and writes what follows from them. How records are cut into
    /// frames and calls must not matter. Offsets ascend, but for frames that were held behind
    /// missing ones of their writer (see [`crate::inputs`]).
    ///
    /// # Errors
    /// Stops the partition (I26). A bad record is not an error: it has a place of its own (I27).
    fn apply(&mut self, frames: &[FrameRef<'_>], outputs: &mut Outputs) -> Result<(), ProcessorError>;

    /// Sets everything changed since the last freeze aside for a commit. Until [`Self::committed`]
    /// the frozen rows still answer reads from memory, since the store does not hold them yet.
    /// Called only when no earlier freeze is pending.
    ///
    /// # Errors
    /// Stops the partition.
    fn freeze(&mut self) -> Result<FrozenRows, ProcessorError>;

    /// The rows of the last freeze are in the store.
    fn committed(&mut self);

    /// Memory held by changes not yet committed, in bytes; a commit is due when it grows large.
    fn staged_bytes(&self) -> usize;
}

/// Why a partition stops.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorError {
    /// The store failed or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The input or the state contradicts an invariant.
    #[error("{invariant} at offset {offset}: {what}")]
    Invariant {
        /// Id from the invariants' list.
        invariant: &'static str,
        /// Where in the input.
        offset: Offset,
        /// What was found.
        what: String,
    },
}

/// Records that a fold writes, by topic, each with the next sequence of its topic. The group is
/// appended in the order in which the topics were registered.
#[derive(Debug, Default)]
pub struct Outputs {
    topics: Vec<OutputTopic>,
}

/// One topic's share of [`Outputs`].
#[derive(Debug)]
pub struct OutputTopic {
    /// Name of the topic.
    pub name: Arc<str>,
    /// Sequence of the first record in `records`, from 1.
    pub first_seq: u64,
    /// Records written and not yet appended.
    pub records: RecordBuf,
}

/// Index of a registered topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputIndex(usize);

impl Outputs {
    /// No topic.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The index of a topic, registered with first sequence 1 if it is new.
    pub fn topic(&mut self, name: &str) -> OutputIndex {
        if let Some(index) = self.topics.iter().position(|topic| &*topic.name == name) {
            return OutputIndex(index);
        }
        self.topics.push(OutputTopic { name: name.into(), first_seq: 1, records: RecordBuf::new() });
        OutputIndex(self.topics.len() - 1)
    }

    /// Sequence that the next record of the topic gets, from 1.
    #[inline]
    #[must_use]
    pub fn next_seq(&self, index: OutputIndex) -> u64 {
        let topic = &self.topics[index.0];
        topic.first_seq + topic.records.len() as u64
    }

    /// Writes one record; `write` only appends to the buffer it is given.
    #[inline]
    pub fn push_with(&mut self, index: OutputIndex, write: impl FnOnce(&mut Vec<u8>)) {
        self.topics[index.0].records.push_with(write);
    }

    /// All registered topics in order.
    #[must_use]
    pub fn topics(&self) -> &[OutputTopic] {
        &self.topics
    }

    /// All registered topics in order. For the task loop.
    pub fn topics_mut(&mut self) -> &mut [OutputTopic] {
        &mut self.topics
    }
}
