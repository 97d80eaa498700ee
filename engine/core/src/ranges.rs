//! Sets of sequence numbers that are mostly runs: lane sequences credited out of order, say.

use std::collections::BTreeMap;

/// A set of numbers below `u64::MAX`, kept as sorted ranges that neither overlap nor touch. Memory
/// and time grow with the number of ranges, not of members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// First member to last member of each range.
    ranges: BTreeMap<u64, u64>,
    total: u64,
}

impl RangeSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `count` numbers from `first` on and returns how many were new. Numbers from
    /// `u64::MAX` on are not added.
    pub fn insert(&mut self, first: u64, count: u64) -> u64 {
        let Some(last) = last_of(first, count) else { return 0 };
        let before = self.total;
        let (mut new_first, mut new_last) = (first, last);
        while let Some((old_first, old_last)) = self.touching(new_first, new_last) {
            self.ranges.remove(&old_first);
            self.total -= old_last - old_first + 1;
            new_first = new_first.min(old_first);
            new_last = new_last.max(old_last);
        }
        self.ranges.insert(new_first, new_last);
        self.total += new_last - new_first + 1;
        self.total - before
    }

    /// Removes `count` numbers from `first` on and returns how many there were.
    pub fn remove(&mut self, first: u64, count: u64) -> u64 {
        let Some(last) = last_of(first, count) else { return 0 };
        let before = self.total;
        while let Some((old_first, old_last)) = self.overlapping(first, last) {
            self.ranges.remove(&old_first);
            self.total -= old_last - old_first + 1;
            if old_first < first {
                self.put(old_first, first - 1);
            }
            if old_last > last {
                self.put(last + 1, old_last);
            }
        }
        before - self.total
    }

    /// Whether `number` is a member.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    /// First member and count of each range, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(first, last)| (*first, last - first + 1))
    }

    /// Number of members.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Number of ranges, which is what memory depends on.
    #[must_use]
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The smallest member.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.ranges.keys().next().copied()
    }

    /// The largest member.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.ranges.values().next_back().copied()
    }

    /// The smallest number from `from` on that is not a member.
    #[must_use]
    pub fn first_missing_from(&self, from: u64) -> u64 {
        match self.ranges.range(..=from).next_back() {
            Some((_, last)) if *last >= from => last + 1,
            _ => from,
        }
    }

    /// Moves all members below `end` into a set of their own.
    pub fn take_below(&mut self, end: u64) -> Self {
        let mut taken = Self::new();
        let Some(last_taken) = end.checked_sub(1) else { return taken };
        while let Some((first, last)) = self.ranges.first_key_value().map(|(first, last)| (*first, *last)) {
            if first > last_taken {
                break;
            }
            self.ranges.remove(&first);
            self.total -= last - first + 1;
            taken.put(first, last.min(last_taken));
            if last > last_taken {
                self.put(end, last);
            }
        }
        taken
    }

    fn put(&mut self, first: u64, last: u64) {
        self.ranges.insert(first, last);
        self.total += last - first + 1;
    }

    /// A range that shares a member with `first..=last`.
    fn overlapping(&self, first: u64, last: u64) -> Option<(u64, u64)> {
        let (old_first, old_last) = self.ranges.range(..=last).next_back()?;
        (*old_last >= first).then_some((*old_first, *old_last))
    }

    /// A range that shares a member with `first..=last` or is next to it.
    fn touching(&self, first: u64, last: u64) -> Option<(u64, u64)> {
        self.overlapping(first.saturating_sub(1), last + 1)
    }
}

impl Extend<(u64, u64)> for RangeSet {
    fn extend<T: IntoIterator<Item = (u64, u64)>>(&mut self, ranges: T) {
        for (first, count) in ranges {
            self.insert(first, count);
        }
    }
}

impl FromIterator<(u64, u64)> for RangeSet {
    fn from_iter<T: IntoIterator<Item = (u64, u64)>>(ranges: T) -> Self {
        let mut set = Self::new();
        set.extend(ranges);
        set
    }
}

