//! Rule 2 in a lane: orders behind missing ones wait for those, and nothing else waits for them.

use std::time::Duration;

use crate::dispatch::{Confirm, Dispatcher, LaneState};

use super::kit::{ABLE, Scripted, SharedScript, World};

/// Two partitions of a lane; in the first, two orders are missing in front of two others.
fn with_gap() -> (World, Dispatcher, SharedScript) {
    let mut world = World::new(&["cash"], 2);
    world.spec.policy.confirm = Confirm::ByReading;
    world.spec.policy.gap_timeout = Duration::from_millis(400);
    world.orders_from("cash", 0, 1, 1);
    world.orders_from("cash", 0, 4, 2);
    world.orders_from("cash", 1, 1, 3);
    let (bank, script) = Scripted::new(&world, ABLE);
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 200);
    assert_eq!(world.stories(0, "cash"), ["sC"]);
    assert_eq!(world.stories(1, "cash"), ["sC"; 3]);
    assert_eq!(dispatcher.status().lanes()[0].counts.set_aside, 2);
    (world, dispatcher, script)
}

#[test]
fn what_was_held_aside_is_sent_once_when_the_gap_closes() {
    let (world, mut dispatcher, script) = with_gap();
    for (first_seq, count) in [(2, 2), (4, 2), (6, 1)] {
        world.orders_from("cash", 0, first_seq, count);
    }
    world.run(&mut dispatcher, 1_000);
    assert_eq!(world.stories(0, "cash"), ["sC"; 6]);
    let sent = script.lock().sent.iter().map(|batch| batch.seqs.len()).sum::<usize>();
    assert_eq!(sent, 9);
    assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Running);
}

#[test]
fn a_gap_that_does_not_close_in_time_halts_its_partition_alone() {
    let (world, mut dispatcher, _) = with_gap();
    world.run(&mut dispatcher, 150);
    assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Running, "not yet");
    world.run(&mut dispatcher, 150);
    let status = &dispatcher.status().lanes()[0];
    assert_eq!(status.halted, [0], "{status:?}");
    assert_eq!(status.detail, "partition 0: order 2 is missing in front of 4 at offset 1");
    world.orders_from("cash", 1, 4, 2);
    world.run(&mut dispatcher, 100);
    assert_eq!(world.stories(1, "cash"), ["sC"; 5]);
}

#[test]
fn a_next_process_finds_what_was_held_aside() {
    let (world, dispatcher, _) = with_gap();
    drop(dispatcher);
    for (first_seq, count) in [(2, 2), (4, 2)] {
        world.orders_from("cash", 0, first_seq, count);
    }
    let mut next = world.open(Scripted::new(&world, ABLE).0);
    world.run(&mut next, 200);
    assert_eq!(world.stories(0, "cash"), ["sC"; 5]);
}

#[test]
fn no_order_is_intended_before_its_acceptance_was_folded() {
    for (confirm, early) in [(Confirm::ByReading, 2), (Confirm::ByDurability, 5)] {
        let mut world = World::new(&["cash"], 1);
        world.spec.policy.confirm = confirm;
        world.view.accept_below(3);
        world.orders("cash", 0, 2);
        world.orders("cash", 0, 3);
        let mut dispatcher = world.open(Scripted::new(&world, ABLE).0);
        world.run(&mut dispatcher, 300);
        assert_eq!(world.stories(0, "cash").len(), early, "{confirm:?}");
        // Nothing becomes durable that would wake it.
        world.view.accept_below(6);
        world.run(&mut dispatcher, 300);
        assert_eq!(world.stories(0, "cash"), ["sC"; 5], "{confirm:?}");
    }
}
