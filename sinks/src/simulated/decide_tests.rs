//! What each fault does and says, and that the book keeps count.

use super::*;

const ITEMS: usize = 20;

fn keys(round: usize) -> Vec<String> {
    (0..ITEMS).map(|index| format!("n/u{index}_s_{round}_t_0")).collect()
}

fn items(keys: &[String]) -> Vec<Item<'_>> {
    let item = |key| Item {
        key,
        order_no: key,
        act_id: "u",
        reward_type: "cash",
        reward_id: "",
        asset: "CNY/2",
        amount_minor: 5,
    };
    keys.iter().map(|key| item(key.as_str())).collect()
}

fn effects(simulation: &Simulation, keys: &[String]) -> Vec<u32> {
    keys.iter().map(|key| simulation.effects_of(key)).collect()
}

#[test]
fn each_fault_does_and_says_what_it_stands_for() {
    let base = Profile::steady();
    type Check = fn(&Reply) -> bool;
    // Profile, effects at once, effects later, what is said.
    let cases: [(&str, Profile, u32, u32, Check); 8] = [
        ("steady", base.clone(), 1, 1, |reply| *reply == Reply::AllCredited),
        ("before", Profile { fail_before: 1000, ..base.clone() }, 0, 0, |r| *r == Reply::Status(500, None)),
        ("after", Profile { fail_after: 1000, ..base.clone() }, 1, 1, |r| *r == Reply::Status(500, None)),
        ("lost", Profile { lose_answer: 1000, ..base.clone() }, 1, 1, |r| *r == Reply::Lost),
        ("late", Profile { late_effect: 1000, ..base.clone() }, 0, 1, |r| *r == Reply::Lost),
        ("throttle", Profile { throttle: 1000, ..base.clone() }, 0, 0, |r| {
            matches!(r, Reply::Status(429, Some(_)))
        }),
        (
            "pending",
            Profile { pending_item: 1000, ..base.clone() },
            0,
            1,
            |r| matches!(r, Reply::Items(each) if each.iter().all(|one| one.result == ItemResult::Pending)),
        ),
        (
            "reject",
            Profile { reject_item: 1000, ..base },
            0,
            0,
            |r| matches!(r, Reply::Items(each) if each.iter().all(|one| one.result == ItemResult::Rejected)),
        ),
    ];
    for (name, profile, at_once, later, says) in cases {
        let mut simulation = Simulation::new(profile, 1, Book::new(), 1_000);
        let keys = keys(1);
        let decision = simulation.decide(&items(&keys), 1_000);
        assert!(says(&decision.reply), "{name}: {:?}", decision.reply);
        if later > at_once {
            assert!(effects(&simulation, &keys).iter().all(|effects| *effects <= later), "{name}");
        } else {
            assert_eq!(effects(&simulation, &keys), [at_once; ITEMS], "{name}");
        }
        simulation.advance(100_000);
        assert_eq!(effects(&simulation, &keys), [later; ITEMS], "{name} later");
    }
}

#[test]
fn a_part_of_a_batch_is_applied_and_less_is_answered() {
    let profile = Profile { partial: 1000, throttle_item: 100, ..Profile::steady() };
    let mut simulation = Simulation::new(profile, 3, Book::new(), 0);
    let (mut applied, mut answered) = (0, 0);
    for round in 0..50 {
        let keys = keys(round);
        let Reply::Items(replies) = simulation.decide(&items(&keys), 0).reply else { panic!("items") };
        for reply in &replies {
            let effects = simulation.effects_of(&keys[reply.index.unwrap()]);
            assert_eq!(reply.result == ItemResult::Credited, effects == 1, "it never lies");
        }
        applied += effects(&simulation, &keys).iter().sum::<u32>();
        answered += replies.len();
    }
    assert!(applied > 300 && applied < 700, "about half of 1000: {applied}");
    assert!((answered as u32) < applied, "some answers are missing: {answered} of {applied}");
}

#[test]
fn forgotten_keys_take_effect_again_and_are_counted() {
    let short = KeyLife::Lasts(Duration::from_millis(100));
    for (key_life, effects_after) in [(KeyLife::Forever, [1, 1]), (short, [1, 2]), (KeyLife::None, [2, 3])] {
        let profile = Profile { key_life, ..Profile::steady() };
        let mut simulation = Simulation::new(profile, 1, Book::new(), 0);
        let keys = keys(1);
        simulation.decide(&items(&keys[..1]), 0);
        for (now_ms, expected) in [(99, effects_after[0]), (100, effects_after[1])] {
            simulation.decide(&items(&keys[..1]), now_ms);
            assert_eq!(simulation.effects_of(&keys[0]), expected, "{key_life:?} at {now_ms}");
        }
        assert_eq!(simulation.counts().double_effects, u64::from(effects_after[1]) - 1);
    }
}

#[test]
fn asking_tells_what_is_remembered() {
    let short = KeyLife::Lasts(Duration::from_millis(100));
    for (key_life, later) in [(KeyLife::Forever, "credited"), (short, "absent"), (KeyLife::None, "credited")]
    {
        let mut simulation = Simulation::new(Profile { key_life, ..Profile::steady() }, 1, Book::new(), 0);
        let keys = keys(1);
        assert_eq!(simulation.ask(&keys[0], 0).result, Some("absent"));
        simulation.decide(&items(&keys[..1]), 0);
        assert_eq!(simulation.ask(&keys[0], 50).result, Some("credited"));
        assert_eq!(simulation.ask(&keys[0], 5_000).result, Some(later), "{key_life:?}");
    }
}

/// A process that is killed right after the answer must find the effect in the book again.
#[test]
fn a_late_effect_is_in_the_file_before_it_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("book");
    let profile = Profile { late_effect: 1000, ..Profile::steady() };
    let mut simulation = Simulation::new(profile, 1, Book::open(&path).unwrap(), 1_000);
    let keys = keys(1);
    simulation.decide(&items(&keys), 1_000);
    assert_eq!(simulation.ask(&keys[0], 100_000).result, Some("credited"));
    let mut written = Vec::new();
    crate::simulated::file::read_book(&path, |record| written.push(record.key)).unwrap();
    assert_eq!(written.len(), ITEMS);
}

#[test]
fn above_its_cap_it_throttles() {
    let profile = Profile { rate_cap: Some(100), ..Profile::steady() };
    let mut simulation = Simulation::new(profile, 1, Book::new(), 0);
    for now_ms in 0..2_000 {
        let keys = [format!("n/u_s_{now_ms}_t_0")];
        simulation.decide(&items(&keys), now_ms);
    }
    let effects = simulation.counts().effects;
    assert!((150..=200).contains(&effects), "{effects}");
}

#[test]
fn the_same_seed_does_the_same() {
    let run = |seed| {
        let mut simulation = Simulation::new(Profile::flaky(), seed, Book::new(), 0);
        let decisions: Vec<Decision> =
            (0..100).map(|round| simulation.decide(&items(&keys(round / 2)), round as i64 * 10)).collect();
        (decisions, simulation.counts())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).0, run(6).0);
    assert_eq!(run(5).1.double_effects, 0);
}
