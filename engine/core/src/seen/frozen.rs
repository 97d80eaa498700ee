//! Keys set aside for a commit, and how they are sorted.

use crate::store::Rows;

use super::Value;
use super::arena::{Chunk, RECORD_OVERHEAD_BYTES, next_record, record_at};

/// Key bytes compared at once. Order numbers share long prefixes, so comparing whole keys through
/// their places would cost several times as much.
const WORD_BYTES: usize = 24;

type Word = [u64; WORD_BYTES / 8];

/// Runs of equal words this short are sorted by comparing whole keys.
const SHORT_RUN: usize = 24;

/// So are keys that agree in so many bytes, which keeps the recursion shallow.
const DEPTH_BYTES_MAX: usize = 256;

/// Sorted records lie anywhere in memory: so many are loaded together, since loads overlap.
const TOUCH_AHEAD: usize = 64;

/// The keys inserted since the last commit, shared with the window and not copied.
#[derive(Debug)]
pub struct FrozenSeen {
    kind: [u8; 2],
    chunks: Vec<Chunk>,
}

impl FrozenSeen {
    pub(super) fn new(kind: [u8; 2], chunks: Vec<Chunk>) -> Self {
        Self { kind, chunks }
    }

    /// Whether nothing was inserted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Sorted rows, their keys led by the kind. Takes long: for a background thread. Holds up to
    /// 32 bytes a key beside the rows while it works.
    #[must_use]
    pub fn into_rows(self) -> Rows {
        let mut places = self.places();
        let keys = Keys { chunks: &self.chunks };
        keys.sort(&mut places, 0);
        let mut rows = Rows::new();
        let mut row_key = self.kind.to_vec();
        let mut last: Option<(&[u8], Value)> = None;
        for some in places.chunks(TOUCH_AHEAD) {
            std::hint::black_box(keys.touch(some));
            for record in some.iter().filter_map(|place| keys.record(place)) {
                // Of a key inserted twice, the later value comes last and stands.
                if let Some((key, value)) = last.replace(record)
                    && key != record.0
                {
                    put(&mut rows, &mut row_key, key, value);
                }
            }
        }
        if let Some((key, value)) = last {
            put(&mut rows, &mut row_key, key, value);
        }
        rows
    }

    fn places(&self) -> Vec<PlaceOf> {
        let key_bytes =
            self.chunks.first().and_then(|chunk| record_at(chunk, 0)).map_or(0, |(key, _)| key.len());
        let bytes: usize = self.chunks.iter().map(|chunk| chunk.len()).sum();
        let mut places = Vec::with_capacity(bytes / (RECORD_OVERHEAD_BYTES + key_bytes));
        for (chunk, bytes) in (0_u32..).zip(&self.chunks) {
            let mut offset = 0;
            while let Some((key, _)) = record_at(bytes, offset) {
                places.push(PlaceOf { word: [0; WORD_BYTES / 8], chunk, offset: offset as u32 });
                offset = next_record(offset, key);
            }
        }
        places
    }
}

/// Adds a row under the kind, which `row_key` begins with.
fn put(rows: &mut Rows, row_key: &mut Vec<u8>, key: &[u8], value: Value) {
    row_key.truncate(2);
    row_key.extend_from_slice(key);
    rows.put(row_key, &value);
}

/// A record's place and the part of its key that is being compared.
#[derive(Clone, Copy, Debug)]
struct PlaceOf {
    word: Word,
    chunk: u32,
    offset: u32,
}

struct Keys<'a> {
    chunks: &'a [Chunk],
}

impl<'a> Keys<'a> {
    #[inline]
    fn record(&self, place: &PlaceOf) -> Option<(&'a [u8], Value)> {
        record_at(self.chunks.get(place.chunk as usize)?, place.offset as usize)
    }

