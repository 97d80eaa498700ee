//! Outages, pauses, faults of configuration, full and damaged logs.

use std::time::Duration;

use hongbao_engine::partition::Partition;

use crate::dispatch::LaneState;
use crate::downstream::{Capabilities, KeyLife, Outcome, Outcomes, Pause, Told};

use super::kit::{ABLE, Answer, Scripted, World, unknown};

const NO_QUERY: Capabilities = Capabilities { can_query: false, ..ABLE };

fn down() -> Answer {
    (Outcomes::All(unknown()), None)
}

#[test]
fn an_outage_pauses_the_lane_and_counts_no_attempt() {
    let world = World::new(&["cash"], 2);
    world.orders("cash", 0, 300);
    world.orders("cash", 1, 300);
    let (bank, script) = Scripted::new(&world, NO_QUERY);
    script.lock().by = Some(Box::new(|_| down()));
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 60_000);
    let status = &dispatcher.status().lanes()[0];
    assert_eq!(status.state, LaneState::Out);
    let sent = script.lock().sent.len();
    assert!(sent < 20, "{sent} submissions in a minute");
    let probes = script.lock().sent[8..].to_vec();
    assert!(probes.iter().all(|probe| probe.seqs.len() <= 4), "{probes:?}");
    assert!(world.view.ends("cash").keys().all(|end| *end == "open"), "nothing was given up");
    script.lock().by = None;
    world.run(&mut dispatcher, 33_000);
    assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Running);
    assert_eq!(world.view.ends("cash").into_iter().collect::<Vec<_>>(), [("credited", 600)]);
}

#[test]
fn an_outage_of_refused_connections_leaves_nothing_unknown() {
    let world = World::new(&["cash"], 1);
    world.orders("cash", 0, 100);
    let (bank, script) = Scripted::new(&world, Capabilities { key_life: KeyLife::None, ..ABLE });
    script.lock().by =
        Some(Box::new(|_| (Outcomes::All(Outcome::NotSent("connection refused".into())), None)));
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 5_000);
    assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Out);
    script.lock().by = None;
    world.run(&mut dispatcher, 33_000);
    assert_eq!(world.view.ends("cash").into_iter().collect::<Vec<_>>(), [("credited", 100)]);
    assert!(script.lock().asked.is_empty());
}

#[test]
fn an_outage_is_over_when_questions_and_sends_are_answered_again() {
    let world = World::new(&["cash"], 1);
    world.orders("cash", 0, 10);
    let (bank, script) = Scripted::new(&world, Capabilities { max_items: 1, ..ABLE });
    script.lock().by = Some(Box::new(|_| down()));
    script.lock().told = vec![Told::Unknown("timeout".into()); 20].into();
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 400);
    assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Out);
    script.lock().by = None;
    script.lock().told.clear();
    world.run(&mut dispatcher, 40_000);
    assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Running);
    assert_eq!(world.view.ends("cash").into_iter().collect::<Vec<_>>(), [("credited", 10)]);
}

#[test]
fn an_order_that_fails_by_itself_does_not_keep_the_lane_closed() {
    let poison = 1;
    let mut world = World::new(&["cash"], 1);
    world.spec.policy.breaker.open_max = Duration::from_secs(2);
    world.orders("cash", 0, 1);
    let able = Capabilities { max_items: 1, key_life: KeyLife::Forever, ..NO_QUERY };
    let (bank, script) = Scripted::new(&world, able);
    script.lock().by = Some(Box::new(move |sent| {
        let outcome = if sent.seqs.contains(&poison) { unknown() } else { Outcome::Credited };
        (Outcomes::All(outcome), None)
    }));
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 30_000);
    assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Out, "it is all there is");
    for _ in 0..20 {
        world.orders("cash", 0, 3);
        world.run(&mut dispatcher, 5_000);
    }
    let ends = world.view.ends("cash");
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [("credited", 60), ("reported", 1)]);
}

#[test]
fn an_order_that_fails_by_itself_does_not_keep_the_other_lanes_of_its_downstream_closed() {
    // Its lane may have others that it may not take on.
    for (orders, held_orders_max) in [(1, 65_536), (5, 1)] {
        others_are_credited(orders, held_orders_max);
    }
}

fn others_are_credited(orders: u64, held_orders_max: usize) {
    let mut world = World::new(&["cash", "coupon"], 1);
    world.spec.policy.breaker.open_max = Duration::from_secs(2);
    world.spec.policy.held_orders_max = held_orders_max;
    world.orders("cash", 0, orders);
    let (bank, script) = Scripted::new(&world, Capabilities { key_life: KeyLife::Forever, ..NO_QUERY });
    script.lock().by = Some(Box::new(|sent| {
        let outcome = if sent.lane == "cash" { unknown() } else { Outcome::Credited };
        (Outcomes::All(outcome), None)
    }));
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 30_000);
    assert_eq!(dispatcher.status().lanes()[1].state, LaneState::Out, "the probes are all of one order");
    world.orders("coupon", 0, 20);
    world.run(&mut dispatcher, 10_000);
    assert_eq!(world.view.ends("coupon").into_iter().collect::<Vec<_>>(), [("credited", 20)]);
}

