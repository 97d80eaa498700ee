//! A segment file that lost its end: a piece of a log that nothing in the file itself misses.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hongbao_engine::log::LogError;
use hongbao_segments::{Device, OsDevice, PartitionRecovery, SegmentLog, SegmentOptions, UnsyncedDevice};
use support::faulty::{Fault, FaultyDevice};
use support::{
    Contents, ZERO, append_groups, contents, copied, expected, group, open, open_over, segments, small,
    try_contents, try_open, wait_sealed,
};

const FRAME_HEADER_BYTES: u64 = 256;

/// A log in its second segment, of which each group was durable before the next one was appended.
struct Killed {
    dir: tempfile::TempDir,
    /// Its last segment.
    file: PathBuf,
    /// Place of the first group in it, and of the second.
    starts: [u64; 2],
    /// Groups before, and in all.
    groups: [u64; 2],
}

/// A log as a killed process leaves it. Its first segment has a footer, which says that the first
/// group of the second one was durable.
fn killed() -> Killed {
    killed_over(Arc::new(UnsyncedDevice), true)
}

/// The same with no footer, so that nothing says that the second segment was ever synced.
fn killed_without_footer() -> Killed {
    let device = FaultyDevice::default();
    device.set(Some(Fault::Footer));
    killed_over(Arc::new(device), false)
}

fn killed_over(device: Arc<dyn Device>, sealed: bool) -> Killed {
    let dir = support::directory();
    let (log, _) = open_over(dir.path(), small(), device).unwrap();
    let (mut before, mut end, mut count) = (0, append_groups(&log, 0..1).0, 1);
    while segments(dir.path()).len() == 1 {
        (before, end) = (end, append_groups(&log, count..count + 1).0);
        count += 1;
    }
    if sealed {
        wait_sealed(dir.path(), small().segment_bytes);
    }
    append_groups(&log, count..count + 4);
    let dir = copied(dir.path());
    let file = segments(dir.path()).pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    let first = bytes.chunks(64).position(|chunk| chunk.starts_with(b"hbF1")).unwrap() as u64 * 64;
    Killed { file, starts: [first, first + (end - before)], groups: [count - 1, count + 4], dir }
}

fn cut_to(file: &Path, len: u64) {
    OpenOptions::new().write(true).open(file).unwrap().set_len(len).unwrap();
}

fn len(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len()
}

/// What opening makes of a log, first to read it, then to write to it, and what it holds then.
fn opened(dir: &Path, options: SegmentOptions) -> (PartitionRecovery, Result<Contents, LogError>) {
    let (log, mut read_only) = SegmentLog::open_read_only(dir).unwrap();
    let seen = try_contents(&log, ZERO);
    drop(log);
    let (log, mut recovery) = try_open(dir, options).unwrap();
    let found = try_contents(&log, ZERO);
    assert_eq!((&read_only, &seen), (&recovery, &found), "reading and writing find different things");
    drop((log, read_only.partitions.pop()));
    (recovery.partitions.pop().unwrap(), found)
}

fn assert_short(dir: &Path, at: u64) {
    let (recovery, found) = opened(dir, small());
    let what = recovery.damage.unwrap_or_else(|| panic!("cut at {at}: not damaged, {found:?}"));
    let says = format!("it has {at} bytes of 16384 that were allocated and synced");
    assert!(what.contains(&says) || what.contains("was durable"), "cut at {at}: {what}");
    assert!(matches!(found, Err(LogError::Corrupt { .. })), "cut at {at}: {found:?}");
}

#[test]
fn a_file_cut_off_behind_a_segment_with_a_footer_is_damaged() {
    let killed = killed();
    let good = fs::read(&killed.file).unwrap();
    for at in cuts(&killed, &good) {
        fs::write(&killed.file, &good[..at as usize]).unwrap();
        assert_short(killed.dir.path(), at);
        assert_eq!(len(&killed.file), at, "what is damaged was changed");
    }
}

