//! End to end: offered through the log, decided, credited in the embedded ledger with durable
//! intents, in wallet, totals and reconciliation, all durable. And how soon an award shows in the
//! wallet at half of that rate.

use std::time::Duration;

use anyhow::ensure;
use hdrhistogram::Histogram;
use hongbao_api::reads::Reads;
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_engine::task::TaskPolicy;
use hongbao_schemas::award::Award;
use serde_json::{Map, json};

use super::Workplace;
use super::load::{Frames, Load, Texts, topology, wait_durable};
use super::measure::{Meter, Report, rounded};
use crate::assemble::{Memory, Node, NodeSpec};

const WORKERS: usize = 2;
/// Awards offered ahead of intake at most: a producer that does not run away.
const AHEAD_MAX: u64 = 500_000;
const LOOK: Duration = Duration::from_millis(1);
/// Length of the stretch at half load.
const HALF_LOAD_S: f64 = 8.0;
/// One award in so many is followed into the wallet.
const PROBE_EVERY: u64 = 5_000;

/// A node of the bench topology below `place`.
pub fn start_node(place: &Workplace, runtime: &tokio::runtime::Runtime) -> anyhow::Result<Node> {
    Node::start(NodeSpec {
        topology: topology()?,
        data_dir: &place.path("data"),
        workers: WORKERS,
        memory: Memory::default(),
        policy: TaskPolicy::default(),
        runtime: runtime.handle().clone(),
    })
}

/// Measures.
pub fn run(place: &Workplace, events: u64) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let node = start_node(place, &runtime)?;
    let frames = Frames::make(Load::of(crate::cli::Mix::Recent), 0, events, node.log.partitions());
    let meter = Meter::start();
    offer(&node, &frames, events, None)?;
    let accepted = wait_credited(&node, events)?;
    let took = meter.took();
    let rate = events as f64 / took.wall_s;
    let visible = half_load(&node, events, rate / 2.0)?;
    node.stop()?;
    let stopped = meter.took();
    let mut extra = Map::new();
    extra.insert("accepted".to_owned(), json!(accepted));
    extra.insert("visible_at_half_load_ms".to_owned(), visible);
    extra.insert("whole_run_cpu_s".to_owned(), json!(rounded(stopped.cpu_s)));
    Ok(Report {
        name: "end-to-end",
        events,
        took,
        limit_events_per_s: None,
        params: json!({
            "partitions": node_partitions()?, "workers": WORKERS, "recent_duplicates_permille": 80,
            "any_age_duplicates_permille": 10, "sync_max_delay_ms": 5, "downstream": "embedded ledger",
        }),
        extra,
        not_included: "making the awards; HTTP. Included: appending them, verdicts, orders, intents, the ledger's \
            book, outcomes and every view, durable in the logs; commits run beside, the last one is not waited for",
    })
}

fn node_partitions() -> anyhow::Result<u16> {
    Ok(topology()?.partitions())
}

/// Offers all frames, evenly at a rate if one is given.
fn offer(node: &Node, frames: &Frames, events: u64, rate: Option<f64>) -> anyhow::Result<()> {
    let meter = Meter::start();
    let first = node.reads.counts().read;
    let mut offered = 0_u64;
    for one in &frames.frames {
        loop {
            let is_early = rate.is_some_and(|rate| offered as f64 > meter.elapsed().as_secs_f64() * rate);
            let ahead = offered.saturating_sub(node.reads.counts().read - first);
            if !is_early && ahead < AHEAD_MAX {
                break;
            }
            std::thread::park_timeout(LOOK);
        }
        Frames::append_each(std::iter::once(one), &*node.log)?;
        offered += one.1.len() as u64;
    }
    ensure!(offered == events, "{offered} awards were offered of {events}");
    Ok(())
}

/// Waits until everything read is decided, credited and in the views; returns what was accepted.
fn wait_credited(node: &Node, read: u64) -> anyhow::Result<u64> {
    loop {
        let counts = node.reads.counts();
        let halted = node.reads.readiness();
        ensure!(!matches!(halted, hongbao_api::reads::Readiness::Halted(_)), "{halted:?}");
        if counts.read >= read {
            let lanes = node.reads.lanes();
            let credited: u64 = lanes.iter().map(|lane| lane.credited).sum();
            if credited == counts.accepted && lanes.iter().all(|lane| lane.backlog == 0) {
                wait_durable(&*node.log)?;
                return Ok(counts.accepted);
            }
        }
        std::thread::park_timeout(LOOK);
    }
}

/// How long after it is durable an award shows in its wallet, at a steady rate, with commits
/// running.
fn half_load(node: &Node, first: u64, rate: f64) -> anyhow::Result<serde_json::Value> {
    let count = ((rate * HALF_LOAD_S) as u64).max(PROBE_EVERY * 20);
    let partitions = node.log.partitions();
    let frames = Frames::make(Load::FRESH, first, first + count, partitions);
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let offering = scope.spawn(|| offer(node, &frames, count, Some(rate)));
        let mut probe = 0;
        while !offering.is_finished() {
            let index = first + count * 2 + probe;
            probe += 1;
            let mut text = Texts::default();
            let award = Load::FRESH.award(index, &mut text);
            let waited = follow(node, &award)?;
            histogram.record(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX))?;
        }
        offering.join().unwrap_or_else(|_| anyhow::bail!("offering panicked"))
    })?;
    wait_credited(node, 0)?;
    let ms = |quantile: f64| rounded(histogram.value_at_quantile(quantile) as f64 / 1000.0);
    Ok(json!({
        "p50": ms(0.5), "p99": ms(0.99), "max": ms(1.0), "probes": histogram.len(), "rate_per_s": rate.round(),
    }))
}

/// Appends one award by itself and waits for it, first to be durable, then to show in the wallet.
fn follow(node: &Node, award: &Award<'_>) -> anyhow::Result<Duration> {
    use hongbao_engine::records::{Envelope, Frame, RecordBuf};
    let mut records = RecordBuf::new();
    records.push_with(|bytes| award.encode(bytes));
    let partition: Partition = partition_of(award.act_id.as_bytes(), node.log.partitions());
    let frame =
        Frame { topic: hongbao_processors::intake::AWARDS, envelope: Envelope::PRODUCER, records: &records };
    let position = node.log.append(partition, &[frame])?.position;
    loop {
        let seen = node.log.progress().version();
        if node.log.durable(partition)? >= position {
            break;
        }
        node.log.progress().wait(seen, LOOK);
    }
    let meter = Meter::start();
    loop {
        let entries = node.reads.entries(award.act_id, 20, None)?;
        if entries.data.iter().any(|entry| entry.order_no == award.order_no) {
            return Ok(meter.elapsed());
        }
        std::thread::park_timeout(Duration::from_micros(200));
    }
}
