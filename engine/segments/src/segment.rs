//! Segment files: names, and the header that ties a file to its log, partition and place in the
//! stream.
//!
//! ```text
//! 0   magic, CRC-32C of the header, version, partition, flags (8 bits), pages allocated (24 bits)
//! 16  log id, generation, header CRC of the last frame before
//! 32  stream position of the first frame, position known durable, created at (ms)
//! 56  bytes of the table, number of topics
//! 64  every topic of the partition with its next offset; padded with zeros to 64 bytes
//! ```
//! The table makes each segment self-contained: what lies before it can be trimmed and offsets
//! still go on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hongbao_engine::log::NAME_BYTES_MAX;
use hongbao_engine::records::Offset;

use crate::error::OpenError;
use crate::frame::Identity;
use crate::meta::FORMAT_VERSION;
use crate::options::{PAGE_BYTES, SEGMENT_BYTES_MAX, TOPICS_MAX};
use crate::wire::{NUMBER_MAX, Take, aligned, i64_at, put, put_name, u16_at, u32_at, u64_at};

const MAGIC: [u8; 4] = *b"hbS1";
const FIXED_BYTES: usize = 64;
const CHECKED_FROM: usize = 8;
const FLAG_RECYCLED: u32 = 1;
/// The flags from here on are the number of pages that were allocated.
const ALLOCATED_SHIFT: u32 = 8;
const TABLE_ENTRY_BYTES_MAX: usize = 1 + 64 + 8;
/// Read at once; larger headers take a second read.
const FIRST_READ_BYTES: usize = 4 << 10;

/// The next offset of every topic that was ever written to in a partition.
pub(crate) type NextOffsets = BTreeMap<Arc<str>, Offset>;

/// What a segment says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) identity: Identity,
    /// Whether the file held another segment before, so that what lies behind the last frame says
    /// nothing.
    pub(crate) recycled: bool,
    /// Bytes that the file had before this header was written, in whole pages: once anything in it
    /// was synced, a shorter file has lost something (I26). 0 when that is not known.
    pub(crate) allocated: u64,
    pub(crate) previous: u32,
    pub(crate) base: u64,
    pub(crate) durable: u64,
    pub(crate) created_at_ms: i64,
    pub(crate) topics: NextOffsets,
}

/// What was found where a segment's header should be.
#[derive(Debug)]
pub(crate) enum FoundHeader {
    Sound(SegmentHeader),
    /// Torn, damaged, or left from before the file was used again.
    Unsound(String),
    /// The device did not give it.
    Unreadable(String),
}

impl SegmentHeader {
    /// Size of the header, which is where the first frame begins.
    pub(crate) fn len(&self) -> u64 {
        let table: usize = self.topics.keys().map(|topic| 9 + topic.len()).sum();
        aligned((FIXED_BYTES + table) as u64)
    }