/// Every place behind the header where something was written, and some behind.
fn cuts(killed: &Killed, good: &[u8]) -> impl Iterator<Item = u64> + use<> {
    let (used, len) = (good.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 64, good.len() as u64);
    (killed.starts[0]..used).chain((used..len).step_by(61)).chain([len - 1])
}

#[test]
fn a_file_cut_off_behind_its_first_durable_group_is_damaged() {
    let left = killed_without_footer();
    let good = fs::read(&left.file).unwrap();
    let [_, second] = left.starts;
    // The header of the second frame says that the first group was durable.
    for at in cuts(&left, &good) {
        // Opening writes a footer.
        let dir = copied(left.dir.path());
        let killed = Killed { file: segments(dir.path()).pop().unwrap(), dir, ..left };
        fs::write(&killed.file, &good[..at as usize]).unwrap();
        if at >= second + FRAME_HEADER_BYTES {
            assert_short(killed.dir.path(), at);
            assert_eq!(len(&killed.file), at, "what is damaged was changed");
            continue;
        }
        // It may be that no sync of the file ever succeeded: torn, and cut off.
        let (recovery, found) = opened(killed.dir.path(), small());
        assert_eq!(recovery.damage, None, "cut at {at}");
        let kept = |more| Ok(expected((0..killed.groups[0] + more).map(group)));
        let fits = if at >= second { found == kept(1) } else { found == kept(0) || found == kept(1) };
        assert!(fits, "cut at {at}");
        assert_eq!(len(&killed.file), good.len() as u64, "cut at {at}: it stays short");
    }
}

#[test]
fn the_first_segment_is_never_short() {
    let dir = support::directory();
    let log = open(dir.path(), small());
    for groups in [0..1, 1..2, 2..3] {
        let killed = copied(dir.path());
        let file = segments(killed.path()).pop().unwrap();
        assert_eq!(len(&file), small().segment_bytes);
        for at in [64, 100, 320, 1_000, 4_096, small().segment_bytes - 1] {
            let file = segments(killed.path()).pop().unwrap();
            fs::copy(&segments(dir.path())[0], &file).unwrap();
            cut_to(&file, at);
            assert_short(killed.path(), at);
        }
        append_groups(&log, groups);
    }
    drop(log);
    cut_to(&segments(dir.path())[0], small().segment_bytes - 1);
    assert_short(dir.path(), small().segment_bytes - 1);
}

