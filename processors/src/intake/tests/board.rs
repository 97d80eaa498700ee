//! Watching: verdicts reach whoever waits, early or late, and nobody who gave up.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::harness::{Harness, award, encoded};
use crate::intake::board::BatchVerdicts;
use crate::intake::{Counts, IntakeBoard, RECENT_VERDICTS, Verdict, Watch};

const ACCEPTED: Option<Verdict> = Some(Verdict::Accepted);
const DUPLICATE: Option<Verdict> = Some(Verdict::Duplicate);

type Told = Receiver<Vec<Option<Verdict>>>;

fn watch(board: &Arc<IntakeBoard>, first: u64, count: usize) -> (Watch, Told) {
    let (tell, told) = channel();
    (board.watch(first, count, Box::new(move |found| tell.send(found).unwrap())), told)
}

/// Publishes runs of verdicts.
fn publish(board: &IntakeBoard, runs: &[(u64, &[Option<Verdict>])]) {
    let mut batch = BatchVerdicts::default();
    for (first, verdicts) in runs {
        batch.start_run(*first);
        verdicts.iter().flatten().for_each(|verdict| batch.push(*verdict));
    }
    board.publish(Counts::default(), &batch);
}

#[test]
fn an_early_watch_is_told_once_all_is_applied() {
    let board = Arc::new(IntakeBoard::new());
    let (_watch, told) = watch(&board, 1, 3);
    publish(&board, &[(0, &[ACCEPTED, DUPLICATE])]);
    assert!(told.try_recv().is_err(), "one of three");
    publish(&board, &[(2, &[ACCEPTED])]);
    assert!(told.try_recv().is_err(), "two of three");
    publish(&board, &[(3, &[DUPLICATE, ACCEPTED])]);
    assert_eq!(told.try_recv().unwrap(), [DUPLICATE, ACCEPTED, DUPLICATE]);
    publish(&board, &[(5, &[ACCEPTED])]);
    assert!(told.try_recv().is_err(), "told once");
}

#[test]
fn a_late_watch_is_told_at_once_as_far_as_is_known() {
    let board = Arc::new(IntakeBoard::new());
    let ring = RECENT_VERDICTS as u64;
    let many = vec![ACCEPTED; RECENT_VERDICTS];
    publish(&board, &[(0, &[DUPLICATE, DUPLICATE])]);
    publish(&board, &[(2, &many)]);
    // (first, count, told)
    let cases: [(u64, usize, &[Option<Verdict>]); 4] = [
        (0, 2, &[None, None]),
        (1, 2, &[None, ACCEPTED]),
        (ring, 2, &[ACCEPTED, ACCEPTED]),
        (ring + 2, 0, &[]),
    ];
    for (first, count, expected) in cases {
        assert_eq!(watch(&board, first, count).1.try_recv().unwrap(), expected, "{first}+{count}");
    }
}

#[test]
fn a_watch_across_the_end_joins_what_was_and_what_comes() {
    let board = Arc::new(IntakeBoard::new());
    publish(&board, &[(0, &[DUPLICATE])]);
    let (_watch, told) = watch(&board, 0, 2);
    assert!(told.try_recv().is_err());
    publish(&board, &[(1, &[ACCEPTED])]);
    assert_eq!(told.try_recv().unwrap(), [DUPLICATE, ACCEPTED]);
}

#[test]
fn offsets_without_a_record_have_no_verdict() {
    let board = Arc::new(IntakeBoard::new());
    let (_watch, told) = watch(&board, 0, 4);
    publish(&board, &[(0, &[ACCEPTED]), (3, &[DUPLICATE])]);
    let expected = [ACCEPTED, None, None, DUPLICATE];
    assert_eq!(told.try_recv().unwrap(), expected);
    assert_eq!(watch(&board, 0, 4).1.try_recv().unwrap(), expected, "from the ring");
    // The same slots, a lap later.
    let ring = RECENT_VERDICTS as u64;
    publish(&board, &[(4, &vec![ACCEPTED; RECENT_VERDICTS]), (ring + 6, &[DUPLICATE])]);
    assert_eq!(watch(&board, ring + 4, 3).1.try_recv().unwrap(), [None, None, DUPLICATE]);
}

#[test]
fn a_batch_longer_than_the_ring_leaves_its_end_known() {
    let board = Arc::new(IntakeBoard::new());
    let ring = RECENT_VERDICTS;
    let (_watch, told) = watch(&board, 0, ring + 10);
    let mut verdicts = vec![ACCEPTED; ring + 9];
    verdicts.push(DUPLICATE);
    publish(&board, &[(0, &verdicts)]);
    assert_eq!(told.try_recv().unwrap(), verdicts);
    let (_watch, told) = watch(&board, ring as u64 + 8, 2);
    assert_eq!(told.try_recv().unwrap(), [ACCEPTED, DUPLICATE]);
    assert_eq!(watch(&board, 9, 1).1.try_recv().unwrap(), [None]);
}

#[test]
fn who_gave_up_is_not_told() {
    let board = Arc::new(IntakeBoard::new());
    let (given_up, told) = watch(&board, 0, 1);
    drop(given_up);
    publish(&board, &[(0, &[ACCEPTED])]);
    assert!(told.recv().is_err(), "the answer was dropped, not called");
}

#[test]
fn an_answer_may_watch_again() {
    let board = Arc::new(IntakeBoard::new());
    let (tell, told) = channel();
    let again = board.clone();
    let _watch = board.watch(
        0,
        1,
        Box::new(move |_| {
            let (watch, _) = watch(&again, 5, 1);
            tell.send(watch).unwrap();
        }),
    );
    publish(&board, &[(0, &[ACCEPTED])]);
    assert!(told.try_recv().is_ok(), "no lock is held while somebody is told");
}

#[test]
fn intake_tells_the_verdicts_it_gave() {
    let mut harness = Harness::with_settings();
    let (_watch, told) = watch(&harness.board, 1, 2);
    harness.feed_award(&award());
    harness.feed(&[encoded(&award().as_award())]);
    assert_eq!(told.try_recv().unwrap(), [ACCEPTED, DUPLICATE]);
    assert_eq!(harness.board.applied(), 3);
}
