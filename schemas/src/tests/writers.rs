//! Awards of other versions of the schema: older, newer, foreign, and broken.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::limits::AWARD_BYTES_MAX;
use crate::wire::DecodeError;
use crate::writer_schemas::{WriterSchemaError, WriterSchemas};

/// Our schema with other fields.
fn schema_with(change: impl FnOnce(&mut Vec<serde_json::Value>)) -> String {
    let mut schema: serde_json::Value = serde_json::from_str(RecordKind::Award.avsc()).unwrap();
    change(schema["fields"].as_array_mut().unwrap());
    schema.to_string()
}

fn without(names: &[&str]) -> String {
    schema_with(|fields| fields.retain(|field| !names.iter().any(|name| field["name"] == **name)))
}

fn with_more(field: serde_json::Value) -> String {
    schema_with(|fields| fields.push(field))
}

fn with_type(name: &str, field_type: &serde_json::Value) -> String {
    schema_with(|fields| {
        let field = fields.iter_mut().find(|field| field["name"] == name).unwrap();
        field["type"] = field_type.clone();
        field.as_object_mut().unwrap().remove("default");
    })
}

/// The sample's fields as the reference codec writes them, but these.
fn fields(changes: &[(&str, Option<Value>)]) -> Value {
    let award = sample_award();
    let ext: HashMap<String, Value> =
        award.ext.as_ext().iter().map(|(key, value)| (key.to_owned(), text_value(value))).collect();
    let mut fields: BTreeMap<String, Value> = award_fields(&award.as_award(), Value::Map(ext))
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    for (name, value) in changes {
        fields.remove(*name);
        fields.extend(value.clone().map(|value| ((*name).to_owned(), value)));
    }
    Value::Record(fields.into_iter().collect())
}

/// Resolves a record, its parts, and the record with a byte more.
fn resolve(avsc: &str, value: Value) -> Result<AwardBuf, DecodeError> {
    let mut schemas = WriterSchemas::new();
    let fingerprint = schemas.add(avsc).expect("a usable schema");
    let record = reference_encode_with(avsc, value);
    assert_eq!(record[2..10], fingerprint.to_le_bytes());
    assert_eq!(Award::decode(&record), Err(DecodeError::UnknownSchema));
    for cut in 0..record.len() {
        let mut out = vec![1];
        assert!(schemas.resolve(&record[..cut], &mut out).is_err(), "cut at {cut}");
        assert_eq!(out, [1], "cut at {cut}");
    }
    let mut out = Vec::new();
    let longer = [record.as_slice(), &[0]].concat();
    if schemas.resolve(&record, &mut out).is_ok() {
        assert_eq!(schemas.resolve(&longer, &mut Vec::new()), Err(DecodeError::TrailingBytes));
    }
    out.clear();
    schemas.resolve(&record, &mut out)?;
    Award::decode(&out).map(AwardBuf::from)
}

#[test]
fn older_and_newer_versions() {
    let sample = sample_award();
    let plain =
        AwardBuf { reward_id: String::new(), app: String::new(), ext: ExtBuf::new(), ..sample.clone() };
    let absent = [("reward_id", None), ("app", None), ("ext", None)];
    assert_eq!(resolve(&without(&["reward_id", "app", "ext"]), fields(&absent)), Ok(plain));

    let nested = json!({"type": "record", "name": "Where", "fields": [
        {"name": "city", "type": "string"}, {"name": "next", "type": ["null", "Where"]},
    ]});
    let city =
        |next: Value| Value::Record(vec![("city".to_owned(), text_value("上海")), ("next".to_owned(), next)]);
    let here = city(Value::Union(1, Box::new(city(Value::Union(0, Box::new(Value::Null))))));
    for (field_type, value) in [
        (json!("string"), text_value("more")),
        (json!("boolean"), Value::Boolean(true)),
        (json!("double"), Value::Double(0.5)),
        (json!(["null", "string"]), Value::Union(0, Box::new(Value::Null))),
        (json!(["null", "string"]), Value::Union(1, Box::new(text_value("more")))),
        (json!({"type": "array", "items": "int"}), Value::Array(vec![Value::Int(1), Value::Int(-70)])),
        (json!({"type": "enum", "name": "E", "symbols": ["a", "b"]}), Value::Enum(1, "b".to_owned())),
        (json!({"type": "fixed", "name": "F", "size": 3}), Value::Fixed(3, vec![1, 2, 3])),
        (nested, here),
    ] {
        let avsc = with_more(json!({"name": "more", "type": field_type}));
        assert_eq!(resolve(&avsc, fields(&[("more", Some(value))])), Ok(sample.clone()), "{field_type}");
    }
}

