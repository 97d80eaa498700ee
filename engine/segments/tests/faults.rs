//! A device that fails ends the log with a clear error and is never asked again; a full disk is
//! told, appends nothing, and passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::records::ReadBatch;
use hongbao_segments::SegmentLog;
use support::faulty::{Fault, FaultyDevice};
use support::{
    Group, ZERO, append, append_groups, contents, expected, group, open, open_over, segments, small,
    try_append, try_contents, wait_durable,
};

fn faulty() -> (tempfile::TempDir, Arc<FaultyDevice>, SegmentLog) {
    let dir = support::directory();
    let device = Arc::new(FaultyDevice::default());
    let (log, _) = open_over(dir.path(), small(), Arc::clone(&device) as _).unwrap();
    (dir, device, log)
}

/// Every call gives the same error.
fn assert_failed(log: &SegmentLog, expected: &LogError) {
    let mut batch = ReadBatch::new();
    let errors = [
        try_append(log, ZERO, &group(0)).err(),
        log.durable(ZERO).err(),
        log.range(ZERO, "journal").err(),
        log.read(ZERO, "journal", 0, 1, &mut batch).err(),
        log.trim(ZERO, &[]).err(),
    ];
    for error in errors {
        assert_eq!(error.as_ref(), Some(expected));
    }
}

#[test]
fn a_failed_sync_is_final() {
    for (fault, what) in [(Fault::Sync, "syncing partition 0"), (Fault::SyncDir, "syncing partition 0")] {
        let (dir, device, log) = faulty();
        append_groups(&log, 0..5);
        device.set(Some(fault));
        let before = log.progress().version();
        // Only a new segment makes the directory dirty.
        let error = (5..200)
            .find_map(|number| {
                let position = try_append(&log, ZERO, &group(number));
                position.and_then(|position| wait_durable(&log, ZERO, position)).err()
            })
            .unwrap();
        assert!(matches!(&error, LogError::Failed(found) if found.contains(what)), "{error}");
        assert!(error.to_string().contains("the disk is gone"), "{error}");
        assert!(log.progress().version() > before, "those who wait must be woken");
        assert_failed(&log, &error);
        device.set(None);
        let syncs = device.syncs.load(Ordering::SeqCst);
        assert_failed(&log, &error);
        drop(log);
        assert_eq!(device.syncs.load(Ordering::SeqCst), syncs, "a failed sync was tried again");
        // What was readable is there; what was not may be.
        let found = contents(&open(dir.path(), small()));
        let kept = found["orders.cash"].1.len() as u64;
        assert!(kept >= 5);
        assert_eq!(found, expected((0..kept).map(group)));
    }
}

#[test]
fn a_sync_that_failed_once_is_not_tried_again() {
    support::scenarios::a_sync_that_fails_once();
}

#[test]
fn a_failed_write_is_final() {
    let (dir, device, log) = faulty();
    append_groups(&log, 0..5);
    device.set(Some(Fault::Write));
    let error = try_append(&log, ZERO, &group(5)).unwrap_err();
    assert!(matches!(&error, LogError::Failed(what) if what.contains("0000000001.seg")), "{error}");
    device.set(None);
    assert_failed(&log, &error);
    let file = std::fs::read(&segments(dir.path())[0]).unwrap();
    drop(log);
    assert!(std::fs::read(&segments(dir.path())[0]).unwrap() == file, "written to after a failure");
    assert_eq!(contents(&open(dir.path(), small())), expected((0..5).map(group)));
}

/// Appends groups until one is refused, and returns its number.
fn fill(log: &SegmentLog, from: u64) -> (u64, LogError) {
    (from..from + 1_000)
        .find_map(|number| try_append(log, ZERO, &group(number)).err().map(|error| (number, error)))
        .unwrap()
}

#[test]
fn a_full_disk_passes() {
    for fault in [Fault::Allocate, Fault::Create, Fault::Full(0), Fault::Full(100), Fault::Full(300)] {
        let (dir, device, log) = faulty();
        append_groups(&log, 0..5);
        device.set(Some(fault));
        let (refused, error) = fill(&log, 5);
        assert!(matches!(&error, LogError::Full(what) if what.contains("p-0000")), "{error}");
        if refused > 5 {
            assert_eq!(fill(&log, refused), (refused, error), "{fault:?}: it stays full");
        }
        let last = refused.checked_sub(1).unwrap();
        let end = log.range(ZERO, "orders.cash").unwrap().1;
        assert!(end <= last + 1, "{fault:?}: a refused group is readable");

        device.set(None);
        append_groups(&log, refused..refused + 60);
        let all = expected((0..refused + 60).map(group));
        assert_eq!(contents(&log), all, "{fault:?}");
        let killed = support::copied(dir.path());
        drop(log);
        assert_eq!(contents(&open(dir.path(), small())), all, "{fault:?}, closed");
        assert_eq!(contents(&open(killed.path(), small())), all, "{fault:?}, killed");
    }
}

