//! Checks of what is read, by one thread.

use std::sync::Arc;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, Offset, ReadBatch, RecordBuf};

use super::{
    ALL_BYTES, ONE, ZERO, append, append_durably, ok, produced, range, read, read_all, records, texts,
    wait_durable,
};

fn out_of_range(log: &dyn Log, topic: &str, from: Offset) {
    let mut batch = ReadBatch::new();
    let result = log.read(ZERO, topic, from, ALL_BYTES, &mut batch);
    let refused = matches!(&result, Err(LogError::OutOfRange { offset, .. }) if *offset == from);
    assert!(refused, "a read of {topic} at {from} gave {result:?}");
}

/// Empty topics, the first and the last offset, and one beyond them.
pub fn boundary_values(log: &Arc<dyn Log>) {
    let log = &**log;
    assert!(log.partitions() >= 2, "the suite needs two partitions");
    assert_eq!(range(log, ZERO, "awards"), (0, 0), "a topic never written");
    assert!(read(log, ZERO, "awards", 0, ALL_BYTES).is_empty(), "a read at the end of nothing");
    out_of_range(log, "awards", 1);
    out_of_range(log, "awards", Offset::MAX);

    let buf = records("a", 0, 3);
    let appended = append_durably(log, ZERO, &[produced("awards", &buf)]);
    assert_eq!(appended.first_offsets, [0]);
    assert_eq!(range(log, ZERO, "awards"), (0, 3));
    assert_eq!(texts(&read(log, ZERO, "awards", 0, ALL_BYTES)), ["a-0", "a-1", "a-2"]);
    assert_eq!(texts(&read(log, ZERO, "awards", 2, ALL_BYTES)), ["a-2"], "the last record");
    assert!(read(log, ZERO, "awards", 3, ALL_BYTES).is_empty(), "a read at the end");
    out_of_range(log, "awards", 4);
    out_of_range(log, "awards", Offset::MAX);
    assert_eq!(range(log, ZERO, "award"), (0, 0), "a name that another one begins with");

    let mut batch = ReadBatch::new();
    ok(log.read(ZERO, "awards", 0, ALL_BYTES, &mut batch), "read");
    ok(log.read(ZERO, "awards", 3, ALL_BYTES, &mut batch), "read");
    assert!(batch.is_empty(), "a read must replace what the batch held");
}