/// Last member of `count` numbers from `first` on, if there is any.
fn last_of(first: u64, count: u64) -> Option<u64> {
    let last = first.saturating_add(count.checked_sub(1)?).min(u64::MAX - 1);
    (first <= last).then_some(last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(ranges: &[(u64, u64)]) -> RangeSet {
        ranges.iter().copied().collect()
    }

    fn ranges(set: &RangeSet) -> Vec<(u64, u64)> {
        set.iter().collect()
    }

    #[test]
    fn insert_joins_what_touches() {
        type Ranges<'a> = &'a [(u64, u64)];
        let cases: [(Ranges<'_>, (u64, u64), Ranges<'_>, u64); 7] = [
            (&[], (5, 0), &[], 0),
            (&[], (5, 2), &[(5, 2)], 2),
            (&[(1, 2)], (3, 1), &[(1, 3)], 1),
            (&[(4, 2)], (3, 1), &[(3, 3)], 1),
            (&[(1, 2), (5, 2)], (3, 2), &[(1, 6)], 2),
            (&[(1, 9)], (3, 2), &[(1, 9)], 0),
            (&[(2, 1), (4, 1), (6, 1), (9, 1)], (1, 7), &[(1, 7), (9, 1)], 4),
        ];
        for (before, (first, count), after, new) in cases {
            let mut ranges_of = set(before);
            assert_eq!(ranges_of.insert(first, count), new, "{before:?} + {first}/{count}");
            assert_eq!(ranges(&ranges_of), after, "{before:?} + {first}/{count}");
        }
    }

    #[test]
    fn the_ends_of_the_number_range_are_members_like_others() {
        const LAST: u64 = u64::MAX - 1;
        let mut all = set(&[(0, 1), (LAST, 5)]);
        assert_eq!(ranges(&all), [(0, 1), (LAST, 1)]);
        assert_eq!(all.insert(u64::MAX, 1), 0);
        assert_eq!(all.first_missing_from(LAST), u64::MAX);
        assert_eq!(all.insert(0, u64::MAX), u64::MAX - 2);
        assert_eq!((all.total(), all.range_count()), (u64::MAX, 1));
        assert_eq!(all.take_below(LAST).total(), LAST);
        assert_eq!(all.remove(0, u64::MAX), 1);
        assert!(all.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Change {
        Insert(u64, u64),
        Remove(u64, u64),
        TakeBelow(u64),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            (0u64..60, 0u64..8).prop_map(|(first, count)| Change::Insert(first, count)),
            (0u64..60, 0u64..8).prop_map(|(first, count)| Change::Remove(first, count)),
            (0u64..60).prop_map(Change::TakeBelow),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_of_numbers(changes in prop::collection::vec(change(), 0..60)) {
            let (mut ranges, mut model) = (RangeSet::new(), BTreeSet::new());
            for change in changes {
                let before = model.len();
                match change {
                    Change::Insert(first, count) => {
                        model.extend(first..first + count);
                        prop_assert_eq!(ranges.insert(first, count), (model.len() - before) as u64);
                    }
                    Change::Remove(first, count) => {
                        model.retain(|number| !(first..first + count).contains(number));
                        prop_assert_eq!(ranges.remove(first, count), (before - model.len()) as u64);
                    }
                    Change::TakeBelow(end) => {
                        let kept = model.split_off(&end);
                        let taken: Vec<u64> = members(&ranges.take_below(end));
                        prop_assert_eq!(taken, model.into_iter().collect::<Vec<_>>());
                        model = kept;
                    }
                }
                prop_assert_eq!(members(&ranges), model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(ranges.total(), model.len() as u64);
                prop_assert_eq!(ranges.first(), model.first().copied());
                prop_assert_eq!(ranges.last(), model.last().copied());
                for number in 0..70 {
                    prop_assert_eq!(ranges.contains(number), model.contains(&number));
                    let missing = (number..).find(|candidate| !model.contains(candidate));
                    prop_assert_eq!(Some(ranges.first_missing_from(number)), missing);
                }
                let spans: Vec<(u64, u64)> = ranges.iter().collect();
                prop_assert!(spans.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0));
            }
        }
    }

    fn members(set: &RangeSet) -> Vec<u64> {
        set.iter().flat_map(|(first, count)| first..first + count).collect()
    }
}
