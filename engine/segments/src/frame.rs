//! Frames as they lie in a segment.
//!
//! ```text
//! 0    magic, CRC-32C of the header, CRC-32C of the payload, header CRC of the frame before
//! 16   log id, generation, partition
//! 32   stream position of this frame, position known durable when it was written
//! 48   first offset, first sequence, appended at (ms), epoch, records, bytes of the records
//! 84   lengths of the names, frames that follow in the same group; 128 topic; 192 source
//! 256  end of each record (u32), then the records' bytes; padded with zeros to 64 bytes
//! ```
//! All numbers are little-endian. The header's checksum covers log id, generation, position and
//! the frame before, so that nothing left behind by an earlier use of the file, by another log or
//! by a write that was given up can ever be taken for a frame of this stream.

use hongbao_engine::mutant;
use hongbao_engine::records::Offset;

use crate::wire::{NUMBER_MAX, aligned, i64_at, put, u16_at, u32_at, u64_at};

/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 256;
const MAGIC: [u8; 4] = *b"hbF1";
const CHECKED_FROM: usize = 8;

/// What a frame must carry to belong to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) log_id: u64,
    pub(crate) partition: u16,
    pub(crate) generation: u32,
}

/// A name of up to 64 bytes, in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    bytes: [u8; 64],
    len: u8,
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Name {
    /// The callers' names were checked: at most 64 bytes.
    pub(crate) fn new(name: &str) -> Self {
        let mut bytes = [0; 64];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Self { bytes, len: name.len() as u8 }
    }

    fn decode(bytes: &[u8], len: u8) -> Option<Self> {
        std::str::from_utf8(bytes.get(..usize::from(len))?).ok().map(Self::new)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

/// All that a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) identity: Identity,
    /// Header CRC of the frame before in this partition; the chain goes on over segments.
    pub(crate) previous: u32,
    pub(crate) payload_crc: u32,
    pub(crate) frames_after: u32,
    pub(crate) position: u64,
    pub(crate) durable: u64,
    pub(crate) first_offset: Offset,
    pub(crate) first_seq: u64,
    pub(crate) appended_at_ms: i64,
    pub(crate) epoch: u32,
    /// 0 only in a closing frame, which belongs to no topic.
    pub(crate) record_count: u32,
    pub(crate) bytes_len: u32,
    pub(crate) topic: Name,
    pub(crate) source: Name,
}

/// Why bytes are not a frame of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// No frame begins here.
    NoFrame,
    /// A frame began here, and its header is damaged.
    Header,
    /// A sound header of another log, partition or generation.
    Foreign,
}

impl FrameHeader {
    /// Writes the header into the first [`FRAME_HEADER_BYTES`] of `out` and returns its checksum.
    pub(crate) fn encode(&self, out: &mut [u8]) -> u32 {
        let out = &mut out[..FRAME_HEADER_BYTES];
        out.fill(0);
        put(out, 0, MAGIC);
        put(out, 8, self.payload_crc.to_le_bytes());
        put(out, 12, self.previous.to_le_bytes());
        put(out, 16, self.identity.log_id.to_le_bytes());
        put(out, 24, self.identity.generation.to_le_bytes());
        put(out, 28, self.identity.partition.to_le_bytes());
        put(out, 32, self.position.to_le_bytes());
        put(out, 40, self.durable.to_le_bytes());
        put(out, 48, self.first_offset.to_le_bytes());
        put(out, 56, self.first_seq.to_le_bytes());
        put(out, 64, self.appended_at_ms.to_le_bytes());
        put(out, 72, self.epoch.to_le_bytes());
        put(out, 76, self.record_count.to_le_bytes());
        put(out, 80, self.bytes_len.to_le_bytes());
        put(out, 84, [self.topic.len, self.source.len]);
        put(out, 88, self.frames_after.to_le_bytes());
        put(out, 128, self.topic.bytes);
        put(out, 192, self.source.bytes);
        let crc = crc32c::crc32c(&out[CHECKED_FROM..]);
        put(out, 4, crc.to_le_bytes());
        crc
    }

