//! A filter over key hashes that grows without knowing its keys. It may claim a key that was never
//! inserted, never deny one that was, so it can only skip a look-up, not decide one.

use super::lines::{LINE_WORDS, Lines, line_of};

/// Bits spent on a key of a full layer. With one cache line per key, as here, a full layer claims
/// about 0.09% of the keys it does not hold.
const BITS_PER_KEY: usize = 16;

/// A key sets one bit in every second word of its cache line and in the word after it.
const BITS_SET: usize = 8;

const LINE_BITS: usize = LINE_WORDS * 32;

/// Smallest layer, in keys.
const LAYER_KEYS_MIN: usize = 1024;

/// Blocked bloom filters of doubling size; keys go into the newest until it is full.
///
/// Memory: 2 bytes per key of capacity. Layers hold `c, 2c, 4c, ...` keys, so that a filter of `n`
/// keys beyond the first layer takes between 2 and 6 bytes per key. A look-up of an absent key reads
/// one cache line per layer, and the layers' false positives add up.
#[derive(Debug)]
pub(super) struct Filter {
    layers: Vec<Layer>,
}

impl Filter {
    /// An empty filter whose first layer takes `first_layer_keys`, rounded up to a power of two.
    pub(super) fn new(first_layer_keys: usize) -> Self {
        Self { layers: vec![Layer::new(first_layer_keys)] }
    }

    /// Adds a key by its hash.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64) {
        if let Some(newest) = self.layers.last_mut()
            && newest.keys < newest.keys_max
        {
            newest.insert(hash);
            return;
        }
        self.grow(hash);
    }

    #[cold]
    fn grow(&mut self, hash: u64) {
        let largest = self.layers.iter().map(|layer| layer.keys_max).max().unwrap_or(LAYER_KEYS_MIN);
        let mut layer = Layer::new(largest.saturating_mul(2));
        layer.insert(hash);
        self.layers.push(layer);
    }

    /// Loads what [`Self::may_hold`] will read.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> u32 {
        let mut sum = 0;
        for layer in &self.layers {
            sum ^= layer.lines.touch(layer.line(hash));
        }
        sum
    }

    /// Loads what [`Self::insert`] will read.
    #[inline]
    pub(super) fn touch_newest(&self, hash: u64) -> u32 {
        self.layers.last().map_or(0, |newest| newest.lines.touch(newest.line(hash)))
    }

    /// Whether a key with this hash may have been inserted. `false` is certain.
    #[inline]
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.layers.iter().any(|layer| layer.may_hold(hash))
    }

    /// Adds everything that `other` holds.
    pub(super) fn absorb(&mut self, other: Self) {
        let newest_was_own = self.layers.len();
        self.layers.extend(other.layers.into_iter().filter(|layer| layer.keys > 0));
        // Inserts go to the last layer: let it be the one with the most room.
        let room = |layer: &Layer| layer.keys_max.saturating_sub(layer.keys);
        if let Some(last) = newest_was_own.checked_sub(1)
            && self.layers.last().map(room) < self.layers.get(last).map(room)
        {
            let end = self.layers.len() - 1;
            self.layers.swap(last, end);
        }
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.lines.bytes()).sum()
    }
}

/// One blocked bloom filter of fixed size.
#[derive(Debug)]
struct Layer {
    lines: Lines,
    keys: usize,
    keys_max: usize,
}

impl Layer {
    fn new(keys_max: usize) -> Self {
        let keys_max = keys_max.max(LAYER_KEYS_MIN).next_power_of_two();
        Self { lines: Lines::zeroed(keys_max * BITS_PER_KEY / LINE_BITS), keys: 0, keys_max }
    }

    #[inline]
    fn line(&self, hash: u64) -> usize {
        line_of((hash >> 32) as u32, self.lines.count())
    }

    #[inline]
    fn insert(&mut self, hash: u64) {
        let index = self.line(hash);
        if let Some(line) = self.lines.line_mut(index) {
            for (word, bit) in line.iter_mut().zip(bits(hash)) {
                *word |= bit;
            }
        }
        self.keys += 1;
    }

    #[inline]
    fn may_hold(&self, hash: u64) -> bool {
        let line = self.lines.line(self.line(hash));
        let mut missing = 0;
        for (word, bit) in line.iter().zip(bits(hash)) {
            missing |= bit & !word;
        }
        missing == 0
    }
}

/// The bits of a key in its line: one in each pair of words, from other bits of the hash than the
/// line's number.
#[inline]
fn bits(hash: u64) -> [u32; LINE_WORDS] {
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bits = [0; LINE_WORDS];
    for (index, pair) in (0_u32..).zip(bits.chunks_exact_mut(LINE_WORDS / BITS_SET)) {
        let bit = 1_u64 << ((mixed >> (16 + 6 * index)) & 63);
        pair[0] = bit as u32;
        pair[1] = (bit >> 32) as u32;
    }
    bits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The `index`-th of a sequence of well-spread hashes (SplitMix64).
    fn hash_of(index: u64) -> u64 {
        let mut mixed = index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn filled(first_layer_keys: usize, hashes: impl Iterator<Item = u64>) -> Filter {
        let mut filter = Filter::new(first_layer_keys);
        hashes.for_each(|hash| filter.insert(hash));
        filter
    }

    #[test]
    fn claims_few_keys_it_does_not_hold() {
        // (keys, layers they fill, highest share of false positives)
        for (keys, layers, share_max) in [(1 << 18, 1, 0.0012), (3 << 18, 2, 0.0024), (7 << 18, 3, 0.0036)] {
            let filter = filled(1 << 18, (0..keys).map(hash_of));
            let probes = 1_000_000;
            let claimed = (keys..keys + probes).filter(|index| filter.may_hold(hash_of(*index))).count();
            let share = claimed as f64 / probes as f64;
            assert_eq!(filter.layers.len(), layers, "{keys} keys");
            assert!(share < share_max, "{keys} keys: {share}");
        }
    }

    #[test]
    fn absorbing_keeps_both_and_the_roomiest_layer_last() {
        let mut large = filled(1 << 14, (0..100).map(hash_of));
        large.absorb(filled(1 << 10, (100..1100).map(hash_of)));
        assert!((0..1100).all(|index| large.may_hold(hash_of(index))));
        assert_eq!(large.layers.last().map(|layer| layer.keys_max), Some(1 << 14));
        let mut small = filled(1 << 10, (0..1000).map(hash_of));
        small.absorb(filled(1 << 14, std::iter::empty()));
        assert_eq!(small.layers.len(), 1, "an empty layer is not worth a look-up");
    }

    proptest! {
        #[test]
        fn never_denies_a_key_it_holds(
            hashes in prop::collection::vec(any::<u64>(), 0..6000),
            others in prop::collection::vec(any::<u64>(), 0..100),
        ) {
            let mut filter = filled(1, hashes.iter().copied());
            filter.absorb(filled(1, others.iter().copied()));
            for hash in hashes.iter().chain(&others) {
                prop_assert!(filter.may_hold(*hash));
            }
        }
    }
}
