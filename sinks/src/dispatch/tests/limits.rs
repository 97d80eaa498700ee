//! Rates, pools and bounds as seen by a downstream (I20, I21, I29).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::dispatch::{LaneState, PoolSpec};
use crate::downstream::{Capabilities, Outcome, Outcomes, Told};
use crate::limits::rate::Rate;

use super::kit::{ABLE, Scripted, Sent, SharedScript, World, unknown};

const WIDE: Capabilities = Capabilities { max_items: 100, max_in_flight: 16, ..ABLE };

fn rate(per_second: u64) -> Option<Rate> {
    Rate::per_second(per_second)
}

/// Most orders sent within any half-open second.
fn busiest(sent: &[Sent]) -> usize {
    let ends = |from: &Sent| from.at_ms + 1_000;
    let within = |from: &Sent| {
        let sends = sent.iter().filter(|one| one.at_ms >= from.at_ms && one.at_ms < ends(from));
        sends.map(|one| one.seqs.len()).sum()
    };
    sent.iter().map(within).max().unwrap_or(0)
}

fn orders_of(sent: &[Sent], lane: &str) -> usize {
    sent.iter().filter(|one| one.lane == lane).map(|one| one.seqs.len()).sum()
}

#[test]
fn a_lane_keeps_its_rate_through_restarts_and_resends() {
    let mut world = World::new(&["cash"], 3);
    world.spec.lanes[0].rate = rate(1_000);
    for partition in 0..3 {
        world.orders("cash", partition, 4_000);
    }
    let script = SharedScript::default();
    let mut at = 0;
    script.lock().by = Some(Box::new(move |sent| {
        at += 1;
        let outcome = match at % 7 {
            0 => Outcome::Throttled { retry_after: None },
            3 => unknown(),
            _ => Outcome::Credited,
        };
        (Outcomes::Each(vec![outcome; sent.seqs.len()]), None)
    }));
    for _ in 0..5 {
        let mut dispatcher = world.open(Scripted::with(&world, WIDE, &script, 3));
        world.run(&mut dispatcher, 1_700);
    }
    let sent = &script.lock().sent;
    assert!(busiest(sent) <= 1_000, "{}", busiest(sent));
    let total = orders_of(sent, "cash");
    assert!(total as f64 > 0.9 * 8_500.0, "{total} in 8.5 s");
}

#[test]
fn sends_keep_the_rate_although_a_sync_held_their_intents_back() {
    let clock = std::sync::Arc::new(super::kit::TestClock::default());
    let log = hongbao_engine::memory::log::MemoryLog::manual(1, clock.clone());
    let mut world = World::over(log.into(), clock, &["cash"]);
    world.spec.lanes[0].rate = rate(1_000);
    world.orders("cash", 0, 8_000);
    let (bank, script) = Scripted::new(&world, WIDE);
    let mut dispatcher = world.open(bank);
    for round in 0..30 {
        // Every other sync takes 700 ms.
        world.run(&mut dispatcher, if round % 2 == 0 { 700 } else { 5 });
        world.log.sync();
    }
    let sent = &script.lock().sent;
    assert!(busiest(sent) <= 1_000, "{}", busiest(sent));
    assert!(orders_of(sent, "cash") > 1_000);
}

#[test]
fn small_rates_send_small_batches_steadily() {
    for per_second in [1, 2, 10, 60] {
        let mut world = World::new(&["cash"], 2);
        world.spec.lanes[0].rate = rate(per_second);
        world.orders("cash", 0, 400);
        world.orders("cash", 1, 400);
        let (bank, script) = Scripted::new(&world, WIDE);
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 10_000);
        let sent = &script.lock().sent;
        let total = orders_of(sent, "cash");
        assert!(busiest(sent) as u64 <= per_second);
        assert!(total as u64 * 10 >= (per_second * 10 - 1) * 8, "{total} of {per_second}/s");
        assert!(sent.iter().any(|one| one.partition == 0) && sent.iter().any(|one| one.partition == 1));
    }
}

