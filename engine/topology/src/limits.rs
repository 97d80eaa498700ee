//! Every default and limit of the files, in one place; `docs/CONFIGURATION.md` states the same
//! figures and a test compares the two.

use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The format version of both kinds of files.
pub const VERSION: u64 = 1;
/// Most partitions.
pub const PARTITIONS_MAX: u64 = 1024;

/// Size of a segment file: default, least and most.
pub const SEGMENT_SIZE_BYTES: (u64, u64, u64) = (256 * MIB, 16 * MIB, 1024 * MIB);
/// Delay of a group sync: default, least and most.
pub const SYNC_MAX_DELAY: (Duration, Duration, Duration) =
    (Duration::from_millis(5), Duration::ZERO, Duration::from_secs(1));
/// Bytes of a group sync: default, least and most.
pub const SYNC_MAX_BYTES: (u64, u64, u64) = (MIB, 4 * KIB, 16 * MIB);

/// Rates per second: least and most.
pub const RATE_PER_SECOND: (u64, u64) = (1, 1_000_000_000);
/// The default burst is the rate divided by this, and at least 1.
pub const BURST_DIVISOR: u64 = 50;
/// Most of a pool's floor, in percent; the default is 0.
pub const FLOOR_PERCENT_MAX: u64 = 50;

/// Orders in one batch: default, least and most.
pub const BATCH_ITEMS: (u64, u64, u64) = (200, 1, 10_000);
/// Wait for a batch to fill: default, least and most.
pub const BATCH_DELAY: (Duration, Duration, Duration) =
    (Duration::from_millis(5), Duration::ZERO, Duration::from_secs(10));
/// Requests without an answer: default, least and most.
pub const IN_FLIGHT: (u64, u64, u64) = (64, 1, 10_000);
/// Timeout of a request downstream: default, least and most.
pub const TIMEOUT: (Duration, Duration, Duration) =
    (Duration::from_millis(800), Duration::from_millis(1), Duration::from_mins(5));
/// Life of an idempotency key: least and most; it has no default.
pub const KEY_LIFE: (Duration, Duration) = (Duration::ZERO, days(3650));
/// A key's life is at least so many times what a request may take, timeout and batch delay
/// together: dispatchers keep up to half of it as a safety distance (I14).
pub const KEY_LIFE_REQUESTS_MIN: u32 = 4;
/// The profiles of simulated downstreams.
pub const SIMULATED_PROFILES: &[&str] = &["steady", "flaky", "slow", "short_keys", "no_keys", "outage"];
/// Default seed of a simulated downstream.
pub const SEED: u64 = 1;

/// When an order is overdue: default, least and most.
pub const OVERDUE_AFTER: (Duration, Duration, Duration) =
    (Duration::from_mins(15), Duration::from_secs(1), days(30));

/// Default address of the API.
pub const LISTEN: &str = "127.0.0.1:8080";
/// Connections of the API: default, least and most.
pub const CONNECTIONS: (u64, u64, u64) = (1024, 1, 65_536);
/// Timeout of a request to the API: default, least and most.
pub const REQUEST_TIMEOUT: (Duration, Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(1), Duration::from_mins(10));

/// Most of one award, in minor units: far above any gift, and far enough below 63 bits that sums
/// over a campaign fit.
pub const MAX_MINOR: (u64, u64) = (1, 1_000_000_000_000);
/// Most lanes, pools and downstreams, each: a lane is a topic in every partition.
pub const LANES_MAX: usize = 256;
/// Most reward types and scenes of one campaign, each.
pub const SCENES_MAX: usize = 5_000;
/// Most campaign files.
pub const CAMPAIGNS_MAX: usize = 256;
/// Most bytes of the settings that are carried in one control record.
pub const SETTINGS_BYTES_MAX: usize = 512 * 1024;

const fn days(count: u64) -> Duration {
    Duration::from_hours(24 * count)
}
