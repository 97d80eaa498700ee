//! Orders in a topic, and what a reader makes of them.

use hongbao_engine::clock::ManualClock;
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};

use super::*;

const TOPIC: &str = "orders.cash";
const PARTITION: Partition = Partition(0);
const SECOND: Duration = Duration::from_secs(1);

fn log() -> MemoryLog {
    MemoryLog::new(1, Arc::new(ManualClock::at(0)))
}

fn append_in(log: &MemoryLog, epoch: u32, first_seq: u64, count: u64) {
    let mut records = RecordBuf::new();
    for seq in first_seq..first_seq + count {
        records.push(format!("order {seq}").as_bytes());
    }
    let envelope = Envelope { source: "intake", epoch, first_seq };
    log.append(PARTITION, &[Frame { topic: TOPIC, envelope, records: &records }]).unwrap();
}

fn append(log: &MemoryLog, first_seq: u64, count: u64) {
    append_in(log, ORDERS_EPOCH, first_seq, count);
}

fn open(first: u64, count: u64) -> OpenRange {
    OpenRange { first, count, first_intent_ms: 5, is_unknown: false }
}

fn source(log: &MemoryLog, max_bytes: usize) -> Source<'_> {
    let (version, accepted, held_bytes_max, now) = (7, u64::MAX, 1 << 20, Duration::ZERO);
    Source { log, partition: PARTITION, max_bytes, version, accepted, held_bytes_max, now }
}

/// A reader and what it has read.
#[derive(Default)]
struct Desk {
    reader: Reader,
    buffer: ReadBatch,
    ready: Ready,
    open: Vec<FoundOpen>,
    set_aside: u64,
}

impl Desk {
    fn resume(resume: &LaneResume) -> Self {
        Self { reader: Reader::resume(TOPIC.to_owned(), resume), ..Self::default() }
    }

    fn read(&mut self, source: Source<'_>) -> Result<usize, ReadError> {
        let Self { reader, buffer, ready, open, set_aside } = self;
        reader.read(source, buffer, Sorted { ready, open, set_aside })
    }

    /// Reads until there is nothing more, or it stops.
    fn read_on(&mut self, source: Source<'_>) -> Result<(), ReadError> {
        self.reader.end_seen_at = None;
        while self.reader.wants(0, 1, source.version) && self.reader.stopped_at() != Some(source.accepted) {
            self.read(source)?;
        }
        Ok(())
    }

    /// Sequences of the fresh and of the unresolved orders read since the last time.
    fn taken(&mut self) -> (Vec<u64>, Vec<u64>) {
        let parts = self.ready.take(usize::MAX);
        for part in &parts {
            let crate::batch::Part::Run { chunk, from, to } = part else { panic!("a run") };
            for index in *from..*to {
                let seq = chunk.first_seq() + u64::from(index);
                assert_eq!(chunk.get(index as usize), Some(format!("order {seq}").as_bytes()));
            }
        }
        let open: Vec<FoundOpen> = std::mem::take(&mut self.open);
        for order in &open {
            assert_eq!(&*order.record, format!("order {}", order.seq).as_bytes());
        }
        let fresh = parts.iter().flat_map(|part| part.first_seq()..part.first_seq() + part.len() as u64);
        (fresh.collect(), open.iter().map(|order| order.seq).collect())
    }
}

