//! What a task does when everything goes well, and how it stops when something is not as it
//! must be. Crashes are in [`crashes`].

mod crashes;
mod full;
mod support;

use std::sync::Arc;

use support::{INPUT, P0, World};

use super::*;
use crate::commit::Committer;
use crate::log::Log;
use crate::processor::{Outputs, Processor, ProcessorError};
use crate::records::{Envelope, Offset, ReadBatch};
use crate::store::{Applied, Rows, Store};
use crate::worker::{WorkerOptions, Workers};

const SECOND: Duration = Duration::from_secs(1);

fn writer(epoch: u32, first_seq: u64) -> Envelope<'static> {
    Envelope { source: "w", epoch, first_seq }
}

#[test]
fn applies_writes_commits_and_tells_where_it_stands() {
    let mut world = World::new();
    world.produce(&[1, 2]);
    world.clock.advance(SECOND);
    world.produce(&[3]);
    world.open().unwrap();
    let status = world.status();
    assert_eq!((status.name(), status.partition(), status.input_topic()), ("sum/0", P0, INPUT));
    assert_eq!((status.applied(), status.recovered()), (0, false));

    assert_eq!(world.task().step().unwrap(), Step::Worked(3));
    assert_eq!((status.input_end(), status.applied(), status.committed()), (3, 3, 0));
    assert_eq!((status.applied_appended_at_ms(), status.recovered()), (2_000, true));
    assert_eq!(world.numbers("sums"), [1, 3, 6]);
    assert_eq!(world.numbers("odd"), [1, 3]);
    assert_eq!(world.task().step().unwrap(), Step::Idle);

    world.task().stop().unwrap();
    assert_eq!((status.committed(), status.halted()), (3, None));
    assert_eq!(world.store.applied().unwrap().offset, 3);
    world.check_store();
}

#[test]
fn a_batch_is_bounded() {
    let mut world = World::new();
    world.policy.read_bytes_max = 16;
    for _ in 0..3 {
        world.produce(&[1, 2]);
    }
    world.open().unwrap();
    for applied in [2, 4, 6] {
        assert_eq!(world.task().step().unwrap(), Step::Worked(2));
        assert_eq!(world.status().applied(), applied);
    }
}

#[test]
fn a_commit_is_due_by_records_by_time_and_by_staged_bytes() {
    type Change = fn(&mut TaskPolicy);
    let cases: [(&str, Change, Duration, bool); 6] = [
        ("nothing", |_| {}, Duration::ZERO, false),
        ("fewer records", |policy| policy.commit_records = 4, Duration::ZERO, false),
        ("records", |policy| policy.commit_records = 3, Duration::ZERO, true),
        ("fewer bytes", |policy| policy.commit_staged_bytes = 31, Duration::ZERO, false),
        ("bytes", |policy| policy.commit_staged_bytes = 30, Duration::ZERO, true),
        ("time", |policy| policy.commit_interval = SECOND, SECOND, true),
    ];
    for (name, change, wait, is_due) in cases {
        let mut world = World::new();
        world.policy.commit_interval = SECOND * 60;
        change(&mut world.policy);
        world.produce(&[1, 2, 3]);
        world.open().unwrap();
        world.task().step().unwrap();
        world.clock.advance(wait);
        world.task().step().unwrap();
        assert_eq!(world.commit(), usize::from(is_due), "{name}");
        world.task().step().unwrap();
        assert_eq!(world.status().committed(), if is_due { 3 } else { 0 }, "{name}");
        // The time of the next commit starts with the next record.
        world.clock.advance(SECOND * 100);
        world.task().step().unwrap();
        assert_eq!(world.commit(), usize::from(!is_due), "{name}");
        world.produce(&[1]);
        world.task().step().unwrap();
        assert_eq!(world.commit(), 0, "{name}");
    }
}

#[test]
fn goes_on_during_a_commit_until_too_much_is_staged() {
    let mut world = World::manual();
    (world.policy.commit_records, world.policy.staged_bytes_max) = (1, 30);
    world.policy.read_bytes_max = 1;
    world.produce(&[1, 1]);
    world.log.sync();
    world.open().unwrap();
    assert_eq!(world.task().step().unwrap(), Step::Worked(2));
    assert_eq!(world.commit(), 0, "its outputs are not durable");
    for value in [2, 3, 4] {
        world.produce(&[value]);
        world.log.sync_groups(P0, 0);
    }
    // The outputs of the first batch were appended before, so they become durable first.
    world.log.sync();
    assert_eq!(world.task().step().unwrap(), Step::Worked(1));
    assert_eq!(world.task().step().unwrap(), Step::Worked(1));
    let status = world.status();
    assert_eq!((status.staged_bytes(), status.committed()), (40, 0));
    for _ in 0..3 {
        assert_eq!(world.task().step().unwrap(), Step::Idle);
        assert_eq!((status.applied(), status.waits_for()), (4, WaitsFor::Commit));
    }
    assert_eq!(world.commit(), 1);
    assert_eq!(world.task().step().unwrap(), Step::Worked(1));
    assert_eq!((status.committed(), status.applied(), status.waits_for()), (2, 5, WaitsFor::Nothing));
    world.finish();
    world.check_store();
    world.check_outputs();
}

