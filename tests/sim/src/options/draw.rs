//! Options from a seed. A quarter of the knobs is squeezed: batches of one, windows of two, key
//! lives of a second.

use crate::random::Random;

use super::{
    DispatchOptions, DownstreamOptions, Keys, LaneOptions, LogProfile, Options, PartnerOptions, PoolOptions,
    TaskOptions,
};

/// One of the usual values, or in a quarter of all cases one of the squeezed ones.
fn knob(random: &mut Random, usual: &[u64], squeezed: &[u64]) -> u64 {
    if random.chance(250) { *random.pick(squeezed) } else { *random.pick(usual) }
}

/// The options of a seed.
#[must_use]
pub fn draw(seed: u64) -> Options {
    let random = &mut Random::of(seed, "options");
    let dispatch = dispatch(random);
    let count = random.within(1, 3) as usize;
    let downstreams: Vec<DownstreamOptions> = (0..count).map(|_| downstream(random)).collect();
    let lanes = (0..3).map(|lane| lane_of(random, lane, count)).collect();
    let log = if random.chance(300) { LogProfile::Broker } else { LogProfile::Segments };
    let pool = random.chance(300).then(|| PoolOptions {
        rate: random.magnitude(20, 2_000),
        floor_permille: *random.pick(&[0, 50, 200]),
    });
    let mut options = Options {
        seed,
        partitions: *random.pick(&[1, 1, 2, 2, 3, 4]),
        log,
        sync_ms: *random.pick(&[(0, 1), (1, 5), (1, 20), (5, 80)]),
        tick_ms: *random.pick(&[250, 1_000, 1_000]),
        laziness: knob(random, &[0, 100, 300], &[700]) as u32,
        window_keys: knob(random, &[4, 64, 1_000], &[1, 2]) as usize,
        users_max: knob(random, &[4, 100], &[1]) as usize,
        recent_orders_max: knob(random, &[4, 64, 1_000], &[1]) as usize,
        task: task(random, log),
        dispatch,
        lanes,
        pool,
        downstreams,
        cash_max_minor: if random.chance(100) { i64::MAX } else { 20_000 },
        deadline_ms: 900_000,
    };
    let random = &mut Random::of(seed, "bursts");
    for lane in &mut options.lanes {
        lane.burst = lane.rate.filter(|_| random.chance(150)).map(|rate| random.within(1, rate));
    }
    if is_handover(seed) {
        handover(&mut Random::of(seed, "handover"), &mut options);
    }
    options
}

/// Whether what one process does near the end of its time shall meet what the next one does.
#[must_use]
pub fn is_handover(seed: u64) -> bool {
    Random::of(seed, "is handover").chance(60)
}

/// Lanes that are slower than what comes in, by their limits or by their downstreams, and keys that a
/// process can sleep through.
fn handover(random: &mut Random, options: &mut Options) {
    options.log = LogProfile::Broker;
    options.task.staged_bytes_max = options.task.staged_bytes_max.max(1 << 20);
    options.laziness = *random.pick(&[0, 100]);
    options.pool = None;
    options.sync_ms = *random.pick(&[(0, 1), (1, 5), (1, 20)]);
    options.dispatch.send_within_ms = *random.pick(&[1_000, 5_000]);
    options.dispatch.intent_ahead_ms = 1_000;
    options.dispatch.key_margin_ms = 100;
    let has_limits = random.chance(500);
    if has_limits {
        // A process that has one partition of a lane and one that has another limit it apart.
        options.partitions = 1;
    }
    for lane in &mut options.lanes {
        lane.rate = has_limits.then(|| random.magnitude(5, 30));
        lane.burst = lane.rate.map(|rate| random.within(1, rate));
    }
    for downstream in &mut options.downstreams {
        *downstream = DownstreamOptions::Partner(PartnerOptions {
            keys: *random.pick(&[Keys::Lasts(1_000), Keys::Lasts(2_000), Keys::Forever]),
            caches_failures: false,
            can_query: random.chance(300),
            max_items: *random.pick(&[1, 1, 2, 5]),
            max_in_flight: if has_limits { 16 } else { 1 },
            latency_ms: if has_limits { (1, 3) } else { (20, 100) },
            timeout_ms: 120,
            reject_permille: 0,
            scramble_permille: 0,
        });
    }
}

