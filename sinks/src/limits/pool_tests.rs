//! Rank and floor against lanes that come and go (I20).

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn want(demand: u64, own_available: u64, front: u64) -> Want {
    Want { demand, own_available, front: (front > 0).then_some(front) }
}

#[test]
fn permits_go_by_rank_and_only_what_is_over_goes_below() {
    // The pool has 100 permits: 1000/s less a burst of 100, after 112 ms.
    let rate = Rate::with_burst(1_000, 100).unwrap();
    let cases: [(&str, [Want; 2], Option<usize>); 8] = [
        ("both fit: the upper first", [want(50, 999, 50), want(50, 999, 50)], Some(0)),
        ("the upper has nothing", [want(0, 999, 0), want(50, 999, 50)], Some(1)),
        ("the upper will want it all", [want(500, 999, 0), want(50, 999, 50)], None),
        ("the upper wants some, not ready", [want(50, 999, 0), want(50, 999, 50)], Some(1)),
        ("the upper wants too much to leave enough", [want(51, 999, 0), want(50, 999, 50)], None),
        ("the upper's own limit holds it back", [want(500, 20, 0), want(80, 999, 80)], Some(1)),
        ("the lower's own limit holds it back", [want(0, 999, 0), want(80, 79, 80)], None),
        ("more than there is", [want(0, 999, 0), want(101, 999, 101)], None),
    ];
    for (name, wants, granted) in cases {
        let mut pool = Pool::new(rate, 2, 0, ms(0));
        assert_eq!(pool.grant(&wants, ms(0)), None, "starts empty");
        assert_eq!(pool.available(ms(112)), 100);
        assert_eq!(pool.grant(&wants, ms(112)), granted, "{name}");
    }
}

#[test]
fn the_floor_bounds_batches_and_is_absent_where_it_is_nothing() {
    let rate = Rate::with_burst(1_000, 100).unwrap();
    for (floor_permille, upper, lower, in_a_second) in
        [(0, 100, 100, 0), (50, 100, 45, 40), (500, 100, 100, 440)]
    {
        let mut pool = Pool::new(rate, 2, floor_permille, ms(0));
        assert_eq!((pool.batch_max(0), pool.batch_max(1)), (upper, lower), "{floor_permille}");
        assert_eq!(pool.available_within(true, ms(1_000), ms(0)), in_a_second, "{floor_permille}");
        assert_eq!(pool.available_within(false, ms(1_000), ms(0)), 900, "{floor_permille}");
    }
}

/// What lower lanes took in the last 10 s while a lane above waited.
#[derive(Default)]
struct FloorWindow {
    takes: VecDeque<(Duration, u64)>,
    sum: u64,
}

impl FloorWindow {
    fn add(&mut self, now: Duration, count: u64) -> u64 {
        self.takes.push_back((now, count));
        self.sum += count;
        while let Some((at, old)) = self.takes.front().copied()
            && now - at >= Duration::from_secs(10)
        {
            self.sum -= old;
            self.takes.pop_front();
        }
        self.sum
    }
}

/// Plays lanes with these batch sizes, own limits and endless work while `works` says so, stepping
/// every `step_ms`. Returns what each lane took, and the most that lower lanes took in any 10 s
/// while a lane above had a batch ready that its own limit allowed and did not get it.
fn play(
    rate: Rate,
    floor_permille: u32,
    lanes: &mut [(u64, Option<Limiter>)],
    steps: u64,
    step_ms: u64,
    mut works: impl FnMut(usize, u64) -> bool,
) -> (Vec<u64>, u64) {
    let mut pool = Pool::new(rate, lanes.len(), floor_permille, ms(0));
    let mut taken = vec![0; lanes.len()];
    let mut window = FloorWindow::default();
    let mut worst = 0;
    for step in 1..=steps {
        let now = ms(step * step_ms);
        let mut lower_takes = Vec::new();
        let ready = loop {
            let mut wants = Vec::new();
            for (index, (batch, limiter)) in lanes.iter_mut().enumerate() {
                let own = limiter.as_mut().map_or(u64::MAX, |limiter| limiter.available(now));
                let batch = (*batch).min(pool.batch_max(index));
                let is_working = works(index, step);
                wants.push(want(
                    if is_working { 1_000_000 } else { 0 },
                    own,
                    if is_working { batch } else { 0 },
                ));
            }
            let Some(lane) = pool.grant(&wants, now) else { break wants };
            let count = wants[lane].front.unwrap();
            if let Some(limiter) = &mut lanes[lane].1 {
                assert!(limiter.take_all(count, now), "granted beyond the lane's own limit");
            }
            taken[lane] += count;
            lower_takes.push((lane, count));
        };
        // The most urgent lane that was left waiting at the end of this step.
        let waiting = ready.iter().position(|want| want.ready().is_some());
        for (lane, count) in lower_takes {
            if waiting.is_some_and(|waiting| lane > waiting) {
                worst = worst.max(window.add(now, count));
            }
        }
    }
    (taken, worst)
}

