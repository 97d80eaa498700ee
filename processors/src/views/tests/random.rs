//! Random journals, batches, commits and crashes against the model.

use hongbao_schemas::journal::CreditStage;
use proptest::prelude::*;

use super::books::agree;
use super::journal::{GIVEN, Journal, settings};
use super::model::Model;
use super::rig::{Rig, TINY};
use crate::views::ViewsLimits;

const ACT_IDS: [&str; 6] = ["u1", "u_2", "u3", "a-person-with-a-very-long-act-id", "u5", "nobody"];
const LANES: [&str; 3] = ["cash", "coupon", "empty"];
const REASONS: [&str; 3] = ["", "no answer", "503"];

/// Something that intake or a sink writes.
#[derive(Clone, Debug)]
enum Write {
    Accept { person: usize, given: usize, amount_minor: i64 },
    Credit { stage: usize, lane: usize, ranges: Vec<(u64, u64)>, later_ms: i64, reason: usize },
    Reject { person: usize, accepted: bool },
    Conflict { order: usize },
    Tick { by_ms: i64 },
    Settings { unreconciled: Vec<usize>, overdue_after_ms: i64 },
    Opened { lane: usize, writer: u8, epoch: i64 },
}

/// Something that happens to the views.
#[derive(Clone, Copy, Debug)]
enum Event {
    Apply(usize),
    Freeze,
    Write,
    Committed,
    Crash,
    Look,
}

fn write() -> impl Strategy<Value = Write> {
    let amount = prop_oneof![4 => 1_i64..1000, 1 => Just(i64::MAX)];
    let ranges = prop::collection::vec((1_u64..30, 1_u64..6), 1..3);
    prop_oneof![
        8 => (0..5_usize, 0..GIVEN.len(), amount)
            .prop_map(|(person, given, amount_minor)| Write::Accept { person, given, amount_minor }),
        8 => (0..CreditStage::ALL.len(), 0..LANES.len(), ranges, 0_i64..5000, 0..REASONS.len())
            .prop_map(|(stage, lane, ranges, later_ms, reason)| Write::Credit { stage, lane, ranges, later_ms, reason }),
        1 => (0..5_usize, any::<bool>()).prop_map(|(person, accepted)| Write::Reject { person, accepted }),
        1 => any::<usize>().prop_map(|order| Write::Conflict { order }),
        1 => (-1000_i64..200_000).prop_map(|by_ms| Write::Tick { by_ms }),
        1 => (prop::collection::vec(0..GIVEN.len(), 0..3), 0_i64..200_000)
            .prop_map(|(unreconciled, overdue_after_ms)| Write::Settings { unreconciled, overdue_after_ms }),
        1 => (0..LANES.len(), any::<u8>(), 0_i64..4)
            .prop_map(|(lane, writer, epoch)| Write::Opened { lane, writer, epoch }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_usize..12).prop_map(Event::Apply),
        2 => Just(Event::Freeze),
        2 => Just(Event::Write),
        2 => Just(Event::Committed),
        1 => Just(Event::Crash),
        2 => Just(Event::Look),
    ]
}

fn journal(writes: &[Write]) -> Vec<Vec<u8>> {
    let mut journal = Journal::default();
    let mut orders: Vec<(String, usize)> = Vec::new();
    for write in writes {
        match write {
            Write::Accept { person, given, amount_minor } => {
                orders.push((journal.accept(ACT_IDS[*person], *given, *amount_minor), *person));
            }
            Write::Credit { stage, lane, ranges, later_ms, reason } => {
                let (stage, lane) = (CreditStage::ALL[*stage], LANES[*lane]);
                journal.credit(stage, lane, ranges, *later_ms, REASONS[*reason]);
            }
            Write::Reject { person, accepted } => match orders.last().filter(|_| *accepted) {
                Some((order_no, person)) => journal.reject(order_no, ACT_IDS[*person], "unknown_scene"),
                None => journal.reject("not-an-order-no", ACT_IDS[*person], "malformed_order_no"),
            },
            Write::Conflict { order } => {
                if let Some((order_no, person)) = orders.get(order % orders.len().max(1)) {
                    journal.conflict(order_no, ACT_IDS[*person], 3);
                }
            }
            Write::Tick { by_ms } => journal.tick(*by_ms),
            Write::Settings { unreconciled, overdue_after_ms } => {
                journal.settings(&settings(unreconciled, *overdue_after_ms));
            }
            Write::Opened { lane, writer, epoch } => {
                journal.opened(&format!("sink.{}", LANES[*lane]), *writer, *epoch);
            }
        }
    }
    journal.records
}

fn limits() -> impl Strategy<Value = ViewsLimits> {
    prop_oneof![
        Just(TINY),
        Just(ViewsLimits { recent_orders_max: 20, ..TINY }),
        Just(ViewsLimits { known_users_bytes: 4096, ..ViewsLimits::default() })
    ]
}

fn run(records: &[Vec<u8>], events: &[Event], limits: ViewsLimits) -> Rig {
    let mut rig = Rig::new(limits);
    for event in events {
        match event {
            Event::Apply(count) => rig.apply(records, (rig.applied + count).min(records.len())),
            Event::Freeze => rig.freeze(),
            Event::Write => rig.write(),
            Event::Committed => rig.committed(),
            Event::Crash => rig = rig.crash(),
            Event::Look => {
                let model = Model::of(&records[..rig.applied]);
                agree(&rig.reader, &model, &ACT_IDS, &LANES);
            }
        }
    }
    rig.apply_all(records);
    rig.commit();
    rig
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// I15, I16, I18, I19: whatever the batches, commits, crashes and limits, every answer on the
    /// way is what the list of all orders says, and the rows at the end are those of one fold from
    /// the beginning.
    #[test]
    fn views_are_what_the_journal_says(
        writes in prop::collection::vec(write(), 0..120),
        events in prop::collection::vec(event(), 0..60),
        limits in limits(),
    ) {
        let records = journal(&writes);
        let rig = run(&records, &events, limits);
        let model = Model::of(&records);
        agree(&rig.reader, &model, &ACT_IDS, &LANES);
        let reopened = Rig::over(rig.store.clone(), limits);
        agree(&reopened.reader, &model, &ACT_IDS, &LANES);
        let rebuilt = run(&records, &[], ViewsLimits::default());
        prop_assert_eq!(rig.rows(), rebuilt.rows());
    }
}
