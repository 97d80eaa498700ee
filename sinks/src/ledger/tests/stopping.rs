//! A stop while a store has no room or a device does not answer: it ends, what has room is committed, and the next start folds
//! the rest from the book again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_engine::store::StoreError;

use super::driving::{Driven, sent, stores, wait_until};
use super::faults::{BrokenStore, not_sent};
use super::*;
use crate::downstream::{Completed, Downstream, Outcome, Outcomes, Ticket};
use crate::ledger::desk::Round;
use crate::ledger::port::Port;
use crate::ledger::worker::Worker;

const P1: Partition = Partition(1);

/// A store without room, ever.
fn full() -> Arc<dyn Store> {
    Arc::new(BrokenStore::new(Arc::default(), StoreError::Full("told to".to_owned())))
}

/// A worker, and the committer that a test moves by hand.
fn worker(log: &Arc<MemoryLog>, stores: Vec<Arc<dyn Store>>) -> (Worker, Port, Arc<Committer>) {
    let committer = Arc::new(Committer::manual(log.clone(), 8));
    let spec = LedgerSpec { log: log.clone(), stores, wake: Arc::new(|| ()), limits: small() };
    let (worker, port) = Worker::open(spec, Arc::clone(&committer)).unwrap();
    (worker, port, committer)
}

fn some(count: u64) -> Vec<Record> {
    (0..count).map(|n| cash(n, 5)).collect()
}

/// What `ticket` got by now, if it is over; no other may be.
fn poll(port: &mut Port, ticket: u64) -> Option<Completed> {
    let mut done = Vec::new();
    port.poll(&mut done);
    assert!(done.iter().all(|completion| completion.ticket == Ticket(ticket)) && done.len() < 2, "{done:?}");
    done.pop().map(|completion| completion.result)
}

#[test]
fn a_drop_with_a_full_store_ends_and_commits_what_has_room() {
    let memory = durable_log(2);
    let (kept, mut ports) = stores(2);
    let well = std::mem::replace(&mut ports[0], full());
    let mut driven = Driven::open(memory.clone(), ports.clone(), LedgerLimits::default());
    driven.submit(1, P0, &some(5));
    driven.submit(2, P1, &some(7));
    driven.completed(2);
    let is_over = Arc::new(AtomicBool::new(false));
    let tells = Arc::clone(&is_over);
    std::thread::spawn(move || {
        drop(driven);
        tells.store(true, Ordering::SeqCst);
    });
    wait_until(|| is_over.load(Ordering::SeqCst));
    assert_eq!(check_store(&memory, P1, &kept[1]), 7, "the other partition has room");

    ports[0] = well;
    let mut driven = Driven::open(memory.clone(), ports, LedgerLimits::default());
    driven.submit(1, P0, &some(6));
    let mut each = vec![Outcome::AlreadyCredited; 5];
    each.push(Outcome::Credited);
    let expected = Completed::Sent { outcomes: Outcomes::Each(each), pause: None };
    assert_eq!(driven.completed(1).remove(&1), Some(expected), "nothing was lost");
    drop(driven);
    assert_eq!(check_store(&memory, P0, &kept[0]), 6);
}

#[test]
fn a_full_store_is_not_waited_for_at_a_stop() {
    let memory = durable_log(1);
    let (mut worker, mut port, committer) = worker(&memory, vec![full()]);
    port.submit(Ticket(1), batch(P0, &some(4)));
    worker.step(Round::default());
    committer.run_ready();
    worker.finish(&ManualClock::at(0), Duration::MAX);
    assert_eq!(poll(&mut port, 1), Some(sent(Outcome::Credited)));
    assert_eq!(port.halted(P0), None, "it is no failure");
}

#[test]
fn commits_that_do_not_come_to_an_end_are_given_up() {
    let memory = durable_log(1);
    // Nobody moves the committer.
    let (mut worker, mut port, _committer) = worker(&memory, stores(1).1);
    port.submit(Ticket(1), batch(P0, &some(4)));
    worker.step(Round::default());
    worker.finish(&ManualClock::at(0), Duration::ZERO);
    assert_eq!(poll(&mut port, 1), Some(sent(Outcome::Credited)));
}