#[test]
fn other_orders_and_types_that_fit() {
    let sample = sample_award();
    assert_eq!(resolve(&schema_with(|fields| fields.reverse()), fields(&[])), Ok(sample.clone()));
    let optional = with_type("app", &json!(["null", "string"]));
    let app = |value| fields(&[("app", Some(value))]);
    let some = Value::Union(1, Box::new(text_value("douyin")));
    let none = Value::Union(0, Box::new(Value::Null));
    for (avsc, value, expected) in [
        (
            with_type("amount_minor", &json!("int")),
            fields(&[("amount_minor", Some(Value::Int(1888)))]),
            Ok(sample.clone()),
        ),
        (with_type("app", &json!("bytes")), app(Value::Bytes(b"douyin".to_vec())), Ok(sample.clone())),
        (with_type("app", &json!("bytes")), app(Value::Bytes(vec![0xFF])), Err(DecodeError::Undecodable)),
        (optional.clone(), app(some), Ok(sample)),
        (optional, app(none), Err(DecodeError::Undecodable)),
    ] {
        assert_eq!(resolve(&avsc, value), expected, "{avsc}");
    }
    // Without its logical type a time has our own fingerprint and is ours.
    let mut schemas = WriterSchemas::new();
    let plain_time = schemas.add(&with_type("event_time", &json!("long"))).unwrap();
    assert_eq!(plain_time, RecordKind::Award.fingerprint());
}

#[test]
fn schemas_that_are_no_awards() {
    let micros = json!({"type": "long", "logicalType": "timestamp-micros"});
    for (what, avsc, incompatible) in [
        ("no schema", "{".to_owned(), false),
        ("not a type", "\"text\"".to_owned(), false),
        ("an unknown name", with_more(json!({"name": "more", "type": "Nobody"})), false),
        ("not a record", "\"string\"".to_owned(), true),
        ("another record", RecordKind::Order.avsc().to_owned(), true),
        ("no order number", without(&["order_no"]), true),
        ("no amount", without(&["amount_minor"]), true),
        ("no time", without(&["event_time"]), true),
        ("an amount as text", with_type("amount_minor", &json!("string")), true),
        ("an amount with a fraction", with_type("amount_minor", &json!("double")), true),
        ("microseconds", with_type("event_time", &micros), true),
    ] {
        let error = WriterSchemas::new().add(&avsc).expect_err(what);
        assert_eq!(matches!(error, WriterSchemaError::Incompatible(_)), incompatible, "{what}: {error}");
    }
}

#[test]
fn schemas_not_given_are_unknown() {
    let record = reference_encode_with(&without(&["app"]), fields(&[("app", None)]));
    let mut schemas = WriterSchemas::new();
    schemas.add(&without(&["ext"])).unwrap();
    for (record, expected) in [
        (record.as_slice(), DecodeError::UnknownSchema),
        (&[], DecodeError::EmptyValue),
        (b"{}", DecodeError::UnknownFraming),
    ] {
        assert_eq!(schemas.resolve(record, &mut Vec::new()), Err(expected));
    }
}

