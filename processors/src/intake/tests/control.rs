//! Ticks and settings: time, numbers, MACs.

use hongbao_schemas::control::{Control, ControlKey, ControlKind};
use hongbao_schemas::journal::Fact;
use hongbao_schemas::refusal::Refusal;

use super::harness::{Harness, PARTITION, award, control, settings, settings_json, settings_with_lane, tick};
use crate::intake::{Counts, Verdict};

/// Facts about time and settings: the time after a tick, or the number of settings.
fn system_facts(harness: &Harness) -> Vec<(&'static str, i64)> {
    harness
        .topic("journal")
        .into_iter()
        .filter_map(|record| match Fact::decode(record).unwrap() {
            Fact::Ticked(fact) => Some(("ticked", fact.at_ms)),
            Fact::SettingsChanged(fact) => Some(("settings", fact.number)),
            _ => None,
        })
        .collect()
}

#[test]
fn ticks_move_time_forward_by_at_most_five_minutes() {
    let mut harness = Harness::new();
    // (number, time of the tick, time after it; none for a number that is not new)
    let ticks = [
        (0, 5, None),
        (1, 1_000_000, Some(1_000_000)),
        (2, 1_000_500, Some(1_000_500)),
        (2, 1_000_900, None),
        (1, 1_000_900, None),
        (3, 1_000_000, Some(1_000_500)),
        (9, 9_000_000, Some(1_300_500)),
        (10, 9_000_000, Some(1_600_500)),
    ];
    let mut expected = Vec::new();
    for (number, at_ms, after_ms) in ticks {
        assert_eq!(harness.feed(&[tick(number, at_ms)]), [Verdict::Control]);
        expected.extend(after_ms.map(|after_ms| ("ticked", after_ms)));
        assert_eq!(system_facts(&harness), expected, "tick {number}");
    }
    assert_eq!(harness.board.counts(), Counts::default(), "ticks are no awards");
}

#[test]
fn settings_take_effect_by_ascending_number() {
    let mut harness = Harness::new();
    for number in [2, 2, 1, 7, 3] {
        assert_eq!(harness.feed(&[settings(number)]), [Verdict::Control]);
    }
    assert_eq!(system_facts(&harness), [("settings", 2), ("settings", 7)]);
    assert_eq!(harness.board.counts(), Counts::default());
}

#[test]
fn settings_decide_from_their_offset_on_even_within_a_batch() {
    let mut harness = Harness::new();
    let award = super::harness::encoded(&award().as_award());
    let without = settings_json(2).replace("\"spring\"", "\"summer\"");
    let later = control(ControlKind::Settings, PARTITION.0, 2, 0, without.as_bytes());
    let verdicts = harness.feed(&[award.clone(), settings(1), award.clone(), later, award]);
    let unknown = Verdict::Rejected(Refusal::UnknownActivity);
    assert_eq!(verdicts, [unknown, Verdict::Control, Verdict::Accepted, Verdict::Control, unknown]);
}

#[test]
fn a_new_lane_takes_the_orders_from_its_settings_on() {
    let mut harness = Harness::with_settings();
    let film = |stage: u32| hongbao_schemas::award::AwardBuf {
        order_no: format!("a_film_r1_film_{stage}"),
        scene_id: "film".to_owned(),
        reward_type: "film".to_owned(),
        amount_minor: 1,
        ..award()
    };
    assert_eq!(harness.feed_award(&film(1)), Verdict::Accepted);
    let moved = settings_with_lane(2, "a-cinema");
    harness.feed(&[control(ControlKind::Settings, PARTITION.0, 2, 0, moved.as_bytes())]);
    assert_eq!(harness.feed_award(&film(2)), Verdict::Accepted);
    assert_eq!(harness.feed_award(&film(1)), Verdict::Duplicate, "wherever its order went");
    assert_eq!(harness.topic("orders.coupon").len(), 1);
    assert_eq!(harness.topic("orders.a-cinema").len(), 1);
}

#[test]
fn control_records_that_do_not_fit_change_nothing_and_are_put_aside() {
    let forged = {
        let mut record = Vec::new();
        let other_key = ControlKey::new([8; 32]);
        Control::seal(ControlKind::Tick, PARTITION.0, 5, 99, b"", &other_key).encode(&mut record);
        record
    };
    let mut changed = settings(5);
    let place = changed.windows(3).position(|bytes| bytes == b"200").unwrap();
    changed[place] = b'9';
    let of_body = |body: &str| control(ControlKind::Settings, PARTITION.0, 5, 0, body.as_bytes());
    let cases = [
        ("forged", forged, "undecodable"),
        ("a higher cap", changed, "undecodable"),
        ("other partition", control(ControlKind::Tick, 1, 5, 99, b""), "wrong_partition"),
        ("not JSON", of_body("{"), "undecodable"),
        ("other number", of_body(&settings_json(6)), "undecodable"),
        (
            "no such type",
            of_body(&settings_json(5).replace("\"film\": {\"asset", "\"x\": {\"asset")),
            "undecodable",
        ),
        ("bad lane", of_body(&settings_with_lane(5, "Coupon!")), "undecodable"),
    ];
    for (name, record, code) in cases {
        let mut harness = Harness::with_settings();
        let facts = system_facts(&harness);
        assert_eq!(harness.feed(std::slice::from_ref(&record)), [Verdict::Undecodable], "{name}");
        let letters = harness.topic("dlq.intake");
        let letter = hongbao_schemas::dead_letter::DeadLetter::decode(letters[0]).unwrap();
        assert_eq!((letter.code, letter.bytes), (code, &record[..]), "{name}");
        assert_eq!(system_facts(&harness), facts, "{name}");
        // The number is still free.
        assert_eq!(harness.feed(&[settings(5), tick(5, 99)]), [Verdict::Control; 2], "{name}");
        assert_eq!(system_facts(&harness)[1..], [("settings", 5), ("ticked", 99)], "{name}");
    }
}
