//! Recovery: a node with many orders of state loses its process; how long until it gives its first
//! correct output, and until it has caught up.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use hongbao_api::reads::{Readiness, Reads};
use hongbao_engine::partition::partition_of;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_processors::intake::AWARDS;
use serde_json::{Map, json};

use super::Workplace;
use super::end_to_end::start_node;
use super::load::{Frames, Load, Texts};
use super::measure::{Meter, Report, rounded};
use crate::assemble::Node;

const PART: u64 = 500_000;
const LOOK: Duration = Duration::from_millis(1);

/// Measures.
pub fn run(place: &Workplace, events: u64) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let node = start_node(place, &runtime)?;
    for from in (0..events).step_by(PART as usize) {
        let to = (from + PART).min(events);
        Frames::make(Load::FRESH, from, to, node.log.partitions()).append(&*node.log)?;
        wait_until(|| node.reads.counts().read >= to)?;
    }
    let before = node.reads.counts();
    // No drain and no last commit: threads end where they are, as a kill would leave them.
    node.abandon();
    let meter = Meter::start();
    let node = start_node(place, &runtime)?;
    let opened = meter.took();
    let first = first_output(&node, events)?;
    ensure!(first, "the first award after the restart was not accepted");
    let took = meter.took();
    wait_until(|| matches!(node.reads.readiness(), Readiness::Ready))?;
    let ready = meter.took();
    let after = node.reads.counts();
    ensure!(
        after.accepted == before.accepted + 1,
        "{} accepted, not {} + 1",
        after.accepted,
        before.accepted
    );
    node.stop()?;
    let mut extra = Map::new();
    extra.insert("opened_s".to_owned(), json!(rounded(opened.wall_s)));
    extra.insert("first_correct_output_s".to_owned(), json!(rounded(took.wall_s)));
    extra.insert("reads_ready_s".to_owned(), json!(rounded(ready.wall_s)));
    Ok(Report {
        name: "recovery",
        events,
        took,
        limit_events_per_s: None,
        params: json!({"state_orders": events, "workers": 2}),
        extra,
        not_included: "starting the process. Included: opening log and stores, folding what was not committed, and \
            the verdict on a new award; the page cache is warm, as after a kill",
    })
}

fn wait_until(is_so: impl Fn() -> bool) -> anyhow::Result<()> {
    let meter = Meter::start();
    while !is_so() {
        ensure!(meter.elapsed() < Duration::from_secs(120), "it took longer than two minutes");
        std::thread::park_timeout(LOOK);
    }
    Ok(())
}

/// Offers one new award and waits for its verdict.
fn first_output(node: &Node, index: u64) -> anyhow::Result<bool> {
    let mut text = Texts::default();
    let award = Load::FRESH.award(index, &mut text);
    let partition = partition_of(award.act_id.as_bytes(), node.log.partitions());
    let mut records = RecordBuf::new();
    records.push_with(|bytes| award.encode(bytes));
    let frame = Frame { topic: AWARDS, envelope: Envelope::PRODUCER, records: &records };
    let appended = node.log.append(partition, &[frame])?;
    let offset = appended.first_offsets.first().copied().unwrap_or_default();
    let told = Arc::new(parking_lot::Mutex::new(None));
    let tell = Arc::clone(&told);
    let answer = Box::new(move |verdicts: Vec<_>| *tell.lock() = Some(verdicts));
    let _watch = node.reads.watch(partition.0, offset, 1, answer);
    wait_until(|| told.lock().is_some())?;
    let verdicts = told.lock().take().unwrap_or_default();
    Ok(verdicts == [Some(hongbao_api::reads::Verdict::Accepted)])
}