/// Every other order fails whenever it is sent, and is due again at once. One partition has only such
/// orders before long: it must not take each permit that a full batch of another one waits for.
#[test]
fn orders_that_fail_and_fresh_ones_take_turns_where_permits_are_few() {
    for (per_second, burst) in [(5, 1), (5, 2), (60, 2), (60, 20)] {
        let mut world = World::new(&["cash"], 3);
        world.spec.lanes[0].rate = Rate::with_burst(per_second, burst);
        world.spec.policy.attempts_max = u32::MAX;
        world.spec.policy.backoff_base = Duration::from_millis(1);
        world.spec.policy.backoff_max = Duration::from_millis(1);
        world.orders("cash", 0, 4_000);
        world.orders("cash", 1, 4_000);
        world.orders("cash", 2, 4);
        let script = SharedScript::default();
        script.lock().by = Some(Box::new(|sent| {
            let outcome = |seq: &u64| if seq.is_multiple_of(2) { unknown() } else { Outcome::Credited };
            (Outcomes::Each(sent.seqs.iter().map(outcome).collect()), None)
        }));
        let able = Capabilities { can_query: false, ..WIDE };
        let mut dispatcher = world.open(Scripted::with(&world, able, &script, 1));
        world.run(&mut dispatcher, 60_000);
        for partition in [0, 1] {
            let mut tried: BTreeSet<u64> = BTreeSet::new();
            let (mut fresh, mut again) = (0, 0_usize);
            for sent in script.lock().sent.iter().filter(|sent| sent.partition == partition) {
                *if tried.contains(&sent.seqs[0]) { &mut again } else { &mut fresh } += sent.seqs.len();
                tried.extend(&sent.seqs);
            }
            let is_fair = fresh > 10 && again > 10 && fresh.abs_diff(again) <= 20 + fresh.max(again) / 4;
            assert!(
                is_fair,
                "{fresh} fresh orders and {again} others of {partition}: {per_second}/s, {burst}"
            );
        }
    }
}

/// The pool could never gather a full batch of coupons beside cash that takes its own limit.
#[test]
fn a_lower_lane_gets_what_those_above_it_leave() {
    let mut world = World::new(&["cash", "coupon"], 1);
    world.spec.lanes[0].rate = rate(600);
    world.spec.pools = vec![PoolSpec {
        name: "payment".to_owned(),
        rate: rate(1_000).unwrap(),
        rank: vec!["cash".to_owned(), "coupon".to_owned()],
        floor_permille: 0,
    }];
    world.orders("cash", 0, 20_000);
    world.orders("coupon", 0, 20_000);
    let (bank, script) = Scripted::new(&world, WIDE);
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 10_000);
    let sent = &script.lock().sent;
    let (cash, coupon) = (orders_of(sent, "cash"), orders_of(sent, "coupon"));
    assert!(cash > 5_500, "{cash}");
    assert!(coupon > 3_000, "{coupon} beside {cash}");
}

fn pooled(floor_permille: u32, per_second: u64) -> World {
    let mut world = World::new(&["other", "coupon", "cash"], 3);
    for lane in &mut world.spec.lanes {
        lane.rate = rate(per_second);
    }
    world.spec.lanes[0].rate = None;
    world.spec.pools = vec![PoolSpec {
        name: "payment".to_owned(),
        rate: rate(per_second).unwrap(),
        rank: vec!["cash".to_owned(), "coupon".to_owned()],
        floor_permille,
    }];
    world
}

#[test]
fn cash_goes_first_across_partitions_and_others_get_the_floor() {
    for floor_permille in [0, 50, 200] {
        let world = pooled(floor_permille, 10_000);
        // Coupons have been waiting in two partitions, and cash comes in a third one.
        world.orders("coupon", 0, 60_000);
        world.orders("coupon", 1, 60_000);
        world.orders("other", 1, 300);
        let script = SharedScript::default();
        let mut dispatcher = world.open(Scripted::with(&world, WIDE, &script, 1));
        world.run(&mut dispatcher, 2_000);
        let before = script.lock().sent.len();
        world.orders("cash", 2, 200_000);
        world.run(&mut dispatcher, 5);
        let begin = script.lock().sent.len();
        world.run(&mut dispatcher, 10_000);
        let script = script.lock();
        assert!(orders_of(&script.sent[..before], "coupon") > 17_000, "alone, coupons get it all");
        let (cash, coupon) =
            (orders_of(&script.sent[begin..], "cash"), orders_of(&script.sent[begin..], "coupon"));
        let most = 100 * floor_permille as usize;
        assert!(coupon <= most, "{coupon} of {most} with a floor of {floor_permille}");
        assert!(coupon * 10 >= most * 8, "{coupon} of {most} with a floor of {floor_permille}");
        assert!(cash + coupon >= 96_000, "{cash} and {coupon}: nothing is wasted");
        assert_eq!(orders_of(&script.sent, "other"), 300, "not in the pool, not held up");
        let withdrawn = dispatcher.status().lanes()[1].counts.deferred;
        assert!(withdrawn < 2_500, "{withdrawn}: coupons are not intended only to be withdrawn");
        let pool: Vec<Sent> = script.sent.iter().filter(|one| one.lane != "other").cloned().collect();
        assert!(busiest(&pool) <= 10_000);
    }
}

