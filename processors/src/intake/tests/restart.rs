//! State is a cache of the log: what a restart finds, and what it makes again.

use std::sync::Arc;

use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::processor::{Outputs, Processor, ProcessorError};
use hongbao_engine::seen::SeenLimits;
use hongbao_engine::store::{Applied, Rows, Store, StoreError};
use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::journal::Fact;

use super::harness::{Harness, PARTITION, PARTITIONS, award, control_key, settings, tick};
use crate::intake::{Intake, IntakeBoard, IntakeSpec, Verdict};

#[test]
fn a_restart_finds_settings_time_numbers_and_counts() {
    let mut harness = Harness::new();
    harness.feed(&[settings(4), tick(3, 5_000)]);
    harness.feed_award(&award());
    harness.commit();
    let counts = harness.board.counts();
    harness.reopen();
    assert_eq!((harness.board.counts(), harness.board.applied()), (counts, 3));
    // Numbers of the past are still past, and change nothing.
    harness.feed(&[settings(4), tick(3, 9_000)]);
    assert_eq!(harness.feed_award(&award()), Verdict::Duplicate);
    let other = AwardBuf { order_no: "a_rain_r9_cash_1".to_owned(), ..award() };
    assert_eq!(harness.feed_award(&other), Verdict::Accepted);
    let journal = harness.topic("journal");
    let Fact::Accepted(last) = Fact::decode(journal.last().unwrap()).unwrap() else {
        panic!("the last fact is the acceptance")
    };
    assert_eq!((last.at_ms, last.lane_seq), (5_000, 2));
}

#[test]
fn what_was_not_committed_is_made_again_the_same() {
    let mut harness = Harness::with_settings();
    harness.commit();
    harness.feed_award(&award());
    harness.freeze();
    harness.feed_award(&award());
    harness.feed_award(&AwardBuf { amount_minor: 9, ..award() });
    let (written, counts) = (harness.written.clone(), harness.board.counts());
    harness.reopen();
    assert_eq!(harness.applied, 1, "the settings");
    use Verdict::{Accepted, Conflict, Duplicate};
    assert_eq!(harness.apply(usize::MAX), [Accepted, Duplicate, Conflict]);
    assert_eq!((harness.written, harness.board.counts()), (written, counts));
}

#[test]
fn what_is_frozen_and_not_committed_is_still_seen() {
    let mut harness = Harness::with_settings();
    harness.feed_award(&award());
    harness.freeze();
    assert_eq!(harness.feed_award(&award()), Verdict::Duplicate);
    harness.commit();
    assert_eq!(harness.feed_award(&award()), Verdict::Duplicate);
    harness.commit();
    assert!(harness.intake.staged_bytes() == 0, "everything is committed");
}

#[test]
fn a_damaged_state_is_refused() {
    let cases: [(&[u8], &[u8]); 3] =
        [(b"in\0fold", b"short"), (b"in\0settings", b"{}"), (b"in\0settings", b"")];
    for (key, value) in cases {
        let store = Arc::new(MemoryStore::new());
        let mut rows = Rows::new();
        rows.put(key, value);
        store.commit(&[rows], Applied::default()).unwrap();
        let spec = IntakeSpec {
            partition: PARTITION,
            partitions: PARTITIONS,
            control_key: control_key(),
            seen: SeenLimits { window_keys_max: 4 },
            board: Arc::new(IntakeBoard::new()),
        };
        let opened = Intake::open(spec, store, &mut Outputs::new());
        assert!(matches!(opened, Err(ProcessorError::Store(StoreError::Corrupt(_)))), "{key:?}");
    }
}
