//! The audit finds nothing in a clean history, and every fault that is planted in one.

use hongbao_audit::Invariant::{self, *};
use hongbao_engine::store::Applied;
use hongbao_schemas::journal::CreditStage;
use hongbao_schemas::order_state::OrderState;

use super::planted_intake::INTAKE_FAULTS;
use super::planted_sinks::SINK_FAULTS;
use super::planted_stores::{INTAKE_STORE_FAULTS, LEDGER_FAULTS};
use super::world::{HOME, World, control_key, credit};

/// What is done to a clean world, and what the audit must find: exactly these invariants broken,
/// and a detail of the first with this text.
pub type Plant = (&'static str, fn(&mut World), &'static [Invariant], &'static str);

pub fn check(plants: &[Plant]) {
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
fn lanes_can_be_told_by_what_was_credited() {
    // (postings left, what is broken)
    for (postings, broken) in [(3, &[][..]), (1, &[I15]), (0, &[])] {
        let mut world = World::clean();
        world.lanes_are_unknown = true;
        world.books[0].1.lose_from(HOME, "book", postings);
        if postings > 0 {
            world.store_all();
        } else {
            world.ledger_rows.clear();
            world.ledger_applied = Applied::default();
        }
        let report = world.audit();
        assert_eq!(report.broken(), broken, "{postings}: {report:#?}");
    }
}

#[test]
fn each_invariant_has_a_fault_that_breaks_it() {
    let tables = [INTAKE_FAULTS, SINK_FAULTS, INTAKE_STORE_FAULTS, LEDGER_FAULTS];
    let mut broken: Vec<Invariant> = tables.concat().iter().flat_map(|plant| plant.2.to_vec()).collect();
    broken.sort_unstable();
    broken.dedup();
    // Views are rebuilt, and compared, by the binary.
    let all: Vec<Invariant> = Invariant::ALL.into_iter().filter(|invariant| *invariant != I19).collect();
    assert_eq!(broken, all);
}
