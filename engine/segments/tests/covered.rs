//! What the footer of a segment says of the one behind it: that its head was synced, and how much of
//! what follows. The last groups of a log that was killed are then more than something torn.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_segments::{PartitionRecovery, SegmentLog, SegmentOptions};
use support::faulty::{Fault, FaultyDevice};
use support::{
    Contents, ZERO, append, append_groups, copied, expected, group, open, open_over, segments, small,
    try_append, try_contents, try_open, wait_sealed,
};

const TRAILER_BYTES: usize = 64;

/// A log as a killed process leaves it, with one group in its second segment.
struct Killed {
    dir: tempfile::TempDir,
    /// Its segments.
    files: [PathBuf; 2],
    /// Groups in all.
    groups: u64,
}

impl Killed {
    fn of(log: &Path, groups: u64) -> Self {
        let dir = copied(log);
        let files = segments(dir.path()).try_into().unwrap();
        Self { dir, files, groups }
    }

    /// Where the first group of the second segment begins, and where it ends.
    fn group(&self) -> (usize, usize) {
        let bytes = fs::read(&self.files[1]).unwrap();
        let first = bytes.chunks(64).position(|chunk| chunk.starts_with(b"hbF1")).unwrap() * 64;
        (first, bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1)
    }
}

/// Appends groups, each durable before the next, until one is in the second segment.
fn roll(log: &SegmentLog, dir: &Path) -> u64 {
    let mut count = 0;
    while segments(dir).len() < 2 {
        append_groups(log, count..count + 1);
        count += 1;
    }
    count
}

fn killed() -> Killed {
    let dir = support::directory();
    let log = open(dir.path(), small());
    let groups = roll(&log, dir.path());
    wait_sealed(dir.path(), small().segment_bytes);
    Killed::of(dir.path(), groups)
}

/// The same, killed before the first segment got its footer.
fn killed_without_footer() -> Killed {
    let dir = support::directory();
    let device = Arc::new(FaultyDevice::default());
    device.set(Some(Fault::Footer));
    let (log, _) = open_over(dir.path(), small(), Arc::clone(&device) as _).unwrap();
    let groups = roll(&log, dir.path());
    Killed::of(dir.path(), groups)
}

/// What opening makes of a copy of a log: to read it, and to write to it.
fn opened(dir: &Path) -> (PartitionRecovery, Result<Contents, LogError>) {
    let dir = copied(dir);
    let (log, mut read_only) = SegmentLog::open_read_only(dir.path()).unwrap();
    let seen = try_contents(&log, ZERO);
    drop(log);
    let (log, recovery) = try_open(dir.path(), small()).unwrap();
    assert_eq!((&read_only, &seen), (&recovery, &try_contents(&log, ZERO)), "reading finds something else");
    (read_only.partitions.remove(0), seen)
}

/// Everything that a fault may do to the one group of the second segment.
fn faults(killed: &Killed) -> Vec<(String, Vec<u8>)> {
    let good = fs::read(&killed.files[1]).unwrap();
    let (start, end) = killed.group();
    let changed = |at: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        (format!("at {at} of {start}..{end}"), bytes)
    };
    let flips = (start..end).map(|at| changed(at, &|bytes| bytes[at] ^= 4));
    let cuts = (start..end).map(|at| changed(at, &|bytes| bytes.truncate(at)));
    let zeros = (start..end).map(|at| changed(at, &|bytes| bytes[at..].fill(0)));
    flips.chain(cuts.step_by(7)).chain(zeros.step_by(7)).collect()
}

/// Damages the first group of the second segment in every way; it must never look torn.
fn is_never_torn(killed: &Killed) {
    let whole = Ok(expected((0..killed.groups).map(group)));
    let (mut damaged, faults) = (0, faults(killed));
    let count = faults.len();
    for (what, bytes) in faults {
        fs::write(&killed.files[1], bytes).unwrap();
        let (recovery, found) = opened(killed.dir.path());
        // Between frames lie bytes that nothing needs.
        let Some(damage) = recovery.damage else {
            assert!(found == whole, "{what}: taken for torn");
            continue;
        };
        damaged += 1;
        assert!(
            damage.contains("was durable") || damage.contains("allocated and synced"),
            "{what}: {damage}"
        );
    }
    assert!(damaged > count / 2, "{damaged} of {count} faults were noticed");
}

#[test]
fn the_first_group_behind_a_sealed_segment_is_never_taken_for_torn() {
    is_never_torn(&killed());
}

