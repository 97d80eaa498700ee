//! The views: wallet, orders, totals and reconciliation folded from a journal in which every order
//! is accepted, started and credited, over RocksDB.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_engine::commit::Committer;
use hongbao_engine::log::Log;
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_engine::store::Store;
use hongbao_engine::task::{Task, TaskPolicy, TaskPorts, TaskRunner, TaskSpec, TaskStatus};
use hongbao_engine::worker::{WorkerOptions, Workers};
use hongbao_processors::intake::JOURNAL;
use hongbao_processors::views::{Views, ViewsLimits, ViewsReader};
use hongbao_rocks::{RocksEnv, RocksStore};
use hongbao_schemas::journal::{Accepted, CreditFact, CreditStage, RangesBuf, SeqRange};
use serde_json::{Map, json};

use super::Workplace;
use super::load::{Load, Texts, topology, wait_durable};
use super::measure::{Meter, Report};
use crate::assemble::{open_log, segment_options};

/// Orders accepted before they are started and credited together, as a busy lane does it.
const BATCH: usize = 1000;
const AT_MS: i64 = 1_801_000_000_000;
const THREADS: usize = 2;

/// One partition's journal being written.
struct Writer {
    partition: Partition,
    accepted: RecordBuf,
    accepted_seq: u64,
    lane_seq: [i64; 2],
    credit_seq: [u64; 2],
}

const LANES: [(&str, &str, &str); 2] =
    [("cash", "CNY/2", "sink.cash"), ("coupon", "COUPON/0", "sink.coupon")];

impl Writer {
    fn flush(&mut self, log: &dyn Log, started_from: [i64; 2]) -> anyhow::Result<()> {
        let envelope = Envelope { source: "intake", epoch: 0, first_seq: self.accepted_seq };
        log.append(self.partition, &[Frame { topic: JOURNAL, envelope, records: &self.accepted }])?;
        self.accepted_seq += self.accepted.len() as u64;
        self.accepted.clear();
        for (lane, (name, _, source)) in LANES.iter().enumerate() {
            let count = self.lane_seq[lane] - started_from[lane];
            let Some(range) = SeqRange::new(started_from[lane] + 1, count) else { continue };
            let mut ranges = RangesBuf::new();
            ranges.push(range);
            let mut records = RecordBuf::new();
            for stage in [CreditStage::Started, CreditStage::Credited] {
                let fact =
                    CreditFact { stage, lane: name, at_ms: AT_MS, ranges: ranges.as_ranges(), reason: "" };
                records.push_with(|bytes| fact.encode(bytes));
            }
            let envelope = Envelope { source, epoch: 1, first_seq: self.credit_seq[lane] };
            log.append(self.partition, &[Frame { topic: JOURNAL, envelope, records: &records }])?;
            self.credit_seq[lane] += 2;
        }
        Ok(())
    }
}

/// Lays out the journal of `events` orders.
fn write_journal(log: &dyn Log, events: u64) -> anyhow::Result<()> {
    let new = |partition| Writer {
        partition,
        accepted: RecordBuf::new(),
        accepted_seq: 1,
        lane_seq: [0; 2],
        credit_seq: [1; 2],
    };
    let mut writers: Vec<Writer> = (0..log.partitions()).map(|partition| new(Partition(partition))).collect();
    let mut started_from = vec![[0_i64; 2]; writers.len()];
    let mut text = Texts::default();
    for index in 0..events {
        let award = Load::FRESH.award(index, &mut text);
        let at = usize::from(partition_of(award.act_id.as_bytes(), log.partitions()).0);
        let writer = &mut writers[at];
        let lane = usize::from(award.reward_type != "cash");
        writer.lane_seq[lane] += 1;
        let (lane_seq, (name, asset, _)) = (writer.lane_seq[lane], LANES[lane]);
        let fact =
            Accepted { award, asset, lane: name, lane_seq, award_offset: index.cast_signed(), at_ms: AT_MS };
        writer.accepted.push_with(|bytes| fact.encode(bytes));
        if writer.accepted.len() == BATCH {
            writer.flush(log, started_from[at])?;
            started_from[at] = writer.lane_seq;
        }
    }
    for (writer, from) in
        writers.iter_mut().zip(started_from).filter(|(writer, _)| !writer.accepted.is_empty())
    {
        writer.flush(log, from)?;
    }
    wait_durable(log)
}

/// Measures.
pub fn run(place: &Workplace, events: u64) -> anyhow::Result<Report> {
    let topology = topology()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let log = open_log(&place.path("log"), segment_options(&topology), &clock)?;
    write_journal(&*log, events)?;
    let rocks = RocksEnv::new(256 << 20)?;
    let committer = Arc::new(Committer::start(Arc::clone(&log), 1, 64)?);
    let reader = ViewsReader::new(log.partitions());
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    let mut statuses: Vec<Arc<TaskStatus>> = Vec::new();
    for partition in (0..log.partitions()).map(Partition) {
        let name = format!("views-{partition}");
        let store: Arc<dyn Store> = Arc::new(RocksStore::open(&place.path(&name), &rocks, &name)?);
        let ports = TaskPorts {
            log: Arc::clone(&log),
            store: Arc::clone(&store),
            committer: Arc::clone(&committer),
            clock: Arc::clone(&clock),
        };
        let task = TaskSpec { name: &name, source: "views", partition, input_topic: JOURNAL, outputs: &[] };
        let runner = TaskRunner::open(&task, ports, TaskPolicy::default(), |_| {
            Ok(Views::open(partition.0, store, ViewsLimits::default(), &reader)?)
        })
        .context("views")?;
        statuses.push(runner.status());
        tasks.push(Box::new(runner));
    }
    let options = WorkerOptions {
        threads: THREADS,
        idle_wait: Duration::from_millis(5),
        on_halt: Arc::new(|task, reason| eprintln!("{task} has halted: {reason}")),
    };
    let meter = Meter::start();
    let workers = Workers::start(options, Arc::clone(&log), tasks)?;
    for (index, status) in statuses.iter().enumerate() {
        let (_, end) = log.range(Partition(index as u16), JOURNAL)?;
        while status.applied() < end {
            ensure!(status.halted().is_none(), "{:?}", status.halted());
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    let folded = meter.took();
    let halted = workers.stop();
    let took = meter.took();
    ensure!(halted.is_empty(), "{halted:?}");
    let totals = reader.totals(&[])?;
    let credited: u64 = totals.rows.iter().map(|row| row.credited_count).sum();
    ensure!(credited == events, "{credited} credited of {events}");
    let mut extra = Map::new();
    extra.insert("folded_events_per_s".to_owned(), json!((events as f64 / folded.wall_s).round()));
    Ok(Report {
        name: "wallet",
        events,
        took,
        limit_events_per_s: None,
        params: json!({"partitions": log.partitions(), "threads": THREADS, "people": 2_500_000, "batch": BATCH}),
        extra,
        not_included: "making the journal; reads. Included: the last commit, durable",
    })
}
