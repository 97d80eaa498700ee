//! The limiter against random demand (I21), and against GCRA where the two overlap.

use std::collections::VecDeque;

use governor::clock::FakeRelativeClock;
use governor::{Quota, RateLimiter};
use proptest::prelude::*;

use super::*;

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

#[test]
fn rates_have_a_burst_and_bounds() {
    for (per_second, burst) in [(1, 1), (49, 1), (50, 1), (100, 2), (300_000, 6_000)] {
        assert_eq!(Rate::per_second(per_second).unwrap().burst(), burst, "{per_second}");
    }
    assert_eq!(Rate::per_second(0), None);
    assert_eq!(Rate::with_burst(10, 0), None);
    assert_eq!(Rate::with_burst(10, 11), None);
    assert_eq!(Rate::per_second(RATE_MAX + 1), None);
}

#[test]
fn it_starts_empty_and_never_holds_more_than_the_burst() {
    let rate = Rate::with_burst(1_000, 100).unwrap();
    let mut limiter = Limiter::new(rate, us(5));
    assert_eq!(limiter.take_up_to(10, us(5)), 0, "starts empty");
    assert_eq!(limiter.available(us(10_005)), 9, "900 a second");
    assert_eq!(limiter.available(us(5)), 9, "a time before is no time");
    assert!(!limiter.take_all(10, us(10_005)));
    assert!(limiter.take_all(9, us(10_005)));
    assert_eq!(limiter.wait_for(9, us(10_005)), Some(us(10_000)));
    assert_eq!(limiter.wait_for(101, us(10_005)), None);
    assert_eq!(limiter.available(us(90_000_000)), 100);
}

#[test]
fn a_greedy_taker_gets_nine_tenths_of_any_rate() {
    for per_second in [1, 2, 3, 7, 10, 50, 999, 2_000, 300_000, 1_000_000] {
        let mut limiter = Limiter::new(Rate::per_second(per_second).unwrap(), Duration::ZERO);
        let mut taken = 0;
        for step in 1..=200_000u64 {
            taken += limiter.take_up_to(u64::MAX, us(step * 100));
        }
        let allowed = per_second * 20;
        assert!(taken <= allowed, "{per_second}: {taken}");
        assert!(taken * 100 >= allowed * 90 - 100, "{per_second}: {taken} of {allowed}");
    }
}

/// Sends within any half-open second, the sum of which must stay within the rate.
struct Window {
    sends: VecDeque<(Duration, u64)>,
    sum: u64,
}

impl Window {
    fn add(&mut self, now: Duration, count: u64) -> u64 {
        self.sends.push_back((now, count));
        self.sum += count;
        while let Some((at, old)) = self.sends.front().copied()
            && now - at >= Duration::from_secs(1)
        {
            self.sum -= old;
            self.sends.pop_front();
        }
        self.sum
    }
}

proptest! {
    /// I21: whatever is asked for and whenever, restarts included.
    #[test]
    fn no_second_exceeds_the_rate(
        per_second in prop_oneof![1u64..20, 20u64..5_000, Just(1_000_000u64)],
        burst_percent in 0u64..=60,
        steps in prop::collection::vec((0u64..400_000, 0u64..2_000_000, 0u32..40), 1..300),
    ) {
        let burst = (per_second * burst_percent / 100).clamp(1, per_second);
        let rate = Rate::with_burst(per_second, burst).unwrap();
        let mut now = Duration::ZERO;
        let mut limiter = Limiter::new(rate, now);
        let mut window = Window { sends: VecDeque::new(), sum: 0 };
        for (pause_us, demand, restart) in steps {
            now += us(pause_us);
            if restart == 0 {
                limiter = Limiter::new(rate, now);
            }
            let taken = limiter.take_up_to(demand, now);
            prop_assert!(taken <= demand && taken <= burst);
            let sum = window.add(now, taken);
            prop_assert!(sum <= per_second, "{sum} in the second before {now:?}");
        }
    }

    /// Where a whole number of nanoseconds fits a permit, it grants what GCRA grants.
    #[test]
    fn agrees_with_governor(steps in prop::collection::vec((0u64..50, 1u32..30), 1..200)) {
        // 500 - 20 permits a second would be 2 083 333.3 ns each; 520 - 20 are 2 ms each.
        let rate = Rate::with_burst(520, 20).unwrap();
        let clock = FakeRelativeClock::default();
        let burst = std::num::NonZeroU32::new(20).unwrap();
        let quota = Quota::with_period(Duration::from_millis(2)).unwrap().allow_burst(burst);
        let theirs = RateLimiter::direct_with_clock(quota, clock.clone());
        prop_assert!(theirs.check_n(burst).unwrap().is_ok(), "theirs starts full");
        let mut now = Duration::ZERO;
        let mut ours = Limiter::new(rate, now);
        for (pause_ms, count) in steps {
            now += Duration::from_millis(pause_ms);
            clock.advance(Duration::from_millis(pause_ms));
            let count = std::num::NonZeroU32::new(count).unwrap();
            let granted = theirs.check_n(count).is_ok_and(|decision| decision.is_ok());
            prop_assert_eq!(ours.take_all(u64::from(count.get()), now), granted, "{} at {:?}", count, now);
        }
    }
}
