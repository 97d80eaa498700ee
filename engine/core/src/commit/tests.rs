//! Jobs are made by hand; what a task makes of the outcome is tested with the task.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::clock::ManualClock;
use crate::memory::log::MemoryLog;
use crate::memory::store::MemoryStore;
use crate::records::{Envelope, Frame, RecordBuf};

fn log() -> Arc<MemoryLog> {
    Arc::new(MemoryLog::manual(2, Arc::new(ManualClock::at(0))))
}

fn append(log: &MemoryLog, partition: Partition) -> Position {
    let mut records = RecordBuf::new();
    records.push(b"output");
    log.append(partition, &[Frame { topic: "t", envelope: Envelope::PRODUCER, records: &records }])
        .unwrap()
        .position
}

fn job(store: &Arc<MemoryStore>, partition: Partition, after: Position, offset: u64) -> CommitJob {
    let mut fold_rows = Rows::new();
    fold_rows.put(b"aa", &offset.to_le_bytes());
    let mut task_rows = Rows::new();
    task_rows.put(b"~s", b"");
    CommitJob {
        partition,
        after,
        store: store.clone(),
        fold_rows: Box::new(move || Ok(vec![fold_rows, Rows::new()])),
        task_rows,
        applied: Applied { offset, last_record_crc: 1 },
    }
}

/// Waits until a job is over, for as long as a slow machine may need.
fn wait(log: &MemoryLog, handle: &CommitHandle) -> Result<Applied, CommitError> {
    for _ in 0..600 {
        let seen = log.progress().version();
        if let Some(outcome) = handle.poll() {
            return outcome;
        }
        log.progress().wait(seen, WAIT_MAX);
    }
    panic!("the job is still waiting");
}

#[test]
fn a_commit_waits_until_the_outputs_before_it_are_durable() {
    let (log, store) = (log(), Arc::new(MemoryStore::new()));
    let committer = Committer::manual(log.clone(), 8);
    let [first, second] = [(); 2].map(|()| append(&log, Partition(0)));
    let late = committer.try_reserve().unwrap().submit(job(&store, Partition(0), second, 20));
    // A job of another partition does not wait for it.
    let other_store = Arc::new(MemoryStore::new());
    let other =
        committer.try_reserve().unwrap().submit(job(&other_store, Partition(1), Position::default(), 1));
    assert_eq!(committer.run_ready(), 1);
    assert!(other.poll().is_some_and(|outcome| outcome.is_ok()));

    log.sync_groups(Partition(0), 1);
    assert!(log.durable(Partition(0)).unwrap() >= first);
    assert_eq!((committer.run_ready(), late.poll()), (0, None));
    assert_eq!(store.applied(), Ok(Applied::default()));

    log.sync_groups(Partition(0), 1);
    assert_eq!(committer.run_ready(), 1);
    let applied = Applied { offset: 20, last_record_crc: 1 };
    assert_eq!(late.poll(), Some(Ok(applied)));
    assert_eq!(store.applied(), Ok(applied));
    assert_eq!(store.get(b"aa"), Ok(Some(20u64.to_le_bytes().to_vec())));
    assert_eq!(store.get(b"~s"), Ok(Some(Vec::new())));
}

#[test]
fn the_queue_is_bounded_and_places_come_back() {
    let (log, store) = (log(), Arc::new(MemoryStore::new()));
    let committer = Committer::manual(log.clone(), 2);
    let waiting = committer.try_reserve().unwrap().submit(job(&store, Partition(0), Position(1), 1));
    let place = committer.try_reserve().unwrap();
    assert!(committer.try_reserve().is_none());
    drop(place);
    assert!(committer.try_reserve().is_some());
    append(&log, Partition(0));
    log.sync();
    assert_eq!(committer.run_ready(), 1);
    assert!(waiting.poll().is_some());
    let places = [committer.try_reserve(), committer.try_reserve(), committer.try_reserve()];
    assert_eq!(places.map(|place| place.is_some()), [true, true, false]);
}

#[test]
fn a_failure_is_told_and_commits_nothing() {
    type Build = fn() -> Result<Vec<Rows>, StoreError>;
    let failed = |what: &str| StoreError::Failed(what.to_owned());
    let cases: [(Build, CommitError); 3] = [
        (|| Err(StoreError::Failed("read".to_owned())), failed("read").into()),
        (|| panic!("a bug"), CommitError::Panicked("panic: a bug".to_owned())),
        (
            || {
                let mut rows = Rows::new();
                rows.put(b"b", b"");
                rows.put(b"a", b"");
                Ok(vec![rows])
            },
            StoreError::NotSorted.into(),
        ),
    ];
    for (build, expected) in cases {
        let (log, store) = (log(), Arc::new(MemoryStore::new()));
        let committer = Committer::manual(log, 1);
        let mut job = job(&store, Partition(0), Position::default(), 5);
        job.fold_rows = Box::new(build);
        let handle = committer.try_reserve().unwrap().submit(job);
        assert_eq!(committer.run_ready(), 1);
        assert_eq!(handle.poll(), Some(Err(expected)));
        assert_eq!(store.applied(), Ok(Applied::default()));
    }
}

