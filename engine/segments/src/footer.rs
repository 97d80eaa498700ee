//! The footer of a sealed segment: its frame index, so that opening and reading need not walk the
//! frames. It is written only when the segment and the head of its successor are durable; so a
//! sound footer proves both. It also says how much behind the segment was durable then: usually the
//! group for which the successor was begun, which nothing else vouches for (I26).
//!
//! ```text
//! index (see `FrameIndex::encode`), padded with zeros to 64 bytes
//! trailer, the last 64 bytes of the file:
//! 0   magic, CRC-32C of the trailer, CRC-32C of the index, bytes of the index
//! 16  log id, generation, partition
//! 32  stream position of the first frame, and of the end
//! 48  place of the index in the file, header CRC of the last frame, durable behind the end (in 64
//!     bytes; 0 in files written before it was noted)
//! ```

use std::fs::File;
use std::io::{self, IoSlice};

use crate::device::Device;
use crate::frame::Identity;
use crate::index::FrameIndex;
use crate::segment::read_up_to;
use crate::wire::{ALIGNMENT, NUMBER_MAX, aligned, put, u16_at, u32_at, u64_at};

const MAGIC: [u8; 4] = *b"hbT1";
const TRAILER_BYTES: usize = 64;
const CHECKED_FROM: usize = 8;

/// The summary at the end of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) identity: Identity,
    pub(crate) base: u64,
    pub(crate) end: u64,
    /// Header CRC of the last frame.
    pub(crate) chain: u32,
    /// What was durable behind the end, in units of the alignment; never more than that.
    beyond: u32,
    index_at: u64,
    index_len: u32,
    index_crc: u32,
}

/// Bytes a footer takes for an index of this encoded size.
pub(crate) fn footer_len(index_len: usize) -> u64 {
    aligned(index_len as u64) + TRAILER_BYTES as u64
}

/// What a segment is sealed with.
pub(crate) struct Seal {
    pub(crate) identity: Identity,
    pub(crate) base: u64,
    pub(crate) end: u64,
    pub(crate) chain: u32,
    /// Position up to which the stream is durable now: the end of the segment or behind it.
    pub(crate) durable: u64,
    /// Where the frames end in the file.
    pub(crate) at: u64,
    /// The encoded index.
    pub(crate) index: Vec<u8>,
}

impl Seal {
    /// Writes the footer behind the frames, cuts the file off behind it and makes it durable.
    pub(crate) fn write(mut self, file: &File, device: &dyn Device) -> io::Result<()> {
        let trailer = Trailer {
            identity: self.identity,
            base: self.base,
            end: self.end,
            chain: self.chain,
            beyond: (self.durable.saturating_sub(self.end) / ALIGNMENT).try_into().unwrap_or(u32::MAX),
            index_at: self.at,
            index_len: self.index.len() as u32,
            index_crc: crc32c::crc32c(&self.index),
        };
        self.index.resize(aligned(self.index.len() as u64) as usize, 0);
        let trailer = trailer.encode();
        let slices = &mut [IoSlice::new(&self.index), IoSlice::new(&trailer)];
        device.write(file, slices, self.at)?;
        hongbao_engine::kill_point!("log.footer.written");
        device.set_len(file, self.at + (self.index.len() + TRAILER_BYTES) as u64)?;
        hongbao_engine::kill_point!("log.footer.cut");
        device.sync(file)?;
        hongbao_engine::kill_point!("log.footer.synced");
        Ok(())
    }
}

