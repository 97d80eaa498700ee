//! What must hold of an image: it opens, what was promised is there, its logs are the beginning of what they
//! were in the end, stores are at or behind the log, and rows are a function of how far a store has come.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{ReadBatch, crc};
use hongbao_engine::store::{Applied, Store, StoreError};
use hongbao_rocks::{RocksEnv, RocksStore};
use hongbao_schemas::award::Award;
use hongbao_schemas::journal::{CreditStage, Fact};
use hongbao_segments::{SegmentLog, SegmentOptions};
use parking_lot::Mutex;

use super::prefix::Written;
use super::record::{Promises, Recording};
use crate::finding::found;
use crate::process::End;
use crate::rig::{DEADLINE, Rig};
use crate::segment_file;

/// As the rig squeezes it.
const SEGMENT_BYTES: u64 = 128 << 10;
const PARTITION: Partition = Partition(0);
/// Lanes, each opened once when a node has recovered.
const OPENED: &str = "sink.lane.started:3";
const CACHE_BYTES: usize = 8 << 20;

/// Stores, their logs and topics.
const STORES: [(&str, &str, &str); 3] = [
    ("state/intake-0", "log", "awards"),
    ("state/views-0", "log", "journal"),
    ("ledger/bank/accounts-0", "ledger/bank/book", "book"),
];

/// Logs, and all their topics. A topic of the recorded run that is not here ends the run.
const LOGS: [(&str, &[&str]); 2] = [
    ("log", &["awards", "journal", "dlq.intake", "orders.cash", "orders.coupon", "orders.other"]),
    ("ledger/bank/book", &["book"]),
];

/// What images of one recording have in common.
pub struct Verifier<'a> {
    recording: &'a Recording,
    rocks: RocksEnv,
    clock: Arc<dyn Clock>,
    /// What each log held in the end.
    written: BTreeMap<&'static str, Written>,
    seen: Mutex<Seen>,
}

/// What was found in the images so far.
#[derive(Default)]
struct Seen {
    /// Digest of all rows by store and offset.
    digests: BTreeMap<(&'static str, u64), u32>,
    /// What was found in a store, by the digest of its files: most images share a store with another.
    opened: BTreeMap<[u8; 32], (Applied, u32)>,
    /// Stores whose files had been seen before.
    shared: u64,
    /// Records compared with what was written.
    compared: u64,
}

type Checked = Result<(), String>;

impl<'a> Verifier<'a> {
    /// A verifier of the images of a recording.
    ///
    /// # Errors
    /// RocksDB cannot be set up, or the logs of the recorded run cannot be read or hold a topic that is not
    /// compared.
    pub fn new(recording: &'a Recording) -> io::Result<Self> {
        let rocks = RocksEnv::new(CACHE_BYTES).map_err(io::Error::other)?;
        let mut written = BTreeMap::new();
        for (name, topics) in LOGS {
            let dir = recording.rig.data().join(name);
            let log = SegmentLog::open_read_only(&dir);
            let (log, _) = log.map_err(|error| found(format!("{name} of the recorded run: {error}")))?;
            let whole = Written::of(&log, topics).map_err(found)?;
            all_are_compared(name, &whole.topics(), &segment_file::topics(&dir)?)?;
            written.insert(name, whole);
        }
        Ok(Self { recording, rocks, clock: Arc::new(SystemClock::new()), written, seen: Mutex::default() })
    }

    /// Stores whose files had been seen before.
    pub fn shared(&self) -> u64 {
        self.seen.lock().shared
    }

    /// Records compared with what was written.
    pub fn compared(&self) -> u64 {
        self.seen.lock().compared
    }

    /// Opens log, book and stores of an image within this process. A node that `went_on` wrote a
    /// story of its own, whose offsets mean other records.
    pub fn open(&self, data: &Path, promises: &Promises, went_on: bool) -> Checked {
        let mut logs = BTreeMap::new();
        for (name, topics) in LOGS {
            let log = self.open_log(&data.join(name))?;
            if let Some(log) = log.as_ref().filter(|_| !went_on) {
                self.is_beginning(name, log, topics)?;
            }
            logs.insert(name, log);
        }
        self.promises_hold(logs["log"].as_ref(), promises)?;
        for (name, log, topic) in STORES {
            let Some((applied, digest)) = self.open_store(data, name, logs[log].as_ref(), topic)? else {
                continue;
            };
            if !went_on && !self.is_same(name, applied, digest) {
                return Err(format!("I6: rows of {name} at {applied} are not always the same"));
            }
        }
        Ok(())
    }

