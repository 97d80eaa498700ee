//! Reading: frames are found in the index under the lock, and read and checked outside of it.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::sync::Arc;

use hongbao_engine::log::LogError;
use hongbao_engine::records::{Offset, OwnedFrame, ReadBatch};
use rustix::io::{Errno, preadv};

use crate::core::Core;
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, Identity, ends_fit, payload_crc};
use crate::index::{Entry, FrameIndex};
use crate::partition::{PartitionLog, Shared};
use crate::sealed::{LoadError, SealedSegment};
use crate::segment::segment_path;
use crate::wire::u32_at;

/// What to read next.
struct Request<'a> {
    topic: &'a str,
    from: Offset,
    /// First not readable.
    end: Offset,
    max_bytes: usize,
}

impl Request<'_> {
    fn select(&self, index: &FrameIndex) -> Vec<Entry> {
        index.select(self.topic, self.from, self.end, self.max_bytes)
    }
}

/// A segment to read from. While it is read, it may be dropped and even written again; what is
/// read then does not pass the checks.
struct Source {
    file: Arc<File>,
    identity: Identity,
    base: u64,
    data_at: u64,
}

enum Plan {
    Nothing,
    Frames(Source, Vec<Entry>),
    /// The segment must be opened first: its generation, base and end.
    Load(u32, u64, u64),
}

impl PartitionLog {
    /// See [`hongbao_engine::log::Log::read`]. Reads frames of one segment.
    pub(crate) fn read(
        &self,
        core: &Core,
        topic: &str,
        from: Offset,
        max_bytes: usize,
        out: &mut ReadBatch,
    ) -> Result<(), LogError> {
        loop {
            let plan = {
                let mut shared = self.shared.lock();
                self.check(&shared)?;
                let request = self.request(&shared, topic, from, max_bytes)?;
                self.plan(core, &mut shared, &request)?
            };
            match plan {
                Plan::Nothing => return Ok(()),
                Plan::Frames(source, entries) => {
                    let filled = fill(&source, topic, &entries, from, out);
                    return filled.or_else(|what| {
                        out.clear();
                        let generation = source.identity.generation;
                        self.unreadable(generation, what, topic, from)
                    });
                }
                Plan::Load(generation, base, end) => {
                    let path = segment_path(&self.dir, generation);
                    match SealedSegment::load(&path, &self.identity(core, generation), base, end) {
                        Ok(sealed) => self.keep(sealed),
                        Err(LoadError::Damaged(what)) => {
                            return self.unreadable(generation, what, topic, from);
                        }
                        Err(LoadError::Unavailable(error)) => {
                            return Err(LogError::Failed(format!("{}: {error}", path.display())));
                        }
                    }
                }
            }
        }
    }

    fn request<'a>(
        &self,
        shared: &Shared,
        topic: &'a str,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Request<'a>, LogError> {
        let (start, end) = shared.topics.range(topic);
        if from < start || from > end {
            let topic = topic.to_owned();
            return Err(LogError::OutOfRange { topic, partition: self.number.0, offset: from, start, end });
        }
        Ok(Request { topic, from, end, max_bytes })
    }

    fn plan(&self, core: &Core, shared: &mut Shared, request: &Request<'_>) -> Result<Plan, LogError> {
        if request.from == request.end {
            return Ok(Plan::Nothing);
        }
        let inconsistent = || self.corrupt("the index does not hold a readable record");
        let generation = shared.topics.locate(request.topic, request.from).ok_or_else(inconsistent)?;
        let segment = shared.segment(generation).ok_or_else(inconsistent)?;
        let (base, data_at) = (segment.base, segment.data_at);
        let identity = self.identity(core, generation);
        let (file, entries) = if let Some(open) = &segment.open {
            (Arc::clone(&open.file), request.select(&open.index))
        } else if let Some(sealed) = shared.cache.get(generation) {
            (Arc::clone(&sealed.file), request.select(&sealed.index))
        } else {
            let end = shared.end_of(generation).ok_or_else(inconsistent)?;
            return Ok(Plan::Load(generation, base, end));
        };
        if entries.is_empty() {
            return Err(inconsistent());
        }
        Ok(Plan::Frames(Source { file, identity, base, data_at }, entries))
    }

