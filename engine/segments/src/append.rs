//! Writing at the end of a partition: placing groups, rolling to a new segment.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use hongbao_engine::log::{Appended, LogError, Position};
use hongbao_engine::records::{Frame, Offset};

use crate::core::Core;
use crate::device::is_full;
use crate::footer::footer_len;
use crate::frame::FRAME_HEADER_BYTES;
use crate::group::{Draft, Place, closing_frame, group_len};
use crate::index::{Entry, FrameIndex};
use crate::options::TOPICS_MAX;
use crate::partition::{OpenSegment, PartitionLog, Segment, Shared};
use crate::segment::{SegmentHeader, segment_path};

/// The end of a partition, where the next group goes.
pub(crate) struct Writer {
    pub(crate) generation: u32,
    pub(crate) file: Arc<File>,
    /// Stream position of the segment's first frame, and its place in the file.
    pub(crate) base: u64,
    pub(crate) data_at: u64,
    /// Where the next frame goes in the file.
    pub(crate) end: u64,
    /// Header CRC of the last frame.
    pub(crate) chain: u32,
    /// Bytes that the file may take: not more than its header vouches for.
    pub(crate) room: u64,
    /// Whether the space of the whole segment was reserved since the log was opened.
    pub(crate) allocated: bool,
    /// Whether the last frame marks a clean close.
    pub(crate) closed: bool,
}

impl Writer {
    fn position(&self) -> u64 {
        self.base + (self.end - self.data_at)
    }
}

/// Space kept in each segment for the frame that a clean close leaves.
const CLOSING_BYTES: u64 = FRAME_HEADER_BYTES as u64;

impl PartitionLog {
    /// Appends a group, which was checked. See [`hongbao_engine::log::Log::append`].
    pub(crate) fn append(&self, core: &Core, group: &[Frame<'_>]) -> Result<Appended, LogError> {
        let len = group_len(group);
        if len > core.segment_bytes {
            return Err(too_large(len, core.segment_bytes));
        }
        let mut draft = Draft::new(group);
        let appended_at_ms = core.clock.wall_ms();
        let mut guard = self.writer.lock();
        core.check()?;
        let (first_offsets, durable) = self.offsets(group)?;
        let Some(writer) = guard.as_mut() else {
            return Err(LogError::Failed("the log is open for reading only".to_owned()));
        };
        self.make_room(core, writer, group.len(), len)?;
        let (entries, chain) = draft.place(&Place {
            identity: self.identity(core, writer.generation),
            at: writer.end,
            position: writer.position(),
            durable,
            previous: writer.chain,
            appended_at_ms,
            first_offsets: &first_offsets,
        });
        hongbao_engine::kill_point!("log.group.placed");
        let written = core.device.write(&writer.file, &mut draft.slices(), writer.end);
        written.map_err(|error| self.write_error(core, writer.generation, &error))?;
        hongbao_engine::kill_point!("log.group.written");
        writer.end += len;
        writer.chain = chain;
        writer.closed = false;
        let position = Position(writer.position());
        self.shared.lock().note_group(group, &entries, chain, position.0);
        Ok(Appended { first_offsets, position })
    }

    /// Offset of the first record of each frame, and the position durable now.
    fn offsets(&self, group: &[Frame<'_>]) -> Result<(Vec<Offset>, u64), LogError> {
        let shared = self.shared.lock();
        self.check(&shared)?;
        let mut first_offsets = Vec::with_capacity(group.len());
        let mut added = 0;
        for (index, frame) in group.iter().enumerate() {
            let before = group[..index].iter().rposition(|earlier| earlier.topic == frame.topic);
            let next = match before {
                Some(before) => first_offsets[before] + group[before].records.len() as u64,
                None => {
                    added += usize::from(!shared.topics.contains(frame.topic));
                    shared.topics.appended(frame.topic)
                }
            };
            first_offsets.push(next);
        }
        if added > 0 && shared.topics.len() + added > TOPICS_MAX {
            return Err(LogError::Invalid(format!("more than {TOPICS_MAX} topics in a partition")));
        }
        Ok((first_offsets, shared.durable))
    }

    /// Makes sure that `len` bytes in `frames` frames fit the segment, or rolls to the next.
    fn make_room(&self, core: &Core, writer: &mut Writer, frames: usize, len: u64) -> Result<(), LogError> {
        let (index_len, next_offsets) = {
            let shared = self.shared.lock();
            let index_len = shared.open_index_len();
            let needed = needed(index_len, frames, len);
            if writer.end + needed <= writer.room.min(core.segment_bytes) {
                drop(shared);
                return self.allocate(core, writer);
            }
            (FrameIndex::default().encoded_len(), shared.topics.next_offsets())
        };
        let header = SegmentHeader {
            identity: self.identity(core, writer.generation + 1),
            recycled: false,
            allocated: core.segment_bytes,
            previous: writer.chain,
            base: writer.position(),
            durable: self.shared.lock().durable,
            created_at_ms: core.clock.wall_ms(),
            topics: next_offsets,
        };
        let room = core.segment_bytes.saturating_sub(header.len() + needed(index_len, frames, 0));
        if len > room {
            return Err(too_large(len, room));
        }
        self.roll(core, writer, header)
    }

    fn allocate(&self, core: &Core, writer: &mut Writer) -> Result<(), LogError> {
        if !writer.allocated {
            let reserved = core.device.allocate(&writer.file, core.segment_bytes);
            reserved.map_err(|error| self.write_error(core, writer.generation, &error))?;
            hongbao_engine::kill_point!("log.preallocated");
            writer.allocated = true;
        }
        Ok(())
    }

    /// Goes on in a new segment. After an error the old one is still the last.
    fn roll(&self, core: &Core, writer: &mut Writer, header: SegmentHeader) -> Result<(), LogError> {
        let generation = header.identity.generation;
        let path = segment_path(&self.dir, generation);
        let (base, chain, data_at) = (header.base, header.previous, header.len());
        hongbao_engine::kill_point!("log.roll.begun");
        let spare = self.shared.lock().spares.pop();
        let file = match self.begin_segment(core, &path, spare.as_deref(), header) {
            Ok(file) => Arc::new(file),
            Err(error) => {
                // What is left of it says that it was never begun; creating it anew empties it.
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "a segment not begun stays");
                }
                return Err(self.write_error(core, generation, &error));
            }
        };
        let open = OpenSegment { file: Arc::clone(&file), index: FrameIndex::default(), chain, dirty: true };
        let mut shared = self.shared.lock();
        shared.segments.push_back(Segment { base, data_at, open: Some(Box::new(open)) });
        shared.dir_dirty = true;
        drop(shared);
        hongbao_engine::kill_point!("log.rolled");
        *writer = Writer {
            generation,
            file,
            base,
            data_at,
            end: data_at,
            chain,
            room: core.segment_bytes,
            allocated: true,
            closed: false,
        };
        Ok(())
    }