impl Trailer {
    fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut out = [0; TRAILER_BYTES];
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, self.index_crc.to_le_bytes());
        put(&mut out, 12, self.index_len.to_le_bytes());
        put(&mut out, 16, self.identity.log_id.to_le_bytes());
        put(&mut out, 24, self.identity.generation.to_le_bytes());
        put(&mut out, 28, self.identity.partition.to_le_bytes());
        put(&mut out, 32, self.base.to_le_bytes());
        put(&mut out, 40, self.end.to_le_bytes());
        put(&mut out, 48, self.index_at.to_le_bytes());
        put(&mut out, 56, self.chain.to_le_bytes());
        put(&mut out, 60, self.beyond.to_le_bytes());
        let crc = crc32c::crc32c(&out[CHECKED_FROM..]);
        put(&mut out, 4, crc.to_le_bytes());
        out
    }

    /// Reads the trailer of a segment, if it has a sound one of its own.
    pub(crate) fn read(file: &File, identity: &Identity) -> io::Result<Option<Self>> {
        let Some(at) = file.metadata()?.len().checked_sub(TRAILER_BYTES as u64) else {
            return Ok(None);
        };
        let bytes = read_up_to(file, at, TRAILER_BYTES)?;
        let sound = bytes.len() == TRAILER_BYTES
            && bytes.starts_with(&MAGIC)
            && u32_at(&bytes, 4) == crc32c::crc32c(&bytes[CHECKED_FROM..]);
        let found = Identity {
            log_id: u64_at(&bytes, 16),
            generation: u32_at(&bytes, 24),
            partition: u16_at(&bytes, 28),
        };
        let trailer = Self {
            identity: found,
            base: u64_at(&bytes, 32),
            end: u64_at(&bytes, 40),
            chain: u32_at(&bytes, 56),
            beyond: u32_at(&bytes, 60),
            index_at: u64_at(&bytes, 48),
            index_len: u32_at(&bytes, 12),
            index_crc: u32_at(&bytes, 8),
        };
        let known = trailer.base < NUMBER_MAX && trailer.end < NUMBER_MAX && trailer.durable() < NUMBER_MAX;
        Ok((sound && known && found == *identity).then_some(trailer))
    }

    /// The position up to which the stream was durable when the footer was written.
    pub(crate) fn durable(&self) -> u64 {
        self.end.saturating_add(u64::from(self.beyond) * ALIGNMENT)
    }

    /// Reads the frame index. `None` when it is damaged: the frames can still be walked.
    pub(crate) fn read_index(&self, file: &File) -> io::Result<Option<FrameIndex>> {
        // It lies between the frames and the trailer: what says otherwise is not even read.
        let end = self.index_at.checked_add(aligned(u64::from(self.index_len)));
        if end.and_then(|end| end.checked_add(TRAILER_BYTES as u64)) != Some(file.metadata()?.len()) {
            return Ok(None);
        }
        let bytes = read_up_to(file, self.index_at, self.index_len as usize)?;
        if bytes.len() != self.index_len as usize || crc32c::crc32c(&bytes) != self.index_crc {
            return Ok(None);
        }
        Ok(FrameIndex::decode(&bytes).filter(|index| index.lies_before(self.index_at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::OsDevice;
    use crate::frame::tests::{IDENTITY, header};
    use crate::index::Entry;

    fn seal(file: &File, durable: u64) -> FrameIndex {
        let mut index = FrameIndex::default();
        index.push("journal", Entry::new(&header(), 640));
        OsDevice.allocate(file, 100_000).unwrap();
        let (identity, encoded) = (IDENTITY, index.encode());
        let seal = Seal { identity, base: 100, end: 484, chain: 9, durable, at: 1_024, index: encoded };
        seal.write(file, &OsDevice).unwrap();
        index
    }

    fn sealed() -> (tempfile::NamedTempFile, FrameIndex) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let index = seal(file.as_file(), 484 + 640);
        (file, index)
    }

    #[test]
    fn says_no_more_than_was_durable() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let most = 484 + u64::from(u32::MAX) * ALIGNMENT;
        let cases = [
            (0, 484),
            (484, 484),
            (484 + 64, 484 + 64),
            (484 + 127, 484 + 64),
            (most, most),
            (1 << 61, most),
        ];
        for (durable, expected) in cases {
            seal(file.as_file(), durable);
            let trailer = Trailer::read(file.as_file(), &IDENTITY).unwrap().unwrap();
            assert_eq!((trailer.end, trailer.durable()), (484, expected), "of {durable}");
        }
    }

    #[test]
    fn is_read_as_written_and_ends_the_file() {
        let (file, index) = sealed();
        let trailer = Trailer::read(file.as_file(), &IDENTITY).unwrap().unwrap();
        assert_eq!((trailer.base, trailer.end, trailer.chain, trailer.durable()), (100, 484, 9, 484 + 640));
        assert_eq!(trailer.read_index(file.as_file()).unwrap(), Some(index.clone()));
        assert_eq!(file.as_file().metadata().unwrap().len(), 1_024 + footer_len(index.encoded_len()));
        let other = Identity { generation: 8, ..IDENTITY };
        assert_eq!(Trailer::read(file.as_file(), &other).unwrap(), None);
    }

    #[test]
    fn an_index_that_lies_elsewhere_is_not_read() {
        let (file, _) = sealed();
        let good = Trailer::read(file.as_file(), &IDENTITY).unwrap().unwrap();
        let bad = [
            Trailer { index_len: u32::MAX, ..good },
            Trailer { index_at: u64::MAX, ..good },
            Trailer { index_at: good.index_at - 64, ..good },
        ];
        for trailer in bad {
            assert_eq!(trailer.read_index(file.as_file()).unwrap(), None, "{trailer:?}");
        }
        let end = file.as_file().metadata().unwrap().len() - TRAILER_BYTES as u64;
        for (end_of, beyond) in [(NUMBER_MAX, 0), (NUMBER_MAX - 64, 1), (u64::MAX, u32::MAX)] {
            let beyond = Trailer { end: end_of, beyond, ..good };
            OsDevice.write(file.as_file(), &mut [IoSlice::new(&beyond.encode())], end).unwrap();
            assert_eq!(
                Trailer::read(file.as_file(), &IDENTITY).unwrap(),
                None,
                "a position beyond all bounds"
            );
        }
    }

    #[test]
    fn a_flipped_byte_is_seen() {
        let (file, index) = sealed();
        let good = std::fs::read(file.path()).unwrap();
        for at in 1_024..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x04;
            std::fs::write(file.path(), &bad).unwrap();
            let trailer = Trailer::read(file.as_file(), &IDENTITY).unwrap();
            let found = trailer.and_then(|trailer| trailer.read_index(file.as_file()).unwrap());
            let padding = (1_024 + index.encoded_len()..good.len() - TRAILER_BYTES).contains(&at);
            assert_eq!(found.is_some(), padding, "byte {at}");
        }
    }
}
