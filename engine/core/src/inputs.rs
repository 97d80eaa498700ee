//! Which of the records read are to be applied: each writer's, in its own order, once (I5), and
//! none of a writer that was replaced (I24).
//!
//! Per source there is a mark, the last sequence applied, and an epoch.
//! ```text
//! frame                            what becomes of it
//! without sequence                 applied
//! older epoch                      left out
//! same epoch, all at most mark     left out: a repeat
//! same epoch, holds mark + 1       applied from mark + 1 on
//! same epoch, above mark + 1       held aside until mark + 1 comes
//! newer epoch, holds sequence 1    applied; from here on this epoch counts
//! newer epoch, above sequence 1    held aside until its sequence 1 comes
//! ```
//! All of it follows from the log's order alone, however it is cut into batches (I4). What is held
//! is not part of a commit, so there is none while something is held.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::aside::Aside;
use crate::mutant;
use crate::records::{Envelope, FrameRef, Offset, OwnedFrame, ReadBatch};
use crate::store::Rows;

/// Kind of the rows that keep the marks: `~m` and the source.
pub const MARK_ROWS: [u8; 2] = *b"~m";

/// The marks of one input partition. See the [module](self).
#[derive(Debug)]
pub struct InputMarks {
    sources: BTreeMap<String, Source>,
    held_bytes_max: usize,
    picks: Vec<Pick>,
    released: Vec<OwnedFrame>,
    left_out: LeftOut,
}

/// How many records were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// They had been applied before.
    pub repeats: u64,
    /// Their writer had been replaced.
    pub outdated: u64,
}

#[derive(Debug, Default)]
struct Source {
    epoch: u32,
    mark: u64,
    held: Aside,
}

/// A frame to apply, without its first `skip` records.
#[derive(Clone, Copy, Debug)]
struct Pick {
    from: Origin,
    skip: usize,
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    Batch(usize),
    Released(usize),
}

enum Place {
    Outdated,
    Repeat,
    Next { skip: usize },
    Ahead,
}

/// Why a partition's input cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Records of a writer are missing and did not come in time.
    #[error(
        "record {expected_seq} of {source_name:?} (epoch {epoch}) is missing in front of {held_seq} at offset {offset}"
    )]
    Missing {
        /// The writer.
        source_name: String,
        /// Epoch of the records held.
        epoch: u32,
        /// First sequence that is missing.
        expected_seq: u64,
        /// Sequence of the first record held.
        held_seq: u64,
        /// Offset of the first record held.
        offset: Offset,
    },
    /// More is held behind missing records than there is room for.
    #[error("{bytes} bytes are held behind missing records of {source_name:?}, the limit is {bytes_max}")]
    TooMuchHeld {
        /// The writer.
        source_name: String,
        /// Bytes held.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A stored mark cannot be read.
    #[error("the stored mark of {0:?} is damaged")]
    Row(String),
}

impl InputMarks {
    /// No marks: the start of a log.
    #[must_use]
    pub fn new(held_bytes_max: usize) -> Self {
        Self {
            sources: BTreeMap::new(),
            held_bytes_max,
            picks: Vec::new(),
            released: Vec::new(),
            left_out: LeftOut::default(),
        }
    }

    /// Takes over stored rows, their keys without the kind.
    ///
    /// # Errors
    /// [`InputError::Row`].
    pub fn load(&mut self, rows: &Rows) -> Result<(), InputError> {
        for (name, value) in rows.iter() {
            let damaged = || InputError::Row(String::from_utf8_lossy(name).into_owned());
            let name = std::str::from_utf8(name).map_err(|_| damaged())?;
            let (epoch, mark) = value.and_then(<[u8]>::split_first_chunk::<4>).ok_or_else(damaged)?;
            let mark: [u8; 8] = mark.try_into().map_err(|_| damaged())?;
            let source = Source {
                epoch: u32::from_le_bytes(*epoch),
                mark: u64::from_le_bytes(mark),
                ..Source::default()
            };
            self.sources.insert(name.to_owned(), source);
        }
        Ok(())
    }

    /// Adds all marks to `rows`. Only when nothing [is held](Self::is_holding).
    pub fn save(&self, rows: &mut Rows) {
        for (name, source) in self.sources.iter().filter(|_| !mutant!(M08)) {
            let mut value = [0; 12];
            value[..4].copy_from_slice(&source.epoch.to_le_bytes());
            value[4..].copy_from_slice(&source.mark.to_le_bytes());
            rows.put(&[&MARK_ROWS, name.as_bytes()].concat(), &value);
        }
    }

    /// Decides on the frames of a batch, the next in the log's order. `now` is monotonic.
    ///
    /// # Errors
    /// [`InputError::TooMuchHeld`].
    pub fn select(&mut self, batch: &ReadBatch, now: Duration) -> Result<(), InputError> {
        self.picks.clear();
        self.released.clear();
        for (index, frame) in batch.frames().enumerate() {
            let envelope = frame.envelope();
            if envelope.first_seq == 0 {
                self.picks.push(Pick { from: Origin::Batch(index), skip: 0 });
            } else {
                self.admit(index, frame, envelope, now)?;
            }
        }
        Ok(())
    }

