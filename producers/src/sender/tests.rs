//! The log sender: batches, order, durability, and a log without room.

use hongbao_engine::clock::{ManualClock, SystemClock};
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::records::ReadBatch;

use super::*;

const PARTITIONS: u16 = 4;
const LONG: Duration = Duration::from_secs(30);

/// Nothing is handed over because of time.
const PATIENT: SenderLimits = SenderLimits { batch_delay_max: LONG, ..SENDER_LIMITS };

fn start(log: &Arc<MemoryLog>, limits: SenderLimits) -> LogSender {
    LogSender::start(log.clone(), Arc::new(SystemClock::new()), limits).unwrap()
}

fn memory_log() -> Arc<MemoryLog> {
    Arc::new(MemoryLog::new(PARTITIONS, Arc::new(ManualClock::at(0))))
}

/// What a partition's topic holds: records, and the number of frames.
fn read(log: &MemoryLog, partition: u16) -> (Vec<Vec<u8>>, usize) {
    let mut batch = ReadBatch::new();
    log.read(Partition(partition), AWARDS, 0, usize::MAX, &mut batch).unwrap();
    let records = batch.frames().flat_map(|frame| frame.records()).map(|(_, record)| record.to_vec());
    (records.collect(), batch.frames().count())
}

fn count_all(log: &MemoryLog) -> usize {
    (0..PARTITIONS).map(|partition| read(log, partition).0.len()).sum()
}

#[test]
fn awards_of_a_person_stay_in_order_in_the_persons_partition() {
    let log = memory_log();
    let sender = start(&log, PATIENT);
    let people = ["a1", "a2", "a3", "a4", "a5"];
    for index in 0..50_u8 {
        let person = people[usize::from(index) % people.len()];
        sender.submit(person, &[index]).unwrap();
    }
    sender.wait_durable(LONG).unwrap();
    for partition in 0..PARTITIONS {
        let expected: Vec<Vec<u8>> = (0..50_u8)
            .filter(|index| {
                let person = people[usize::from(*index) % people.len()];
                partition_of(person.as_bytes(), PARTITIONS).0 == partition
            })
            .map(|index| vec![index])
            .collect();
        let (records, frames) = read(&log, partition);
        assert_eq!(records, expected, "partition {partition}");
        assert!(frames <= 1, "handed over at once");
    }
}

#[test]
fn a_full_batch_is_handed_over_without_waiting() {
    let log = memory_log();
    let by_count = SenderLimits { batch_records_max: 10, ..PATIENT };
    let by_bytes = SenderLimits { batch_bytes_max: 1_000, ..PATIENT };
    for limits in [by_count, by_bytes] {
        let before = count_all(&log);
        let sender = start(&log, limits);
        for _ in 0..9 {
            sender.submit("a1", &[0; 100]).unwrap();
        }
        assert_eq!(count_all(&log), before, "nine wait");
        sender.submit("a1", &[0; 100]).unwrap();
        assert_eq!(count_all(&log), before + 10, "the tenth takes them along");
    }
}

#[test]
fn a_lone_award_is_handed_over_after_the_delay() {
    let log = memory_log();
    let sender = start(&log, SenderLimits { batch_delay_max: Duration::from_millis(1), ..SENDER_LIMITS });
    for round in 1..4 {
        let mut version = log.progress().version();
        sender.submit("a1", b"award").unwrap();
        while count_all(&log) < round {
            log.progress().wait(version, LONG);
            version = log.progress().version();
        }
    }
}

#[test]
fn dropping_the_sender_hands_over_what_waits() {
    let log = memory_log();
    let sender = start(&log, PATIENT);
    sender.submit("a1", b"award").unwrap();
    drop(sender);
    assert_eq!(count_all(&log), 1);
}

#[test]
fn durable_means_synced_and_not_only_handed_over() {
    let log = Arc::new(MemoryLog::manual(PARTITIONS, Arc::new(ManualClock::at(0))));
    let sender = start(&log, PATIENT);
    sender.submit("a1", b"award").unwrap();
    let short = Duration::from_millis(1);
    assert_eq!(sender.wait_durable(short), Err(SendError::Timeout(short)));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| sender.wait_durable(LONG));
        log.sync();
        assert_eq!(waiting.join().unwrap(), Ok(()));
    });
    assert_eq!(sender.wait_durable(Duration::ZERO), Ok(()), "nothing is left to wait for");
}

#[test]
fn a_full_log_makes_the_queue_grow_to_its_bound_and_loses_nothing() {
    let log = memory_log();
    log.set_bytes_max(0);
    let limits = SenderLimits { batch_bytes_max: 100, queue_bytes_max: 1_000, ..PATIENT };
    let sender = start(&log, limits);
    for _ in 0..10 {
        sender.submit("a1", &[0; 100]).unwrap();
    }
    assert!(matches!(sender.submit("a1", &[1; 100]), Err(SendError::Busy(LogError::Full(_)))));
    assert!(matches!(sender.wait_durable(LONG), Err(SendError::Busy(_))));
    log.set_bytes_max(usize::MAX);
    sender.submit("a1", &[2; 100]).unwrap();
    sender.wait_durable(LONG).unwrap();
    let (records, _) = read(&log, partition_of(b"a1", PARTITIONS).0);
    let marks: Vec<u8> = records.iter().map(|record| record[0]).collect();
    assert_eq!(marks, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], "the refused one was not taken");
}

#[test]
fn a_failed_log_is_told_to_every_later_caller() {
    let log = memory_log();
    let sender = start(&log, SenderLimits { batch_records_max: 2, ..PATIENT });
    let partition = partition_of(b"a1", PARTITIONS);
    sender.submit("a1", b"one").unwrap();
    log.fail(partition, "the disk is gone");
    for _ in 0..2 {
        let refused = sender.submit("a1", b"two");
        assert_eq!(refused, Err(SendError::Log(LogError::Failed("the disk is gone".to_owned()))));
    }
    assert!(matches!(sender.wait_durable(LONG), Err(SendError::Log(_))));
}

#[test]
fn an_award_that_no_reader_accepts_is_not_taken() {
    let log = memory_log();
    let sender = start(&log, PATIENT);
    let refused = sender.submit("a1", &vec![0; AWARD_BYTES_MAX + 1]);
    assert_eq!(refused.unwrap_err().code(), "award_too_large");
    sender.wait_durable(LONG).unwrap();
    assert_eq!(count_all(&log), 0);
}

#[test]
fn many_threads_lose_nothing() {
    let log = memory_log();
    let sender = start(&log, SenderLimits { batch_records_max: 7, ..SENDER_LIMITS });
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let sender = &sender;
            scope.spawn(move || {
                for index in 0..1_000_u32 {
                    sender.submit(&format!("a{}", index % 10), &[thread]).unwrap();
                }
            });
        }
    });
    sender.wait_durable(LONG).unwrap();
    assert_eq!(count_all(&log), 4_000);
}
