//! The topic `awards`: what is an award, what is a genuine control record, and what is neither.

use super::*;
use crate::control::{Control, ControlKey, ControlKind, Input, decode_input};
use crate::journal::{Fact, Ticked};
use crate::limits::AWARD_BYTES_MAX;
use crate::wire::{DecodeError, HEADER_BYTES};

const KEY: ControlKey = ControlKey::new([7; 32]);

fn sealed() -> Control<'static> {
    Control::seal(ControlKind::Settings, 3, 12, 1_801_915_200_250, b"{}", &KEY)
}

#[test]
fn inputs() {
    let award = sample_award();
    let record = encoded(|out| award.as_award().encode(out));
    assert_eq!(decode_input(&record, &KEY), Ok(Input::Award(award.as_award())));
    let record = encoded(|out| sealed().encode(out));
    assert_eq!(decode_input(&record, &KEY), Ok(Input::Control(sealed())));
}

/// `apache-avro` for Rust has its own idea of a canonical form; its producers are understood.
#[test]
fn awards_written_by_rust() {
    let award = sample_award();
    let fields = award_fields(&award.as_award(), Value::Map(Default::default()));
    let specified = reference_encode(RecordKind::Award, fields);
    let [_, by_rust] = fingerprints(RecordKind::Award.avsc()).unwrap();
    let mut record = header(by_rust).to_vec();
    record.extend(&specified[HEADER_BYTES..]);
    assert_ne!(record, specified);
    let expected = Award { ext: crate::ext::Ext::EMPTY, ..award.as_award() };
    assert_eq!(Award::decode(&record), Ok(expected));
    assert_eq!(decode_input(&record, &KEY), Ok(Input::Award(expected)));
    assert_eq!(RecordKind::of(&record), Ok(RecordKind::Award));
    assert_eq!(encoded(|out| expected.encode(out)), specified);
}

#[test]
fn a_seal_holds_every_field() {
    let changes: [fn(&mut Control<'_>); 7] = [
        |control| control.kind = ControlKind::Tick,
        |control| control.partition += 1,
        |control| control.number += 1,
        |control| control.at_ms += 1,
        |control| control.body = b"{ }",
        |control| control.mac[0] ^= 1,
        |control| control.mac[31] ^= 128,
    ];
    assert!(sealed().verify(&KEY));
    assert!(!sealed().verify(&ControlKey::new([8; 32])));
    for (index, change) in changes.into_iter().enumerate() {
        let mut control = sealed();
        change(&mut control);
        assert!(!control.verify(&KEY), "change {index}");
        let record = encoded(|out| control.encode(out));
        assert_eq!(decode_input(&record, &KEY), Err(DecodeError::Undecodable), "change {index}");
        assert_eq!(Control::decode(&record), Ok(control), "change {index}");
    }
}

#[test]
fn a_key_is_not_printed() {
    assert_eq!(format!("{KEY:?}"), "ControlKey(..)");
}

#[test]
fn everything_else_has_a_code() {
    let award = encoded(|out| sample_award().as_award().encode(out));
    let control = encoded(|out| sealed().encode(out));
    let fact = encoded(|out| Fact::Ticked(Ticked { at_ms: 1, award_offset: 2 }).encode(out));
    let mut too_large = sample_award();
    too_large.app = "x".repeat(AWARD_BYTES_MAX);
    let large_body = vec![0; AWARD_BYTES_MAX];
    let large_control = Control::seal(ControlKind::Settings, 3, 12, 1, &large_body, &KEY);
    let padded = |record: &[u8]| [record, &[0]].concat();
    let with = |place: usize, byte: u8| {
        let mut record = award.clone();
        record[place] = byte;
        record
    };
    for (what, record, expected) in [
        ("nothing", vec![], "empty_value"),
        ("one byte", vec![0xC3], "unknown_framing"),
        ("half a fingerprint", award[..HEADER_BYTES - 1].to_vec(), "unknown_framing"),
        ("another marker", with(0, 0xC2), "unknown_framing"),
        ("another version of the marker", with(1, 2), "unknown_framing"),
        ("confluent framing", [&[0, 0, 0, 0, 9], &award[HEADER_BYTES..]].concat(), "unknown_framing"),
        ("json", b"{\"order_no\": \"a_s_r_t_1\"}".to_vec(), "unknown_framing"),
        ("another fingerprint", with(2, 0), "unknown_schema"),
        ("a fact", fact, "unknown_schema"),
        ("a header alone", award[..HEADER_BYTES].to_vec(), "undecodable"),
        ("all but the last byte", award[..award.len() - 1].to_vec(), "undecodable"),
        ("a negative length", with(HEADER_BYTES, 1), "undecodable"),
        ("a length beyond the end", with(HEADER_BYTES, 0x7E), "undecodable"),
        ("not UTF-8", with(HEADER_BYTES + 1, 0xFF), "undecodable"),
        ("too large", encoded(|out| too_large.as_award().encode(out)), "undecodable"),
        ("control too large", encoded(|out| large_control.encode(out)), "undecodable"),
        ("an award and a byte", padded(&award), "trailing_bytes"),
        ("a control record and a byte", padded(&control), "trailing_bytes"),
    ] {
        assert_eq!(decode_input(&record, &KEY).map_err(DecodeError::code), Err(expected), "{what}");
    }
}

#[test]
fn a_control_record_of_no_partition() {
    // The schema's int holds more than partitions do.
    for partition in [-1, 65_536] {
        let record = reference_encode(
            RecordKind::Control,
            vec![
                ("kind", Value::Enum(0, "tick".to_owned())),
                ("partition", Value::Int(partition)),
                ("number", Value::Long(1)),
                ("at", Value::TimestampMillis(1)),
                ("body", Value::Bytes(vec![])),
                ("mac", Value::Fixed(32, vec![0; 32])),
            ],
        );
        assert_eq!(Control::decode(&record), Err(DecodeError::Undecodable));
    }
}
