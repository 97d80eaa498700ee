//! One partition of an open log: who writes at its end, and what readers know of it.
//!
//! Two locks, taken in this order: `writer` for as long as a group is written, `shared` only for
//! moments and never over I/O. Readers take `shared` alone, so they do not wait for writes.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use hongbao_engine::log::{LogError, Position};
use hongbao_engine::mutant;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::Offset;
use parking_lot::Mutex;

use crate::append::Writer;
use crate::core::Core;
use crate::footer::Seal;
use crate::frame::Identity;
use crate::index::FrameIndex;
use crate::sealed::Cache;
use crate::topics::Topics;

/// One partition of an open log.
pub(crate) struct PartitionLog {
    pub(crate) number: Partition,
    pub(crate) dir: PathBuf,
    /// `None` when the log is open for reading only, or the partition is damaged.
    pub(crate) writer: Mutex<Option<Writer>>,
    pub(crate) shared: Mutex<Shared>,
    /// Held while segments are dropped.
    pub(crate) trimming: Mutex<()>,
}

/// What readers, the writer and the sync thread share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) topics: Topics,
    pub(crate) first_generation: u32,
    /// Oldest first; generations are consecutive. The last one is written to.
    pub(crate) segments: VecDeque<Segment>,
    /// Position after the last group appended.
    pub(crate) appended: u64,
    /// Position up to which everything is durable.
    pub(crate) durable: u64,
    /// Whether a segment was created since the directory was synced.
    pub(crate) dir_dirty: bool,
    /// Dropped segments to write again.
    pub(crate) spares: Vec<PathBuf>,
    pub(crate) cache: Cache,
    /// Why the partition has stopped (I26).
    pub(crate) damage: Option<String>,
}

/// A segment as the open log knows it.
pub(crate) struct Segment {
    /// Stream position of its first frame.
    pub(crate) base: u64,
    /// Place of the first frame in the file.
    pub(crate) data_at: u64,
    /// Its index and file while it has no footer; a sealed segment is opened when it is read.
    pub(crate) open: Option<Box<OpenSegment>>,
}

/// A segment without a footer: the one written to, and those before it that await their seal.
pub(crate) struct OpenSegment {
    pub(crate) file: Arc<File>,
    pub(crate) index: FrameIndex,
    /// Header CRC of the last frame.
    pub(crate) chain: u32,
    /// Written to since the last sync began.
    pub(crate) dirty: bool,
}

impl Segment {
    /// The footer of a segment that is complete; `end` is the position of its successor, and
    /// everything up to `durable` is durable, that one's head included.
    pub(crate) fn seal(&self, identity: Identity, open: &OpenSegment, end: u64, durable: u64) -> Seal {
        let (at, index) = (self.data_at + (end - self.base), open.index.encode());
        Seal { identity, base: self.base, end, chain: open.chain, durable, at, index }
    }
}

impl Shared {
    pub(crate) fn last_generation(&self) -> u32 {
        self.first_generation + (self.segments.len() as u32).saturating_sub(1)
    }

    /// `None` once the segment was dropped.
    pub(crate) fn segment(&self, generation: u32) -> Option<&Segment> {
        self.segments.get(generation.checked_sub(self.first_generation)? as usize)
    }

    pub(crate) fn segment_mut(&mut self, generation: u32) -> Option<&mut Segment> {
        self.segments.get_mut(generation.checked_sub(self.first_generation)? as usize)
    }

    /// Position where a segment ends, if another one follows.
    pub(crate) fn end_of(&self, generation: u32) -> Option<u64> {
        self.segment(generation + 1).map(|next| next.base)
    }
}

impl PartitionLog {
    pub(crate) fn new(number: Partition, dir: PathBuf, writer: Option<Writer>, shared: Shared) -> Self {
        let (writer, shared) = (Mutex::new(writer), Mutex::new(shared));
        Self { number, dir, writer, shared, trimming: Mutex::new(()) }
    }

    /// A partition that is damaged and does nothing but say so.
    pub(crate) fn damaged(number: Partition, dir: PathBuf, what: String) -> Self {
        Self::new(number, dir, None, Shared { damage: Some(what), ..Shared::default() })
    }

    pub(crate) fn identity(&self, core: &Core, generation: u32) -> Identity {
        Identity { log_id: core.log_id, partition: self.number.0, generation }
    }

    /// # Errors
    /// [`LogError::Corrupt`] once damage was found in this partition.
    pub(crate) fn check(&self, shared: &Shared) -> Result<(), LogError> {
        shared.damage.as_ref().map_or(Ok(()), |what| Err(self.corrupt(what)))
    }

    pub(crate) fn corrupt(&self, what: &str) -> LogError {
        LogError::Corrupt { partition: self.number.0, what: what.to_owned() }
    }

    pub(crate) fn durable(&self) -> Result<Position, LogError> {
        let shared = self.shared.lock();
        self.check(&shared)?;
        Ok(Position(if mutant!(M68) { shared.appended } else { shared.durable }))
    }

    pub(crate) fn range(&self, topic: &str) -> Result<(Offset, Offset), LogError> {
        let shared = self.shared.lock();
        self.check(&shared)?;
        Ok(shared.topics.range(topic))
    }
}