    /// Loads the records' first and usually last cache lines.
    fn touch(&self, places: &[PlaceOf]) -> u8 {
        let mut sum = 0;
        for place in places {
            let chunk = self.chunks.get(place.chunk as usize).map_or(&[][..], |chunk| chunk);
            for offset in [place.offset as usize, place.offset as usize + 48] {
                sum ^= chunk.get(offset).copied().unwrap_or(0);
            }
        }
        sum
    }

    #[inline]
    fn key(&self, place: &PlaceOf) -> &'a [u8] {
        self.record(place).map_or(&[], |(key, _)| key)
    }

    /// Sorts places whose keys agree in their first `depth` bytes: by the next word, then each run
    /// of equal words by what follows.
    fn sort(&self, places: &mut [PlaceOf], depth: usize) {
        for place in places.iter_mut() {
            place.word = word_at(self.key(place), depth);
        }
        places.sort_unstable_by_key(|place| (place.word[0], place.word[1], place.word[2]));
        let depth = depth + WORD_BYTES;
        for run in places.chunk_by_mut(|left, right| left.word == right.word) {
            if run.len() == 1 {
                continue;
            }
            // Keys that ended were padded with zeros: comparing whole keys tells them apart at last.
            if run.len() <= SHORT_RUN || depth >= DEPTH_BYTES_MAX {
                self.sort_whole(run);
            } else {
                self.sort(run, depth);
            }
        }
    }

    /// Sorts by whole keys, equal keys by age.
    fn sort_whole(&self, places: &mut [PlaceOf]) {
        places.sort_unstable_by(|left, right| {
            let age = |place: &PlaceOf| (place.chunk, place.offset);
            self.key(left).cmp(self.key(right)).then_with(|| age(left).cmp(&age(right)))
        });
    }
}

/// The word of `key` at `depth`, padded with zeros; words order as bytes do.
#[inline]
fn word_at(key: &[u8], depth: usize) -> Word {
    let rest = key.get(depth..).unwrap_or(&[]);
    let mut bytes = [0; WORD_BYTES];
    match rest.first_chunk::<WORD_BYTES>() {
        Some(whole) => bytes = *whole,
        None => bytes[..rest.len()].copy_from_slice(rest),
    }
    let mut word = [0; WORD_BYTES / 8];
    for (part, bytes) in word.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *part = u64::from_be_bytes(*bytes);
    }
    word
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::arena::Arena;
    use super::*;

    fn frozen(keys: &[Vec<u8>]) -> FrozenSeen {
        let (mut arena, mut spare, mut chunks) = (Arena::default(), Vec::new(), Vec::new());
        for (index, key) in (0_u64..).zip(keys) {
            arena.push(key, value(index), &mut spare);
        }
        arena.freeze(&mut chunks);
        FrozenSeen::new(*b"on", chunks)
    }

    fn value(index: u64) -> Value {
        let mut value = [0; 16];
        value[..8].copy_from_slice(&index.to_le_bytes());
        value
    }

    /// Keys that share prefixes, hold zeros and end around the borders of words.
    fn awkward_key() -> impl Strategy<Value = Vec<u8>> {
        let head = prop::sample::select(vec![0_usize, 1, 23, 24, 25, 47, 48, 49, 72]);
        let tail = prop::collection::vec(prop::sample::select(vec![0_u8, 1, 0xFF]), 0..4);
        (prop::sample::select(vec![0_u8, b'x']), head, tail)
            .prop_map(|(fill, head, tail)| [vec![fill; head], tail].concat())
    }

    proptest! {
        #[test]
        fn rows_are_those_of_a_sorted_map(keys in prop::collection::vec(awkward_key(), 0..400)) {
            let mut expected = BTreeMap::new();
            for (index, key) in (0..).zip(&keys) {
                expected.insert([&b"on"[..], key].concat(), value(index));
            }
            let rows = frozen(&keys).into_rows();
            let found: Vec<_> = rows.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
            let expected: Vec<_> = expected.into_iter().map(|(key, value)| (key, Some(value.to_vec()))).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
