//! Sealed segments: opened when they are read, and a few of them kept open.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::footer::Trailer;
use crate::frame::Identity;
use crate::index::FrameIndex;
use crate::segment::{FoundHeader, SegmentHeader};
use crate::walk::walk;

/// Most sealed segments of one partition kept open.
pub(crate) const CACHED_SEGMENTS_MAX: usize = 8;
/// Most bytes of their indexes, unless one alone is larger.
pub(crate) const CACHED_INDEX_BYTES_MAX: usize = 4 << 20;

/// A sealed segment that is open.
pub(crate) struct SealedSegment {
    pub(crate) generation: u32,
    pub(crate) file: Arc<File>,
    pub(crate) index: FrameIndex,
}

/// Why a sealed segment could not be opened.
pub(crate) enum LoadError {
    /// Nothing is known to be wrong with the segment.
    Unavailable(io::Error),
    Damaged(String),
}

impl SealedSegment {
    /// Opens the segment and reads its frame index, or walks the frames when that is damaged.
    pub(crate) fn load(path: &Path, identity: &Identity, base: u64, end: u64) -> Result<Self, LoadError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LoadError::Damaged("the file is missing".to_owned()));
            }
            result => result.map_err(LoadError::Unavailable)?,
        };
        let unreadable = |error: io::Error| LoadError::Damaged(error.to_string());
        let trailer = Trailer::read(&file, identity).map_err(unreadable)?;
        let trailer = trailer.filter(|trailer| (trailer.base, trailer.end) == (base, end));
        let found = match trailer {
            Some(trailer) => trailer.read_index(&file).map_err(unreadable)?,
            None => None,
        };
        let index = match found {
            Some(index) => index,
            None => {
                tracing::warn!(path = %path.display(), "a footer is damaged; walking the frames");
                rebuild(&file, path, identity, end)?
            }
        };
        Ok(Self { generation: identity.generation, file: Arc::new(file), index })
    }
}

fn rebuild(file: &File, path: &Path, identity: &Identity, end: u64) -> Result<FrameIndex, LoadError> {
    let header = match SegmentHeader::read(file, path, identity) {
        Ok(FoundHeader::Sound(header)) => header,
        Ok(FoundHeader::Unsound(what) | FoundHeader::Unreadable(what)) => {
            return Err(LoadError::Damaged(what));
        }
        Err(error) => return Err(LoadError::Damaged(error.to_string())),
    };
    let walked = walk(file, &header).map_err(|error| LoadError::Damaged(error.to_string()))?;
    let position = header.base + (walked.at - header.len());
    if position != end {
        let flaw = walked.flaw.unwrap_or("nothing");
        return Err(LoadError::Damaged(format!("found {flaw} at {}, position {position}", walked.at)));
    }
    Ok(walked.index)
}

/// The sealed segments of one partition read last.
#[derive(Default)]
pub(crate) struct Cache {
    /// The one read last at the back.
    segments: VecDeque<Arc<SealedSegment>>,
}

impl Cache {
    pub(crate) fn get(&mut self, generation: u32) -> Option<Arc<SealedSegment>> {
        let at = self.segments.iter().position(|segment| segment.generation == generation)?;
        let segment = self.segments.remove(at)?;
        self.segments.push_back(Arc::clone(&segment));
        Some(segment)
    }

    pub(crate) fn put(&mut self, segment: Arc<SealedSegment>) {
        self.remove(segment.generation);
        self.segments.push_back(segment);
        while self.segments.len() > 1 && self.is_above_limits() {
            self.segments.pop_front();
        }
    }

    pub(crate) fn remove(&mut self, generation: u32) {
        self.segments.retain(|segment| segment.generation != generation);
    }

    fn is_above_limits(&self) -> bool {
        let bytes: usize = self.segments.iter().map(|segment| segment.index.encoded_len()).sum();
        self.segments.len() > CACHED_SEGMENTS_MAX || bytes > CACHED_INDEX_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::header;
    use crate::index::Entry;

    fn segment(generation: u32, frames: usize) -> Arc<SealedSegment> {
        let mut index = FrameIndex::default();
        for _ in 0..frames {
            index.push("journal", Entry::new(&header(), 0));
        }
        let file = Arc::new(tempfile::tempfile().unwrap());
        Arc::new(SealedSegment { generation, file, index })
    }

    fn kept(cache: &Cache) -> Vec<u32> {
        cache.segments.iter().map(|segment| segment.generation).collect()
    }

    #[test]
    fn keeps_the_ones_read_last_within_both_limits() {
        let mut cache = Cache::default();
        for generation in 1..=10 {
            cache.put(segment(generation, 1));
        }
        assert_eq!(kept(&cache), [3, 4, 5, 6, 7, 8, 9, 10]);
        assert!(cache.get(4).is_some() && cache.get(2).is_none());
        cache.put(segment(11, 1));
        assert_eq!(kept(&cache), [5, 6, 7, 8, 9, 10, 4, 11]);
        cache.remove(10);
        cache.put(segment(12, CACHED_INDEX_BYTES_MAX / 32 - 1));
        assert_eq!(kept(&cache), [12], "large indexes push out small ones");
        cache.put(segment(13, CACHED_INDEX_BYTES_MAX));
        assert_eq!(kept(&cache), [13], "one alone may be larger");
    }
}
