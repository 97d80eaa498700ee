//! What a dispatcher is opened with: lanes, pools and named limits.

use std::time::Duration;

use hongbao_engine::partition::Partition;

use crate::limits::rate::Rate;

/// Everything a dispatcher needs to know besides its ports.
#[derive(Clone, Debug)]
pub struct DispatcherSpec {
    /// The partitions it owns.
    pub partitions: Vec<Partition>,
    /// Lanes in declared order.
    pub lanes: Vec<LaneSpec>,
    /// Pools shared by lanes.
    pub pools: Vec<PoolSpec>,
    /// Random, new for each process: who writes `Opened` (rule 3).
    pub writer: [u8; 16],
    /// Seed of the jitter.
    pub seed: u64,
    /// Times and bounds.
    pub policy: Policy,
}

/// One lane: a queue of orders with one downstream.
#[derive(Clone, Debug)]
pub struct LaneSpec {
    /// Name, as in topic `orders.<name>` and source `sink.<name>`.
    pub name: String,
    /// Name of its downstream.
    pub downstream: String,
    /// Bound of sends per second, resends included; none is unbounded.
    pub rate: Option<Rate>,
    /// Bound of queries per second; none means the same as `rate`.
    pub query_rate: Option<Rate>,
}

/// A bound shared by lanes.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// Name.
    pub name: String,
    /// Bound of all its lanes together.
    pub rate: Rate,
    /// Names of its lanes, the most urgent first. A lane is in at most one pool.
    pub rank: Vec<String>,
    /// Share of the permits that lower lanes together may take while a higher one waits, in
    /// thousandths (I20).
    pub floor_permille: u32,
}

/// How a sink knows that an intent of its own counts, before it sends (rule 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confirm {
    /// It is durable. Enough where one process locks the log: nobody else can have opened the lane.
    #[default]
    ByDurability,
    /// It is durable, and the journal was read up to where it ended after that, with no `Opened` that
    /// replaces this process. For logs that several processes can write, such as a broker's: there a
    /// process that was paused does not know that another has taken over. It sends nothing later than
    /// [`Policy::send_within`] after the replacing `Opened` could be read, and then halts. The log must
    /// ask its servers for a topic's end, not remember it.
    ByReading,
}

/// Times and bounds of a dispatcher. Every queue has its bound here (I29).
#[derive(Clone, Debug)]
pub struct Policy {
    /// Most orders kept one by one per lane because an attempt did not end well, in-flight ones
    /// included. A lane that stands there takes no new work.
    pub held_orders_max: usize,
    /// Most bytes of orders read ahead per lane and partition at a time.
    pub read_ahead_bytes_max: usize,
    /// Orders read ahead per lane and partition below which more are read.
    pub read_ahead_orders_min: usize,
    /// How long the missing orders of a lane are waited for (rule 2).
    pub gap_timeout: Duration,
    /// Bytes of orders that may be held aside behind missing ones, per lane and partition.
    pub held_bytes_max: usize,
    /// How much of a lane's rate may wait with an intent but without a permit.
    pub intent_ahead: Duration,
    /// How it is known that an intent counts (rule 4).
    pub confirm: Confirm,
    /// An intent that was not sent this long after it was seen to count is withdrawn (rule 4): after
    /// it was durable or, by reading, after the end to read to was asked for.
    pub send_within: Duration,
    /// Counted attempts of one order after which it is reported.
    pub attempts_max: u32,
    /// An order whose attempt stays unresolved this long is reported when asking brings nothing.
    pub unresolved_max: Duration,
    /// Safety distance before the end of a key's life, for clocks and the way of the request; at
    /// most a quarter of that life. The time that sending may take comes on top (I14).
    pub key_margin: Duration,
    /// First pause before an order is tried again; doubled each time, with full jitter.
    pub backoff_base: Duration,
    /// Longest pause before an order is tried again.
    pub backoff_max: Duration,
    /// Longest time a downstream is believed when it says how long to stay away.
    pub pause_max: Duration,
    /// When to stop sending to a downstream that is out.
    pub breaker: BreakerPolicy,
}

/// When a downstream counts as out, and for how long it is left alone.
#[derive(Clone, Debug)]
pub struct BreakerPolicy {
    /// Submissions in a row without a definite answer that mean an outage.
    pub failures_max: u32,
    /// Of this many submissions ...
    pub window: u32,
    /// ... so many without a definite answer mean an outage, in percent.
    pub window_failures_percent: u32,
    /// First time to leave it alone; doubled while it stays out.
    pub open_base: Duration,
    /// Longest time to leave it alone.
    pub open_max: Duration,
    /// Orders in the batch that tries whether it is back.
    pub probe_items: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            held_orders_max: 65_536,
            read_ahead_bytes_max: 512 << 10,
            read_ahead_orders_min: 4_096,
            gap_timeout: Duration::from_secs(10),
            held_bytes_max: 8 << 20,
            intent_ahead: Duration::from_millis(100),
            confirm: Confirm::ByDurability,
            send_within: Duration::from_secs(1),
            attempts_max: 16,
            unresolved_max: Duration::from_secs(24 * 3600),
            key_margin: Duration::from_secs(5),
            backoff_base: Duration::from_millis(50),
            backoff_max: Duration::from_secs(30),
            pause_max: Duration::from_secs(900),
            breaker: BreakerPolicy::default(),
        }
    }
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures_max: 5,
            window: 32,
            window_failures_percent: 80,
            open_base: Duration::from_millis(500),
            open_max: Duration::from_secs(30),
            probe_items: 4,
        }
    }
}

/// Why a dispatcher cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A lane names a downstream that is not there.
    #[error("lane {lane} has no downstream {downstream}")]
    NoDownstream {
        /// The lane.
        lane: String,
        /// What it names.
        downstream: String,
    },
    /// A pool names a lane that is not there, or that is in a pool already.
    #[error("pool {pool} cannot have lane {lane}")]
    PoolLane {
        /// The pool.
        pool: String,
        /// What it names.
        lane: String,
    },
}

impl Policy {
    /// Pause before the next try: full jitter, that is anything from nothing to the doubled base.
    pub(super) fn backoff(&self, tries: u32, jitter: u64) -> Duration {
        let doubled = self.backoff_base.saturating_mul(1 << tries.min(20));
        let most_us = u64::try_from(doubled.min(self.backoff_max).as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(jitter % most_us.saturating_add(1).max(1))
    }
}