#[test]
fn a_fold_that_always_holds_much_commits_often_but_goes_on() {
    let mut world = World::new();
    world.policy.staged_bytes_max = 30;
    world.open().unwrap();
    world.process.as_mut().unwrap().task.processor_mut().base_bytes = 100;
    for value in [1, 2, 3] {
        world.produce(&[value]);
        assert_eq!(world.task().step().unwrap(), Step::Worked(1));
        assert_eq!(world.task().step().unwrap(), Step::Idle);
        assert_eq!(world.commit(), 1);
        assert_eq!(world.task().step().unwrap(), Step::Idle);
        assert_eq!(world.status().committed(), value);
    }
}

#[test]
fn a_committer_without_a_place_is_asked_again() {
    let mut world = World::new();
    world.policy.commit_records = 1;
    world.open().unwrap();
    let committer = world.process.as_ref().unwrap().committer.clone();
    let places: Vec<_> = std::iter::from_fn(|| committer.try_reserve()).collect();
    world.produce(&[1]);
    world.task().step().unwrap();
    assert_eq!(world.commit(), 0);
    drop(places);
    world.task().step().unwrap();
    assert_eq!(world.commit(), 1);
}

#[test]
fn a_full_log_is_tried_again_without_loss_or_repeat() {
    let mut world = World::new();
    world.policy.commit_records = 1;
    world.open().unwrap();
    world.produce(&[1, 2, 3]);
    world.log.set_bytes_max(40);
    let status = world.status();
    for _ in 0..3 {
        assert_eq!(world.task().step().unwrap(), Step::Idle);
        assert_eq!((status.applied(), status.waits_for()), (0, WaitsFor::LogSpace));
        assert_eq!(world.commit(), 0);
    }
    // A stop at this point leaves the batch to the next start.
    world.task().commit_now().unwrap();
    assert_eq!(world.store.applied().unwrap().offset, 0);
    world.log.set_bytes_max(usize::MAX);
    assert_eq!(world.task().step().unwrap(), Step::Worked(3));
    assert_eq!((status.applied(), status.waits_for()), (3, WaitsFor::Nothing));
    world.finish();
    world.check_store();
    world.check_outputs();
}

#[test]
fn a_stop_that_cannot_commit_in_time_says_so() {
    let mut world = World::manual();
    world.policy.stop_timeout = Duration::ZERO;
    world.produce(&[1]);
    world.log.sync();
    world.open().unwrap();
    world.task().step().unwrap();
    let error = world.task().stop().unwrap_err();
    assert!(matches!(error, TaskError::StopTimeout { .. }), "{error}");
    assert_eq!(world.store.applied().unwrap().offset, 0);

    world.log.sync();
    world.crash();
    world.open().unwrap();
    world.task().step().unwrap();
    let committer = world.process.as_ref().unwrap().committer.clone();
    let places: Vec<_> = std::iter::from_fn(|| committer.try_reserve()).collect();
    let error = world.task().commit_now().unwrap_err();
    assert!(matches!(error, TaskError::StopTimeout { .. }), "{error}");
    drop(places);
    world.policy = TaskPolicy::default();
    world.process = None;
    world.finish();
    world.check_store();
}

/// A world whose store has applied `[1, 2, 3]` and whose process has ended.
fn committed() -> World {
    let mut world = World::new();
    world.produce(&[1, 2, 3]);
    world.finish();
    world.process = None;
    world
}

#[test]
fn a_store_behind_the_log_catches_up() {
    let mut world = committed();
    world.produce(&[4, 5]);
    world.open().unwrap();
    assert_eq!((world.status().applied(), world.status().recovered()), (3, false));
    world.task().step().unwrap();
    assert!(world.status().recovered());
    world.finish();
    world.check_store();
    world.check_outputs();
}

