//! How a simulated downstream behaves, by name.

use std::time::Duration;

use crate::downstream::{Capabilities, KeyLife};

/// Behaviour of a simulated downstream. Chances are in thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Shortest and longest time to an answer.
    pub latency: (Duration, Duration),
    /// A request fails with 500 and no effect.
    pub fail_before: u32,
    /// A request fails with 500 after its effects.
    pub fail_after: u32,
    /// A request takes effect and is never answered.
    pub lose_answer: u32,
    /// A request is not answered, and takes effect [`Profile::late_by`] later.
    pub late_effect: u32,
    /// Longest delay of a late effect.
    pub late_by: Duration,
    /// Of a batch only a part is applied, and of that only a part is answered.
    pub partial: u32,
    /// A request is answered with 429.
    pub throttle: u32,
    /// An order of a request is throttled.
    pub throttle_item: u32,
    /// An order is answered with `pending` and takes effect late.
    pub pending_item: u32,
    /// A request is answered with 503 and a `Retry-After`, with no effect.
    pub unavailable: u32,
    /// Orders that are always rejected, chosen by their key.
    pub reject_item: u32,
    /// Answers come with their items in another order, repeated, and with unknown keys among them.
    pub scramble: u32,
    /// A query is not answered.
    pub ask_fails: u32,
    /// Every `.0` it does not answer at all for `.1`.
    pub outage: Option<(Duration, Duration)>,
    /// How long it remembers keys.
    pub key_life: KeyLife,
    /// Whether it can be asked.
    pub can_query: bool,
    /// Items it takes per second; above, they are throttled.
    pub rate_cap: Option<u64>,
    /// Largest batch.
    pub max_items: u32,
    /// Most requests at once.
    pub max_in_flight: u32,
    /// When an answer that never comes is given up by the in-process adapter.
    pub timeout: Duration,
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Profile {
    /// The names that [`Profile::named`] knows.
    pub const NAMES: [&'static str; 6] = ["steady", "flaky", "slow", "short_keys", "no_keys", "outage"];

    /// The profile of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let profile = match name {
            "steady" => Self::steady(),
            "flaky" => Self::flaky(),
            "slow" => Self { latency: (ms(200), ms(2_000)), timeout: ms(3_000), ..Self::steady() },
            "short_keys" => Self { key_life: KeyLife::Lasts(ms(2_000)), late_by: ms(300), ..Self::flaky() },
            "no_keys" => Self { key_life: KeyLife::None, ..Self::flaky() },
            "outage" => Self { outage: Some((ms(10_000), ms(3_000))), ..Self::steady() },
            _ => return None,
        };
        Some(profile)
    }

    /// Answers everything well within a few milliseconds, and remembers keys for ever.
    #[must_use]
    pub fn steady() -> Self {
        Self {
            latency: (ms(1), ms(5)),
            fail_before: 0,
            fail_after: 0,
            lose_answer: 0,
            late_effect: 0,
            late_by: ms(1_000),
            partial: 0,
            throttle: 0,
            throttle_item: 0,
            pending_item: 0,
            unavailable: 0,
            reject_item: 0,
            scramble: 0,
            ask_fails: 0,
            outage: None,
            key_life: KeyLife::Forever,
            can_query: true,
            rate_cap: None,
            max_items: 1_000,
            max_in_flight: 64,
            timeout: ms(500),
        }
    }

    /// Everything that can go wrong does, now and then; keys last a day.
    #[must_use]
    pub fn flaky() -> Self {
        Self {
            latency: (ms(2), ms(60)),
            fail_before: 20,
            fail_after: 20,
            lose_answer: 10,
            late_effect: 10,
            late_by: ms(1_500),
            partial: 30,
            throttle: 10,
            throttle_item: 10,
            pending_item: 5,
            unavailable: 2,
            reject_item: 0,
            scramble: 100,
            ask_fails: 50,
            outage: None,
            key_life: KeyLife::Lasts(Duration::from_secs(24 * 3600)),
            can_query: true,
            rate_cap: None,
            max_items: 200,
            max_in_flight: 64,
            timeout: ms(500),
        }
    }

    /// What a dispatcher is told.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_items: self.max_items,
            max_in_flight: self.max_in_flight,
            key_life: self.key_life,
            can_query: self.can_query,
            batch_delay: Duration::ZERO,
            timeout: self.timeout,
        }
    }

    /// Whether it is out at this time since its start.
    #[must_use]
    pub fn is_out(&self, at: Duration) -> bool {
        self.outage.is_some_and(|(every, lasts)| {
            let every_ms = every.as_millis().max(1);
            // It begins well: the outage is at the end of each period.
            at.as_millis() % every_ms >= every_ms.saturating_sub(lasts.as_millis())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_profile() {
        for name in Profile::NAMES {
            assert!(Profile::named(name).is_some(), "{name}");
        }
        assert_eq!(Profile::named("other"), None);
    }

    #[test]
    fn outages_are_periodic() {
        let profile = Profile::named("outage").unwrap();
        for (at_ms, is_out) in [(0, false), (6_999, false), (7_000, true), (9_999, true), (10_000, false)] {
            assert_eq!(profile.is_out(ms(at_ms)), is_out, "{at_ms}");
        }
    }
}
