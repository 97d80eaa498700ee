//! What may be opened, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use std::fs;
use std::path::Path;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_segments::{OpenError, SegmentLog, SegmentOptions};
use support::{
    ZERO, append_groups, contents, copied, expected, group, open, segments, small, try_append, try_contents,
    try_open, wait_durable, wait_sealed,
};

fn refused(dir: &Path, options: SegmentOptions) -> OpenError {
    match try_open(dir, options) {
        Ok((_, recovery)) => panic!("opened: {recovery:?}"),
        Err(error) => error,
    }
}

#[test]
fn one_process_at_a_time() {
    let dir = support::directory();
    let log = open(dir.path(), small());
    append_groups(&log, 0..3);
    assert!(matches!(refused(dir.path(), small()), OpenError::Locked { .. }));
    assert!(matches!(SegmentLog::open_read_only(dir.path()), Err(OpenError::Locked { .. })));
    drop(log);
    let (reader, _) = SegmentLog::open_read_only(dir.path()).unwrap();
    let (second, _) = SegmentLog::open_read_only(dir.path()).unwrap();
    assert!(matches!(refused(dir.path(), small()), OpenError::Locked { .. }));
    assert_eq!(contents(&reader), contents(&second));
    drop((reader, second));
    open(dir.path(), small());
}

