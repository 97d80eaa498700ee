//! Segment files whose checksums are put right after bytes in them were changed. A hostile file
//! has sound checksums, and without this no changed file would get behind the first of them.

use crate::segments::LOG_ID;

const ALIGNMENT: usize = 64;
const FRAME_HEADER_BYTES: usize = 256;
const TRAILER_BYTES: usize = 64;

/// Cuts bytes into files, each of which begins with the mark of a segment.
pub(crate) fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let starts: Vec<usize> =
        bytes.windows(4).enumerate().filter(|(_, at)| at == b"hbS1").map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let files: Vec<Vec<u8>> =
        starts.iter().zip(ends).filter_map(|(from, to)| bytes.get(*from..to)).map(<[u8]>::to_vec).collect();
    if files.is_empty() { vec![bytes.to_vec()] } else { files }
}

/// What of a file is put right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mending {
    /// Log, partition and generation.
    pub(crate) identity: bool,
    /// Places in the stream, and the chain of frames.
    pub(crate) chain: bool,
}

/// Puts the checksums of all files right, and what else is asked for.
pub(crate) fn mend(files: &mut [Vec<u8>], mending: Mending) {
    let mut stream: Option<(u64, u32)> = None;
    for (index, file) in files.iter_mut().enumerate() {
        let mut file = File { bytes: file, generation: index as u32 + 1, mending };
        stream = file.mend(stream).or(stream);
    }
}

struct File<'a> {
    bytes: &'a mut Vec<u8>,
    generation: u32,
    mending: Mending,
}

impl File<'_> {
    fn u32_at(&self, at: usize) -> usize {
        let found = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
        found.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
    }

    fn u64_at(&self, at: usize) -> u64 {
        let found = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
        found.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }

    fn begins(&self, at: usize, magic: &[u8]) -> bool {
        self.bytes.get(at..).is_some_and(|rest| rest.starts_with(magic))
    }

    /// Writes the sum of `from..to` at `at`, and returns it.
    fn sum(&mut self, at: usize, from: usize, to: usize) -> u32 {
        let crc = self.bytes.get(from..to).map_or(0, crc32c::crc32c);
        self.put(at, &crc.to_le_bytes());
        crc
    }

    /// Returns position and chain at the end of the file.
    fn mend(&mut self, stream: Option<(u64, u32)>) -> Option<(u64, u32)> {
        if !self.begins(0, b"hbS1") {
            return None;
        }
        if self.mending.identity {
            self.put(8, &1_u16.to_le_bytes());
            self.put(10, &0_u16.to_le_bytes());
            self.put(16, &LOG_ID.to_le_bytes());
            self.put(24, &self.generation.to_le_bytes());
        }
        if let Some((position, chain)) = stream.filter(|_| self.mending.chain) {
            self.put(28, &chain.to_le_bytes());
            self.put(32, &position.to_le_bytes());
        }
        let header_len = (ALIGNMENT + self.u32_at(56)).next_multiple_of(ALIGNMENT);
        self.sum(4, 8, header_len);
        let (base, mut chain) = (self.u64_at(32), self.u32_at(28) as u32);
        let mut at = header_len;
        while self.begins(at, b"hbF1") && at + FRAME_HEADER_BYTES <= self.bytes.len() {
            let position = base.wrapping_add((at - header_len) as u64);
            let (next, crc) = self.mend_frame(at, position, chain);
            (at, chain) = (next, crc);
        }
        let end = base.wrapping_add((at.min(self.bytes.len()).saturating_sub(header_len)) as u64);
        self.mend_trailer(base, end, chain);
        Some((end, chain))
    }

    /// Returns where the next frame begins, and the frame's own sum.
    fn mend_frame(&mut self, at: usize, position: u64, chain: u32) -> (usize, u32) {
        if self.mending.identity {
            self.put(at + 16, &LOG_ID.to_le_bytes());
            self.put(at + 24, &self.generation.to_le_bytes());
            self.put(at + 28, &0_u16.to_le_bytes());
        }
        if self.mending.chain {
            self.put(at + 12, &chain.to_le_bytes());
            self.put(at + 32, &position.to_le_bytes());
        }
        let payload = 4 * self.u32_at(at + 76) + self.u32_at(at + 80);
        let end = at + FRAME_HEADER_BYTES + payload;
        self.sum(at + 8, at + FRAME_HEADER_BYTES, end);
        let crc = self.sum(at + 4, at + 8, at + FRAME_HEADER_BYTES);
        (end.next_multiple_of(ALIGNMENT), crc)
    }

    fn mend_trailer(&mut self, base: u64, end: u64, chain: u32) {
        let Some(at) = self.bytes.len().checked_sub(TRAILER_BYTES) else { return };
        if !self.begins(at, b"hbT1") {
            return;
        }
        if self.mending.identity {
            self.put(at + 16, &LOG_ID.to_le_bytes());
            self.put(at + 24, &self.generation.to_le_bytes());
            self.put(at + 28, &0_u16.to_le_bytes());
        }
        if self.mending.chain {
            self.put(at + 32, &base.to_le_bytes());
            self.put(at + 40, &end.to_le_bytes());
            self.put(at + 56, &chain.to_le_bytes());
        }
        let index_at = usize::try_from(self.u64_at(at + 48)).unwrap_or(usize::MAX);
        let index_end = index_at.saturating_add(self.u32_at(at + 12));
        self.sum(at + 8, index_at, index_end);
        self.sum(at + 4, at + 8, at + TRAILER_BYTES);
    }
}
