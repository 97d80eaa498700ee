//! Each rule about an order, from its answers to its story in the journal. Stories: s started,
//! d deferred, w withdrawn, u unknown, C credited, F refused, R reported.

use std::time::Duration;

use crate::downstream::{Capabilities, KeyLife, Outcome, Outcomes, Told};

use super::kit::{ABLE, Scripted, World, rejected, unknown};

struct Case {
    name: &'static str,
    able: Capabilities,
    /// Answers to sends, one order each.
    answers: Vec<Outcome>,
    told: Vec<Told>,
    story: &'static str,
    sends: usize,
    asks: usize,
}

fn throttled(ms: u64) -> Outcome {
    Outcome::Throttled { retry_after: Some(Duration::from_millis(ms)) }
}

fn conflict() -> Outcome {
    Outcome::Conflict("order_conflict".into())
}

fn not_sent() -> Outcome {
    Outcome::NotSent("connection refused".into())
}

const NO_QUERY: Capabilities = Capabilities { can_query: false, ..ABLE };
const NO_KEYS: Capabilities = Capabilities { key_life: KeyLife::None, ..ABLE };
const NO_KEYS_NO_QUERY: Capabilities = Capabilities { can_query: false, ..NO_KEYS };

fn case(
    name: &'static str,
    able: Capabilities,
    answers: &[Outcome],
    told: &[Told],
    story: &'static str,
    calls: (usize, usize),
) -> Case {
    let (answers, told) = (answers.to_vec(), told.to_vec());
    Case { name, able, answers, told, story, sends: calls.0, asks: calls.1 }
}

fn definite_cases() -> Vec<Case> {
    use Outcome::{AlreadyCredited, Credited};
    vec![
        case("credited", ABLE, &[Credited], &[], "sC", (1, 0)),
        case("credited before", ABLE, &[AlreadyCredited], &[], "sC", (1, 0)),
        case("rejected", ABLE, &[rejected()], &[], "sF", (1, 0)),
        case("throttled, then credited", ABLE, &[throttled(50), Credited], &[], "sdsC", (2, 0)),
        case("throttled, then rejected", ABLE, &[throttled(50), rejected()], &[], "sdsF", (2, 0)),
        case("not sent, then rejected", ABLE, &[not_sent(), rejected()], &[], "sdsF", (2, 0)),
        case("throttled without keys", NO_KEYS, &[throttled(50), Credited], &[], "sdsC", (2, 0)),
    ]
}

fn unknown_cases() -> Vec<Case> {
    use Outcome::Credited;
    let no = || Told::Rejected("no".into());
    let lost = || Told::Unknown("timeout".into());
    vec![
        case("asked: credited", ABLE, &[unknown()], &[Told::Credited], "suC", (1, 1)),
        case("asked: rejected", ABLE, &[unknown()], &[no()], "suF", (1, 1)),
        case("asked: pending, credited", ABLE, &[unknown()], &[Told::Pending, Told::Credited], "suC", (1, 2)),
        case("asked in vain, then credited", ABLE, &[unknown()], &[lost(), Told::Credited], "suC", (1, 2)),
        case("absent, sent again", ABLE, &[unknown(), Credited], &[Told::Absent], "susC", (2, 1)),
        case("absent, rejected", ABLE, &[unknown(), rejected()], &[Told::Absent], "susR", (2, 1)),
        case(
            "absent, throttled, rejected",
            ABLE,
            &[unknown(), throttled(9), rejected()],
            &[Told::Absent],
            "susdsR",
            (3, 1),
        ),
        case(
            "twice unknown",
            ABLE,
            &[unknown(), unknown()],
            &[Told::Absent, Told::Credited],
            "susuC",
            (2, 2),
        ),
        case("no query: the same key again", NO_QUERY, &[unknown(), Credited], &[], "susC", (2, 0)),
        case("no query: rejected", NO_QUERY, &[unknown(), rejected()], &[], "susR", (2, 0)),
        case(
            "no query: not sent, rejected",
            NO_QUERY,
            &[unknown(), not_sent(), rejected()],
            &[],
            "susdsR",
            (3, 0),
        ),
        case("no keys: asked, credited", NO_KEYS, &[unknown()], &[Told::Credited], "suC", (1, 1)),
        case("no keys: absent", NO_KEYS, &[unknown()], &[Told::Absent], "suR", (1, 1)),
        case("in conflict", ABLE, &[conflict()], &[], "sR", (1, 0)),
        case(
            "asked: in conflict",
            ABLE,
            &[unknown()],
            &[Told::Conflict("order_conflict".into())],
            "suR",
            (1, 1),
        ),
        case("no keys, no query", NO_KEYS_NO_QUERY, &[unknown()], &[], "sR", (1, 0)),
    ]
}

