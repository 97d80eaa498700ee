//! What stops, stops alone (I26, I27): a partition whose log is damaged, in all lanes and no other
//! partition; and what it held is let go of.

use std::time::Duration;

use hongbao_engine::log::LogError;

use crate::dispatch::Step;
use crate::downstream::{Capabilities, Outcome, Outcomes, Told};
use crate::faulty_log::{Calls, FaultyLog};

use super::kit::{ABLE, Scripted, World, unknown};

fn damaged() -> LogError {
    LogError::Corrupt { partition: 0, what: "a frame".to_owned() }
}

fn failed() -> LogError {
    LogError::Failed("io error".to_owned())
}

/// The state of a lane in a word, and why.
fn state(dispatcher: &crate::dispatch::Dispatcher, lane: usize) -> (&'static str, String) {
    let status = &dispatcher.status().lanes()[lane];
    (status.state.as_str(), status.detail.clone())
}

#[test]
fn a_partition_that_is_damaged_at_the_start_halts_alone() {
    for error in [damaged(), failed()] {
        let world = World::new(&["cash", "coupon"], 2);
        for (lane, partition) in [("cash", 0), ("cash", 1), ("coupon", 1)] {
            world.orders(lane, partition, 20);
        }
        let log = FaultyLog::over(&world.log);
        log.refuse(0, Calls::All, error.clone());
        let mut dispatcher = world.open_over(log, Scripted::new(&world, ABLE).0);
        world.run(&mut dispatcher, 200);
        for lane in [0, 1] {
            let (state, detail) = state(&dispatcher, lane);
            assert_eq!(state, "degraded", "{error}");
            assert!(detail.starts_with("partition 0: "), "{detail}");
        }
        assert_eq!(world.stories(1, "cash"), ["sC"; 20], "{error}");
        assert_eq!(world.stories(1, "coupon"), ["sC"; 20], "{error}");
        dispatcher.drain();
        assert!(world.run(&mut dispatcher, 100), "{error}");
    }
}

#[test]
fn a_partition_that_fails_under_way_halts_alone_whatever_finds_it() {
    for calls in [Calls::Append, Calls::Durable, Calls::Read, Calls::All] {
        for error in [damaged(), failed()] {
            let world = World::new(&["cash", "coupon"], 2);
            let log = FaultyLog::over(&world.log);
            let mut dispatcher = world.open_over(log.clone(), Scripted::new(&world, ABLE).0);
            for (lane, partition) in [("cash", 0), ("cash", 1), ("coupon", 0), ("coupon", 1)] {
                world.orders(lane, partition, 20);
            }
            world.run(&mut dispatcher, 100);
            log.refuse(0, calls, error.clone());
            for (lane, partition) in [("cash", 0), ("cash", 1), ("coupon", 1)] {
                world.orders(lane, partition, 20);
            }
            world.run(&mut dispatcher, 200);
            let name = format!("{calls:?}: {error}");
            for lane in [0, 1] {
                assert_eq!(state(&dispatcher, lane).0, "degraded", "{name}");
            }
            assert_eq!(world.stories(1, "cash"), ["sC"; 40], "{name}");
            assert_eq!(world.stories(1, "coupon"), ["sC"; 40], "{name}");
            dispatcher.drain();
            assert!(world.run(&mut dispatcher, 100), "{name}");
        }
    }
}

#[test]
fn what_is_under_way_in_a_halted_partition_is_not_waited_for() {
    let world = World::new(&["cash"], 2);
    let log = FaultyLog::over(&world.log);
    let (bank, script) = Scripted::new(&world, ABLE);
    let mut dispatcher = world.open_over(log.clone(), bank);
    script.lock().is_silent = true;
    world.orders("cash", 0, 5);
    world.run(&mut dispatcher, 20);
    assert_eq!(script.lock().sent.len(), 1);
    log.refuse(0, Calls::All, damaged());
    world.orders("cash", 0, 5);
    world.run(&mut dispatcher, 20);
    dispatcher.drain();
    assert!(world.run(&mut dispatcher, 20), "the answer could not be recorded anyway");
}