#[test]
fn a_log_that_failed_ends_the_wait() {
    let (log, store) = (log(), Arc::new(MemoryStore::new()));
    let committer = Committer::start(log.clone(), 1, 1).unwrap();
    let after = append(&log, Partition(0));
    let handle = committer.try_reserve().unwrap().submit(job(&store, Partition(0), after, 5));
    log.fail(Partition(0), "sync");
    assert_eq!(wait(&log, &handle), Err(LogError::Failed("sync".to_owned()).into()));
    assert_eq!(store.applied(), Ok(Applied::default()));
}

#[test]
fn threads_commit_while_others_wait_and_a_drop_gives_up_the_rest() {
    let log = log();
    let committer = Committer::start(log.clone(), 2, 100).unwrap();
    let built = Arc::new(AtomicUsize::new(0));
    let stores: Vec<_> = (0..20).map(|_| Arc::new(MemoryStore::new())).collect();
    let handles: Vec<_> = stores
        .iter()
        .map(|store| {
            let after = append(&log, Partition(0));
            let mut job = job(store, Partition(0), after, 7);
            let built = built.clone();
            job.fold_rows = Box::new(move || {
                built.fetch_add(1, Ordering::SeqCst);
                Ok(Vec::new())
            });
            committer.try_reserve().unwrap().submit(job)
        })
        .collect();
    log.sync_groups(Partition(0), 10);
    for handle in &handles[..10] {
        assert_eq!(wait(&log, handle).unwrap().offset, 7);
    }
    drop(committer);
    for handle in &handles[10..] {
        assert_eq!(handle.poll(), Some(Err(CommitError::Stopped)));
    }
    assert_eq!(built.load(Ordering::SeqCst), 10);
}

/// A store that has no room for the first commits.
#[derive(Default)]
struct FullAtFirst(MemoryStore, AtomicUsize);

impl Store for FullAtFirst {
    fn applied(&self) -> Result<Applied, StoreError> {
        self.0.applied()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.0.multi_get(keys)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut crate::store::Visit<'_>) -> Result<(), StoreError> {
        self.0.scan(from, to, visit)
    }

    fn commit(&self, runs: &[Rows], applied: Applied) -> Result<(), StoreError> {
        let full = self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        full.map_or_else(|_| self.0.commit(runs, applied), |_| Err(StoreError::Full("full".to_owned())))
    }
}

#[test]
fn rows_that_found_no_room_are_built_once_and_written_when_there_is() {
    let log = log();
    let committer = Committer::start(log.clone(), 1, 8).unwrap();
    let (full, built) = (Arc::new(FullAtFirst(MemoryStore::new(), 2.into())), Arc::new(AtomicUsize::new(0)));
    let mut late = job(&Arc::default(), Partition(0), Position::default(), 5);
    late.store = full.clone();
    let (build, counted) = (late.fold_rows, built.clone());
    late.fold_rows = Box::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        build()
    });
    let late = committer.try_reserve().unwrap().submit(late);
    // Others do not wait for it.
    let store = Arc::new(MemoryStore::new());
    let other = committer.try_reserve().unwrap().submit(job(&store, Partition(1), Position::default(), 7));
    assert_eq!(wait(&log, &other).unwrap().offset, 7);
    assert_eq!(wait(&log, &late).unwrap().offset, 5);
    assert!(!late.waits_for_space());
    assert_eq!(full.get(b"aa"), Ok(Some(5u64.to_le_bytes().to_vec())));
    assert_eq!(full.get(b"~s"), Ok(Some(Vec::new())));
    assert_eq!(built.load(Ordering::SeqCst), 1);
}

#[test]
fn a_job_that_is_being_tried_is_not_said_to_lack_space() {
    let committer = Committer::manual(log(), 8);
    let mut late = job(&Arc::default(), Partition(0), Position::default(), 5);
    late.store = Arc::new(FullAtFirst(MemoryStore::new(), 1.into()));
    let late = committer.try_reserve().unwrap().submit(late);
    assert_eq!(committer.run_ready(), 0);
    assert!(late.waits_for_space());
    // As a thread takes it up: whoever stops now waits for what comes of it.
    let waiting = committer.shared.take_ready(None).unwrap();
    assert!(!late.waits_for_space());
    assert!(committer.shared.run(waiting).is_none());
    assert_eq!(late.poll().unwrap().unwrap().offset, 5);
}
