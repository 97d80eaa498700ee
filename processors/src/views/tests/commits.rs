//! Commits: what they write, what is refused, and that memory alone answers meanwhile.

use hongbao_engine::processor::{Processor, ProcessorError};
use hongbao_engine::store::{Applied, Rows, Store};
use hongbao_schemas::journal::CreditStage::{Credited, Started, Unknown};
use hongbao_schemas::journal::{Accepted, Fact};

use super::books::agree;
use super::journal::{CASH, FILM, Journal, settings};
use super::model::Model;
use super::rig::{Rig, TINY};
use crate::views::{Views, ViewsLimits, ViewsReader};

const PEOPLE: [&str; 3] = ["u0", "u1", "u2"];

fn busy_journal() -> Journal {
    let mut journal = Journal::default();
    journal.settings(&settings(&[], 0));
    for order in 0..60 {
        journal.accept(PEOPLE[order % 3], [CASH, FILM][order % 2], 5);
        if order % 10 == 9 {
            let first = 1 + (order as u64 - 9) / 2;
            journal.credit(Started, "cash", &[(first, 5)], 0, "");
            journal.credit(Credited, "cash", &[(first, 3)], 0, "");
            journal.credit(Unknown, "cash", &[(first + 3, 2)], 0, "no answer");
            journal.tick(10_000);
        }
    }
    journal
}

#[test]
fn answers_are_whole_at_every_step_of_a_commit() {
    let journal = busy_journal();
    let records = &journal.records;
    let mut rig = Rig::new(TINY);
    let look = |rig: &Rig| {
        agree(&rig.reader, &Model::of(&records[..rig.applied]), &PEOPLE, &["cash", "coupon"]);
    };
    for end in (5..records.len()).step_by(10) {
        rig.apply(records, end);
        look(&rig);
        rig.freeze();
        look(&rig);
        rig.apply(records, end + 3);
        look(&rig);
        rig.write();
        look(&rig);
        rig.apply(records, end + 5);
        rig.committed();
        look(&rig);
    }
}

#[test]
fn a_commit_appends_entries_and_rewrites_only_what_changed() {
    let mut journal = busy_journal();
    let mut rig = Rig::new(ViewsLimits::default());
    rig.apply_all(&journal.records);
    rig.commit();
    let before = rig.rows();
    journal.credit(Credited, "cash", &[(4, 1)], 0, "");
    rig.apply_all(&journal.records);
    rig.commit();
    let after = rig.rows();
    let changed: Vec<String> = after
        .iter()
        .filter(|(key, row)| before.get(*key) != Some(row))
        .map(|(key, _)| String::from_utf8_lossy(&key[..2]).into_owned())
        .collect();
    // Group, minute, fact, lane, person; neither the entry nor the order.
    assert_eq!(changed, ["ag", "bk", "cb", "cl", "us"]);
    assert!(before.keys().all(|key| after.contains_key(key)));
}

#[test]
fn runs_of_a_commit_are_few() {
    let journal = busy_journal();
    let mut rig = Rig::new(ViewsLimits::default());
    rig.apply_all(&journal.records);
    assert!(rig.views.staged_bytes() > 60 * 40, "{}", rig.views.staged_bytes());
    let runs = (rig.views.freeze().unwrap())().unwrap();
    let kinds: Vec<&[u8]> = runs.iter().map(|run| run.iter().next().unwrap().0.get(..2).unwrap()).collect();
    assert_eq!(kinds, [&b"ag"[..], b"en", b"en", b"or", b"us"], "two lanes");
    assert_eq!(rig.views.staged_bytes(), 0);
    rig.views.committed();
    let nothing_new = (rig.views.freeze().unwrap())().unwrap();
    assert_eq!(nothing_new.iter().map(Rows::len).sum::<usize>(), 1, "the time");
}

#[test]
fn a_restart_rewrites_nothing() {
    let mut rig = Rig::new(ViewsLimits::default());
    rig.apply_all(&busy_journal().records);
    rig.commit();
    let mut rig = rig.crash();
    let nothing_new = (rig.views.freeze().unwrap())().unwrap();
    assert_eq!(nothing_new.iter().map(Rows::len).sum::<usize>(), 1, "the time");
}