#[test]
fn a_log_that_is_not_the_one_applied_stops_the_task() {
    type Damage = fn(&World);
    let cases: [(Damage, Option<&str>); 6] = [
        (|_| {}, None),
        (|world| world.log.trim(P0, &[(INPUT, 2)]).unwrap(), None),
        (
            |world| world.log.lose_from(P0, INPUT, 2),
            Some("the store has applied in up to offset 3, but the log ends at 2"),
        ),
        (
            |world| assert!(world.log.overwrite(P0, INPUT, 2, &9u64.to_le_bytes())),
            Some("record 2 of in has CRC-32C 872fcb77, but 576c35e3 was applied"),
        ),
        (
            |world| {
                world.log.lose_from(P0, INPUT, 0);
                world.produce(&[1, 2, 4]);
            },
            Some("record 2 of in has CRC-32C ad3530e7, but 576c35e3 was applied"),
        ),
        (
            |world| world.log.trim(P0, &[(INPUT, 3)]).unwrap(),
            Some("record 2 of in, the last applied, was trimmed; the log starts at 3"),
        ),
    ];
    for (index, (damage, expected)) in cases.into_iter().enumerate() {
        let mut world = committed();
        damage(&world);
        let error = world.open().err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), expected, "case {index}");
    }
}

#[test]
fn other_outputs_than_before_stop_the_task() {
    let mut world = World::new();
    world.produce(&[1, 2]);
    world.produce(&[3]);
    world.open().unwrap();
    world.task().drain().unwrap();
    world.process = None;
    world.log.overwrite(P0, INPUT, 2, &5u64.to_le_bytes());
    world.open().unwrap();
    let error = world.task().drain().unwrap_err().to_string();
    let expected = "sums/0 holds another record at offset 2 (sequence 3) than is made now";
    assert_eq!(error, expected);
    assert_eq!(world.status().halted().as_deref(), Some(expected));
    assert_eq!(world.numbers("sums"), [1, 3, 6]);

    // It stays stopped, and a stop of the process commits nothing of it.
    let again = world.task().step().unwrap_err().to_string();
    assert_eq!(again, format!("halted: {expected}"));
    world.task().stop().unwrap();
    assert_eq!(world.store.applied().unwrap().offset, 0);
}

#[test]
fn outputs_of_an_input_that_is_lost_stop_the_task() {
    let mut world = World::new();
    world.produce(&[2, 2, 3]);
    world.open().unwrap();
    world.task().drain().unwrap();
    world.process = None;
    world.log.lose_from(P0, INPUT, 2);
    world.open().unwrap();
    let error = world.task().drain().unwrap_err().to_string();
    assert_eq!(error, "sums/0 holds sequence 3 at offset 2, but the input for it is not there");
}

#[test]
fn an_error_of_the_fold_halts_and_is_told() {
    let mut world = World::new();
    world.produce(&[1, 7]);
    world.open().unwrap();
    let process = world.process.as_mut().unwrap();
    process.task.processor_mut().poison = Some(7);
    assert_eq!(world.task().step().unwrap_err().to_string(), "I8 at offset 1: 7 is poison");
    assert_eq!(world.status().halted().as_deref(), Some("I8 at offset 1: 7 is poison"));
    assert_eq!(world.numbers("sums"), [0; 0]);
}

#[test]
fn repeats_and_older_epochs_are_left_out_after_a_restart_too() {
    let mut world = World::new();
    world.send(writer(1, 1), &[1, 2]);
    world.send(writer(1, 2), &[2, 4]);
    world.send(writer(2, 1), &[8]);
    world.send(writer(1, 4), &[99]);
    world.finish();
    assert_eq!((world.status().repeats(), world.status().outdated()), (1, 1));
    world.process = None;
    world.send(writer(2, 1), &[8, 16]);
    world.send(writer(1, 5), &[99]);
    world.send(writer(3, 1), &[32]);
    world.send(writer(2, 3), &[99]);
    world.finish();
    assert_eq!((world.status().repeats(), world.status().outdated()), (1, 2));
    assert_eq!(world.numbers("sums"), [1, 3, 7, 15, 31, 63]);
    world.check_store();
}

#[test]
fn records_behind_a_gap_wait_uncommitted_until_it_is_filled() {
    let mut world = World::new();
    world.policy.commit_records = 1;
    world.send(writer(0, 2), &[2]);
    world.produce(&[10]);
    world.open().unwrap();
    world.task().drain().unwrap();
    let status = world.status();
    assert_eq!((world.numbers("sums"), status.waits_for()), (vec![10], WaitsFor::MissingRecords));
    assert_eq!(world.commit(), 0, "a commit would forget what is held");
    world.task().commit_now().unwrap();
    assert_eq!(world.store.applied().unwrap().offset, 0);

    // A new process holds it again.
    world.process = None;
    world.open().unwrap();
    world.task().drain().unwrap();
    assert!(world.status().recovered());
    world.send(writer(0, 1), &[1]);
    world.finish();
    assert_eq!(world.numbers("sums"), [10, 11, 13]);
    world.check_store();
    world.check_outputs();
}

