//! Whether damage to a segment may look like a torn write: nothing that is left of the log says that the
//! group had become durable.

use std::io;
use std::path::Path;

use super::damage::Damage;
use crate::segment_file::{Segment, segments_beside};

/// What is lost with a group that is taken for torn, and all behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Records of all topics.
    pub records: u64,
    /// Those of them that are awards.
    pub awards: u64,
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
}
