//! When awards of a rain happen, and when a generator has to send them.

use std::num::NonZeroU64;
use std::time::Duration;

use super::profile::{Profile, Segment};

/// Most awards of one rain; keeps all products below within 128 bits.
pub const TOTAL_MAX: u64 = 1_000_000_000_000;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A segment's part of the awards.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    segment: Segment,
    wave: usize,
    starts_at_s: u64,
    /// Index of its first award.
    first: u64,
    count: u64,
}

/// Splits `total` awards over the segments by their shares, without a remainder.
fn stretches(profile: &Profile, total: u64) -> Vec<Stretch> {
    let waves = &profile.file.waves;
    let shares: u128 = waves.iter().flat_map(|wave| &wave.segments).map(|s| u128::from(s.share)).sum();
    let mut stretches = Vec::new();
    let (mut shares_before, mut first) = (0, 0);
    for (wave, rain) in waves.iter().enumerate() {
        let mut starts_at_s = rain.starts_at_s;
        for segment in &rain.segments {
            shares_before += u128::from(segment.share);
            // At most `total`, because at most all shares are before.
            let end = (u128::from(total) * shares_before / shares.max(1)) as u64;
            stretches.push(Stretch { segment: *segment, wave, starts_at_s, first, count: end - first });
            starts_at_s += segment.length_s;
            first = end;
        }
    }
    stretches
}

/// Event times of a rain's awards: the wave and the time of each index, in order.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    stretches: Vec<Stretch>,
    start_ms: i64,
}

impl Timeline {
    pub(super) fn new(profile: &Profile, total: u64) -> Self {
        Self { stretches: stretches(profile, total.min(TOTAL_MAX)), start_ms: profile.start_ms }
    }

    /// Wave, counted from 0, and event time of the award at `index`.
    pub(super) fn at(&self, index: u64) -> (usize, i64) {
        let after = self.stretches.partition_point(|stretch| stretch.first <= index);
        // The last stretch that begins at or before `index` is the one with awards: an empty one
        // begins where the next does.
        let Some(stretch) = after.checked_sub(1).and_then(|at| self.stretches.get(at)) else {
            return (0, self.start_ms);
        };
        let into_ms = (index - stretch.first) * (stretch.segment.length_s * 1000) / stretch.count.max(1);
        let since_start_ms = stretch.starts_at_s * 1000 + into_ms;
        (stretch.wave, self.start_ms + since_start_ms as i64)
    }
}

/// How many awards are due at a time, so that the densest stretch of the profile runs at a given
/// rate and the others in proportion. The lulls between waves are left out.
#[derive(Clone, Debug)]
pub struct Schedule {
    steps: Vec<Step>,
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    first: u64,
    count: u64,
    from_ns: u128,
    length_ns: u128,
}

impl Schedule {
    /// The schedule of `total` awards (at most [`TOTAL_MAX`]) with the given peak rate.
    #[must_use]
    pub fn new(profile: &Profile, total: u64, peak_per_second: NonZeroU64) -> Self {
        let total = total.min(TOTAL_MAX);
        let stretches = stretches(profile, total);
        let segments = || stretches.iter().map(|stretch| stretch.segment);
        let shares: u128 = segments().map(|segment| u128::from(segment.share)).sum();
        // Compared as fractions: share over length.
        let densest = segments().max_by_key(|s| (u128::from(s.share) << 64) / u128::from(s.length_s.max(1)));
        let (peak_share, peak_length_s) = densest.map_or((1, 1), |s| (s.share, s.length_s));
        let divisor = shares.max(1) * u128::from(peak_length_s) * u128::from(peak_per_second.get());
        let mut from_ns = 0;
        let steps = stretches.iter().map(|stretch| {
            let scaled = u128::from(stretch.segment.length_s) * u128::from(total) * u128::from(peak_share);
            let length_ns = (scaled * NANOS_PER_SECOND / divisor).max(1);
            let step = Step { first: stretch.first, count: stretch.count, from_ns, length_ns };
            from_ns += length_ns;
            step
        });
        Self { steps: steps.collect(), total }
    }

