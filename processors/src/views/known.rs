//! Which people may have a row in the store: a filter that saves the look-up of those who never got
//! an award. It may claim somebody who has none, never deny somebody who has, so it decides nothing.

use std::ops::ControlFlow;

use hongbao_engine::store::{Store, StoreError};

use super::rows::{USER, end_of};

/// A block is one cache line; a person sets one bit in each of its words.
const WORDS_PER_BLOCK: usize = 8;
const BLOCK_BYTES: usize = WORDS_PER_BLOCK * size_of::<u64>();

/// Rows read from the store in one step while the filter is filled again: a few milliseconds.
const STEP_ROWS: usize = 4096;

/// A blocked bloom filter of fixed size over hashes of `act_id`s. At 16 bits a person it claims
/// about 0.1% of the others, at 8 bits 3%; beyond that it saves ever fewer look-ups.
#[derive(Debug)]
pub(super) struct KnownUsers {
    words: Vec<u64>,
    /// A block's number is the top bits of the hash.
    shift: u32,
    /// Where filling from the store goes on; none once every row there is in.
    fill_from: Option<Vec<u8>>,
}

impl KnownUsers {
    /// An empty filter of about `bytes`. Until it is filled it claims everybody, unless the store
    /// is known to hold nobody.
    pub(super) fn new(bytes: usize, store_is_empty: bool) -> Self {
        let blocks = (bytes / BLOCK_BYTES).max(2).next_power_of_two();
        // Zeroed memory that the system hands out when it is first touched.
        let words = vec![0; blocks * WORDS_PER_BLOCK];
        let fill_from = (!store_is_empty).then(|| USER.to_vec());
        Self { words, shift: 64 - blocks.trailing_zeros(), fill_from }
    }

    /// Whether the filter is still being filled and knows nothing yet.
    pub(super) const fn is_filling(&self) -> bool {
        self.fill_from.is_some()
    }

    /// Adds the next rows of the store. Rows that come into the store meanwhile were inserted when
    /// their person was first met, so that none is missed.
    pub(super) fn fill_step(
        &mut self,
        store: &dyn Store,
        hash_of: impl Fn(&[u8]) -> u64,
    ) -> Result<(), StoreError> {
        let Some(from) = self.fill_from.take() else { return Ok(()) };
        let mut next = None;
        let mut rows = 0;
        store.scan(&from, &end_of(USER), &mut |key, _| {
            if rows == STEP_ROWS {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            rows += 1;
            self.insert(hash_of(key.get(USER.len()..).unwrap_or(&[])));
            ControlFlow::Continue(())
        })?;
        self.fill_from = next;
        Ok(())
    }

    /// Adds a person.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64) {
        let start = self.start(hash);
        for (word, bit) in self.words[start..start + WORDS_PER_BLOCK].iter_mut().zip(bits(hash)) {
            *word |= bit;
        }
    }

    /// Whether a person with this hash may have a row. `false` is certain.
    #[inline]
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        if self.is_filling() {
            return true;
        }
        let start = self.start(hash);
        let block = &self.words[start..start + WORDS_PER_BLOCK];
        block.iter().zip(bits(hash)).fold(0, |missing, (word, bit)| missing | (bit & !word)) == 0
    }

    #[inline]
    fn start(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize * WORDS_PER_BLOCK
    }
}

/// One bit for each word of a block, from other bits of the hash than the block's number.
#[inline]
fn bits(hash: u64) -> [u64; WORDS_PER_BLOCK] {
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bits = [0; WORDS_PER_BLOCK];
    for (index, bit) in (0_u32..).zip(&mut bits) {
        *bit = 1 << ((mixed >> (16 + 6 * index)) & 63);
    }
    bits
}

#[cfg(test)]
mod tests {
    use hongbao_engine::memory::store::MemoryStore;
    use hongbao_engine::store::{Applied, Rows};

    use super::*;

    /// The `index`-th of a sequence of well-spread hashes (SplitMix64).
    fn hash_of(index: u64) -> u64 {
        let mut mixed = index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    #[test]
    fn claims_all_it_holds_and_few_others() {
        let people = 100_000;
        let mut known = KnownUsers::new(people * 2, true);
        (0..people as u64).for_each(|index| known.insert(hash_of(index)));
        assert!((0..people as u64).all(|index| known.may_hold(hash_of(index))));
        let others = people as u64..2 * people as u64;
        let claimed = others.filter(|index| known.may_hold(hash_of(*index))).count();
        assert!(claimed < people / 500, "{claimed} of {people}");
    }

    #[test]
    fn claims_everybody_until_it_is_filled_from_the_store() {
        let people = STEP_ROWS as u64 * 2 + 1;
        let number = |key: &[u8]| hash_of(u64::from_be_bytes(key.try_into().unwrap()));
        let mut rows = Rows::new();
        for index in 0..people {
            rows.put(&[&USER[..], &index.to_be_bytes()[..]].concat(), b"");
        }
        let store = MemoryStore::new();
        store.commit(&[rows], Applied::default()).unwrap();
        let mut known = KnownUsers::new(people as usize * 2, false);
        for step in 0..3 {
            assert!(known.is_filling() && known.may_hold(hash_of(people + 1)), "step {step}");
            known.fill_step(&store, number).unwrap();
        }
        assert!(!known.is_filling());
        assert!((0..people).all(|index| known.may_hold(hash_of(index))));
        assert!((people..people + 100).filter(|index| known.may_hold(hash_of(*index))).count() < 10);
    }
}
