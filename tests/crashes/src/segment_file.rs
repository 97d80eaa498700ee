//! Segment files of a log, read with the numbers of the format alone, so that the log's code is not judged by
//! itself.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use hongbao_schemas::award::Award;

use crate::finding::found;

const ALIGNMENT: usize = 64;
const FRAME_HEADER_BYTES: usize = 256;
const TRAILER_BYTES: usize = 64;

/// A frame of an undamaged segment.
pub struct Frame {
    /// Where it begins in the stream of its partition, in bytes.
    pub position: u64,
    /// Where it begins and ends in the file, with padding, in bytes.
    pub place: (usize, usize),
    /// Up to where the stream was known durable when it was written.
    pub durable: u64,
    /// Frames that follow in its group.
    pub frames_after: u32,
    /// Its topic; a frame that marks a clean close has none.
    pub topic: String,
    /// Its records.
    pub records: u64,
    /// Those of them that are awards.
    pub awards: u64,
}

/// An undamaged segment.
pub struct Segment {
    /// Of its file.
    pub name: String,
    /// Where it begins in the stream of its partition, in bytes.
    pub base: u64,
    /// Bytes of its header, behind which its first frame begins.
    pub header_len: usize,
    /// What its header says was durable.
    pub durable: u64,
    /// All of its frames, in order.
    pub frames: Vec<Frame>,
    /// Where a footer says that it ends.
    pub sealed_at: Option<u64>,
}

impl Segment {
    /// Reads a file with all frames from its first on; none if it is too short for a header.
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
///
/// # Errors
/// They cannot be read, or one is too short to be one.
pub fn segments_beside(path: &Path) -> io::Result<Vec<Segment>> {
    let read = |name: String| {
        let bytes = fs::read(path.with_file_name(&name))?;
        let short = || found(format!("{name} of a sound folder is none"));
        Segment::read(name.clone(), &bytes).ok_or_else(short)
    };
    names_in(path.parent().unwrap_or(path))?.into_iter().map(read).collect()
}

/// Topics of which the log in this folder holds whole groups. A file that a killed process has only begun
/// holds nothing.
///
/// # Errors
/// Of the file system.
pub fn topics(log: &Path) -> io::Result<BTreeSet<String>> {
    let mut topics = BTreeSet::new();
    for entry in fs::read_dir(log)? {
        let partition = entry?.path();
        if !partition.is_dir() {
            continue;
        }
        for name in names_in(&partition)? {
            let bytes = fs::read(partition.join(&name))?;
            let frames = Segment::read(name, &bytes).map(|segment| segment.frames).unwrap_or_default();
            let last = frames.iter().rposition(|frame| frame.frames_after == 0);
            let whole = frames.into_iter().take(last.map_or(0, |last| last + 1));
            topics.extend(whole.filter(|frame| frame.records > 0).map(|frame| frame.topic));
        }
    }
    Ok(topics)
}

/// Names of the segments in the folder of a partition, in order.
fn names_in(partition: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(partition)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".seg") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hongbao_engine::clock::ManualClock;
    use hongbao_engine::log::Log;
    use hongbao_engine::partition::Partition;
    use hongbao_engine::records::{self, Envelope, RecordBuf};
    use hongbao_segments::{SegmentLog, SegmentOptions};

    use super::*;

    /// Groups by partition: the first partition has more than fit into a segment.
    const GROUPS: [(u16, &[&str]); 6] = [
        (0, &["awards"]),
        (0, &["journal", "orders.cash"]),
        (0, &["awards"]),
        (0, &["awards"]),
        (0, &["dlq.intake"]),
        (1, &["orders.other", "orders.late"]),
    ];

    #[test]
    fn topics_are_those_of_all_whole_groups() {
        let folder = tempfile::tempdir().unwrap();
        let options = SegmentOptions {
            partitions: 2,
            segment_bytes: 32 << 10,
            sync_max_delay: Duration::ZERO,
            sync_max_bytes: 1 << 20,
        };
        let (log, _) = SegmentLog::open(folder.path(), options, Arc::new(ManualClock::at(7))).unwrap();
        let mut records = RecordBuf::new();
        records.push(&[7; 9_000]);
        let envelope = Envelope { source: "", epoch: 0, first_seq: 0 };
        for (partition, topics) in GROUPS {
            let frames = topics.iter().map(|topic| records::Frame { topic, envelope, records: &records });
            log.append(Partition(partition), &frames.collect::<Vec<_>>()).unwrap();
        }
        drop(log);
        let in_order = ["awards", "dlq.intake", "journal", "orders.cash", "orders.late", "orders.other"];
        assert!(topics(folder.path()).unwrap().iter().eq(&in_order));
        assert!(names_in(&folder.path().join("p-0000")).unwrap().len() > 1);
        // The second frame of the only group is gone, and the group with it.
        let path = folder.path().join("p-0001/0000000001.seg");
        let mut bytes = fs::read(&path).unwrap();
        let frames = Segment::read(String::new(), &bytes).unwrap().frames;
        let late = frames.iter().find(|frame| frame.topic == "orders.late").unwrap();
        bytes[late.place.0..late.place.1].fill(0);
        fs::write(&path, bytes).unwrap();
        assert!(topics(folder.path()).unwrap().iter().eq(&in_order[..4]));
    }
}
