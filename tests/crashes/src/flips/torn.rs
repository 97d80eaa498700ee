//! Whether damage to a segment may look like a torn write: nothing that is left of the log says that the
//! group had become durable. Read with the numbers of the format alone, so that the log's code is not
//! judged by itself.

use std::fs;
use std::io;
use std::path::Path;

use hongbao_schemas::award::Award;

use super::damage::Damage;
use crate::finding::found;

const ALIGNMENT: usize = 64;
const FRAME_HEADER_BYTES: usize = 256;
const TRAILER_BYTES: usize = 64;

/// What is lost with a group that is taken for torn, and all behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub records: u64,
    pub awards: u64,
}

/// A frame of an undamaged segment.
struct Frame {
    /// In the stream.
    position: u64,
    /// In the file, with padding.
    place: (usize, usize),
    durable: u64,
    frames_after: u32,
    topic: String,
    records: u64,
    awards: u64,
}

/// An undamaged segment.
struct Segment {
    name: String,
    base: u64,
    header_len: usize,
    /// What its header says was durable.
    durable: u64,
    frames: Vec<Frame>,
    /// Where a footer says that it ends.
    sealed_at: Option<u64>,
}

/// What damage to a segment may take away without anything left that says so; none if it must be
/// noticed. `data` is the undamaged folder.
///
/// # Errors
/// The undamaged folder is not what it should be.
pub fn may_lose(data: &Path, damage: &Damage) -> io::Result<Option<Lost>> {
    let segments = segments_beside(&data.join(&damage.path))?;
    let name = damage.path.file_name().unwrap_or_default().to_string_lossy();
    let Some(hit) = segments.iter().position(|segment| segment.name == name) else { return Ok(None) };
    let (segment, at) = (&segments[hit], damage.at as usize);
    // Where the groups begin that are gone, and which frame says nothing any more.
    let gone_from = segment.group_at(at);
    let is_cut = damage.what == "cut off";
    let mut proven = 0;
    for (index, other) in segments.iter().enumerate() {
        let is_silent = |place: (usize, usize)| {
            index == hit && (if is_cut { at < place.1 } else { place.0 <= at && at < place.1 })
        };
        if !is_silent((0, other.header_len)) {
            proven = proven.max(other.durable);
        }
        if let Some(end) = other.sealed_at.filter(|_| index != hit) {
            proven = proven.max(end);
        }
        let heard = other.frames.iter().filter(|frame| !is_silent(frame.place));
        proven = heard.map(|frame| frame.durable).fold(proven, u64::max);
    }
    // A file has its whole length before anything in it is synced.
    let is_short = is_cut && (hit == 0 || proven > segment.base);
    if is_short || proven > gone_from {
        return Ok(None);
    }
    let mut lost = Lost::default();
    for frame in segments.iter().flat_map(|segment| &segment.frames) {
        if frame.position >= gone_from {
            lost.records += frame.records;
            lost.awards += frame.awards;
        }
    }
    Ok(Some(lost))
}

impl Segment {
    /// Position of the group that a byte belongs to; of the end, for a byte behind all groups.
    fn group_at(&self, at: usize) -> u64 {
        let mut begins = self.base;
        for frame in &self.frames {
            if at < frame.place.1 && frame.frames_after == 0 {
                return begins;
            }
            if frame.frames_after == 0 {
                begins = frame.position + (frame.place.1 - frame.place.0) as u64;
            }
        }
        begins
    }

    fn read(name: String, bytes: &[u8]) -> Option<Self> {
        let header_len = (ALIGNMENT + u32_at(bytes, 56)? as usize).next_multiple_of(ALIGNMENT);
        let (base, durable) = (u64_at(bytes, 32)?, u64_at(bytes, 40)?);
        let mut frames = Vec::new();
        let mut at = header_len;
        while let Some(frame) = Frame::read(bytes, at, base + (at - header_len) as u64) {
            at = frame.place.1;
            frames.push(frame);
        }
        let trailer = bytes.len().checked_sub(TRAILER_BYTES).and_then(|trailer| bytes.get(trailer..));
        let trailer = trailer.filter(|trailer| trailer.starts_with(b"hbT1"));
        let sealed_at = trailer.and_then(|trailer| u64_at(trailer, 40));
        Some(Self { name, base, header_len, durable, frames, sealed_at })
    }
}

impl Frame {
    fn read(bytes: &[u8], at: usize, position: u64) -> Option<Self> {
        let header = bytes.get(at..at + FRAME_HEADER_BYTES)?;
        // What stood in a file that is used again is no frame of this one.
        if !header.starts_with(b"hbF1") || u64_at(header, 32)? != position {
            return None;
        }
        let records = u32_at(header, 76)?;
        let ends_at = at + FRAME_HEADER_BYTES;
        let bytes_at = ends_at + 4 * records as usize;
        let end = bytes_at + u32_at(header, 80)? as usize;
        let name_len = usize::from(header[84]);
        let topic = String::from_utf8_lossy(header.get(128..128 + name_len)?).into_owned();
        let mut frame = Self {
            position,
            place: (at, end.next_multiple_of(ALIGNMENT)),
            durable: u64_at(header, 40)?,
            frames_after: u32_at(header, 88)?,
            topic,
            records: u64::from(records),
            awards: 0,
        };
        if frame.topic == "awards" {
            let mut from = 0;
            for index in 0..records as usize {
                let to = u32_at(bytes, ends_at + 4 * index)? as usize;
                let record = bytes.get(bytes_at + from..bytes_at + to)?;
                frame.awards += u64::from(Award::decode(record).is_ok());
                from = to;
            }
        }
        Some(frame)
    }
}

/// All segments in the folder of one, in order.
fn segments_beside(path: &Path) -> io::Result<Vec<Segment>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path.parent().unwrap_or(path))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".seg") {
            names.push(name);
        }
    }
    names.sort_unstable();
    let read = |name: String| {
        let bytes = fs::read(path.with_file_name(&name))?;
        let short = || found(format!("{name} of a sound folder is none"));
        Segment::read(name.clone(), &bytes).ok_or_else(short)
    };
    names.into_iter().map(read).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
