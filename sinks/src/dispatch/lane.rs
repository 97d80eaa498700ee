//! One lane over all partitions: its limits, what waits to leave, and where it stands in a pool.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::mutant;
use hongbao_schemas::journal::CreditStage;

use crate::downstream::Ticket;
use crate::limits::rate::Limiter;

use super::track::Track;

/// Due orders counted at most per partition when a lane says how much it wants.
const DUE_COUNTED_MAX: usize = 1024;

/// A lane.
#[derive(Debug)]
pub struct Lane {
    /// Its name.
    pub name: Arc<str>,
    /// Its name as a writer of the journal, `sink.<lane>`.
    pub source: String,
    /// Index of its downstream.
    pub line: usize,
    /// Its pool and its rank there, 0 the most urgent.
    pub pool: Option<PoolPlace>,
    /// Bound of sends.
    pub limiter: Option<Limiter>,
    /// Bound of queries.
    pub queries: Option<Limiter>,
    /// Largest batch that every bound allows.
    pub batch_max: usize,
    /// One for each partition.
    pub tracks: Vec<Track>,
    /// The next partition to plan for.
    pub cursor: usize,
    /// Permits that its next batch waits for, and nothing else of it takes before; 0 for none.
    pub saves_for: u64,
    /// The next partition to ask for.
    pub ask_cursor: usize,
    /// Batches whose intents are durable, in order.
    pub sendable: VecDeque<Ticket>,
    /// What has an intent and is not sent yet; the sum of its tracks.
    pub stock: Stock,
    /// Orders that could be intended now; counted once a step.
    pub backlog: u64,
    /// What it did since the start.
    pub counts: LaneCounts,
}

/// Orders and batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// Orders.
    pub orders: u64,
    /// Batches.
    pub batches: u32,
}

impl Stock {
    /// A batch more, of so many orders.
    pub fn add(&mut self, orders: u64) {
        self.orders += orders;
        self.batches += 1;
    }

    /// A batch less, of so many orders.
    pub fn remove(&mut self, orders: u64) {
        self.orders -= orders;
        self.batches -= 1;
    }

    /// What is left without a part of it.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        Self { orders: self.orders - part.orders, batches: self.batches - part.batches }
    }
}

/// A lane's place in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolPlace {
    /// Index of the pool.
    pub pool: usize,
    /// 0 is the most urgent.
    pub rank: usize,
}

/// What a lane did since the start, in orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// Sent, resends included.
    pub sent: u64,
    /// Submissions.
    pub batches: u64,
    /// Asked about.
    pub asked: u64,
    /// Ended as credited.
    pub credited: u64,
    /// Ended as refused.
    pub refused: u64,
    /// Ended as reported.
    pub reported: u64,
    /// Attempts that came back unknown.
    pub unknown: u64,
    /// Attempts settled without effect.
    pub deferred: u64,
    /// Records held aside behind missing ones (rule 2).
    pub set_aside: u64,
}

impl Lane {
    /// Orders held one by one.
    #[must_use]
    pub fn held(&self) -> usize {
        self.tracks.iter().map(|track| track.held.len()).sum()
    }

    /// How many more fresh orders may be taken on, so that all of them could become held (I29).
    #[must_use]
    pub fn fresh_room(&self, held_orders_max: usize) -> usize {
        if mutant!(M64) {
            return held_orders_max;
        }
        let unresolved = self.tracks.iter().map(Track::unresolved).fold(0, usize::saturating_add);
        held_orders_max.saturating_sub(unresolved)
    }

    /// How many of them in one partition.
    ///
    /// Partitions open one after the other, and those still to come may bring as many as were held
    /// before: until then each of the others takes on its share and no more. So at most twice
    /// `held_orders_max` are held, however often a process ends while partitions open.
    #[must_use]
    pub fn fresh_share(&self, track: usize, held_orders_max: usize) -> usize {
        let is_open = |track: &Track| track.is_running() || track.is_halted();
        if self.tracks.iter().all(is_open) || mutant!(M64) {
            return usize::MAX;
        }
        (held_orders_max / self.tracks.len()).saturating_sub(self.tracks[track].unresolved())
    }

    /// Whether orders were read that were never tried.
    #[must_use]
    pub fn has_fresh(&self) -> bool {
        self.tracks.iter().any(|track| track.is_running() && track.ready.len() > 0)
    }

    /// Counts the orders that could be intended now.
    pub fn count_backlog(&mut self, held_orders_max: usize, now: Duration) {
        let takes_fresh = self.fresh_room(held_orders_max) > 0;
        let waiting = self.tracks.iter().filter(|track| track.is_running()).map(|track| {
            let fresh = if takes_fresh { track.ready.len() } else { 0 };
            (fresh + track.held.due_sends(now, DUE_COUNTED_MAX)) as u64
        });
        self.backlog = waiting.sum();
    }

    /// Whether orders wait that a permit would bring on their way.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.backlog + self.stock.orders > 0
    }

    /// Permits that its own limit would give now.
    pub fn own_available(&mut self, now: Duration) -> u64 {
        self.limiter.as_mut().map_or(u64::MAX, |limiter| limiter.available(now))
    }

    /// Most permits that its own limit gives at once.
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.limiter.as_ref().map_or(u64::MAX, |limiter| limiter.rate().burst())
    }

    /// Its own refill in thousandths of a permit per second.
    #[must_use]
    pub fn refill_milli(&self) -> u64 {
        self.limiter.as_ref().map_or(u64::MAX, Limiter::refill_milli)
    }
}

impl LaneCounts {
    /// Counts an order's fact.
    pub fn ended(&mut self, stage: CreditStage) {
        let count = match stage {
            CreditStage::Started => return,
            CreditStage::Credited => &mut self.credited,
            CreditStage::Deferred | CreditStage::Withdrawn => &mut self.deferred,
            CreditStage::Refused => &mut self.refused,
            CreditStage::Unknown => &mut self.unknown,
            CreditStage::Reported => &mut self.reported,
        };
        *count += 1;
    }
}
