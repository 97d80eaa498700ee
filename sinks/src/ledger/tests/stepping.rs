//! The worker step by step, without a thread: what a full book holds up and what it does not, and
//! that whatever happens then every ticket completes once, with what is certain (I10, I26).

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::driving::{person, sent, stores, told};
use super::faults::{no_answer, not_sent, unknown};
use super::*;
use crate::downstream::{Completed, Completion, Downstream, Outcome, Outcomes, Ticket, Told};
use crate::faulty_log::FaultyLog;
use crate::ledger::desk::Round;
use crate::ledger::worker::Worker;

const P1: Partition = Partition(1);

/// A ledger and its committer, moved by hand.
struct Stepped {
    ledger: SteppedLedger,
    committer: Arc<Committer>,
}

fn spec(log: Arc<dyn Log>, stores: Vec<Arc<dyn Store>>) -> LedgerSpec {
    LedgerSpec { log, stores, wake: Arc::new(|| ()), limits: small() }
}

fn credited() -> Completed {
    sent(Outcome::Credited)
}

/// By ticket; none completes twice.
fn by_ticket(done: Vec<Completion>) -> BTreeMap<u64, Completed> {
    let count = done.len();
    let done: BTreeMap<u64, Completed> =
        done.into_iter().map(|completion| (completion.ticket.0, completion.result)).collect();
    assert_eq!(done.len(), count, "a ticket completed twice");
    done
}

impl Stepped {
    fn open(log: Arc<dyn Log>, stores: Vec<Arc<dyn Store>>) -> Self {
        let committer = Arc::new(Committer::manual(Arc::clone(&log), 8));
        let ledger = SteppedLedger::open(spec(log, stores), Arc::clone(&committer)).unwrap();
        Self { ledger, committer }
    }

    fn submit(&mut self, ticket: u64, partition: Partition, records: &[Record]) {
        self.ledger.submit(Ticket(ticket), batch(partition, records));
    }

    /// An order of a partition that nobody submitted.
    fn ask(&mut self, ticket: u64, partition: Partition) {
        let record = order("never", &person(partition, 2), "CNY/2", 5);
        self.ledger.ask(Ticket(ticket), record.into());
    }

    /// What some polls bring, commits in between.
    fn poll(&mut self) -> BTreeMap<u64, Completed> {
        let mut done = Vec::new();
        for _ in 0..5 {
            self.ledger.poll(&mut done);
            self.committer.run_ready();
        }
        by_ticket(done)
    }

    /// Credits one order in partition 0 and leaves no room for another there.
    fn fill(&mut self, log: &MemoryLog) -> Record {
        let record = large_order("large", "u", "CNY/2", 5, &"c".repeat(10_000));
        self.submit(0, P0, std::slice::from_ref(&record));
        self.ledger.poll(&mut Vec::new());
        log.set_bytes_max(record.len());
        record
    }
}

#[test]
fn a_full_book_holds_up_its_partition_alone_and_keeps_its_order() {
    let log = durable_log(2);
    let (kept, ports) = stores(2);
    let mut stepped = Stepped::open(log.clone(), ports);
    let first = stepped.fill(&log);
    stepped.submit(1, P0, &[cash(1, 5)]);
    stepped.submit(2, P0, &[cash(2, 5), cash(1, 5)]);
    stepped.ask(3, P0);
    assert_eq!(stepped.poll(), BTreeMap::new());
    stepped.submit(4, P1, &[cash(4, 5), cash(5, 5), cash(7, 5)]);
    stepped.ask(5, P1);
    assert_eq!(stepped.poll(), BTreeMap::from([(4, credited()), (5, told(Told::Absent))]));
    assert_eq!(stepped.ledger.halted(), None, "a full book is not a failed one");
    assert_eq!(check_store(&log, P1, &kept[1]), 3, "the other commits, too");

    log.set_bytes_max(usize::MAX);
    let done = stepped.poll();
    let repeated = Outcomes::Each(vec![Outcome::Credited, Outcome::AlreadyCredited]);
    let repeated = Completed::Sent { outcomes: repeated, pause: None };
    assert_eq!(done, BTreeMap::from([(1, credited()), (2, repeated), (3, told(Told::Absent))]));
    assert_eq!(book(&log), [first, cash(1, 5), cash(2, 5)]);
    assert_eq!(check_store(&log, P0, &kept[0]), 3);
}

#[test]
fn what_waits_for_commits_holds_up_its_partition_alone() {
    let log = manual_log(2);
    let mut stepped = Stepped::open(log.clone(), stores(2).1);
    for n in 0..30 {
        stepped.submit(n, P0, &[cash(n, 5)]);
        stepped.submit(100 + n, P1, &[cash(n, 5)]);
    }
    let mut done = BTreeMap::new();
    for _ in 0..10 {
        log.sync_groups(P1, usize::MAX);
        done.append(&mut stepped.poll());
    }
    assert_eq!(done.into_keys().collect::<Vec<_>>(), (100..130).collect::<Vec<_>>());
    log.sync_groups(P0, usize::MAX);
    assert_eq!(stepped.poll().len(), 12, "four times what a commit takes");
    log.sync_groups(P0, usize::MAX);
    assert_eq!(stepped.poll().len(), 12, "and more after a commit");
}

