//! Rule 4 where several processes can write: intents are read back, and who was replaced sends nothing
//! more.

use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::log::Log;
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, Offset, RecordBuf};
use hongbao_schemas::journal::Opened;

use crate::dispatch::{Confirm, Dispatcher, LaneState};
use crate::downstream::{Capabilities, KeyLife};
use crate::limits::rate::Rate;

use super::kit::{ABLE, Scripted, SharedScript, TestClock, World};

/// A world in which the log is synced by hand, and intents are read back.
fn world() -> World {
    let clock = Arc::new(TestClock::default());
    let log = MemoryLog::manual(1, clock.clone());
    let mut world = World::over(log.into(), clock, &["cash"]);
    world.spec.policy.confirm = Confirm::ByReading;
    world
}

/// Another process opens an epoch of the lane.
fn open_elsewhere(world: &World, epoch: u32) {
    let mut records = RecordBuf::new();
    let source = "sink.cash";
    let opened = Opened { source, writer: [9; 16], epoch: i64::from(epoch), at_ms: 5 };
    records.push_with(|out| opened.encode(out));
    let envelope = Envelope { source, epoch, first_seq: 1 };
    world.log.append(Partition(0), &[Frame { topic: "journal", envelope, records: &records }]).unwrap();
    world.log.sync();
}

fn journal_end(world: &World) -> Offset {
    world.log.range(Partition(0), "journal").unwrap().1
}

/// A running process with the intents of three orders appended and not durable.
fn intended(world: &World, able: Capabilities) -> (Dispatcher, SharedScript) {
    world.orders("cash", 0, 3);
    let (bank, script) = Scripted::new(world, able);
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 5);
    world.log.sync();
    world.run(&mut dispatcher, 5);
    assert_eq!((journal_end(world), script.lock().sent.len()), (1, 0), "its Opened");
    (dispatcher, script)
}

fn is_replaced(dispatcher: &Dispatcher) -> bool {
    let status = &dispatcher.status().lanes()[0];
    let is_told = status.detail.contains("replaced by another process, which has opened epoch 2");
    assert_eq!(status.state == LaneState::Halted, is_told, "{status:?}");
    is_told
}

#[test]
fn nothing_is_sent_before_the_intent_was_read_back() {
    let world = world();
    let (mut dispatcher, script) = intended(&world, ABLE);
    world.run(&mut dispatcher, 100);
    assert!(script.lock().sent.is_empty(), "not durable");
    world.view.hold_at(Some(1));
    world.log.sync();
    world.run(&mut dispatcher, 100);
    assert!(script.lock().sent.is_empty(), "durable, not read");
    world.view.hold_at(None);
    world.run(&mut dispatcher, 5);
    assert_eq!(script.lock().sent.len(), 1);
    world.log.sync();
    assert_eq!(world.stories(0, "cash"), ["sC", "sC", "sC"]);
}

#[test]
fn an_intent_behind_the_opened_of_another_does_not_count() {
    let world = world();
    let (mut dispatcher, script) = intended(&world, ABLE);
    // Behind its own intent, and in front of its look.
    open_elsewhere(&world, 2);
    assert_eq!(journal_end(&world), 3);
    world.run(&mut dispatcher, 100);
    assert!(script.lock().sent.is_empty());
    assert!(is_replaced(&dispatcher));
}

#[test]
fn the_journal_is_read_to_its_end_and_not_to_the_intent() {
    let world = world();
    let (mut dispatcher, script) = intended(&world, ABLE);
    // As after a pause between the reading and the sending: what was read is old.
    open_elsewhere(&world, 2);
    world.view.hold_at(Some(2));
    world.run(&mut dispatcher, 100);
    assert!(script.lock().sent.is_empty() && !is_replaced(&dispatcher));
    world.view.hold_at(None);
    world.run(&mut dispatcher, 1);
    assert!(script.lock().sent.is_empty() && is_replaced(&dispatcher));
}

#[test]
fn who_is_replaced_after_its_look_may_send_and_then_halts() {
    let world = world();
    let able = Capabilities { max_items: 1, max_in_flight: 1, ..ABLE };
    let (mut dispatcher, script) = intended(&world, able);
    script.lock().is_silent = true;
    world.log.sync();
    world.run(&mut dispatcher, 5);
    assert_eq!(script.lock().sent.len(), 1);
    open_elsewhere(&world, 2);
    let end = journal_end(&world);
    // It does not know, since its view stands still.
    world.view.hold_at(Some(end - 1));
    script.lock().is_silent = false;
    world.run(&mut dispatcher, 5);
    world.log.sync();
    let sent = script.lock().sent.len();
    world.run(&mut dispatcher, 5);
    assert!(!is_replaced(&dispatcher));
    world.view.hold_at(None);
    world.run(&mut dispatcher, 5);
    assert!(is_replaced(&dispatcher));
    world.run(&mut dispatcher, 500);
    assert_eq!(script.lock().sent.len(), sent, "nothing more");
    assert!(dispatcher_drains(&world, &mut dispatcher));
}