#[test]
fn a_saturated_pool_gives_the_floor_below_and_the_rest_above() {
    for (per_second, floor_permille, batches, step_ms) in [
        (300_000, 50, [1_000, 200], 1),
        (300_000, 0, [1_000, 200], 1),
        (1_000, 100, [20, 20], 1),
        (50, 200, [1, 1], 2),
        (2_000, 50, [1, 40], 1),
    ] {
        let rate = Rate::per_second(per_second).unwrap();
        let mut lanes = batches.map(|batch| (batch, Some(Limiter::new(rate, ms(0)))));
        let (taken, worst) = play(rate, floor_permille, &mut lanes, 40_000, step_ms, |_, _| true);
        let seconds = 40 * step_ms;
        let name = format!("{per_second}/s with a floor of {floor_permille}: {taken:?}");
        let allowed = per_second * u64::from(floor_permille) / 1000;
        assert!(worst <= allowed * 10, "{name}, worst {worst}");
        assert!(taken[1] <= allowed * seconds, "{name}");
        assert!(taken[1] * 100 >= allowed * seconds * 75, "{name}: the floor is given");
        assert!((taken[0] + taken[1]) * 100 >= per_second * seconds * 90, "{name}: nothing is wasted");
    }
}

#[test]
fn lower_lanes_share_the_floor_by_turns() {
    let rate = Rate::per_second(10_000).unwrap();
    let mut lanes = [(200, None), (20, None), (20, None), (20, None)];
    let (taken, worst) = play(rate, 90, &mut lanes, 30_000, 1, |_, _| true);
    assert!(worst <= 9_000, "{worst}");
    for lane in 1..4 {
        assert!(taken[lane] > 6_000, "lane {lane} of {taken:?}");
    }
}

/// With a burst near the rate the upper lane's permits take nine seconds to gather; the floor is owed nine
/// batches for them.
#[test]
fn the_floor_is_given_beside_batches_that_take_long_to_gather() {
    let rate = Rate::with_burst(1_000, 900).unwrap();
    let mut lanes = [(900, None), (10, None)];
    let (taken, worst) = play(rate, 100, &mut lanes, 40_000, 10, |_, _| true);
    assert!(worst <= 100, "{worst}");
    assert!((2_400..=4_000).contains(&taken[1]), "{taken:?} in 400 s");
}

/// A slow downstream takes one batch each 100 ms, less than the floor of the pool's refill.
#[test]
fn where_less_leaves_than_the_floor_the_upper_lane_still_gets_its_share() {
    for (per_second, floor_permille, batch) in [(1_000, 200, 4), (1_000, 50, 1), (70, 200, 1)] {
        let mut pool = Pool::new(Rate::per_second(per_second).unwrap(), 3, floor_permille, ms(0));
        let wants = [want(1_000, u64::MAX, batch); 3];
        let mut taken = [0_u64; 3];
        for step in 1..=1_000 {
            let granted = pool.grant(&wants, ms(step * 100)).expect("permits have gathered");
            taken[granted] += 1;
        }
        let lower = taken[1] + taken[2];
        let share = u64::from(floor_permille);
        assert!(lower <= share, "{per_second}: {taken:?} of 1000");
        assert!(lower + 2 >= share, "{per_second}: {taken:?} of 1000, and the floor moves");
        assert!(taken[1].abs_diff(taken[2]) <= 1, "{per_second}: {taken:?}, by turns");
    }
}

/// A lane above that only announces more than there is keeps nothing from the floor.
#[test]
fn a_lane_that_is_never_ready_does_not_keep_the_floor() {
    let mut pool = Pool::new(Rate::per_second(1_000).unwrap(), 3, 100, ms(0));
    let wants = [want(1_000, u64::MAX, 0), want(5, u64::MAX, 1), want(5, u64::MAX, 1)];
    let mut taken = [0_u64; 3];
    for step in 1..=1_000 {
        if let Some(granted) = pool.grant(&wants, ms(step * 100)) {
            taken[granted] += 1;
        }
    }
    assert_eq!(taken, [0, 500, 500]);
}

#[test]
fn a_lane_that_its_own_limit_holds_back_leaves_the_rest() {
    let rate = Rate::per_second(700_000).unwrap();
    let cash = Limiter::new(Rate::per_second(300_000).unwrap(), ms(0));
    let mut lanes = [(1_000, Some(cash)), (200, None)];
    let (taken, _) = play(rate, 0, &mut lanes, 10_000, 1, |_, _| true);
    assert!(taken[0] >= 2_900_000, "{taken:?}");
    assert!(taken[0] + taken[1] >= 6_700_000, "{taken:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// I20, with lanes that come and go.
    #[test]
    fn lower_lanes_take_at_most_the_floor_while_a_higher_one_waits(
        per_second in 20u64..20_000,
        floor_permille in prop_oneof![Just(0u32), 1u32..400],
        batches in prop::collection::vec(1u64..300, 2..5),
        limited in prop::collection::vec(prop::option::of(10u64..20_000), 5),
        phases in prop::collection::vec(any::<u8>(), 1..30),
        step_ms in 1u64..20,
    ) {
        let rate = Rate::per_second(per_second).unwrap();
        let mut lanes: Vec<(u64, Option<Limiter>)> = batches
            .iter()
            .zip(&limited)
            .map(|(batch, own)| {
                let own = own.and_then(Rate::per_second);
                let batch = (*batch).min(rate.burst()).min(own.map_or(u64::MAX, |own| own.burst()));
                (batch, own.map(|own| Limiter::new(own, ms(0))))
            })
            .collect();
        let works = |lane: usize, step: u64| phases[(step / 300) as usize % phases.len()] >> lane & 1 == 1;
        let (_, worst) = play(rate, floor_permille, &mut lanes, 6_000, step_ms, works);
        prop_assert!(worst <= per_second * 10 * u64::from(floor_permille) / 1000, "worst {}", worst);
    }
}
