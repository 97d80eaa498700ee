//! Records that are never decided: their bytes and codes are kept, and the counts say so.

use hongbao_engine::partition::partition_of;
use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::dead_letter::DeadLetter;
use hongbao_schemas::limits::AWARD_BYTES_MAX;

use super::harness::{Harness, PARTITION, PARTITIONS, award, encoded};
use crate::intake::{Counts, Verdict};

#[test]
fn the_harness_has_people_of_both_partitions() {
    for (act_id, expected) in [("a", true), ("a_1", true), ("d", false)] {
        assert_eq!(partition_of(act_id.as_bytes(), PARTITIONS) == PARTITION, expected, "{act_id}");
    }
}

#[test]
fn every_code_with_the_bytes_as_they_were() {
    let valid = encoded(&award().as_award());
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut record = valid.clone();
        change(&mut record);
        record
    };
    let of_another = AwardBuf { act_id: "d".to_owned(), order_no: "d_rain_r1_cash_1".to_owned(), ..award() };
    let cases = [
        (Vec::new(), "empty_value"),
        (b"hello".to_vec(), "unknown_framing"),
        (with(&|record| record[0] = 0), "unknown_framing"),
        (with(&|record| record[5] ^= 1), "unknown_schema"),
        (with(&|record| record.truncate(40)), "undecodable"),
        (with(&|record| record[12] = 0xFF), "undecodable"),
        (with(&|record| record.push(0)), "trailing_bytes"),
        (encoded(&of_another.as_award()), "wrong_partition"),
    ];
    let mut harness = Harness::with_settings();
    for (index, (record, code)) in cases.iter().enumerate() {
        assert_eq!(harness.feed(std::slice::from_ref(record)), [Verdict::Undecodable], "{code}");
        let expected = DeadLetter {
            stage: "intake",
            code,
            topic: "awards",
            partition: 0,
            offset: index as i64 + 1,
            bytes: record,
        };
        let letters = harness.topic("dlq.intake");
        assert_eq!(DeadLetter::decode(letters[index]).unwrap(), expected);
    }
    assert_eq!(harness.topic("journal").len(), 1, "the settings");
    let read = cases.len() as u64;
    assert_eq!(harness.board.counts(), Counts { read, undecodable: read, ..Counts::default() });
}

#[test]
fn a_dead_letter_is_never_too_large_to_be_read() {
    let mut harness = Harness::with_settings();
    for bytes in [AWARD_BYTES_MAX, AWARD_BYTES_MAX + 1, 3 * AWARD_BYTES_MAX] {
        let mut record = encoded(&award().as_award());
        record.resize(bytes, 7);
        harness.feed(std::slice::from_ref(&record));
        let letters = harness.topic("dlq.intake");
        let letter = DeadLetter::decode(letters.last().unwrap()).unwrap();
        assert_eq!(letter.bytes, &record[..AWARD_BYTES_MAX]);
    }
}

#[test]
fn a_bad_record_does_not_hold_up_its_neighbours() {
    let mut harness = Harness::with_settings();
    let valid = encoded(&award().as_award());
    let verdicts = harness.feed(&[b"x".to_vec(), valid.clone(), Vec::new(), valid]);
    use Verdict::{Accepted, Duplicate, Undecodable};
    assert_eq!(verdicts, [Undecodable, Accepted, Undecodable, Duplicate]);
}
