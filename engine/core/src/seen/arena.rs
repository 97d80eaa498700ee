//! Packed records, key and value, in chunks that a background thread can read without a copy.

use std::sync::Arc;

use super::Value;

/// Chunks are small, since a freeze closes one that is not full.
pub(super) const CHUNK_BYTES: usize = 1 << OFFSET_BITS;
const OFFSET_BITS: u32 = 18;

/// A place has 14 bits for the chunk.
const CHUNKS_MAX: usize = 1 << (32 - OFFSET_BITS);

const LEN_BYTES: usize = 4;
const VALUE_BYTES: usize = size_of::<Value>();
const HEAD_BYTES: usize = LEN_BYTES + VALUE_BYTES;

/// Memory that a record takes besides its key, in bytes.
pub(super) const RECORD_OVERHEAD_BYTES: usize = HEAD_BYTES;

/// A closed chunk: records one after the other, each `key length (u32 LE), value, key`.
pub(super) type Chunk = Arc<Vec<u8>>;

/// Where a record starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) u32);

/// Records in the order in which they were added. Closed chunks never change.
#[derive(Debug, Default)]
pub(super) struct Arena {
    closed: Vec<Chunk>,
    open: Vec<u8>,
    /// Closed chunks that the store holds.
    committed: usize,
}

/// Chunks to use again.
pub(super) type SpareChunks = Vec<Vec<u8>>;

impl Arena {
    /// Adds a record. The caller turns to a new arena when [`Self::is_full`].
    #[inline]
    pub(super) fn push(&mut self, key: &[u8], value: Value, spare: &mut SpareChunks) -> Place {
        if self.open.capacity() - self.open.len() < HEAD_BYTES + key.len() {
            self.open_chunk(HEAD_BYTES + key.len(), spare);
        }
        let place = Place((self.closed.len() as u32) << OFFSET_BITS | self.open.len() as u32);
        self.open.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.open.extend_from_slice(&value);
        self.open.extend_from_slice(key);
        place
    }

    /// Opens a chunk with room for `needed` bytes; a huge record gets a chunk of its own.
    #[cold]
    fn open_chunk(&mut self, needed: usize, spare: &mut SpareChunks) {
        self.close();
        self.open = match spare.pop() {
            Some(chunk) if needed <= chunk.capacity() => chunk,
            _ => Vec::with_capacity(needed.max(CHUNK_BYTES)),
        };
    }

    /// Closes the open chunk.
    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let mut chunk = std::mem::take(&mut self.open);
        // Rare keys and frequent freezes must not leave one large and empty chunk a freeze.
        if chunk.len() < chunk.capacity() / 2 {
            chunk.shrink_to_fit();
        }
        self.closed.push(Arc::new(chunk));
    }

    /// Whether another record might not get a place.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.closed.len() + 2 > CHUNKS_MAX
    }

    /// Key and value at `place`, if there is a record.
    #[inline]
    pub(super) fn at(&self, place: Place) -> Option<(&[u8], Value)> {
        let index = (place.0 >> OFFSET_BITS) as usize;
        let chunk = self.closed.get(index).map_or(&self.open, |chunk| chunk);
        record_at(chunk, place.0 as usize & (CHUNK_BYTES - 1))
    }

    /// Loads the record at `place`.
    #[inline]
    pub(super) fn touch(&self, place: Place) -> u32 {
        self.at(place).map_or(0, |(key, _)| key.len() as u32)
    }

    /// Closes the open chunk and adds all chunks that the store does not hold to `frozen`.
    pub(super) fn freeze(&mut self, frozen: &mut Vec<Chunk>) {
        self.close();
        frozen.extend(self.closed.iter().skip(self.committed).cloned());
    }

    /// Number of closed chunks.
    pub(super) fn closed_count(&self) -> usize {
        self.closed.len()
    }

    /// The store holds the first `count` chunks.
    pub(super) fn committed(&mut self, count: usize) {
        self.committed = count;
    }

    /// Whether the store holds every record.
    pub(super) fn is_committed(&self) -> bool {
        self.open.is_empty() && self.committed == self.closed.len()
    }

    /// Gives the chunks up to be used again, except those that somebody still reads.
    pub(super) fn recycle(self, spare: &mut SpareChunks, spare_max: usize) {
        let chunks = self.closed.into_iter().filter_map(|chunk| Arc::try_unwrap(chunk).ok());
        let usual = chunks.filter(|chunk| chunk.capacity() == CHUNK_BYTES);
        spare.extend(usual.take(spare_max.saturating_sub(spare.len())).map(|mut chunk| {
            chunk.clear();
            chunk
        }));
    }
}

