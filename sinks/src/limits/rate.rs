//! A limiter that bounds every window of one second, bursts included (I21, W15).
//!
//! It is a token bucket in exact integers. The bucket holds `burst` and refills by
//! `rate - burst` a second, so no second sees more than `rate`, and it starts empty, so the
//! same holds across a restart: what the old process sent in the last second plus what the new
//! one may send is one bucket and one second of refill.
//!
//! Not built on `governor`: it answers only all-or-nothing, starts full, reads a clock by itself,
//! and keeps whole nanoseconds per permit, which at 1 M/s is 0.04% off in the wrong direction.
//! The tests compare the two where they overlap.

use std::time::Duration;

use hongbao_engine::mutant;

/// Permits per second, and how many may go at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    burst: u64,
}

impl Rate {
    /// Bounds every window of one second by `per_second`, with the default burst: a fiftieth of
    /// the rate, at least 1. None for a rate of 0.
    #[must_use]
    pub fn per_second(per_second: u64) -> Option<Self> {
        Self::with_burst(per_second, (per_second / 50).max(1))
    }

    /// As [`Rate::per_second`] with at most `burst` permits at once. None for a rate or burst of
    /// 0, and for a burst above the rate.
    #[must_use]
    pub fn with_burst(per_second: u64, burst: u64) -> Option<Self> {
        let valid = per_second >= 1 && burst >= 1 && burst <= per_second && per_second <= RATE_MAX;
        valid.then_some(Self { per_second, burst })
    }

    /// The bound of a second.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.per_second
    }

    /// Most permits at once, and so the largest batch.
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Refill in thousandths of a permit per second: `rate - burst`. Where that would cost more
    /// than a tenth (a rate below 10, or a large burst), nine tenths of `rate - burst + 1`, which
    /// still keeps every half-open second within the rate.
    fn refill_milli(&self) -> u64 {
        let spare = self.per_second - self.burst;
        (spare * 1000).max((spare + 1) * 900)
    }
}

/// Largest rate, so that no product below overflows.
pub const RATE_MAX: u64 = 1_000_000_000;

/// One permit in the bucket's unit, which is what a refill of one thousandth of a permit per
/// second adds in a nanosecond.
const PERMIT: u128 = 1_000_000_000_000;

/// Gives out permits. Time is monotonic and given by the caller.
#[derive(Clone, Debug)]
pub struct Limiter {
    rate: Rate,
    refill_milli: u64,
    level: u128,
    at: Duration,
}

impl Limiter {
    /// An empty limiter that begins to fill at `begins`, now or later (I21).
    #[must_use]
    pub fn new(rate: Rate, begins: Duration) -> Self {
        let level = if mutant!(M39) { u128::from(rate.burst) * PERMIT } else { 0 };
        Self { rate, refill_milli: rate.refill_milli(), level, at: begins }
    }

    /// A limiter with a refill of its own, in thousandths of a permit per second. For shares.
    #[must_use]
    pub(crate) fn with_refill(burst: u64, refill_milli: u64, now: Duration) -> Self {
        let rate = Rate { per_second: RATE_MAX, burst };
        Self { rate, refill_milli, level: 0, at: now }
    }

    /// Refill in thousandths of a permit per second.
    #[must_use]
    pub fn refill_milli(&self) -> u64 {
        self.refill_milli
    }

    /// What it was made with.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Permits that could be taken now. A `now` before an earlier one counts as that one.
    pub fn available(&mut self, now: Duration) -> u64 {
        if let Some(passed) = now.checked_sub(self.at) {
            self.at = now;
            let refilled = passed.as_nanos().min(u128::from(u64::MAX)) * u128::from(self.refill_milli);
            self.level = (self.level + refilled).min(u128::from(self.rate.burst) * PERMIT);
        }
        (self.level / PERMIT) as u64
    }

    /// Permits that will have been there by `ahead` from now if those of now are taken meanwhile.
    pub fn available_within(&mut self, ahead: Duration, now: Duration) -> u64 {
        self.available(now);
        let ahead = (now + ahead).saturating_sub(self.at);
        let coming = ahead.as_nanos().min(u128::from(u64::MAX)) * u128::from(self.refill_milli);
        u64::try_from((self.level + coming) / PERMIT).unwrap_or(u64::MAX)
    }

    /// Takes up to `wanted` permits and says how many.
    pub fn take_up_to(&mut self, wanted: u64, now: Duration) -> u64 {
        let granted = self.available(now).min(wanted);
        self.level -= u128::from(granted) * PERMIT;
        granted
    }

    /// Takes `count` permits, or none.
    pub fn take_all(&mut self, count: u64, now: Duration) -> bool {
        let enough = self.available(now) >= count;
        if enough {
            self.level -= u128::from(count) * PERMIT;
        }
        enough
    }

    /// Time until `count` permits are there, if nothing else takes them; none when they never are.
    pub fn wait_for(&mut self, count: u64, now: Duration) -> Option<Duration> {
        if count > self.rate.burst || self.refill_milli == 0 {
            return None;
        }
        let available = self.available(now);
        if available >= count {
            return Some(Duration::ZERO);
        }
        let missing = u128::from(count) * PERMIT - self.level;
        let nanos = missing.div_ceil(u128::from(self.refill_milli));
        let begins_in = self.at.saturating_sub(now);
        Some(begins_in.saturating_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))))
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