    /// Creates a segment file, or takes a spare one, with all its space reserved.
    fn begin_segment(
        &self,
        core: &Core,
        path: &Path,
        spare: Option<&Path>,
        header: SegmentHeader,
    ) -> io::Result<File> {
        let file = match spare {
            Some(spare) => {
                fs::rename(spare, path)?;
                OpenOptions::new().read(true).write(true).open(path)?
            }
            None => core.device.create(path)?,
        };
        hongbao_engine::kill_point!("log.segment.created");
        core.device.allocate(&file, core.segment_bytes)?;
        hongbao_engine::kill_point!("log.segment.allocated");
        let header = SegmentHeader { recycled: spare.is_some(), ..header };
        core.device.write(&file, &mut [IoSlice::new(&header.encode())], 0)?;
        hongbao_engine::kill_point!("log.segment.headed");
        Ok(file)
    }

    /// A full disk passes; any other error ends the log, for what was written is unknown.
    fn write_error(&self, core: &Core, generation: u32, error: &io::Error) -> LogError {
        let path = segment_path(&self.dir, generation);
        if is_full(error) {
            LogError::Full(format!("{}: {error}", path.display()))
        } else {
            core.fail(format!("writing {}: {error}", path.display()))
        }
    }

    /// Leaves a mark that all before it is durable, which must be so.
    pub(crate) fn close(&self, core: &Core) -> io::Result<()> {
        let mut guard = self.writer.lock();
        if self.shared.lock().damage.is_some() {
            return Ok(());
        }
        let unmarked = |writer: &&mut Writer| !writer.closed && writer.end > writer.data_at;
        let Some(writer) = guard.as_mut().filter(unmarked) else {
            return Ok(());
        };
        let (bytes, chain) = closing_frame(&Place {
            identity: self.identity(core, writer.generation),
            at: writer.end,
            position: writer.position(),
            durable: writer.position(),
            previous: writer.chain,
            appended_at_ms: core.clock.wall_ms(),
            first_offsets: &[],
        });
        hongbao_engine::kill_point!("log.close.begun");
        core.device.write(&writer.file, &mut [IoSlice::new(&bytes)], writer.end)?;
        hongbao_engine::kill_point!("log.close.written");
        core.device.sync(&writer.file)?;
        hongbao_engine::kill_point!("log.close.synced");
        writer.end += CLOSING_BYTES;
        writer.chain = chain;
        writer.closed = true;
        Ok(())
    }
}

impl Shared {
    /// Encoded size of the index of the segment written to.
    fn open_index_len(&self) -> usize {
        let open = self.segments.back().and_then(|segment| segment.open.as_ref());
        open.map_or(0, |open| open.index.encoded_len())
    }

    /// Notes a group that was written to the last segment.
    fn note_group(&mut self, group: &[Frame<'_>], entries: &[Entry], chain: u32, position: u64) {
        let generation = self.last_generation();
        for frame in group {
            self.topics.add(frame.topic, generation, frame.records.len() as u64);
        }
        if let Some(open) = self.segments.back_mut().and_then(|segment| segment.open.as_mut()) {
            for (frame, entry) in group.iter().zip(entries) {
                open.index.push(frame.topic, *entry);
            }
            open.chain = chain;
            open.dirty = true;
        }
        self.appended = position;
    }
}

/// Bytes a segment needs behind its frames for a group, a closing frame and its footer.
fn needed(index_len: usize, frames: usize, len: u64) -> u64 {
    len + CLOSING_BYTES + footer_len(index_len + FrameIndex::growth_max(frames))
}

fn too_large(len: u64, max: u64) -> LogError {
    LogError::GroupTooLarge { bytes: len as usize, max_bytes: max as usize }
}
