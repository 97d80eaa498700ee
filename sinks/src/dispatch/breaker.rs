//! When a downstream counts as out. An outage is not a poison record: it pauses the lanes and
//! counts no attempt of any order.

use std::time::Duration;

use super::spec::BreakerPolicy;

/// Whether work may go to a downstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Any.
    All,
    /// One small batch, to see whether it is back.
    Probe,
    /// None before this monotonic time.
    NotBefore(Duration),
}

/// Decides whether a downstream is out, by its last answers.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
    in_a_row: u32,
    /// The last answers, the newest in bit 0; 1 is a failure.
    last: u64,
    seen: u32,
    reopened: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Duration },
}

impl Breaker {
    /// Closed: everything may go.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed, in_a_row: 0, last: 0, seen: 0, reopened: 0 }
    }

    /// What may go now.
    #[must_use]
    pub fn admission(&self, now: Duration) -> Admission {
        match self.state {
            State::Closed => Admission::All,
            State::Open { until } if now < until => Admission::NotBefore(until),
            State::Open { .. } => Admission::Probe,
        }
    }

    /// Whether it is closed: the downstream is believed to be well.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether the next probe should rather be orders that were not tried before: every other one,
    /// so that an order which fails by itself cannot keep the breaker open for all (I27).
    #[must_use]
    pub fn probes_fresh(&self) -> bool {
        self.reopened > 0 && self.reopened.is_multiple_of(2)
    }

    /// A definite answer came. `is_probe` when it answers a probe: only that closes an open breaker,
    /// since other answers may be from before.
    pub fn succeeded(&mut self, is_probe: bool) {
        if self.is_closed() {
            self.in_a_row = 0;
            self.push(0);
        } else if is_probe {
            *self = Self::new(self.policy.clone());
        }
    }

    /// No definite answer came. Returns whether the breaker opened by it. `jitter` is a random
    /// number; see [`Breaker::trip`].
    pub fn failed(&mut self, is_probe: bool, now: Duration, jitter: u64) -> bool {
        if !self.is_closed() {
            if is_probe {
                self.trip(now, jitter);
            }
            return false;
        }
        self.in_a_row += 1;
        self.push(1);
        if self.in_a_row < self.policy.failures_max && !self.window_is_bad() {
            return false;
        }
        self.trip(now, jitter);
        true
    }

    /// Opens it, or keeps it open twice as long as the last time; between half and the whole of
    /// that time, so that several processes do not come back together.
    pub fn trip(&mut self, now: Duration, jitter: u64) {
        let doubled = self.policy.open_base.saturating_mul(1u32 << self.reopened.min(16));
        let whole = doubled.min(self.policy.open_max);
        let half_ms = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
        let pause = Duration::from_millis(half_ms + jitter % (half_ms + 1)).max(Duration::from_millis(1));
        self.reopened = self.reopened.saturating_add(1);
        self.state = State::Open { until: now + pause };
    }

    fn push(&mut self, failure: u64) {
        self.last = self.last << 1 | failure;
        self.seen = self.seen.saturating_add(1);
    }

    fn window_is_bad(&self) -> bool {
        let window = self.policy.window.clamp(1, 64);
        if self.seen < window {
            return false;
        }
        let mask = u64::MAX >> (64 - window);
        (self.last & mask).count_ones() * 100 >= self.policy.window_failures_percent * window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BreakerPolicy = BreakerPolicy {
        failures_max: 3,
        window: 8,
        window_failures_percent: 75,
        open_base: Duration::from_millis(100),
        open_max: Duration::from_millis(300),
        probe_items: 1,
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn opens_on_failures_in_a_row_or_by_their_share() {
        // One letter an answer: s definite, f not. The expected opening is after so many answers.
        for (answers, opens_after) in [
            ("ff", None),
            ("fff", Some(3)),
            ("ffsffsffs", Some(8)),
            ("fsfsfsfsfsfs", None),
            ("ssssfff", Some(7)),
        ] {
            let mut breaker = Breaker::new(POLICY);
            let mut opened = None;
            for (index, answer) in answers.bytes().enumerate() {
                match answer {
                    b's' => breaker.succeeded(false),
                    _ if breaker.failed(false, ms(0), 0) => opened = Some(index + 1),
                    _ => {}
                }
                if opened.is_some() {
                    break;
                }
            }
            assert_eq!(opened, opens_after, "{answers}");
        }
    }

    #[test]
    fn only_a_probe_closes_it_and_failed_probes_double_the_pause() {
        let mut breaker = Breaker::new(POLICY);
        breaker.trip(ms(0), 50);
        assert_eq!(breaker.admission(ms(99)), Admission::NotBefore(ms(100)));
        assert_eq!(breaker.admission(ms(100)), Admission::Probe);
        breaker.succeeded(false);
        assert_eq!(breaker.admission(ms(100)), Admission::Probe, "a late answer is no proof");
        assert!(!breaker.failed(false, ms(100), 0), "nor a late failure");
        assert_eq!(breaker.admission(ms(100)), Admission::Probe);
        breaker.failed(true, ms(100), 100);
        assert_eq!(breaker.admission(ms(299)), Admission::NotBefore(ms(300)));
        breaker.failed(true, ms(300), 0);
        assert_eq!(breaker.admission(ms(300)), Admission::NotBefore(ms(450)), "at most the longest");
        breaker.succeeded(true);
        assert_eq!(breaker.admission(ms(301)), Admission::All);
    }
}
