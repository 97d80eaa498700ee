//! The dispatcher: orders out of the lanes, durable intents, a downstream that answers at once,
//! durable outcomes.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, ensure};
use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_engine::log::Log;
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_engine::records::{Envelope, Frame, Offset, ReadBatch, RecordBuf};
use hongbao_processors::intake::JOURNAL;
use hongbao_schemas::journal::Fact;
use hongbao_schemas::order::Order;
use hongbao_sinks::batch::Batch;
use hongbao_sinks::dispatch::{Dispatcher, DispatcherSpec, LaneSpec, Policy, Ports, Step};
use hongbao_sinks::downstream::{
    Capabilities, Completed, Completion, Downstream, KeyLife, Outcome, Outcomes, Ticket, Told,
};
use hongbao_sinks::journal_view::{JournalView, LaneResume, ViewError, Winner};
use parking_lot::Mutex;
use serde_json::{Map, json};

use super::Workplace;
use super::load::{Load, Texts, topology, wait_durable};
use super::measure::{Meter, Report};
use crate::assemble::{open_log, segment_options};

const LANE: &str = "cash";
const TOPIC: &str = "orders.cash";
const FRAME_RECORDS: usize = 1000;
const WRITER: [u8; 16] = [1; 16];
const MAX_ITEMS: u32 = 1000;

/// Answers every batch with "credited" when it is polled next.
#[derive(Default)]
struct Instant {
    done: Vec<Completion>,
}

impl Downstream for Instant {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_items: MAX_ITEMS,
            max_in_flight: 64,
            key_life: KeyLife::Forever,
            can_query: false,
            batch_delay: std::time::Duration::ZERO,
            timeout: std::time::Duration::ZERO,
        }
    }

    fn submit(&mut self, ticket: Ticket, _batch: Batch) {
        let result = Completed::Sent { outcomes: Outcomes::All(Outcome::Credited), pause: None };
        self.done.push(Completion { ticket, result });
    }

    fn ask(&mut self, ticket: Ticket, _record: Arc<[u8]>) {
        self.done.push(Completion { ticket, result: Completed::Asked { told: Told::Pending, pause: None } });
    }

    fn poll(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.done);
    }
}

/// A journal that nobody but this dispatcher writes: its own `Opened` wins.
struct OwnJournal {
    log: Arc<dyn Log>,
    epochs: Mutex<BTreeMap<u16, Offset>>,
}

impl JournalView for OwnJournal {
    fn folded(&self, partition: Partition) -> Result<Offset, ViewError> {
        let (_, end) = self
            .log
            .range(partition, JOURNAL)
            .map_err(|error| ViewError { partition: partition.0, what: error.to_string() })?;
        self.epochs.lock().insert(partition.0, end);
        Ok(end)
    }

    fn lane(&self, partition: Partition, _lane: &str) -> Result<LaneResume, ViewError> {
        let is_opened = self.epochs.lock().get(&partition.0).is_some_and(|end| *end > 0);
        let opened = is_opened.then_some(Winner { writer: WRITER, epoch: 1 });
        Ok(LaneResume { opened, low_water: 1, ..LaneResume::default() })
    }

    fn accepted(&self, _partition: Partition, _lane: &str) -> Result<u64, ViewError> {
        Ok(u64::MAX)
    }
}

fn write_orders(log: &dyn Log, events: u64) -> anyhow::Result<()> {
    let mut open: Vec<(RecordBuf, u64)> = (0..log.partitions()).map(|_| (RecordBuf::new(), 1)).collect();
    let mut text = Texts::default();
    let flush = |partition: usize, records: &mut RecordBuf, seq: &mut u64| -> anyhow::Result<()> {
        let envelope = Envelope { source: "intake", epoch: 0, first_seq: *seq };
        log.append(Partition(partition as u16), &[Frame { topic: TOPIC, envelope, records }])?;
        *seq += records.len() as u64;
        records.clear();
        Ok(())
    };
    for index in 0..events {
        let award = Load::FRESH.award(index, &mut text);
        let at = usize::from(partition_of(award.act_id.as_bytes(), log.partitions()).0);
        let order = Order {
            order_no: award.order_no,
            act_id: award.act_id,
            reward_type: award.reward_type,
            reward_id: award.reward_id,
            asset: "CNY/2",
            amount_minor: award.amount_minor,
            accepted_at_ms: award.event_time_ms,
        };
        let (records, seq) = &mut open[at];
        records.push_with(|bytes| order.encode(bytes));
        if records.len() == FRAME_RECORDS {
            flush(at, records, seq)?;
        }
    }
    for (at, (records, seq)) in open.iter_mut().enumerate().filter(|(_, (records, _))| !records.is_empty()) {
        flush(at, records, seq)?;
    }
    wait_durable(log)
}

/// Measures.
pub fn run(place: &Workplace, events: u64) -> anyhow::Result<Report> {
    let topology = topology()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let log = open_log(&place.path("log"), segment_options(&topology), &clock)?;
    write_orders(&*log, events)?;
    let downstreams: BTreeMap<String, Box<dyn Downstream>> =
        BTreeMap::from([("instant".to_owned(), Box::new(Instant::default()) as Box<dyn Downstream>)]);
    let view = Arc::new(OwnJournal { log: Arc::clone(&log), epochs: Mutex::default() });
    let lane =
        LaneSpec { name: LANE.to_owned(), downstream: "instant".to_owned(), rate: None, query_rate: None };
    let spec = DispatcherSpec {
        partitions: (0..log.partitions()).map(Partition).collect(),
        lanes: vec![lane],
        pools: Vec::new(),
        writer: WRITER,
        seed: 1,
        policy: Policy::default(),
    };
    let ports = Ports { log: Arc::clone(&log), clock: Arc::clone(&clock), view, downstreams };
    let mut dispatcher = Dispatcher::open(spec, ports).context("dispatcher")?;
    let meter = Meter::start();
    let status = dispatcher.status();
    let mut draining = false;
    loop {
        let seen = log.progress().version();
        if !draining && status.lanes().iter().map(|lane| lane.counts.credited).sum::<u64>() >= events {
            dispatcher.drain();
            draining = true;
        }
        match dispatcher.step()? {
            Step::Worked(_) => {}
            Step::Drained => break,
            Step::Idle { wake_in } => log.progress().wait(seen, wake_in),
        }
    }
    let took = meter.took();
    let credited = credited_in_journal(&*log)?;
    ensure!(credited == events, "{credited} credits in the journal of {events}");
    Ok(Report {
        name: "dispatch",
        events,
        took,
        limit_events_per_s: None,
        params: json!({"partitions": log.partitions(), "max_items": MAX_ITEMS, "threads": 1, "sync_max_delay_ms": 5}),
        extra: Map::new(),
        not_included: "laying out the orders; the downstream's work, which answers at once. Included: intents and \
            outcomes, durable",
    })
}

fn credited_in_journal(log: &dyn Log) -> anyhow::Result<u64> {
    use hongbao_schemas::journal::CreditStage;
    let mut batch = ReadBatch::new();
    let mut credited = 0;
    for partition in (0..log.partitions()).map(Partition) {
        let (mut from, end) = log.range(partition, JOURNAL)?;
        while from < end {
            log.read(partition, JOURNAL, from, 1 << 20, &mut batch)?;
            for (_, record) in batch.frames().flat_map(|frame| frame.records()) {
                if let Fact::Credit(fact) = Fact::decode(record)?
                    && fact.stage == CreditStage::Credited
                {
                    credited += fact.ranges.total().cast_unsigned();
                }
            }
            from = batch.next_offset().unwrap_or(end);
        }
    }
    Ok(credited)
}