#[test]
fn sorts_orders_into_fresh_unresolved_and_ended() {
    type Seqs = Vec<u64>;
    type Case = (u64, Vec<(u64, u64)>, Vec<OpenRange>, Seqs, Seqs);
    let cases: [Case; 5] = [
        (0, vec![], vec![], (1..21).collect(), vec![]),
        (1, vec![(1, 20)], vec![], vec![], vec![]),
        (6, vec![(7, 9)], vec![open(6, 1), open(18, 2)], vec![16, 17, 20], vec![6, 18, 19]),
        (
            3,
            vec![(3, 1), (5, 2), (19, 2)],
            vec![open(4, 1), open(7, 12)],
            vec![],
            vec![4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18],
        ),
        (21, vec![], vec![], vec![], vec![]),
    ];
    // First sequence and count: in order with repeats, and as a process that ended left it, with
    // gaps, and the next wrote it again.
    let topics: [&[(u64, u64)]; 2] =
        [&[(1, 4), (5, 4), (7, 2), (9, 12)], &[(1, 2), (14, 3), (6, 2), (3, 3), (6, 6), (11, 7), (18, 3)]];
    for frames in topics {
        let log = log();
        frames.iter().for_each(|(first_seq, count)| append(&log, *first_seq, *count));
        for (low_water, ended, open, fresh, unresolved) in &cases {
            for max_bytes in [1, 40, 1 << 20] {
                let resume = LaneResume {
                    low_water: *low_water,
                    ended: ended.clone(),
                    open: open.clone(),
                    ..LaneResume::default()
                };
                let mut desk = Desk::resume(&resume);
                desk.read_on(source(&log, max_bytes)).unwrap();
                let case = format!("{frames:?} from {low_water} by {max_bytes}");
                assert_eq!(desk.taken(), (fresh.clone(), unresolved.clone()), "{case}");
                assert_eq!(desk.reader.aside.bytes(), 0, "{case}");
            }
        }
    }
}

#[test]
fn each_order_is_taken_on_once_and_in_order_over_gaps() {
    // Name, frames as first sequence and count, orders taken on, records held aside over time, and
    // the order that is missing in the end.
    type Case = (&'static str, &'static [(u64, u64)], u64, u64, Option<u64>);
    let cases: [Case; 10] = [
        ("no gap", &[(1, 2), (3, 1)], 3, 0, None),
        ("repeats", &[(1, 2), (1, 2), (2, 2), (1, 4)], 4, 0, None),
        ("a gap closes", &[(1, 2), (5, 2), (3, 2)], 6, 2, None),
        ("at the very beginning", &[(3, 2), (1, 2)], 4, 2, None),
        ("what was held comes again", &[(1, 2), (5, 2), (3, 2), (5, 2), (7, 1)], 7, 2, None),
        ("held twice, once longer", &[(3, 1), (3, 2), (3, 1), (1, 2)], 4, 2, None),
        ("held pieces overlap", &[(2, 2), (3, 2), (1, 3)], 4, 4, None),
        ("two gaps close one by one", &[(5, 1), (3, 1), (1, 1), (2, 1), (4, 1)], 5, 2, None),
        ("the second never closes", &[(5, 1), (3, 1), (1, 1), (2, 1)], 3, 2, Some(4)),
        ("never closes", &[(1, 2), (5, 2), (4, 1)], 2, 3, Some(3)),
    ];
    for (name, frames, taken, set_aside, missing) in cases {
        for max_bytes in [1, 20, 1 << 20] {
            let log = log();
            frames.iter().for_each(|(first_seq, count)| append(&log, *first_seq, *count));
            let mut desk = Desk::resume(&LaneResume::default());
            desk.read_on(source(&log, max_bytes)).unwrap();
            let case = format!("{name} by {max_bytes}");
            assert_eq!(desk.taken(), ((1..=taken).collect(), vec![]), "{case}");
            assert_eq!(desk.set_aside, set_aside, "{case}");
            assert_eq!(desk.reader.aside.is_empty(), missing.is_none(), "{case}");
            let check = |version, now| desk.reader.check_missing(version, now, SECOND);
            check(7, SECOND - Duration::from_millis(1)).unwrap();
            // There is more to read, so it is not known yet.
            check(8, SECOND).unwrap();
            match (check(7, SECOND), missing) {
                (Ok(()), None) => {}
                (Err(ReadError::Gap { expected_seq, .. }), Some(seq)) => {
                    assert_eq!(expected_seq, seq, "{case}")
                }
                (checked, _) => panic!("{case}: {checked:?}"),
            }
        }
    }
}

