//! Opening by epoch (rule 3), resuming, and what a crash leaves (rule 4, I14).

use std::time::Duration;

use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_schemas::journal::Opened;

use crate::dispatch::{LaneState, Step};
use crate::downstream::{Capabilities, KeyLife, Outcome, Outcomes, Told};

use super::kit::{ABLE, Scripted, World, unknown};

fn append_opened(world: &World, epoch: u32, writer: u8) {
    let mut records = RecordBuf::new();
    let source = "sink.cash";
    let opened = Opened { source, writer: [writer; 16], epoch: i64::from(epoch), at_ms: 5 };
    records.push_with(|out| opened.encode(out));
    let envelope = Envelope { source, epoch, first_seq: 1 };
    world.log.append(Partition(0), &[Frame { topic: "journal", envelope, records: &records }]).unwrap();
}

fn epoch(world: &World) -> u32 {
    use crate::journal_view::JournalView;
    world.view.lane(Partition(0), "cash").unwrap().opened.unwrap().epoch
}

#[test]
fn nothing_is_sent_before_the_opened_was_folded() {
    let world = World::new(&["cash"], 1);
    let (bank, script) = Scripted::new(&world, ABLE);
    world.orders("cash", 0, 3);
    world.view.hold_at(Some(0));
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 100);
    assert_eq!(world.log.range(Partition(0), "journal").unwrap(), (0, 1), "its Opened");
    assert!(script.lock().sent.is_empty());
    assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Opening);
    world.view.hold_at(None);
    world.run(&mut dispatcher, 100);
    assert_eq!(world.stories(0, "cash"), ["sC", "sC", "sC"]);
    assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Running);
}

#[test]
fn each_process_takes_the_epoch_above_the_last() {
    let world = World::new(&["cash"], 1);
    for expected in 1..4 {
        world.orders("cash", 0, 2);
        let (bank, _) = Scripted::new(&world, ABLE);
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 50);
        assert_eq!(epoch(&world), expected);
    }
    assert_eq!(world.stories(0, "cash"), ["sC"; 6]);
}

#[test]
fn who_is_not_first_in_its_epoch_goes_above() {
    let world = World::new(&["cash"], 1);
    world.orders("cash", 0, 1);
    let (bank, _) = Scripted::new(&world, ABLE);
    let mut dispatcher = world.open(bank);
    world.view.hold_at(Some(0));
    // Somebody else opens epochs 1 and 7 after it has looked.
    append_opened(&world, 1, 9);
    append_opened(&world, 7, 9);
    world.run(&mut dispatcher, 10);
    world.view.hold_at(None);
    world.run(&mut dispatcher, 50);
    assert_eq!(epoch(&world), 8);
    assert_eq!(world.stories(0, "cash"), ["sC"]);
}

#[test]
fn nothing_is_sent_before_the_intent_is_durable() {
    let clock = std::sync::Arc::new(super::kit::TestClock::default());
    let log = hongbao_engine::memory::log::MemoryLog::manual(1, clock.clone());
    let world = World::over(log.into(), clock, &["cash"]);
    world.orders("cash", 0, 3);
    let (bank, script) = Scripted::new(&world, ABLE);
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 10);
    world.log.sync();
    world.run(&mut dispatcher, 500);
    assert_eq!(world.log.range(Partition(0), "journal").unwrap().1, 1);
    assert!(script.lock().sent.is_empty(), "the intent is appended, not durable (I12)");
    world.log.sync();
    world.run(&mut dispatcher, 10);
    assert_eq!(script.lock().sent.len(), 1);
}

