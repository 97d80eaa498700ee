//! Orders kept one by one, because an attempt did not end well: each with what is known of its
//! attempts and when it is due again. Bounded by the policy's `held_orders_max` (I29).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::now::{FirstIntent, Now};
use super::verdict::Standing;

/// One order.
#[derive(Clone, Debug)]
pub struct HeldOrder {
    /// Its encoded record.
    pub record: Arc<[u8]>,
    /// The first intent since the order last had no unresolved attempt; none when all attempts are
    /// settled.
    pub unresolved: Option<FirstIntent>,
    /// Attempts that failed for a reason of its own.
    pub failures: u32,
    /// Attempts and asks in a row, for the pause before the next.
    pub tries: u32,
    /// Largest batch it may be sent in: smaller after a batch failed as a whole, so that one
    /// poisonous order does not hold others back (I27).
    pub batch_max: u32,
    /// Since when it is held.
    pub since: Duration,
}

impl HeldOrder {
    /// How long it has been held, or unresolved if that is longer: an earlier process may have held
    /// it already.
    #[must_use]
    pub fn held_for(&self, now: Now) -> Duration {
        let here = now.mono.saturating_sub(self.since);
        self.unresolved.map_or(here, |first| first.age(now).max(here))
    }

    /// What is known of it.
    #[must_use]
    pub fn standing(&self, now: Now) -> Standing {
        Standing {
            is_unresolved: self.unresolved.is_some(),
            failures: self.failures,
            elapsed: match self.unresolved {
                Some(first) => first.elapsed(now),
                None => Some(Duration::ZERO),
            },
            held_for: self.held_for(now),
        }
    }
}

/// What an order waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// To be sent again.
    Send,
    /// To be asked about.
    Ask,
}

/// The held orders of one lane and partition, by lane sequence.
#[derive(Debug, Default)]
pub struct HeldOrders {
    orders: BTreeMap<u64, HeldOrder>,
    sends: BTreeSet<(Duration, u64)>,
    asks: BTreeSet<(Duration, u64)>,
}

impl HeldOrders {
    /// Number of orders, busy ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.orders.len()
    }

    /// An order.
    #[must_use]
    pub fn get(&self, seq: u64) -> Option<&HeldOrder> {
        self.orders.get(&seq)
    }

    /// An order, to change.
    pub fn get_mut(&mut self, seq: u64) -> Option<&mut HeldOrder> {
        self.orders.get_mut(&seq)
    }

    /// Holds an order, or replaces it.
    pub fn insert(&mut self, seq: u64, order: HeldOrder) {
        self.orders.insert(seq, order);
    }

    /// Lets an order go; it is busy or was never scheduled.
    pub fn remove(&mut self, seq: u64) -> Option<HeldOrder> {
        self.orders.remove(&seq)
    }

    /// An order that is not waiting will wait until `due`.
    pub fn schedule(&mut self, seq: u64, wait: Wait, due: Duration) {
        match wait {
            Wait::Send => self.sends.insert((due, seq)),
            Wait::Ask => self.asks.insert((due, seq)),
        };
    }

    /// Makes the first order busy that is due to be sent.
    pub fn pop_send(&mut self, now: Duration) -> Option<u64> {
        pop_due(&mut self.sends, now)
    }

    /// Makes the first order busy that is due to be asked about.
    pub fn pop_ask(&mut self, now: Duration) -> Option<u64> {
        pop_due(&mut self.asks, now)
    }

    /// Number of orders due to be sent, counted up to `count_max`.
    #[must_use]
    pub fn due_sends(&self, now: Duration, count_max: usize) -> usize {
        self.sends.iter().take(count_max).take_while(|(due, _)| *due <= now).count()
    }

    /// When the next order is due to be sent.
    #[must_use]
    pub fn next_send(&self) -> Option<Duration> {
        self.sends.first().map(|(due, _)| *due)
    }

    /// When the next order is due to be asked about.
    #[must_use]
    pub fn next_ask(&self) -> Option<Duration> {
        self.asks.first().map(|(due, _)| *due)
    }
}

fn pop_due(waiting: &mut BTreeSet<(Duration, u64)>, now: Duration) -> Option<u64> {
    let first = *waiting.first()?;
    if first.0 > now {
        return None;
    }
    waiting.remove(&first);
    Some(first.1)
}
