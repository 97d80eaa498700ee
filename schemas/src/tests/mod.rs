//! Tests across modules: samples, generators, and the reference codec to compare with.

mod award;
mod codec;
mod container;
mod control;
mod golden;
mod hostile;
mod journal;
mod json;
mod writers;

use std::collections::BTreeMap;

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{GenericSingleObjectReader, Schema};
use proptest::prelude::*;

use crate::award::{Award, AwardBuf};
use crate::ext::ExtBuf;
use crate::record::RecordKind;
use crate::wire::header;
use crate::writer_schemas::fingerprints;

/// A record of our schema as the reference codec writes it.
fn reference_encode(kind: RecordKind, fields: Vec<(&str, Value)>) -> Vec<u8> {
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    reference_encode_with(kind.avsc(), Value::Record(fields))
}

/// A record of any schema as the reference codec writes it.
fn reference_encode_with(avsc: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(avsc).expect("schema");
    let [specified, _] = fingerprints(avsc).expect("fingerprints");
    let mut record = header(specified).to_vec();
    let writer = GenericDatumWriter::builder(&schema).build().expect("writer");
    record.extend(writer.write_value_to_vec(value).expect("value"));
    record
}

/// A record of our schema as the reference codec reads it; it does not mind trailing bytes.
fn reference_decode(kind: RecordKind, record: &[u8]) -> Option<Value> {
    let schema = Schema::parse_str(kind.avsc()).expect("schema");
    let header = header(kind.fingerprint()).to_vec();
    let reader =
        GenericSingleObjectReader::builder().schema(schema.clone()).header(header).build().expect("reader");
    reader.read_value(&mut &*record).ok().filter(|value| value.validate(&schema))
}

fn text_value(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// The fields of an award for the reference codec, its pairs in the order of `ext`'s own map.
fn award_fields(award: &Award<'_>, ext: Value) -> Vec<(&'static str, Value)> {
    vec![
        ("order_no", text_value(award.order_no)),
        ("act_id", text_value(award.act_id)),
        ("activity_id", text_value(award.activity_id)),
        ("scene_id", text_value(award.scene_id)),
        ("reward_type", text_value(award.reward_type)),
        ("reward_id", text_value(award.reward_id)),
        ("amount_minor", Value::Long(award.amount_minor)),
        ("event_time", Value::TimestampMillis(award.event_time_ms)),
        ("app", text_value(award.app)),
        ("ext", ext),
    ]
}

/// An ordinary award.
fn sample_award() -> AwardBuf {
    AwardBuf {
        order_no: "u_1001_rain-1_r3_cash_1".to_owned(),
        act_id: "u_1001".to_owned(),
        activity_id: "spring-2027".to_owned(),
        scene_id: "rain-1".to_owned(),
        reward_type: "cash".to_owned(),
        reward_id: "tpl-9".to_owned(),
        amount_minor: 1888,
        event_time_ms: 1_801_915_200_250,
        app: "douyin".to_owned(),
        ext: [("device", "红米"), ("round", "3")].into_iter().collect(),
    }
}

prop_compose! {
    /// Any text, often empty, seldom long.
    fn any_text()(text in prop_oneof![
        4 => "[a-z0-9_.:-]{0,24}",
        2 => "\\PC{0,8}",
        1 => "[a-z]{60,70}",
        1 => "\\PC{250,260}",
    ]) -> String {
        text
    }
}

/// Any number, with every length of its encoding.
fn any_long() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), (any::<i64>(), 0..64u32).prop_map(|(value, shift)| value >> shift)]
}

fn any_pairs() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map(any_text(), any_text(), 0..5)
}

fn any_award() -> impl Strategy<Value = AwardBuf> {
    let texts = (any_text(), any_text(), any_text(), any_text(), any_text(), any_text(), any_text());
    (texts, any_long(), any_long(), any_pairs()).prop_map(|(texts, amount_minor, event_time_ms, pairs)| {
        let (order_no, act_id, activity_id, scene_id, reward_type, reward_id, app) = texts;
        AwardBuf {
            order_no,
            act_id,
            activity_id,
            scene_id,
            reward_type,
            reward_id,
            amount_minor,
            event_time_ms,
            app,
            ext: ExtBuf::from_map(&pairs),
        }
    })
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    // What is already in the buffer must stay.
    let mut out = b"before".to_vec();
    encode(&mut out);
    assert_eq!(out.drain(..6).as_slice(), b"before");
    out
}
