//! What the conformance suite cannot see from outside: manual durability and planted faults.

use std::time::Duration;

use super::*;
use crate::clock::ManualClock;
use crate::records::{Envelope, RecordBuf};

const P0: Partition = Partition(0);

fn records(of: &[&str]) -> RecordBuf {
    let mut records = RecordBuf::new();
    for record in of {
        records.push(record.as_bytes());
    }
    records
}

fn append(log: &MemoryLog, topic: &str, of: &[&str]) -> Result<Appended, LogError> {
    let envelope = Envelope { source: "fold", epoch: 2, first_seq: 10 };
    log.append(P0, &[Frame { topic, envelope, records: &records(of) }])
}

fn read(log: &MemoryLog, topic: &str, from: Offset, max_bytes: usize) -> Vec<(Offset, u64, String)> {
    let mut batch = ReadBatch::new();
    log.read(P0, topic, from, max_bytes, &mut batch).unwrap();
    let mut seen = Vec::new();
    for frame in batch.frames() {
        for (index, (offset, bytes)) in frame.records().enumerate() {
            let seq = frame.envelope().first_seq + index as u64;
            seen.push((offset, seq, String::from_utf8_lossy(bytes).into_owned()));
        }
    }
    seen
}

fn texts(log: &MemoryLog, topic: &str) -> Vec<String> {
    let (start, _) = log.range(P0, topic).unwrap();
    read(log, topic, start, usize::MAX).into_iter().map(|(_, _, text)| text).collect()
}

#[test]
fn reads_whole_frames_from_any_record_on() {
    let log = MemoryLog::new(1, Arc::new(ManualClock::at(7)));
    append(&log, "t", &["a", "bb", "ccc"]).unwrap();
    append(&log, "t", &["d"]).unwrap();
    assert_eq!(log.range(P0, "t"), Ok((0, 4)));
    let bb = (1, 11, "bb".to_owned());
    let ccc = (2, 12, "ccc".to_owned());
    let d = (3, 10, "d".to_owned());
    let cases: [(Offset, usize, Vec<_>); 4] = [
        (1, 6, vec![bb.clone(), ccc.clone()]),
        (1, 7, vec![bb, ccc.clone(), d]),
        (2, 0, vec![ccc]),
        (4, 100, vec![]),
    ];
    for (from, max_bytes, expected) in cases {
        assert_eq!(read(&log, "t", from, max_bytes), expected, "from {from}, {max_bytes} bytes");
    }
    let error = log.read(P0, "t", 5, 1, &mut ReadBatch::new()).unwrap_err();
    assert!(matches!(error, LogError::OutOfRange { offset: 5, start: 0, end: 4, .. }));
    let unknown = log.range(Partition(1), "t").unwrap_err();
    assert_eq!(unknown, LogError::Invalid("there is no partition 1".to_owned()));
}

#[test]
fn a_frame_knows_when_it_was_appended() {
    let clock = Arc::new(ManualClock::at(7));
    let log = MemoryLog::new(1, clock.clone());
    append(&log, "t", &["a"]).unwrap();
    clock.advance(Duration::from_millis(5));
    append(&log, "t", &["b"]).unwrap();
    let mut batch = ReadBatch::new();
    log.read(P0, "t", 0, 100, &mut batch).unwrap();
    assert_eq!(batch.frames().map(|frame| frame.appended_at_ms()).collect::<Vec<_>>(), [7, 12]);
}

#[test]
fn groups_are_readable_only_when_synced_and_lost_by_a_crash_otherwise() {
    let log = MemoryLog::manual(1, Arc::new(ManualClock::at(0)));
    let positions: Vec<Position> =
        ["a", "b", "c"].iter().map(|record| append(&log, "t", &[record]).unwrap().position).collect();
    assert_eq!(texts(&log, "t"), [""; 0]);
    assert!(log.durable(P0).unwrap() < positions[0]);

    log.sync_groups(P0, 1);
    assert_eq!(texts(&log, "t"), ["a"]);
    assert!((positions[0]..positions[1]).contains(&log.durable(P0).unwrap()));

    log.crash();
    let again = append(&log, "t", &["d"]).unwrap();
    assert_eq!(again.first_offsets, [1]);
    log.sync();
    assert_eq!(texts(&log, "t"), ["a", "d"]);
    assert_eq!(log.durable(P0), Ok(again.position));
}

#[test]
fn a_sync_wakes_who_waits() {
    let log = MemoryLog::manual(1, Arc::new(ManualClock::at(0)));
    let before = log.progress().version();
    append(&log, "t", &["a"]).unwrap();
    assert_eq!(log.progress().version(), before);
    log.sync();
    assert_ne!(log.progress().version(), before);
}

#[test]
fn trims_whole_frames_below_the_floor() {
    let log = MemoryLog::new(1, Arc::new(ManualClock::at(0)));
    for of in [["a", "b"], ["c", "d"]] {
        append(&log, "t", &of).unwrap();
        append(&log, "kept", &of).unwrap();
    }
    for (floor, start) in [(1, 0), (2, 2), (3, 2), (4, 4), (9, 4)] {
        log.trim(P0, &[("t", floor), ("unknown", 1)]).unwrap();
        assert_eq!(log.range(P0, "t"), Ok((start, 4)), "floor {floor}");
    }
    assert_eq!(append(&log, "t", &["e"]).unwrap().first_offsets, [4]);
    assert_eq!(log.range(P0, "kept"), Ok((0, 4)));
}

#[test]
fn a_full_log_takes_nothing_and_goes_on_when_there_is_room() {
    let log = MemoryLog::new(1, Arc::new(ManualClock::at(0)));
    log.set_bytes_max(3);
    append(&log, "t", &["ab"]).unwrap();
    assert!(matches!(append(&log, "t", &["cd"]), Err(LogError::Full(_))));
    assert_eq!(texts(&log, "t"), ["ab"]);
    log.trim(P0, &[("t", 1)]).unwrap();
    append(&log, "t", &["cd"]).unwrap();
    assert_eq!(texts(&log, "t"), ["cd"]);
}

#[test]
fn planted_faults_are_seen_by_readers() {
    let log = MemoryLog::new(1, Arc::new(ManualClock::at(0)));
    append(&log, "t", &["a", "b", "c"]).unwrap();
    assert!(log.overwrite(P0, "t", 1, b"longer"));
    assert!(!log.overwrite(P0, "t", 3, b""));
    assert_eq!(texts(&log, "t"), ["a", "longer", "c"]);
    log.lose_from(P0, "t", 2);
    assert_eq!(texts(&log, "t"), ["a", "longer"]);
    assert_eq!(append(&log, "t", &["d"]).unwrap().first_offsets, [2]);
    log.fail(P0, "sync");
    assert_eq!(log.durable(P0), Err(LogError::Failed("sync".to_owned())));
    assert_eq!(append(&log, "t", &["e"]), Err(LogError::Failed("sync".to_owned())));
}
