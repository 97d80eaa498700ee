//! From the hash of a key to its slot: open addressing over one vector, so that many look-ups can be
//! begun before the first one is finished.

/// Which of the hash's bits are kept, and where in a place.
const TAG_SHIFT: u32 = 32;

/// Fewest places.
const PLACES_MIN: usize = 64;

/// An index of slots. A place holds the upper half of a hash and the slot plus one; 0 is empty.
/// Memory: 8 bytes a place, of which at most five in eight are taken.
#[derive(Debug)]
pub(super) struct SlotIndex {
    places: Vec<u64>,
    len: usize,
}

impl SlotIndex {
    pub(super) fn new() -> Self {
        Self { places: vec![0; PLACES_MIN], len: 0 }
    }

    /// Number of slots held.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Memory held, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.places.len() * size_of::<u64>()
    }

    #[inline]
    fn home(&self, place: u64) -> usize {
        (place >> TAG_SHIFT) as usize & (self.places.len() - 1)
    }

    const fn after(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }

    /// The slot that a look-up will meet first, if its hash is the right one. Costs a load on which
    /// nothing waits.
    #[inline]
    pub(super) fn first_guess(&self, hash: u64) -> Option<u32> {
        let place = self.places[self.home(hash)];
        let same = (place ^ hash) >> TAG_SHIFT == 0;
        (same && place as u32 != 0).then(|| place as u32 - 1)
    }

    /// The slot with this hash that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let place = self.places[at];
            let slot = (place as u32).checked_sub(1)?;
            if (place ^ hash) >> TAG_SHIFT == 0 && is_it(slot) {
                return Some(slot);
            }
            at = self.after(at);
        }
    }

    /// Adds a slot that is not here.
    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        if (self.len + 1) * 8 > self.places.len() * 5 {
            let twice = vec![0; self.places.len() * 2];
            let old = std::mem::replace(&mut self.places, twice);
            old.into_iter().filter(|place| *place != 0).for_each(|place| self.put(place));
        }
        self.len += 1;
        self.put(((hash >> TAG_SHIFT) << TAG_SHIFT) | (u64::from(slot) + 1));
    }

    fn put(&mut self, place: u64) {
        let mut at = self.home(place);
        while self.places[at] != 0 {
            at = self.after(at);
        }
        self.places[at] = place;
    }

    /// Removes a slot that is here.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let mut hole = self.home(hash);
        while self.places[hole] as u32 != slot + 1 {
            if self.places[hole] == 0 {
                return;
            }
            hole = self.after(hole);
        }
        self.len -= 1;
        let mut at = self.after(hole);
        while self.places[at] != 0 {
            // What stands behind the hole moves into it unless that is in front of its home.
            let from_home = at.wrapping_sub(self.home(self.places[at])) & (self.places.len() - 1);
            let from_hole = at.wrapping_sub(hole) & (self.places.len() - 1);
            if from_home >= from_hole {
                self.places[hole] = self.places[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.places[hole] = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few different hashes, so that runs of places overlap and wrap around.
        #[test]
        fn behaves_like_a_map(changes in prop::collection::vec((any::<bool>(), 0_u32..120), 0..400)) {
            let hash_of = |slot: u32| ((u64::from(slot % 17) * 5 + 50) << TAG_SHIFT) | 0xabc;
            let (mut index, mut model) = (SlotIndex::new(), BTreeMap::new());
            for (insert, slot) in changes {
                let hash = hash_of(slot);
                if insert && model.insert(slot, hash).is_none() {
                    index.insert(hash, slot);
                } else if !insert && model.remove(&slot).is_some() {
                    index.remove(hash, slot);
                }
                prop_assert_eq!(index.len(), model.len());
            }
            for slot in 0..120 {
                let hash = hash_of(slot);
                let expected = model.contains_key(&slot).then_some(slot);
                prop_assert_eq!(index.find(hash, |found| found == slot), expected);
                prop_assert_eq!(index.find(hash, |_| false), None);
                if let Some(guess) = index.first_guess(hash) {
                    prop_assert_eq!(model.get(&guess), Some(&hash));
                }
            }
        }
    }
}