    /// The frames selected, in the order to apply: the log's, but with frames that were held right
    /// behind the one that was missing.
    #[must_use]
    pub fn selected<'a>(&'a self, batch: &'a ReadBatch) -> Vec<FrameRef<'a>> {
        let frames = self.picks.iter().filter_map(|pick| {
            let frame = match pick.from {
                Origin::Batch(index) => batch.get(index)?,
                Origin::Released(index) => self.released.get(index)?.view(),
            };
            Some(frame.skipping(pick.skip))
        });
        frames.collect()
    }

    /// Whether a frame is held aside.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.sources.values().any(|source| !source.held.is_empty())
    }

    /// The records missing for `timeout` or longer, if any.
    #[must_use]
    pub fn overdue(&self, now: Duration, timeout: Duration) -> Option<InputError> {
        self.sources.iter().find_map(|(name, source)| {
            let held = source.held.first()?;
            let is_late = now.saturating_sub(source.held.since()) >= timeout;
            is_late.then(|| InputError::Missing {
                source_name: name.clone(),
                epoch: held.epoch,
                expected_seq: if held.epoch == source.epoch { source.mark + 1 } else { 1 },
                held_seq: held.first_seq,
                offset: held.first_offset,
            })
        })
    }

    /// How many records were left out since the marks were loaded.
    #[must_use]
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    fn admit(
        &mut self,
        index: usize,
        frame: FrameRef<'_>,
        envelope: Envelope<'_>,
        now: Duration,
    ) -> Result<(), InputError> {
        if !self.sources.contains_key(envelope.source) {
            self.sources.insert(envelope.source.to_owned(), Source::default());
        }
        let Some(source) = self.sources.get_mut(envelope.source) else { return Ok(()) };
        match source.place(envelope.epoch, envelope.first_seq, frame.len()) {
            Place::Outdated => self.left_out.outdated += frame.len() as u64,
            Place::Repeat => self.left_out.repeats += frame.len() as u64,
            Place::Next { skip } => {
                self.left_out.repeats += skip as u64;
                self.picks.push(Pick { from: Origin::Batch(index), skip });
                source.advance(envelope.epoch, envelope.first_seq, frame.len());
                self.release(envelope.source, now);
            }
            Place::Ahead => self.hold(frame, envelope, now)?,
        }
        Ok(())
    }

    fn hold(&mut self, frame: FrameRef<'_>, envelope: Envelope<'_>, now: Duration) -> Result<(), InputError> {
        let Some(source) = self.sources.get_mut(envelope.source) else { return Ok(()) };
        self.left_out.repeats += source.held.hold(frame, now);
        let bytes = self.sources.values().map(|source| source.held.bytes()).sum();
        if bytes > self.held_bytes_max {
            return Err(InputError::TooMuchHeld {
                source_name: envelope.source.to_owned(),
                bytes,
                bytes_max: self.held_bytes_max,
            });
        }
        Ok(())
    }

    /// Takes what is no longer ahead out of what is held. The first frame held is the one that can
    /// go on first: it has the oldest epoch and in it the lowest sequence.
    fn release(&mut self, name: &str, now: Duration) {
        let Some(source) = self.sources.get_mut(name) else { return };
        while let Some(first) = source.held.first() {
            let (epoch, first_seq, count) = (first.epoch, first.first_seq, first.ends.len());
            let place = place(source.epoch, source.mark, epoch, first_seq, count);
            if matches!(place, Place::Ahead) {
                source.held.wait_anew(now);
                return;
            }
            let Some(frame) = source.held.take_first() else { return };
            match place {
                Place::Outdated => self.left_out.outdated += count as u64,
                Place::Repeat => self.left_out.repeats += count as u64,
                Place::Next { skip } => {
                    self.left_out.repeats += skip as u64;
                    self.picks.push(Pick { from: Origin::Released(self.released.len()), skip });
                    self.released.push(frame);
                    source.advance(epoch, first_seq, count);
                }
                Place::Ahead => {}
            }
        }
    }
}

impl Source {
    fn place(&self, epoch: u32, first_seq: u64, count: usize) -> Place {
        place(self.epoch, self.mark, epoch, first_seq, count)
    }

    fn advance(&mut self, epoch: u32, first_seq: u64, count: usize) {
        self.epoch = epoch;
        self.mark = first_seq + count as u64 - 1;
    }
}

/// Where a frame of `count` records stands for a source at `mark` of `known_epoch`.
fn place(known_epoch: u32, mark: u64, epoch: u32, first_seq: u64, count: usize) -> Place {
    if epoch < known_epoch {
        return if mutant!(M07) { Place::Next { skip: 0 } } else { Place::Outdated };
    }
    let next_seq = if epoch == known_epoch { mark + 1 } else { 1 };
    if first_seq > next_seq {
        return if mutant!(M06) { Place::Next { skip: 0 } } else { Place::Ahead };
    }
    let skip = if mutant!(M05) { 0 } else { (next_seq - first_seq) as usize };
    if skip < count { Place::Next { skip } } else { Place::Repeat }
}

#[cfg(test)]
mod tests;
