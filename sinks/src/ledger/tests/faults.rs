//! Logs and stores that fail under the driver: every ticket completes once, with what is certain
//! and no more (I10), and a partition that has failed writes nothing any more and stops alone (I26).

use std::sync::atomic::{AtomicBool, Ordering};

use hongbao_engine::log::LogError;
use hongbao_engine::store::{Applied, Rows as StoreRows, StoreError, Visit};

use super::driving::{Driven, person, sent, stores, told, wait_until};
use super::*;
use crate::downstream::{Completed, Downstream, Outcome, Outcomes, Ticket, Told};
use crate::faulty_log::{Calls, FaultyLog};

fn wait_until_full(log: &FaultyLog) {
    let before = log.full.load(Ordering::SeqCst);
    wait_until(|| log.full.load(Ordering::SeqCst) > before);
}

/// A store whose commits fail in the same way each time, until it is mended.
pub(super) struct BrokenStore(Arc<MemoryStore>, StoreError, AtomicBool);

impl BrokenStore {
    pub(super) fn new(store: Arc<MemoryStore>, error: StoreError) -> Self {
        Self(store, error, AtomicBool::new(true))
    }

    fn mend(&self) {
        self.2.store(false, Ordering::SeqCst);
    }
}

impl Store for BrokenStore {
    fn applied(&self) -> Result<Applied, StoreError> {
        self.0.applied()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.0.multi_get(keys)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.0.scan(from, to, visit)
    }

    fn commit(&self, rows: &[StoreRows], applied: Applied) -> Result<(), StoreError> {
        if self.2.load(Ordering::SeqCst) { Err(self.1.clone()) } else { self.0.commit(rows, applied) }
    }
}

fn told_to_fail() -> StoreError {
    StoreError::Failed("told to".to_owned())
}

pub(super) fn unknown() -> Completed {
    sent(Outcome::Unknown("ledger_failed".into()))
}

pub(super) fn not_sent() -> Completed {
    sent(Outcome::NotSent("ledger_failed".into()))
}

pub(super) fn no_answer() -> Completed {
    told(Told::Unknown("ledger_failed".into()))
}

/// A partition that has stopped, the first, answers whatever comes, and a drop does not hang.
fn check_stopped(mut driven: Driven) {
    assert!(driven.ledger.halted(P0).is_some());
    driven.submit(1_000, P0, &[cash(1_000, 5)]);
    let partitions = driven.partitions;
    driven.ledger.ask(Ticket(1_001), order("a", &person(P0, partitions), "CNY/2", 5).into());
    let expected = BTreeMap::from([(1_000, not_sent()), (1_001, no_answer())]);
    assert_eq!(driven.completed(2), expected);
    drop(driven);
}

#[test]
fn a_full_log_holds_up_only_what_does_not_fit() {
    let memory = manual_log(1);
    let log = FaultyLog::over(&memory);
    let (kept, ports) = stores(1);
    let mut driven = Driven::open(log.clone(), ports, small());
    driven.submit(1, P0, &[cash(1, 5)]);
    driven.wait_until_credited(1);
    memory.set_bytes_max(0);
    driven.submit(2, P0, &[cash(2, 5), cash(1, 5)]);
    driven.submit(3, P0, &[cash(3, 5)]);
    wait_until_full(&log);
    memory.sync();
    assert_eq!(driven.completed(1), BTreeMap::from([(1, sent(Outcome::Credited))]), "it is in the book");
    wait_until_full(&log);
    assert!(driven.nothing_completed());
    assert_eq!(driven.ledger.status().halted(), None, "a full log is not a failed one");

    memory.set_bytes_max(usize::MAX);
    driven.wait_until_credited(3);
    assert!(driven.nothing_completed());
    memory.sync();
    assert_eq!(driven.completed(2).remove(&3), Some(sent(Outcome::Credited)));
    drop(driven);
    assert_eq!(check_store(&memory, P0, &kept[0]), 3);
}

#[test]
fn a_drop_while_the_log_is_full_ends_and_credits_nothing() {
    let memory = durable_log(1);
    let log = FaultyLog::over(&memory);
    let (kept, ports) = stores(1);
    let mut driven = Driven::open(log.clone(), ports.clone(), small());
    driven.submit(1, P0, &[cash(1, 5)]);
    driven.completed(1);
    memory.set_bytes_max(0);
    driven.submit(2, P0, &[cash(2, 5)]);
    driven.submit(3, P0, &[cash(3, 5)]);
    wait_until_full(&log);
    drop(driven);
    assert_eq!(book(&memory), [cash(1, 5)]);

    memory.set_bytes_max(usize::MAX);
    let mut driven = Driven::open(memory.clone(), ports, small());
    driven.submit(2, P0, &[cash(2, 5)]);
    assert_eq!(driven.completed(1), BTreeMap::from([(2, sent(Outcome::Credited))]));
    drop(driven);
    assert_eq!(check_store(&memory, P0, &kept[0]), 2);
}