    /// Whether a file of `len` bytes without a footer lost its end: its length was synced with its
    /// header or with anything in it. What was never synced may never have got to the disk.
    pub(crate) fn is_short(&self, len: u64, synced: bool) -> Option<String> {
        (synced && len < self.allocated)
            .then(|| format!("it has {len} bytes of {} that were allocated and synced", self.allocated))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut table = Vec::new();
        for (topic, next) in &self.topics {
            put_name(&mut table, topic);
            table.extend_from_slice(&next.to_le_bytes());
        }
        let mut out = vec![0; FIXED_BYTES];
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, (FORMAT_VERSION as u16).to_le_bytes());
        put(&mut out, 10, self.identity.partition.to_le_bytes());
        let pages = (self.allocated / PAGE_BYTES) as u32;
        let flags = if self.recycled { FLAG_RECYCLED } else { 0 } | pages << ALLOCATED_SHIFT;
        put(&mut out, 12, flags.to_le_bytes());
        put(&mut out, 16, self.identity.log_id.to_le_bytes());
        put(&mut out, 24, self.identity.generation.to_le_bytes());
        put(&mut out, 28, self.previous.to_le_bytes());
        put(&mut out, 32, self.base.to_le_bytes());
        put(&mut out, 40, self.durable.to_le_bytes());
        put(&mut out, 48, self.created_at_ms.to_le_bytes());
        put(&mut out, 56, (table.len() as u32).to_le_bytes());
        put(&mut out, 60, (self.topics.len() as u32).to_le_bytes());
        out.append(&mut table);
        out.resize(aligned(out.len() as u64) as usize, 0);
        let crc = crc32c::crc32c(&out[CHECKED_FROM..]);
        put(&mut out, 4, crc.to_le_bytes());
        out
    }

    /// Reads the header of the file that is named as `identity`.
    ///
    /// # Errors
    /// When the header is sound but of another log, partition or format: such a file must not be
    /// here at all.
    pub(crate) fn read(file: &File, path: &Path, identity: &Identity) -> Result<FoundHeader, OpenError> {
        let bytes = match header_bytes(file) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(FoundHeader::Unsound("it has no sound header".to_owned())),
            Err(error) => return Ok(FoundHeader::Unreadable(error.to_string())),
        };
        let found_version = u32::from(u16_at(&bytes, 8));
        if found_version != FORMAT_VERSION {
            let path = path.to_owned();
            return Err(OpenError::Version { path, found: found_version, known: FORMAT_VERSION });
        }
        let (log_id, partition) = (u64_at(&bytes, 16), u16_at(&bytes, 10));
        if log_id != identity.log_id {
            return Err(OpenError::segment(path, "it belongs to another log"));
        }
        if partition != identity.partition {
            return Err(OpenError::segment(path, format!("it belongs to partition {partition}")));
        }
        let generation = u32_at(&bytes, 24);
        if generation != identity.generation {
            return Ok(FoundHeader::Unsound(format!("its header is of generation {generation}")));
        }
        Ok(Self::decode(&bytes, *identity).map_or_else(
            || FoundHeader::Unsound("its size or its table of topics is damaged".to_owned()),
            FoundHeader::Sound,
        ))
    }

    fn decode(bytes: &[u8], identity: Identity) -> Option<Self> {
        let table = bytes.get(FIXED_BYTES..FIXED_BYTES + u32_at(bytes, 56) as usize)?;
        let mut take = Take(table);
        let mut topics = NextOffsets::new();
        for _ in 0..u32_at(bytes, 60) {
            let (topic, next) = (take.name()?, take.u64()?);
            let known = topic.len() <= NAME_BYTES_MAX && next < NUMBER_MAX;
            if !known || topics.insert(topic.into(), next).is_some() {
                return None;
            }
        }
        // What is left over or given twice would move the place of the first frame.
        if !take.0.is_empty() || u64_at(bytes, 32) >= NUMBER_MAX {
            return None;
        }
        let flags = u32_at(bytes, 12);
        let allocated = u64::from(flags >> ALLOCATED_SHIFT) * PAGE_BYTES;
        if allocated > SEGMENT_BYTES_MAX {
            return None;
        }
        Some(Self {
            identity,
            recycled: flags & FLAG_RECYCLED != 0,
            allocated,
            previous: u32_at(bytes, 28),
            base: u64_at(bytes, 32),
            durable: u64_at(bytes, 40),
            created_at_ms: i64_at(bytes, 48),
            topics,
        })
    }
}

/// The bytes of a header whose checksum is right, if there is one.
fn header_bytes(file: &File) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = read_up_to(file, 0, FIRST_READ_BYTES)?;
    if bytes.len() < FIXED_BYTES || !bytes.starts_with(&MAGIC) {
        return Ok(None);
    }
    let table_len = u32_at(&bytes, 56) as usize;
    if table_len > TOPICS_MAX * TABLE_ENTRY_BYTES_MAX {
        return Ok(None);
    }
    let len = aligned((FIXED_BYTES + table_len) as u64) as usize;
    if len > bytes.len() {
        bytes = read_up_to(file, 0, len)?;
    }
    bytes.truncate(len);
    let sound = bytes.len() == len && u32_at(&bytes, 4) == crc32c::crc32c(&bytes[CHECKED_FROM..]);
    Ok(sound.then_some(bytes))
}

