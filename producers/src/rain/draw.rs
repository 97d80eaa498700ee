//! Randomness that is a function of seed and index: every award can be drawn again at any time,
//! which is how a rain repeats awards of any age without remembering them. Integers only, so that
//! bytes are equal on every machine.

use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::profile::MILLION;

/// Draws of one index.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    generator: Pcg64Mcg,
}

/// Makes the draws of one seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draws {
    mixed_seed: u64,
}

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        Self { mixed_seed: mixed(seed) }
    }

    #[inline]
    pub(super) fn at(self, index: u64) -> Draw {
        let low = mixed(self.mixed_seed ^ index);
        let high = mixed(low ^ self.mixed_seed.rotate_left(32));
        Draw { generator: Pcg64Mcg::new(u128::from(high) << 64 | u128::from(low)) }
    }
}

impl Draw {
    /// The next 64 random bits.
    #[inline]
    pub(super) fn bits(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// Evenly from `0..end`; 0 when `end` is 0.
    #[inline]
    pub(super) fn below(&mut self, end: u64) -> u64 {
        scaled(self.bits(), end)
    }

    /// True for `share_ppm` draws of a million.
    #[inline]
    pub(super) fn falls_in(&mut self, share_ppm: u32) -> bool {
        self.below(u64::from(MILLION)) < u64::from(share_ppm)
    }

    /// From `0..end`, small values more often: the share of values below a part `p` of the range
    /// is `p` to the power of `1/skew`. That is Zipf's law with exponent `1 - 1/skew`.
    #[inline]
    pub(super) fn skewed_below(&mut self, end: u64, skew: u32) -> u64 {
        let even = self.bits();
        let power = (1..skew).fold(even, |power, _| high_half(power, even));
        scaled(power, end)
    }
}

/// 64 random bits, scaled to `0..end`.
#[inline]
pub(super) fn scaled(bits: u64, end: u64) -> u64 {
    high_half(bits, end)
}

#[inline]
fn high_half(left: u64, right: u64) -> u64 {
    ((u128::from(left) * u128::from(right)) >> 64) as u64
}

/// SplitMix64's finalizer: spreads neighbours far apart, one to one.
#[inline]
fn mixed(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draws_never_change() {
        // Data sets are named by their seed: these values are for ever.
        let mut draw = Draws::new(7).at(3);
        assert_eq!([draw.bits(), draw.bits()], FROZEN);
    }

    const FROZEN: [u64; 2] = [212_028_245_467_308_521, 7_544_004_420_268_763_903];

    #[test]
    fn neighbours_and_seeds_differ() {
        let first = |seed, index| Draws::new(seed).at(index).bits();
        assert_eq!(first(1, 1), first(1, 1));
        assert_ne!(first(1, 1), first(1, 2));
        assert_ne!(first(1, 1), first(2, 1));
    }

    #[test]
    fn skew_follows_its_law() {
        // With skew 3 the lowest thousandth of users gets a tenth, the lowest eighth a half.
        let draws = Draws::new(1);
        let count = 200_000;
        let ranks: Vec<u64> = (0..count).map(|index| draws.at(index).skewed_below(1_000_000, 3)).collect();
        for (below, share) in [(1_000, 0.1), (125_000, 0.5), (1_000_000, 1.0)] {
            let found = ranks.iter().filter(|rank| **rank < below).count() as f64 / count as f64;
            assert!((found - share).abs() < 0.005, "{below}: {found}");
        }
    }

    #[test]
    fn even_draws_stay_below_their_end() {
        let mut draw = Draws::new(2).at(0);
        for end in [0, 1, 2, 1_000, u64::MAX] {
            for _ in 0..100 {
                let drawn = draw.below(end);
                assert!(drawn < end.max(1), "{drawn} of {end}");
            }
        }
    }
}
