//! Facts: ranges, cut texts, and what a journal does not hold.

use super::*;
use crate::journal::{CreditFact, CreditStage, Fact, Ranges, RangesBuf, Rejected, SeqRange};
use crate::limits::FACT_TEXT_BYTES_MAX;
use crate::refusal::Refusal;
use crate::wire::{DecodeError, put_long, put_str};

#[test]
fn ranges_are_of_sequences() {
    const MAX: i64 = i64::MAX;
    for (first, count, expected) in [
        (1, 1, Some((1, 1, 2))),
        (7, 3, Some((7, 3, 10))),
        (1, MAX - 1, Some((1, MAX - 1, MAX))),
        (MAX - 1, 1, Some((MAX - 1, 1, MAX))),
        (0, 1, None),
        (-1, 5, None),
        (1, 0, None),
        (1, -1, None),
        (1, MAX, None),
        (MAX, 1, None),
    ] {
        let range = SeqRange::new(first, count).map(|range| (range.first(), range.count(), range.end()));
        assert_eq!(range, expected, "{first} {count}");
        let record = credit_record(&[1, first, count], "");
        let decoded = Fact::decode(&record).map(|fact| match fact {
            Fact::Credit(fact) => {
                fact.ranges.iter().map(|range| (range.first(), range.count(), range.end())).next()
            }
            _ => None,
        });
        assert_eq!(decoded, if range.is_some() { Ok(range) } else { Err(DecodeError::Undecodable) });
    }
}

/// A credit fact whose array is written number by number, a zero behind it.
fn credit_record(array: &[i64], reason: &str) -> Vec<u8> {
    let lane = "cash";
    let fact = CreditFact { stage: CreditStage::Unknown, lane, at_ms: 5, ranges: Ranges::EMPTY, reason: "" };
    let mut record = encoded(|out| fact.encode(out));
    record.truncate(record.len() - 2);
    for number in array {
        put_long(&mut record, *number);
    }
    put_long(&mut record, 0);
    put_str(&mut record, reason);
    record
}

#[test]
fn ranges_in_blocks() {
    for (array, expected) in [
        (vec![], Ok(vec![])),
        (vec![1, 5, 2], Ok(vec![(5, 2)])),
        (vec![2, 5, 2, 9, 1], Ok(vec![(5, 2), (9, 1)])),
        (vec![1, 5, 2, 1, 9, 1], Ok(vec![(5, 2), (9, 1)])),
        (vec![-2, 4, 5, 2, 9, 1], Ok(vec![(5, 2), (9, 1)])),
        (vec![-1, 2, 5, 2, 1, 9, 1], Ok(vec![(5, 2), (9, 1)])),
        (vec![-2, 3, 5, 2, 9, 1], Err(DecodeError::Undecodable)),
        (vec![-2, -4, 5, 2, 9, 1], Err(DecodeError::Undecodable)),
        (vec![3, 5, 2, 9, 1], Err(DecodeError::Undecodable)),
        (vec![i64::MAX, 5, 2], Err(DecodeError::Undecodable)),
        (vec![i64::MIN, 2, 5, 2], Err(DecodeError::Undecodable)),
    ] {
        let record = credit_record(&array, "why");
        let decoded = Fact::decode(&record).map(|fact| match fact {
            Fact::Credit(fact) => {
                assert_eq!(fact.reason, "why");
                assert_eq!(fact.ranges.is_empty(), fact.ranges.total() == 0);
                fact.ranges.into_iter().map(|range| (range.first(), range.count())).collect()
            }
            _ => vec![],
        });
        assert_eq!(decoded, expected, "{array:?}");
    }
}

#[test]
fn ranges_that_touch_become_one() {
    let mut buf = RangesBuf::new();
    for (first, count) in [(1, 2), (3, 1), (4, 6), (11, 1), (5, 2), (7, 1)] {
        buf.push(SeqRange::new(first, count).unwrap());
    }
    assert_eq!(format!("{:?}", buf.as_ranges()), "[1..10, 11..12, 5..8]");
    assert_eq!((buf.len(), buf.as_ranges().total()), (3, 13));
    buf.clear();
    assert!(buf.is_empty());
    assert_eq!(buf.as_ranges(), Ranges::EMPTY);
}

#[test]
fn texts_of_refused_awards_are_cut() {
    let mut award = sample_award();
    award.order_no = "红".repeat(100);
    award.act_id = "a".repeat(1 << 20);
    let fact = Rejected::of(&award.as_award(), Refusal::MalformedOrderNo, 9, 5);
    let record = encoded(|out| fact.encode(out));
    let Ok(Fact::Rejected(decoded)) = Fact::decode(&record) else { panic!("not a rejection") };
    assert_eq!(decoded.order_no, "红".repeat(FACT_TEXT_BYTES_MAX / 3));
    assert_eq!(decoded.act_id, "a".repeat(FACT_TEXT_BYTES_MAX));
    assert_eq!(decoded.code, "malformed_order_no");
    assert_eq!((decoded.award_offset, decoded.at_ms), (9, 5));
}

#[test]
fn an_award_is_no_fact() {
    let record = encoded(|out| sample_award().as_award().encode(out));
    assert_eq!(Fact::decode(&record), Err(DecodeError::UnknownSchema));
    assert_eq!(Fact::decode(&[]), Err(DecodeError::EmptyValue));
}