#[test]
fn cash_whose_downstream_is_paused_does_not_wait_for_permits() {
    let mut world = pooled(0, 10_000);
    world.spec.lanes[2].downstream = "broken".to_owned();
    world.orders("cash", 0, 1_000);
    world.orders("coupon", 0, 60_000);
    let (bank, bank_script) = Scripted::new(&world, WIDE);
    let (broken, broken_script) = Scripted::new(&world, WIDE);
    broken_script.lock().by =
        Some(Box::new(|_| (Outcomes::All(Outcome::NotSent("connection refused".into())), None)));
    let mut dispatcher = world.open_with(BTreeMap::from([
        ("bank".to_owned(), Box::new(bank) as Box<dyn crate::downstream::Downstream>),
        ("broken".to_owned(), Box::new(broken) as Box<dyn crate::downstream::Downstream>),
    ]));
    world.run(&mut dispatcher, 4_000);
    let coupon = orders_of(&bank_script.lock().sent, "coupon");
    assert!(coupon > 35_000, "{coupon}");
    assert!(world.stories(0, "cash").iter().all(|story| !story.contains('F')));
}

#[test]
fn queries_have_a_limit_of_their_own() {
    let mut world = World::new(&["cash"], 1);
    world.spec.lanes[0].query_rate = rate(20);
    world.orders("cash", 0, 200);
    let (bank, script) = Scripted::new(&world, WIDE);
    script.lock().answers = (0..2).map(|_| (Outcomes::Each(vec![unknown(); 100]), None)).collect();
    script.lock().told = vec![Told::Credited; 200].into();
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 5_000);
    let asked = script.lock().asked.clone();
    for (from, _) in &asked {
        let count = asked.iter().filter(|(at, _)| at >= from && at < &(from + 1_000)).count();
        assert!(count <= 20, "{count}");
    }
    assert!(asked.len() > 85, "{}", asked.len());
}

#[test]
fn too_many_unresolved_orders_stop_new_work_and_bound_memory() {
    let mut world = World::new(&["cash"], 2);
    world.spec.policy.held_orders_max = 50;
    world.orders("cash", 0, 2_000);
    world.orders("cash", 1, 2_000);
    let (bank, script) = Scripted::new(&world, Capabilities { max_items: 20, ..ABLE });
    // Half of each batch is known, so the downstream is well; nothing is ever found out.
    script.lock().by = Some(Box::new(|sent| {
        let outcome = |seq: &u64| if seq.is_multiple_of(2) { Outcome::Credited } else { unknown() };
        (Outcomes::Each(sent.seqs.iter().map(outcome).collect()), None)
    }));
    script.lock().told = vec![Told::Pending; 100_000].into();
    let mut dispatcher = world.open(bank);
    for _ in 0..100 {
        world.run(&mut dispatcher, 20);
        assert!(dispatcher.status().lanes()[0].held <= 50);
    }
    let status = &dispatcher.status().lanes()[0];
    assert_eq!((status.state, status.held), (LaneState::Full, 50));
    let sent = orders_of(&script.lock().sent, "cash");
    assert!(sent <= 120, "{sent}");
    script.lock().told = vec![Told::Credited; 100_000].into();
    script.lock().by = None;
    world.run(&mut dispatcher, 3_000);
    assert_eq!(world.view.ends("cash").into_iter().collect::<Vec<_>>(), [("credited", 4_000)]);
}

#[test]
fn a_batch_waits_a_little_for_company() {
    let world = World::new(&["cash"], 1);
    let able = Capabilities { batch_delay: Duration::from_millis(30), ..ABLE };
    let (bank, script) = Scripted::new(&world, able);
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 10);
    for _ in 0..4 {
        world.orders("cash", 0, 2);
        world.run(&mut dispatcher, 6);
    }
    assert!(script.lock().sent.is_empty());
    world.run(&mut dispatcher, 20);
    assert_eq!(script.lock().sent[0].seqs, (1..=8).collect::<Vec<_>>());
    world.orders("cash", 0, 10);
    world.run(&mut dispatcher, 3);
    assert_eq!(script.lock().sent[1].seqs.len(), 10, "a full batch does not wait");
}

#[test]
fn as_many_requests_are_open_as_the_downstream_bears() {
    let world = World::new(&["cash"], 1);
    world.orders("cash", 0, 20_000);
    let script = SharedScript::default();
    let mut dispatcher = world.open(Scripted::with(&world, WIDE, &script, 10));
    world.run(&mut dispatcher, 300);
    assert_eq!(script.lock().most_open, 16, "grows to the declared maximum");
    script.lock().by = Some(Box::new(|_| (Outcomes::All(Outcome::Throttled { retry_after: None }), None)));
    world.run(&mut dispatcher, 40);
    script.lock().by = None;
    script.lock().most_open = 0;
    world.run(&mut dispatcher, 30);
    assert!(script.lock().most_open < 16, "fewer after throttles: {}", script.lock().most_open);
}
