//! Rows of stores and postings of ledgers, changed.

use hongbao_audit::Invariant::*;
use hongbao_engine::records::crc;
use hongbao_engine::store::Applied;

use super::planted::{Plant, check};
use super::world::{HOME, account_key, award, changed_order, encoded};

pub const INTAKE_STORE_FAULTS: &[Plant] = &[
    ("a count", |world| world.change_intake_row(b"in\0fold", 32, 1), &[I1], "intake-0: counts"),
    ("the time", |world| world.change_intake_row(b"in\0fold", 0, 1), &[I6], "intake-0: is at"),
    (
        "settings",
        |world| {
            world.intake_rows.remove(&b"in\0settings"[..]);
        },
        &[I30],
        "other settings than number 1",
    ),
    (
        "an order number that is gone",
        |world| {
            world.intake_rows.remove(&b"onrain\0a_1\0r1\0cash\x001"[..]);
        },
        &[I6],
        "lacks the order number a_1_rain_r1_cash_1",
    ),
    (
        "an order number too many",
        |world| {
            world.intake_rows.insert(b"onrain\0a\0r9\0cash\x001".to_vec(), vec![0; 16]);
        },
        &[I6],
        "r9",
    ),
    (
        "another payload's digest",
        |world| {
            world.change_intake_row(b"onrain\0a\0r1\0cash\x001", 3, 1);
        },
        &[I6],
        "order a_rain_r1_cash_1",
    ),
    (
        "the next sequence",
        |world| {
            world.change_intake_row(b"~sjournal", 0, 1);
        },
        &[I5],
        "goes on in journal",
    ),
    (
        "a topic never written",
        |world| {
            world.intake_rows.insert(b"~sorders.gold".to_vec(), [2_u64.to_le_bytes(), [0; 8]].concat());
        },
        &[I5],
        "orders.gold",
    ),
    ("an offset behind the end", |world| world.intake_applied.offset += 5, &[I6], "stands at 17"),
    (
        "another last record",
        |world| world.intake_applied.last_record_crc ^= 1,
        &[I6],
        "another record than awards/0@11",
    ),
    (
        "a state of an earlier offset",
        |world| {
            let earlier = world.record("awards", 9);
            let last_record_crc = crc(&earlier);
            world.intake_applied = Applied { offset: 10, last_record_crc };
        },
        &[I1, I5, I6],
        "a_rain_r2_cash_1",
    ),
];

pub const LEDGER_FAULTS: &[Plant] = &[
    (
        "posted twice",
        |world| world.post("bank", &world.record("orders.cash", 0)),
        &[I10, I15],
        "took effect 2 times",
    ),
    (
        "posted in two ledgers",
        |world| world.post("other", &world.record("orders.cash", 0)),
        &[I10],
        r#"in ["bank", "other"]"#,
    ),
    (
        "posted, never accepted",
        |world| {
            let order =
                changed_order(&world.record("orders.cash", 0), |order| order.order_no = "a_rain_r7_cash_1");
            world.post("other", &order);
        },
        &[I9, I15],
        "other.book/0@0 order a_rain_r7_cash_1",
    ),
    (
        "another amount",
        |world| {
            world.books[0].1.lose_from(HOME, "book", 2);
            let order = changed_order(&world.record("orders.cash", 2), |order| order.amount_minor += 1);
            world.post("bank", &order);
            world.store_all();
        },
        &[I9, I13, I15],
        "a has 108 of CNY/2, orders say 107",
    ),
    (
        "other bytes",
        |world| {
            world.books[0].1.lose_from(HOME, "book", 2);
            let order = changed_order(&world.record("orders.cash", 2), |order| order.accepted_at_ms += 1);
            world.post("bank", &order);
            world.store_all();
        },
        &[I13],
        "bank.book/0@2",
    ),
    (
        "credited in the journal only",
        |world| {
            world.books[0].1.lose_from(HOME, "book", 1);
            world.store_all();
        },
        &[I15],
        "a_1_rain_r1_cash_1",
    ),
    (
        "refused and posted",
        |world| world.post("other", &world.record("orders.coupon", 0)),
        &[I15],
        "a_film_r1_film_1",
    ),
    (
        "posted without an intent",
        |world| {
            world.awards(&[encoded(&award("a", "rain", 3, 5))]);
            world.decide();
            world.post("bank", &world.record("orders.cash", 3));
        },
        &[I12],
        "a_rain_r3_cash_1",
    ),
    ("no posting", |world| world.post("bank", b"x"), &[I26], "bank.book/0@3"),
    (
        "an account",
        |world| {
            world.change_ledger_row(&account_key("a_1", "CNY/2"), 0, 1);
        },
        &[I6, I15],
        "a_1 has Some(151) of CNY/2",
    ),
    (
        "an account below zero",
        |world| {
            world.ledger_rows.insert(account_key("a_1", "CNY/2"), (-1_i128).to_le_bytes().to_vec());
        },
        &[I6, I15, I16],
        "a_1 has -1 of CNY/2",
    ),
    (
        "an account that is gone",
        |world| {
            world.ledger_rows.remove(&account_key("a_1", "CNY/2"));
        },
        &[I6, I15],
        "has 1 of 2 accounts",
    ),
    (
        "the sum issued",
        |world| {
            world.change_ledger_row(b"isCNY/2", 0, 1);
        },
        &[I6, I15],
        "issued",
    ),
    (
        "an order's row",
        |world| {
            world.change_ledger_row(b"oda_rain_r1_cash_1", 0, 1);
        },
        &[I6],
        "order a_rain_r1_cash_1",
    ),
    (
        "an order's row that is gone",
        |world| {
            world.ledger_rows.remove(&b"oda_rain_r1_cash_1"[..]);
        },
        &[I6],
        "has 2 of 3 order numbers",
    ),
    ("an offset behind the end", |world| world.ledger_applied.offset += 1, &[I6], "bank stands at 4"),
];

#[test]
fn faults_of_intakes_store_are_found() {
    check(INTAKE_STORE_FAULTS);
}

#[test]
fn faults_of_ledgers_are_found() {
    check(LEDGER_FAULTS);
}