#[test]
fn a_failure_while_the_book_is_full_leaves_unknown_only_what_was_begun() {
    let log = manual_log(2);
    let mut stepped = Stepped::open(log.clone(), stores(2).1);
    stepped.submit(1, P0, &[cash(1, 5)]);
    stepped.submit(2, P1, &[cash(2, 5)]);
    assert_eq!(stepped.poll(), BTreeMap::new(), "nothing is durable");
    log.set_bytes_max(5_000_000);
    // A part of it finds room.
    let text = "c".repeat(1_000_000);
    let large: Vec<Record> = (0..9).map(|n| large_order(&format!("o{n}"), "u", "CNY/2", 1, &text)).collect();
    stepped.submit(3, P0, &large);
    stepped.submit(4, P0, &[cash(4, 5)]);
    stepped.ask(5, P0);
    stepped.submit(6, P1, &[cash(6, 5)]);
    assert_eq!(stepped.poll(), BTreeMap::new());
    log.fail(P0, "the device is gone");
    let expected = [(1, unknown()), (3, unknown()), (4, not_sent()), (5, no_answer())];
    assert_eq!(stepped.poll(), BTreeMap::from(expected));
    assert!(stepped.ledger.halted().is_some_and(|said| said.contains("the device is gone")));
    assert_eq!(Downstream::halted(&stepped.ledger, P1), None);

    log.set_bytes_max(usize::MAX);
    stepped.submit(7, P0, &[cash(7, 5)]);
    stepped.submit(8, P1, &[cash(8, 5)]);
    assert_eq!(stepped.poll(), BTreeMap::from([(7, not_sent())]));
    log.sync_groups(P1, usize::MAX);
    assert_eq!(stepped.poll(), BTreeMap::from([(2, credited()), (6, credited()), (8, credited())]));
}

#[test]
fn a_panic_while_the_book_is_full_stops_its_partition_alone() {
    let memory = durable_log(2);
    let log = FaultyLog::over(&memory);
    let (kept, ports) = stores(2);
    let mut stepped = Stepped::open(log.clone(), ports);
    stepped.fill(&memory);
    stepped.submit(1, P0, &[cash(1, 5), cash(2, 5), cash(4, 5)]);
    assert_eq!(stepped.poll(), BTreeMap::new());
    log.panics.store(true, Ordering::SeqCst);
    assert_eq!(stepped.poll(), BTreeMap::from([(1, unknown())]));
    log.panics.store(false, Ordering::SeqCst);
    memory.set_bytes_max(usize::MAX);
    stepped.submit(2, P0, &[cash(1, 5)]);
    stepped.submit(3, P1, &[cash(3, 5)]);
    assert_eq!(stepped.poll(), BTreeMap::from([(2, not_sent()), (3, credited())]));
    assert!(Downstream::halted(&stepped.ledger, P0).is_some_and(|said| said.contains("told to panic")));
    assert_eq!(kept[0].applied().unwrap().offset, 0, "what is not in the book is not in the store");
}

#[test]
fn a_full_book_is_tried_again_after_a_pause_and_is_a_failure_at_a_stop() {
    let memory = durable_log(2);
    let log = FaultyLog::over(&memory);
    let spec = spec(log.clone(), stores(2).1);
    let committer = Arc::new(Committer::manual(memory.clone(), 8));
    let (mut worker, mut port) = Worker::open(spec, committer).unwrap();
    let mut step = |ms, is_stopping| {
        let moved = worker.step(Round { now: Some(Duration::from_millis(ms)), is_stopping });
        (moved, log.full.load(Ordering::SeqCst))
    };
    memory.set_bytes_max(0);
    port.submit(Ticket(1), batch(P0, &[cash(1, 5)]));
    assert_eq!(step(1_000, false), (false, 1));
    assert_eq!(step(1_099, false), (false, 1), "it is left alone for a while");
    assert_eq!(step(1_100, false), (false, 2));
    memory.set_bytes_max(usize::MAX);
    assert_eq!(step(1_199, false), (false, 2));
    assert_eq!(step(1_200, false), (true, 2));
    let mut done = Vec::new();
    port.poll(&mut done);
    assert_eq!(by_ticket(std::mem::take(&mut done)), BTreeMap::from([(1, credited())]));

    memory.set_bytes_max(0);
    port.submit(Ticket(2), batch(P0, &[cash(2, 5)]));
    port.submit(Ticket(3), batch(P0, &[cash(3, 5)]));
    port.ask(Ticket(4), order("never", &person(P1, 2), "CNY/2", 5).into());
    assert_eq!(step(2_000, false), (true, 3), "the other partition answers");
    step(2_001, true);
    port.poll(&mut done);
    let expected = [(2, unknown()), (3, not_sent()), (4, told(Told::Absent))];
    assert_eq!(by_ticket(done), BTreeMap::from(expected));
    assert!(port.halted(P0).is_some() && port.halted(P1).is_none());
}

#[test]
fn stores_that_are_not_one_a_partition_are_refused() {
    for count in [1, 3] {
        let log = durable_log(2);
        let committer = Arc::new(Committer::manual(log.clone(), 8));
        let opened = SteppedLedger::open(spec(log, stores(count).1), committer);
        assert!(matches!(opened.err(), Some(LedgerError::Stores { partitions: 2, .. })), "{count}");
    }
}