/// Reads `len` bytes, or less at the end of the file.
pub(crate) fn read_up_to(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut bytes[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

const SEGMENT_SUFFIX: &str = "seg";
const SPARE_SUFFIX: &str = "spare";

pub(crate) fn segment_path(dir: &Path, generation: u32) -> PathBuf {
    dir.join(format!("{generation:010}.{SEGMENT_SUFFIX}"))
}

pub(crate) fn spare_path(dir: &Path, generation: u32) -> PathBuf {
    dir.join(format!("{generation:010}.{SPARE_SUFFIX}"))
}

/// The segment files of a partition.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Generations in ascending order.
    pub(crate) segments: Vec<u32>,
    /// Files kept to be written again.
    pub(crate) spares: Vec<PathBuf>,
}

impl Listing {
    /// Lists a partition's directory, and refuses one with a segment missing in the middle.
    pub(crate) fn read(dir: &Path) -> Result<Self, OpenError> {
        let mut listing = Self::default();
        for entry in fs::read_dir(dir).map_err(OpenError::io(dir))? {
            let path = entry.map_err(OpenError::io(dir))?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let generation = stem.parse::<u32>().ok().filter(|found| stem.len() == 10 && *found < u32::MAX);
            let suffix = path.extension().and_then(|suffix| suffix.to_str());
            match (generation, suffix) {
                (Some(generation), Some(SEGMENT_SUFFIX)) => listing.segments.push(generation),
                (Some(_), Some(SPARE_SUFFIX)) => listing.spares.push(path),
                _ => return Err(OpenError::segment(&path, "it is not a file of the log")),
            }
        }
        listing.segments.sort_unstable();
        listing.spares.sort_unstable();
        if listing.segments.is_empty() {
            return Err(OpenError::segment(dir, "all its segments are missing"));
        }
        for pair in listing.segments.windows(2) {
            if pair[1] - pair[0] != 1 {
                return Err(OpenError::segment(&segment_path(dir, pair[0] + 1), "this segment is missing"));
            }
        }
        Ok(listing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::IDENTITY;

    fn header(count: usize) -> SegmentHeader {
        let topics: NextOffsets =
            (0..count).map(|n| (format!("orders.lane-{n:050}").into(), n as u64)).collect();
        let base = 1 << 40;
        SegmentHeader {
            identity: IDENTITY,
            recycled: count > 0,
            allocated: count as u64 * PAGE_BYTES,
            previous: 5,
            base,
            durable: base - 1,
            created_at_ms: -3,
            topics,
        }
    }

    fn found(bytes: &[u8], identity: &Identity) -> Result<FoundHeader, OpenError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        SegmentHeader::read(file.as_file(), file.path(), identity)
    }

    #[test]
    fn is_read_as_written() {
        for topics in [0, 1, 3, 100, TOPICS_MAX] {
            let header = header(topics);
            let bytes = header.encode();
            assert_eq!(bytes.len() as u64, header.len());
            let read = found(&[bytes, vec![0xee; 5_000]].concat(), &IDENTITY).unwrap();
            assert!(matches!(&read, FoundHeader::Sound(found) if *found == header), "{topics}: {read:?}");
        }
    }

    #[test]
    fn a_flipped_or_missing_byte_is_seen() {
        let good = header(3).encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(matches!(found(&bad, &IDENTITY), Ok(FoundHeader::Unsound(_))), "byte {at}");
            assert!(matches!(found(&good[..at], &IDENTITY), Ok(FoundHeader::Unsound(_))), "cut at {at}");
        }
    }

    #[test]
    fn a_table_that_is_not_as_written_is_refused() {
        let good = header(3).encode();
        let name_at = FIXED_BYTES + 1;
        let entry = 1 + "orders.lane-".len() + 50 + 8;
        let changes: [(&str, usize, Vec<u8>); 5] = [
            ("a topic left over", 60, 2_u32.to_le_bytes().to_vec()),
            ("a topic twice", name_at + entry, good[name_at..name_at + entry - 1].to_vec()),
            ("an offset beyond all bounds", name_at + entry - 9, vec![0xff; 8]),
            ("a position beyond all bounds", 32, vec![0xff; 8]),
            ("a size beyond all bounds", 12, vec![0, 0, 0, 0xff]),
        ];
        for (what, at, bytes) in changes {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(&bytes);
            let crc = crc32c::crc32c(&bad[CHECKED_FROM..]);
            put(&mut bad, 4, crc.to_le_bytes());
            assert!(matches!(found(&bad, &IDENTITY), Ok(FoundHeader::Unsound(_))), "{what}");
        }
    }

    #[test]
    fn what_belongs_elsewhere_is_refused() {
        let good = header(3).encode();
        let cases = [
            (Identity { log_id: 1, ..IDENTITY }, "another log"),
            (Identity { partition: 9, ..IDENTITY }, "partition 3"),
        ];
        for (identity, what) in cases {
            let error = found(&good, &identity).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        let before = found(&good, &Identity { generation: 8, ..IDENTITY });
        assert!(matches!(before, Ok(FoundHeader::Unsound(what)) if what.contains("generation 7")));
        let mut newer = good;
        put(&mut newer, 8, 2_u16.to_le_bytes());
        let crc = crc32c::crc32c(&newer[CHECKED_FROM..]);
        put(&mut newer, 4, crc.to_le_bytes());
        assert!(matches!(found(&newer, &IDENTITY), Err(OpenError::Version { found: 2, .. })));
    }

    #[test]
    fn a_directory_is_listed_or_refused() {
        let cases: [(&[&str], Result<usize, &str>); 5] = [
            (&["0000000001.seg"], Ok(1)),
            (&["0000000010.seg", "0000000009.seg", "0000000002.spare"], Ok(2)),
            (&["0000000001.seg", "0000000003.seg"], Err("0000000002.seg: this segment is missing")),
            (&["0000000001.spare"], Err("all its segments are missing")),
            (&["0000000001.seg", "notes.txt"], Err("notes.txt: it is not a file of the log")),
        ];
        for (names, expected) in cases {
            let dir = tempfile::tempdir().unwrap();
            for name in names {
                fs::write(dir.path().join(name), b"").unwrap();
            }
            match (Listing::read(dir.path()), expected) {
                (Ok(listing), Ok(count)) => assert_eq!(listing.segments.len(), count, "{names:?}"),
                (Err(error), Err(what)) => assert!(error.to_string().ends_with(what), "{error}"),
                (found, _) => panic!("{names:?}: {found:?}"),
            }
        }
    }
}