fn dispatcher_drains(world: &World, dispatcher: &mut Dispatcher) -> bool {
    dispatcher.drain();
    world.run(dispatcher, 100)
}

#[test]
fn a_lane_without_orders_notices_that_it_was_replaced() {
    let world = world();
    let (bank, script) = Scripted::new(&world, ABLE);
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 5);
    world.log.sync();
    world.run(&mut dispatcher, 5);
    assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Running);
    open_elsewhere(&world, 2);
    world.run(&mut dispatcher, 60);
    assert!(is_replaced(&dispatcher) && script.lock().sent.is_empty());
}

/// What was read long ago says nothing: a process may have been paused since.
#[test]
fn the_time_to_send_counts_from_the_look() {
    for (read_after_ms, is_sent) in [(20, true), (60, false)] {
        let mut world = world();
        world.spec.policy.send_within = Duration::from_millis(40);
        let (mut dispatcher, script) = intended(&world, ABLE);
        world.run(&mut dispatcher, 500);
        world.view.hold_at(Some(1));
        world.log.sync();
        world.run(&mut dispatcher, 1);
        world.clock.advance_ms(read_after_ms);
        world.view.hold_at(None);
        for _ in 0..5 {
            dispatcher.step().unwrap();
        }
        assert_eq!(!script.lock().sent.is_empty(), is_sent, "after {read_after_ms} ms");
        world.log.sync();
        world.run(&mut dispatcher, 10);
        world.log.sync();
        world.run(&mut dispatcher, 10);
        world.log.sync();
        let story = if is_sent { "sC" } else { "swsC" };
        assert_eq!(world.stories(0, "cash"), [story; 3], "after {read_after_ms} ms");
    }
}

/// Whoever took over may have used the key at once, so it may be forgotten before the request arrives.
#[test]
fn nothing_is_sent_late_with_a_key_that_another_may_have_used_up() {
    let lasts = |ms| KeyLife::Lasts(Duration::from_millis(ms));
    for (key_life, wait_ms, is_sent) in [
        (lasts(1_000), 200, true),
        // A quarter is the margin.
        (lasts(1_000), 800, false),
        // Nobody sends again with such a key, nor without one.
        (lasts(0), 800, true),
        (KeyLife::None, 800, true),
        (KeyLife::Forever, 800, true),
    ] {
        let mut world = world();
        world.spec.policy.key_margin = Duration::from_secs(5);
        let (mut dispatcher, script) = intended(&world, Capabilities { key_life, ..ABLE });
        world.view.hold_at(Some(1));
        world.log.sync();
        world.run(&mut dispatcher, 1);
        world.clock.advance_ms(wait_ms);
        world.view.hold_at(None);
        for _ in 0..5 {
            dispatcher.step().unwrap();
        }
        assert_eq!(!script.lock().sent.is_empty(), is_sent, "{key_life:?} after {wait_ms} ms");
    }
}

/// The one before may have sent at its full rate up to the moment of opening, and may send what it had
/// intended for `send_within` more.
#[test]
fn limits_begin_where_a_lane_opens() {
    for confirm in [Confirm::ByReading, Confirm::ByDurability] {
        let mut world = world();
        world.spec.policy.confirm = confirm;
        world.spec.lanes[0].rate = Rate::with_burst(100, 50);
        world.orders("cash", 0, 50);
        let (bank, script) = Scripted::new(&world, ABLE);
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 2_000);
        for _ in 0..3 {
            world.log.sync();
            world.run(&mut dispatcher, 5);
        }
        let sent: usize = script.lock().sent.iter().map(|sent| sent.seqs.len()).sum();
        assert_eq!(sent > 5, confirm == Confirm::ByDurability, "{sent}");
        world.clock.advance_ms(500);
        for _ in 0..3 {
            world.log.sync();
            world.run(&mut dispatcher, 5);
        }
        let later: usize = script.lock().sent.iter().map(|sent| sent.seqs.len()).sum();
        assert!(confirm == Confirm::ByDurability || later <= 5, "{later} within the grace of the other");
    }
}
