//! Frames of one writer that lie behind missing ones, held aside until those come (rule 2).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use crate::records::{FrameRef, OwnedFrame};

/// What is held of one writer, by epoch and first sequence. Whose turn a frame is, how much may be
/// held and for how long, its owner decides.
#[derive(Debug, Default)]
pub struct Aside {
    frames: BTreeMap<(u32, u64), OwnedFrame>,
    bytes: usize,
    since: Duration,
}

impl Aside {
    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Memory of what is held, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Monotonic time since when what is missing is waited for.
    #[must_use]
    pub fn since(&self) -> Duration {
        self.since
    }

    /// The frame that can go on first: of the oldest epoch, and in it of the lowest sequence.
    #[must_use]
    pub fn first(&self) -> Option<&OwnedFrame> {
        self.frames.first_key_value().map(|(_, frame)| frame)
    }

    /// Holds a copy of a frame with sequences. Returns how many records were left out since they
    /// are held already.
    pub fn hold(&mut self, frame: FrameRef<'_>, now: Duration) -> u64 {
        if self.frames.is_empty() {
            self.since = now;
        }
        let envelope = frame.envelope();
        match self.frames.entry((envelope.epoch, envelope.first_seq)) {
            // The same records again, perhaps cut longer: the longer piece is kept.
            Entry::Occupied(mut held) if held.get().ends.len() < frame.len() => {
                let shorter = held.insert(frame.to_owned_frame());
                self.bytes += memory_of(held.get());
                self.bytes -= memory_of(&shorter);
                shorter.ends.len() as u64
            }
            Entry::Occupied(_) => frame.len() as u64,
            Entry::Vacant(free) => {
                self.bytes += memory_of(free.insert(frame.to_owned_frame()));
                0
            }
        }
    }

    /// Takes out what [`Self::first`] is.
    pub fn take_first(&mut self) -> Option<OwnedFrame> {
        let (_, frame) = self.frames.pop_first()?;
        self.bytes -= memory_of(&frame);
        Some(frame)
    }

    /// Something that was missing came, and something else still is: from `now` on that is waited
    /// for.
    pub fn wait_anew(&mut self, now: Duration) {
        self.since = now;
    }
}

/// What a held frame costs, in bytes; never nothing, so that empty records are bounded too.
fn memory_of(frame: &OwnedFrame) -> usize {
    size_of::<OwnedFrame>() + frame.source.len() + frame.bytes.len() + size_of_val(frame.ends.as_slice())
}
