//! How many submissions a downstream gets at once: grows while answers come as fast as before,
//! shrinks when they become slow, throttled or lost. Never above the declared maximum.

use std::time::Duration;

/// What an answer says about load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// An ordinary answer.
    Fine,
    /// Throttled, timed out or lost.
    Overload,
}

/// Round trips above this many times the usual one count as overload ...
const SLOW_FACTOR: u32 = 3;
/// ... when they are at least this much longer.
const SLOW_SLACK: Duration = Duration::from_millis(20);
/// First limit, where the maximum allows.
const INITIAL: u32 = 4;

/// The limit of one downstream.
#[derive(Debug)]
pub struct Concurrency {
    limit: u32,
    limit_max: u32,
    is_doubling: bool,
    was_used_up: bool,
    usual: Option<Duration>,
    round_sum: Duration,
    round_count: u32,
    shrunk_at: Duration,
}

impl Concurrency {
    /// Begins small and doubles by rounds until the first sign of overload.
    #[must_use]
    pub fn new(limit_max: u32) -> Self {
        let limit_max = limit_max.max(1);
        Self {
            limit: INITIAL.min(limit_max),
            limit_max,
            is_doubling: true,
            was_used_up: false,
            usual: None,
            round_sum: Duration::ZERO,
            round_count: 0,
            shrunk_at: Duration::ZERO,
        }
    }

    /// Submissions that may be open at once.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// So many submissions are open now.
    pub fn observe(&mut self, in_flight: u32) {
        self.was_used_up |= in_flight >= self.limit;
    }

    /// An answer came at `now` to what was sent at `sent_at`.
    pub fn answered(&mut self, signal: Signal, sent_at: Duration, now: Duration) {
        if signal == Signal::Overload {
            // What was sent before the last cut says nothing about the limit since.
            if sent_at >= self.shrunk_at {
                self.shrink(7, now);
            }
            return;
        }
        self.round_sum += now.saturating_sub(sent_at);
        self.round_count += 1;
        if self.round_count >= self.limit {
            self.end_round(now);
        }
    }

    fn end_round(&mut self, now: Duration) {
        let mean = self.round_sum / self.round_count.max(1);
        let usual = *self.usual.get_or_insert(mean);
        // Follows a shorter round trip at once and a longer one slowly.
        self.usual = Some(if mean < usual { mean } else { usual + (mean - usual) / 16 });
        if mean > usual * SLOW_FACTOR && mean > usual + SLOW_SLACK {
            self.shrink(9, now);
        } else if self.was_used_up {
            let step = if self.is_doubling { self.limit } else { 1 };
            self.limit = self.limit.saturating_add(step).min(self.limit_max);
        }
        self.begin_round();
    }

    fn shrink(&mut self, tenths: u32, now: Duration) {
        self.limit = (self.limit.saturating_mul(tenths) / 10).max(1);
        self.is_doubling = false;
        self.shrunk_at = now;
        self.begin_round();
    }

    fn begin_round(&mut self) {
        self.round_sum = Duration::ZERO;
        self.round_count = 0;
        self.was_used_up = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Plays rounds of as many answers as the limit and returns the limit.
    fn rounds(concurrency: &mut Concurrency, count: u32, latency: Duration, now: &mut Duration) -> u32 {
        for _ in 0..count {
            let limit = concurrency.limit();
            concurrency.observe(limit);
            *now += latency;
            for _ in 0..limit {
                concurrency.answered(Signal::Fine, *now - latency, *now);
            }
        }
        concurrency.limit()
    }

    #[test]
    fn doubles_up_to_the_maximum_then_shrinks_and_grows_by_one() {
        let mut now = ms(1);
        let mut concurrency = Concurrency::new(64);
        assert_eq!(concurrency.limit(), 4);
        assert_eq!(rounds(&mut concurrency, 3, ms(10), &mut now), 32);
        assert_eq!(rounds(&mut concurrency, 3, ms(10), &mut now), 64);
        let sent_at = now;
        now += ms(5);
        concurrency.answered(Signal::Overload, sent_at, now);
        assert_eq!(concurrency.limit(), 44);
        concurrency.answered(Signal::Overload, sent_at, now);
        assert_eq!(concurrency.limit(), 44, "sent before the cut");
        assert_eq!(rounds(&mut concurrency, 2, ms(10), &mut now), 46);
    }

    #[test]
    fn slow_answers_shrink_it_and_unused_room_does_not_grow() {
        let mut now = ms(1);
        let mut concurrency = Concurrency::new(64);
        rounds(&mut concurrency, 3, ms(10), &mut now);
        assert_eq!(rounds(&mut concurrency, 1, ms(100), &mut now), 28, "ten times the usual");
        for _ in 0..28 {
            concurrency.answered(Signal::Fine, now, now + ms(10));
        }
        assert_eq!(concurrency.limit(), 28, "never used up");
        for _ in 0..40 {
            now += ms(1000);
            concurrency.answered(Signal::Overload, now, now);
        }
        assert_eq!(concurrency.limit(), 1, "never below one");
    }
}