#[test]
fn a_footer_written_at_the_start_says_it_too() {
    let left = killed_without_footer();
    let bytes = fs::read(&left.files[1]).unwrap();
    let (start, _) = left.group();
    // Nothing says that the group was ever durable.
    fs::write(&left.files[1], &bytes[..start + 300]).unwrap();
    let (recovery, found) = opened(left.dir.path());
    assert_eq!((recovery.damage, found), (None, Ok(expected((0..left.groups - 1).map(group)))));
    fs::write(&left.files[1], &bytes).unwrap();
    let log = open(left.dir.path(), small());
    is_never_torn(&Killed::of(left.dir.path(), left.groups));
    drop(log);
}

/// Takes out of all footers what they say of what follows: as they were written before.
fn without_cover(dir: &Path) {
    for file in segments(dir).iter().rev().skip(1) {
        let mut bytes = fs::read(file).unwrap();
        let at = bytes.len() - TRAILER_BYTES;
        let trailer = &mut bytes[at..];
        assert!(trailer.starts_with(b"hbT1"));
        assert_ne!(trailer[60..], [0; 4], "{}: it says nothing of what follows", file.display());
        trailer[60..].fill(0);
        let crc = crc32c::crc32c(&trailer[8..]);
        trailer[4..8].copy_from_slice(&crc.to_le_bytes());
        fs::write(file, bytes).unwrap();
    }
}

#[test]
fn a_footer_that_says_nothing_of_what_follows_is_read_as_before() {
    let killed = killed();
    without_cover(killed.dir.path());
    let (recovery, found) = opened(killed.dir.path());
    assert_eq!((recovery.walked, recovery.damage), (1, None));
    assert_eq!(found, Ok(expected((0..killed.groups).map(group))));
    // It cannot tell that the group was durable; but that the file had its length, any footer does.
    let good = fs::read(&killed.files[1]).unwrap();
    let (start, _) = killed.group();
    let mut bytes = good.clone();
    bytes[start + 300] ^= 1;
    fs::write(&killed.files[1], &bytes).unwrap();
    let (recovery, found) = opened(killed.dir.path());
    assert_eq!((recovery.damage, found), (None, Ok(expected((0..killed.groups - 1).map(group)))));
    fs::write(&killed.files[1], &good[..start]).unwrap();
    let (recovery, _) = opened(killed.dir.path());
    let what = recovery.damage.unwrap();
    assert!(
        what.ends_with(&format!("it has {start} bytes of 16384 that were allocated and synced")),
        "{what}"
    );
}

/// A segment that was begun for a group which then found no room is sealed off before it holds one.
#[test]
fn a_file_behind_a_sealed_segment_is_never_short() {
    let in_first = killed().groups - 1;
    let dir = support::directory();
    let device = Arc::new(FaultyDevice::default());
    // Nothing is synced before there is so much of it.
    let (sync_max_delay, sync_max_bytes) = (Duration::from_secs(3_600), 40 << 10);
    let options = SegmentOptions { partitions: 2, sync_max_delay, sync_max_bytes, ..small() };
    let (log, _) = open_over(dir.path(), options.clone(), Arc::clone(&device) as _).unwrap();
    let one = Partition(1);
    // Appends elsewhere until all is synced.
    let sync = |position| {
        let mut numbers = 0..10_000;
        while log.durable(ZERO).unwrap() < position {
            let seen = log.progress().version();
            try_append(&log, one, &group(numbers.next().unwrap())).unwrap();
            log.progress().wait(seen, Duration::from_millis(1));
        }
    };
    let end = (0..in_first).map(|number| append(&log, &group(number))).max().unwrap();
    // Room for the head of a segment, not for a group.
    device.set(Some(Fault::Full(200)));
    let refused = try_append(&log, ZERO, &group(in_first));
    assert!(matches!(refused, Err(LogError::Full(_))), "{refused:?}");
    device.set(None);
    sync(end);
    wait_sealed(dir.path(), options.segment_bytes);
    let position = append(&log, &group(in_first));
    sync(position);
    let killed = Killed::of(dir.path(), in_first + 1);
    let read = || {
        let (_, mut recovery) = SegmentLog::open_read_only(killed.dir.path()).unwrap();
        recovery.partitions.remove(0)
    };
    assert_eq!((read().damage, read().cut), (None, None));
    let (start, _) = killed.group();
    OpenOptions::new().write(true).open(&killed.files[1]).unwrap().set_len(start as u64).unwrap();
    let what = read().damage.unwrap();
    assert!(
        what.ends_with(&format!("it has {start} bytes of 16384 that were allocated and synced")),
        "{what}"
    );
}