    /// How many awards should have been sent `elapsed` after the start. Never goes back.
    #[must_use]
    pub fn due(&self, elapsed: Duration) -> u64 {
        let now_ns = elapsed.as_nanos();
        let after = self.steps.partition_point(|step| step.from_ns <= now_ns);
        let Some(step) = after.checked_sub(1).and_then(|at| self.steps.get(at)) else {
            return 0;
        };
        let into_ns = (now_ns - step.from_ns).min(step.length_ns);
        step.first + (u128::from(step.count) * into_ns / step.length_ns) as u64
    }

    /// Awards in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// When the last award is due.
    #[must_use]
    pub fn length(&self) -> Duration {
        let end_ns = self.steps.last().map_or(0, |step| step.from_ns + step.length_ns);
        Duration::from_nanos(u64::try_from(end_ns).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_643_601_600_000;

    fn spring() -> Profile {
        Profile::named("spring-2022").unwrap()
    }

    fn rate(per_second: u64) -> NonZeroU64 {
        NonZeroU64::new(per_second).unwrap()
    }

    #[test]
    fn event_times_follow_the_waves() {
        // A thousand awards: 96 and 24 a rain, 224 and 56 in the last.
        let timeline = Timeline::new(&spring(), 1_000);
        // (index, wave, seconds since noon)
        let cases = [
            (0, 0, 0),
            (48, 0, 90),
            (95, 0, 178),
            (96, 0, 180),
            (119, 0, 582),
            (120, 1, 3_600),
            (720, 6, 28_800),
            (999, 6, 28_800 + 592),
        ];
        for (index, wave, second) in cases {
            let (found_wave, at_ms) = timeline.at(index);
            assert_eq!((found_wave, (at_ms - START_MS) / 1000), (wave, second), "{index}");
        }
    }

    #[test]
    fn event_times_never_go_back_whatever_the_total() {
        for total in [1, 2, 7, 100, 12_345] {
            let timeline = Timeline::new(&spring(), total);
            let times: Vec<(usize, i64)> = (0..total).map(|index| timeline.at(index)).collect();
            assert!(times.is_sorted(), "{total}");
            assert!(times.iter().all(|(wave, _)| *wave < 7), "{total}");
        }
    }

    #[test]
    fn the_peak_runs_at_the_given_rate_and_the_rest_in_proportion() {
        // The last rain is the densest: 28% of all, 80% of it in its first segment. At 224/s a
        // thousand awards have it pass in one second, and a second of schedule is 180 of the seed.
        let schedule = Schedule::new(&spring(), 1_000, rate(224));
        let ms = Duration::from_millis;
        assert_eq!(schedule.length().as_millis(), 7 * 600_000 / 180);
        let before_last = ms(6 * 600_000 / 180);
        let cases = [
            (ms(0), 0),
            (ms(500), 48),
            (ms(1_000), 96),
            (before_last + ms(1), 720),
            (before_last + ms(501), 832),
            (before_last + ms(1_001), 944),
            (ms(60_000), 1_000),
        ];
        for (elapsed, due) in cases {
            assert_eq!(schedule.due(elapsed), due, "{elapsed:?}");
        }
    }

    #[test]
    fn steady_is_a_straight_line() {
        let steady = Profile::named("steady").unwrap();
        let schedule = Schedule::new(&steady, 10_000_000, rate(1_000_000));
        for tenths in 0..=100u64 {
            let due = schedule.due(Duration::from_millis(tenths * 100));
            assert_eq!(due, tenths * 100_000, "{tenths}");
        }
        assert_eq!(schedule.length(), Duration::from_secs(10));
    }

    #[test]
    fn extremes_neither_overflow_nor_lose_awards() {
        for (total, per_second) in [(0, 1), (1, u64::MAX), (u64::MAX, 1), (TOTAL_MAX, u64::MAX)] {
            let schedule = Schedule::new(&spring(), total, rate(per_second));
            assert_eq!(schedule.due(Duration::MAX), schedule.total(), "{total} at {per_second}");
            assert_eq!(schedule.total(), total.min(TOTAL_MAX));
        }
    }
}
