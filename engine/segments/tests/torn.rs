//! What is left of a log after a torn write or a flipped bit: the groups before, or a clear error.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use hongbao_engine::log::LogError;
use hongbao_segments::SegmentLog;
use proptest::prelude::*;
use support::{
    Contents, ZERO, append_groups, contents, copied, expected, group, open, scenarios, segments, small,
    try_contents, try_open, wait_sealed,
};

/// Where the last group of a one-segment log lies, with the last byte that matters.
fn last_group(file: &Path, before: &[u8]) -> Range<usize> {
    let after = fs::read(file).unwrap();
    let start = (0..after.len()).find(|at| after[*at] != before.get(*at).copied().unwrap_or(0)).unwrap();
    let end = after.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    start..end
}

/// A log of `count` groups as a killed process leaves it, its file and the place of the last group.
fn killed(count: u64) -> (tempfile::TempDir, PathBuf, Range<usize>) {
    let dir = support::directory();
    let log = open(dir.path(), small());
    append_groups(&log, 0..count - 1);
    let before = fs::read(&segments(dir.path())[0]).unwrap();
    append_groups(&log, count - 1..count);
    let copy = copied(dir.path());
    let file = segments(copy.path()).pop().unwrap();
    let last = last_group(&file, &before);
    (copy, file, last)
}

#[test]
fn a_group_torn_at_any_byte_is_cut_off_as_a_whole() {
    let (dir, file, last) = killed(6);
    let good = fs::read(&file).unwrap();
    let without = expected((0..5).map(group));
    for at in last.clone() {
        let zeroed = [&good[..at], &vec![0; good.len() - at]].concat();
        let garbage = [&good[..at], &vec![0xa7; 900], &good[at + 900..]].concat();
        for (how, bytes) in [("zeros", zeroed), ("garbage", garbage)] {
            fs::write(&file, &bytes).unwrap();
            let (log, recovery) = try_open(dir.path(), small()).unwrap();
            assert_eq!(contents(&log), without, "{how} at {at}");
            assert_eq!(recovery.partitions[0].damage, None);
            let empty = how != "garbage" && at == last.start;
            assert_eq!(recovery.partitions[0].cut.is_none(), empty, "{how} at {at}: {recovery:?}");
            drop(log);
        }
        let read_only = [&good[..at], &[0xa7; 50], &good[at + 50..]].concat();
        fs::write(&file, &read_only).unwrap();
        let (log, _) = SegmentLog::open_read_only(dir.path()).unwrap();
        assert_eq!(contents(&log), without);
        assert_eq!(fs::read(&file).unwrap(), read_only, "reading changed the file");
    }
}

#[test]
fn what_was_cut_off_stays_dead_when_its_place_is_written_again() {
    // The torn group's later frames are sound, and the new group's first frame ends exactly where
    // one of them begins.
    let (dir, file, last) = killed(6);
    let mut bytes = fs::read(&file).unwrap();
    bytes[last.start + 300] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let log = open(dir.path(), small());
    let cut = fs::read(&file).unwrap().split_off(last.start);
    assert!(cut.iter().all(|byte| *byte == 0), "what was cut off is still in the file");
    let single = vec![group(5).remove(0)];
    let position = support::append(&log, &single);
    support::wait_durable(&log, ZERO, position).unwrap();
    let all = expected((0..5).map(group).chain([single]));
    assert_eq!(contents(&log), all);
    let again = copied(dir.path());
    drop(log);
    for dir in [dir.path(), again.path()] {
        assert_eq!(contents(&open(dir, small())), all);
    }
}

/// A log of several segments: as a killed process leaves it, and closed.
fn logs() -> [(tempfile::TempDir, bool); 2] {
    let dir = support::directory();
    let log = open(dir.path(), small());
    append_groups(&log, 0..120);
    wait_sealed(dir.path(), small().segment_bytes);
    append_groups(&log, 120..124);
    assert!(segments(dir.path()).len() >= 3, "the log must span segments");
    let killed = copied(dir.path());
    drop(log);
    [(killed, false), (dir, true)]
}