#[test]
fn an_intent_that_was_not_sent_in_time_is_withdrawn_and_made_anew() {
    let mut world = World::new(&["cash"], 1);
    world.spec.policy.send_within = Duration::from_millis(30);
    let able = Capabilities { max_in_flight: 1, max_items: 2, ..ABLE };
    let (bank, script) = Scripted::new(&world, able);
    world.orders("cash", 0, 4);
    let mut dispatcher = world.open(bank);
    script.lock().is_silent = true;
    world.run(&mut dispatcher, 200);
    assert_eq!(script.lock().sent.len(), 1, "one slot");
    script.lock().is_silent = false;
    world.run(&mut dispatcher, 200);
    assert_eq!(world.stories(0, "cash"), ["sC", "sC", "swsC", "swsC"]);
    let counts = dispatcher.status().lanes()[0].counts;
    assert_eq!((counts.sent, counts.deferred), (4, 2), "what was withdrawn was not sent");
}

/// Crashes while `orders` orders are sent and not answered, and opens again.
fn crash_in_flight(world: &World, able: Capabilities, orders: u64) -> super::kit::SharedScript {
    world.orders("cash", 0, orders);
    let (bank, script) = Scripted::new(world, able);
    script.lock().is_silent = true;
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 50);
    assert_eq!(script.lock().sent.iter().map(|sent| sent.seqs.len() as u64).sum::<u64>(), orders);
    drop(dispatcher);
    script
}

#[test]
fn open_intents_of_an_earlier_process_are_unknown() {
    let lasts = |ms| KeyLife::Lasts(Duration::from_millis(ms));
    let able = |key_life, can_query| Capabilities { key_life, can_query, ..ABLE };
    let table: [(&str, Capabilities, i64, i64, Told, &str); 8] = [
        ("asked: credited", able(lasts(9_000), true), 0, 0, Told::Credited, "suC"),
        ("asked: absent", able(lasts(9_000), true), 0, 0, Told::Absent, "susC"),
        ("same key", able(lasts(9_000), false), 0, 0, Told::Absent, "susC"),
        ("key life over", able(lasts(9_000), false), 9_000, 0, Told::Absent, "sR"),
        ("key life over, absent", able(lasts(9_000), true), 9_000, 0, Told::Absent, "suR"),
        ("clock back", able(lasts(9_000), false), 0, -500, Told::Absent, "sR"),
        ("clock back, absent", able(lasts(9_000), true), 0, -500, Told::Absent, "suR"),
        ("no keys", able(KeyLife::None, true), 0, 0, Told::Absent, "suR"),
    ];
    for (name, able, wait_ms, step_ms, told, story) in table {
        let world = World::new(&["cash"], 1);
        crash_in_flight(&world, able, 1);
        world.clock.advance_ms(wait_ms);
        world.clock.step_wall_ms(step_ms);
        let (bank, script) = Scripted::new(&world, able);
        script.lock().told.push_back(told);
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 1_000);
        assert_eq!(world.stories(0, "cash"), [story], "{name}");
    }
}

#[test]
fn the_life_of_a_key_goes_on_across_processes() {
    let able = Capabilities { key_life: KeyLife::Lasts(Duration::from_secs(9)), can_query: false, ..ABLE };
    let world = World::new(&["cash"], 1);
    crash_in_flight(&world, able, 1);
    for is_sent in [true, false] {
        // Never answered.
        world.clock.advance_ms(3_400);
        let (bank, script) = Scripted::new(&world, able);
        script.lock().is_silent = true;
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 500);
        assert_eq!(script.lock().sent.len(), usize::from(is_sent), "at {}", world.clock.now_ms());
    }
    assert_eq!(world.stories(0, "cash"), ["susR"], "9 s less a quarter, from the first intent");
}

#[test]
fn the_life_of_a_key_counts_from_the_first_intent() {
    let able = Capabilities { key_life: KeyLife::Lasts(Duration::from_secs(9)), can_query: false, ..ABLE };
    let mut world = World::new(&["cash"], 1);
    world.spec.policy.attempts_max = 1_000;
    world.spec.policy.breaker.failures_max = 1_000;
    world.spec.policy.breaker.window_failures_percent = 101;
    world.orders("cash", 0, 1);
    let (bank, script) = Scripted::new(&world, able);
    script.lock().by = Some(Box::new(|_| (Outcomes::All(unknown()), None)));
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 20_000);
    let sent: Vec<i64> = script.lock().sent.iter().map(|sent| sent.at_ms).collect();
    let last = sent[sent.len() - 1] - sent[0];
    assert!(sent.len() > 10 && last > 5_000 && last < 6_750, "{sent:?}");
    assert!(world.stories(0, "cash")[0].ends_with("suR"), "{:?}", world.stories(0, "cash"));
}