#[test]
fn a_drop_while_one_partition_is_full_finishes_the_others() {
    let memory = durable_log(2);
    let log = FaultyLog::over(&memory);
    let (kept, ports) = stores(2);
    let mut driven = Driven::open(log.clone(), ports, LedgerLimits::default());
    let first = large_order("large", "u", "CNY/2", 5, &"c".repeat(10_000));
    driven.submit(1, P0, std::slice::from_ref(&first));
    driven.completed(1);
    memory.set_bytes_max(first.len());
    driven.submit(2, P0, &[cash(2, 5)]);
    wait_until_full(&log);
    for n in 0..20 {
        driven.submit(10 + n, Partition(1), &[cash(10 + n, 5)]);
    }
    drop(driven);
    assert_eq!(book(&memory), [first]);
    assert_eq!(check_store(&memory, Partition(1), &kept[1]), 20);
}

#[test]
fn when_the_log_fails_what_was_decided_is_unknown_and_the_rest_not_sent() {
    let memory = manual_log(2);
    let log = FaultyLog::over(&memory);
    let mut driven = Driven::open(log.clone(), stores(2).1, small());
    // Of both partitions, and the one that works goes on.
    driven.submit(1, Partition(1), &[cash(1, 5)]);
    driven.submit(2, P0, &[cash(2, 5)]);
    driven.submit(3, Partition(1), &[cash(3, 5)]);
    driven.wait_until_credited(3);
    memory.set_bytes_max(0);
    driven.submit(5, P0, &[cash(5, 5)]);
    driven.submit(6, P0, &[cash(6, 5)]);
    driven.submit(7, Partition(1), &[cash(7, 5)]);
    wait_until_full(&log);
    assert!(driven.nothing_completed());
    memory.fail(P0, "the device is gone");
    let expected = BTreeMap::from([(2, unknown()), (5, unknown()), (6, not_sent())]);
    assert_eq!(driven.completed(3), expected);
    memory.set_bytes_max(usize::MAX);
    driven.wait_until_credited(4);
    memory.sync_groups(Partition(1), usize::MAX);
    let credited = || sent(Outcome::Credited);
    assert_eq!(driven.completed(3), BTreeMap::from([(1, credited()), (3, credited()), (7, credited())]));
    assert_eq!(driven.ledger.halted(Partition(1)), None);
    check_stopped(driven);
}

#[test]
fn a_log_that_fails_while_answers_wait_loses_none_of_them() {
    let memory = manual_log(3);
    let mut driven = Driven::open(memory.clone(), stores(3).1, small());
    for n in 0..9 {
        driven.submit(n, Partition((n % 3) as u16), &[cash(n, 5)]);
    }
    driven.wait_until_credited(9);
    memory.fail(P0, "the device is gone");
    let done = driven.completed(3);
    assert_eq!(done, BTreeMap::from([(0, unknown()), (3, unknown()), (6, unknown())]));
    memory.sync();
    let done = driven.completed(6);
    assert!(done.values().all(|result| *result == sent(Outcome::Credited)), "{done:?}");
    check_stopped(driven);
}

#[test]
fn a_book_that_is_damaged_at_the_start_stops_its_partition_alone() {
    let memory = durable_log(2);
    let (kept, ports) = stores(2);
    let mut driven = Driven::open(memory.clone(), ports.clone(), LedgerLimits::default());
    driven.submit(1, P0, &[cash(1, 5)]);
    driven.submit(2, Partition(1), &[cash(2, 5)]);
    driven.completed(2);
    drop(driven);
    memory.lose_from(P0, BOOK_TOPIC, 0);
    let mut driven = Driven::open(memory.clone(), ports, LedgerLimits::default());
    driven.submit(1, P0, &[cash(1, 5)]);
    driven.submit(2, Partition(1), &[cash(2, 5), cash(3, 5)]);
    let each = vec![Outcome::AlreadyCredited, Outcome::Credited];
    let credited = Completed::Sent { outcomes: Outcomes::Each(each), pause: None };
    assert_eq!(driven.completed(2), BTreeMap::from([(1, not_sent()), (2, credited)]));
    let said = driven.ledger.status().halted().unwrap();
    assert!(said.starts_with("partition 0: ") && !said.contains("partition 1"), "{said}");
    check_stopped(driven);
    assert_eq!(check_store(&memory, Partition(1), &kept[1]), 2, "and the other commits");
}

#[test]
fn a_store_that_fails_stops_its_partition_alone() {
    let memory = durable_log(2);
    let broken: Arc<dyn Store> = Arc::new(BrokenStore::new(Arc::default(), told_to_fail()));
    let well = Arc::new(MemoryStore::new());
    let mut driven = Driven::open(memory.clone(), vec![broken, well.clone()], small());
    driven.submit(1, P0, &[cash(1, 5), cash(2, 5), cash(4, 5)]);
    assert_eq!(driven.completed(1), BTreeMap::from([(1, sent(Outcome::Credited))]));
    let status = driven.ledger.status();
    wait_until(|| status.halted().is_some());
    driven.submit(2, Partition(1), &[cash(5, 5), cash(6, 5), cash(7, 5), cash(8, 5)]);
    driven.submit(3, P0, &[cash(9, 5)]);
    assert_eq!(driven.completed(2), BTreeMap::from([(2, sent(Outcome::Credited)), (3, not_sent())]));
    check_stopped(driven);
    assert_eq!(check_store(&memory, Partition(1), &well), 4);
}