fn task(random: &mut Random, log: LogProfile) -> TaskOptions {
    let staged_bytes_max = knob(random, &[1 << 16, 192 << 20], &[1 << 12]) as usize;
    // A fold behind a gap stages all that lies between the gap and what closes it.
    let staged_bytes_min = if log == LogProfile::Broker { 1 << 20 } else { 0 };
    TaskOptions {
        read_bytes_max: knob(random, &[1 << 12, 1 << 16, 1 << 20], &[1, 200]) as usize,
        commit_records: knob(random, &[20, 100, 1_000_000], &[1, 3]),
        commit_interval_ms: knob(random, &[200, 1_000, 5_000], &[0, 5]),
        commit_staged_bytes: knob(random, &[1 << 14, 64 << 20], &[1, 1 << 10]) as usize,
        staged_bytes_max: staged_bytes_max.max(staged_bytes_min),
        gap_timeout_ms: 10_000,
        held_bytes_max: 1 << 20,
    }
}

fn dispatch(random: &mut Random) -> DispatchOptions {
    DispatchOptions {
        held_orders_max: knob(random, &[100, 65_536], &[1, 3]) as usize,
        read_ahead_bytes_max: knob(random, &[1 << 12, 512 << 10], &[1, 100]) as usize,
        read_ahead_orders_min: knob(random, &[16, 4_096], &[1]) as usize,
        intent_ahead_ms: knob(random, &[20, 100], &[1, 1_000]),
        send_within_ms: knob(random, &[1_000], &[5, 50]),
        attempts_max: knob(random, &[4, 16], &[1, 2]) as u32,
        unresolved_max_ms: knob(random, &[10_000, 60_000], &[500]),
        key_margin_ms: knob(random, &[5_000], &[100, 1_000]),
        backoff_base_ms: knob(random, &[20, 50], &[1]),
        backoff_max_ms: knob(random, &[500, 2_000], &[5]),
        pause_max_ms: knob(random, &[500, 2_000], &[20]),
        breaker_failures_max: knob(random, &[5], &[2]) as u32,
        breaker_open_base_ms: knob(random, &[100, 500], &[5]),
        breaker_open_max_ms: knob(random, &[1_000, 2_000], &[10]),
    }
}

fn lane_of(random: &mut Random, lane: usize, downstreams: usize) -> LaneOptions {
    let limited = random.chance(500);
    LaneOptions {
        downstream: if random.chance(500) {
            lane % downstreams
        } else {
            random.below(downstreams as u64) as usize
        },
        rate: limited.then(|| random.magnitude(5, 2_000)),
        burst: None,
        query_rate: random.chance(300).then(|| random.magnitude(5, 500)),
    }
}

fn downstream(random: &mut Random) -> DownstreamOptions {
    if random.chance(250) {
        return DownstreamOptions::Ledger {
            commit_postings: knob(random, &[50, 1_000], &[1, 3]),
            window_keys: knob(random, &[16, 1_000], &[1]) as usize,
        };
    }
    let day_ms = 24 * 3_600_000;
    let keys = match random.below(10) {
        0..4 => Keys::Lasts(day_ms),
        4..6 => Keys::Lasts(*random.pick(&[1_000, 2_000, 10_000, 30_000])),
        6..8 => Keys::Forever,
        _ => Keys::None,
    };
    let can_query = random.chance(600);
    let caches_failures = keys == Keys::Lasts(day_ms) && random.chance(500);
    // Such a failure is repeated as long as the key lives, which must end before the deadline.
    let keys = if caches_failures { Keys::Lasts(300_000) } else { keys };
    DownstreamOptions::Partner(PartnerOptions {
        keys,
        caches_failures,
        can_query,
        max_items: knob(random, &[10, 100], &[1, 2]) as u32,
        max_in_flight: knob(random, &[4, 16], &[1]) as u32,
        latency_ms: *random.pick(&[(1, 3), (1, 20), (5, 100)]),
        timeout_ms: *random.pick(&[120, 300, 1_000]),
        reject_permille: *random.pick(&[0, 0, 20, 100]),
        scramble_permille: *random.pick(&[0, 100, 1_000]),
    })
}