#[test]
fn orders_that_fail_by_themselves_in_all_partitions_do_not_keep_the_lane_closed() {
    for with_more in [0, 1] {
        let mut world = World::new(&["cash"], 2);
        world.spec.policy.breaker.open_max = Duration::from_secs(2);
        world.orders("cash", 0, 1);
        world.orders("cash", 1, 1);
        let able = Capabilities { max_items: 1, key_life: KeyLife::Forever, ..NO_QUERY };
        let (bank, script) = Scripted::new(&world, able);
        script.lock().by = Some(Box::new(|sent| {
            let outcome = if sent.seqs.contains(&1) { unknown() } else { Outcome::Credited };
            (Outcomes::All(outcome), None)
        }));
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 30_000);
        assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Out, "the probes are of both orders");
        world.orders("cash", with_more, 20);
        world.run(&mut dispatcher, 30_000);
        let credited = world.view.ends("cash").get("credited").copied();
        assert_eq!(credited, Some(20), "behind the failing order of partition {with_more}");
    }
}

#[test]
fn a_pause_is_kept_and_an_absurd_one_is_cut() {
    for (asked_s, kept_s) in [(3, 3), (1_000_000, 20)] {
        let mut world = World::new(&["cash"], 1);
        world.spec.policy.pause_max = Duration::from_secs(20);
        world.orders("cash", 0, 30);
        let (bank, script) = Scripted::new(&world, Capabilities { max_in_flight: 1, ..NO_QUERY });
        let for_time = Duration::from_secs(asked_s);
        let pause = Pause { reason: "status 503".into(), for_time, is_configuration: false };
        script.lock().answers.push_back((Outcomes::All(unknown()), Some(pause)));
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, kept_s * 1_000 - 10);
        let status = &dispatcher.status().lanes()[0];
        assert_eq!((status.state, &*status.detail), (LaneState::Paused, "status 503"));
        assert_eq!(script.lock().sent.len(), 1);
        world.run(&mut dispatcher, 1_000);
        assert_eq!(world.view.ends("cash").into_iter().collect::<Vec<_>>(), [("credited", 30)]);
    }
}

#[test]
fn a_fault_of_configuration_is_said_and_ends_nothing() {
    let world = World::new(&["cash"], 1);
    world.orders("cash", 0, 30);
    let (bank, script) = Scripted::new(&world, NO_QUERY);
    script.lock().by = Some(Box::new(|_| {
        let for_time = Duration::from_secs(10);
        let pause = Pause { reason: "status 401".into(), for_time, is_configuration: true };
        (Outcomes::All(Outcome::NotSent("status 401".into())), Some(pause))
    }));
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 300_000);
    let status = &dispatcher.status().lanes()[0];
    assert_eq!((status.state, &*status.detail), (LaneState::Misconfigured, "status 401"));
    assert!(script.lock().sent.len() < 40, "{}", script.lock().sent.len());
    script.lock().by = None;
    world.run(&mut dispatcher, 45_000);
    assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Running);
    assert_eq!(world.view.ends("cash").into_iter().collect::<Vec<_>>(), [("credited", 30)]);
}

#[test]
fn a_query_address_that_refuses_us_stops_no_credits() {
    let world = World::new(&["cash"], 1);
    let (bank, script) = Scripted::new(&world, ABLE);
    let mut dispatcher = world.open(bank);
    let for_time = Duration::from_secs(10);
    let pause = Pause { reason: "query status 404".into(), for_time, is_configuration: true };
    script.lock().ask_pause = Some(pause);
    script.lock().told = vec![Told::Unknown("query status 404".into()); 1_000].into();
    script.lock().answers.push_back((Outcomes::All(unknown()), None));
    world.orders("cash", 0, 5);
    for _ in 0..60 {
        world.run(&mut dispatcher, 1_000);
        world.orders("cash", 0, 10);
    }
    world.run(&mut dispatcher, 100);
    let status = dispatcher.status().lanes().remove(0);
    assert_eq!((status.state, &*status.detail), (LaneState::Degraded, "query status 404"));
    let ends = world.view.ends("cash");
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [("credited", 600), ("open", 5)]);
    let asked = script.lock().asked.len();
    assert!((2..=12).contains(&asked), "{asked} questions in a minute");
    script.lock().ask_pause = None;
    script.lock().told.clear();
    world.run(&mut dispatcher, 60_000);
    assert_eq!(world.view.ends("cash").into_iter().collect::<Vec<_>>(), [("credited", 605)]);
    assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Running);
}

