//! A journal in memory, folded by the real views, as a dispatcher sees it.

use hongbao_engine::clock::ManualClock;
use hongbao_engine::commit::Committer;
use hongbao_engine::log::Log;
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::outputs::OutputError;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_engine::task::{TaskError, TaskPolicy, TaskPorts, TaskRunner, TaskSpec};
use hongbao_processors::intake::{AWARDS, JOURNAL};
use hongbao_processors::views::{Views, ViewsLimits};
use hongbao_schemas::award::Award;
use hongbao_schemas::ext::Ext;
use hongbao_schemas::journal::CreditStage::{Credited, Started, Unknown};
use hongbao_schemas::journal::{Accepted, CreditFact, CreditStage, Fact, Opened, RangesBuf, SeqRange};

use super::*;

const P0: Partition = Partition(0);
/// When the orders were accepted.
const START_MS: i64 = 1_000;

fn accepted(lane_seq: i64) -> Vec<u8> {
    let order_no = format!("u1_rain_1_cash_{lane_seq}");
    let award = Award {
        order_no: &order_no,
        act_id: "u1",
        activity_id: "spring",
        scene_id: "rain",
        reward_type: "cash",
        reward_id: "",
        amount_minor: 5,
        event_time_ms: START_MS,
        app: "",
        ext: Ext::default(),
    };
    let (asset, lane) = ("CNY/2", "cash");
    encoded(&Fact::Accepted(Accepted {
        award,
        asset,
        lane,
        lane_seq,
        award_offset: lane_seq,
        at_ms: START_MS,
    }))
}

fn credit(stage: CreditStage, first: i64, count: i64, at_ms: i64) -> Vec<u8> {
    let mut ranges = RangesBuf::new();
    ranges.push(SeqRange::new(first, count).unwrap());
    encoded(&Fact::Credit(CreditFact { stage, lane: "cash", at_ms, ranges: ranges.as_ranges(), reason: "" }))
}

fn opened(epoch: i64) -> Vec<u8> {
    encoded(&Fact::Opened(Opened { source: "sink.cash", writer: [7; 16], epoch, at_ms: START_MS }))
}

fn encoded(fact: &Fact<'_>) -> Vec<u8> {
    let mut record = Vec::new();
    fact.encode(&mut record);
    record
}

/// The view over a journal of one partition that holds these records.
fn folded(records: &[Vec<u8>], admit: Admit) -> FoldedJournal {
    let clock = Arc::new(ManualClock::at(START_MS));
    let log = Arc::new(MemoryLog::new(1, clock.clone()));
    let mut buf = RecordBuf::new();
    records.iter().for_each(|record| buf.push(record));
    let envelope = Envelope { source: "intake", epoch: 0, first_seq: 1 };
    log.append(P0, &[Frame { topic: JOURNAL, envelope, records: &buf }]).unwrap();
    let committer = Arc::new(Committer::manual(log.clone(), 1));
    let store = Arc::new(MemoryStore::new());
    let ports = TaskPorts { log, store: store.clone(), committer, clock };
    let spec =
        TaskSpec { name: "views/0", source: "views", partition: P0, input_topic: JOURNAL, outputs: &[] };
    let reader = Arc::new(ViewsReader::new(1));
    let limits = ViewsLimits::default();
    let mut task = TaskRunner::open(&spec, ports, TaskPolicy::default(), |_| {
        Ok(Views::open(0, store, limits, &reader)?)
    })
    .unwrap();
    task.drain().unwrap();
    FoldedJournal::new(reader, vec![PartitionFolds { intake: intake(None), views: task.status() }], admit)
}

/// An intake, closed by this error.
fn intake(error: Option<&TaskError>) -> Arc<TaskStatus> {
    let error = error.unwrap_or(&TaskError::StoreFull);
    Arc::new(TaskStatus::not_opened("intake/0", P0, AWARDS, error))
}

fn everyone() -> Admit {
    Box::new(|_, _, _| Ok(()))
}