#[test]
fn a_gap_that_is_not_filled_in_time_stops_the_task() {
    let mut world = World::new();
    world.policy.gap_timeout = SECOND * 10;
    world.policy.read_bytes_max = 1;
    world.send(writer(0, 1), &[1]);
    world.send(writer(0, 3), &[3]);
    world.open().unwrap();
    world.task().drain().unwrap();
    world.clock.advance(SECOND * 9);
    assert_eq!(world.task().step().unwrap(), Step::Idle);
    world.clock.advance(SECOND);
    let error = world.task().step().unwrap_err().to_string();
    assert_eq!(error, "record 2 of \"w\" (epoch 0) is missing in front of 3 at offset 1");

    // What lies in the log in time is found, however long the way there takes.
    world.process = None;
    world.produce(&[100]);
    world.send(writer(0, 2), &[2]);
    world.open().unwrap();
    for _ in 0..4 {
        assert_eq!(world.task().step().unwrap(), Step::Worked(1));
        world.clock.advance(SECOND * 60);
    }
    assert_eq!(world.task().step().unwrap(), Step::Idle);
    assert_eq!(world.numbers("sums"), [1, 101, 103, 106]);
    // The same once more: the time that passed for the first gap is not that of the second.
    world.send(writer(0, 5), &[5]);
    world.produce(&[100]);
    world.send(writer(0, 4), &[4]);
    for _ in 0..3 {
        assert_eq!(world.task().step().unwrap(), Step::Worked(1));
        world.clock.advance(SECOND * 60);
    }
    assert_eq!(world.numbers("sums"), [1, 101, 103, 106, 206, 210, 215]);
}

#[test]
fn a_gap_with_too_much_staged_behind_it_stops_when_its_time_is_over() {
    let mut world = World::new();
    (world.policy.staged_bytes_max, world.policy.read_bytes_max) = (10, 1);
    world.send(writer(0, 2), &[2]);
    for _ in 0..4 {
        world.produce(&[1]);
    }
    world.open().unwrap();
    world.task().drain().unwrap();
    assert_eq!((world.status().applied(), world.status().waits_for()), (3, WaitsFor::Commit));
    world.clock.advance(world.policy.gap_timeout);
    let error = world.task().step().unwrap_err().to_string();
    assert_eq!(error, "record 1 of \"w\" (epoch 0) is missing in front of 2 at offset 0");
}

#[test]
fn a_failed_commit_halts() {
    let mut world = World::manual();
    world.policy.commit_records = 1;
    world.produce(&[1]);
    world.log.sync();
    world.open().unwrap();
    world.task().step().unwrap();
    world.log.fail(P0, "no sync");
    assert_eq!(world.commit(), 1);
    let error = world.task().step().unwrap_err().to_string();
    assert_eq!(error, "commit: the log failed: no sync");
    assert_eq!(world.store.applied(), Ok(Applied::default()));
}

#[test]
fn runs_on_threads_while_others_write() {
    let mut world = World::new();
    (world.policy.commit_records, world.policy.read_bytes_max) = (50, 100);
    let committer = Committer::start(world.log.clone(), 1, 1).unwrap();
    world.open_on(committer, world.log.clone(), world.store.clone()).unwrap();
    let status = world.status();
    let task = world.process.take().unwrap().task;
    let options = WorkerOptions { threads: 1, idle_wait: SECOND * 60, on_halt: Arc::new(|_, _| {}) };
    let workers = Workers::start(options, world.log.clone(), vec![Box::new(task)]).unwrap();
    for value in 0..500 {
        world.produce(&[value, value + 1]);
    }
    for _ in 0..600 {
        let seen = world.log.progress().version();
        if status.applied() == 1000 && status.committed() > 0 {
            break;
        }
        world.log.progress().wait(seen, Duration::from_millis(100));
    }
    assert_eq!((status.applied(), status.committed() > 0), (1000, true));
    assert_eq!(workers.stop(), []);
    assert_eq!((status.committed(), world.store.applied().unwrap().offset), (1000, 1000));
    world.check_store();
    world.check_outputs();
}