/// What opening and reading gave: the contents, whether something was cut, or an error's text.
fn outcome(dir: &Path) -> Result<(Contents, bool), String> {
    let (log, recovery) = try_open(dir, small()).map_err(|error| error.to_string())?;
    let found = try_contents(&log, ZERO);
    if let Some(damage) = &recovery.partitions[0].damage {
        assert!(matches!(found, Err(LogError::Corrupt { .. })), "damage that is not told: {damage}");
        let refused = support::try_append(&log, ZERO, &group(0));
        assert!(matches!(refused, Err(LogError::Corrupt { .. })), "{refused:?}");
    }
    let contents = found.map_err(|error| {
        assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
        error.to_string()
    })?;
    Ok((contents, recovery.partitions[0].cut.is_some()))
}

/// What damage may do to a log that nothing outside of it proves to have been longer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Allowed {
    /// Nothing but an error.
    Whole,
    /// The groups after the last wait for a sync may be gone, if that is told.
    ToldCut,
    /// They may be gone as if never written.
    Cut,
}

fn is_honest(result: Result<(Contents, bool), String>, allowed: Allowed) -> Result<(), String> {
    let whole = expected((0..124).map(group));
    match result {
        Err(_) => Ok(()),
        Ok((contents, _)) if contents == whole => Ok(()),
        Ok((contents, told)) if allowed == Allowed::Cut || (told && allowed == Allowed::ToldCut) => {
            let least = if allowed == Allowed::ToldCut { 120 } else { 0 };
            let shorter = (least..124).rev().any(|count| contents == expected((0..count).map(group)));
            shorter.then_some(()).ok_or_else(|| "not a prefix of the groups".to_owned())
        }
        Ok((_, told)) => Err(format!("silently different (cut: {told}, allowed: {allowed:?})")),
    }
}

fn damage(dir: &Path, which: u64, place: u64, change: impl Fn(&mut Vec<u8>, usize)) -> tempfile::TempDir {
    let copy = copied(dir);
    let mut paths = segments(copy.path());
    paths.push(copy.path().join("meta"));
    let path = &paths[(which % paths.len() as u64) as usize];
    let mut bytes = fs::read(path).unwrap();
    // Most places behind the end of the last segment were never written: prefer what was.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 64;
    let at = (place % used.min(bytes.len()) as u64) as usize;
    change(&mut bytes, at);
    fs::write(path, bytes).unwrap();
    copy
}

#[test]
fn a_changed_log_is_equal_or_cut_or_says_that_it_is_damaged() {
    let logs = logs();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let changes = (any::<u64>(), any::<u64>(), 1..=255_u8, 0..4_u8, 1..2_000_usize);
    let run = runner.run(&changes, |(which, place, flip, kind, len)| {
        for (dir, closed) in &logs {
            let damaged = damage(dir.path(), which, place, |bytes, at| match kind {
                0 | 1 => bytes[at] ^= flip,
                2 => bytes.iter_mut().skip(at).take(len).for_each(|byte| *byte = 0),
                _ => bytes.truncate(at),
            });
            // A log of which the end is gone is the log of a machine that stopped earlier.
            let allowed = match (kind, closed) {
                (0 | 1, true) => Allowed::Whole,
                (0 | 1, false) => Allowed::ToldCut,
                _ => Allowed::Cut,
            };
            is_honest(outcome(damaged.path()), allowed).map_err(TestCaseError::fail)?;
        }
        Ok(())
    });
    run.unwrap();
}

#[test]
fn damage_in_one_partition_leaves_the_others_alone() {
    scenarios::damage_in_one_partition();
}

#[test]
fn damage_met_while_reading_stops_the_partition() {
    let [(dir, _), _] = logs();
    let log = open(dir.path(), small());
    assert_eq!(contents(&log), expected((0..124).map(group)));
    let file = &segments(dir.path())[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[64 + 256 + 3] ^= 1;
    fs::write(file, bytes).unwrap();
    let error = try_contents(&log, ZERO).unwrap_err();
    assert!(matches!(&error, LogError::Corrupt { what, .. } if what.contains("0000000001.seg")), "{error}");
    assert_eq!(support::try_append(&log, ZERO, &group(0)), Err(error.clone()));
    assert_eq!(hongbao_engine::log::Log::range(&log, ZERO, "journal"), Err(error));
}