#[test]
fn a_reader_changes_nothing_and_refuses_to() {
    let dir = support::directory();
    let log = open(dir.path(), small());
    append_groups(&log, 0..60);
    wait_sealed(dir.path(), small().segment_bytes);
    let killed = copied(dir.path());
    drop(log);
    for dir in [dir.path(), killed.path()] {
        let before: Vec<Vec<u8>> = segments(dir).iter().map(|path| fs::read(path).unwrap()).collect();
        let (log, recovery) = SegmentLog::open_read_only(dir).unwrap();
        assert_eq!(contents(&log), expected((0..60).map(group)));
        assert_eq!(recovery.partitions[0].end, log.durable(ZERO).unwrap());
        assert!(matches!(try_append(&log, ZERO, &group(0)), Err(LogError::Failed(_))));
        assert!(matches!(log.trim(ZERO, &[]), Err(LogError::Failed(_))));
        drop(log);
        let after: Vec<Vec<u8>> = segments(dir).iter().map(|path| fs::read(path).unwrap()).collect();
        assert!(before == after, "reading changed a file");
    }
    let empty = support::directory();
    assert!(matches!(SegmentLog::open_read_only(empty.path()), Err(OpenError::NotALog { .. })));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn the_partition_count_is_fixed() {
    let dir = support::directory();
    drop(open(dir.path(), SegmentOptions { partitions: 4, ..small() }));
    for asked in [1, 3, 5] {
        let error = refused(dir.path(), SegmentOptions { partitions: asked, ..small() });
        let fits =
            matches!(error, OpenError::Partitions { found: 4, asked: refused, .. } if refused == asked);
        assert!(fits, "{error}");
    }
    open(dir.path(), SegmentOptions { partitions: 4, ..small() });
}

#[test]
fn options_are_checked() {
    let cases = [
        SegmentOptions { partitions: 0, ..small() },
        SegmentOptions { partitions: 5_000, ..small() },
        SegmentOptions { segment_bytes: 100, ..small() },
        SegmentOptions { segment_bytes: 1 << 40, ..small() },
    ];
    for options in cases {
        let dir = support::directory();
        let what = format!("{options:?}");
        assert!(matches!(refused(dir.path(), options), OpenError::Options(_)), "{what}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{what}");
    }
}

/// A log of a few sealed segments, closed.
fn several_segments() -> tempfile::TempDir {
    let dir = support::directory();
    let log = open(dir.path(), small());
    append_groups(&log, 0..100);
    wait_sealed(dir.path(), small().segment_bytes);
    drop(log);
    assert!(segments(dir.path()).len() >= 4);
    dir
}

#[test]
fn files_that_are_missing_or_do_not_belong_are_refused() {
    type Change = fn(&Path, &Path);
    let cases: [(&str, Change); 9] = [
        ("this segment is missing", |dir, _| fs::remove_file(&segments(dir)[1]).unwrap()),
        ("this segment is missing", |dir, _| fs::remove_file(segments(dir).last().unwrap()).unwrap()),
        ("all its segments are missing", |dir, _| {
            segments(dir).iter().for_each(|path| fs::remove_file(path).unwrap());
        }),
        ("p-0000: No such file or directory", |dir, _| fs::remove_dir_all(dir.join("p-0000")).unwrap()),
        ("it belongs to another log", |dir, other| {
            fs::copy(&segments(other)[1], &segments(dir)[1]).unwrap();
        }),
        ("it belongs to another log", |dir, other| {
            fs::copy(other.join("meta"), dir.join("meta")).unwrap();
        }),
        ("it has no meta file, but holds p-0000", |dir, _| fs::remove_file(dir.join("meta")).unwrap()),
        ("is not a log", |dir, _| fs::write(dir.join("meta"), "# settings of something\n").unwrap()),
        ("it is not a file of the log", |dir, _| fs::write(dir.join("p-0000/notes.txt"), "").unwrap()),
    ];
    let other = several_segments();
    for (what, change) in cases {
        let dir = several_segments();
        change(dir.path(), other.path());
        let error = refused(dir.path(), small()).to_string();
        assert!(error.contains(what), "{error}, instead of: {what}");
        let error = SegmentLog::open_read_only(dir.path()).err().unwrap().to_string();
        assert!(error.contains(what) || error.contains("its creation was not finished"), "{error}");
    }
}

#[test]
fn a_segment_of_another_partition_is_refused() {
    let dir = support::directory();
    let options = SegmentOptions { partitions: 2, ..small() };
    drop(open(dir.path(), options.clone()));
    fs::copy(dir.path().join("p-0001/0000000001.seg"), dir.path().join("p-0000/0000000001.seg")).unwrap();
    let error = refused(dir.path(), options).to_string();
    assert!(error.ends_with("0000000001.seg: it belongs to partition 1"), "{error}");
}

#[test]
fn an_older_copy_of_a_segment_is_damage() {
    // A segment restored from a backup taken while it was written to.
    let dir = support::directory();
    let log = open(dir.path(), small());
    append_groups(&log, 0..3);
    let backup = copied(dir.path());
    append_groups(&log, 3..100);
    drop(log);
    fs::copy(&segments(backup.path())[0], &segments(dir.path())[0]).unwrap();
    let (log, recovery) = try_open(dir.path(), small()).unwrap();
    assert!(recovery.partitions[0].damage.is_some());
    assert!(matches!(try_contents(&log, ZERO), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_creation_that_was_interrupted_is_finished() {
    let dir = support::directory();
    let options = SegmentOptions { partitions: 3, ..small() };
    drop(open(dir.path(), options.clone()));
    let meta = fs::read_to_string(dir.path().join("meta")).unwrap();
    let unready = meta.replace("ready yes", "ready no");
    let (text, _) = unready.split_once("crc32c").unwrap();
    let crc = crc32c::crc32c(text.as_bytes());
    fs::write(dir.path().join("meta"), format!("{text}crc32c {crc:08x}\n")).unwrap();
    fs::remove_file(dir.path().join("p-0001/0000000001.seg")).unwrap();
    fs::remove_dir_all(dir.path().join("p-0002")).unwrap();
    assert!(matches!(SegmentLog::open_read_only(dir.path()), Err(OpenError::NotALog { .. })));
    let log = open(dir.path(), options);
    for partition in 0..3 {
        let position = try_append(&log, Partition(partition), &group(0)).unwrap();
        wait_durable(&log, Partition(partition), position).unwrap();
        assert_eq!(try_contents(&log, Partition(partition)), Ok(expected([group(0)])));
    }
}

/// A sealed segment without what its footer says of those behind it, which is more each time, and
/// without the sum over it.
fn without_cover(mut bytes: Vec<u8>) -> Vec<u8> {
    let trailer = bytes.len() - 64;
    bytes[trailer + 4..trailer + 8].fill(0);
    bytes[trailer + 60..].fill(0);
    bytes
}

#[test]
fn footers_are_rebuilt() {
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 3] = [
        ("gone", |bytes| bytes.truncate(bytes.len() - 64)),
        ("a damaged trailer", |bytes| *bytes.iter_mut().rev().nth(10).unwrap() ^= 1),
        ("a damaged index", |bytes| *bytes.iter_mut().rev().nth(64 + 64 + 10).unwrap() ^= 1),
    ];
    for (what, change) in changes {
        for which in 0..3 {
            let dir = several_segments();
            let path = &segments(dir.path())[which];
            let good = fs::read(path).unwrap();
            let mut bytes = good.clone();
            change(&mut bytes);
            fs::write(path, &bytes).unwrap();
            for pass in 0..2 {
                let (log, recovery) = try_open(dir.path(), small()).unwrap();
                assert_eq!(contents(&log), expected((0..100).map(group)), "{what}, segment {which}");
                let walked = if pass == 0 && what != "a damaged index" { 2 } else { 1 };
                assert_eq!(recovery.partitions[0].walked, walked, "{what}, segment {which}, pass {pass}");
                assert_eq!(recovery.partitions[0].cut, None);
            }
            if what != "a damaged index" {
                let (before, after) = (fs::read(path).unwrap(), good.clone());
                assert!(without_cover(before) == without_cover(after), "{what}: another footer than before");
            }
        }
    }
}

#[test]
fn a_log_opens_with_other_options() {
    let dir = support::directory();
    let sizes = [16 << 10, 64 << 10, 8 << 10, 4 << 20, 8 << 10];
    for (life, segment_bytes) in sizes.into_iter().enumerate() {
        let life = life as u64;
        let log = open(dir.path(), SegmentOptions { segment_bytes, ..small() });
        assert_eq!(contents(&log), expected((0..life * 50).map(group)));
        append_groups(&log, life * 50..(life + 1) * 50);
    }
    assert_eq!(contents(&open(dir.path(), small())), expected((0..250).map(group)));
}

#[test]
fn a_clean_close_is_marked_once() {
    let dir = support::directory();
    append_groups(&open(dir.path(), small()), 0..3);
    let (log, recovery) = try_open(dir.path(), small()).unwrap();
    let end = recovery.partitions[0].end;
    drop(log);
    for _ in 0..3 {
        let (log, recovery) = try_open(dir.path(), small()).unwrap();
        assert_eq!((recovery.partitions[0].end, &recovery.partitions[0].cut), (end, &None));
        assert_eq!(contents(&log), expected((0..3).map(group)));
    }
}
