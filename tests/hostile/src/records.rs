//! Records of our own schemas, and order numbers.

use std::collections::BTreeMap;

use hongbao_schemas::award::{Award, AwardBuf};
use hongbao_schemas::award_json;
use hongbao_schemas::control::{Control, ControlKey, Input, decode_input};
use hongbao_schemas::dead_letter::DeadLetter;
use hongbao_schemas::ext::ExtBuf;
use hongbao_schemas::journal::Fact;
use hongbao_schemas::limits::FACT_TEXT_BYTES_MAX;
use hongbao_schemas::order::Order;
use hongbao_schemas::order_no::OrderNo;
use hongbao_schemas::record::RecordKind;
use hongbao_schemas::{DecodeError, render};

use crate::meter::{Bound, bounded};
use crate::reference;

/// Values of the JSON form beside the text itself.
const RENDER: Bound = Bound { factor: 512, base: 64 << 10 };
/// 0001-01-01 to 9999-12-31: times outside are numbers in JSON, and are read as such.
const RFC3339_MS: std::ops::Range<i64> = -62_135_596_800_000..253_402_300_800_000;

fn key() -> ControlKey {
    ControlKey::new([7; 32])
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

pub(crate) fn award(bytes: &[u8]) {
    let decoded = bounded(Bound::RULE, bytes.len(), || Award::decode(bytes));
    let Ok(award) = decoded else {
        let input = bounded(Bound::RULE, bytes.len(), || decode_input(bytes, &key()));
        assert!(!matches!(input, Ok(Input::Award(_))), "violation: an award by one way only");
        return;
    };
    let again = encoded(|out| award.encode(out));
    assert!(again.len() <= award.encoded_bytes_max(), "violation: longer than promised");
    assert!(Award::decode(&again) == Ok(award), "violation: another award after a round trip");
    assert!(decode_input(bytes, &key()) == Ok(Input::Award(award)), "violation: ways differ");
    reference::agree(RecordKind::Award, bytes, &again);
    let buf = AwardBuf::from(award);
    assert!(buf.as_award() == award, "violation: the owned award differs");
    assert!(buf.as_award().payload_digest() == award.payload_digest(), "violation: digests differ");
    json_round_trip(&buf);
}

/// The JSON form can be given to the API, which reads the same award.
fn json_round_trip(award: &AwardBuf) {
    if !RFC3339_MS.contains(&award.event_time_ms) {
        return;
    }
    let text = award_json::to_json(&award.as_award());
    let pairs: BTreeMap<&str, &str> = award.ext.as_ext().iter().collect();
    let expected = AwardBuf { ext: ExtBuf::from_map(&pairs), ..award.clone() };
    let read = award_json::parse_award(text.as_bytes());
    assert!(read.as_ref() == Ok(&expected), "violation: {read:?} instead of {expected:?}");
}

pub(crate) fn journal(bytes: &[u8]) {
    let Ok(fact) = bounded(Bound::RULE, bytes.len(), || Fact::decode(bytes)) else { return };
    let again = encoded(|out| fact.encode(out));
    let Ok(read) = Fact::decode(&again) else { panic!("violation: cannot be read again") };
    let (kind, kind_again) = (RecordKind::of(bytes), RecordKind::of(&again));
    assert!(kind == kind_again && read.at_ms() == fact.at_ms(), "violation: another fact");
    // Texts are cut when they are written, so only what is not cut comes back whole.
    if is_uncut(&fact) {
        assert!(read == fact, "violation: another fact after a round trip");
        if let Ok(kind) = kind {
            reference::agree(kind, bytes, &again);
        }
    }
    assert!(encoded(|out| read.encode(out)) == again, "violation: written in two ways");
    if let Fact::Credit(credit) = fact {
        let total = credit.ranges.iter().fold(0_i128, |sum, range| sum + i128::from(range.count()));
        assert!(i128::from(credit.ranges.total()) == total.min(i64::MAX.into()), "violation: total");
    }
}

fn is_uncut(fact: &Fact<'_>) -> bool {
    let short = |text: &&str| text.len() <= FACT_TEXT_BYTES_MAX;
    match fact {
        Fact::Rejected(f) => {
            [f.order_no, f.act_id, f.activity_id, f.scene_id, f.reward_type, f.reward_id, f.code]
                .iter()
                .all(short)
        }
        Fact::Conflict(f) => {
            [f.order_no, f.act_id, f.activity_id, f.scene_id, f.reward_type, f.reward_id].iter().all(short)
        }
        Fact::Credit(f) => short(&f.reason),
        _ => true,
    }
}

fn rewritten(kind: RecordKind, record: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(record.len() + 64);
    match kind {
        RecordKind::Award => Award::decode(record)?.encode(&mut out),
        RecordKind::Control => Control::decode(record)?.encode(&mut out),
        RecordKind::Order => Order::decode(record)?.encode(&mut out),
        RecordKind::DeadLetter => DeadLetter::decode(record)?.encode(&mut out),
        _ => Fact::decode(record)?.encode(&mut out),
    }
    Ok(out)
}

/// Every kind of record: as the journal, and shown as JSON.
pub(crate) fn record(bytes: &[u8]) {
    let shown = bounded(RENDER, bytes.len(), || render::record(bytes));
    let Ok(kind) = RecordKind::of(bytes) else {
        assert!(shown.is_err(), "violation: shown without a kind");
        return;
    };
    let read = bounded(Bound::RULE, bytes.len(), || rewritten(kind, bytes));
    assert!(read.is_ok() == shown.is_ok(), "violation: read and shown differ");
    let Ok(again) = read else { return };
    assert!(rewritten(kind, &again).as_ref() == Ok(&again), "violation: written in two ways");
    match kind {
        RecordKind::Order | RecordKind::DeadLetter | RecordKind::Control => {
            reference::agree(kind, bytes, &again);
        }
        _ => (),
    }
    if let Ok(control) = Control::decode(bytes) {
        let sealed = Control::seal(
            control.kind,
            control.partition,
            control.number,
            control.at_ms,
            control.body,
            &key(),
        );
        let followed = decode_input(bytes, &key());
        assert!(control.verify(&key()) == (sealed.mac == control.mac), "violation: MAC");
        assert!(followed.is_ok() == control.verify(&key()), "violation: followed without its MAC");
    }
}

pub(crate) fn order_no(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parsed = bounded(Bound::RULE, bytes.len(), || OrderNo::parse(text));
    let mut parts: Vec<&str> = text.rsplitn(5, '_').collect();
    parts.reverse();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    let good = text.len() <= 128
        && text.chars().all(allowed)
        && parts.len() == 5
        && parts.iter().all(|part| !part.is_empty());
    assert!(parsed.is_ok() == good, "violation: {text:?} {parsed:?}");
    let Ok(number) = parsed else { return };
    let found = [number.act_id(), number.scene_id(), number.rain_id(), number.award_type(), number.stage()];
    assert!(parts == found, "violation: parts {found:?}");
    let [act, scene, rain, award_type, stage] = found;
    let joined = OrderNo::join(act, scene, rain, award_type, stage);
    assert!(joined.as_deref() == Ok(text), "violation: {joined:?}");
    let mut key = Vec::new();
    number.store_key(&mut key);
    let key_parts: Vec<&[u8]> = key.split(|byte| *byte == 0).collect();
    let expected = [scene, act, rain, award_type, stage].map(str::as_bytes);
    assert!(key_parts == expected, "violation: store key");
}