/// The margin covers the time that the request may take to arrive.
#[test]
fn nothing_is_sent_again_that_might_arrive_after_the_life_of_its_key() {
    for (timeout_s, life_s, latest_ms) in [(0, 9, 6_750), (1, 9, 5_750), (2, 9, 4_750), (10, 60, 45_000)] {
        let (life, timeout) = (Duration::from_secs(life_s), Duration::from_secs(timeout_s));
        let able = Capabilities { key_life: KeyLife::Lasts(life), can_query: false, timeout, ..ABLE };
        let mut world = World::new(&["cash"], 1);
        world.spec.policy.attempts_max = 1_000;
        world.spec.policy.breaker.failures_max = 1_000;
        world.spec.policy.breaker.window_failures_percent = 101;
        world.orders("cash", 0, 1);
        let (bank, script) = Scripted::new(&world, able);
        script.lock().by = Some(Box::new(|_| (Outcomes::All(unknown()), None)));
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 90_000);
        let sent: Vec<i64> = script.lock().sent.iter().map(|sent| sent.at_ms).collect();
        let last = sent[sent.len() - 1] - sent[0];
        assert!(last < latest_ms && last > latest_ms - 1_000, "{timeout_s}: {last}");
        assert!(world.stories(0, "cash")[0].ends_with('R'));
    }
}

/// The clock is behind what another partition has seen: it went back, by nobody knows how much.
#[test]
fn a_clock_behind_any_journal_of_before_makes_elapsed_time_unknowable() {
    let able = Capabilities { key_life: KeyLife::Lasts(Duration::from_secs(60)), ..ABLE };
    for (back_ms, is_late, story) in [(0, false, "susC"), (-3_000, false, "suR"), (-3_000, true, "suR")] {
        let world = World::new(&["cash", "coupon"], 2);
        world.orders("cash", 0, 1);
        let (bank, script) = Scripted::new(&world, able);
        script.lock().answers.push_back((Outcomes::All(unknown()), None));
        script.lock().told = vec![Told::Pending; 1_000].into();
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 5_000);
        world.orders("coupon", 1, 1);
        world.run(&mut dispatcher, 10);
        drop(dispatcher);
        world.clock.step_wall_ms(back_ms);
        world.view.hold_in(1, is_late.then_some(0));
        let mut dispatcher = world.open(Scripted::new(&world, able).0);
        world.run(&mut dispatcher, 3_000);
        assert_eq!(world.stories(0, "cash"), [story], "{back_ms} {is_late}");
    }
}

/// The clock is set right between the two looks at the journal, and the log's last append was made by a
/// process whose clock was behind as well.
#[test]
fn a_clock_behind_the_journal_until_the_lane_has_opened_went_back() {
    let able = Capabilities { key_life: KeyLife::Lasts(Duration::from_secs(60)), ..ABLE };
    for (back_ms, story) in [(0, "susC"), (-3_000, "suR")] {
        let world = World::new(&["cash"], 1);
        world.orders("cash", 0, 1);
        let (bank, script) = Scripted::new(&world, able);
        script.lock().answers.push_back((Outcomes::All(unknown()), None));
        script.lock().told = vec![Told::Pending; 1_000].into();
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 1_000);
        drop(dispatcher);
        world.clock.step_wall_ms(back_ms);
        for is_last in [false, true] {
            // It announces that it opens the lane, and gets no further.
            world.view.hold_at(Some(world.log.range(Partition(0), "journal").unwrap().1));
            let mut dispatcher = world.open(Scripted::new(&world, able).0);
            world.run(&mut dispatcher, 100);
            if is_last {
                world.clock.step_wall_ms(-back_ms);
                world.view.hold_at(None);
                world.run(&mut dispatcher, 3_000);
            }
        }
        assert_eq!(world.stories(0, "cash"), [story], "{back_ms}");
    }
}

