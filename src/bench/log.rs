//! Awards appended to the segment log durably, then read back.

use std::sync::Arc;

use anyhow::ensure;
use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::ReadBatch;
use hongbao_processors::intake::AWARDS;
use serde_json::{Map, json};

use super::Workplace;
use super::load::{Frames, Load, topology, wait_durable};
use super::measure::{Meter, Report};
use crate::assemble::{open_log, segment_options};

/// Awards in memory at a time.
const PART: u64 = 1_000_000;
const READ_BYTES: usize = 1 << 20;

/// Measures.
pub fn run(place: &Workplace, events: u64) -> anyhow::Result<Report> {
    let topology = topology()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let log = open_log(&place.path("log"), segment_options(&topology), &clock)?;
    let rounds = events.div_ceil(PART);
    let frames = Frames::make(Load::FRESH, 0, PART, log.partitions());
    let bytes: usize = frames.frames.iter().map(|(_, records)| records.byte_len()).sum();
    let meter = Meter::start();
    for _ in 0..rounds {
        frames.append(&*log)?;
    }
    wait_durable(&*log)?;
    let took = meter.took();
    let meter = Meter::start();
    let read = read_all(&*log)?;
    let read_took = meter.took();
    let events = rounds * PART;
    ensure!(read == events, "{read} records came back of {events}");
    let mut extra = Map::new();
    extra.insert("read_events_per_s".to_owned(), json!((read as f64 / read_took.wall_s).round()));
    extra.insert("append_mb_per_s".to_owned(), json!((bytes as u64 * rounds) as f64 / 1e6 / took.wall_s));
    Ok(Report {
        name: "log",
        events,
        took,
        limit_events_per_s: None,
        params: json!({
            "partitions": log.partitions(), "record_bytes": bytes as u64 / PART, "frame_records": 1000,
            "sync_max_delay_ms": 5, "producers": 1,
        }),
        extra,
        not_included: "making the awards; one thread appends, the sync thread runs beside it",
    })
}

fn read_all(log: &dyn Log) -> anyhow::Result<u64> {
    let mut batch = ReadBatch::new();
    let mut count = 0;
    for partition in (0..log.partitions()).map(Partition) {
        let (mut from, end) = log.range(partition, AWARDS)?;
        while from < end {
            log.read(partition, AWARDS, from, READ_BYTES, &mut batch)?;
            count += batch.record_count() as u64;
            from = batch.next_offset().unwrap_or(end);
        }
    }
    Ok(count)
}
