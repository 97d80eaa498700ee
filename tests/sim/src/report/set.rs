//! A set of seeds, played on some threads, with its numbers and what it never met.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hongbao_engine::clock::{Clock, SystemClock};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::oracles::Violation;
use crate::plan::generate;
use crate::report::{Stats, joined, round};
use crate::trace::Trace;
use crate::world::run;

/// Sets of at least so many seeds must have met everything in [`EXPECTED`], and once for each so many.
pub const STRONG_SEEDS: u64 = 6_000;

/// What a set must have met, or its generator is too weak.
pub const EXPECTED: [&str; 98] = [
    "award",
    "poison",
    "settings",
    "replay",
    "clock_jump",
    "clock_freeze",
    "log_full",
    "sync_fails",
    "append.unknown",
    "sync_stalls",
    "log_damaged",
    "store_full",
    "store_fails",
    "store_old",
    "store_foreign",
    "store_damaged",
    "audit.at_crash",
    "crash.while_opening",
    "crash.in_recovery",
    "loss.detectable",
    "operator.restart",
    "stop.graceful",
    "store.other",
    "tick.refused",
    "verdict.conflict",
    "verdict.rejected",
    "verdict.undecodable",
    "order.credited",
    "order.refused",
    "order.reported",
    "request.fail_before",
    "request.fail_after",
    "request.lose_request",
    "request.lose_answer",
    "request.late",
    "request.throttle",
    "request.unavailable",
    "request.refuse",
    "request.unauthorized",
    "request.too_large",
    "request.partial",
    "request.throttle_items",
    "request.pending_items",
    "request.cut_answer",
    "request.nonsense",
    "request.slow",
    "request.conflict",
    "request.reject_items",
    "request.outage",
    "request.credited",
    "request.rejected",
    "request.pending",
    "request.absent",
    "replay.records",
    "clock.deceived",
    "log.late",
    "orders.gap_held",
    "partition.halted",
    "cash.contended",
    "zombie",
    "zombie.sent",
    "zombie.replaced",
    "trimmed.read",
    "trimmed.unread",
    "zombie.crash",
    "request.redirect",
    "request.bad_request",
    "request.forbidden",
    "request.not_found",
    "request.not_allowed",
    "request.too_large_status",
    "request.unprocessable",
    "request.bad_gateway",
    "request.cached_failure",
    "gap.held",
    "clock.went_back",
    "breaker.opened",
    "send_within.withdrew",
    "key_life.over",
    "attempts.over",
    "unresolved.over",
    "epoch.lost",
    "replay.compared",
    "ask.lost",
    "ask.not_found",
    "ask.unauthorized",
    "ask.forbidden",
    "ask.not_allowed",
    "ask.throttle",
    "ask.unavailable",
    "ask.failed",
    "ask.redirect",
    "ask.cut",
    "ask.nonsense",
    "crash",
    "loss.undetectable",
    "loss.judged",
    "trimmed",
];

/// The same for sets of at least so many seeds, and what they meet beside that.
pub const VERY_STRONG_SEEDS: u64 = 200_000;

/// See [`VERY_STRONG_SEEDS`].
pub const SELDOM: [&str; 3] = ["gap.timed_out", "loss.detectable_by_gap", "replaced.sent"];

/// Which seeds, and how.
#[derive(Clone, Copy, Debug)]
pub struct SetSpec {
    /// First seed.
    pub first: u64,
    /// Last seed.
    pub last: u64,
    /// Threads.
    pub threads: usize,
    /// Ends after so long, whatever is left of the range.
    pub deadline: Option<Duration>,
    /// But not before so many seeds were played.
    pub least: u64,
    /// Ends after so many violations.
    pub violations_max: usize,
    /// Tells on stderr how far it is.
    pub tells: bool,
}

/// Between two lines about how far a set has come.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What a set came to.
#[derive(Debug, Default)]
pub struct SetResult {
    /// Seeds played.
    pub seeds: u64,
    /// Numbers.
    pub stats: Stats,
    /// Violations by seed.
    pub violations: BTreeMap<u64, Violation>,
    /// Of all seeds' hashes, whatever their order.
    pub hash: u64,
    /// What should have been met and was not.
    pub missed: Vec<&'static str>,
    /// Fewer seeds were played than there had to be.
    pub is_short: bool,
    /// Wall time.
    pub wall: Duration,
}

