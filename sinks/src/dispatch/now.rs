//! Time as the dispatcher sees it, and how long ago an order was first intended (I14).

use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_engine::mutant;

/// Wall and monotonic time read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the Unix epoch; may go back.
    pub wall_ms: i64,
    /// Never goes back within the process.
    pub mono: Duration,
    /// Whether the wall clock was behind some journal at the start, or at a look before a lane had opened:
    /// it went back since an earlier process, by nobody knows how much (I14).
    pub has_gone_back: bool,
}

impl Now {
    /// Reads the clock.
    #[must_use]
    pub fn read(clock: &dyn Clock, has_gone_back: bool) -> Self {
        Self { wall_ms: clock.wall_ms(), mono: clock.monotonic(), has_gone_back }
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
    /// The wall clock when the process opened that took it over; none for an intent of its own.
    opened_wall_ms: Option<i64>,
}

impl FirstIntent {
    /// Intended now, by this process.
    #[must_use]
    pub fn here(now: Now) -> Self {
        let (wall_ms, mono_then) = (now.wall_ms, now.mono);
        Self { wall_ms, elapsed_then: Duration::ZERO, mono_then, opened_wall_ms: None }
    }

    /// Intended at `wall_ms` by an earlier process; `opened` is the time of opening.
    #[must_use]
    pub fn earlier(wall_ms: i64, opened: Now) -> Self {
        let elapsed_then = millis_between(wall_ms, opened.wall_ms);
        Self { wall_ms, elapsed_then, mono_then: opened.mono, opened_wall_ms: Some(opened.wall_ms) }
    }

    /// Time since then; none when it is unknowable because a clock went back: the wall clock is or
    /// was before the intent or, for one of an earlier process, behind any journal at its opening.
    #[must_use]
    pub fn elapsed(&self, now: Now) -> Option<Duration> {
        let went_back = |opened_ms: i64| now.has_gone_back || opened_ms < self.wall_ms;
        let is_unknowable = now.wall_ms < self.wall_ms || self.opened_wall_ms.is_some_and(went_back);
        if is_unknowable && !mutant!(M34) {
            return None;
        }
        Some(self.age(now).max(millis_between(self.wall_ms, now.wall_ms)))
    }

    /// Time since then as far as it is known: what the wall clock said at the opening, and the
    /// monotonic clock since. Says nothing about the life of a key.
    #[must_use]
    pub fn age(&self, now: Now) -> Duration {
        self.elapsed_then + now.mono.saturating_sub(self.mono_then)
    }
}

fn millis_between(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: i64, mono_ms: u64) -> Now {
        Now { wall_ms, mono: Duration::from_millis(mono_ms), has_gone_back: false }
    }

    fn back(wall_ms: i64, mono_ms: u64) -> Now {
        Now { has_gone_back: true, ..at(wall_ms, mono_ms) }
    }

    #[test]
    fn elapsed_time_never_shrinks_and_is_none_when_a_clock_went_back() {
        let here = FirstIntent::here(at(1_000, 50));
        let earlier = FirstIntent::earlier(1_000, at(2_000, 50));
        let future = FirstIntent::earlier(3_000, at(2_000, 50));
        let cases: [(&str, FirstIntent, Now, Option<u64>); 9] = [
            ("both clocks agree", here, at(1_200, 250), Some(200)),
            ("wall jumped ahead", here, at(9_000, 250), Some(8_000)),
            ("wall went back a little", here, at(1_100, 950), Some(900)),
            ("wall went back before the intent", here, at(999, 950), None),
            ("of an earlier process", earlier, at(2_300, 350), Some(1_300)),
            ("of an earlier process, wall went back since", earlier, at(1_300, 350), Some(1_300)),
            ("wall was behind a journal at an opening", earlier, back(9_000, 350), None),
            ("the same says nothing of its own", here, back(1_200, 250), Some(200)),
            ("intent from the future", future, at(9_000, 350), None),
        ];
        for (name, first, now, expected_ms) in cases {
            assert_eq!(first.elapsed(now), expected_ms.map(Duration::from_millis), "{name}");
        }
    }
}