#[test]
fn an_order_that_is_asked_about_in_vain_holds_up_no_question_about_others() {
    let world = World::new(&["cash"], 1);
    let (bank, script) = Scripted::new(&world, ABLE);
    let mut dispatcher = world.open(bank);
    script.lock().answers = vec![(Outcomes::All(unknown()), None); 2].into();
    script.lock().told = vec![Told::Unknown("timeout".into()); 10_000].into();
    world.orders("cash", 0, 1);
    world.run(&mut dispatcher, 60_000);
    assert!(script.lock().asked.len() > 100, "{}", script.lock().asked.len());
    script.lock().told = vec![Told::Credited; 2].into();
    world.orders("cash", 0, 1);
    world.run(&mut dispatcher, 1_000);
    assert_eq!(world.stories(0, "cash"), ["suC", "suC"]);
}

#[test]
fn asking_goes_on_while_sends_rest() {
    let world = World::new(&["cash"], 1);
    let (bank, script) = Scripted::new(&world, ABLE);
    let mut dispatcher = world.open(bank);
    let pause =
        Pause { reason: "status 503".into(), for_time: Duration::from_secs(10), is_configuration: false };
    script.lock().answers.push_back((Outcomes::All(unknown()), Some(pause)));
    script.lock().told.push_back(Told::Credited);
    world.orders("cash", 0, 1);
    world.run(&mut dispatcher, 1_000);
    assert_eq!(dispatcher.status().lanes()[0].state, LaneState::Paused);
    assert_eq!(world.stories(0, "cash"), ["suC"]);
}

#[test]
fn a_downstream_that_throttles_everything_is_left_alone() {
    let world = World::new(&["cash"], 1);
    world.orders("cash", 0, 2_000);
    let (bank, script) = Scripted::new(&world, ABLE);
    script.lock().by = Some(Box::new(|_| {
        let retry_after = Some(Duration::from_secs(2));
        (Outcomes::All(Outcome::Throttled { retry_after }), None)
    }));
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 10_000);
    let sent = script.lock().sent.len();
    assert!(sent < 40, "{sent} submissions in 10 s");
    script.lock().by = None;
    world.run(&mut dispatcher, 10_000);
    assert_eq!(world.view.ends("cash").into_iter().collect::<Vec<_>>(), [("credited", 2_000)]);
}

#[test]
fn a_full_log_holds_everything_until_there_is_room() {
    let world = World::new(&["cash"], 1);
    world.orders("cash", 0, 100);
    let (bank, script) = Scripted::new(&world, ABLE);
    let mut dispatcher = world.open(bank);
    script.lock().is_silent = true;
    world.run(&mut dispatcher, 50);
    let sent = script.lock().sent.len();
    world.log.set_bytes_max(1);
    script.lock().is_silent = false;
    world.run(&mut dispatcher, 500);
    assert!(script.lock().sent.len() < sent + 12, "no intent, no send");
    world.log.set_bytes_max(usize::MAX);
    world.run(&mut dispatcher, 500);
    assert_eq!(world.view.ends("cash").into_iter().collect::<Vec<_>>(), [("credited", 100)]);
}

#[test]
fn a_damaged_lane_halts_alone() {
    let world = World::new(&["cash", "coupon"], 2);
    for (lane, partition) in [("cash", 0), ("cash", 1), ("coupon", 0)] {
        world.orders(lane, partition, 20);
    }
    let (bank, _) = Scripted::new(&world, ABLE);
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 200);
    world.log.lose_from(Partition(0), "orders.cash", 5);
    for (lane, partition) in [("cash", 1), ("coupon", 0)] {
        world.orders(lane, partition, 20);
    }
    world.run(&mut dispatcher, 200);
    let lanes = dispatcher.status().lanes();
    assert_eq!((lanes[0].state, lanes[1].state), (LaneState::Degraded, LaneState::Running));
    assert_eq!((&lanes[0].halted, &lanes[1].halted), (&vec![0], &vec![]));
    assert!(lanes[0].detail.starts_with("partition 0: "), "{}", lanes[0].detail);
    assert_eq!(world.view.orders(1, "cash").len(), 40);
    assert_eq!(world.view.ends("coupon")["credited"], 40);
    world.orders("coupon", 0, 1);
    world.orders("cash", 1, 1);
    world.log.fail(Partition(1), "io error");
    world.run(&mut dispatcher, 20);
    assert_eq!(world.view.ends("coupon")["credited"], 41, "one partition is left, of one lane");
    world.orders("coupon", 0, 1);
    world.log.fail(Partition(0), "io error");
    assert!((0..100).any(|_| dispatcher.step().is_err()), "nothing is left");
}
