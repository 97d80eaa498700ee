//! The audit finds nothing in a clean history, and every fault that is planted in one.

use hongbao_audit::Invariant::{self, *};
use hongbao_audit::verdicts::{DEAD_LETTERS, INTAKE, JOURNAL};
use hongbao_engine::records::Envelope;
use hongbao_engine::store::Applied;
use hongbao_schemas::journal::{CreditStage, Fact};
use hongbao_schemas::order_state::OrderState;

use super::world::{HOME, World, account_key, award, changed_order, control_key, credit, encoded};

/// What is done to a clean world, and what the audit must find: exactly these invariants broken,
/// and a detail of the first with this text.
type Plant = (&'static str, fn(&mut World), &'static [Invariant], &'static str);

fn check(plants: &[Plant]) {
    let mut problems = Vec::new();
    for (name, plant, broken, detail) in plants {
        let mut world = World::clean();
        plant(&mut world);
        let report = world.audit();
        let found = report.broken();
        let details: Vec<String> =
            found.iter().flat_map(|invariant| report.line(*invariant).details).collect();
        if found != *broken || !details.iter().any(|text| text.contains(detail)) {
            problems.push(format!("{name}: {found:?}, not {broken:?} with {detail:?}: {details:#?}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_clean_history_is_clean() {
    let world = World::clean();
    let report = world.audit();
    assert_eq!(report.broken(), [], "{report:#?}");
    let checked = |invariant: Invariant, unit: &str| report.line(invariant).checked[unit];
    assert_eq!((checked(I1, "awards"), checked(I1, "not decided yet")), (9, 0));
    assert_eq!(
        (checked(I2, "order numbers"), checked(I3, "conflicts"), checked(I3, "duplicates")),
        (4, 1, 1)
    );
    assert_eq!((checked(I11, "credited"), checked(I11, "refused"), checked(I11, "open")), (2, 1, 1));
    assert_eq!((checked(I10, "effects"), checked(I13, "postings")), (3, 3));
}

#[test]
fn the_models_can_be_asked() {
    let world = World::clean();
    let mut report = hongbao_audit::Report::new();
    let (verdicts, journal) = hongbao_audit::audit_log(&world.log, HOME, control_key(), &mut report).unwrap();
    assert_eq!((verdicts.counts.read, verdicts.counts.accepted, verdicts.counts.undecodable), (9, 4, 2));
    let states = [
        "a_rain_r1_cash_1",
        "a_1_rain_r1_cash_1",
        "a_rain_r2_cash_1",
        "a_film_r1_film_1",
        "a_rain_r9_cash_1",
        "x",
    ]
    .map(|order_no| journal.state(order_no));
    let credited = Some(OrderState::Credited);
    let rest = [Some(OrderState::Crediting), Some(OrderState::Refused), Some(OrderState::Rejected), None];
    assert_eq!(states.to_vec(), [vec![credited, credited], rest.to_vec()].concat());
    let person = journal.person("a").unwrap();
    let balances: Vec<_> =
        person.balances.iter().map(|(asset, sum)| (&**asset, sum.income_minor, sum.credited_minor)).collect();
    assert_eq!(balances, [("CNY/2", 107, 100), ("COUPON/0", 1, 0)]);
    let newest: Vec<_> = journal.orders_of(person).map(|order| &*order.order_no).collect();
    assert_eq!(newest, ["a_rain_r2_cash_1", "a_film_r1_film_1", "a_rain_r1_cash_1"]);
    let stages: Vec<_> = journal.history("a_1_rain_r1_cash_1").iter().map(|step| step.stage).collect();
    assert_eq!(stages, ["accepted", "started", "unknown", "started", "credited"]);
    let cash = journal.lane_sums("cash");
    assert_eq!((cash.accepted, cash.sent, cash.credited, cash.backlog), (3, 4, 2, 1));
}

#[test]
fn faults_of_intake_are_found() {
    let is_conflict = |fact: &Fact<'_>| matches!(fact, Fact::Conflict(_));
    check(&[
        (
            "another refusal",
            |world| {
                world.change(
                    |fact| matches!(fact, Fact::Rejected(_)),
                    |fact| {
                        if let Fact::Rejected(fact) = fact {
                            fact.code = "unknown_scene"
                        }
                    },
                );
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
                world.change(
                    |fact| matches!(fact, Fact::Conflict(_)),
                    |fact| {
                        if let Fact::Conflict(fact) = fact {
                            fact.amount_minor += 1
                        }
                    },
                );
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
                world.change(
                    |fact| matches!(fact, Fact::Accepted(fact) if fact.award_offset == 3),
                    |fact| {
                        if let Fact::Accepted(fact) = fact {
                            fact.at_ms -= 1
                        }
                    },
                );
            },
            &[I4],
            "a_1_rain_r1_cash_1",
        ),
        (
            "an accepted fact of nothing",
            |world| {
                world.change(
                    |fact| matches!(fact, Fact::Accepted(fact) if fact.award_offset == 10),
                    |fact| {
                        if let Fact::Accepted(fact) = fact {
                            fact.award.amount_minor = 0
                        }
                    },
                );
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
                world.change(
                    |fact| matches!(fact, Fact::SettingsChanged(_)),
                    |fact| {
                        if let Fact::SettingsChanged(fact) = fact {
                            fact.number = 2
                        }
                    },
                );
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
                world.change(
                    |fact| matches!(fact, Fact::Accepted(fact) if fact.award_offset == 6),
                    |fact| {
                        if let Fact::Accepted(fact) = fact {
                            fact.award.act_id = "d"
                        }
                    },
                );
            },
            &[I2, I4],
            "another partition",
        ),
    ]);
    let world = World::clean();
    world.change(is_conflict, |_| {});
    assert_eq!(world.audit().broken(), [], "what is written back unchanged is no fault");
}

#[test]
fn faults_of_sinks_are_found() {
    check(&[
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
                world.change(
                    |fact| matches!(fact, Fact::Accepted(fact) if fact.award_offset == 3),
                    |fact| {
                        if let Fact::Accepted(fact) = fact {
                            fact.award.amount_minor = -150
                        }
                    },
                );
            },
            &[I4, I8, I9, I13, I15, I16, I18],
            "credited -150 of -150",
        ),
    ]);
}

#[test]
fn an_older_epoch_changes_nothing() {
    let mut world = World::clean();
    let before = world.audit().line(I11);
    world.sink_at(1, 5, credit("cash", CreditStage::Credited, 3, 1, ""));
    world.sink_at(2, 5, credit("cash", CreditStage::Unknown, 3, 1, "came early"));
    world.sink_at(2, 4, credit("cash", CreditStage::Credited, 3, 1, ""));
    let report = world.audit();
    assert_eq!(report.broken(), [I11], "what came early is applied after what was missing");
    assert_eq!(report.line(I24).checked["records of older epochs"], 1);
    assert_eq!((before.checked["credited"], report.line(I11).checked["credited"]), (2, 3));
    world.open("cash", 2);
    assert_eq!(world.audit().broken(), [I11], "two writers may try the same epoch");
}

#[test]
fn faults_of_intakes_store_are_found() {
    fn count(world: &mut World, place: usize) {
        world.intake_rows.get_mut(&b"in\0fold"[..]).unwrap()[place * 8] += 1;
    }
    check(&[
        ("a count", |world| count(world, 4), &[I1], "intake-0: counts"),
        ("the time", |world| count(world, 0), &[I6], "intake-0: is at"),
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
                world.intake_rows.get_mut(&b"onrain\0a\0r1\0cash\x001"[..]).unwrap()[3] ^= 1;
            },
            &[I6],
            "order a_rain_r1_cash_1",
        ),
        (
            "the next sequence",
            |world| {
                world.intake_rows.get_mut(&b"~sjournal"[..]).unwrap()[0] += 1;
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
                let last_record_crc = hongbao_engine::records::crc(&earlier);
                world.intake_applied = Applied { offset: 10, last_record_crc };
            },
            &[I1, I5, I6],
            "a_rain_r2_cash_1",
        ),
    ]);
}

#[test]
fn faults_of_ledgers_are_found() {
    check(&[
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
                let order = changed_order(&world.record("orders.cash", 0), |order| {
                    order.order_no = "a_rain_r7_cash_1"
                });
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
                world.ledger_rows.get_mut(&account_key("a_1", "CNY/2")).unwrap()[0] += 1;
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
                world.ledger_rows.get_mut(&b"isCNY/2"[..]).unwrap()[0] += 1;
            },
            &[I6, I15],
            "issued",
        ),
        (
            "an order's row",
            |world| {
                world.ledger_rows.get_mut(&b"oda_rain_r1_cash_1"[..]).unwrap()[0] ^= 1;
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
    ]);
}
