//! [`Committer`]: a job is done once, after what it waits for is durable, and every job ends,
//! whether the log goes on, fails, or the committer is dropped (I6).

use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::ManualClock;
use hongbao_engine::commit::{CommitError, CommitHandle, CommitJob, Committer};
use hongbao_engine::log::{Log, Position};
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_engine::store::{Applied, Rows, Store};
use hongbao_engine::thread;
use hongbao_interleavings::explore;
use parking_lot::Mutex;

const ZERO: Partition = Partition(0);

fn log() -> Arc<MemoryLog> {
    Arc::new(MemoryLog::manual(1, Arc::new(ManualClock::at(0))))
}

fn append(log: &MemoryLog) -> Position {
    let mut records = RecordBuf::new();
    records.push(b"output");
    let frame = Frame { topic: "t", envelope: Envelope::PRODUCER, records: &records };
    log.append(ZERO, &[frame]).unwrap().position
}

/// A job that notes when it was done, and that its outputs were durable then.
fn job(
    log: &Arc<MemoryLog>,
    after: Position,
    number: u64,
    done: &Arc<Mutex<Vec<u64>>>,
) -> (CommitJob, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let (log, done) = (Arc::clone(log), Arc::clone(done));
    let fold_rows = move || {
        let durable = log.durable(ZERO).unwrap();
        assert!(durable >= after, "committed before its outputs were durable (I6)");
        done.lock().push(number);
        Ok(vec![Rows::new()])
    };
    let job = CommitJob {
        partition: ZERO,
        after,
        store: store.clone(),
        fold_rows: Box::new(fold_rows),
        task_rows: Rows::new(),
        applied: Applied { offset: number, last_record_crc: 0 },
    };
    (job, store)
}

fn wait(log: &MemoryLog, handle: &CommitHandle) -> Result<Applied, CommitError> {
    loop {
        let seen = log.progress().version();
        if let Some(outcome) = handle.poll() {
            return outcome;
        }
        log.progress().wait(seen, Duration::from_secs(1));
    }
}

#[test]
fn every_job_is_done_once_and_not_too_early() {
    explore(|| {
        let (log, done) = (log(), Arc::new(Mutex::new(Vec::new())));
        let committer = Committer::start(log.clone(), 2, 2).unwrap();
        let syncing = Arc::clone(&log);
        let sync = thread::spawn(move || {
            (0..3).for_each(|_| {
                syncing.sync_groups(ZERO, 1);
                thread::yield_now()
            })
        });
        let mut handles = Vec::new();
        for number in 1..=3 {
            let after = append(&log);
            let place = loop {
                log.sync_groups(ZERO, 1);
                let seen = log.progress().version();
                match committer.try_reserve() {
                    Some(place) => break place,
                    None => log.progress().wait(seen, Duration::from_secs(1)),
                }
            };
            let (job, store) = job(&log, after, number, &done);
            handles.push((place.submit(job), store, number));
        }
        sync.join().unwrap();
        log.sync();
        for (handle, store, number) in handles {
            assert_eq!(wait(&log, &handle).unwrap().offset, number);
            assert_eq!(store.applied().unwrap().offset, number, "told before it was so");
        }
        let mut done = done.lock().clone();
        done.sort_unstable();
        assert_eq!(done, [1, 2, 3]);
    });
}

#[test]
fn every_job_ends_when_the_log_fails_or_the_committer_goes() {
    explore(|| {
        let (log, done) = (log(), Arc::new(Mutex::new(Vec::new())));
        let committer = Committer::start(log.clone(), 2, 4).unwrap();
        let jobs: Vec<_> = (1..=3)
            .map(|number| {
                let (job, store) = job(&log, append(&log), number, &done);
                (committer.try_reserve().unwrap().submit(job), store, number)
            })
            .collect();
        let breaking = Arc::clone(&log);
        let breaker = thread::spawn(move || {
            breaking.sync_groups(ZERO, 1);
            breaking.fail(ZERO, "sync");
        });
        // Whoever waits is told, while another one drops the committer.
        let first = jobs.into_iter().map(|(handle, store, number)| {
            let log = Arc::clone(&log);
            thread::spawn(move || (wait(&log, &handle), store.applied().unwrap().offset, number))
        });
        let waiting: Vec<_> = first.collect();
        breaker.join().unwrap();
        let outcomes: Vec<_> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
        drop(committer);
        for (outcome, applied, number) in outcomes {
            assert_eq!(outcome.is_ok(), applied == number, "{outcome:?} {applied}");
        }
    });
}

#[test]
fn a_drop_ends_what_waits() {
    explore(|| {
        let (log, done) = (log(), Arc::new(Mutex::new(Vec::new())));
        let committer = Committer::start(log.clone(), 1, 4).unwrap();
        let handles: Vec<_> = (1..=2)
            .map(|number| {
                let (job, _) = job(&log, append(&log), number, &done);
                committer.try_reserve().unwrap().submit(job)
            })
            .collect();
        let syncing = Arc::clone(&log);
        let sync = thread::spawn(move || syncing.sync_groups(ZERO, 1));
        drop(committer);
        sync.join().unwrap();
        for (handle, number) in handles.iter().zip(1..) {
            let outcome = handle.poll();
            let was_done = done.lock().contains(&number);
            match outcome {
                Some(Ok(_)) => assert!(was_done),
                Some(Err(CommitError::Stopped)) => assert!(!was_done),
                other => panic!("{other:?}"),
            }
        }
    });
}
