//! What is held up holds nothing else up: partitions without space, lanes without room.

use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::partition::Partition;

use crate::downstream::{Capabilities, Outcome, Outcomes, Told};
use crate::faulty_log::{Calls, FaultyLog};
use crate::limits::rate::Rate;

use super::kit::{ABLE, Scripted, TestClock, World, unknown};

/// Half of each batch stays unknown for good.
fn half_unknown(seqs: &[u64]) -> Outcomes {
    let outcome = |seq: &u64| if seq.is_multiple_of(2) { Outcome::Credited } else { unknown() };
    Outcomes::Each(seqs.iter().map(outcome).collect())
}

#[test]
fn a_partition_without_space_does_not_use_up_what_a_lane_may_plan() {
    let world = World::new(&["cash"], 2);
    let log = FaultyLog::over(&world.log);
    let (bank, _) = Scripted::new(&world, ABLE);
    let mut dispatcher = world.open_over(log.clone(), bank);
    world.run(&mut dispatcher, 10);
    log.refuse(0, Calls::Append, LogError::Full("no space".to_owned()));
    world.orders("cash", 0, 2_000);
    world.orders("cash", 1, 2_000);
    world.run(&mut dispatcher, 2_000);
    assert_eq!(world.stories(1, "cash"), ["sC"; 2_000]);
}

/// What its batches leave of a lane's permits is less than a full batch of another partition.
#[test]
fn a_partition_without_space_does_not_keep_permits() {
    for (per_second, burst) in [(60, 20), (1_000, 20)] {
        let mut world = World::new(&["cash"], 2);
        world.spec.lanes[0].rate = Rate::with_burst(per_second, burst);
        let log = FaultyLog::over(&world.log);
        let (bank, _) = Scripted::new(&world, Capabilities { max_items: 100, ..ABLE });
        let mut dispatcher = world.open_over(log.clone(), bank);
        world.run(&mut dispatcher, 1_000);
        log.refuse(0, Calls::Append, LogError::Full("no space".to_owned()));
        world.orders("cash", 0, 200);
        world.run(&mut dispatcher, 200);
        world.orders("cash", 1, 200);
        world.run(&mut dispatcher, 10_000);
        assert_eq!(world.stories(1, "cash"), ["sC"; 200], "{per_second}/s");
    }
}

#[test]
fn a_partition_without_space_does_not_keep_the_probe() {
    let world = World::new(&["cash"], 2);
    let log = FaultyLog::over(&world.log);
    let (bank, script) = Scripted::new(&world, ABLE);
    let refused = || Outcome::NotSent("connection refused".into());
    script.lock().by = Some(Box::new(move |_| (Outcomes::All(refused()), None)));
    let mut dispatcher = world.open_over(log.clone(), bank);
    world.orders("cash", 0, 100);
    world.orders("cash", 1, 100);
    world.run(&mut dispatcher, 1_000);
    log.refuse(0, Calls::Append, LogError::Full("no space".to_owned()));
    script.lock().by = None;
    world.run(&mut dispatcher, 60_000);
    assert_eq!(world.view.ends("cash").get("credited"), Some(&100), "those of the other partition");
}

/// The life of their keys runs, whatever the lane holds already.
#[test]
fn unresolved_orders_are_looked_up_although_there_is_no_room() {
    let mut world = World::new(&["cash"], 2);
    world.spec.policy.held_orders_max = 20;
    let (bank, script) = Scripted::new(&world, ABLE);
    script.lock().by = Some(Box::new(|sent| (half_unknown(&sent.seqs), None)));
    script.lock().told = vec![Told::Pending; 100_000].into();
    let mut dispatcher = world.open(bank);
    world.orders("cash", 0, 20);
    world.orders("cash", 1, 20);
    world.run(&mut dispatcher, 1_000);
    assert_eq!(dispatcher.status().lanes()[0].held, 20);
    drop(dispatcher);
    // The next process may hold fewer than it finds.
    world.spec.policy.held_orders_max = 5;
    script.lock().by = None;
    script.lock().told = vec![Told::Credited; 20].into();
    let mut dispatcher = world.open(Scripted::with(&world, ABLE, &script, 0));
    world.run(&mut dispatcher, 2_000);
    assert_eq!(world.view.ends("cash").get("credited"), Some(&40));
}

#[test]
fn a_probe_is_not_left_to_a_lane_that_has_no_room() {
    let mut world = World::new(&["cash", "coupon"], 1);
    world.spec.policy.held_orders_max = 5;
    world.spec.policy.breaker.open_max = Duration::from_secs(2);
    let (bank, script) = Scripted::new(&world, Capabilities { max_items: 10, ..ABLE });
    script.lock().by = Some(Box::new(|sent| (half_unknown(&sent.seqs), None)));
    script.lock().told = vec![Told::Pending; 1_000_000].into();
    let mut dispatcher = world.open(bank);
    world.orders("coupon", 0, 40);
    world.run(&mut dispatcher, 1_000);
    assert_eq!(dispatcher.status().lanes()[1].held, 5, "and others wait");
    let refused = || Outcome::NotSent("connection refused".into());
    script.lock().by = Some(Box::new(move |_| (Outcomes::All(refused()), None)));
    world.orders("cash", 0, 4);
    world.run(&mut dispatcher, 20_000);
    script.lock().by = None;
    world.run(&mut dispatcher, 20_000);
    assert_eq!(world.stories(0, "cash").iter().filter(|story| story.ends_with('C')).count(), 4);
}

/// After a crash the next process would hold it again (I29).
#[test]
fn an_order_counts_until_its_end_is_durable() {
    let clock = Arc::new(TestClock::default());
    let log = MemoryLog::manual(1, clock.clone());
    let mut world = World::over(log.into(), clock, &["cash"]);
    world.spec.policy.held_orders_max = 1;
    let (bank, script) = Scripted::new(&world, Capabilities { max_items: 1, ..ABLE });
    let mut dispatcher = world.open(bank);
    world.orders("cash", 0, 2);
    for _ in 0..5 {
        world.run(&mut dispatcher, 5);
        if script.lock().sent.is_empty() {
            world.log.sync();
        }
    }
    let facts = || world.log.range(Partition(0), "journal").unwrap().1;
    world.log.sync();
    assert_eq!((script.lock().sent.len(), facts()), (1, 3), "opened, started, credited; no second intent");
    world.run(&mut dispatcher, 5);
    world.log.sync();
    world.run(&mut dispatcher, 5);
    assert_eq!(script.lock().sent.len(), 2);
}