#[test]
fn a_full_disk_at_the_first_append_after_opening_passes() {
    let (dir, device, log) = faulty();
    append_groups(&log, 0..5);
    drop(log);
    device.set(Some(Fault::Allocate));
    let (log, _) = open_over(dir.path(), small(), Arc::clone(&device) as _).unwrap();
    assert_eq!(contents(&log), expected((0..5).map(group)), "a full disk must not hinder reading");
    assert!(matches!(try_append(&log, ZERO, &group(5)), Err(LogError::Full(_))));
    device.set(None);
    append_groups(&log, 5..6);
    assert_eq!(contents(&log), expected((0..6).map(group)));
}

#[test]
fn a_group_given_up_half_written_never_comes_alive() {
    // The first frames of the refused group are on the disk. The next group begins with a frame of
    // the same length, so that a sound later frame of the refused one follows it directly.
    let frame = |text: &str| ("journal", vec![text.to_owned()]);
    let refused: Group = vec![frame("refused 0"), frame("refused 1"), frame("refused 2")];
    for written in [320, 640, 641, 900, 959] {
        let (dir, device, log) = faulty();
        append_groups(&log, 0..3);
        device.set(Some(Fault::Full(written)));
        let error = try_append(&log, ZERO, &refused).unwrap_err();
        assert!(matches!(error, LogError::Full(_)), "{written}: {error}");
        device.set(None);
        let accepted: Group = vec![frame("instead 0")];
        let position = append(&log, &accepted);
        wait_durable(&log, ZERO, position).unwrap();
        let killed = support::copied(dir.path());
        let all = expected((0..3).map(group).chain([accepted]));
        assert_eq!(contents(&open(killed.path(), small())), all, "{written}");
        drop(log);
        assert_eq!(contents(&open(dir.path(), small())), all, "{written}");
    }
}

#[test]
fn a_segment_is_sealed_once_there_is_space_for_its_footer() {
    let (dir, device, log) = faulty();
    device.set(Some(Fault::Footer));
    append_groups(&log, 0..100);
    let full = segments(dir.path());
    assert!(full.len() > 3);
    for path in &full {
        let len = std::fs::metadata(path).unwrap().len();
        assert_eq!(len, small().segment_bytes, "sealed without a footer");
    }
    assert_eq!(contents(&log), expected((0..100).map(group)));
    let killed = support::copied(dir.path());
    assert_eq!(contents(&open(killed.path(), small())), expected((0..100).map(group)));
    support::wait_sealed(killed.path(), small().segment_bytes);

    device.set(None);
    append_groups(&log, 100..101);
    support::wait_sealed(dir.path(), small().segment_bytes);
    assert_eq!(contents(&log), expected((0..101).map(group)));
}

#[test]
fn a_group_above_the_limit_is_refused_and_the_largest_one_fits() {
    let dir = support::directory();
    let log = open(dir.path(), small());
    append_groups(&log, 0..2);
    let sized = |len: usize| -> Group { vec![("awards", vec!["a".repeat(len)])] };
    let Err(LogError::GroupTooLarge { bytes, max_bytes }) = try_append(&log, ZERO, &sized(16_000)) else {
        panic!("a group as large as the segment was taken");
    };
    assert!(bytes > max_bytes && max_bytes > 15_000, "{bytes} {max_bytes}");
    assert!(matches!(try_append(&log, ZERO, &sized(1 << 20)), Err(LogError::GroupTooLarge { .. })));
    let largest = sized(max_bytes / 64 * 64 - 260);
    let groups = [group(0), group(1), largest.clone(), largest, group(2)];
    for group in &groups[2..] {
        let position = append(&log, group);
        wait_durable(&log, ZERO, position).unwrap();
    }
    assert_eq!(try_contents(&log, ZERO), Ok(expected(groups.clone())));
    support::wait_sealed(dir.path(), small().segment_bytes);
    drop(log);
    assert_eq!(contents(&open(dir.path(), small())), expected(groups));
    assert_eq!(segments(dir.path()).len(), 4);
}
