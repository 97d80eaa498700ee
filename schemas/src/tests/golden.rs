//! Version 1 of every stored form, frozen: records on disk were written like this.

use super::*;
use crate::award_json::to_json;
use crate::control::{Control, ControlKey, ControlKind};
use crate::dead_letter::DeadLetter;
use crate::journal::{
    Accepted, Conflict, CreditFact, CreditStage, Opened, RangesBuf, Rejected, SeqRange, SettingsChanged,
    Ticked,
};
use crate::order::Order;
use crate::order_no::OrderNo;
use crate::refusal::Refusal;
use crate::render;
use crate::settings::Settings;

const AT_MS: i64 = 1_801_915_260_000;
const SETTINGS: &[u8] = include_bytes!("../../golden/v1/settings.json");

/// One record of each kind.
pub(super) fn samples() -> Vec<(RecordKind, Vec<u8>)> {
    RecordKind::ALL.into_iter().map(|kind| (kind, encoded(|out| encode_sample(kind, out)))).collect()
}

fn encode_sample(kind: RecordKind, out: &mut Vec<u8>) {
    let award = sample_award();
    let award = award.as_award();
    let key = ControlKey::new([7; 32]);
    let mut ranges = RangesBuf::new();
    for (first, count) in [(1, 1000), (1002, 64)] {
        ranges.push(SeqRange::new(first, count).unwrap());
    }
    match kind {
        RecordKind::Award => award.encode(out),
        RecordKind::Control => {
            Control::seal(ControlKind::Settings, 3, 12, AT_MS, SETTINGS, &key).encode(out);
        }
        RecordKind::Order => Order {
            order_no: award.order_no,
            act_id: award.act_id,
            reward_type: award.reward_type,
            reward_id: award.reward_id,
            asset: "CNY/2",
            amount_minor: award.amount_minor,
            accepted_at_ms: AT_MS,
        }
        .encode(out),
        RecordKind::Accepted => {
            Accepted {
                award,
                asset: "CNY/2",
                lane: "cash",
                lane_seq: 4711,
                award_offset: 88_123,
                at_ms: AT_MS,
            }
            .encode(out);
        }
        RecordKind::Rejected => Rejected::of(&award, Refusal::AmountAboveCap, 88_124, AT_MS).encode(out),
        RecordKind::Conflict => Conflict::of(&award, 88_125, AT_MS).encode(out),
        RecordKind::Ticked => Ticked { at_ms: AT_MS, award_offset: 88_126 }.encode(out),
        RecordKind::SettingsChanged => {
            SettingsChanged { number: 12, body: SETTINGS, award_offset: 88_127, at_ms: AT_MS }.encode(out);
        }
        RecordKind::Opened => {
            let writer = *b"0123456789abcdef";
            Opened { source: "sink.cash", writer, epoch: 2, at_ms: AT_MS }.encode(out);
        }
        RecordKind::Credit => {
            let (stage, reason) = (CreditStage::Reported, "key life is over");
            CreditFact { stage, lane: "cash", at_ms: AT_MS, ranges: ranges.as_ranges(), reason }.encode(out);
        }
        RecordKind::DeadLetter => DeadLetter {
            stage: "intake",
            code: "unknown_framing",
            topic: "awards",
            partition: 3,
            offset: 88_128,
            bytes: b"{}\xFF",
        }
        .encode(out),
    }
}

/// Hexadecimal bytes, and the record as it is rendered.
fn golden(kind: RecordKind) -> (&'static str, &'static str) {
    macro_rules! files {
        ($name:literal) => {
            (
                include_str!(concat!("../../golden/v1/", $name, ".hex")),
                include_str!(concat!("../../golden/v1/", $name, ".json")),
            )
        };
    }
    match kind {
        RecordKind::Award => files!("award"),
        RecordKind::Control => files!("control"),
        RecordKind::Order => files!("order"),
        RecordKind::Accepted => files!("accepted"),
        RecordKind::Rejected => files!("rejected"),
        RecordKind::Conflict => files!("conflict"),
        RecordKind::Ticked => files!("ticked"),
        RecordKind::SettingsChanged => files!("settings_changed"),
        RecordKind::Opened => files!("opened"),
        RecordKind::Credit => files!("credit"),
        RecordKind::DeadLetter => files!("dead_letter"),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn hex_lines(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| chunk.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(40).map(line).collect()
}

#[test]
fn records_are_written_as_ever() {
    for (kind, record) in samples() {
        assert_eq!(hex_lines(&record), golden(kind).0, "golden/v1/{}.hex", kind.name());
    }
}

#[test]
fn records_of_version_1_are_read() {
    for kind in RecordKind::ALL {
        let (hex, json) = golden(kind);
        let record = unhex(hex);
        let (found, value) = render::record(&record).unwrap();
        assert_eq!(found, kind);
        let expected: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(value, expected, "golden/v1/{}.json", kind.name());
    }
}

#[test]
fn settings_are_written_as_ever() {
    let settings = Settings::from_json(SETTINGS).unwrap();
    assert_eq!(String::from_utf8(settings.to_json().unwrap()).unwrap().as_bytes(), SETTINGS);
    assert_eq!(settings.reward_types["cash"].asset.as_str(), "CNY/2");
}

/// Not records, but in the state store for ever.
#[test]
fn keys_and_digests_are_as_ever() {
    let award = sample_award();
    let mut key = Vec::new();
    OrderNo::parse(&award.order_no).unwrap().store_key(&mut key);
    let lines = [
        format!("store_key {}", hex_lines(&key)),
        format!("payload_digest {}", hex_lines(&award.as_award().payload_digest())),
        format!("json {}\n", to_json(&award.as_award())),
    ];
    assert_eq!(lines.concat(), include_str!("../../golden/v1/award.txt"));
}