/// A partition whose journal takes long to fold has seen this process's own time when it opens.
#[test]
fn a_partition_that_opens_late_makes_no_other_unknowable() {
    let able = Capabilities { key_life: KeyLife::Lasts(Duration::from_secs(60)), ..ABLE };
    let world = World::new(&["cash"], 2);
    crash_in_flight(&world, able, 1);
    world.view.hold_in(1, Some(0));
    let (bank, script) = Scripted::new(&world, able);
    script.lock().told = vec![Told::Pending; 7].into();
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 1_000);
    world.view.hold_in(1, None);
    world.run(&mut dispatcher, 6_000);
    assert_eq!(world.stories(0, "cash"), ["susC"]);
}

/// How long asking has been in vain goes on across processes.
#[test]
fn an_order_that_stays_unresolved_is_reported_although_processes_come_and_go() {
    let mut world = World::new(&["cash"], 1);
    world.spec.policy.unresolved_max = Duration::from_secs(10);
    world.orders("cash", 0, 1);
    let mut reported_after = None;
    for process in 0..10 {
        let (bank, script) = Scripted::new(&world, ABLE);
        script.lock().answers.push_back((Outcomes::All(unknown()), None));
        script.lock().told = vec![Told::Pending; 1_000].into();
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 3_000);
        if world.stories(0, "cash") == ["suR"] {
            reported_after = Some(process);
            break;
        }
    }
    assert_eq!(reported_after, Some(3));
}

#[test]
fn a_wall_clock_that_went_back_within_the_process_makes_nothing_younger() {
    let able = Capabilities { key_life: KeyLife::Lasts(Duration::from_secs(9)), ..ABLE };
    // Back by less than has passed: known by monotonic time. Back before the intent: unknowable.
    for (back_ms, story) in [(-2_000, "susC"), (-4_000, "suR")] {
        let world = World::new(&["cash"], 1);
        world.orders("cash", 0, 1);
        let (bank, script) = Scripted::new(&world, able);
        script.lock().answers.push_back((Outcomes::All(unknown()), None));
        script.lock().told = std::iter::repeat_n(Told::Pending, 1_000).collect();
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 3_000);
        world.clock.step_wall_ms(back_ms);
        script.lock().told.clear();
        world.run(&mut dispatcher, 3_000);
        assert_eq!(world.stories(0, "cash"), [story], "{back_ms}");
    }
}

#[test]
fn ended_orders_above_the_low_water_mark_are_skipped() {
    let world = World::new(&["cash"], 1);
    world.orders("cash", 0, 50);
    let (bank, script) = Scripted::new(&world, Capabilities { can_query: false, ..ABLE });
    // One of each ten stays unknown until the crash.
    script.lock().by = Some(Box::new(|sent| {
        let outcome = |seq: &u64| if seq % 10 == 3 { unknown() } else { Outcome::Credited };
        (Outcomes::Each(sent.seqs.iter().map(outcome).collect()), None)
    }));
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 20);
    drop(dispatcher);
    let (bank, script) = Scripted::new(&world, ABLE);
    world.orders("cash", 0, 5);
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 2_000);
    let mut sent: Vec<u64> = script.lock().sent.iter().flat_map(|sent| sent.seqs.clone()).collect();
    sent.sort_unstable();
    assert_eq!(sent, [3, 13, 23, 33, 43, 51, 52, 53, 54, 55]);
    assert_eq!(world.view.ends("cash").into_iter().collect::<Vec<_>>(), [("credited", 55)]);
}