#[test]
fn an_order_goes_as_its_answers_say() {
    for case in definite_cases().into_iter().chain(unknown_cases()) {
        let world = World::new(&["cash"], 1);
        let (bank, script) = Scripted::new(&world, case.able);
        script.lock().answers = case.answers.into_iter().map(|one| (Outcomes::All(one), None)).collect();
        script.lock().told = case.told.into();
        world.orders("cash", 0, 1);
        let mut dispatcher = world.open(bank);
        world.run(&mut dispatcher, 3_000);
        let name = case.name;
        assert_eq!(world.stories(0, "cash"), [case.story], "{name}");
        let script = script.lock();
        assert_eq!((script.sent.len(), script.asked.len()), (case.sends, case.asks), "{name}");
    }
}

#[test]
fn a_throttled_order_waits_at_least_as_long_as_was_said() {
    let world = World::new(&["cash"], 1);
    let (bank, script) = Scripted::new(&world, ABLE);
    script.lock().answers.push_back((Outcomes::All(throttled(700)), None));
    world.orders("cash", 0, 1);
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 2_000);
    let sent: Vec<i64> = script.lock().sent.iter().map(|sent| sent.at_ms).collect();
    assert!(sent[1] - sent[0] >= 700 && sent[1] - sent[0] < 800, "{sent:?}");
}

#[test]
fn answers_of_one_batch_are_taken_one_by_one() {
    let world = World::new(&["cash"], 1);
    let (bank, script) = Scripted::new(&world, ABLE);
    let each = vec![Outcome::Credited, rejected(), unknown(), throttled(5), Outcome::AlreadyCredited];
    script.lock().answers.push_back((Outcomes::Each(each), None));
    script.lock().told = [Told::Credited, Told::Absent].into();
    world.orders("cash", 0, 6);
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 2_000);
    // Of the third and the sixth, which has no answer, one is told credited and one absent.
    let mut stories = world.stories(0, "cash");
    let (third, sixth) = (stories.remove(2), stories.remove(4));
    assert_eq!(stories, ["sC", "sF", "sdsC", "sC"]);
    let mut asked = [third, sixth];
    asked.sort();
    assert_eq!(asked, ["suC", "susC"]);
}

#[test]
fn a_refused_batch_is_split_until_the_poison_is_alone() {
    let poison = 4;
    let world = World::new(&["cash"], 1);
    let (bank, script) = Scripted::new(&world, ABLE);
    script.lock().by = Some(Box::new(move |sent| {
        let is_bad = sent.seqs.contains(&poison);
        let answer =
            if is_bad { Outcomes::Split("status 400".into()) } else { Outcomes::All(Outcome::Credited) };
        (answer, None)
    }));
    world.orders("cash", 0, 8);
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 2_000);
    let stories = world.stories(0, "cash");
    for (index, story) in stories.iter().enumerate() {
        let end = if index as u64 + 1 == poison { 'F' } else { 'C' };
        assert!(story.ends_with(end), "{stories:?}");
    }
    let sizes: Vec<usize> = script
        .lock()
        .sent
        .iter()
        .filter(|sent| sent.seqs.contains(&poison))
        .map(|sent| sent.seqs.len())
        .collect();
    assert_eq!(sizes, [8, 4, 2, 1]);
}

#[test]
fn a_batch_that_fails_as_a_whole_is_tried_in_smaller_ones_and_its_poison_reported() {
    let poison = 4;
    let world = World::new(&["cash"], 1);
    let (bank, script) = Scripted::new(&world, NO_QUERY);
    script.lock().by = Some(Box::new(move |sent| {
        let outcome = if sent.seqs.contains(&poison) { unknown() } else { Outcome::Credited };
        (Outcomes::All(outcome), None)
    }));
    let mut dispatcher = world.open(bank);
    // Others keep coming, so that the downstream is well.
    for _ in 0..1_000 {
        world.orders("cash", 0, 4);
        world.run(&mut dispatcher, 20);
    }
    world.run(&mut dispatcher, 2_000);
    let ends = world.view.ends("cash");
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [("credited", 3_999), ("reported", 1)]);
    let order = &world.view.orders(0, "cash")[&poison];
    let (_, reason) = order.end.clone().unwrap();
    assert!(reason.contains("too many attempts"), "{reason}");
    let attempts = order.story.matches('s').count() as u32;
    assert!(attempts > world.spec.policy.attempts_max, "attempts in company do not count: {attempts}");
}

#[test]
fn facts_of_a_thousand_orders_are_a_few_records() {
    let world = World::new(&["cash"], 1);
    let (bank, _) = Scripted::new(&world, ABLE);
    world.orders("cash", 0, 1_000);
    let mut dispatcher = world.open(bank);
    world.run(&mut dispatcher, 100);
    assert_eq!(world.view.ends("cash").into_iter().collect::<Vec<_>>(), [("credited", 1_000)]);
    let (_, end) =
        hongbao_engine::log::Log::range(&*world.log, hongbao_engine::partition::Partition(0), "journal")
            .unwrap();
    assert!(end < 120, "{end} records");
}
