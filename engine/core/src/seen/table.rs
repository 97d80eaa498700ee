//! A hash table from 32-bit hashes to places, of fixed size, that reads one cache line a look-up.

use super::arena::Place;
use super::lines::{LINE_WORDS, Lines, line_of};

/// A line holds this many tags, then as many places.
const SLOTS: usize = LINE_WORDS / 2;

/// Slots in use of 100 at most: 5% of the lines are full then, whose keys go to the next.
const LOAD_PERCENT: usize = 55;

/// Places by hash. Tells candidates only: whoever asks compares the keys.
#[derive(Debug)]
pub(super) struct Table {
    lines: Lines,
    len: usize,
    len_max: usize,
}

/// What a slot holds of a hash; 0 is an empty slot.
#[inline]
fn tag_of(hash: u32) -> u32 {
    hash | 1
}

impl Table {
    /// A table for `len_max` places.
    pub(super) fn new(len_max: usize) -> Self {
        let lines = (len_max * 100).div_ceil(LOAD_PERCENT * SLOTS) + 1;
        Self { lines: Lines::zeroed(lines), len: 0, len_max }
    }

    /// Number of places held.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether no other place may be inserted.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len >= self.len_max
    }

    /// Loads the line in which a hash begins.
    #[inline]
    pub(super) fn touch(&self, hash: u32) -> u32 {
        self.lines.touch(line_of(hash, self.lines.count()))
    }

    /// The first place with this hash, or nearly this hash, that `is_key` accepts.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_key: impl FnMut(Place) -> bool) -> Option<Place> {
        let mut index = line_of(hash, self.lines.count());
        loop {
            let line = self.lines.line(index);
            let mut candidates = equal_tags(line, tag_of(hash));
            while candidates != 0 {
                let slot = candidates.trailing_zeros() as usize;
                let place = Place(line[SLOTS + slot]);
                if is_key(place) {
                    return Some(place);
                }
                candidates &= candidates - 1;
            }
            // Slots fill from the first: a line with a free one ends the search.
            if line[SLOTS - 1] == 0 {
                return None;
            }
            index = self.next(index);
        }
    }

    /// Points the key that is held at `old` to `new`, or adds `new` if there is no `old`. The caller
    /// sees to it that there is room.
    #[inline]
    pub(super) fn set(&mut self, hash: u32, old: Option<Place>, new: Place) {
        let tag = tag_of(hash);
        let mut index = line_of(hash, self.lines.count());
        while let Some(line) = self.lines.line_mut(index) {
            let (tags, places) = line.split_at_mut(SLOTS);
            let wanted = |(held_tag, held): (&u32, &u32)| match old {
                Some(old) => *held_tag == tag && *held == old.0,
                None => *held_tag == 0,
            };
            if let Some(slot) = tags.iter().zip(&*places).position(wanted) {
                self.len += usize::from(old.is_none());
                (tags[slot], places[slot]) = (tag, new.0);
                return;
            }
            index = self.next(index);
        }
    }

    #[inline]
    fn next(&self, index: usize) -> usize {
        if index + 1 == self.lines.count() { 0 } else { index + 1 }
    }

    /// Forgets all places.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.len = 0;
    }
}

/// A bit for each slot whose tag is `tag`.
#[inline]
fn equal_tags(line: &[u32; LINE_WORDS], tag: u32) -> u32 {
    let mut equal = 0;
    for (slot, held) in line[..SLOTS].iter().enumerate() {
        equal |= u32::from(*held == tag) << slot;
    }
    equal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_as_many_as_it_says_under_any_hashes() {
        /// The hash of the n-th place.
        type Hash = fn(u32) -> u32;
        let cases: [(&str, Hash); 4] = [
            ("spread", |n| n.wrapping_mul(0x9E37_79B1)),
            ("all equal", |_| 7),
            ("all in the last line", |n| u32::MAX - n % 16),
            ("pairs that share a tag", |n| n.wrapping_mul(0x9E37_79B1) & !1 | (n & 1)),
        ];
        for (name, hash) in cases {
            for len_max in [1, 8, 100, 1000] {
                let mut table = Table::new(len_max);
                for n in 0..len_max as u32 {
                    assert!(!table.is_full());
                    assert_eq!(table.find(hash(n), |place| place == Place(n)), None);
                    table.set(hash(n), None, Place(n));
                }
                assert!(table.is_full());
                for n in 0..len_max as u32 {
                    assert_eq!(table.find(hash(n), |place| place == Place(n)), Some(Place(n)), "{name} {n}");
                }
                assert_eq!(table.len(), len_max, "{name}");
                table.clear();
                assert_eq!((table.len(), table.find(hash(0), |_| true)), (0, None), "{name}");
            }
        }
    }

    #[test]
    fn a_place_is_replaced_where_it_stands() {
        let mut table = Table::new(20);
        (0..20).for_each(|n| table.set(5, None, Place(n)));
        table.set(5, Some(Place(13)), Place(99));
        let mut held = Vec::new();
        table.find(5, |place| {
            held.push(place.0);
            false
        });
        let expected: Vec<_> = (0..20).map(|n| if n == 13 { 99 } else { n }).collect();
        assert_eq!((held, table.len()), (expected, 20));
    }
}
