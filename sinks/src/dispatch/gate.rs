//! Whether work may go to one address of a downstream: its breaker, the pause it asked for, and
//! the probe that tries whether it is back.
//!
//! Sends and asks have a gate each, since they go to different addresses: a query address that
//! refuses us must not stop credits, and asking goes on while sends rest. A fault that both share,
//! such as a refused token, is found by each on its own, at the price of one request.

use std::time::Duration;

use crate::downstream::{Pause, Reason, Ticket};

use super::breaker::{Admission, Breaker};
use super::spec::Policy;

/// See the [module](self).
#[derive(Debug)]
pub struct Gate {
    /// Whether it is out.
    pub breaker: Breaker,
    /// The submission or ask that tries whether it is back.
    pub probe: Option<Ticket>,
    paused: Option<Paused>,
}

/// Why it is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// Monotonic.
    pub until: Duration,
    /// As it said.
    pub reason: Reason,
    /// Whether a person has to change something.
    pub is_configuration: bool,
}

impl Gate {
    /// Open for everything.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        Self { breaker: Breaker::new(policy.breaker.clone()), probe: None, paused: None }
    }

    /// What may go now.
    #[must_use]
    pub fn admission(&self, now: Duration) -> Admission {
        match &self.paused {
            Some(paused) if now < paused.until => Admission::NotBefore(paused.until),
            _ => self.breaker.admission(now),
        }
    }

    /// It wants to be left alone. A fault of configuration also needs a probe afterwards.
    pub fn pause(&mut self, pause: &Pause, now: Duration, pause_max: Duration) {
        let until = now + pause.for_time.min(pause_max);
        let until = self.paused.as_ref().map_or(until, |paused| paused.until.max(until));
        if pause.is_configuration {
            self.breaker.trip(now, 0);
        }
        let (reason, is_configuration) = (pause.reason.clone(), pause.is_configuration);
        self.paused = Some(Paused { until, reason, is_configuration });
    }

    /// Why it is left alone now, if it is.
    #[must_use]
    pub fn paused(&self, now: Duration) -> Option<&Paused> {
        self.paused.as_ref().filter(|paused| now < paused.until)
    }

    /// The fault of configuration that a person has to mend, until a probe has shown otherwise.
    #[must_use]
    pub fn misconfigured(&self) -> Option<&Paused> {
        self.paused.as_ref().filter(|paused| paused.is_configuration && !self.breaker.is_closed())
    }

    /// Whether this is the probe, which then is over.
    pub fn take_probe(&mut self, ticket: Ticket) -> bool {
        let is_probe = self.probe == Some(ticket);
        if is_probe {
            self.probe = None;
        }
        is_probe
    }
}
