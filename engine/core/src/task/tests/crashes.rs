//! A process may end between any two of its calls, and a machine may lose what was not durable.
//! Afterwards the outputs are the same as if nothing had happened (I4, I5), and the store never
//! holds anything but a fold of the log up to where it says it is (I6).

use proptest::prelude::*;

use super::support::{Fuse, FusedLog, FusedStore, INPUT, P0, World};
use super::*;

/// What happens to a world.
#[derive(Clone, Debug)]
enum Event {
    Produce(Vec<u64>),
    /// Numbers of a sequenced writer, sent so many sequences ahead of what is missing.
    Send {
        ahead: u64,
        values: Vec<u64>,
    },
    /// The writer sends what it had left out, and a part of what it had sent.
    FillGap,
    Step,
    Sync(usize),
    Commit,
    Wait,
    Full(usize),
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    let values = || prop::collection::vec(0u64..100, 1..6);
    prop_oneof![
        3 => values().prop_map(Event::Produce),
        2 => (0u64..3, values()).prop_map(|(ahead, values)| Event::Send { ahead, values }),
        2 => Just(Event::FillGap),
        6 => Just(Event::Step),
        4 => (1usize..4).prop_map(Event::Sync),
        2 => Just(Event::Commit),
        1 => Just(Event::Wait),
        1 => (0usize..200).prop_map(Event::Full),
        2 => Just(Event::Crash),
    ]
}

fn policy(commit_records: u64, read_bytes_max: usize) -> TaskPolicy {
    TaskPolicy {
        read_bytes_max,
        commit_records,
        commit_staged_bytes: 400,
        staged_bytes_max: 800,
        commit_interval: SECOND,
        gap_timeout: SECOND * 100_000,
        ..TaskPolicy::default()
    }
}

fn happen(world: &mut World, event: &Event) {
    match event {
        Event::Produce(values) => world.produce(values),
        Event::Send { ahead, values } => {
            let first_seq = world.next_seq() + ahead;
            // Numbers follow from their sequence, as a deterministic writer's do.
            let values: Vec<u64> = (first_seq..).take(values.len()).collect();
            world.send(writer(1, first_seq), &values);
        }
        Event::FillGap => fill_gap(world),
        Event::Step => {
            if world.process.is_none() {
                world.open().unwrap();
            }
            world.task().step().unwrap();
        }
        Event::Sync(groups) => world.log.sync_groups(P0, *groups),
        Event::Commit => {
            if world.process.is_some() {
                world.commit();
            }
            world.check_store();
        }
        Event::Wait => world.clock.advance(SECOND * 2),
        Event::Full(_) => {}
        Event::Crash => world.crash(),
    }
}

fn fill_gap(world: &World) {
    let next_seq = world.next_seq();
    let values: Vec<u64> = (next_seq..next_seq + 2).collect();
    world.send(writer(1, next_seq), &values);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_outputs_are_the_same(
        events in prop::collection::vec(event(), 1..80),
        commit_records in 1u64..40,
        read_bytes_max in 1usize..200,
    ) {
        let mut world = World::manual();
        world.policy = policy(commit_records, read_bytes_max);
        for event in &events {
            if let Event::Full(room) = event {
                // Only the task's outputs find the log full; what is produced came before.
                world.log.sync();
                world.log.set_bytes_max(*room);
                if let Some(process) = &mut world.process {
                    process.task.step().unwrap();
                }
                world.log.set_bytes_max(usize::MAX);
            }
            happen(&mut world, event);
        }
        world.log.sync();
        // Numbers held at the end are let in, as far as they were sent without a gap.
        while world.numbers(INPUT).len() < 1_000 && holds(&mut world) {
            fill_gap(&world);
            world.log.sync();
        }
        world.finish();
        world.check_store();
        world.check_outputs();
    }
}

/// Whether the task, having read everything, waits for missing records.
fn holds(world: &mut World) -> bool {
    if world.process.is_none() {
        world.open().unwrap();
    }
    for _ in 0..3 {
        world.task().drain().unwrap();
        world.log.sync();
        world.commit();
    }
    world.task().step().unwrap();
    world.status().waits_for() != WaitsFor::Nothing
}

/// A life with everything in it that a task does; ends early when a call fails.
fn live(world: &mut World, log: Arc<dyn Log>, store: Arc<dyn Store>) -> Result<(), TaskError> {
    world.open_with(log, store)?;
    for round in 0..6 {
        world.produce(&[round, round + 1, round + 2]);
        world.send(writer(1, round * 2 + 1), &[5]);
        world.log.sync_groups(P0, 2);
        world.task().step()?;
        world.log.sync_groups(P0, 2);
        world.task().step()?;
        world.send(writer(1, round * 2 + 2), &[6]);
        world.commit();
        world.check_store();
        world.log.sync_groups(P0, 1);
        world.task().step()?;
    }
    world.log.sync();
    world.task().drain()?;
    world.log.sync();
    world.task().commit_now()
}

#[test]
fn a_process_may_end_at_any_call() {
    for (after_effect, synced) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut calls = 0;
        loop {
            let mut world = World::manual();
            world.policy = policy(4, 1);
            let (log, store, fuse) = fused(&world, calls, after_effect);
            let outcome = live(&mut world, log, store);
            assert_eq!(outcome.is_err(), fuse.is_blown(), "{outcome:?} at call {calls}");
            if synced {
                // The process ended, the machine did not: everything written gets durable.
                world.log.sync();
            }
            world.crash();
            world.check_store();
            world.finish();
            world.check_store();
            world.check_outputs();
            if outcome.is_ok() {
                break;
            }
            calls += 1;
        }
        assert!(calls > 100, "only {calls} calls were made");
    }
}

#[test]
fn a_process_may_end_again_while_it_recovers() {
    let mut recoveries_ended = 0;
    for first in (20..160).step_by(7) {
        for second in (0..80).step_by(3) {
            let mut world = World::manual();
            world.policy = policy(4, 1);
            let (log, store, fuse) = fused(&world, first, second % 2 == 0);
            assert_eq!(live(&mut world, log, store).is_err(), fuse.is_blown());
            world.crash();
            let (log, store, fuse) = fused(&world, second, first % 2 == 0);
            assert_eq!(recover(&mut world, log, store).is_err(), fuse.is_blown());
            recoveries_ended += usize::from(fuse.is_blown());
            world.crash();
            world.check_store();
            world.finish();
            world.check_store();
            world.check_outputs();
        }
    }
    assert!(recoveries_ended > 200, "only {recoveries_ended} recoveries ended early");
}

/// A life that only applies what the one before left.
fn recover(world: &mut World, log: Arc<dyn Log>, store: Arc<dyn Store>) -> Result<(), TaskError> {
    world.open_with(log, store)?;
    for _ in 0..20 {
        world.task().step()?;
        world.log.sync_groups(P0, 1);
        world.commit();
    }
    Ok(())
}

/// The log and the store of a world, until so many calls were made.
fn fused(world: &World, calls: i64, after_effect: bool) -> (Arc<dyn Log>, Arc<dyn Store>, Arc<Fuse>) {
    let fuse = Fuse::new(calls, after_effect);
    let log = Arc::new(FusedLog(world.log.clone(), fuse.clone()));
    let store = Arc::new(FusedStore(world.store.clone(), fuse.clone()));
    (log, store, fuse)
}