    /// Keeps a sealed segment open, unless it was dropped meanwhile.
    fn keep(&self, sealed: SealedSegment) {
        let mut shared = self.shared.lock();
        if shared.segment(sealed.generation).is_some() {
            shared.cache.put(Arc::new(sealed));
        }
    }

    /// Damage stops the partition (I26), unless the segment was dropped while it was read.
    fn unreadable(&self, generation: u32, what: String, topic: &str, from: Offset) -> Result<(), LogError> {
        let mut shared = self.shared.lock();
        if shared.segment(generation).is_none() {
            return self.request(&shared, topic, from, 0).map(|_| ());
        }
        let what = format!("{}: {what}", segment_path(&self.dir, generation).display());
        tracing::error!(partition = self.number.0, %what, "the log is damaged");
        let error = self.corrupt(&what);
        shared.damage.get_or_insert(what);
        Err(error)
    }
}

/// Reads frames into `out`, the first without its records before `from`.
fn fill(
    source: &Source,
    topic: &str,
    entries: &[Entry],
    from: Offset,
    out: &mut ReadBatch,
) -> Result<(), String> {
    let mut head = Vec::new();
    for entry in entries {
        let frame = out.next_frame();
        read_frame(source, topic, entry, &mut head, frame)
            .map_err(|what| format!("{what} at {} in offset {} of {topic}", entry.at, entry.first_offset))?;
        if from > entry.first_offset {
            drop_front(frame, from - entry.first_offset);
        }
    }
    Ok(())
}

fn read_frame(
    source: &Source,
    topic: &str,
    entry: &Entry,
    head: &mut Vec<u8>,
    frame: &mut OwnedFrame,
) -> Result<(), String> {
    head.resize(entry.head_len(), 0);
    frame.bytes.resize(entry.record_bytes(), 0);
    let slices = &mut [IoSliceMut::new(head), IoSliceMut::new(&mut frame.bytes)];
    read_exact(&source.file, slices, entry.at).map_err(|error| error.to_string())?;
    let header = match FrameHeader::decode(head, &source.identity) {
        Ok((header, _)) => header,
        Err(flaw) => return Err(format!("no sound frame ({flaw:?})")),
    };
    let expected = entry.at.checked_sub(source.data_at).map(|at| source.base + at) == Some(header.position)
        && header.topic.as_str() == topic
        && Entry::new(&header, entry.at) == *entry;
    if !expected {
        return Err("another frame than the index names".to_owned());
    }
    let ends = &head[FRAME_HEADER_BYTES..];
    if payload_crc(ends, &frame.bytes) != header.payload_crc || !ends_fit(ends, frame.bytes.len()) {
        return Err("a damaged payload".to_owned());
    }
    frame.source.push_str(header.source.as_str());
    frame.epoch = header.epoch;
    frame.first_seq = header.first_seq;
    frame.first_offset = header.first_offset;
    frame.appended_at_ms = header.appended_at_ms;
    frame.ends.extend(ends.chunks_exact(4).map(|end| u32_at(end, 0)));
    Ok(())
}

fn read_exact(file: &File, mut slices: &mut [IoSliceMut<'_>], mut at: u64) -> io::Result<()> {
    while slices.iter().any(|slice| !slice.is_empty()) {
        let count = match preadv(file, slices, at) {
            Err(Errno::INTR) => continue,
            result => result?,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += count as u64;
        IoSliceMut::advance_slices(&mut slices, count);
    }
    Ok(())
}

/// Drops the first `count` records, of which there are more.
fn drop_front(frame: &mut OwnedFrame, count: u64) {
    let dropped = count as usize;
    let cut = frame.ends[dropped - 1];
    frame.bytes.drain(..cut as usize);
    frame.ends.drain(..dropped);
    for end in &mut frame.ends {
        *end -= cut;
    }
    frame.first_offset += count;
    if frame.first_seq > 0 {
        frame.first_seq += count;
    }
}