/// Plays a set.
#[must_use]
pub fn play(spec: SetSpec) -> SetResult {
    let clock = SystemClock::new();
    let (next, stop) = (AtomicU64::new(spec.first), AtomicBool::new(false));
    let result = Mutex::new(SetResult::default());
    std::thread::scope(|scope| {
        let start = |_| scope.spawn(|| work(spec, &clock, &next, &stop, &result));
        let workers: Vec<_> = (0..spec.threads.max(1)).map(start).collect();
        let teller = spec.tells.then(|| scope.spawn(|| tell(&clock, &stop, &result)));
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        stop.store(true, Ordering::Relaxed);
        if let Some(teller) = teller {
            teller.thread().unpark();
        }
        if let Some(payload) = ended.into_iter().find_map(Result::err) {
            std::panic::resume_unwind(payload);
        }
    });
    let mut result = result.into_inner();
    result.wall = clock.monotonic();
    result.is_short = result.seeds < spec.least;
    result.missed = missed(result.seeds, &result.stats);
    result
}

/// What so many seeds met too seldom.
fn missed(seeds: u64, stats: &Stats) -> Vec<&'static str> {
    let seldom = SELDOM.into_iter().map(|name| (name, VERY_STRONG_SEEDS));
    let wanted = EXPECTED.into_iter().map(|name| (name, STRONG_SEEDS)).chain(seldom);
    let is_missed =
        |(name, per_seeds): &(&str, u64)| stats.seen.get(*name).copied().unwrap_or(0) < seeds / per_seeds;
    wanted.filter(is_missed).map(|(name, _)| name).collect()
}

fn work(spec: SetSpec, clock: &SystemClock, next: &AtomicU64, stop: &AtomicBool, result: &Mutex<SetResult>) {
    while !stop.load(Ordering::Relaxed) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        let is_over = || spec.deadline.is_some_and(|deadline| clock.monotonic() >= deadline);
        if seed > spec.last || (seed - spec.first >= spec.least && is_over()) {
            stop.store(true, Ordering::Relaxed);
            return;
        }
        let played = run(&generate(seed), Trace::default());
        let mut result = result.lock();
        result.seeds += 1;
        result.hash ^= crate::trace::mix(played.hash, seed);
        result.stats.absorb(&played.stats);
        if let Some(violation) = played.violation {
            if spec.tells {
                eprintln!("seed {seed}: {}: {}", violation.invariant, violation.what);
            }
            result.violations.insert(seed, violation);
            if result.violations.len() >= spec.violations_max {
                stop.store(true, Ordering::Relaxed);
            }
        }
    }
}

fn tell(clock: &SystemClock, stop: &AtomicBool, result: &Mutex<SetResult>) {
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(TELL_EVERY);
        let seeds = result.lock().seeds;
        let seconds = clock.monotonic().as_secs_f64();
        eprintln!("{seeds} seeds in {seconds:.0} s, {:.0} a second", seeds as f64 / seconds.max(0.001));
    }
}

impl SetResult {
    /// The line that is left.
    #[must_use]
    pub fn line(&self, name: &str, threads: usize) -> Value {
        let (stats, wall_s) = (&self.stats, self.wall.as_secs_f64());
        let more = json!({
            "threads": threads,
            "seeds_per_s": round(self.seeds as f64 / wall_s.max(0.001)),
            "accepted": stats.accepted,
            "sends": stats.sends,
            "asks": stats.asks,
            "asks_unknown": stats.asks_unknown,
            "effects": stats.effects,
            "retries": stats.retries,
            "simulated_days": round(stats.virtual_ms as f64 / 86_400_000.0),
            "hash": format!("{:016x}", self.hash),
            "missed": self.missed,
            "short": self.is_short,
            "strong": self.is_strong(),
            "seen": stats.seen,
        });
        joined(stats.line(name, self.seeds, self.violations.len(), self.wall), more)
    }

    /// Whether these are enough seeds for everything to be met.
    #[must_use]
    pub fn is_strong(&self) -> bool {
        self.seeds >= STRONG_SEEDS
    }

    /// Whether nothing is wrong, and what had to be met was.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.missed.is_empty() && !self.is_short
    }
}
