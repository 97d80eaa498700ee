//! A map from sequence numbers to small values that keeps runs of equal values as one range.

use std::collections::BTreeMap;

/// Sequences `first..=last` that all have the same value, or all have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<V> {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) value: Option<V>,
}

impl<V> Piece<V> {
    /// Number of sequences.
    pub(super) const fn count(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// Values of sequences, as ranges that never overlap; ranges that touch differ in value. Memory and
/// time grow with the number of ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RangeMap<V> {
    /// First sequence of a range to its last and its value.
    ranges: BTreeMap<u64, (u64, V)>,
}

impl<V> Default for RangeMap<V> {
    fn default() -> Self {
        Self { ranges: BTreeMap::new() }
    }
}

impl<V: Copy + Eq> RangeMap<V> {
    /// Number of ranges.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The value of one sequence.
    #[inline]
    pub(super) fn get(&self, seq: u64) -> Option<V> {
        let (_, (last, value)) = self.ranges.range(..=seq).next_back()?;
        (*last >= seq).then_some(*value)
    }

    /// All ranges, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = Piece<V>> + '_ {
        self.ranges.iter().map(|(first, (last, value))| Piece {
            first: *first,
            last: *last,
            value: Some(*value),
        })
    }

    /// The lowest range.
    pub(super) fn first(&self) -> Option<Piece<V>> {
        self.iter().next()
    }

    /// Forgets the lowest range.
    pub(super) fn pop_first(&mut self) {
        self.ranges.pop_first();
    }

    /// Replaces `out` with the pieces that `first..=last` consists of, ascending, without holes.
    pub(super) fn pieces(&self, first: u64, last: u64, out: &mut Vec<Piece<V>>) {
        out.clear();
        if first > last {
            return;
        }
        let before = self.ranges.range(..first).next_back();
        let mut next = first;
        for (range_first, (range_last, value)) in before.into_iter().chain(self.ranges.range(first..=last)) {
            if *range_last < next {
                continue;
            }
            if *range_first > next {
                out.push(Piece { first: next, last: range_first - 1, value: None });
            }
            let piece_last = (*range_last).min(last);
            out.push(Piece { first: next.max(*range_first), last: piece_last, value: Some(*value) });
            match piece_last.checked_add(1) {
                Some(after) if after <= last => next = after,
                _ => return,
            }
        }
        out.push(Piece { first: next, last, value: None });
    }

    /// Gives all of `first..=last` one value, or none.
    pub(super) fn set(&mut self, first: u64, last: u64, value: Option<V>) {
        if first > last {
            return;
        }
        self.cut_out(first, last);
        let Some(value) = value else { return };
        let (mut new_first, mut new_last) = (first, last);
        if let Some((left_first, left_last, left)) = self.at_or_before(first)
            && left == value
            && left_last.checked_add(1) == Some(first)
        {
            self.ranges.remove(&left_first);
            new_first = left_first;
        }
        if let Some(after) = last.checked_add(1)
            && let Some((right_last, right)) = self.ranges.get(&after).copied()
            && right == value
        {
            self.ranges.remove(&after);
            new_last = right_last;
        }
        self.ranges.insert(new_first, (new_last, value));
    }

    /// Adds a range as [`Self::iter`] gave it; false when it overlaps what is there.
    pub(super) fn push(&mut self, first: u64, last: u64, value: V) -> bool {
        let free = self.ranges.last_key_value().is_none_or(|(_, (end, _))| *end < first);
        if free && first <= last {
            self.ranges.insert(first, (last, value));
        }
        free && first <= last
    }

    fn at_or_before(&self, seq: u64) -> Option<(u64, u64, V)> {
        self.ranges.range(..=seq).next_back().map(|(first, (last, value))| (*first, *last, *value))
    }

    /// Leaves no value in `first..=last`.
    fn cut_out(&mut self, first: u64, last: u64) {
        while let Some((old_first, old_last, value)) = self.at_or_before(last)
            && old_last >= first
        {
            self.ranges.remove(&old_first);
            if old_last > last {
                self.ranges.insert(last + 1, (old_last, value));
            }
            if old_first < first {
                self.ranges.insert(old_first, (first - 1, value));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn values(map: &RangeMap<u8>) -> BTreeMap<u64, u8> {
        map.iter()
            .flat_map(|piece| (piece.first..=piece.last).map(move |seq| (seq, piece.value.unwrap())))
            .collect()
    }

    #[test]
    fn the_ends_of_the_number_range_are_like_others() {
        let mut map = RangeMap::default();
        map.set(u64::MAX, u64::MAX, Some(1));
        map.set(0, 0, Some(1));
        map.set(1, u64::MAX - 1, Some(1));
        assert_eq!((map.len(), map.get(0), map.get(u64::MAX)), (1, Some(1), Some(1)));
        let mut pieces = Vec::new();
        map.pieces(0, u64::MAX, &mut pieces);
        assert_eq!(pieces, [Piece { first: 0, last: u64::MAX, value: Some(1) }]);
        map.set(0, u64::MAX, None);
        map.pieces(5, u64::MAX, &mut pieces);
        assert_eq!(pieces, [Piece { first: 5, last: u64::MAX, value: None }]);
    }

    #[test]
    fn ranges_are_pushed_in_order_only() {
        let mut map = RangeMap::default();
        assert!(map.push(3, 5, 1));
        assert!(!map.push(5, 6, 2), "overlaps");
        assert!(!map.push(8, 7, 2), "empty");
        assert!(map.push(6, 6, 2));
        assert_eq!((map.get(5), map.get(6), map.get(7)), (Some(1), Some(2), None));
    }

    proptest! {
        #[test]
        fn behaves_like_a_map_of_numbers(
            changes in prop::collection::vec((0_u64..50, 0_u64..9, prop::option::of(0_u8..3)), 0..50),
            asked in (0_u64..60, 0_u64..20),
        ) {
            let (mut ranges, mut model) = (RangeMap::default(), BTreeMap::new());
            let mut pieces = Vec::new();
            for (first, more, value) in changes {
                ranges.set(first, first + more, value);
                for seq in first..=first + more {
                    match value {
                        Some(value) => model.insert(seq, value),
                        None => model.remove(&seq),
                    };
                }
                prop_assert_eq!(&values(&ranges), &model);
                let all: Vec<_> = ranges.iter().collect();
                prop_assert!(all.windows(2).all(|pair| pair[0].last < pair[1].first
                    && (pair[0].last + 1 < pair[1].first || pair[0].value != pair[1].value)));
                let (from, to) = (asked.0, asked.0 + asked.1);
                ranges.pieces(from, to, &mut pieces);
                let whole: Vec<u64> = pieces.iter().flat_map(|piece| piece.first..=piece.last).collect();
                prop_assert_eq!(whole, (from..=to).collect::<Vec<_>>());
                for piece in &pieces {
                    prop_assert!((piece.first..=piece.last).all(|seq| model.get(&seq).copied() == piece.value));
                    prop_assert_eq!(ranges.get(piece.first), piece.value);
                }
            }
        }
    }
}