#[test]
fn an_append_without_an_answer_is_settled_by_the_next_start() {
    for (panics, credited) in [(false, true), (true, false)] {
        let memory = durable_log(1);
        let log = FaultyLog::over(&memory);
        let (kept, ports) = stores(1);
        let mut driven = Driven::open(log.clone(), ports.clone(), small());
        driven.submit(1, P0, &[cash(1, 5)]);
        assert_eq!(driven.completed(1), BTreeMap::from([(1, sent(Outcome::Credited))]));
        if panics {
            log.panics.store(true, Ordering::SeqCst);
        } else {
            log.refuse(P0.0, Calls::AnswerOfAppend, LogError::Failed("told to".to_owned()));
        }
        driven.submit(2, P0, &[cash(2, 5), cash(4, 5), cash(5, 5)]);
        assert_eq!(driven.completed(1), BTreeMap::from([(2, unknown())]));
        check_stopped(driven);
        assert_eq!(kept[0].applied().unwrap().offset, 0, "a stopped ledger commits nothing");

        let mut driven = Driven::open(memory.clone(), ports, small());
        driven.ledger.ask(Ticket(1), cash(2, 5).into());
        let expected = if credited { Told::Credited } else { Told::Absent };
        assert_eq!(driven.completed(1), BTreeMap::from([(1, told(expected))]));
        driven.submit(2, P0, &[cash(2, 5), cash(4, 5), cash(5, 5)]);
        driven.completed(1);
        drop(driven);
        assert_eq!(check_store(&memory, P0, &kept[0]), 4);
    }
}

#[test]
fn a_failed_commit_stops_the_ledger_and_the_next_start_has_the_right_balances() {
    let memory = durable_log(1);
    let store = Arc::new(MemoryStore::new());
    let broken: Arc<dyn Store> = Arc::new(BrokenStore::new(store.clone(), told_to_fail()));
    let mut driven = Driven::open(memory.clone(), vec![broken], small());
    driven.submit(1, P0, &[cash(1, 5), cash(2, 5), cash(4, 5)]);
    assert_eq!(driven.completed(1), BTreeMap::from([(1, sent(Outcome::Credited))]), "the book has it");
    let status = driven.ledger.status();
    wait_until(|| status.halted().is_some());
    check_stopped(driven);

    let mut driven = Driven::open(memory.clone(), vec![store.clone()], small());
    driven.submit(1, P0, &[cash(4, 5), cash(7, 5)]);
    driven.completed(1);
    drop(driven);
    assert_eq!(check_store(&memory, P0, &store), 4);
}

#[test]
fn a_batch_of_a_partition_that_is_not_there_is_not_sent() {
    let mut driven = Driven::open(durable_log(1), stores(1).1, small());
    driven.submit(1, Partition(1), &[cash(1, 5)]);
    driven.submit(2, P0, &[cash(2, 5)]);
    let expected = BTreeMap::from([(1, not_sent()), (2, sent(Outcome::Credited))]);
    assert_eq!(driven.completed(2), expected);
    assert_eq!(driven.ledger.status().halted(), None);
}

#[test]
fn a_book_is_folded_without_room_and_committed_when_there_is_some() {
    let (log, memory) = (durable_log(1), Arc::new(MemoryStore::new()));
    let mut process = Process::open(&log, &memory, LedgerLimits::default()).unwrap();
    let text = "c".repeat(400_000);
    let record = |n: u64| {
        // Two people in turn, so that rows of one commit change those of the one before.
        let act_id = format!("u{}", n % 2);
        large_order(&format!("{act_id}_s_{n}_t_0"), &act_id, "COUPON/0", 1, &text)
    };
    for n in 0..20 {
        process.shard.credit(&batch(P0, &[record(n)])).unwrap();
        process.shard.append().unwrap();
    }
    let store = Arc::new(BrokenStore::new(memory.clone(), StoreError::Full("told to".to_owned())));
    let mut shard = Shard::open(P0, log.clone(), store.clone(), small()).unwrap();
    let folded = shard.uncommitted();
    assert!((12..20).contains(&folded), "{folded}: four commits' worth, and the rest waits (I29)");
    assert!(shard.is_full(), "nothing is decided until the book is folded");
    assert_eq!(memory.applied().unwrap().offset, 0);
    store.mend();
    let committer = Committer::manual(log.clone(), 1);
    assert!(shard.commit(&committer, false).unwrap());
    committer.run_ready();
    let first = check_store(&log, P0, &memory);
    assert!((1..12).contains(&first), "{first} found no room before");
    assert!(shard.is_full(), "less is uncommitted, and the book's end is not folded yet");
    let mut process = Process { shard, committer };
    process.commit_all();
    assert_eq!(check_store(&log, P0, &memory), 20);
    assert!(!process.shard.is_full());
    let outcomes = process.shard.credit(&batch(P0, &[record(19)])).unwrap();
    assert_eq!(outcomes, Outcomes::Each(vec![Outcome::AlreadyCredited]));
}
