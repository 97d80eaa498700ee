//! Crashes at every step against an adversarial downstream: nothing twice, nothing lost (I9, I10,
//! I11, I14).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_engine::log::LogError;
use hongbao_engine::memory::log::MemoryLog;
use parking_lot::Mutex;
use proptest::prelude::*;

use crate::dispatch::{Dispatcher, Step};
use crate::downstream::Downstream;
use crate::faulty_log::{Calls, FaultyLog};
use crate::limits::rate::Rate;
use crate::simulated::{Book, BookCounts, Profile, SimulatedDownstream, Simulation};

use super::kit::{TestClock, World, order_no};

const PARTITIONS: u16 = 2;
const ORDERS: u64 = 60;

struct Run {
    world: World,
    simulation: Arc<Mutex<Simulation>>,
}

impl Run {
    fn new(profile: Profile, seed: u64) -> Self {
        let clock = Arc::new(TestClock::default());
        let log = Arc::new(MemoryLog::manual(PARTITIONS, clock.clone()));
        let mut world = World::over(log, clock, &["cash"]);
        world.spec.seed = seed;
        world.spec.policy.backoff_max = Duration::from_millis(200);
        world.spec.policy.breaker.open_max = Duration::from_millis(400);
        world.spec.lanes[0].rate = Rate::per_second(1_000);
        for partition in 0..PARTITIONS {
            world.orders("cash", partition, ORDERS);
        }
        let simulation = Simulation::new(profile, seed, Book::new(), world.clock.wall_ms());
        Self { world, simulation: Arc::new(Mutex::new(simulation)) }
    }

    fn open(&mut self, process: u8) -> Dispatcher {
        self.world.spec.writer = [process; 16];
        let clock: Arc<dyn Clock> = self.world.clock.clone();
        let bank = SimulatedDownstream::new(self.simulation.clone(), "test", clock);
        let downstreams = BTreeMap::from([("bank".to_owned(), Box::new(bank) as Box<dyn Downstream>)]);
        self.world.open_with(downstreams)
    }

    /// One step; the log syncs now and then, time moves when nothing happens.
    fn step(&self, dispatcher: &mut Dispatcher, count: u64) {
        if !matches!(dispatcher.step().unwrap(), Step::Worked(_)) {
            self.world.clock.advance_ms(1);
        }
        if count.is_multiple_of(3) {
            self.world.log.sync();
        }
    }

    /// What the journal says against what the downstream did.
    fn check(&self, name: &str) -> BookCounts {
        // Whatever is still on its way arrives.
        self.simulation.lock().advance(i64::MAX);
        let simulation = self.simulation.lock();
        let counts = simulation.counts();
        assert_eq!(counts.double_effects, 0, "{name}: credited twice (I10)");
        assert_eq!(counts.payload_mismatches, 0, "{name}: another payload (I13)");
        assert!(counts.busiest_second <= 1_000, "{name}: too fast (I21)");
        for partition in 0..PARTITIONS {
            let orders = self.world.view.orders(partition, "cash");
            for seq in 1..=ORDERS {
                let effects = simulation.effects_of(&format!("test/{}", order_no("cash", partition, seq)));
                let order = orders.get(&seq);
                let end = order.and_then(|order| order.end.as_ref()).map(|(stage, _)| stage.as_str());
                let story = order.map_or("", |order| &*order.story);
                let is_right = match end {
                    Some("credited") => effects == 1,
                    Some("refused") => effects == 0,
                    Some("reported") => effects <= 1,
                    _ => false,
                };
                assert!(is_right, "{name}: order {partition}/{seq} {end:?} with {effects} effects, {story}");
            }
        }
        counts
    }

    /// Runs until everything has ended, without further crashes.
    fn finish(&mut self, process: u8, name: &str) -> BookCounts {
        let mut dispatcher = self.open(process);
        for count in 0..200_000 {
            self.step(&mut dispatcher, count);
            if count.is_multiple_of(500) && self.is_over() {
                break;
            }
        }
        self.check(name)
    }