#[test]
fn a_lane_goes_on_where_the_journal_says() {
    let mut records: Vec<Vec<u8>> = (1..=6).map(accepted).collect();
    records.extend([
        opened(3),
        credit(Started, 1, 5, 2_000),
        credit(Credited, 1, 1, 2_100),
        credit(Unknown, 2, 2, 2_200),
        credit(Started, 3, 1, 3_000),
        credit(Credited, 5, 1, 2_400),
    ]);
    let view = folded(&records, everyone());
    assert_eq!(view.folded(P0), Ok(records.len() as u64));
    let range = |first, is_unknown| OpenRange { first, count: 1, first_intent_ms: 2_000, is_unknown };
    let expected = LaneResume {
        opened: Some(Winner { writer: [7; 16], epoch: 3 }),
        low_water: 2,
        ended: vec![(5, 1)],
        // Order 3 is sent once more, and its attempt before that is unknown: it counts from that.
        open: vec![range(2, true), range(3, false), range(4, false)],
        last_at_ms: 2_000,
    };
    assert_eq!(view.lane(P0, "cash"), Ok(expected));
    assert_eq!(view.opened(P0, "cash"), Ok(Some(Winner { writer: [7; 16], epoch: 3 })));
    let untouched = LaneResume { low_water: 1, last_at_ms: START_MS, ..LaneResume::default() };
    assert_eq!(view.lane(P0, "coupon"), Ok(untouched));
}

/// An epoch that a writer could not have is not cut down to one that it could (I24).
#[test]
fn what_cannot_be_said_is_an_error_and_names_the_partition() {
    let view = folded(&[accepted(1), opened(i64::from(u32::MAX) + 1)], everyone());
    let error = view.lane(P0, "cash").unwrap_err();
    assert!(error.partition == 0 && error.what.contains("epoch 4294967296"), "{error}");
    for partition in [Partition(1), Partition(9)] {
        assert_eq!(view.folded(partition).unwrap_err().partition, partition.0);
        assert_eq!(view.lane(partition, "cash").unwrap_err().partition, partition.0);
    }
    let damaged = TaskError::Other("its store is damaged".to_owned());
    let views = Arc::new(TaskStatus::not_opened("views/0", P0, JOURNAL, &damaged));
    let folds = vec![PartitionFolds { intake: intake(None), views }];
    let view = FoldedJournal::new(Arc::new(ViewsReader::new(1)), folds, everyone());
    assert_eq!(view.folded(P0).unwrap_err().what, "its store is damaged");
}

/// Of a log that lost awards nobody knows what its journal lost; an intake that cannot go on for
/// another reason keeps no credit from those whose awards it took.
#[test]
fn nothing_goes_on_over_a_log_that_is_not_the_one_that_was_folded() {
    let topic = || AWARDS.to_owned();
    let cases = [
        (TaskError::LogBehindStore { topic: topic(), applied: 9, log_end: 4 }, true),
        (TaskError::LastRecordChanged { topic: topic(), offset: 8, stored: 1, found: 2 }, true),
        (OutputError::Lost { topic: topic(), partition: 0, readable: 9, log_end: 4 }.into(), true),
        (TaskError::LastRecordTrimmed { topic: topic(), offset: 8, log_start: 9 }, false),
        (TaskError::Other("its store is damaged".to_owned()), false),
    ];
    for (error, is_lost) in cases {
        let mut view = folded(&[accepted(1)], everyone());
        view.folds[0].intake = intake(Some(&error));
        let expected = if is_lost { Err(unavailable(P0, &error)) } else { Ok(1) };
        assert_eq!(view.folded(P0), expected);
    }
}

#[test]
fn lanes_that_are_not_admitted_are_not_available() {
    let admit = || -> Admit {
        Box::new(|lane, partition, is_unresolved| match is_unresolved {
            true => Err(format!("{lane} of {partition} went elsewhere")),
            false => Ok(()),
        })
    };
    let mut records = vec![accepted(1), opened(1)];
    assert_eq!(folded(&records, admit()).lane(P0, "cash").map(|lane| lane.low_water), Ok(1));
    records.push(credit(Started, 1, 1, 2_000));
    let error = folded(&records, admit()).lane(P0, "cash").unwrap_err();
    assert_eq!(error.what, "cash of 0 went elsewhere");
}
