//! Trimming gives up whole segments, keeps offsets, and reuses files without their past.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::records::ReadBatch;
use hongbao_segments::SPARES_MAX;
use support::scenarios::{self, from_starts, log_of, trim};
use support::{
    ZERO, append_groups, contents, copied, expected, files, group, open, segments, small, try_contents,
    wait_sealed,
};

#[test]
fn drops_only_segments_that_every_topic_gives_up() {
    let dir = support::directory();
    let log = log_of(dir.path(), 200);
    let before = segments(dir.path());
    log.trim(ZERO, &[("journal", u64::MAX)]).unwrap();
    log.trim(ZERO, &[("journal", u64::MAX), ("orders.cash", 0)]).unwrap();
    assert_eq!(segments(dir.path()), before, "orders were not given up");
    let mut kept = before.len();
    for orders in (0..200).step_by(20) {
        trim(&log, orders);
        let found = contents(&log);
        assert_eq!(found, from_starts(expected((0..200).map(group)), &found));
        assert!(found["orders.cash"].0 <= orders, "more than given up");
        let now = segments(dir.path()).len();
        assert!(now <= kept);
        kept = now;
    }
    assert!(kept < before.len() / 2, "{kept} of {} segments are left", before.len());
    trim(&log, 10_000);
    assert_eq!(segments(dir.path()).len(), 1, "the last segment stays");
}

#[test]
fn offsets_go_on_after_everything_was_given_up() {
    let dir = support::directory();
    let log = log_of(dir.path(), 100);
    trim(&log, 10_000);
    let ends = [log.range(ZERO, "journal").unwrap().1, log.range(ZERO, "orders.cash").unwrap().1];
    assert_eq!(ends, [199, 100]);
    drop(log);
    let log = open(dir.path(), small());
    let found = contents(&log);
    assert_eq!(found, from_starts(expected((0..100).map(group)), &found));
    append_groups(&log, 100..130);
    let found = contents(&log);
    assert_eq!(found, from_starts(expected((0..130).map(group)), &found));
    assert_eq!(log.range(ZERO, "awards"), Ok((0, 0)), "a topic never written");
}

#[test]
fn files_are_written_again_without_their_past() {
    let dir = support::directory();
    let mut log = log_of(dir.path(), 100);
    let mut next = 100;
    for round in 0..12 {
        trim(&log, next - 20);
        assert!(files(dir.path(), "spare").len() <= SPARES_MAX);
        append_groups(&log, next..next + 50);
        next += 50;
        wait_sealed(dir.path(), small().segment_bytes);
        let killed = copied(dir.path());
        let recycled = open(killed.path(), small());
        let found = contents(&recycled);
        assert_eq!(found, from_starts(expected((0..next).map(group)), &found), "round {round}, killed");
        drop(recycled);
        if round % 3 == 2 {
            drop(log);
            log = open(dir.path(), small());
        }
        let found = contents(&log);
        assert_eq!(found, from_starts(expected((0..next).map(group)), &found), "round {round}");
    }
    let bytes: u64 = segments(dir.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes < 20 * small().segment_bytes, "{bytes} bytes are kept");
}

#[test]
fn a_torn_group_over_an_old_one_is_cut_off() {
    scenarios::torn_over_an_old_group();
}

#[test]
fn readers_of_what_is_trimmed_are_told_so() {
    let dir = support::directory();
    let log = Arc::new(log_of(dir.path(), 50));
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (log, done) = (Arc::clone(&log), Arc::clone(&done));
            thread::spawn(move || {
                let (mut batch, mut reads, mut late) = (ReadBatch::new(), 0_u64, 0_u64);
                while !done.load(Ordering::SeqCst) {
                    let (start, _) = log.range(ZERO, "orders.cash").unwrap();
                    match log.read(ZERO, "orders.cash", start, 1_000, &mut batch) {
                        Ok(()) => reads += 1,
                        Err(LogError::OutOfRange { .. }) => late += 1,
                        Err(error) => panic!("{error}"),
                    }
                    for (offset, bytes) in batch.frames().flat_map(|frame| frame.records()) {
                        assert_eq!(bytes, format!("order {offset}").as_bytes());
                    }
                }
                (reads, late)
            })
        })
        .collect();
    for round in 1..40_u64 {
        append_groups(&*log, round * 50..(round + 1) * 50);
        trim(&log, round * 50);
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        let (reads, late) = reader.join().unwrap();
        assert!(reads > 0, "nothing was read ({late} reads came late)");
    }
    assert!(try_contents(&*log, ZERO).is_ok());
}
