//! What a world is made of, drawn from its seed: sizes, knobs, limits, downstreams.

mod draw;

use serde::{Deserialize, Serialize};

pub use draw::{draw, is_handover};

/// Everything about a world but what happens in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Seed of the scheduler and of latencies.
    pub seed: u64,
    /// Partitions.
    pub partitions: u16,
    /// How the log behaves when its process ends.
    pub log: LogProfile,
    /// Shortest and longest time until an appended group is durable.
    pub sync_ms: (u32, u32),
    /// Between two ticks.
    pub tick_ms: u32,
    /// In so many of a thousand turns a part of the process does not get its turn.
    pub laziness: u32,
    /// Order numbers in memory.
    pub window_keys: usize,
    /// People in the memory of the views.
    pub users_max: usize,
    /// Latest orders in the memory of the views.
    pub recent_orders_max: usize,
    /// The folds.
    pub task: TaskOptions,
    /// The dispatcher.
    pub dispatch: DispatchOptions,
    /// Lanes: cash first.
    pub lanes: Vec<LaneOptions>,
    /// A pool of all lanes in their order.
    pub pool: Option<PoolOptions>,
    /// Downstreams.
    pub downstreams: Vec<DownstreamOptions>,
    /// Most of one cash award.
    pub cash_max_minor: i64,
    /// After the faults, how long everything may take to end well.
    pub deadline_ms: i64,
}

/// How the log behaves when its process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogProfile {
    /// Segment files: a prefix of the groups that were not synced survives.
    Segments,
    /// A broker: of the groups on their way some arrive, some arrive later, some never.
    Broker,
}

/// Of a task's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "as in `TaskPolicy`")]
pub struct TaskOptions {
    pub read_bytes_max: usize,
    pub commit_records: u64,
    pub commit_interval_ms: u64,
    pub commit_staged_bytes: usize,
    pub staged_bytes_max: usize,
    pub gap_timeout_ms: u64,
    pub held_bytes_max: usize,
}

/// Of a dispatcher's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "as in `Policy`")]
pub struct DispatchOptions {
    pub held_orders_max: usize,
    pub read_ahead_bytes_max: usize,
    pub read_ahead_orders_min: usize,
    pub intent_ahead_ms: u64,
    pub send_within_ms: u64,
    pub attempts_max: u32,
    pub unresolved_max_ms: u64,
    pub key_margin_ms: u64,
    pub backoff_base_ms: u64,
    pub backoff_max_ms: u64,
    pub pause_max_ms: u64,
    pub breaker_failures_max: u32,
    pub breaker_open_base_ms: u64,
    pub breaker_open_max_ms: u64,
}

/// A lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneOptions {
    /// Index of its downstream.
    pub downstream: usize,
    /// Orders a second; none is unbounded.
    pub rate: Option<u64>,
    /// Most orders at once; the usual share of the rate unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Queries a second.
    pub query_rate: Option<u64>,
}

/// A bound that lanes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolOptions {
    /// Orders a second.
    pub rate: u64,
    /// Share of lower lanes, in thousandths.
    pub floor_permille: u32,
}

/// A downstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DownstreamOptions {
    /// The embedded ledger, over a log of its own.
    Ledger {
        /// Postings after which a shard commits.
        commit_postings: u64,
        /// Order numbers in memory.
        window_keys: usize,
    },
    /// A service that is spoken to over HTTP, without the wire.
    Partner(PartnerOptions),
}

/// How a service behaves when nothing goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartnerOptions {
    /// How long it remembers keys.
    pub keys: Keys,
    /// Whether it stores and repeats the first answer for a key, failures included.
    pub caches_failures: bool,
    /// Whether it can be asked.
    pub can_query: bool,
    /// Largest batch; 1 for a service that takes single orders.
    pub max_items: u32,
    /// Most requests at once.
    pub max_in_flight: u32,
    /// Shortest and longest time to an answer.
    pub latency_ms: (u32, u32),
    /// When an answer is given up.
    pub timeout_ms: u32,
    /// Orders that are always rejected, in thousandths.
    pub reject_permille: u32,
    /// Answers come in another order, repeated, with foreign keys among them, in thousandths.
    pub scramble_permille: u32,
}

/// How long a service remembers keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// For ever.
    Forever,
    /// So many milliseconds, counted from when a request arrives.
    Lasts(u64),
    /// Not at all.
    None,
}

impl PartnerOptions {
    /// The largest delay of a request on its way: what has not left within the timeout never does.
    #[must_use]
    pub fn late_max_ms(&self) -> u64 {
        match self.keys {
            Keys::Lasts(_) => u64::from(self.timeout_ms),
            Keys::Forever | Keys::None => 30_000,
        }
    }
}
