//! What the tests of the log share: small logs, their contents, copies as after a crash.

#![expect(dead_code, reason = "each test file uses a part of it")]

pub mod faulty;
pub mod lossy;
pub mod scenarios;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::SystemClock;
use hongbao_engine::log::{Log, LogError, Position};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, Offset, ReadBatch, RecordBuf};
use hongbao_segments::{Device, OpenError, Recovery, SegmentLog, SegmentOptions, UnsyncedDevice};

pub const ZERO: Partition = Partition(0);
pub const TOPICS: [&str; 3] = ["awards", "journal", "orders.cash"];

/// A directory for a log that need not outlive the machine: in memory where that is possible, for
/// these tests make thousands of files.
pub fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

/// One partition, small segments, synced at once.
pub fn small() -> SegmentOptions {
    SegmentOptions {
        partitions: 1,
        segment_bytes: 16 << 10,
        sync_max_delay: Duration::ZERO,
        sync_max_bytes: 1 << 20,
    }
}

pub fn open_over(
    dir: &Path,
    options: SegmentOptions,
    device: Arc<dyn Device>,
) -> Result<(SegmentLog, Recovery), OpenError> {
    SegmentLog::open_on(dir, options, Arc::new(SystemClock::new()), device)
}

pub fn try_open(dir: &Path, options: SegmentOptions) -> Result<(SegmentLog, Recovery), OpenError> {
    open_over(dir, options, Arc::new(UnsyncedDevice))
}

pub fn open(dir: &Path, options: SegmentOptions) -> SegmentLog {
    try_open(dir, options).unwrap().0
}

pub fn records(texts: &[String]) -> RecordBuf {
    let mut buf = RecordBuf::new();
    for text in texts {
        buf.push(text.as_bytes());
    }
    buf
}

/// A group of frames `(topic, records)` as the tests know it.
pub type Group = Vec<(&'static str, Vec<String>)>;

pub fn try_append(log: &dyn Log, partition: Partition, group: &Group) -> Result<Position, LogError> {
    let bufs: Vec<RecordBuf> = group.iter().map(|(_, texts)| records(texts)).collect();
    let frames: Vec<Frame<'_>> = group
        .iter()
        .zip(&bufs)
        .map(|((topic, _), records)| Frame { topic, envelope: Envelope::PRODUCER, records })
        .collect();
    log.append(partition, &frames).map(|appended| appended.position)
}

pub fn append(log: &dyn Log, group: &Group) -> Position {
    try_append(log, ZERO, group).unwrap()
}

/// Group number `number`: a fact or two and an order, of varying size.
pub fn group(number: u64) -> Group {
    let filler = "x".repeat((number * 37 % 300) as usize);
    let facts = (0..=number % 3).map(|fact| format!("fact {number}.{fact} {filler}")).collect();
    vec![("journal", facts), ("orders.cash", vec![format!("order {number}")])]
}

pub fn wait_durable(log: &dyn Log, partition: Partition, position: Position) -> Result<(), LogError> {
    for _ in 0..1_000 {
        let seen = log.progress().version();
        if log.durable(partition)? >= position {
            return Ok(());
        }
        log.progress().wait(seen, Duration::from_millis(20));
    }
    panic!("{position:?} did not become durable");
}

/// Appends groups `numbers` and waits until they are durable.
pub fn append_groups(log: &dyn Log, numbers: std::ops::Range<u64>) -> Position {
    let last = numbers.map(|number| append(log, &group(number))).last().unwrap();
    wait_durable(log, ZERO, last).unwrap();
    last
}

/// Every readable record, by topic.
pub type Contents = BTreeMap<&'static str, (Offset, Vec<String>)>;

pub fn try_contents(log: &dyn Log, partition: Partition) -> Result<Contents, LogError> {
    let mut contents = Contents::new();
    let mut batch = ReadBatch::new();
    for topic in TOPICS {
        let (start, end) = log.range(partition, topic)?;
        let mut texts = Vec::new();
        let mut next = start;
        while next < end {
            log.read(partition, topic, next, 2_000, &mut batch)?;
            assert!(!batch.is_empty(), "nothing at {next} of {topic}");
            for (offset, bytes) in batch.frames().flat_map(|frame| frame.records()) {
                assert_eq!(offset, next);
                texts.push(String::from_utf8(bytes.to_vec()).unwrap());
                next += 1;
            }
        }
        contents.insert(topic, (start, texts));
    }
    Ok(contents)
}

pub fn contents(log: &dyn Log) -> Contents {
    try_contents(log, ZERO).unwrap()
}

/// What a log holds after these groups.
pub fn expected(groups: impl IntoIterator<Item = Group>) -> Contents {
    let mut contents: Contents = TOPICS.into_iter().map(|topic| (topic, (0, Vec::new()))).collect();
    for (topic, texts) in groups.into_iter().flatten() {
        contents.get_mut(topic).unwrap().1.extend(texts);
    }
    contents
}

/// A copy of a directory as it is now: what a killed process leaves.
pub fn copied(from: &Path) -> tempfile::TempDir {
    let to = directory();
    copy(from, to.path());
    to
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The segment files of partition 0, oldest first.
pub fn segments(dir: &Path) -> Vec<PathBuf> {
    files(dir, "seg")
}

/// The files of partition 0 with an extension, in order.
pub fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("p-0000")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    paths.sort();
    paths
}

/// Waits until all segments but the last have their footer: a sealed file is cut off behind it.
pub fn wait_sealed(dir: &Path, segment_bytes: u64) {
    let progress = hongbao_engine::progress::Progress::default();
    for _ in 0..1_000 {
        let paths = segments(dir);
        let (_, sealed) = paths.split_last().unwrap();
        if sealed.iter().all(|path| fs::metadata(path).unwrap().len() < segment_bytes) {
            return;
        }
        progress.wait(progress.version(), Duration::from_millis(5));
    }
    panic!("segments were not sealed");
}

/// A small generator of pseudo-random numbers; the same seed gives the same run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}