    /// Reads a header and checks its sum and that it belongs to the segment. Returns its checksum
    /// too, which the next frame must name.
    pub(crate) fn decode(bytes: &[u8], identity: &Identity) -> Result<(Self, u32), Flaw> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES).ok_or(Flaw::NoFrame)?;
        if !begins(bytes) {
            return Err(Flaw::NoFrame);
        }
        let crc = u32_at(bytes, 4);
        if crc != crc32c::crc32c(&bytes[CHECKED_FROM..]) {
            return Err(Flaw::Header);
        }
        let found = Identity {
            log_id: u64_at(bytes, 16),
            generation: u32_at(bytes, 24),
            partition: u16_at(bytes, 28),
        };
        if found != *identity && !mutant!(M66) {
            return Err(Flaw::Foreign);
        }
        let header = Self {
            identity: found,
            payload_crc: u32_at(bytes, 8),
            previous: u32_at(bytes, 12),
            frames_after: u32_at(bytes, 88),
            position: u64_at(bytes, 32),
            durable: u64_at(bytes, 40),
            first_offset: u64_at(bytes, 48),
            first_seq: u64_at(bytes, 56),
            appended_at_ms: i64_at(bytes, 64),
            epoch: u32_at(bytes, 72),
            record_count: u32_at(bytes, 76),
            bytes_len: u32_at(bytes, 80),
            topic: Name::decode(&bytes[128..192], bytes[84]).ok_or(Flaw::Header)?,
            source: Name::decode(&bytes[192..256], bytes[85]).ok_or(Flaw::Header)?,
        };
        let known = header.position < NUMBER_MAX && header.first_offset < NUMBER_MAX;
        if known && header.frames_after < u32::MAX { Ok((header, crc)) } else { Err(Flaw::Header) }
    }

    /// Bytes of header and record ends.
    pub(crate) fn head_len(&self) -> usize {
        FRAME_HEADER_BYTES + 4 * self.record_count as usize
    }

    /// Bytes without padding.
    pub(crate) fn len(&self) -> usize {
        self.head_len() + self.bytes_len as usize
    }

    /// Bytes up to where the next frame begins.
    pub(crate) fn padded_len(&self) -> u64 {
        aligned(self.len() as u64)
    }

    /// Whether this frame marks a clean close and holds nothing.
    pub(crate) fn is_closing(&self) -> bool {
        self.record_count == 0
    }
}

/// Whether a frame may begin here; for scans.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Whether record ends, as they lie in the file, cut `bytes_len` bytes into records.
pub(crate) fn ends_fit(ends: &[u8], bytes_len: usize) -> bool {
    let mut before = 0;
    let ascending = ends.chunks_exact(4).all(|end| {
        let end = u32_at(end, 0);
        let fits = end >= before;
        before = end;
        fits
    });
    ascending && before as usize == bytes_len
}

/// The checksum of a payload: the record ends as they lie in the file, then the records.
pub(crate) fn payload_crc(ends: &[u8], bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(ends), bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const IDENTITY: Identity = Identity { log_id: 0xfeed, partition: 3, generation: 7 };

    pub(crate) fn header() -> FrameHeader {
        FrameHeader {
            identity: IDENTITY,
            previous: 11,
            payload_crc: 12,
            frames_after: 13,
            position: 14,
            durable: 15,
            first_offset: 16,
            first_seq: 17,
            appended_at_ms: -18,
            epoch: 19,
            record_count: 20,
            bytes_len: 21,
            topic: Name::new("orders.cash"),
            source: Name::new("intake"),
        }
    }

    #[test]
    fn a_header_is_read_as_written() {
        let mut bytes = [0xff; 300];
        let crc = header().encode(&mut bytes);
        assert_eq!(FrameHeader::decode(&bytes, &IDENTITY), Ok((header(), crc)));
        assert_eq!((header().len(), header().padded_len()), (256 + 80 + 21, 384));
        let widest = FrameHeader { topic: Name::new(&"t".repeat(64)), source: Name::new(""), ..header() };
        widest.encode(&mut bytes);
        assert_eq!(FrameHeader::decode(&bytes, &IDENTITY).map(|(found, _)| found), Ok(widest));
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_seen() {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        header().encode(&mut bytes);
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&bytes, &IDENTITY).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..FRAME_HEADER_BYTES {
            assert_eq!(FrameHeader::decode(&bytes[..len], &IDENTITY), Err(Flaw::NoFrame), "{len} bytes");
        }
    }

    #[test]
    fn a_header_with_numbers_beyond_all_bounds_is_damaged() {
        let bad = [
            FrameHeader { position: NUMBER_MAX, ..header() },
            FrameHeader { first_offset: u64::MAX, ..header() },
            FrameHeader { frames_after: u32::MAX, ..header() },
        ];
        for header in bad {
            let mut bytes = [0; FRAME_HEADER_BYTES];
            header.encode(&mut bytes);
            assert_eq!(FrameHeader::decode(&bytes, &IDENTITY), Err(Flaw::Header), "{header:?}");
        }
    }

    #[test]
    fn record_ends_cut_all_bytes_in_order() {
        let cases: [(&[u32], usize, bool); 8] = [
            (&[], 0, true),
            (&[], 1, false),
            (&[3], 3, true),
            (&[0, 0, 3, 3], 3, true),
            (&[3], 4, false),
            (&[4], 3, false),
            (&[3, 2, 3], 3, false),
            (&[u32::MAX, 3], 3, false),
        ];
        for (ends, bytes_len, expected) in cases {
            let encoded: Vec<u8> = ends.iter().flat_map(|end| end.to_le_bytes()).collect();
            assert_eq!(ends_fit(&encoded, bytes_len), expected, "{ends:?} of {bytes_len}");
        }
    }

    #[test]
    fn a_frame_of_another_log_partition_or_generation_is_foreign() {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        header().encode(&mut bytes);
        let others = [
            Identity { log_id: 1, ..IDENTITY },
            Identity { partition: 4, ..IDENTITY },
            Identity { generation: 8, ..IDENTITY },
        ];
        for other in others {
            assert_eq!(FrameHeader::decode(&bytes, &other), Err(Flaw::Foreign), "{other:?}");
        }
    }
}
