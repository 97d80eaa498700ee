//! What sinks wrote, and should not have.

use hongbao_audit::Invariant::*;
use hongbao_schemas::journal::CreditStage;

use super::planted::{Plant, check};
use super::world::{award, credit, encoded};

pub const SINK_FAULTS: &[Plant] = &[
    (
        "credited twice",
        |world| world.fact("cash", CreditStage::Credited, 1, 1, ""),
        &[I10],
        "a_rain_r1_cash_1: credited twice",
    ),
    (
        "sent again after the end",
        |world| world.fact("coupon", CreditStage::Started, 1, 1, ""),
        &[I10],
        "a_film_r1_film_1",
    ),
    (
        "refused after it was credited",
        |world| world.fact("cash", CreditStage::Refused, 2, 1, ""),
        &[I11],
        "a_1_rain_r1_cash_1",
    ),
    (
        "never accepted",
        |world| world.fact("cash", CreditStage::Started, 3, 5, ""),
        &[I9],
        "started of cash 7, never accepted",
    ),
    (
        "a lane without orders",
        |world| {
            world.open("other", 1);
            world.fact("other", CreditStage::Started, 1, 1, "");
        },
        &[I9],
        "names orders of other",
    ),
    (
        "an outcome without an intent",
        |world| {
            world.awards(&[encoded(&award("a", "film", 2, 1))]);
            world.decide();
            world.fact("coupon", CreditStage::Reported, 2, 1, "lost");
        },
        &[I12],
        "a_film_r2_film_1",
    ),
    (
        "put off though not running",
        |world| {
            world.fact("cash", CreditStage::Deferred, 3, 1, "");
            world.fact("cash", CreditStage::Deferred, 3, 1, "");
        },
        &[I12],
        "a_rain_r2_cash_1",
    ),
    (
        "a gap",
        |world| world.sink_at(2, 5, credit("cash", CreditStage::Credited, 3, 1, "")),
        &[I5],
        "4 is missing",
    ),
    (
        "the sink of another lane",
        |world| {
            world.sink_record("cash", credit("coupon", CreditStage::Started, 1, 1, ""));
        },
        &[I10, I24],
        "may not write this",
    ),
    (
        "an epoch that nobody opened",
        |world| {
            world.sink_at(3, 1, credit("cash", CreditStage::Credited, 3, 1, ""));
        },
        &[I24],
        "does not begin with its opening",
    ),
    ("no fact at all", |world| world.sink_record("cash", b"x".to_vec()), &[I26], "journal/0@"),
    (
        "amounts below zero",
        |world| {
            world.change_accepted(3, |fact| fact.award.amount_minor = -150);
        },
        &[I4, I8, I9, I13, I15, I16, I18],
        "credited -150 of -150",
    ),
];

#[test]
fn faults_of_sinks_are_found() {
    check(SINK_FAULTS);
}