#[test]
fn a_drained_dispatcher_leaves_nothing_open() {
    let world = World::new(&["cash", "coupon"], 2);
    for (lane, partition) in [("cash", 0), ("cash", 1), ("coupon", 0)] {
        world.orders(lane, partition, 5_000);
    }
    let able = Capabilities { max_items: 100, ..ABLE };
    let script = super::kit::SharedScript::default();
    let mut dispatcher = world.open(Scripted::with(&world, able, &script, 7));
    world.run(&mut dispatcher, 60);
    dispatcher.drain();
    assert!(world.run(&mut dispatcher, 100), "it drains");
    assert_eq!(dispatcher.step().unwrap(), Step::Drained);
    let mut open = 0;
    for (lane, partition) in [("cash", 0), ("cash", 1), ("coupon", 0)] {
        let orders = world.view.orders(partition, lane);
        open += orders
            .values()
            .filter(|order| order.is_started || order.is_unknown)
            .filter(|order| order.end.is_none())
            .count();
    }
    assert_eq!(open, 0);
    let sent: usize = script.lock().sent.iter().map(|sent| sent.seqs.len()).sum();
    let credited =
        world.view.ends("cash")["credited"] + world.view.ends("coupon").get("credited").unwrap_or(&0);
    assert_eq!(sent, credited);
    assert!(sent > 0 && sent < 15_000, "{sent}");
}

#[test]
fn draining_is_over_when_the_outcomes_are_durable() {
    let clock = std::sync::Arc::new(super::kit::TestClock::default());
    let log = hongbao_engine::memory::log::MemoryLog::manual(1, clock.clone());
    let world = World::over(log.into(), clock, &["cash"]);
    world.orders("cash", 0, 3);
    let (bank, script) = Scripted::new(&world, ABLE);
    let mut dispatcher = world.open(bank);
    // The Opened, then the intent.
    for _ in 0..2 {
        world.run(&mut dispatcher, 5);
        world.log.sync();
    }
    script.lock().is_silent = true;
    world.run(&mut dispatcher, 5);
    assert_eq!(script.lock().sent.len(), 1);
    dispatcher.drain();
    assert!(!world.run(&mut dispatcher, 50), "an answer is awaited");
    script.lock().is_silent = false;
    assert!(!world.run(&mut dispatcher, 50), "it is not durable");
    world.log.sync();
    assert!(world.run(&mut dispatcher, 50));
    assert_eq!(world.stories(0, "cash"), ["sC", "sC", "sC"]);
}

#[test]
fn a_resend_is_withdrawn_when_the_key_dies_while_its_intent_is_synced() {
    let clock = std::sync::Arc::new(super::kit::TestClock::default());
    let log = hongbao_engine::memory::log::MemoryLog::manual(1, clock.clone());
    let world = World::over(log.into(), clock, &["cash"]);
    world.orders("cash", 0, 1);
    let able = Capabilities { key_life: KeyLife::Lasts(Duration::from_secs(9)), can_query: false, ..ABLE };
    let (bank, script) = Scripted::new(&world, able);
    script.lock().answers.push_back((Outcomes::All(unknown()), None));
    let mut dispatcher = world.open(bank);
    for _ in 0..2 {
        world.run(&mut dispatcher, 5);
        world.log.sync();
    }
    // The resend is intended at once, and its sync takes longer than the key lives.
    world.run(&mut dispatcher, 7_000);
    world.log.sync();
    world.run(&mut dispatcher, 50);
    world.log.sync();
    assert_eq!(script.lock().sent.len(), 1);
    assert_eq!(world.stories(0, "cash"), ["suswR"]);
}

#[test]
fn what_the_journal_calls_unknown_is_not_called_so_again() {
    let world = World::new(&["cash"], 1);
    world.orders("cash", 0, 1);
    for _ in 0..3 {
        let (bank, script) = Scripted::new(&world, ABLE);
        script.lock().by = Some(Box::new(|_| (Outcomes::All(unknown()), None)));
        script.lock().told = std::iter::repeat_n(Told::Pending, 1_000).collect();
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 500);
    }
    assert_eq!(world.stories(0, "cash"), ["su"]);
}