#[test]
fn memory_does_not_grow_with_people_nor_orders() {
    let mut journal = Journal::default();
    for person in 0..2000 {
        journal.accept(&format!("u{person}"), CASH, 5);
    }
    let mut rig = Rig::new(TINY);
    while rig.applied < journal.records.len() {
        rig.apply(&journal.records, rig.applied + 20);
        rig.commit();
    }
    assert!(rig.reader.users_bytes().unwrap() < 100 * 128, "I29");
    let state = rig.views.shared.state.read();
    let recent = &state.lanes.get(0).unwrap().recent;
    assert!(recent.get(1997).is_none() && recent.get(1998).is_some(), "three are kept");
}

#[test]
fn people_met_while_the_filter_is_filled_are_not_forgotten() {
    let mut journal = Journal::default();
    for person in 0..5000 {
        journal.accept(&format!("u{person}"), CASH, 5);
    }
    let limits = ViewsLimits { known_users_bytes: 1 << 16, ..TINY };
    let mut rig = Rig::new(limits);
    rig.apply_all(&journal.records);
    rig.commit();
    let mut rig = rig.crash();
    // The filter is filled in more than one step, and with the first one somebody new comes, whose
    // key is below those that the next step will read.
    for act_id in ["a0", "u1", "u2", "u3", "u4", "u5", "u6", "a0"] {
        journal.accept(act_id, CASH, 5);
        rig.apply_all(&journal.records);
        rig.commit();
    }
    for (act_id, income) in [("a0", 10), ("u0", 5), ("u1", 10), ("u4999", 5)] {
        assert_eq!(rig.reader.wallet(act_id, None).unwrap().balances[0].income_minor(), income, "{act_id}");
    }
}

fn accepted<'a>(journal: &'a Journal, offset: usize) -> Accepted<'a> {
    match Fact::decode(&journal.records[offset]).unwrap() {
        Fact::Accepted(fact) => fact,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_journal_that_breaks_an_invariant_stops_the_partition() {
    let mut journal = Journal::default();
    journal.accept("u", CASH, 5);
    journal.accept("u", CASH, 5);
    let record = |fact: Accepted<'_>| {
        let mut record = Vec::new();
        fact.encode(&mut record);
        record
    };
    let second = accepted(&journal, 1);
    let with_amount = |amount_minor| {
        let mut fact = second;
        fact.award.amount_minor = amount_minor;
        fact
    };
    // (second record, invariant)
    let cases = [
        (record(Accepted { lane_seq: 3, ..second }), "I5"),
        (record(Accepted { lane_seq: 1, ..second }), "I5"),
        (record(Accepted { lane_seq: -2, ..second }), "I5"),
        (record(with_amount(0)), "I8"),
        (record(with_amount(-1)), "I8"),
        (b"junk".to_vec(), "I26"),
    ];
    for (record, expected) in cases {
        let mut rig = Rig::new(ViewsLimits::default());
        let error = rig.try_apply(&[journal.records[0].clone(), record], 2).unwrap_err();
        match error {
            ProcessorError::Invariant { invariant, offset, .. } => {
                assert_eq!((invariant, offset), (expected, 1))
            }
            ProcessorError::Store(error) => panic!("{error}"),
        }
    }
}

#[test]
fn damaged_rows_are_reported() {
    let journal = busy_journal();
    for kind in [b"ag", b"as", b"bk", b"cl", b"co", b"cs", b"ct"] {
        let mut rig = Rig::new(ViewsLimits::default());
        rig.apply_all(&journal.records);
        rig.commit();
        let mut damage = Rows::new();
        damage.put(&[&kind[..], &[0xfe]].concat(), &[0xff; 3]);
        rig.store.commit(&[damage], Applied { offset: 9, last_record_crc: 0 }).unwrap();
        let opened = Views::open(0, rig.store, ViewsLimits::default(), &ViewsReader::new(1));
        assert!(opened.is_err(), "{}", kind.escape_ascii());
    }
}
