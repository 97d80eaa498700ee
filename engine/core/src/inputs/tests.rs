//! Frames are written `(source, epoch, first sequence, count)`; a record's text names all of it.

use proptest::prelude::*;

use super::*;

type Written = (&'static str, u32, u64, usize);

const SECOND: Duration = Duration::from_secs(1);

fn add(batch: &mut ReadBatch, first_offset: Offset, (source, epoch, first_seq, count): Written) {
    let frame = batch.next_frame();
    frame.source.push_str(source);
    (frame.epoch, frame.first_seq, frame.first_offset) = (epoch, first_seq, first_offset);
    for index in 0..count {
        let seq = if first_seq == 0 { 0 } else { first_seq + index as u64 };
        frame.bytes.extend_from_slice(format!("{source}{epoch}.{seq} ").as_bytes());
        frame.ends.push(frame.bytes.len() as u32);
    }
}

/// Feeds frames in batches of the given sizes and returns the records selected.
fn feed(marks: &mut InputMarks, frames: &[Written], batch_len: usize) -> String {
    let mut applied = String::new();
    let mut offset = 0;
    for part in frames.chunks(batch_len) {
        let mut batch = ReadBatch::new();
        for frame in part {
            add(&mut batch, offset, *frame);
            offset += frame.3 as u64;
        }
        marks.select(&batch, Duration::ZERO).unwrap();
        for frame in marks.selected(&batch) {
            assert!(!frame.is_empty());
            for (_, record) in frame.records() {
                applied.push_str(std::str::from_utf8(record).unwrap());
            }
        }
    }
    applied
}

#[test]
fn each_sequence_is_applied_once_and_in_order() {
    let cases: [(&str, &[Written], &str, LeftOut); 13] = [
        ("producers", &[("", 0, 0, 2), ("", 0, 0, 1)], "0.0 0.0 0.0 ", left_out(0, 0)),
        ("in order", &[("a", 0, 1, 2), ("a", 0, 3, 1)], "a0.1 a0.2 a0.3 ", left_out(0, 0)),
        ("repeat", &[("a", 0, 1, 2), ("a", 0, 1, 2)], "a0.1 a0.2 ", left_out(2, 0)),
        ("seen part", &[("a", 0, 1, 2), ("a", 0, 2, 2)], "a0.1 a0.2 a0.3 ", left_out(1, 0)),
        ("sources apart", &[("a", 0, 1, 1), ("b", 0, 1, 1)], "a0.1 b0.1 ", left_out(0, 0)),
        (
            "gap filled",
            &[("a", 0, 2, 2), ("", 0, 0, 1), ("a", 0, 1, 1)],
            "0.0 a0.1 a0.2 a0.3 ",
            left_out(0, 0),
        ),
        (
            "longer piece held",
            &[("a", 0, 3, 1), ("a", 0, 3, 2), ("a", 0, 3, 1), ("a", 0, 1, 2)],
            "a0.1 a0.2 a0.3 a0.4 ",
            left_out(2, 0),
        ),
        (
            "held overlaps",
            &[("a", 0, 2, 2), ("a", 0, 3, 2), ("a", 0, 1, 3)],
            "a0.1 a0.2 a0.3 a0.4 ",
            left_out(3, 0),
        ),
        ("newer epoch", &[("a", 0, 1, 2), ("a", 1, 1, 1)], "a0.1 a0.2 a1.1 ", left_out(0, 0)),
        ("older epoch", &[("a", 2, 1, 1), ("a", 1, 1, 2), ("a", 2, 2, 1)], "a2.1 a2.2 ", left_out(0, 2)),
        (
            "newer epoch ahead of its opening",
            &[("a", 1, 1, 1), ("a", 2, 2, 1), ("a", 1, 2, 1), ("a", 2, 1, 1), ("a", 1, 3, 1)],
            "a1.1 a1.2 a2.1 a2.2 ",
            left_out(0, 1),
        ),
        (
            "held of the older epoch",
            &[("a", 1, 1, 1), ("a", 1, 5, 2), ("a", 2, 1, 1), ("a", 1, 2, 3)],
            "a1.1 a2.1 ",
            left_out(0, 5),
        ),
        ("opened twice", &[("a", 1, 1, 1), ("a", 1, 1, 1)], "a1.1 ", left_out(1, 0)),
    ];
    for (name, frames, expected, left_out) in cases {
        for batch_len in 1..=frames.len() {
            let mut marks = InputMarks::new(1 << 20);
            assert_eq!(feed(&mut marks, frames, batch_len), expected, "{name}, {batch_len} a batch");
            assert!(!marks.is_holding(), "{name}");
            assert!(marks.sources.values().all(|source| source.held.bytes() == 0), "{name}");
            assert_eq!(marks.left_out(), left_out, "{name}");
        }
    }
}

fn left_out(repeats: u64, outdated: u64) -> LeftOut {
    LeftOut { repeats, outdated }
}

#[test]
fn stored_marks_go_on_where_they_were() {
    let mut marks = InputMarks::new(1 << 20);
    feed(&mut marks, &[("sink.cash", 3, 1, 9), ("intake", 0, 1, 4)], 2);
    let mut rows = Rows::new();
    marks.save(&mut rows);
    let mut stored = Rows::new();
    for (key, value) in rows.iter() {
        assert!(key.starts_with(&MARK_ROWS));
        stored.put(&key[2..], value.unwrap());
    }
    let mut loaded = InputMarks::new(1 << 20);
    loaded.load(&stored).unwrap();
    let after = [("sink.cash", 2, 10, 1), ("sink.cash", 3, 9, 2), ("intake", 0, 4, 2)];
    assert_eq!(feed(&mut loaded, &after, 3), "sink.cash3.10 intake0.5 ");
}

#[test]
fn damaged_marks_are_refused() {
    let cases: [(&[u8], &[u8]); 4] = [(b"a", b""), (b"a", &[0; 11]), (b"a", &[0; 13]), (b"\xff", &[0; 12])];
    for (source, value) in cases {
        let mut rows = Rows::new();
        rows.put(source, value);
        let error = InputMarks::new(1).load(&rows).unwrap_err();
        assert!(matches!(error, InputError::Row(_)), "{source:?} {value:?}");
    }
}

#[test]
fn missing_records_become_overdue_and_say_which_they_are() {
    let mut marks = InputMarks::new(1 << 20);
    let mut batch = ReadBatch::new();
    add(&mut batch, 0, ("a", 0, 1, 2));
    add(&mut batch, 2, ("a", 0, 4, 2));
    marks.select(&batch, SECOND).unwrap();
    batch.clear();
    add(&mut batch, 4, ("a", 0, 7, 1));
    marks.select(&batch, SECOND * 2).unwrap();
    assert!(marks.is_holding());
    assert_eq!(marks.overdue(SECOND * 3, SECOND * 3), None);
    let missing = |expected_seq, held_seq, offset| InputError::Missing {
        source_name: "a".to_owned(),
        epoch: 0,
        expected_seq,
        held_seq,
        offset,
    };
    assert_eq!(marks.overdue(SECOND * 4, SECOND * 3), Some(missing(3, 4, 2)));

    // The first gap closes; the time of the second starts anew.
    batch.clear();
    add(&mut batch, 5, ("a", 0, 3, 1));
    marks.select(&batch, SECOND * 5).unwrap();
    assert_eq!(marks.overdue(SECOND * 7, SECOND * 3), None);
    assert_eq!(marks.overdue(SECOND * 8, SECOND * 3), Some(missing(6, 7, 4)));
}

#[test]
fn what_is_held_is_bounded() {
    let mut marks = InputMarks::new(2000);
    let mut first_seq = 3;
    let error = loop {
        let mut batch = ReadBatch::new();
        let frame = batch.next_frame();
        frame.source.push('a');
        (frame.first_seq, frame.first_offset) = (first_seq, first_seq);
        frame.ends.push(0);
        match marks.select(&batch, Duration::ZERO) {
            Ok(()) => first_seq += 1,
            Err(error) => break error,
        }
        assert!(first_seq < 100, "empty records are not counted");
    };
    let InputError::TooMuchHeld { bytes, bytes_max: 2000, .. } = error else { panic!("{error}") };
    assert!(bytes > 2000);
}

/// Pieces of the sequence 1..=40, each at least once, in an order disturbed by `swaps`.
fn pieces(cuts: &[usize], repeats: &[(u64, usize)], swaps: &[(usize, usize)]) -> Vec<Written> {
    let mut pieces: Vec<Written> = Vec::new();
    let mut first_seq = 1;
    for count in cuts.iter().copied().chain(std::iter::repeat(3)) {
        if first_seq > 40 {
            break;
        }
        let count = count.min(41 - first_seq as usize);
        pieces.push(("a", 1, first_seq, count));
        first_seq += count as u64;
    }
    for (first_seq, count) in repeats {
        pieces.push(("a", 1, *first_seq, *count));
    }
    let len = pieces.len();
    for (left, right) in swaps {
        pieces.swap(left % len, right % len);
    }
    pieces
}

proptest! {
    #[test]
    fn any_order_of_pieces_gives_the_sequence(
        cuts in prop::collection::vec(1usize..8, 0..20),
        repeats in prop::collection::vec((1u64..36, 1usize..5), 0..10),
        swaps in prop::collection::vec((0usize..64, 0usize..64), 0..30),
        batch_len in 1usize..9,
    ) {
        let frames = pieces(&cuts, &repeats, &swaps);
        let expected: String = (1..=40).map(|seq| format!("a1.{seq} ")).collect();
        let mut marks = InputMarks::new(1 << 20);
        prop_assert_eq!(&feed(&mut marks, &frames, batch_len), &expected);
        prop_assert!(!marks.is_holding());
        prop_assert!(marks.sources.values().all(|source| source.held.bytes() == 0));
        let total: usize = frames.iter().map(|frame| frame.3).sum();
        prop_assert_eq!(marks.left_out().repeats, total as u64 - 40);
    }
}
