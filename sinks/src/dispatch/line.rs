//! One downstream as the dispatcher sees it: the port with its gates, its concurrency, and what is
//! open there.

use std::time::Duration;

use crate::downstream::{Capabilities, Downstream, Outcome, Pause, Reason};

use super::concurrency::{Concurrency, Signal};
use super::gate::Gate;
use super::spec::Policy;

/// Whole batches throttled in a row after which the downstream is left alone as it asked.
const THROTTLED_IN_A_ROW_MAX: u32 = 3;
/// Batches that may always wait with an intent.
const STOCK_MIN: u32 = 8;

/// A downstream and what is known of its health.
pub struct Line {
    /// The port.
    pub port: Box<dyn Downstream>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Whether sends may go.
    pub sends: Gate,
    /// Whether asks may go.
    pub asks: Gate,
    concurrency: Concurrency,
    /// Submissions open.
    pub in_flight: u32,
    /// Asks open.
    pub asks_in_flight: u32,
    throttled_in_a_row: u32,
    done_window: DoneWindow,
}

/// How many submissions ended in the current and in the last stretch of time.
#[derive(Debug, Default)]
struct DoneWindow {
    began: Duration,
    count: u32,
    last_count: u32,
}

/// How a submission ended, as far as the downstream's health goes.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// When it was sent, monotonic.
    pub sent_at: Duration,
    /// Whether it was a probe.
    pub is_probe: bool,
    /// Orders that got a definite answer.
    pub definite: u32,
    /// Orders whose attempt is unknown.
    pub unknown: u32,
    /// Orders that were throttled.
    pub throttled: u32,
    /// Whether all orders were throttled, and for how long if that was said.
    pub all_throttled: Option<Option<Duration>>,
}

impl Ending {
    /// Counts one order.
    pub fn note(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Credited | Outcome::AlreadyCredited | Outcome::Rejected(_) | Outcome::Conflict(_) => {
                self.definite += 1
            }
            Outcome::Throttled { .. } => {
                self.definite += 1;
                self.throttled += 1;
            }
            Outcome::Unknown(_) => self.unknown += 1,
            Outcome::NotSent(_) => {}
        }
    }

    /// Whether at least half of the orders met an overloaded downstream.
    fn is_overload(&self) -> bool {
        let hit = self.unknown + self.throttled;
        hit > 0 && hit * 2 >= self.definite + self.unknown
    }
}

impl Line {
    /// A line with nothing open.
    #[must_use]
    pub fn new(port: Box<dyn Downstream>, policy: &Policy) -> Self {
        let capabilities = port.capabilities();
        Self {
            port,
            capabilities,
            sends: Gate::new(policy),
            asks: Gate::new(policy),
            concurrency: Concurrency::new(capabilities.max_in_flight),
            in_flight: 0,
            asks_in_flight: 0,
            throttled_in_a_row: 0,
            done_window: DoneWindow::default(),
        }
    }

    /// Submissions that may be opened now.
    #[must_use]
    pub fn free_slots(&self) -> u32 {
        self.concurrency.limit().saturating_sub(self.in_flight)
    }

    /// Submissions that may be open at once.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.concurrency.limit()
    }

    /// Batches of a lane that may wait with an intent: what it did in the last stretch of `ahead`, so that
    /// none waits much longer than that.
    pub fn stock_max(&mut self, now: Duration, ahead: Duration) -> u32 {
        self.done_window.roll(now, ahead);
        STOCK_MIN.max(self.done_window.count).max(self.done_window.last_count)
    }

    /// A submission was opened.
    pub fn opened(&mut self) {
        self.in_flight += 1;
        self.concurrency.observe(self.in_flight);
    }

    /// A submission ended. Returns whether the breaker opened by it.
    pub fn ended(&mut self, ending: &Ending, now: Duration, policy: &Policy, jitter: u64) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.done_window.count += 1;
        let signal = if ending.is_overload() { Signal::Overload } else { Signal::Fine };
        self.concurrency.answered(signal, ending.sent_at, now);
        self.note_throttling(ending.all_throttled, now, policy);
        if ending.definite > 0 {
            self.sends.breaker.succeeded(ending.is_probe);
            return false;
        }
        self.sends.breaker.failed(ending.is_probe, now, jitter)
    }

    /// A submission ended and says nothing about the downstream as a whole.
    pub fn closed(&mut self, sent_at: Duration, now: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.concurrency.answered(Signal::Fine, sent_at, now);
    }

    fn note_throttling(&mut self, all: Option<Option<Duration>>, now: Duration, policy: &Policy) {
        let Some(stated) = all else {
            self.throttled_in_a_row = 0;
            return;
        };
        self.throttled_in_a_row += 1;
        if self.throttled_in_a_row >= THROTTLED_IN_A_ROW_MAX {
            self.throttled_in_a_row = 0;
            let for_time = stated.unwrap_or(policy.backoff_base);
            let reason = Reason::Borrowed("throttled");
            let pause = Pause { reason, for_time, is_configuration: false };
            self.sends.pause(&pause, now, policy.pause_max);
        }
    }
}

impl DoneWindow {
    fn roll(&mut self, now: Duration, ahead: Duration) {
        let passed = now.saturating_sub(self.began);
        if passed >= ahead {
            self.last_count = if passed < ahead * 2 { self.count } else { 0 };
            self.count = 0;
            self.began = now;
        }
    }
}
