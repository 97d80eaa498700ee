//! What credit facts do to the state of an order, to money and to counts: tables.

use hongbao_schemas::journal::CreditStage::{
    self, Credited, Deferred, Refused, Reported, Started, Unknown, Withdrawn,
};
use hongbao_schemas::order_state::OrderState;

use super::books::agree;
use super::journal::{CASH, COIN, FILM, Journal, settings};
use super::model::Model;
use super::rig::{Rig, TINY};
use crate::views::ViewsLimits;

/// Views of a journal of one order, after the given facts about it.
fn after(stages: &[CreditStage]) -> (Rig, String) {
    let mut journal = Journal::default();
    let order_no = journal.accept("u", CASH, 100);
    for stage in stages {
        journal.credit(*stage, "cash", &[(1, 1)], 0, "why");
    }
    let mut rig = Rig::new(ViewsLimits::default());
    rig.apply_all(&journal.records);
    (rig, order_no)
}

#[test]
fn states_follow_the_facts() {
    use OrderState as State;
    let cases: [(&[CreditStage], State, u64); 25] = [
        // (facts, state, contradictions)
        (&[], State::Accepted, 0),
        (&[Started], State::Crediting, 0),
        (&[Started, Credited], State::Credited, 0),
        (&[Started, Refused], State::Refused, 0),
        (&[Started, Reported], State::Reported, 0),
        (&[Started, Unknown], State::Unknown, 0),
        (&[Started, Deferred], State::Accepted, 0),
        (&[Started, Deferred, Started], State::Crediting, 0),
        (&[Started, Withdrawn], State::Accepted, 0),
        (&[Started, Unknown, Started, Withdrawn], State::Unknown, 0),
        (&[Withdrawn], State::Accepted, 1),
        // A resend of what is unknown stays unknown until it is settled.
        (&[Started, Unknown, Started], State::Unknown, 0),
        (&[Started, Unknown, Started, Deferred], State::Unknown, 0),
        (&[Started, Unknown, Started, Credited], State::Credited, 0),
        (&[Started, Unknown, Credited], State::Credited, 0),
        (&[Started, Unknown, Reported], State::Reported, 0),
        // The first attempt of two may have had an effect.
        (&[Started, Started], State::Crediting, 0),
        (&[Started, Started, Deferred], State::Unknown, 0),
        // What cannot follow changes nothing and is counted.
        (&[Deferred], State::Accepted, 1),
        (&[Started, Credited, Credited], State::Credited, 1),
        (&[Started, Credited, Unknown, Started], State::Credited, 2),
        (&[Started, Refused, Credited], State::Refused, 1),
        (&[Started, Reported, Credited], State::Reported, 1),
        (&[Started, Unknown, Deferred], State::Unknown, 1),
        (&[Credited], State::Credited, 0),
    ];
    for (stages, state, contradictions) in cases {
        let (rig, order_no) = after(stages);
        let order = rig.reader.order(&order_no).unwrap().unwrap();
        assert_eq!(order.state, state, "{stages:?}");
        assert_eq!(rig.reader.contradictions().unwrap(), contradictions, "{stages:?}");
        let wallet = rig.reader.wallet("u", None).unwrap();
        let credited = if state == State::Credited { 100 } else { 0 };
        assert_eq!(wallet.balances[0].credited_minor, credited, "{stages:?}");
        assert_eq!(wallet.balances[0].pending_minor, 100 - credited, "{stages:?}: until somebody decides");
    }
}

#[test]
fn the_first_intent_that_may_have_had_an_effect_is_remembered() {
    // (facts with their times, first intent), I14
    let cases: [(&[(CreditStage, i64)], i64); 4] = [
        (&[(Started, 5), (Unknown, 6), (Started, 9)], 5),
        (&[(Started, 5), (Started, 9)], 5),
        (&[(Started, 5), (Deferred, 6), (Started, 9)], 9),
        (&[(Started, 5), (Started, 7), (Deferred, 8), (Started, 9)], 5),
    ];
    for (facts, first_ms) in cases {
        let mut journal = Journal::default();
        journal.accept("u", CASH, 1);
        for (stage, later_ms) in facts {
            journal.credit(*stage, "cash", &[(1, 1)], *later_ms, "");
        }
        let mut rig = Rig::new(ViewsLimits::default());
        rig.apply_all(&journal.records);
        let state = rig.reader.lane_state(0, "cash").unwrap();
        assert_eq!(state.sent[0].first_intent_at_ms, super::journal::START_MS + first_ms, "{facts:?}");
    }
}

#[test]
fn facts_about_orders_that_never_were_change_nothing() {
    let mut journal = Journal::default();
    journal.accept("u", CASH, 100);
    journal.credit(Started, "cash", &[(1, 4), (9, 1)], 0, "");
    journal.credit(Credited, "nowhere", &[(1, 7)], 0, "");
    let mut rig = Rig::new(ViewsLimits::default());
    rig.apply_all(&journal.records);
    assert_eq!(rig.reader.contradictions().unwrap(), 3 + 1 + 7);
    agree(&rig.reader, &Model::of(&journal.records), &["u"], &["cash", "nowhere"]);
    journal.accept("u", CASH, 100);
    rig.apply_all(&journal.records);
    let state = rig.reader.lane_state(0, "cash").unwrap();
    assert_eq!(
        (state.sent[0].first, state.sent[0].count),
        (1, 1),
        "order 2 was not started before it was there"
    );
}

