//! Every hand-written codec against `apache-avro`: the same bytes, and back.

use std::collections::HashMap;

use apache_avro::types::Value;
use proptest::prelude::*;

use super::*;
use crate::control::{Control, ControlKey, ControlKind};
use crate::dead_letter::DeadLetter;
use crate::journal::{
    Accepted, Conflict, CreditFact, CreditStage, Fact, Opened, RangesBuf, Rejected, SeqRange,
    SettingsChanged, Ticked,
};
use crate::limits::{FACT_TEXT_BYTES_MAX, cut};
use crate::order::Order;

/// The map's pairs in its own order, for the reference codec and for ours.
fn same_order(ext: &ExtBuf) -> (Value, ExtBuf) {
    let map: HashMap<String, Value> =
        ext.as_ext().iter().map(|(key, value)| (key.to_owned(), text_value(value))).collect();
    let pairs = map.iter().map(|(key, value)| match value {
        Value::String(value) => (key.as_str(), value.as_str()),
        _ => (key.as_str(), ""),
    });
    let ours = ExtBuf::from_distinct(pairs, map.len());
    (Value::Map(map), ours)
}

fn cut_value(text: &str) -> Value {
    text_value(cut(text, FACT_TEXT_BYTES_MAX))
}

proptest! {
    #[test]
    fn award(mut award in any_award()) {
        let (ext, ours) = same_order(&award.ext);
        award.ext = ours;
        let record = encoded(|out| award.as_award().encode(out));
        prop_assert_eq!(&record, &reference_encode(RecordKind::Award, award_fields(&award.as_award(), ext)));
        let decoded = Award::decode(&record).unwrap();
        prop_assert_eq!(decoded, award.as_award());
        prop_assert!(record.len() <= award.as_award().encoded_bytes_max());
        prop_assert_eq!(AwardBuf::from(decoded), award);
    }

    #[test]
    fn accepted(
        mut award in any_award(),
        (asset, lane) in (any_text(), any_text()),
        (lane_seq, award_offset, at_ms) in (any_long(), any_long(), any_long()),
    ) {
        let (ext, ours) = same_order(&award.ext);
        award.ext = ours;
        let fact = Accepted { award: award.as_award(), asset: &asset, lane: &lane, lane_seq, award_offset, at_ms };
        let record = encoded(|out| fact.encode(out));
        let mut fields = award_fields(&award.as_award(), ext);
        fields.extend([
            ("asset", text_value(&asset)),
            ("lane", text_value(&lane)),
            ("lane_seq", Value::Long(lane_seq)),
            ("award_offset", Value::Long(award_offset)),
            ("at", Value::TimestampMillis(at_ms)),
        ]);
        prop_assert_eq!(&record, &reference_encode(RecordKind::Accepted, fields));
        prop_assert_eq!(Fact::decode(&record).unwrap(), Fact::Accepted(fact));
        prop_assert_eq!(encoded(|out| Fact::Accepted(fact).encode(out)), record);
    }

    #[test]
    fn order(
        (order_no, act_id, reward_type) in (any_text(), any_text(), any_text()),
        (reward_id, asset) in (any_text(), any_text()),
        (amount_minor, accepted_at_ms) in (any_long(), any_long()),
    ) {
        let order = Order {
            order_no: &order_no,
            act_id: &act_id,
            reward_type: &reward_type,
            reward_id: &reward_id,
            asset: &asset,
            amount_minor,
            accepted_at_ms,
        };
        let record = encoded(|out| order.encode(out));
        prop_assert_eq!(&record, &reference_encode(RecordKind::Order, vec![
            ("order_no", text_value(&order_no)),
            ("act_id", text_value(&act_id)),
            ("reward_type", text_value(&reward_type)),
            ("reward_id", text_value(&reward_id)),
            ("asset", text_value(&asset)),
            ("amount_minor", Value::Long(amount_minor)),
            ("accepted_at", Value::TimestampMillis(accepted_at_ms)),
        ]));
        prop_assert_eq!(Order::decode(&record).unwrap(), order);
    }

    #[test]
    fn rejected_and_conflict(
        award in any_award(),
        code in any_text(),
        (award_offset, at_ms) in (any_long(), any_long()),
    ) {
        let award = award.as_award();
        let texts = |tail: Vec<(&'static str, Value)>| {
            let mut fields = vec![
                ("order_no", cut_value(award.order_no)),
                ("act_id", cut_value(award.act_id)),
                ("activity_id", cut_value(award.activity_id)),
                ("scene_id", cut_value(award.scene_id)),
                ("reward_type", cut_value(award.reward_type)),
                ("reward_id", cut_value(award.reward_id)),
                ("amount_minor", Value::Long(award.amount_minor)),
            ];
            fields.extend(tail);
            fields.extend([("award_offset", Value::Long(award_offset)), ("at", Value::TimestampMillis(at_ms))]);
            fields
        };
        let conflict = Conflict::of(&award, award_offset, at_ms);
        let record = encoded(|out| conflict.encode(out));
        prop_assert_eq!(&record, &reference_encode(RecordKind::Conflict, texts(vec![])));
        let Fact::Conflict(decoded) = Fact::decode(&record).unwrap() else { panic!("not a conflict") };
        prop_assert_eq!(&encoded(|out| Fact::Conflict(decoded).encode(out)), &record);
        prop_assert_eq!(decoded.order_no, cut(award.order_no, FACT_TEXT_BYTES_MAX));

        let rejected = Rejected { code: &code, ..Rejected::of(&award, crate::refusal::Refusal::UnknownScene, award_offset, at_ms) };
        let record = encoded(|out| rejected.encode(out));
        prop_assert_eq!(&record, &reference_encode(RecordKind::Rejected, texts(vec![("code", cut_value(&code))])));
        let Fact::Rejected(decoded) = Fact::decode(&record).unwrap() else { panic!("not a rejection") };
        prop_assert_eq!(&encoded(|out| Fact::Rejected(decoded).encode(out)), &record);
        prop_assert_eq!(decoded.scene_id, cut(award.scene_id, FACT_TEXT_BYTES_MAX));
    }

    #[test]
    fn time_and_settings(
        (at_ms, award_offset, number) in (any_long(), any_long(), any_long()),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let ticked = Fact::Ticked(Ticked { at_ms, award_offset });
        let record = encoded(|out| ticked.encode(out));
        prop_assert_eq!(&record, &reference_encode(RecordKind::Ticked, vec![
            ("at", Value::TimestampMillis(at_ms)),
            ("award_offset", Value::Long(award_offset)),
        ]));
        prop_assert_eq!(Fact::decode(&record).unwrap(), ticked);

        let changed = Fact::SettingsChanged(SettingsChanged { number, body: &body, award_offset, at_ms });
        let record = encoded(|out| changed.encode(out));
        prop_assert_eq!(&record, &reference_encode(RecordKind::SettingsChanged, vec![
            ("number", Value::Long(number)),
            ("body", Value::Bytes(body.clone())),
            ("award_offset", Value::Long(award_offset)),
            ("at", Value::TimestampMillis(at_ms)),
        ]));
        prop_assert_eq!(Fact::decode(&record).unwrap(), changed);
        prop_assert_eq!(Fact::decode(&record).unwrap().at_ms(), at_ms);
    }

    #[test]
    fn opened(source in any_text(), writer in any::<[u8; 16]>(), (epoch, at_ms) in (any_long(), any_long())) {
        let opened = Fact::Opened(Opened { source: &source, writer, epoch, at_ms });
        let record = encoded(|out| opened.encode(out));
        prop_assert_eq!(&record, &reference_encode(RecordKind::Opened, vec![
            ("source", text_value(&source)),
            ("writer", Value::Fixed(16, writer.to_vec())),
            ("epoch", Value::Long(epoch)),
            ("at", Value::TimestampMillis(at_ms)),
        ]));
        prop_assert_eq!(Fact::decode(&record).unwrap(), opened);
    }

    #[test]
    fn credit(
        stage in proptest::sample::select(CreditStage::ALL.as_slice()),
        (lane, reason, at_ms) in (any_text(), any_text(), any_long()),
        ranges in proptest::collection::vec((1..1000i64, 1..1000i64), 0..6),
    ) {
        let mut buf = RangesBuf::new();
        for (first, count) in ranges {
            buf.push(SeqRange::new(first, count).unwrap());
        }
        let ranges = buf.as_ranges();
        let fact = CreditFact { stage, lane: &lane, at_ms, ranges, reason: &reason };
        let record = encoded(|out| fact.encode(out));
        let range = |range: SeqRange| Value::Record(vec![
            ("first".to_owned(), Value::Long(range.first())),
            ("count".to_owned(), Value::Long(range.count())),
        ]);
        prop_assert_eq!(&record, &reference_encode(RecordKind::Credit, vec![
            ("stage", Value::Enum(stage as u32, stage.as_str().to_owned())),
            ("lane", text_value(&lane)),
            ("at", Value::TimestampMillis(at_ms)),
            ("ranges", Value::Array(ranges.iter().map(range).collect())),
            ("reason", cut_value(&reason)),
        ]));
        let expected = CreditFact { reason: cut(&reason, FACT_TEXT_BYTES_MAX), ..fact };
        prop_assert_eq!(Fact::decode(&record).unwrap(), Fact::Credit(expected));
    }

    #[test]
    fn control(
        kind in proptest::sample::select(ControlKind::ALL.as_slice()),
        (partition, number, at_ms) in (any::<u16>(), any_long(), any_long()),
        (body, key) in (proptest::collection::vec(any::<u8>(), 0..200), any::<[u8; 32]>()),
    ) {
        let control = Control::seal(kind, partition, number, at_ms, &body, &ControlKey::new(key));
        let record = encoded(|out| control.encode(out));
        prop_assert_eq!(&record, &reference_encode(RecordKind::Control, vec![
            ("kind", Value::Enum(kind as u32, kind.as_str().to_owned())),
            ("partition", Value::Int(i32::from(partition))),
            ("number", Value::Long(number)),
            ("at", Value::TimestampMillis(at_ms)),
            ("body", Value::Bytes(body.clone())),
            ("mac", Value::Fixed(32, control.mac.to_vec())),
        ]));
        prop_assert_eq!(Control::decode(&record).unwrap(), control);
        let (sealed, mac) = record.split_at(record.len() - 32);
        let expected = blake3::keyed_hash(&key, sealed);
        prop_assert_eq!(mac, expected.as_bytes());
    }

    #[test]
    fn dead_letter(
        (stage, code, topic) in (any_text(), any_text(), any_text()),
        (partition, offset) in (any_long(), any_long()),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let letter = DeadLetter { stage: &stage, code: &code, topic: &topic, partition, offset, bytes: &bytes };
        let record = encoded(|out| letter.encode(out));
        prop_assert_eq!(&record, &reference_encode(RecordKind::DeadLetter, vec![
            ("stage", text_value(&stage)),
            ("code", text_value(&code)),
            ("topic", text_value(&topic)),
            ("partition", Value::Long(partition)),
            ("offset", Value::Long(offset)),
            ("bytes", Value::Bytes(bytes.clone())),
        ]));
        prop_assert_eq!(DeadLetter::decode(&record).unwrap(), letter);
    }
}