#[test]
fn a_drain_waits_for_other_partitions_although_one_is_halted() {
    let world = World::new(&["cash"], 2);
    let log = FaultyLog::over(&world.log);
    let (bank, script) = Scripted::new(&world, ABLE);
    let mut dispatcher = world.open_over(log.clone(), bank);
    world.orders("cash", 0, 5);
    world.run(&mut dispatcher, 20);
    log.refuse(0, Calls::All, failed());
    script.lock().is_silent = true;
    world.orders("cash", 1, 5);
    world.run(&mut dispatcher, 20);
    dispatcher.drain();
    assert!(!world.run(&mut dispatcher, 50), "an answer is awaited");
    script.lock().is_silent = false;
    assert!(world.run(&mut dispatcher, 50));
    assert_eq!(world.stories(1, "cash"), ["sC"; 5]);
}

#[test]
fn a_halted_partition_lets_go_of_the_orders_it_held() {
    let mut world = World::new(&["cash"], 2);
    world.spec.policy.held_orders_max = 50;
    let log = FaultyLog::over(&world.log);
    let (bank, script) = Scripted::new(&world, Capabilities { max_items: 20, ..ABLE });
    // Every other order is unknown, and asking brings nothing.
    script.lock().by = Some(Box::new(|sent| {
        let outcome = |seq: &u64| if seq.is_multiple_of(2) { Outcome::Credited } else { unknown() };
        (Outcomes::Each(sent.seqs.iter().map(outcome).collect()), None)
    }));
    script.lock().told = vec![Told::Pending; 100_000].into();
    let mut dispatcher = world.open_over(log.clone(), bank);
    world.orders("cash", 0, 200);
    world.run(&mut dispatcher, 1_000);
    assert_eq!(state(&dispatcher, 0).0, "full");
    world.orders("cash", 1, 40);
    log.refuse(0, Calls::Append, damaged());
    script.lock().told.clear();
    script.lock().told.push_back(Told::Credited);
    script.lock().by = None;
    world.run(&mut dispatcher, 2_000);
    assert_eq!(state(&dispatcher, 0).0, "degraded");
    assert_eq!(dispatcher.status().lanes()[0].held, 0);
    assert_eq!(world.stories(1, "cash"), ["sC"; 40]);
}

#[test]
fn a_partition_that_the_downstream_has_stopped_for_halts_alone() {
    let world = World::new(&["cash", "coupon"], 2);
    let (bank, script) = Scripted::new(&world, ABLE);
    script.lock().halted = Some(0);
    let mut dispatcher = world.open(bank);
    for (lane, partition) in [("cash", 0), ("cash", 1), ("coupon", 1)] {
        world.orders(lane, partition, 200);
    }
    world.run(&mut dispatcher, 1_000);
    for lane in [0, 1] {
        let (state, detail) = state(&dispatcher, lane);
        assert_eq!((state, &*detail), ("degraded", "partition 0: the downstream: its book is damaged"));
    }
    assert_eq!(world.stories(1, "cash"), ["sC"; 200]);
    assert_eq!(world.stories(1, "coupon"), ["sC"; 200]);
    assert!(world.stories(0, "cash").iter().all(|story| story == "sd" || story == "s"));
    // The next process finds it mended.
    script.lock().halted = None;
    let mut dispatcher = world.open(Scripted::with(&world, ABLE, &script, 0));
    world.run(&mut dispatcher, 3_000);
    assert!(world.stories(0, "cash").iter().all(|story| story.ends_with('C')));
}

#[test]
fn facts_of_one_step_go_to_the_log_in_groups_that_it_takes() {
    const ORDERS: u64 = 20_000;
    let world = World::new(&["cash"], 1);
    let log = FaultyLog::over(&world.log);
    log.set_group_bytes_max(2 << 20);
    let able = Capabilities { max_items: ORDERS as u32, ..ABLE };
    let (bank, script) = Scripted::new(&world, able);
    script.lock().by = Some(Box::new(|sent| {
        let why = |seq: &u64| Outcome::Unknown(format!("{seq:0120}").into());
        (Outcomes::Each(sent.seqs.iter().map(why).collect()), None)
    }));
    script.lock().told = vec![Told::Credited; ORDERS as usize].into();
    let mut dispatcher = world.open_over(log, bank);
    world.orders("cash", 0, ORDERS);
    world.run(&mut dispatcher, 6_000);
    assert_eq!(state(&dispatcher, 0), ("running", String::new()));
    assert_eq!(world.view.ends("cash").into_iter().collect::<Vec<_>>(), [("credited", ORDERS as usize)]);
}