/// The record at `offset` of a chunk: key, value.
#[inline]
pub(super) fn record_at(chunk: &[u8], offset: usize) -> Option<(&[u8], Value)> {
    let rest = chunk.get(offset..)?;
    let (len, rest) = rest.split_first_chunk::<LEN_BYTES>()?;
    let (value, rest) = rest.split_first_chunk::<VALUE_BYTES>()?;
    Some((rest.get(..u32::from_le_bytes(*len) as usize)?, *value))
}

/// Offset of the record after the one at `offset`, whose key is `key`.
pub(super) fn next_record(offset: usize, key: &[u8]) -> usize {
    offset + HEAD_BYTES + key.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(chunks: &[Chunk]) -> Vec<(Vec<u8>, Value)> {
        let mut found = Vec::new();
        for chunk in chunks {
            let mut offset = 0;
            while let Some((key, value)) = record_at(chunk, offset) {
                found.push((key.to_vec(), value));
                offset = next_record(offset, key);
            }
        }
        found
    }

    #[test]
    fn places_hold_across_chunks_and_freezes() {
        let mut arena = Arena::default();
        let mut spare = Vec::new();
        let lens = [0, 1, 100, CHUNK_BYTES - HEAD_BYTES, CHUNK_BYTES, 3 * CHUNK_BYTES, 7, 0];
        let added: Vec<_> = (0_u8..)
            .zip(lens)
            .map(|(index, len)| {
                if index % 3 == 2 {
                    arena.freeze(&mut Vec::new());
                }
                let (key, value) = (vec![index; len], [index; VALUE_BYTES]);
                (arena.push(&key, value, &mut spare), key, value)
            })
            .collect();
        for (place, key, value) in &added {
            assert_eq!(arena.at(*place), Some((&key[..], *value)));
        }
        let mut frozen = Vec::new();
        arena.freeze(&mut frozen);
        let expected: Vec<_> = added.into_iter().map(|(_, key, value)| (key, value)).collect();
        assert_eq!(records(&frozen), expected);
    }

    #[test]
    fn a_freeze_holds_what_is_not_committed() {
        let mut arena = Arena::default();
        let mut spare = Vec::new();
        let freeze = |arena: &mut Arena| {
            let mut frozen = Vec::new();
            arena.freeze(&mut frozen);
            records(&frozen).into_iter().map(|(key, _)| key[0]).collect::<Vec<_>>()
        };
        arena.push(b"a", [1; 16], &mut spare);
        assert!(!arena.is_committed());
        assert_eq!(freeze(&mut arena), b"a");
        let frozen_count = arena.closed_count();
        arena.push(b"b", [2; 16], &mut spare);
        assert_eq!(freeze(&mut arena), b"ab", "not committed yet");
        arena.committed(frozen_count);
        assert!(!arena.is_committed());
        assert_eq!(freeze(&mut arena), b"b");
        arena.committed(arena.closed_count());
        assert!(arena.is_committed());
    }

    #[test]
    fn chunks_are_used_again_unless_somebody_reads_them() {
        let mut arena = Arena::default();
        let mut spare = Vec::new();
        for _ in 0..3 {
            arena.push(&[7; CHUNK_BYTES / 2], [0; 16], &mut spare);
        }
        let mut frozen = Vec::new();
        arena.freeze(&mut frozen);
        frozen.truncate(1);
        arena.recycle(&mut spare, 10);
        assert_eq!(spare.len(), 2);
        let mut next = Arena::default();
        next.push(b"key", [0; 16], &mut spare);
        assert_eq!(spare.len(), 1);
        assert_eq!(next.at(Place(0)), Some((&b"key"[..], [0; 16])));
    }
}
