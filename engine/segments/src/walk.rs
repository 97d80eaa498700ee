//! Walks the frames of a segment one after the other, and scans what lies behind them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use hongbao_engine::mutant;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::frame::{FRAME_HEADER_BYTES, Flaw, FrameHeader, Identity, begins, ends_fit, payload_crc};
use crate::index::{Entry, FrameIndex};
use crate::segment::SegmentHeader;
use crate::wire::ALIGNMENT;

const WINDOW_BYTES: usize = 1 << 20;

/// A file read forward through a buffer.
struct Window<'a> {
    file: &'a File,
    file_len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a File) -> io::Result<Self> {
        Ok(Self { file, file_len: file.metadata()?.len(), start: 0, bytes: Vec::new() })
    }

    /// `len` bytes at `at`, or `None` where the file ends before.
    fn get(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        if at + len as u64 > self.file_len {
            return Ok(None);
        }
        let buffered = self.start..self.start + self.bytes.len() as u64;
        if at < buffered.start || at + len as u64 > buffered.end {
            let rest = (self.file_len - at) as usize;
            self.bytes.resize(rest.min(len.max(WINDOW_BYTES)), 0);
            self.start = at;
            if let Err(error) = self.file.read_exact_at(&mut self.bytes, at) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let from = (at - self.start) as usize;
        Ok(Some(&self.bytes[from..from + len]))
    }
}

/// What a walk found.
pub(crate) struct Walked {
    /// The frames of complete groups.
    pub(crate) index: FrameIndex,
    /// Where they end in the file.
    pub(crate) at: u64,
    /// Header CRC of the last frame.
    pub(crate) chain: u32,
    /// The highest position that a frame says was durable when it was written.
    pub(crate) durable: u64,
    /// Whether the last frame marks a clean close.
    pub(crate) closed: bool,
    /// Why the walk ended, unless nothing follows.
    pub(crate) flaw: Option<&'static str>,
}

/// Frames of a group whose last one was not seen yet.
#[derive(Default)]
struct OpenGroup {
    frames: Vec<(FrameHeader, u64)>,
    at: u64,
    chain: u32,
}

/// Walks all complete groups of a segment from its first frame on, and checks everything: the
/// sums of headers and payloads, positions, offsets, the chain.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn walk(file: &File, segment: &SegmentHeader) -> io::Result<Walked> {
    let mut window = Window::new(file)?;
    let mut walked = Walked {
        index: FrameIndex::default(),
        at: segment.len(),
        chain: segment.previous,
        durable: segment.durable,
        closed: false,
        flaw: None,
    };
    let mut group = OpenGroup { frames: Vec::new(), at: walked.at, chain: walked.chain };
    loop {
        let header = match next_frame(&mut window, segment, &walked, &group)? {
            Ok((header, crc)) => {
                group.chain = crc;
                header
            }
            Err(flaw) => {
                walked.flaw = if group.frames.is_empty() { flaw } else { Some("an incomplete group") };
                return Ok(walked);
            }
        };
        group.frames.push((header, group.at));
        group.at += header.padded_len();
        if header.frames_after == 0 {
            walked.complete(&mut group);
        }
    }
}

impl Walked {
    fn complete(&mut self, group: &mut OpenGroup) {
        for (header, at) in group.frames.drain(..) {
            self.closed = header.is_closing();
            self.durable = self.durable.max(header.durable);
            if !header.is_closing() {
                self.index.push(header.topic.as_str(), Entry::new(&header, at));
            }
        }
        (self.at, self.chain) = (group.at, group.chain);
    }

    /// The next offset of a topic behind the complete groups and the open one.
    fn next_offset(&self, segment: &SegmentHeader, group: &OpenGroup, topic: &str) -> u64 {
        let open = group.frames.iter().rev().find(|(header, _)| header.topic.as_str() == topic);
        if let Some((header, _)) = open {
            return header.first_offset + u64::from(header.record_count);
        }
        let complete = self.index.entries(topic).last().map(Entry::end_offset);
        complete.or_else(|| segment.topics.get(topic).copied()).unwrap_or(0)
    }
}

