//! The driver with its thread: when answers are given, what waits, what a drop leaves behind.

use std::time::Duration;

use hongbao_engine::partition::partition_of;
use hongbao_engine::progress::Progress;

use super::*;
use crate::downstream::{Completed, Completion, Downstream, Outcome, Outcomes, Ticket, Told};

/// Far above what a loaded machine needs; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Driven {
    pub(super) ledger: LedgerDownstream,
    pub(super) partitions: u16,
    wakes: Arc<Progress>,
    done: Vec<Completion>,
}

impl Driven {
    pub(super) fn open(log: Arc<dyn Log>, stores: Vec<Arc<dyn Store>>, limits: LedgerLimits) -> Self {
        let wakes = Arc::new(Progress::default());
        let waking = Arc::clone(&wakes);
        let wake = Arc::new(move || waking.bump());
        let partitions = log.partitions();
        let ledger = LedgerDownstream::open(LedgerSpec { log, stores, wake, limits }).unwrap();
        Self { ledger, partitions, wakes, done: Vec::new() }
    }

    pub(super) fn submit(&mut self, ticket: u64, partition: Partition, records: &[Record]) {
        self.ledger.submit(Ticket(ticket), batch(partition, records));
    }

    /// Waits, by the ledger's wakes alone, until `count` tickets have completed; more are an error.
    pub(super) fn completed(&mut self, count: usize) -> BTreeMap<u64, Completed> {
        loop {
            let seen = self.wakes.version();
            self.ledger.poll(&mut self.done);
            assert!(self.done.len() <= count, "{:?}", self.done);
            if self.done.len() == count {
                break;
            }
            self.wakes.wait(seen, PATIENCE);
            assert!(self.wakes.version() > seen, "a ticket never completed");
        }
        let done: BTreeMap<u64, Completed> =
            self.done.drain(..).map(|completion| (completion.ticket.0, completion.result)).collect();
        assert_eq!(done.len(), count, "a ticket completed twice");
        done
    }

    pub(super) fn nothing_completed(&mut self) -> bool {
        self.ledger.poll(&mut self.done);
        self.done.is_empty()
    }

    pub(super) fn wait_until_credited(&self, count: u64) {
        let status = self.ledger.status();
        wait_until(|| status.credited() == count);
    }
}

pub(super) fn wait_until(holds: impl Fn() -> bool) {
    let pause = Progress::default();
    for _ in 0..PATIENCE.as_millis() {
        if holds() {
            return;
        }
        pause.wait(0, Duration::from_millis(1));
    }
    panic!("waited in vain");
}

pub(super) fn sent(outcome: Outcome) -> Completed {
    Completed::Sent { outcomes: Outcomes::All(outcome), pause: None }
}

pub(super) fn told(told: Told) -> Completed {
    Completed::Asked { told, pause: None }
}

pub(super) fn stores(count: usize) -> (Vec<Arc<MemoryStore>>, Vec<Arc<dyn Store>>) {
    let stores: Vec<Arc<MemoryStore>> = (0..count).map(|_| Arc::default()).collect();
    let ports = stores.iter().map(|store| Arc::clone(store) as Arc<dyn Store>).collect();
    (stores, ports)
}

/// A person whose orders belong to a partition of so many.
pub(super) fn person(partition: Partition, partitions: u16) -> String {
    let mut names = (0..).map(|n| format!("u{n}"));
    names.find(|name| partition_of(name.as_bytes(), partitions) == partition).unwrap()
}

