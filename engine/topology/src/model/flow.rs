//! Downstreams, lanes and pools: where accepted orders go, and how fast (R8, W13, W15).

use std::time::Duration;

/// Somebody who credits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downstream {
    pub(crate) name: String,
    pub(crate) kind: DownstreamKind,
}

impl Downstream {
    /// Its name, which lanes refer to.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> &DownstreamKind {
        &self.kind
    }
}

/// The kinds of downstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownstreamKind {
    /// The double-entry ledger inside of this process.
    Embedded,
    /// A service that is called over HTTP.
    Http(HttpDownstream),
    /// A simulated one with faults and a book of its own.
    Simulated(Simulated),
}

impl DownstreamKind {
    /// The key that the kind has in `topology.yaml`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            DownstreamKind::Embedded => "embedded",
            DownstreamKind::Http(_) => "http",
            DownstreamKind::Simulated(_) => "simulated",
        }
    }
}

/// How orders travel to an HTTP downstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Many orders in one request.
    Batch,
    /// One order in each request.
    Single,
}

impl Delivery {
    /// The word in `topology.yaml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Delivery::Batch => "batch",
            Delivery::Single => "single",
        }
    }
}

/// A downstream over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpDownstream {
    parts: HttpParts,
}

/// The fields of [`HttpDownstream`], for the compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpParts {
    pub(crate) url: String,
    pub(crate) query_url: Option<String>,
    pub(crate) delivery: Delivery,
    pub(crate) batch_items_max: u32,
    pub(crate) batch_delay_max: Duration,
    pub(crate) in_flight_max: u32,
    pub(crate) timeout: Duration,
    pub(crate) key_life: Duration,
    pub(crate) bearer_file: Option<String>,
}

impl HttpDownstream {
    pub(crate) fn new(parts: HttpParts) -> HttpDownstream {
        HttpDownstream { parts }
    }

    /// Where orders are posted.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.parts.url
    }

    /// Where an order is asked for; without it, an unknown one is sent again with its key.
    #[must_use]
    pub fn query_url(&self) -> Option<&str> {
        self.parts.query_url.as_deref()
    }

    /// Many orders in a request, or one.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.parts.delivery
    }

    /// The most orders in one batch.
    #[must_use]
    pub fn batch_items_max(&self) -> u32 {
        self.parts.batch_items_max
    }

    /// How long an order may wait for others to fill its batch.
    #[must_use]
    pub fn batch_delay_max(&self) -> Duration {
        self.parts.batch_delay_max
    }

    /// The most requests without an answer.
    #[must_use]
    pub fn in_flight_max(&self) -> u32 {
        self.parts.in_flight_max
    }

    /// A request without an answer for this long is `unknown`.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.parts.timeout
    }

    /// For how long it remembers an idempotency key; zero when it remembers none (I14).
    #[must_use]
    pub fn key_life(&self) -> Duration {
        self.parts.key_life
    }

    /// The file with the bearer token. The compiler does not open it.
    #[must_use]
    pub fn bearer_file(&self) -> Option<&str> {
        self.parts.bearer_file.as_deref()
    }
}

/// A simulated downstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    pub(crate) profile: String,
    pub(crate) seed: u64,
}

impl Simulated {
    /// The profile of faults and delays.
    #[must_use]
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// Same seed, same behaviour.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// A pool: permits that several lanes share, given out in rank order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub(crate) name: String,
    pub(crate) rate: u64,
    pub(crate) burst: u64,
    pub(crate) rank: Vec<String>,
    pub(crate) floor_percent: u8,
}

impl Pool {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The most sends in any window of one second, over all of its lanes (I21).
    #[must_use]
    pub fn rate_per_second(&self) -> u64 {
        self.rate
    }

    /// The most permits that go at once.
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Its lanes, the most urgent one first.
    #[must_use]
    pub fn rank(&self) -> &[String] {
        &self.rank
    }

    /// The share of permits that lower lanes together may take while a higher one waits, over any
    /// 10 s, 0 to 50 (I20).
    #[must_use]
    pub fn floor_percent(&self) -> u8 {
        self.floor_percent
    }
}

/// A lane: a queue for one or more reward types, with one downstream and one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    pub(crate) name: String,
    pub(crate) reward_types: Vec<String>,
    pub(crate) downstream: String,
    pub(crate) rate: u64,
    pub(crate) burst: u64,
    pub(crate) query_rate: u64,
    pub(crate) pool: Option<(String, usize)>,
}

impl Lane {
    /// Its name; its topic is `orders.<name>`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The reward types that it credits; no other lane has them.
    #[must_use]
    pub fn reward_types(&self) -> &[String] {
        &self.reward_types
    }

    /// The name of its downstream.
    #[must_use]
    pub fn downstream(&self) -> &str {
        &self.downstream
    }

    /// The most sends in any window of one second, resends included (I21).
    #[must_use]
    pub fn rate_per_second(&self) -> u64 {
        self.rate
    }

    /// The most permits that go at once, and so the largest batch.
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// The most queries in any window of one second.
    #[must_use]
    pub fn query_rate_per_second(&self) -> u64 {
        self.query_rate
    }

    /// The pool whose permits it shares, if any.
    #[must_use]
    pub fn pool(&self) -> Option<&str> {
        self.pool.as_ref().map(|(name, _)| name.as_str())
    }

    /// Its place in the pool's rank, from 1, the most urgent.
    #[must_use]
    pub fn rank(&self) -> Option<usize> {
        self.pool.as_ref().map(|(_, rank)| *rank)
    }
}
