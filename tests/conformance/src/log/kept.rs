//! Checks of what stays: after a trim, and after closing and opening again.

use std::path::Path;
use std::sync::Arc;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::records::{Envelope, Frame, ReadBatch, RecordBuf};

use super::{
    ALL_BYTES, ONE, Record, ZERO, append, directory, ok, produced, range, read_all, records, wait_durable,
};

/// A trim gives up nothing at or above a floor, and nothing of a topic without one.
pub fn trim_keeps_what_is_not_given_up(log: &Arc<dyn Log>) {
    let log = &**log;
    let mut last = None;
    for round in 0..50_u64 {
        let mut large = RecordBuf::new();
        large.push(format!("a-{round} {}", ".".repeat(4_000)).as_bytes());
        let small = records("j", round, 1);
        last = Some(append(log, ZERO, &[produced("awards", &large), produced("journal", &small)]).position);
    }
    wait_durable(log, ZERO, last.unwrap_or_default());
    let awards = read_all(log, ZERO, "awards", ALL_BYTES);
    let journal = read_all(log, ZERO, "journal", ALL_BYTES);

    ok(log.trim(ZERO, &[]), "trim of nothing");
    assert_eq!((range(log, ZERO, "awards"), range(log, ZERO, "journal")), ((0, 50), (0, 50)));
    ok(log.trim(ZERO, &[("awards", 40), ("unknown", 7)]), "trim of one topic");
    assert_eq!(range(log, ZERO, "journal"), (0, 50), "a topic without a floor lost records");
    kept(log, "awards", 40, &awards);
    ok(log.trim(ZERO, &[("awards", 30), ("journal", 45)]), "trim of both");
    kept(log, "awards", 40, &awards);
    kept(log, "journal", 45, &journal);
    ok(log.trim(ZERO, &[("awards", u64::MAX), ("journal", u64::MAX)]), "trim of everything");
    kept(log, "awards", 50, &awards);
    kept(log, "journal", 50, &journal);

    let more = records("a", 50, 1);
    let appended = append(log, ZERO, &[produced("awards", &more)]);
    assert_eq!(appended.first_offsets, [50], "a trim must not move the next offset");
    wait_durable(log, ZERO, appended.position);
    assert_eq!(range(log, ZERO, "awards").1, 51);
}

/// Everything from `floor` on is there, what is below the start is refused.
fn kept(log: &dyn Log, topic: &str, floor: u64, before: &[Record]) {
    let (start, end) = range(log, ZERO, topic);
    assert!(start <= floor, "{topic} begins at {start}, above its floor {floor}");
    assert_eq!(end, before.len() as u64, "the end of {topic} moved");
    let now = read_all(log, ZERO, topic, ALL_BYTES);
    assert!(now == before[start as usize..], "{topic} has other records than before");
    if let Some(below) = start.checked_sub(1) {
        let result = log.read(ZERO, topic, below, ALL_BYTES, &mut ReadBatch::new());
        assert!(matches!(result, Err(LogError::OutOfRange { .. })), "{topic} at {below}: {result:?}");
    }
}

/// Closing and opening again changes nothing: records, offsets, positions (I25).
pub fn reopen_keeps_everything(make: impl Fn(&Path) -> Arc<dyn Log>) {
    let dir = directory();
    let mut expected: Vec<Vec<Record>> = vec![Vec::new(); 3];
    let places = [(ZERO, "journal"), (ZERO, "orders.cash"), (ONE, "journal")];
    for life in 0..6_u64 {
        let log = make(dir.path());
        let log = &*log;
        for ((partition, topic), before) in places.iter().zip(&expected) {
            assert_eq!(range(log, *partition, topic), (0, before.len() as u64), "life {life}");
            assert!(read_all(log, *partition, topic, ALL_BYTES) == *before, "life {life}: other records");
        }
        let durable = [ok(log.durable(ZERO), "durable"), ok(log.durable(ONE), "durable")];
        for round in 0..life * 20 {
            let next = expected[0].len() as u64 + round;
            let buf = records("j", next, 1);
            let envelope = Envelope { source: "intake", epoch: 1, first_seq: next + 1 };
            let fact = Frame { topic: "journal", envelope, records: &buf };
            append(log, ZERO, &[fact, produced("orders.cash", &buf)]);
            let first = append(log, ONE, &[fact]).first_offsets;
            assert_eq!(first, [next], "life {life}: offsets do not go on");
        }
        let last = records("j", expected[0].len() as u64 + life * 20, 1);
        for (index, partition) in [ZERO, ONE].into_iter().enumerate() {
            let group = [produced("journal", &last), produced("orders.cash", &last)];
            let appended = append(log, partition, &group);
            assert!(appended.position > durable[index], "life {life}: positions do not go on");
            wait_durable(log, partition, appended.position);
        }
        for ((partition, topic), after) in places.iter().zip(&mut expected) {
            *after = read_all(log, *partition, topic, ALL_BYTES);
        }
    }
}