/// Steps in so much time when each wait lasts as long as was proposed.
fn steps(world: &World, dispatcher: &mut crate::dispatch::Dispatcher, time: Duration) -> u32 {
    let until = world.clock.now_ms() + time.as_millis() as i64;
    let mut steps = 0;
    while world.clock.now_ms() < until {
        steps += 1;
        match dispatcher.step().unwrap() {
            Step::Idle { wake_in } => world.clock.advance_ms(wake_in.as_millis().max(1) as i64),
            Step::Worked(_) => assert!(steps < 100_000),
            Step::Drained => break,
        }
    }
    steps
}

#[test]
fn nobody_is_woken_a_thousand_times_a_second_to_wait() {
    const TEN: Duration = Duration::from_secs(10);
    let pause = |is_configuration| {
        Some(crate::downstream::Pause { reason: "status 503".into(), for_time: TEN * 2, is_configuration })
    };
    let not_sent = || Outcomes::All(Outcome::NotSent("connection refused".into()));
    type By = Option<crate::dispatch::tests::kit::AnswerBy>;
    let cases: [(&str, bool, By); 4] = [
        ("no answers", true, None),
        ("an outage", false, Some(Box::new(move |_| (not_sent(), None)))),
        ("a pause", false, Some(Box::new(move |_| (Outcomes::All(unknown()), pause(false))))),
        ("a fault of configuration", false, Some(Box::new(move |_| (not_sent(), pause(true))))),
    ];
    for (name, is_silent, by) in cases {
        let world = World::new(&["cash"], 2);
        world.orders("cash", 0, 1_000);
        world.orders("cash", 1, 1_000);
        let (bank, script) = Scripted::new(&world, Capabilities { can_query: false, ..ABLE });
        script.lock().is_silent = is_silent;
        script.lock().by = by;
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 3_000);
        let steps = steps(&world, &mut dispatcher, TEN);
        assert!(steps < 400, "{name}: {steps} steps in 10 s");
    }
}

#[test]
fn a_slow_lane_is_woken_when_its_permits_come() {
    for (rate, burst, least) in [(5, 1, 75), (10, 10, 1), (1_000, 20, 900)] {
        let mut world = World::new(&["cash"], 1);
        world.spec.lanes[0].rate = crate::limits::rate::Rate::with_burst(rate, burst);
        world.orders("cash", 0, 30_000);
        let (bank, script) = Scripted::new(&world, ABLE);
        let mut dispatcher = world.open(bank);
        let steps = steps(&world, &mut dispatcher, Duration::from_secs(20));
        let sent = script.lock().sent.len();
        assert!(sent >= least, "{rate}: {sent}");
        assert!(steps < 500 + 5 * sent as u32, "{rate}: {steps} steps for {sent} batches in 20 s");
    }
}

#[test]
fn a_halted_partition_wakes_nobody() {
    let world = World::new(&["cash"], 2);
    let log = FaultyLog::over(&world.log);
    let (bank, script) = Scripted::new(&world, ABLE);
    script.lock().by = Some(Box::new(|_| (Outcomes::All(unknown()), None)));
    script.lock().told = vec![Told::Pending; 100_000].into();
    let mut dispatcher = world.open_over(log.clone(), bank);
    world.orders("cash", 0, 30);
    world.run(&mut dispatcher, 500);
    log.refuse(0, Calls::All, damaged());
    world.orders("cash", 0, 30);
    world.run(&mut dispatcher, 500);
    assert_eq!(state(&dispatcher, 0).0, "degraded");
    let steps = steps(&world, &mut dispatcher, Duration::from_secs(10));
    assert!(steps < 250, "{steps} steps in 10 s");
}