#[test]
fn answers_wait_until_the_book_is_durable() {
    let log = manual_log(1);
    let mut driven = Driven::open(log.clone(), stores(1).1, small());
    driven.submit(1, P0, &[cash(1, 5)]);
    driven.submit(2, P0, &[cash(2, 5)]);
    driven.submit(3, P0, &[cash(1, 5), cash(2, 6)]);
    driven.ledger.ask(Ticket(4), cash(1, 5).into());
    let status = driven.ledger.status();
    wait_until(|| (status.credited(), status.repeated(), status.rejected()) == (2, 1, 1));
    assert!(driven.nothing_completed());
    log.sync_groups(P0, 1);
    assert_eq!(driven.completed(1), BTreeMap::from([(1, sent(Outcome::Credited))]));
    // A repeat, too, says that the order is credited, and an ask says so.
    assert!(driven.nothing_completed());
    log.sync_groups(P0, 1);
    let each = vec![Outcome::AlreadyCredited, Outcome::Conflict("order_conflict".into())];
    let repeated = Completed::Sent { outcomes: Outcomes::Each(each), pause: None };
    let expected = [(2, sent(Outcome::Credited)), (3, repeated), (4, told(Told::Credited))];
    assert_eq!(driven.completed(3), BTreeMap::from(expected));
    assert_eq!(status.halted(), None);
}

#[test]
fn a_partition_that_is_not_durable_holds_up_no_other() {
    let log = manual_log(3);
    let (kept, ports) = stores(3);
    let mut driven = Driven::open(log.clone(), ports, small());
    let of = |n: u16| order(&format!("o{n}"), &person(Partition(n), 3), "CNY/2", 5);
    for n in 0..3 {
        driven.submit(u64::from(n), Partition(n), &[of(n)]);
        driven.ledger.ask(Ticket(10 + u64::from(n)), of(n).into());
    }
    driven.wait_until_credited(3);
    for n in [1, 0, 2] {
        assert!(driven.nothing_completed());
        log.sync_groups(Partition(n), 1);
        let ticket = u64::from(n);
        let expected = [(ticket, sent(Outcome::Credited)), (10 + ticket, told(Told::Credited))];
        assert_eq!(driven.completed(2), BTreeMap::from(expected));
    }
    drop(driven);
    for (n, store) in (0..).zip(&kept) {
        assert_eq!(check_store(&log, Partition(n), store), 1);
    }
}

#[test]
fn a_drop_finishes_and_commits_everything() {
    let log = durable_log(1);
    let (kept, ports) = stores(1);
    let mut driven = Driven::open(log.clone(), ports.clone(), LedgerLimits::default());
    for n in 0..100 {
        driven.submit(n, P0, &[cash(n, 5), cash(100 + n, 6)]);
    }
    drop(driven);
    assert_eq!(check_store(&log, P0, &kept[0]), 200);

    let mut driven = Driven::open(log.clone(), ports, LedgerLimits::default());
    driven.submit(0, P0, &[cash(0, 5), cash(300, 5), cash(100, 5)]);
    let each = vec![Outcome::AlreadyCredited, Outcome::Credited, Outcome::Conflict("order_conflict".into())];
    let expected = Completed::Sent { outcomes: Outcomes::Each(each), pause: None };
    assert_eq!(driven.completed(1), BTreeMap::from([(0, expected)]));
    drop(driven);
    assert_eq!(check_store(&log, P0, &kept[0]), 201);
}

#[test]
fn what_waits_for_commits_is_bounded_and_then_goes_on() {
    let log = manual_log(1);
    let (kept, ports) = stores(1);
    let mut driven = Driven::open(log.clone(), ports, small());
    let in_flight = u64::from(driven.ledger.capabilities().max_in_flight);
    for n in 0..in_flight {
        driven.submit(n, P0, &[cash(2 * n, 5), cash(2 * n + 1, 5)]);
    }
    // Four times what a commit takes, which cannot end before the book is durable.
    driven.wait_until_credited(12);
    for _ in 0..3 {
        log.progress().bump();
        assert!(driven.nothing_completed());
    }
    assert_eq!(driven.ledger.status().credited(), 12);
    let status = driven.ledger.status();
    wait_until(|| {
        log.sync();
        status.credited() == 2 * in_flight
    });
    log.sync();
    let done = driven.completed(in_flight as usize);
    assert!(done.values().all(|result| *result == sent(Outcome::Credited)));
    drop(driven);
    assert_eq!(check_store(&log, P0, &kept[0]) as u64, 2 * in_flight);
}