/// The next frame with its header CRC, or why there is none; no reason when nothing is there.
fn next_frame(
    window: &mut Window<'_>,
    segment: &SegmentHeader,
    walked: &Walked,
    group: &OpenGroup,
) -> io::Result<Result<(FrameHeader, u32), Option<&'static str>>> {
    let Some(bytes) = window.get(group.at, FRAME_HEADER_BYTES)? else {
        return Ok(Err(None));
    };
    let (header, crc) = match FrameHeader::decode(bytes, &segment.identity) {
        Ok(found) => found,
        Err(Flaw::NoFrame) if bytes.iter().all(|byte| *byte == 0) => return Ok(Err(None)),
        Err(Flaw::NoFrame) => return Ok(Err(Some("something that is not a frame"))),
        Err(Flaw::Header) => return Ok(Err(Some("a damaged frame header"))),
        Err(Flaw::Foreign) => return Ok(Err(Some("a frame from before the file was used again"))),
    };
    if !mutant!(M66)
        && let Some(flaw) = misplaced(&header, segment, walked, group)
    {
        return Ok(Err(Some(flaw)));
    }
    let payload_at = group.at + FRAME_HEADER_BYTES as u64;
    let ends_len = header.head_len() - FRAME_HEADER_BYTES;
    let Some(payload) = window.get(payload_at, ends_len + header.bytes_len as usize)? else {
        return Ok(Err(Some("a frame that is cut off")));
    };
    let (ends, bytes) = payload.split_at(ends_len);
    if payload_crc(ends, bytes) != header.payload_crc || !ends_fit(ends, bytes.len()) {
        return Ok(Err(Some("a damaged payload")));
    }
    Ok(Ok((header, crc)))
}

/// Whether a sound frame does not continue what was walked.
fn misplaced(
    header: &FrameHeader,
    segment: &SegmentHeader,
    walked: &Walked,
    group: &OpenGroup,
) -> Option<&'static str> {
    if header.position != segment.base + (group.at - segment.len()) {
        return Some("a frame of another position");
    }
    if header.previous != group.chain {
        return Some("a frame that does not follow the one before");
    }
    if let Some((before, _)) = group.frames.last()
        && before.frames_after != header.frames_after + 1
    {
        return Some("a frame of another group");
    }
    let next = walked.next_offset(segment, group, header.topic.as_str());
    (!header.is_closing() && header.first_offset != next).then_some("a frame with other offsets")
}

/// What lies behind the end of a walk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Whether there is anything but zeros.
    pub(crate) any: bool,
    /// Whether there is a sound frame header of this segment.
    pub(crate) frames: bool,
    /// The highest position that such a frame says was durable.
    pub(crate) durable: u64,
}

/// Looks at everything from `from`, a place where a frame may begin, to the end of the file. Space
/// that was never written costs nothing.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn scan(file: &File, from: u64, identity: &Identity) -> io::Result<Rest> {
    let mut window = Window::new(file)?;
    let mut rest = Rest::default();
    let mut at = from;
    while let Some(data) = next_data(file, at, window.file_len)? {
        at = (data / ALIGNMENT * ALIGNMENT).max(at);
        let chunk_end = (at + WINDOW_BYTES as u64).min(window.file_len);
        while at < chunk_end {
            let len = (chunk_end - at).min(ALIGNMENT) as usize;
            let Some(bytes) = window.get(at, len)? else { break };
            let may_begin = begins(bytes);
            rest.any |= bytes.iter().any(|byte| *byte != 0);
            if may_begin
                && let Some(bytes) = window.get(at, FRAME_HEADER_BYTES)?
                && let Ok((header, _)) = FrameHeader::decode(bytes, identity)
            {
                rest.frames = true;
                rest.durable = rest.durable.max(header.durable);
            }
            at += len as u64;
        }
    }
    Ok(rest)
}

/// The next place from `at` on that was written, if there is one before `end`.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn next_data(file: &File, at: u64, end: u64) -> io::Result<Option<u64>> {
    if at >= end {
        return Ok(None);
    }
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok((data < end).then_some(data)),
        Err(Errno::NXIO) => Ok(None),
        // Not every file system knows its holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(at)),
        Err(error) => Err(error.into()),
    }
}