#[test]
fn a_segment_made_before_sizes_were_noted_is_not_checked() {
    let dir = support::directory();
    let log = open(dir.path(), small());
    append_groups(&log, 0..1);
    append_groups(&log, 1..4);
    let killed = copied(dir.path());
    let file = segments(killed.path()).pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[13..16].fill(0);
    let crc = crc32c::crc32c(&bytes[8..64]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    fs::write(&file, &bytes[..end]).unwrap();
    let (recovery, found) = opened(killed.path(), small());
    assert_eq!((recovery.damage, found), (None, Ok(expected((0..4).map(group)))), "only padding is missing");
    append_groups(&open(killed.path(), small()), 4..5);
    assert_eq!(contents(&open(killed.path(), small())), expected((0..5).map(group)));
}

/// What the end of a log may look like when the machine stopped while it was written.
fn tear(killed: &Killed) -> Contents {
    let mut bytes = fs::read(&killed.file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end] ^= 1;
    bytes[end + 1..].fill(0xa7);
    fs::write(&killed.file, bytes).unwrap();
    expected((0..killed.groups[1] - 1).map(group))
}

#[test]
fn a_repaired_file_keeps_its_length() {
    let killed = killed();
    let left = tear(&killed);
    let (recovery, found) = opened(killed.dir.path(), small());
    assert!(recovery.cut.is_some() && recovery.damage.is_none(), "{recovery:?}");
    assert_eq!(found, Ok(left.clone()));
    assert_eq!(len(&killed.file), small().segment_bytes);
    // Nothing is appended.
    for _ in 0..2 {
        let again = copied(killed.dir.path());
        let (recovery, found) = opened(again.path(), small());
        assert_eq!((recovery.damage, recovery.cut, found), (None, None, Ok(left.clone())));
    }
    cut_to(&killed.file, small().segment_bytes - 1);
    assert_short(killed.dir.path(), small().segment_bytes - 1);
}

/// A process that is killed in the middle of clearing a file, or before it is synced.
struct KilledWhile {
    /// Bytes cleared before.
    cleared: u64,
}

impl Device for KilledWhile {
    fn create(&self, path: &Path) -> io::Result<File> {
        OsDevice.create(path)
    }

    fn allocate(&self, file: &File, len: u64) -> io::Result<()> {
        OsDevice.allocate(file, len)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        OsDevice.set_len(file, len)
    }

    fn clear_from(&self, file: &File, at: u64) -> io::Result<()> {
        let left = (file.metadata()?.len() - at).min(self.cleared);
        OsDevice.write(file, &mut [IoSlice::new(&vec![0; left as usize])], at)?;
        Err(io::Error::other("killed"))
    }

    fn write(&self, file: &File, slices: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        OsDevice.write(file, slices, at)
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_repair_may_be_interrupted() {
    for cleared in [0, 1, 64, 300, 1_000, 4_096, u64::MAX] {
        let killed = killed();
        let left = tear(&killed);
        let device = Arc::new(KilledWhile { cleared });
        assert!(open_over(killed.dir.path(), small(), device).is_err());
        assert_eq!(len(&killed.file), small().segment_bytes);
        let (recovery, found) = opened(killed.dir.path(), small());
        assert_eq!((recovery.damage, found), (None, Ok(left)), "after {cleared} bytes");
    }
}

#[test]
fn a_short_file_that_may_be_torn_is_whole_again_with_any_size() {
    // Few enough that the smallest size holds them in the same segment.
    for segment_bytes in [8 << 10, 16 << 10, 64 << 10] {
        let options = SegmentOptions { segment_bytes, ..small() };
        let killed = killed_without_footer();
        let from = killed.groups[0];
        cut_to(&killed.file, killed.starts[0] + 100);
        let log = open(killed.dir.path(), options.clone());
        for number in from..from + 4 {
            append_groups(&log, number..number + 1);
        }
        let again = copied(killed.dir.path());
        let (recovery, found) = opened(again.path(), options);
        assert_eq!((recovery.damage, found), (None, Ok(expected((0..from + 4).map(group)))));
    }
}

#[test]
fn a_file_holds_no_more_than_its_header_says() {
    // With larger segments the one that was begun smaller would hold what its header says nothing
    // of.
    let killed = killed();
    let larger = SegmentOptions { segment_bytes: 1 << 20, ..small() };
    let log = open(killed.dir.path(), larger.clone());
    append_groups(&log, killed.groups[1]..200);
    let sizes = |dir: &Path| -> Vec<u64> { segments(dir).iter().map(|path| len(path)).collect() };
    assert_eq!(sizes(killed.dir.path()).len(), 3, "the larger segment comes behind the smaller one");
    wait_sealed(killed.dir.path(), small().segment_bytes);
    assert_eq!(sizes(killed.dir.path())[2], larger.segment_bytes);
    drop(log);
    let (recovery, found) = opened(killed.dir.path(), small());
    assert_eq!((recovery.damage, found), (None, Ok(expected((0..200).map(group)))));
    // With smaller options it is still its own header that counts.
    cut_to(&segments(killed.dir.path())[2], larger.segment_bytes - 1);
    let (recovery, _) = opened(killed.dir.path(), small());
    assert!(recovery.damage.unwrap().contains("1048575 bytes of 1048576"));
}
