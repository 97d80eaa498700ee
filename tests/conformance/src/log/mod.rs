//! What every [`Log`] promises. [`suite`] runs all checks of a running log, [`persistent_suite`]
//! also those of one that is closed and opened again.
//!
//! A check takes a fresh log of at least two partitions that accepts groups of 256 KiB.

mod concurrent;
mod kept;
mod reading;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::log::{Appended, Log, LogError, Position};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, Offset, ReadBatch, RecordBuf};

pub use concurrent::{groups_become_readable_whole, only_durable_records_are_readable, producers_on_threads};
pub use kept::{reopen_keeps_everything, trim_keeps_what_is_not_given_up};
pub use reading::{
    boundary_values, groups_keep_their_order, invalid_calls_change_nothing, many_topics,
    partitions_do_not_mix, read_limits, reads_begin_inside_frames, records_come_back_as_written,
};

const ZERO: Partition = Partition(0);
const ONE: Partition = Partition(1);
const WAIT_STEP: Duration = Duration::from_millis(20);
const WAIT_STEPS_MAX: usize = 1_000;
const ALL_BYTES: usize = usize::MAX;

type Check = fn(&Arc<dyn Log>);

const CHECKS: [(&str, Check); 12] = [
    ("boundary_values", boundary_values),
    ("invalid_calls_change_nothing", invalid_calls_change_nothing),
    ("records_come_back_as_written", records_come_back_as_written),
    ("groups_keep_their_order", groups_keep_their_order),
    ("partitions_do_not_mix", partitions_do_not_mix),
    ("reads_begin_inside_frames", reads_begin_inside_frames),
    ("read_limits", read_limits),
    ("many_topics", many_topics),
    ("only_durable_records_are_readable", only_durable_records_are_readable),
    ("groups_become_readable_whole", groups_become_readable_whole),
    ("producers_on_threads", producers_on_threads),
    ("trim_keeps_what_is_not_given_up", trim_keeps_what_is_not_given_up),
];

/// Runs every check of a running log, each over a log that `make` opens in an empty directory.
///
/// # Panics
/// With the check and the reason when a promise is broken.
pub fn suite(make: impl Fn(&Path) -> Arc<dyn Log>) {
    for (name, check) in CHECKS {
        let dir = directory();
        check(&make(dir.path()));
        println!("log conformance: {name} holds");
    }
}

/// [`suite`], and what must hold when the log at a path is dropped and opened again.
///
/// # Panics
/// With the check and the reason when a promise is broken.
pub fn persistent_suite(make: impl Fn(&Path) -> Arc<dyn Log>) {
    suite(&make);
    reopen_keeps_everything(&make);
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}"))
}

fn ok<T>(result: Result<T, LogError>, doing: &str) -> T {
    result.unwrap_or_else(|error| panic!("{doing}: {error}"))
}

/// Records `{tag}-{first}`, `{tag}-{first+1}`, ...
fn records(tag: &str, first: u64, count: u64) -> RecordBuf {
    let mut buf = RecordBuf::new();
    for number in first..first + count {
        buf.push(format!("{tag}-{number}").as_bytes());
    }
    buf
}

fn produced<'a>(topic: &'a str, records: &'a RecordBuf) -> Frame<'a> {
    Frame { topic, envelope: Envelope::PRODUCER, records }
}

fn append(log: &dyn Log, partition: Partition, group: &[Frame<'_>]) -> Appended {
    ok(log.append(partition, group), "append")
}

/// Appends and waits until the group is durable.
fn append_durably(log: &dyn Log, partition: Partition, group: &[Frame<'_>]) -> Appended {
    let appended = append(log, partition, group);
    wait_durable(log, partition, appended.position);
    appended
}

fn wait_durable(log: &dyn Log, partition: Partition, position: Position) {
    for _ in 0..WAIT_STEPS_MAX {
        let seen = log.progress().version();
        if ok(log.durable(partition), "durable") >= position {
            return;
        }
        log.progress().wait(seen, WAIT_STEP);
    }
    panic!("{position:?} of partition {partition} did not become durable");
}

/// One record as read, with all that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    offset: Offset,
    source: String,
    epoch: u32,
    seq: u64,
    appended_at_ms: i64,
    bytes: Vec<u8>,
}

fn range(log: &dyn Log, partition: Partition, topic: &str) -> (Offset, Offset) {
    ok(log.range(partition, topic), "range")
}

fn read(log: &dyn Log, partition: Partition, topic: &str, from: Offset, max_bytes: usize) -> Vec<Record> {
    let mut batch = ReadBatch::new();
    ok(log.read(partition, topic, from, max_bytes, &mut batch), "read");
    let mut out = Vec::new();
    for frame in batch.frames() {
        let envelope = frame.envelope();
        for (index, (offset, bytes)) in frame.records().enumerate() {
            let seq = if envelope.first_seq > 0 { envelope.first_seq + index as u64 } else { 0 };
            out.push(Record {
                offset,
                source: envelope.source.to_owned(),
                epoch: envelope.epoch,
                seq,
                appended_at_ms: frame.appended_at_ms(),
                bytes: bytes.to_vec(),
            });
        }
    }
    assert_eq!(out.len(), batch.record_count(), "frames that hold less than they say");
    let next = out.last().map(|record| record.offset + 1);
    assert_eq!(batch.next_offset(), next, "next_offset is not the one after the last record");
    out
}

/// Reads a topic from its start to its end, at least one frame at a time.
fn read_all(log: &dyn Log, partition: Partition, topic: &str, max_bytes: usize) -> Vec<Record> {
    let (start, end) = range(log, partition, topic);
    let mut all = Vec::new();
    let mut next = start;
    while next < end {
        let some = read(log, partition, topic, next, max_bytes);
        assert!(!some.is_empty(), "nothing at {next} of {topic}, which ends at {end}");
        for record in some {
            assert_eq!(record.offset, next, "offsets of {topic} are not consecutive");
            next += 1;
            all.push(record);
        }
    }
    all
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.bytes).into_owned()).collect()
}
