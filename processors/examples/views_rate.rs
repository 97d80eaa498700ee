//! How many awards a second one partition's views fold: `cargo run --release -p hongbao-processors
//! --example views_rate [awards] [users] [commit every]`. Each award comes with its intent and its
//! outcome, in batches as sinks write them. The log is left out: facts are decoded from frames that
//! lie in memory. Commits go into a store in memory and are timed apart. Figures are CPU time.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::processor::{Outputs, Processor, ProcessorError};
use hongbao_engine::records::{FrameRef, ReadBatch};
use hongbao_engine::store::{Applied, Rows, Store};
use hongbao_processors::views::{Views, ViewsLimits, ViewsReader};
use hongbao_schemas::award::Award;
use hongbao_schemas::ext::Ext;
use hongbao_schemas::journal::{Accepted, CreditFact, CreditStage, Fact, RangesBuf, SeqRange};

/// Awards of one frame, and orders of one intent or outcome.
const BATCH: u64 = 1000;

/// Batches between the acceptance of orders and their credit.
const BATCHES_BEHIND: u64 = 20;

const START_MS: i64 = 1_800_000_000_000;

/// CPU time of this thread spent in each part.
#[derive(Debug, Default)]
struct Spent {
    fold: Duration,
    freeze: Duration,
    build: Duration,
    store: Duration,
    rows: usize,
}

/// CPU time of this thread, so that a busy machine spoils the figures less; wall time where the
/// system does not tell.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now(start: Instant) -> Duration {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|line| line.split(' ').next()?.parse().ok())
        .map_or_else(|| Instant::now() - start, Duration::from_nanos)
}

fn timed<T>(clock: Instant, total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = now(clock);
    let result = work();
    *total += now(clock).saturating_sub(start);
    result
}

/// Spreads numbers evenly (SplitMix64).
fn spread(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn push(bytes: &mut Vec<u8>, ends: &mut Vec<u32>, fact: &Fact<'_>) {
    fact.encode(bytes);
    ends.push(bytes.len() as u32);
}

/// The frames of one batch: orders accepted, and older ones started and credited.
fn write_batch(batch: &mut ReadBatch, number: u64, users: u64, offset: &mut u64, ranges: &mut RangesBuf) {
    batch.clear();
    let frame = batch.next_frame();
    frame.first_offset = *offset;
    for order in number * BATCH..(number + 1) * BATCH {
        let act_id = format!("{:016}", spread(order) % users);
        let order_no = format!("{act_id}_rain-1_r{}_cash_{order}", order % 12);
        let award = Award {
            order_no: &order_no,
            act_id: &act_id,
            activity_id: "spring-2027",
            scene_id: "rain-1",
            reward_type: "cash",
            reward_id: "",
            amount_minor: 1 + (order % 200) as i64,
            event_time_ms: START_MS + order as i64 / 1000,
            app: "app",
            ext: Ext::EMPTY,
        };
        let fact = Fact::Accepted(Accepted {
            award,
            asset: "CNY/2",
            lane: "cash",
            lane_seq: order as i64 + 1,
            award_offset: order as i64,
            at_ms: START_MS + order as i64 / 1000,
        });
        push(&mut frame.bytes, &mut frame.ends, &fact);
    }
    for (stage, behind) in
        [(CreditStage::Started, BATCHES_BEHIND / 2), (CreditStage::Credited, BATCHES_BEHIND)]
    {
        let Some(first) = number.checked_sub(behind).map(|batch| (batch * BATCH) as i64 + 1) else {
            continue;
        };
        ranges.clear();
        if let Some(range) = SeqRange::new(first, BATCH as i64) {
            ranges.push(range);
        }
        let at_ms = START_MS + number as i64;
        let fact =
            Fact::Credit(CreditFact { stage, lane: "cash", at_ms, ranges: ranges.as_ranges(), reason: "" });
        push(&mut frame.bytes, &mut frame.ends, &fact);
    }
    *offset += frame.ends.len() as u64;
}

fn commit(
    clock: Instant,
    views: &mut Views,
    store: &dyn Store,
    offset: u64,
    spent: &mut Spent,
) -> Result<(), ProcessorError> {
    let build = timed(clock, &mut spent.freeze, || views.freeze())?;
    let runs = timed(clock, &mut spent.build, build)?;
    spent.rows += runs.iter().map(Rows::len).sum::<usize>();
    timed(clock, &mut spent.store, || store.commit(&runs, Applied { offset, last_record_crc: 0 }))?;
    timed(clock, &mut spent.freeze, || views.committed());
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn run(awards: u64, users: u64, commit_every: u64) -> Result<(), ProcessorError> {
    let clock = Instant::now();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let reader = ViewsReader::new(1);
    let mut views = Views::open(0, Arc::clone(&store), ViewsLimits::default(), &reader)?;
    let (mut batch, mut ranges, mut outputs) = (ReadBatch::new(), RangesBuf::new(), Outputs::new());
    let (mut spent, mut offset) = (Spent::default(), 0);
    for number in 0..awards / BATCH {
        write_batch(&mut batch, number, users, &mut offset, &mut ranges);
        let frames: Vec<FrameRef<'_>> = batch.frames().collect();
        timed(clock, &mut spent.fold, || views.apply(&frames, &mut outputs))?;
        if ((number + 1) * BATCH).is_multiple_of(commit_every) {
            commit(clock, &mut views, &*store, offset, &mut spent)?;
        }
    }
    let per_award = |part: Duration| part.as_secs_f64() * 1e9 / awards as f64;
    println!(
        "{awards} awards of {users} people, each accepted, started and credited; commits of {commit_every}\n\
         fold   {:7.1} ns an award, {:.2} M/s\n\
         freeze {:7.1} ns an award, on the same thread\n\
         build  {:7.1} ns an award, in the background, {:.2} rows an award\n\
         store  {:7.1} ns an award, a map in memory",
        per_award(spent.fold),
        awards as f64 / spent.fold.as_secs_f64() / 1e6,
        per_award(spent.freeze),
        per_award(spent.build),
        spent.rows as f64 / awards as f64,
        per_award(spent.store),
    );
    if let Ok(lanes) = reader.lanes() {
        for lane in lanes {
            println!(
                "{}: {} accepted, {} credited, {} open",
                lane.lane, lane.accepted, lane.credited, lane.backlog
            );
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut given = std::env::args().skip(1).map(|number| number.parse().ok());
    let mut next = |default| given.next().flatten().unwrap_or(default);
    match run(next(3_000_000), next(300_000), next(500_000)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