    fn is_over(&self) -> bool {
        let ends = self.world.view.ends("cash");
        let over: usize = ends.iter().filter(|(end, _)| **end != "open").map(|(_, count)| count).sum();
        over as u64 == ORDERS * u64::from(PARTITIONS)
    }
}

fn profile(name: &str) -> Profile {
    let profile = Profile::named(name).unwrap();
    // Poison and more trouble than by default.
    Profile { reject_item: 20, fail_after: 60, lose_answer: 40, pending_item: 30, max_items: 8, ..profile }
}

/// Steps a process is given before the first crash, until nothing new can happen.
const CRASH_STEPS: u64 = 260;

#[test]
fn a_crash_after_any_number_of_steps_neither_doubles_nor_loses() {
    for steps in 0..CRASH_STEPS {
        let mut run = Run::new(profile("flaky"), steps);
        let mut dispatcher = run.open(1);
        for count in 0..steps {
            run.step(&mut dispatcher, count);
        }
        drop(dispatcher);
        run.world.log.crash();
        run.finish(2, &format!("crash after {steps} steps"));
    }
}

/// For its orders a partition that halts is as one whose process has ended; the others go on.
#[test]
fn a_partition_that_halts_after_any_number_of_steps_neither_doubles_nor_loses() {
    let calls = [Calls::Append, Calls::Durable, Calls::Read, Calls::All];
    for steps in (0..CRASH_STEPS).step_by(3) {
        for profile in [profile("flaky"), profile("no_keys")] {
            let mut run = Run::new(profile, steps);
            let log = FaultyLog::over(&run.world.log);
            let bank = SimulatedDownstream::new(run.simulation.clone(), "test", run.world.clock.clone());
            let mut dispatcher = run.world.open_over(log.clone(), bank);
            for count in 0..steps + 300 {
                if count == steps {
                    let damage = LogError::Corrupt { partition: 0, what: "a frame".to_owned() };
                    log.refuse(0, calls[(steps / 3) as usize % calls.len()], damage);
                }
                run.step(&mut dispatcher, count);
            }
            drop(dispatcher);
            run.finish(2, &format!("halted after {steps} steps"));
        }
    }
}

#[test]
fn without_faults_everything_is_credited() {
    let mut run = Run::new(Profile::steady(), 1);
    let counts = run.finish(1, "steady");
    assert_eq!(counts.effects, ORDERS * u64::from(PARTITIONS));
    assert_eq!(run.world.view.ends("cash").into_iter().collect::<Vec<_>>(), [("credited", 120)]);
}

#[test]
fn the_same_seed_sends_the_same() {
    let run = |seed| {
        let mut run = Run::new(profile("flaky"), seed);
        let counts = run.finish(1, "same seed");
        (counts, run.world.stories(0, "cash"), run.world.stories(1, "cash"), run.world.clock.now_ms())
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_profile_any_crashes(
        seed in any::<u64>(),
        name in prop::sample::select(vec!["steady", "flaky", "slow", "short_keys", "no_keys", "outage"]),
        crashes in prop::collection::vec((1u64..600, 0i64..3_000, any::<bool>()), 0..6),
        back_ms in prop_oneof![Just(0i64), -5_000i64..0],
    ) {
        let mut run = Run::new(profile(name), seed);
        for (process, (steps, away_ms, loses)) in crashes.iter().enumerate() {
            let mut dispatcher = run.open(process as u8 + 1);
            for count in 0..*steps {
                run.step(&mut dispatcher, count);
            }
            drop(dispatcher);
            if *loses {
                run.world.log.crash();
            }
            run.world.clock.advance_ms(*away_ms);
        }
        run.world.clock.step_wall_ms(back_ms);
        run.finish(100, name);
    }
}