    /// Each topic holds what it held in the end, up to some record: no hole, no repeat, nothing foreign, also
    /// behind what was acknowledged (I26).
    fn is_beginning(&self, name: &str, log: &SegmentLog, topics: &[&'static str]) -> Checked {
        let held = Written::of(log, topics).map_err(|what| format!("I26: {name}: {what}"))?;
        let written = self.written.get(name).ok_or_else(|| format!("nobody has read {name}"))?;
        self.seen.lock().compared += held.len();
        held.is_beginning_of(written).map_err(|what| format!("I26: {name}: {what}"))
    }

    /// Whether a store that has come so far always had these rows.
    fn is_same(&self, name: &'static str, applied: u64, digest: u32) -> bool {
        *self.seen.lock().digests.entry((name, applied)).or_insert(digest) == digest
    }

    /// Starts the node over an image until it has recovered, and audits what it made of it.
    ///
    /// # Errors
    /// Of the system.
    pub fn start(&self, rig: &Rig) -> io::Result<Checked> {
        let mut process = rig.start(&[("HONGBAO_KILL_AT", OPENED)])?;
        let end = process.ends_within(DEADLINE)?;
        if end != Some(End::Killed) {
            return Ok(Err(format!("the node does not recover: {end:?}; {}", process.tells())));
        }
        let (end, printed) = rig.check()?;
        Ok(if end == End::Code(0) { Ok(()) } else { Err(format!("check ended with {end:?}\n{printed}")) })
    }

    /// A log that is there; one that was never made is none.
    fn open_log(&self, dir: &Path) -> Result<Option<SegmentLog>, String> {
        if !dir.join("meta").exists() {
            return Ok(None);
        }
        let options = SegmentOptions {
            partitions: 1,
            segment_bytes: SEGMENT_BYTES,
            sync_max_delay: Duration::from_millis(1),
            sync_max_bytes: 1 << 20,
        };
        let opened = SegmentLog::open(dir, options, Arc::clone(&self.clock));
        let (log, recovery) = opened.map_err(|error| format!("I26: {error}"))?;
        let damage = recovery.partitions.iter().find_map(|partition| partition.damage.as_ref());
        damage.map_or(Ok(Some(log)), |what| Err(format!("I26: {}: {what}", dir.display())))
    }

    fn promises_hold(&self, log: Option<&SegmentLog>, promises: &Promises) -> Checked {
        let (mut awards, mut numbers, mut intended) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        if let Some(log) = log {
            each_record(log, "awards", |record| {
                if let Ok(award) = Award::decode(record) {
                    awards.insert(award.order_no.to_owned());
                }
            })?;
            each_record(log, "journal", |record| match Fact::decode(record) {
                Ok(Fact::Accepted(fact)) => {
                    let place = (fact.lane.to_owned(), fact.lane_seq);
                    numbers.insert(fact.award.order_no.to_owned(), place);
                }
                Ok(Fact::Credit(fact)) if fact.stage == CreditStage::Started => {
                    let ranges = fact.ranges.iter().flat_map(|range| range.first()..range.end());
                    intended.extend(ranges.map(|seq| (fact.lane.to_owned(), seq)));
                }
                _ => {}
            })?;
        }
        if let Some(lost) = self.recording.acknowledged(promises).find(|number| !awards.contains(*number)) {
            return Err(format!("I25: {lost} was acknowledged and is not in the log"));
        }
        let is_intended = |number: &String| numbers.get(number).is_some_and(|place| intended.contains(place));
        match promises.sent.iter().find(|number| !is_intended(number)) {
            Some(number) => Err(format!("I12: {number} was sent and has no intent")),
            None => Ok(()),
        }
    }

    /// How far a store has come, and a digest of its rows; none if it was never made.
    fn open_store(
        &self,
        data: &Path,
        name: &str,
        log: Option<&SegmentLog>,
        topic: &str,
    ) -> Result<Option<(u64, u32)>, String> {
        // Without it the store was never made; the node makes it anew.
        let Ok(identity) = fs::read_to_string(data.join(name).join("identity")) else { return Ok(None) };
        let failed = |error| format!("{name}: {error}");
        let files = files_digest(&data.join(name)).map_err(|error| format!("{name}: {error}"))?;
        let known = self.seen.lock().opened.get(&files).copied();
        let (applied, digest) = match known {
            Some(found) => {
                self.seen.lock().shared += 1;
                found
            }
            None => {
                let found = self.rows_of(&data.join(name), &identity).map_err(failed)?;
                *self.seen.lock().opened.entry(files).or_insert(found)
            }
        };
        if let Some(last) = applied.offset.checked_sub(1) {
            let log = log.ok_or_else(|| format!("I6: {name} has rows, its log is not there"))?;
            let mut batch = ReadBatch::new();
            let (_, end) = log.range(PARTITION, topic).map_err(|error| error.to_string())?;
            if end < applied.offset {
                return Err(format!("I6: {name} has come to {}, its log to {end}", applied.offset));
            }
            log.read(PARTITION, topic, last, 1, &mut batch).map_err(|error| error.to_string())?;
            let found = batch.frames().next().and_then(|frame| frame.get(0)).map(crc);
            if found != Some(applied.last_record_crc) {
                return Err(format!("I6: {name} was folded from another log"));
            }
        }
        Ok(Some((applied.offset, digest)))
    }

    /// Opens a store: how far it has come, and a digest of its rows.
    fn rows_of(&self, dir: &Path, identity: &str) -> Result<(Applied, u32), StoreError> {
        let store = RocksStore::open(dir, &self.rocks, identity)?;
        let mut digest = 0;
        let mut note = |key: &[u8], value: &[u8]| {
            digest = crc32c_of(digest, key);
            digest = crc32c_of(digest, value);
            ControlFlow::Continue(())
        };
        store.scan(b"", &[0xff; 4], &mut note)?;
        Ok((store.applied()?, digest))
    }
}

/// Fails where a log holds another topic than those that are compared, so that none is left out unseen.
fn all_are_compared(log: &str, compared: &BTreeSet<String>, held: &BTreeSet<String>) -> io::Result<()> {
    if held == compared {
        return Ok(());
    }
    let what = format!("{log} holds the topics {held:?}, and {compared:?} would be compared: mend `LOGS`");
    Err(io::Error::other(what))
}

/// A digest of all names and files below a folder that decide what is opened: RocksDB writes logs for
/// people, and does not read them.
fn files_digest(dir: &Path) -> io::Result<[u8; 32]> {
    let mut names: Vec<_> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    names.sort_unstable();
    let mut all = blake3::Hasher::new();
    for path in names {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if path.is_dir() {
            all.update(name).update(b"/").update(&files_digest(&path)?);
        } else if !name.starts_with(b"LOG") {
            all.update(name).update(b"\0").update(blake3::hash(&fs::read(&path)?).as_bytes());
        }
    }
    Ok(all.finalize().into())
}

/// A checksum that goes on from another.
fn crc32c_of(before: u32, bytes: &[u8]) -> u32 {
    crc(&[&before.to_le_bytes()[..], &(bytes.len() as u64).to_le_bytes(), bytes].concat())
}

fn each_record(log: &SegmentLog, topic: &str, mut each: impl FnMut(&[u8])) -> Checked {
    let text = |error: hongbao_engine::log::LogError| format!("I26: {topic}: {error}");
    let (mut from, end) = log.range(PARTITION, topic).map_err(text)?;
    let mut batch = ReadBatch::new();
    while from < end {
        log.read(PARTITION, topic, from, 1 << 20, &mut batch).map_err(text)?;
        for (offset, record) in batch.frames().flat_map(|frame| frame.records()) {
            from = offset + 1;
            each(record);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::is_finding;

    #[test]
    fn a_topic_that_nobody_compares_is_a_trouble_of_the_harness() {
        let topics = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let told = |compared: &[&str], held: &[&str]| {
            all_are_compared("log", &topics(compared), &topics(held)).map_err(|error| is_finding(&error))
        };
        assert_eq!(told(&["awards", "journal"], &["journal", "awards"]), Ok(()));
        assert_eq!(told(&["awards"], &["awards", "orders.gift"]), Err(false));
        assert_eq!(told(&["awards", "journal"], &["awards"]), Err(false));
    }
}