/// Calls that break a rule are refused as such, leave nothing behind and do no harm.
pub fn invalid_calls_change_nothing(log: &Arc<dyn Log>) {
    let log = &**log;
    let some = records("a", 0, 1);
    let none = RecordBuf::new();
    let long = "x".repeat(65);
    let loud = Envelope { source: "Sink", epoch: 0, first_seq: 1 };
    let long_source = Envelope { source: &long, epoch: 0, first_seq: 1 };
    let good = produced("awards", &some);
    let groups: [(&str, Vec<Frame<'_>>); 8] = [
        ("no frame", vec![]),
        ("no record", vec![good, produced("journal", &none)]),
        ("no topic", vec![good, produced("", &some)]),
        ("a long topic", vec![good, produced(&long, &some)]),
        ("a topic with a blank", vec![good, produced("a b", &some)]),
        ("a topic that is a path", vec![good, produced("a/b", &some)]),
        ("a source in capitals", vec![good, Frame { envelope: loud, ..good }]),
        ("a long source", vec![good, Frame { envelope: long_source, ..good }]),
    ];
    for (what, group) in &groups {
        let result = log.append(ZERO, group);
        assert!(matches!(result, Err(LogError::Invalid(_))), "{what}: {result:?}");
    }
    let unknown = Partition(log.partitions());
    let mut batch = ReadBatch::new();
    let results = [
        ("append", log.append(unknown, &[good]).err()),
        ("durable", log.durable(unknown).err()),
        ("range", log.range(unknown, "awards").err()),
        ("read", log.read(unknown, "awards", 0, ALL_BYTES, &mut batch).err()),
        ("trim", log.trim(unknown, &[]).err()),
    ];
    for (what, result) in results {
        assert!(matches!(result, Some(LogError::Invalid(_))), "{what} of no partition: {result:?}");
    }
    let appended = append_durably(log, ZERO, &[good]);
    assert_eq!(appended.first_offsets, [0], "a refused group left something behind");
    assert_eq!(range(log, ZERO, "awards"), (0, 1));
}

/// Bytes of any kind and length, envelope, sequence and time survive.
pub fn records_come_back_as_written(log: &Arc<dyn Log>) {
    let log = &**log;
    let every_byte: Vec<u8> = (0..=255).collect();
    let large = vec![0xA5_u8; 70_000];
    let bodies: [&[u8]; 6] = [b"", b"x", &every_byte, &large, b"", &[0; 64]];
    let mut buf = RecordBuf::new();
    for body in bodies {
        buf.push(body);
    }
    let topic = "a-topic_of.64-bytes-0123456789012345678901234567890123456789abcd";
    let source = "sink.64-bytes-0123456789012345678901234567890123456789_abcdefghi";
    assert_eq!((topic.len(), source.len()), (64, 64));
    let envelope = Envelope { source, epoch: u32::MAX, first_seq: u64::MAX / 2 };
    let sequenced = Frame { topic, envelope, records: &buf };
    append(log, ZERO, &[sequenced, produced(topic, &buf)]);
    append_durably(log, ZERO, &[produced("other", &buf)]);

    let all = read_all(log, ZERO, topic, ALL_BYTES);
    assert_eq!(all.len(), 2 * bodies.len());
    for (index, record) in all.iter().enumerate() {
        let number = index % bodies.len();
        assert!(record.bytes == bodies[number], "record {index} has other bytes");
        let by_sink = index < bodies.len();
        let expected = if by_sink { (source, u32::MAX, u64::MAX / 2 + number as u64) } else { ("", 0, 0) };
        assert_eq!((record.source.as_str(), record.epoch, record.seq), expected);
        assert_eq!(record.appended_at_ms, all[0].appended_at_ms, "frames of one group have one time");
    }
    let empty_only = records_of(&[b"", b""]);
    append_durably(log, ONE, &[produced("empty", &empty_only)]);
    assert_eq!(texts(&read_all(log, ONE, "empty", 0)), ["", ""]);
}

fn records_of(bodies: &[&[u8]]) -> RecordBuf {
    let mut buf = RecordBuf::new();
    for body in bodies {
        buf.push(body);
    }
    buf
}

/// Offsets of a topic are consecutive over frames and groups, in the order of the append.
pub fn groups_keep_their_order(log: &Arc<dyn Log>) {
    let log = &**log;
    let mut next = [0_u64; 2];
    let mut last = None;
    for round in 0..40_u64 {
        let many = records("j", next[0], round % 5 + 1);
        let again = records("j", next[0] + many.len() as u64, 2);
        let few = records("o", next[1], 1);
        let group = [produced("journal", &many), produced("orders.cash", &few), produced("journal", &again)];
        let appended = append(log, ZERO, &group);
        let expected = [next[0], next[1], next[0] + many.len() as u64];
        assert_eq!(appended.first_offsets, expected, "group {round}");
        assert!(last < Some(appended.position), "positions of groups do not grow");
        last = Some(appended.position);
        next[0] += (many.len() + again.len()) as u64;
        next[1] += 1;
    }
    wait_durable(log, ZERO, last.unwrap_or_default());
    for (topic, tag, count) in [("journal", "j", next[0]), ("orders.cash", "o", next[1])] {
        assert_eq!(range(log, ZERO, topic), (0, count));
        for max_bytes in [0, 20, 1_000, ALL_BYTES] {
            let expected: Vec<String> = (0..count).map(|number| format!("{tag}-{number}")).collect();
            assert_eq!(texts(&read_all(log, ZERO, topic, max_bytes)), expected, "{topic}, {max_bytes} bytes");
        }
    }
}

/// Every partition has offsets and positions of its own.
pub fn partitions_do_not_mix(log: &Arc<dyn Log>) {
    let log = &**log;
    for round in 0..5 {
        for partition in [ZERO, ONE] {
            let buf = records(&format!("p{partition}"), round, 1);
            let appended = append_durably(log, partition, &[produced("awards", &buf)]);
            assert_eq!(appended.first_offsets, [round]);
        }
    }
    assert_eq!(texts(&read_all(log, ONE, "awards", 0)), ["p1-0", "p1-1", "p1-2", "p1-3", "p1-4"]);
    assert_eq!(texts(&read_all(log, ZERO, "awards", 0)), ["p0-0", "p0-1", "p0-2", "p0-3", "p0-4"]);
}

/// A read may begin at any record; the sequence of the first one read follows.
pub fn reads_begin_inside_frames(log: &Arc<dyn Log>) {
    let log = &**log;
    let first = records("a", 0, 10);
    let second = records("a", 10, 1);
    for (buf, first_seq) in [(&first, 1), (&second, 11)] {
        let envelope = Envelope { source: "intake", epoch: 3, first_seq };
        append_durably(log, ZERO, &[Frame { topic: "journal", envelope, records: buf }]);
    }
    for from in 0..=11_u64 {
        let found = read(log, ZERO, "journal", from, ALL_BYTES);
        let expected: Vec<_> = (from..11).map(|offset| (offset, offset + 1, format!("a-{offset}"))).collect();
        let found: Vec<_> =
            found.iter().zip(texts(&found)).map(|(record, text)| (record.offset, record.seq, text)).collect();
        assert!(!found.is_empty() || from == 11, "nothing at {from}");
        assert_eq!(found, expected[..found.len()], "read from {from}");
        assert!(found.len() as u64 >= 10_u64.saturating_sub(from), "a frame was cut at its end");
    }
}

/// Whole frames up to about the limit, and at least one.
pub fn read_limits(log: &Arc<dyn Log>) {
    let log = &**log;
    let mut buf = RecordBuf::new();
    buf.push(&[7; 1_000]);
    for _ in 0..20 {
        append(log, ZERO, &[produced("awards", &buf), produced("journal", &buf)]);
    }
    let appended = append(log, ZERO, &[produced("awards", &buf)]);
    wait_durable(log, ZERO, appended.position);
    let cases = [(0, 1, 1), (1, 1, 1), (999, 1, 1), (2_000, 1, 3), (5_000, 1, 6), (ALL_BYTES, 1, 21)];
    for (max_bytes, least, most) in cases {
        let found = read(log, ZERO, "awards", 0, max_bytes).len();
        assert!((least..=most).contains(&found), "{max_bytes} bytes gave {found} frames");
    }
    let large = {
        let mut large = RecordBuf::new();
        for _ in 0..240 {
            large.push(&[9; 1_000]);
        }
        large
    };
    append_durably(log, ZERO, &[produced("large", &large)]);
    assert_eq!(read(log, ZERO, "large", 0, 1).len(), 240, "a frame above the limit is read whole");
}

/// Hundreds of topics, in one group and one by one.
pub fn many_topics(log: &Arc<dyn Log>) {
    let log = &**log;
    let topics: Vec<String> = (0..200).map(|number| format!("orders.lane-{number}")).collect();
    let bufs: Vec<RecordBuf> = (0..200).map(|number| records("o", number, 2)).collect();
    let group: Vec<Frame<'_>> = topics.iter().zip(&bufs).map(|(topic, buf)| produced(topic, buf)).collect();
    append(log, ZERO, &group);
    let mut last = None;
    for frame in &group {
        last = Some(append(log, ZERO, &[*frame]).position);
    }
    wait_durable(log, ZERO, last.unwrap_or_default());
    for (number, topic) in topics.iter().enumerate() {
        let (a, b) = (format!("o-{number}"), format!("o-{}", number + 1));
        assert_eq!(texts(&read_all(log, ZERO, topic, ALL_BYTES)), [a.clone(), b.clone(), a, b], "{topic}");
    }
}
