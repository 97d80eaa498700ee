//! A log over hostile files: it is opened or refused, and what it then gives is whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hongbao_engine::clock::ManualClock;
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, ReadBatch, RecordBuf};
use hongbao_segments::{SegmentLog, SegmentOptions, UnsyncedDevice};

use crate::meter::{Bound, bounded};
use crate::segment_files::{Mending, mend, split};

pub(crate) const LOG_ID: u64 = 0x6862_6c6f_675f_6964;
const TOPICS: [&str; 4] = ["awards", "journal", "orders.cash", "t"];
const ZERO: Partition = Partition(0);

/// A file's window, a read's frames, and the index of frames.
const OPEN: Bound = Bound { factor: 8, base: 256 << 10 };

/// Where the files of this process go: a folder of memory, because there are very many.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = std::env::var_os("HONGBAO_HOSTILE_DIR").map(PathBuf::from);
    let place = place.or_else(|| Some(PathBuf::from("/dev/shm")).filter(|memory| memory.is_dir()));
    let made = place.as_ref().map_or_else(tempfile::tempdir, tempfile::tempdir_in);
    let place = place.unwrap_or_else(std::env::temp_dir);
    written(made, &place).keep()
});

/// Where the files of this process go.
pub(crate) fn folder() -> &'static Path {
    &FOLDER
}

/// What was made or written at a place. An input whose files cannot be written was not tried, and must not
/// count as if it had been.
pub(crate) fn written<T>(done: io::Result<T>, place: &Path) -> T {
    done.unwrap_or_else(|error| panic!("no input was tried: {} cannot be written: {error}", place.display()))
}

/// Removes the files of this process.
pub fn clean() {
    drop(fs::remove_dir_all(&*FOLDER));
}

/// First byte: what is mended, and whether the log is also opened to write. Then segment files.
pub(crate) fn open(bytes: &[u8]) {
    let Some((flags, bytes)) = bytes.split_first() else { return };
    let dir = folder();
    let mut files = split(bytes);
    if flags & 1 == 0 {
        mend(&mut files, Mending { identity: flags & 2 == 0, chain: flags & 4 == 0 });
    }
    written(write_log(dir, &files), dir);
    let input_bytes = files.iter().map(Vec::len).sum();
    let Some(seen) = bounded(OPEN, input_bytes, || look(dir)) else { return };
    if flags & 8 != 0 {
        recovers_to(dir, &seen);
    }
}

fn write_log(dir: &Path, files: &[Vec<u8>]) -> io::Result<()> {
    let partition = dir.join("p-0000");
    fs::create_dir_all(&partition)?;
    for entry in fs::read_dir(&partition)? {
        fs::remove_file(entry?.path())?;
    }
    let text = format!("hongbao log\nversion 1\nid {LOG_ID:016x}\npartitions 1\nready yes\n");
    fs::write(dir.join("meta"), format!("{text}crc32c {:08x}\n", crc32c::crc32c(text.as_bytes())))?;
    fs::write(dir.join("LOCK"), b"")?;
    for (index, file) in files.iter().enumerate() {
        fs::write(partition.join(format!("{:010}.seg", index + 1)), file)?;
    }
    Ok(())
}

/// Records by topic: where they begin, and all of them; `Err` where the partition says it is
/// damaged.
type Seen = Vec<Result<(u64, Vec<Vec<u8>>), String>>;

/// What a log holds for those who only read; `None` when it is refused.
fn look(dir: &Path) -> Option<Seen> {
    let (log, _) = match SegmentLog::open_read_only(dir) {
        Ok(opened) => opened,
        Err(error) => {
            // Recovery catches what its threads do, so that it must be asked.
            assert!(!error.to_string().contains("panicked"), "violation: {error}");
            return None;
        }
    };
    Some(TOPICS.iter().map(|topic| read_all(&log, topic)).collect())
}

fn read_all(log: &SegmentLog, topic: &str) -> Result<(u64, Vec<Vec<u8>>), String> {
    let mut batch = ReadBatch::new();
    let (start, end) = log.range(ZERO, topic).map_err(|error| error.to_string())?;
    assert!(start <= end, "violation: {topic} begins at {start} and ends at {end}");
    let mut records = Vec::new();
    let mut next = start;
    while next < end {
        log.read(ZERO, topic, next, 1 << 20, &mut batch).map_err(|error| error.to_string())?;
        let records_before = records.len();
        assert!(!batch.is_empty(), "violation: {topic} has nothing at {next}, below its end {end}");
        for (offset, record) in batch.frames().flat_map(|frame| frame.records()) {
            assert!(offset == next, "violation: {topic} goes from {next} to {offset} (I5)");
            records.push(record.to_vec());
            next += 1;
        }
        assert!(records.len() > records_before, "violation: {topic} has frames without records at {next}");
    }
    // From the middle of a frame.
    if end - start > 1 {
        log.read(ZERO, topic, start + 1, 1, &mut batch).map_err(|error| error.to_string())?;
        let first = batch.frames().next().and_then(|frame| frame.get(0)).map(<[u8]>::to_vec);
        assert!(first.as_ref() == records.get(1), "violation: another record from within a frame");
    }
    Ok((start, records))
}

/// Opening to write recovers the same, and what is appended then comes behind it.
fn recovers_to(dir: &Path, seen: &Seen) {
    let options = SegmentOptions {
        partitions: 1,
        segment_bytes: 32 << 10,
        sync_max_delay: Duration::ZERO,
        sync_max_bytes: 1 << 20,
    };
    let clock = Arc::new(ManualClock::at(0));
    let Ok((log, recovery)) = SegmentLog::open_on(dir, options, clock, Arc::new(UnsyncedDevice)) else {
        return;
    };
    let found: Seen = TOPICS.iter().map(|topic| read_all(&log, topic)).collect();
    assert!(found == *seen, "violation: recovered {found:?} instead of {seen:?}");
    let damaged = recovery.partitions.iter().any(|partition| partition.damage.is_some());
    let mut records = RecordBuf::new();
    records.push(b"appended");
    let frame = Frame { topic: "t", envelope: Envelope::PRODUCER, records: &records };
    let appended = log.append(ZERO, &[frame]);
    assert!(appended.is_err() || !damaged, "violation: appended to what is damaged (I26)");
    drop(log);
    let (Ok(_), Some(Ok((start, records)))) = (appended, found.last()) else { return };
    let mut expected = records.clone();
    expected.push(b"appended".to_vec());
    let again = look(dir);
    let again = again.as_ref().and_then(|again| again.last());
    assert!(again == Some(&Ok((*start, expected))), "violation: after a clean close {again:?} (I25)");
}