#[test]
fn bytes_that_ask_for_much() {
    let recursive =
        json!({"type": "record", "name": "Deep", "fields": [{"name": "next", "type": ["null", "Deep"]}]});
    let nothing = json!({"type": "record", "name": "Nothing", "fields": []});
    let long = |value: i64| {
        let (bytes, len) = crate::wire::encode_long(value);
        bytes[..len].to_vec()
    };
    for (what, field_type, body) in [
        ("a long string", json!("string"), long(1 << 40)),
        ("a negative length", json!("bytes"), long(-1)),
        ("an array of nulls", json!({"type": "array", "items": "null"}), [long(1 << 40), vec![0]].concat()),
        (
            "an array of nothing",
            json!({"type": "array", "items": nothing}),
            [long(100), vec![0; 101]].concat(),
        ),
        ("a map of many", json!({"type": "map", "values": "null"}), long(i64::MIN)),
        ("deep nesting", recursive, vec![2; 100_000]),
        ("a boolean of two", json!("boolean"), vec![2]),
        ("no variant", json!(["null", "int"]), vec![4]),
        ("an int of 64 bits", json!("int"), long(1 << 40)),
        ("no symbol", json!({"type": "enum", "name": "E", "symbols": ["a"]}), vec![2]),
    ] {
        let avsc = with_more(json!({"name": "more", "type": field_type}));
        let mut schemas = WriterSchemas::new();
        let fingerprint = schemas.add(&avsc).expect(what);
        let own = encoded(|out| sample_award().as_award().encode(out));
        let record = [&[0xC3, 0x01], fingerprint.to_le_bytes().as_slice(), &own[10..], &body].concat();
        let mut out = Vec::new();
        let resolved = schemas.resolve(&record, &mut out);
        if what == "an array of nothing" {
            // Items without bytes: as many as bytes follow are harmless, and then bytes are left.
            assert_eq!(resolved, Err(DecodeError::TrailingBytes));
        } else {
            assert_eq!(resolved, Err(DecodeError::Undecodable), "{what}");
        }
    }
    let avsc = without(&["ext"]);
    let mut schemas = WriterSchemas::new();
    schemas.add(&avsc).unwrap();
    let large = fields(&[("ext", None), ("app", Some(text_value(&"x".repeat(AWARD_BYTES_MAX))))]);
    let resolved = schemas.resolve(&reference_encode_with(&avsc, large), &mut Vec::new());
    assert_eq!(resolved, Err(DecodeError::Undecodable));
}

proptest! {
    /// The reference codec's maps have no order; the records made from them do (I4).
    #[test]
    fn the_same_record_gives_the_same_bytes(award in any_award()) {
        let avsc = with_more(json!({"name": "more", "type": "long"}));
        let mut schemas = WriterSchemas::new();
        schemas.add(&avsc).unwrap();
        let own = encoded(|out| award.as_award().encode(out));
        let record = |award: &Award<'_>| {
            let ext: HashMap<String, Value> =
                award.ext.iter().map(|(key, value)| (key.to_owned(), text_value(value))).collect();
            let mut fields = award_fields(award, Value::Map(ext));
            fields.push(("more", Value::Long(7)));
            let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            reference_encode_with(&avsc, Value::Record(fields))
        };
        for _ in 0..3 {
            let mut out = Vec::new();
            schemas.resolve(&record(&award.as_award()), &mut out).unwrap();
            prop_assert_eq!(&out, &own);
        }
    }

    #[test]
    fn changed_bytes_do_no_harm(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let avsc = with_more(json!({"name": "more", "type": ["null", {"type": "array", "items": "string"}]}));
        let mut schemas = WriterSchemas::new();
        schemas.add(&avsc).unwrap();
        let more = Value::Union(1, Box::new(Value::Array(vec![text_value("a"), text_value("b")])));
        let mut record = reference_encode_with(&avsc, fields(&[("more", Some(more))]));
        for (place, byte) in changes {
            let place = place.index(record.len() - 10) + 10;
            record[place] = byte;
        }
        let mut out = Vec::new();
        if schemas.resolve(&record, &mut out).is_ok() {
            prop_assert!(Award::decode(&out).is_ok());
        }
    }
}