#[test]
fn waiting_begins_anew_with_every_gap_that_closes() {
    let log = log();
    let mut desk = Desk::resume(&LaneResume::default());
    let at = |seconds| Source { now: SECOND * seconds, ..source(&log, 1 << 20) };
    [(4, 1), (2, 1)].iter().for_each(|(first_seq, count)| append(&log, *first_seq, *count));
    desk.read_on(at(1)).unwrap();
    append(&log, 4, 1);
    desk.read_on(at(2)).unwrap();
    assert!(desk.reader.check_missing(7, SECOND * 4, SECOND * 3).is_err(), "a repeat closes nothing");
    append(&log, 1, 1);
    desk.read_on(at(3)).unwrap();
    desk.reader.check_missing(7, SECOND * 5, SECOND * 3).unwrap();
    let error = desk.reader.check_missing(7, SECOND * 6, SECOND * 3).unwrap_err();
    assert_eq!(error.to_string(), "order 3 is missing in front of 4 at offset 0");
}

#[test]
fn orders_that_have_ended_close_a_gap() {
    let log = log();
    for (first_seq, count) in [(1, 1), (4, 2), (2, 2), (4, 2)] {
        append(&log, first_seq, count);
    }
    let resume = LaneResume { low_water: 1, ended: vec![(2, 2)], ..LaneResume::default() };
    for max_bytes in [1, 1 << 20] {
        let mut desk = Desk::resume(&resume);
        desk.read_on(source(&log, max_bytes)).unwrap();
        assert_eq!((desk.taken(), desk.set_aside), ((vec![1, 4, 5], vec![]), 0), "by {max_bytes}");
    }
}

#[test]
fn what_is_held_aside_is_bounded() {
    let log = log();
    append(&log, 1, 1);
    (3..100).for_each(|seq| append(&log, seq, 1));
    let mut desk = Desk::resume(&LaneResume::default());
    let error = desk.read_on(Source { held_bytes_max: 1_000, ..source(&log, 1 << 20) }).unwrap_err();
    assert!(matches!(error, ReadError::TooMuchHeld { expected_seq: 2, bytes_max: 1_000, .. }), "{error}");
    assert!(desk.reader.aside.bytes() < 1_300, "{error}");
}

#[test]
fn orders_are_read_up_to_where_they_are_accepted() {
    let log = log();
    // The acceptances of 5 and 6 wait behind those of 3 and 4, which a next process writes.
    for (first_seq, count) in [(1, 2), (5, 2), (3, 2), (5, 2), (7, 3)] {
        append(&log, first_seq, count);
    }
    for max_bytes in [1, 20, 1 << 20] {
        let mut desk = Desk::resume(&LaneResume::default());
        for (accepted, fresh) in
            [(1, vec![]), (2, vec![]), (3, vec![1, 2]), (5, vec![]), (7, vec![3, 4, 5, 6]), (9, vec![])]
        {
            let source = Source { accepted, ..source(&log, max_bytes) };
            desk.read_on(source).unwrap();
            assert_eq!(desk.taken(), (fresh, vec![]), "{accepted} by {max_bytes}");
            assert_eq!(desk.reader.stopped_at(), Some(accepted), "{accepted} by {max_bytes}");
        }
        desk.read_on(Source { accepted: 10, ..source(&log, max_bytes) }).unwrap();
        assert_eq!((desk.taken(), desk.reader.stopped_at()), ((vec![7, 8, 9], vec![]), None));
    }
}

#[test]
fn records_that_no_intake_writes_stop_the_lane() {
    for (epoch, first_seq) in [(1, 1), (1, 3), (9, 2), (0, 0)] {
        let log = log();
        append(&log, 1, 2);
        append_in(&log, epoch, first_seq, 1);
        let mut desk = Desk::resume(&LaneResume::default());
        let error = desk.read_on(source(&log, 1 << 20)).unwrap_err();
        assert!(matches!(error, ReadError::Foreign { offset: 2, .. }), "{epoch} {first_seq}: {error}");
        assert_eq!(desk.taken().0, [1, 2], "{epoch} {first_seq}");
    }
}
