//! Time as the dispatcher sees it, and how long ago an order was first intended (I14).

use std::time::Duration;

use hongbao_engine::clock::Clock;

/// Wall and monotonic time read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the Unix epoch; may go back.
    pub wall_ms: i64,
    /// Never goes back within the process.
    pub mono: Duration,
}

impl Now {
    /// Reads the clock.
    #[must_use]
    pub fn read(clock: &dyn Clock) -> Self {
        Self { wall_ms: clock.wall_ms(), mono: clock.monotonic() }
    }
}

/// When an order was first intended since it last had no unresolved attempt.
///
/// Elapsed time is the larger of what the wall clock and what the monotonic clock say, so a clock
/// that steps back within the process makes nothing younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstIntent {
    wall_ms: i64,
    elapsed_then: Duration,
    mono_then: Duration,
    is_knowable: bool,
}

impl FirstIntent {
    /// Intended now, by this process.
    #[must_use]
    pub fn here(now: Now) -> Self {
        let (wall_ms, mono_then) = (now.wall_ms, now.mono);
        Self { wall_ms, elapsed_then: Duration::ZERO, mono_then, is_knowable: true }
    }

    /// Intended at `wall_ms` by an earlier process, whose last fact is from `last_at_ms`; `now` is
    /// the time of opening. A clock that is behind that last fact went back, by nobody knows how
    /// much.
    #[must_use]
    pub fn earlier(wall_ms: i64, last_at_ms: i64, now: Now) -> Self {
        let is_knowable = now.wall_ms >= last_at_ms && now.wall_ms >= wall_ms;
        Self { wall_ms, elapsed_then: millis_between(wall_ms, now.wall_ms), mono_then: now.mono, is_knowable }
    }

    /// Time since then; none when it is unknowable because a clock went back.
    #[must_use]
    pub fn elapsed(&self, now: Now) -> Option<Duration> {
        if !self.is_knowable || now.wall_ms < self.wall_ms {
            return None;
        }
        let by_mono = self.elapsed_then + now.mono.saturating_sub(self.mono_then);
        Some(by_mono.max(millis_between(self.wall_ms, now.wall_ms)))
    }
}

fn millis_between(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: i64, mono_ms: u64) -> Now {
        Now { wall_ms, mono: Duration::from_millis(mono_ms) }
    }

    #[test]
    fn elapsed_time_never_shrinks_and_is_none_when_a_clock_went_back() {
        let here = FirstIntent::here(at(1_000, 50));
        let earlier = FirstIntent::earlier(1_000, 1_500, at(2_000, 50));
        let back_at_start = FirstIntent::earlier(1_000, 2_001, at(2_000, 50));
        let cases: [(&str, FirstIntent, Now, Option<u64>); 8] = [
            ("both clocks agree", here, at(1_200, 250), Some(200)),
            ("wall jumped ahead", here, at(9_000, 250), Some(8_000)),
            ("wall went back a little", here, at(1_100, 950), Some(900)),
            ("wall went back before the intent", here, at(999, 950), None),
            ("of an earlier process", earlier, at(2_300, 350), Some(1_300)),
            ("of an earlier process, wall went back since", earlier, at(1_300, 350), Some(1_300)),
            ("wall was behind the last fact at the start", back_at_start, at(9_000, 350), None),
            ("intent from the future", FirstIntent::earlier(3_000, 0, at(2_000, 50)), at(9_000, 350), None),
        ];
        for (name, first, now, expected_ms) in cases {
            assert_eq!(first.elapsed(now), expected_ms.map(Duration::from_millis), "{name}");
        }
    }
}
