//! Bytes that nobody wrote: never a panic, and never a value that `apache-avro` does not see.

use proptest::prelude::*;

use super::golden::samples;
use super::*;
use crate::control::Control;
use crate::dead_letter::DeadLetter;
use crate::journal::Fact;
use crate::order::Order;
use crate::wire::{DecodeError, HEADER_BYTES};

/// Reads a record and writes it again.
fn rewrite(kind: RecordKind, record: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    match kind {
        RecordKind::Award => Award::decode(record)?.encode(&mut out),
        RecordKind::Control => Control::decode(record)?.encode(&mut out),
        RecordKind::Order => Order::decode(record)?.encode(&mut out),
        RecordKind::DeadLetter => DeadLetter::decode(record)?.encode(&mut out),
        _ => Fact::decode(record)?.encode(&mut out),
    }
    Ok(out)
}

#[test]
fn a_part_of_a_record_is_refused() {
    for (kind, record) in samples() {
        for cut in 0..record.len() {
            assert!(rewrite(kind, &record[..cut]).is_err(), "{} cut at {cut}", kind.name());
        }
        let longer = [record.as_slice(), &[0]].concat();
        assert_eq!(rewrite(kind, &longer), Err(DecodeError::TrailingBytes), "{}", kind.name());
        assert_eq!(rewrite(kind, &record).as_ref(), Ok(&record), "{}", kind.name());
    }
}

#[test]
fn numbers_are_at_most_64_bits() {
    let header = &encoded(|out| sample_award().as_award().encode(out))[..HEADER_BYTES];
    let first_length =
        |bytes: &[u8]| Award::decode(&[header, bytes].concat()).map(|award| award.order_no.len());
    let nine = [0x80; 9];
    // A length of zero in up to ten bytes, then nine more fields of one zero byte each.
    for (zeros, expected) in [(0, Ok(0)), (1, Ok(0)), (9, Ok(0)), (10, Err(DecodeError::Undecodable))] {
        let bytes = [vec![0x80; zeros], vec![0], vec![0; 9]].concat();
        assert_eq!(first_length(&bytes), expected, "{zeros} bytes before the last");
    }
    for last in [1, 2, 0x7F, 0x80] {
        assert_eq!(
            first_length(&[nine.as_slice(), &[last], &[0; 9]].concat()),
            Err(DecodeError::Undecodable)
        );
    }
    assert_eq!(first_length(&[0x80; 100]), Err(DecodeError::Undecodable));
}

fn any_record() -> impl Strategy<Value = (RecordKind, Vec<u8>)> {
    proptest::sample::select(samples())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn changed_records(
        (kind, mut record) in any_record(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        ending in proptest::collection::vec(any::<u8>(), 0..4),
    ) {
        record.extend(ending);
        for (place, byte) in changes {
            let place = place.index(record.len() - HEADER_BYTES) + HEADER_BYTES;
            record[place] = byte;
        }
        if let Ok(ours) = rewrite(kind, &record) {
            let value = reference_decode(kind, &record);
            prop_assert!(value.is_some(), "only we read {}", kind.name());
            prop_assert_eq!(reference_decode(kind, &ours), value);
        }
    }

    #[test]
    fn any_body(
        (kind, record) in any_record(),
        body in proptest::collection::vec(prop_oneof![any::<u8>(), 0..8u8], 0..64),
    ) {
        let record = [&record[..HEADER_BYTES], &body].concat();
        if rewrite(kind, &record).is_ok() {
            prop_assert!(reference_decode(kind, &record).is_some());
        }
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
        for kind in RecordKind::ALL {
            prop_assert!(rewrite(kind, &bytes).is_err());
        }
    }
}