#[test]
fn what_a_full_store_keeps_from_being_decided_is_not_sent_at_a_stop() {
    let memory = manual_log(1);
    let (mut worker, mut port, committer) = worker(&memory, vec![full()]);
    let mut step = |is_stopping| {
        worker.step(Round { now: None, is_stopping });
        committer.run_ready();
    };
    // Four times what a commit takes.
    port.submit(Ticket(1), batch(P0, &some(12)));
    port.submit(Ticket(2), batch(P0, &[cash(20, 5)]));
    step(false);
    memory.sync();
    committer.run_ready();
    memory.sync();
    step(false);
    assert_eq!(poll(&mut port, 1), Some(sent(Outcome::Credited)));
    step(false);
    assert_eq!(poll(&mut port, 2), None, "there may be room again");
    step(true);
    assert_eq!(poll(&mut port, 2), Some(not_sent()));
}

/// A clock on which each look takes a second.
#[derive(Default)]
struct HastyClock(AtomicU64);

impl Clock for HastyClock {
    fn wall_ms(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

#[test]
fn a_stop_does_not_wait_for_ever_for_a_book_that_does_not_become_durable() {
    // Its sync hangs: nobody moves it.
    let memory = manual_log(2);
    let (kept, ports) = stores(2);
    let (mut worker, mut port, committer) = worker(&memory, ports);
    port.submit(Ticket(1), batch(P1, &some(2)));
    worker.step(Round::default());
    memory.sync();
    worker.step(Round::default());
    assert_eq!(poll(&mut port, 1), Some(sent(Outcome::Credited)));
    port.submit(Ticket(2), batch(P0, &some(2)));
    let clock = HastyClock::default();
    let since = worker.work(&clock, &AtomicBool::new(true));
    let waited = clock.monotonic().saturating_sub(since);
    assert!(waited >= Duration::from_secs(30), "given up after {waited:?}");
    let Some(Completed::Sent { outcomes: Outcomes::All(Outcome::Unknown(_)), .. }) = poll(&mut port, 2)
    else {
        panic!("the book may hold it or not");
    };
    assert!(port.halted(P0).is_some_and(|why| why.contains("did not come to an end")));
    assert_eq!(port.halted(P1), None, "the other partition had answered everything");
    committer.run_ready();
    worker.finish(&ManualClock::at(0), Duration::ZERO);
    committer.run_ready();
    worker.finish(&ManualClock::at(0), Duration::ZERO);
    assert_eq!(check_store(&memory, P1, &kept[1]), 2, "and commits");
}

#[test]
fn a_stop_does_not_wait_for_ever_for_a_commit_that_keeps_orders_from_being_decided() {
    let memory = durable_log(1);
    // Nobody moves the committer.
    let (mut worker, mut port, _committer) = worker(&memory, stores(1).1);
    // Four times what a commit takes.
    port.submit(Ticket(1), batch(P0, &some(12)));
    worker.step(Round::default());
    assert_eq!(poll(&mut port, 1), Some(sent(Outcome::Credited)));
    port.submit(Ticket(2), batch(P0, &[cash(20, 5)]));
    worker.work(&HastyClock::default(), &AtomicBool::new(true));
    assert_eq!(poll(&mut port, 2), Some(not_sent()));
    assert!(port.halted(P0).is_some());
}

#[test]
fn a_stop_with_nothing_open_ends_at_once() {
    let memory = durable_log(1);
    let (mut worker, mut port, _committer) = worker(&memory, stores(1).1);
    port.submit(Ticket(1), batch(P0, &some(2)));
    worker.work(&ManualClock::at(0), &AtomicBool::new(true));
    assert_eq!(poll(&mut port, 1), Some(sent(Outcome::Credited)));
    assert_eq!(port.halted(P0), None);
}