#[test]
fn a_backlog_is_credited_from_the_store() {
    // Far more orders than are kept in memory, credited last first, and by people who were given up.
    let mut journal = Journal::default();
    let people: Vec<String> = (0..40).map(|person| format!("u{person}")).collect();
    for order in 0..3000 {
        journal.accept(&people[order % 40], [CASH, COIN, FILM][order % 3], 1 + order as i64);
    }
    let mut rig = Rig::new(TINY);
    while rig.applied < journal.records.len() {
        rig.apply(&journal.records, rig.applied + 100);
        rig.commit();
    }
    for first in [1501, 1001, 501, 1_u64] {
        journal.credit(Started, "cash", &[(first, 500)], 0, "");
        journal.credit(Refused, "cash", &[(first, 100)], 0, "closed");
        journal.credit(Credited, "cash", &[(first + 100, 400)], 0, "");
        journal.credit(Credited, "coupon", &[(1 + first / 2, 250)], 0, "");
        rig.apply_all(&journal.records);
        rig.commit();
    }
    let model = Model::of(&journal.records);
    let people: Vec<&str> = people.iter().take(5).map(String::as_str).collect();
    agree(&rig.reader, &model, &people, &["cash", "coupon"]);
    let state = rig.reader.lane_state(0, "cash").unwrap();
    assert_eq!((state.low_water, state.ended.len(), state.sent.len()), (2001, 0, 0));
}

#[test]
fn an_order_is_credited_to_its_own_person_when_the_cache_gave_them_up() {
    let mut journal = Journal::default();
    let people = ["u1", "u2", "u3", "u4", "u5"];
    let mut rig = Rig::new(ViewsLimits { recent_orders_max: 10, ..TINY });
    for person in people {
        journal.accept(person, CASH, 7);
        rig.apply_all(&journal.records);
        rig.commit();
    }
    assert_eq!(rig.reader.users_bytes().unwrap(), 4 * 128 + 64 * 8, "a place was used again");
    for seq in 1..=5 {
        journal.credit(Credited, "cash", &[(seq, 1)], 0, "");
        rig.apply_all(&journal.records);
        agree(&rig.reader, &Model::of(&journal.records), &people, &["cash"]);
    }
}

#[test]
fn sums_beyond_64_bits_stop_nothing() {
    let mut journal = Journal::default();
    for _ in 0..3 {
        journal.accept("u", CASH, i64::MAX);
    }
    journal.credit(Credited, "cash", &[(1, 2)], 0, "");
    let mut rig = Rig::new(ViewsLimits::default());
    rig.apply_all(&journal.records);
    rig.commit();
    let rig = rig.crash();
    let wallet = rig.reader.wallet("u", None).unwrap();
    let max = i128::from(i64::MAX);
    assert_eq!((wallet.balances[0].credited_minor, wallet.balances[0].pending_minor), (2 * max, max));
    assert_eq!(rig.reader.totals(&[]).unwrap().rows[0].accepted_minor, 3 * max);
}

#[test]
fn overdue_is_what_settings_and_the_journals_time_say() {
    let mut journal = Journal::default();
    journal.settings(&settings(&[COIN], 90_000));
    journal.accept("u", CASH, 10);
    journal.accept("u", COIN, 1000);
    journal.tick(60_000);
    journal.accept("u", CASH, 20);
    journal.credit(Started, "cash", &[(1, 1)], 86_400_000, "");
    // (ticks by, overdue orders, their sum); the last step after the first order ended
    let mut rig = Rig::new(ViewsLimits::default());
    let steps = [(0, 0, 0), (90_000, 1, 10), (59_999, 1, 10), (1, 2, 30)];
    for (by_ms, count, sum) in steps {
        journal.tick(by_ms);
        rig.apply_all(&journal.records);
        rig.commit();
        let rows = rig.reader.reconcile().unwrap().rows;
        assert_eq!(rows.len(), 1, "coins are not reconciled");
        assert_eq!((rows[0].overdue_count, rows[0].overdue_minor), (count, sum), "{by_ms}");
        assert_eq!((rows[0].accepted_count, rows[0].ended_count, rows[0].open_minor), (2, 0, 30));
    }
    journal.credit(Reported, "cash", &[(1, 1)], 0, "");
    rig.apply_all(&journal.records);
    let rows = rig.reader.reconcile().unwrap().rows;
    assert_eq!((rows[0].overdue_count, rows[0].overdue_minor, rows[0].ended_count), (1, 20, 1));
    agree(&rig.reader, &Model::of(&journal.records), &["u"], &["cash"]);
}
