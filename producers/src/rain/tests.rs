//! Same seed, same bytes; and the mix is what the profile says.

use std::collections::{BTreeMap, HashMap, HashSet};

use hongbao_schemas::award::{Award, AwardBuf};
use hongbao_schemas::order_no::OrderNo;

use super::*;
use crate::testing::settings;

const START_MS: i64 = 1_643_601_600_000;

fn rain(profile: &str, seed: u64, total: u64) -> Rain {
    Rain::new(&Profile::named(profile).unwrap(), &settings(), seed, total).unwrap()
}

/// All deliveries, owned.
fn deliveries(mut rain: Rain) -> Vec<(String, Vec<u8>, Expected)> {
    let mut all = Vec::new();
    while let Some(delivery) = rain.next_delivery() {
        all.push((delivery.act_id.to_owned(), delivery.award.to_vec(), delivery.expected));
    }
    all
}

/// Awards that are the first of their order number.
fn firsts(rain: Rain) -> Vec<AwardBuf> {
    deliveries(rain)
        .iter()
        .filter(|(.., expected)| *expected == Expected::Accepted)
        .map(|(_, award, _)| Award::decode(award).unwrap().into())
        .collect()
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[test]
fn same_seed_same_bytes_and_other_seeds_differ() {
    for profile in Profile::NAMES {
        let once = deliveries(rain(profile, 7, 5_000));
        assert_eq!(once, deliveries(rain(profile, 7, 5_000)), "{profile}");
        let other = deliveries(rain(profile, 8, 5_000));
        let equal = once.iter().zip(&other).filter(|(left, right)| left.1 == right.1).count();
        assert_eq!(equal, 0, "{profile}");
    }
}

#[test]
fn the_bytes_never_change() {
    // Data sets are named by profile, seed and total: these bytes are for ever.
    let mut digest = fnv(0, &[]);
    for (act_id, award, _) in deliveries(rain("spring-2022", 7, 20_000)) {
        digest = fnv(fnv(digest, act_id.as_bytes()), &award);
    }
    assert_eq!(digest, FROZEN);
}

const FROZEN: u64 = 17_210_589_414_652_739_476;

/// FNV-1a.
fn fnv(digest: u64, bytes: &[u8]) -> u64 {
    let start = if digest == 0 { 0xcbf2_9ce4_8422_2325 } else { digest };
    bytes.iter().fold(start, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn parts_have_the_bytes_of_the_whole() {
    let whole = rain("spring-2022", 7, 3_000);
    let mut joined = Vec::new();
    for part in [0..1, 1..1_000, 1_000..1_000, 1_000..9_999] {
        joined.extend(deliveries(whole.part(part)));
    }
    assert_eq!(joined, deliveries(whole));
}

#[test]
fn firsts_are_valid_awards_with_order_numbers_of_their_own() {
    let settings = settings();
    let mut order_nos = HashSet::new();
    for (act_id, award, expected) in deliveries(rain("spring-2022", 1, 50_000)) {
        if expected != Expected::Accepted {
            continue;
        }
        let award = Award::decode(&award).unwrap();
        let order_no = OrderNo::parse(award.order_no).unwrap();
        assert_eq!((order_no.act_id(), order_no.scene_id()), (award.act_id, award.scene_id));
        assert_eq!(act_id, award.act_id);
        let scene = &settings.activities[award.activity_id].scenes[award.scene_id];
        assert_eq!(scene.reward_type, award.reward_type);
        let max_minor = settings.reward_types[award.reward_type].max_minor;
        assert!((1..=max_minor).contains(&award.amount_minor), "{award:?}");
        assert!(order_nos.insert(award.order_no.to_owned()), "{award:?}");
    }
}

#[test]
fn expected_verdicts_are_those_of_a_plain_reader() {
    let settings = settings();
    let mut accepted: HashMap<String, AwardBuf> = HashMap::new();
    for (act_id, bytes, expected) in deliveries(rain("spring-2022", 3, 150_000)) {
        let Ok(award) = Award::decode(&bytes) else {
            assert_eq!(expected, Expected::Undecodable);
            continue;
        };
        assert_eq!(act_id, award.act_id);
        let found = match crate::bonus::check_all(&settings, &award) {
            Err(refusal) => Expected::Rejected(refusal),
            Ok(()) => match accepted.get(award.order_no) {
                None => {
                    accepted.insert(award.order_no.to_owned(), award.into());
                    Expected::Accepted
                }
                Some(first) if first.as_award() == award => Expected::Duplicate,
                Some(first) => {
                    assert_ne!(first.as_award().payload_digest(), award.payload_digest());
                    Expected::Conflict
                }
            },
        };
        assert_eq!(found, expected, "{award:?}");
    }
}

#[test]
fn the_mix_is_the_profiles() {
    let total = 400_000;
    let mut tally = Tally::default();
    let mut refusals = BTreeMap::new();
    for (.., expected) in deliveries(rain("spring-2022", 5, total)) {
        tally.count(expected);
        if let Expected::Rejected(refusal) = expected {
            *refusals.entry(refusal).or_insert(0) += 1;
        }
    }
    let Tally { accepted, duplicate, conflict, rejected, undecodable } = tally;
    assert_eq!(accepted + duplicate + conflict + rejected + undecodable, total);
    // (what, found, share of a million)
    let shares = [
        ("duplicates", duplicate, 90_000, 1_500),
        ("conflicts", conflict, 100, 60),
        ("malformed", rejected + undecodable, 100, 60),
    ];
    for (what, found, expected_ppm, tolerance_ppm) in shares {
        let found_ppm = found * 1_000_000 / total;
        assert!(found_ppm.abs_diff(expected_ppm) <= tolerance_ppm, "{what}: {found_ppm}");
    }
    assert!(refusals.len() >= 6, "{refusals:?}");
}

#[test]
fn cash_and_coupons_are_given_one_to_one_and_by_weight() {
    let firsts = firsts(rain("spring-2022", 9, 200_000));
    let of = |reward_type: &str| firsts.iter().filter(|award| award.reward_type == reward_type).count();
    let money = of("cash") + of("cash.video");
    assert!((share(money, firsts.len()) - 0.5).abs() < 0.005, "{money} of {}", firsts.len());
    let pieces = firsts.len() - money;
    // Weights 20 and 2; 4, 4 and 1.
    for (reward_type, whole, expected) in [
        ("cash", money, 20.0 / 22.0),
        ("coupon.film", pieces, 4.0 / 9.0),
        ("coupon.drink", pieces, 4.0 / 9.0),
        ("pendant", pieces, 1.0 / 9.0),
    ] {
        let found = share(of(reward_type), whole);
        assert!((found - expected).abs() < 0.01, "{reward_type}: {found}");
    }
}

#[test]
fn recent_repeats_are_recent_and_others_are_of_any_age() {
    let mut profile = Profile::named("steady").unwrap();
    profile.file.recent_span = 100;
    let mut ages = Vec::new();
    let mut at: HashMap<Vec<u8>, usize> = HashMap::new();
    let rain = Rain::new(&profile, &settings(), 2, 100_000).unwrap();
    for (index, (_, award, expected)) in deliveries(rain).into_iter().enumerate() {
        match expected {
            Expected::Accepted => drop(at.insert(award, index)),
            Expected::Duplicate => ages.push(index - at[&award]),
            _ => {}
        }
    }
    // Whoever would repeat a repeat takes the award before it, so a little older is recent too.
    let recent = ages.iter().filter(|age| **age <= 110).count();
    assert!((share(recent, ages.len()) - 8.0 / 9.0).abs() < 0.01, "{recent} of {}", ages.len());
    assert!(ages.iter().any(|age| *age > 50_000));
}

#[test]
fn some_awards_are_late_and_the_rest_follow_the_waves() {
    let total = 100_000;
    let firsts = firsts(rain("spring-2022", 4, total));
    let (mut late, mut latest_ms) = (0, i64::MIN);
    for award in &firsts {
        late += usize::from(award.event_time_ms < latest_ms);
        latest_ms = latest_ms.max(award.event_time_ms);
    }
    assert!((share(late, firsts.len()) - 0.005).abs() < 0.002, "{late}");
    assert!(latest_ms < START_MS + (28_800 + 600) * 1000);
    let evening = firsts.iter().filter(|award| award.event_time_ms >= START_MS + 28_800_000).count();
    assert!((share(evening, firsts.len()) - 0.28).abs() < 0.01, "the last rain has 280 of 1000 shares");
}

#[test]
fn few_people_win_often() {
    let firsts = firsts(rain("spring-2022", 6, 200_000));
    // Skew 3 over 10^8 people: the first million of them, a hundredth, wins 21.5%.
    let frequent = firsts.iter().filter(|award| award.act_id.as_str() < "a001000000").count();
    assert!((share(frequent, firsts.len()) - 0.215).abs() < 0.005, "{frequent}");
    let apps: HashSet<&str> = firsts.iter().map(|award| award.app.as_str()).collect();
    assert_eq!(apps.len(), 8);
    let with_ext = firsts.iter().filter(|award| !award.ext.as_ext().is_empty()).count();
    assert!((share(with_ext, firsts.len()) - 0.05).abs() < 0.005, "{with_ext}");
}

#[test]
fn settings_with_one_kind_of_asset_are_enough() {
    let mut settings = settings();
    let spring = settings.activities.get_mut("spring-2027").unwrap();
    spring.scenes.retain(|scene_id, _| scene_id == "film-1");
    let profile = Profile::named("steady").unwrap();
    let mut rain = Rain::new(&profile, &settings, 1, 10).unwrap();
    assert_eq!(rain.left(), 10);
    let first = rain.next_delivery().unwrap();
    assert_eq!(Award::decode(first.award).unwrap().reward_type, "coupon.film");
}

#[test]
fn what_cannot_rain_is_refused() {
    let profile = Profile::named("steady").unwrap();
    let mut nothing = settings();
    nothing.activities.clear();
    assert_eq!(Rain::new(&profile, &nothing, 1, 10).unwrap_err(), RainError::NothingToGive);
    let too_many = TOTAL_MAX + 1;
    assert_eq!(Rain::new(&profile, &settings(), 1, too_many).unwrap_err(), RainError::TooMany(too_many));
}

#[test]
fn scenes_whose_names_fit_no_order_number_are_left_out() {
    let mut settings = settings();
    let spring = settings.activities.get_mut("spring-2027").unwrap();
    let film = spring.scenes.remove("film-1").unwrap();
    spring.scenes.clear();
    spring.scenes.insert("film_1".to_owned(), film.clone());
    spring.scenes.insert("f".repeat(120), film);
    let profile = Profile::named("steady").unwrap();
    assert_eq!(Rain::new(&profile, &settings, 1, 10).unwrap_err(), RainError::NothingToGive);
}
