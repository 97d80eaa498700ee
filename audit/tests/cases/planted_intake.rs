//! What intake wrote, changed.

use hongbao_audit::Invariant::*;
use hongbao_audit::verdicts::{DEAD_LETTERS, INTAKE, JOURNAL};
use hongbao_engine::records::Envelope;
use hongbao_schemas::journal::Fact;

use super::planted::{Plant, check};
use super::world::{HOME, changed_order};

pub const INTAKE_FAULTS: &[Plant] = &[
    (
        "another refusal",
        |world| {
            world.change_rejected(|fact| fact.code = "unknown_scene");
        },
        &[I4],
        "a_rain_r9_cash_1",
    ),
    (
        "a refusal instead of a conflict",
        |world| {
            let refused = world.record(JOURNAL, 6);
            assert!(matches!(Fact::decode(&refused), Ok(Fact::Rejected(_))));
            let Fact::Rejected(mut fact) = Fact::decode(&refused).unwrap() else { return };
            fact.award_offset = 5;
            let mut changed = Vec::new();
            fact.encode(&mut changed);
            world.log.overwrite(HOME, JOURNAL, 4, &changed);
        },
        &[I3],
        "journal/0@4",
    ),
    (
        "a conflict with another amount",
        |world| {
            world.change_conflict(|fact| fact.amount_minor += 1);
        },
        &[I3],
        "for award 5",
    ),
    (
        "a second accept",
        |world| {
            let again = world.record(JOURNAL, 2);
            let first_seq = world.intake_facts(u64::MAX) + 1;
            world.append(JOURNAL, Envelope { source: INTAKE, epoch: 0, first_seq }, &[again]);
        },
        &[I1, I2, I5, I12, I15],
        "accepted before",
    ),
    (
        "an accepted fact with another time",
        |world| {
            world.change_accepted(3, |fact| fact.at_ms -= 1);
        },
        &[I4],
        "a_1_rain_r1_cash_1",
    ),
    (
        "an accepted fact of nothing",
        |world| {
            world.change_accepted(10, |fact| fact.award.amount_minor = 0);
        },
        &[I4, I8, I9, I13, I15],
        "0 minor units",
    ),
    (
        "an order with another amount",
        |world| {
            let changed = changed_order(&world.record("orders.cash", 1), |order| order.amount_minor += 1);
            world.log.overwrite(HOME, "orders.cash", 1, &changed);
        },
        &[I4],
        "orders.cash/0@1",
    ),
    (
        "an order too many",
        |world| {
            let again = world.record("orders.cash", 0);
            world.append("orders.cash", Envelope { source: INTAKE, epoch: 0, first_seq: 4 }, &[again]);
        },
        &[I1],
        "orders.cash/0@3: no award asks for this",
    ),
    (
        "an order of somebody else",
        |world| {
            world.append("orders.cash", Envelope::PRODUCER, &[b"x".to_vec()]);
        },
        &[I24],
        "orders.cash/0@3",
    ),
    (
        "a lane without its last order",
        |world| {
            world.log.lose_from(HOME, "orders.cash", 2);
        },
        &[I1, I6],
        "record of award 10 is missing",
    ),
    (
        "a dead letter that is gone",
        |world| {
            world.log.lose_from(HOME, DEAD_LETTERS, 0);
        },
        &[I1, I6],
        "award 8",
    ),
    (
        "settings with another text",
        |world| {
            world.change_settings(|fact| fact.number = 2);
        },
        &[I30],
        "journal/0@0",
    ),
    (
        "a sequence written again, otherwise",
        |world| {
            let other = world.record(JOURNAL, 3);
            world.append(JOURNAL, Envelope { source: INTAKE, epoch: 0, first_seq: 3 }, &[other]);
        },
        &[I4],
        "wrote 3 again",
    ),
    (
        "a fact of a person of the other partition",
        |world| {
            world.change_accepted(6, |fact| fact.award.act_id = "d");
        },
        &[I2, I4],
        "another partition",
    ),
];

#[test]
fn faults_of_intake_are_found() {
    check(INTAKE_FAULTS);
}
