//! One shard: what it decides, what it appends, and which books it refuses to open over.

use hongbao_engine::log::LogError;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use proptest::prelude::*;

use super::*;
use crate::downstream::{Outcome, Outcomes, Told};

fn rejected(why: &'static str) -> Outcome {
    Outcome::Rejected(why.into())
}

fn conflict() -> Outcome {
    Outcome::Conflict("order_conflict".into())
}

fn outcomes(shard: &mut Shard, records: &[Record]) -> Vec<Outcome> {
    let outcomes = shard.credit(&batch(P0, records)).unwrap();
    shard.append().unwrap();
    match outcomes {
        Outcomes::All(outcome) => vec![outcome; records.len()],
        Outcomes::Each(each) => each,
        Outcomes::Split(reason) => panic!("{reason}"),
    }
}

fn truncated(mut record: Record) -> Record {
    record.pop();
    record
}

/// Batches in turn, with what becomes of each order.
fn decisions() -> Vec<Vec<(Record, Outcome)>> {
    use Outcome::{AlreadyCredited, Credited};
    let (amount, unreadable) = ("amount_not_positive", "undecodable");
    let other_time = {
        let record = cash(1, 100);
        let mut bytes = Vec::new();
        Order { accepted_at_ms: 8, ..Order::decode(&record).unwrap() }.encode(&mut bytes);
        bytes
    };
    vec![
        vec![(cash(1, 100), Credited)],
        vec![(cash(1, 100), AlreadyCredited)],
        vec![(cash(1, 101), conflict())],
        vec![(other_time, conflict())],
        vec![(order("u1_s_1_t_0", "u1", "USD/2", 100), conflict())],
        vec![(cash(2, 0), rejected(amount)), (cash(2, -1), rejected(amount))],
        vec![(cash(2, i64::MIN), rejected(amount)), (cash(2, 1), Credited)],
        vec![(cash(2, 0), rejected(amount)), (cash(2, 1), AlreadyCredited)],
        vec![
            (Vec::new(), rejected(unreadable)),
            (b"not an order".to_vec(), rejected(unreadable)),
            (truncated(cash(3, 1)), rejected(unreadable)),
            ([cash(3, 1), vec![0]].concat(), rejected(unreadable)),
        ],
        // The same number within one batch counts as seen at once.
        vec![
            (cash(4, 7), Credited),
            (cash(4, 7), AlreadyCredited),
            (cash(4, 8), conflict()),
            (cash(5, i64::MAX), Credited),
            (cash(6, 0), rejected(amount)),
            (cash(8, i64::MAX), Credited),
            (order("u2_s_9_t_0", "u2", "COUPON/0", 1), Credited),
        ],
        vec![(cash(7, 1), Credited), (cash(10, 1), Credited), (cash(1, 100), AlreadyCredited)],
        vec![(cash(11, 1), Credited), (cash(12, 1), Credited), (cash(13, 1), Credited)],
        vec![(cash(4, 7), AlreadyCredited), (cash(4, 8), conflict())],
    ]
}

#[test]
fn decisions_are_the_same_whether_memory_or_the_store_answers() {
    for (commits, reopens) in [(false, false), (true, false), (false, true), (true, true)] {
        let (log, store) = (durable_log(1), Arc::new(MemoryStore::new()));
        let mut process = Process::open(&log, &store, small()).unwrap();
        let mut credited = Vec::new();
        for (index, decided) in decisions().into_iter().enumerate() {
            let (records, expected): (Vec<Record>, Vec<Outcome>) = decided.into_iter().unzip();
            let found = outcomes(&mut process.shard, &records);
            assert_eq!(found, expected, "batch {index}, commits {commits}, reopens {reopens}");
            let new = expected.iter().zip(records).filter(|(outcome, _)| **outcome == Outcome::Credited);
            credited.extend(new.map(|(_, record)| record));
            assert_eq!(book(&log), credited, "the book is what was credited, byte for byte");
            if commits {
                process.commit_all();
                assert_eq!(check_store(&log, P0, &store), credited.len());
            }
            if reopens {
                process = Process::open(&log, &store, small()).unwrap();
            }
        }
        process.commit_all();
        assert_eq!(check_store(&log, P0, &store), credited.len());
    }
}

#[test]
fn an_ask_tells_what_a_submission_would() {
    let (log, store) = (durable_log(1), Arc::new(MemoryStore::new()));
    let mut process = Process::open(&log, &store, small()).unwrap();
    outcomes(&mut process.shard, &[cash(1, 5), cash(2, 5), cash(3, 5), cash(4, 5)]);
    for committed in [false, true] {
        for (record, told) in [
            (cash(1, 5), Told::Credited),
            (cash(4, 5), Told::Credited),
            (cash(4, 6), Told::Conflict("order_conflict".into())),
            (cash(9, 5), Told::Absent),
            (b"not an order".to_vec(), Told::Absent),
        ] {
            assert_eq!(process.shard.ask(&record).unwrap(), told, "committed {committed}");
        }
        process.commit_all();
        process = Process::open(&log, &store, small()).unwrap();
    }
    assert_eq!(book(&log).len(), 4, "asking credits nothing");
}

#[test]
fn a_commit_waits_for_the_book_and_holds_what_was_there_when_it_began() {
    let (log, store) = (manual_log(1), Arc::new(MemoryStore::new()));
    let Process { mut shard, committer } = Process::open(&log, &store, small()).unwrap();
    outcomes(&mut shard, &[cash(1, 5), cash(2, 5)]);
    assert!(!shard.commit(&committer, false).unwrap(), "not due");
    outcomes(&mut shard, &[cash(3, 5)]);
    assert!(shard.commit(&committer, false).unwrap(), "due");
    outcomes(&mut shard, &[cash(4, 5)]);
    log.sync_groups(P0, 1);
    assert_eq!(committer.run_ready(), 0, "half of it is durable");
    assert!(shard.commit(&committer, false).unwrap());
    log.sync_groups(P0, 1);
    assert_eq!(committer.run_ready(), 1);
    assert!(!shard.commit(&committer, false).unwrap());
    assert_eq!((check_store(&log, P0, &store), shard.uncommitted()), (3, 1));
    assert!(!shard.is_durable(shard.position()).unwrap());
    log.sync();
    assert!(shard.is_durable(shard.position()).unwrap());
}

#[test]
fn a_shard_is_full_while_commits_find_no_place_or_no_end() {
    for queue_max in [0, 1] {
        let (log, store) = (manual_log(1), Arc::new(MemoryStore::new()));
        let mut shard = Shard::open(P0, log.clone(), store, small()).unwrap();
        let committer = Committer::manual(log.clone(), queue_max);
        for n in 0..12 {
            assert!(!shard.is_full(), "{n} postings");
            outcomes(&mut shard, &[cash(n, 5)]);
            assert_eq!(shard.commit(&committer, false).unwrap(), queue_max == 1 && n >= 2);
        }
        assert!(shard.is_full());
        log.sync();
        assert_eq!(committer.run_ready(), queue_max);
        shard.commit(&committer, false).unwrap();
        assert_eq!(shard.is_full(), queue_max == 0);
    }
}

#[test]
fn large_postings_go_in_groups_and_a_full_log_takes_the_rest_later() {
    let (log, store) = (durable_log(1), Arc::new(MemoryStore::new()));
    let mut process = Process::open(&log, &store, small()).unwrap();
    let text = "c".repeat(1_000_000);
    let records: Vec<Record> =
        (0..9).map(|n| large_order(&format!("u_s_{n}_t_0"), "u", "COUPON/0", 1, &text)).collect();
    let credited = process.shard.credit(&batch(P0, &records)).unwrap();
    assert_eq!(credited, Outcomes::All(Outcome::Credited));
    log.set_bytes_max(5_000_000);
    assert!(matches!(process.shard.append(), Err(LedgerError::Log(LogError::Full(_)))));
    assert_eq!(book(&log), records[..4], "the first group");
    process.shard.commit(&process.committer, true).unwrap();
    process.committer.run_ready();
    assert_eq!(store.applied().unwrap().offset, 0, "what is not in the book is not in the store");

    log.set_bytes_max(usize::MAX);
    process.shard.append().unwrap();
    assert_eq!(book(&log), records);
    let mut read = ReadBatch::new();
    log.read(P0, BOOK_TOPIC, 0, usize::MAX, &mut read).unwrap();
    let bytes = |frame: hongbao_engine::records::FrameRef<'_>| frame.records().map(|(_, r)| r.len()).sum();
    let sizes: Vec<usize> = read.frames().map(bytes).collect();
    assert!(sizes.len() == 3 && sizes.iter().all(|size| *size <= 4 << 20), "{sizes:?}");
    process.commit_all();
    assert_eq!(check_store(&log, P0, &store), 9);
}

#[test]
fn a_long_book_is_folded_anew_in_pieces() {
    let (log, store) = (durable_log(1), Arc::new(MemoryStore::new()));
    let mut process = Process::open(&log, &store, LedgerLimits::default()).unwrap();
    let text = "c".repeat(400_000);
    let records: Vec<Record> =
        (0..20).map(|n| large_order(&format!("u_s_{n}_t_0"), "u", "COUPON/0", 1, &text)).collect();
    for record in &records {
        outcomes(&mut process.shard, std::slice::from_ref(record));
    }
    let mut process = Process::open(&log, &store, small()).unwrap();
    assert!(check_store(&log, P0, &store) > 15 && process.shard.uncommitted() < 4);
    assert_eq!(outcomes(&mut process.shard, &records), vec![Outcome::AlreadyCredited; 20]);
    process.commit_all();
    assert_eq!(check_store(&log, P0, &store), 20);
}

fn write_to_book(log: &MemoryLog, record: &[u8]) {
    let mut records = RecordBuf::new();
    records.push(record);
    let frame = Frame { topic: BOOK_TOPIC, envelope: Envelope::PRODUCER, records: &records };
    log.append(P0, &[frame]).unwrap();
}

#[test]
fn a_book_that_the_store_does_not_know_is_not_opened() {
    type Damage = fn(&MemoryLog);
    let cases: [(&str, Damage, u64); 6] = [
        ("lost its end", |log| log.lose_from(P0, BOOK_TOPIC, 3), 3),
        ("lost everything", |log| log.lose_from(P0, BOOK_TOPIC, 0), 0),
        ("another last record", |log| assert!(log.overwrite(P0, BOOK_TOPIC, 3, &cash(9, 1))), 3),
        ("not an order", |log| write_to_book(log, b"not an order"), 4),
        ("no amount", |log| write_to_book(log, &cash(9, 0)), 4),
        ("lost half", |log| log.lose_from(P0, BOOK_TOPIC, 2), 2),
    ];
    for (name, damage, at) in cases {
        let (log, store) = (durable_log(1), Arc::new(MemoryStore::new()));
        let mut process = Process::open(&log, &store, small()).unwrap();
        outcomes(&mut process.shard, &[cash(1, 5), cash(2, 5)]);
        outcomes(&mut process.shard, &[cash(3, 5), cash(4, 5)]);
        process.commit_all();
        damage(&log);
        let error = Process::open(&log, &store, small()).err().expect(name);
        assert!(matches!(error, LedgerError::Book { offset, .. } if offset == at), "{name}: {error}");
        assert_eq!(store.applied().unwrap().offset, 4, "{name}: the store is left alone");
    }
}

#[test]
fn a_second_writer_of_the_book_stops_the_shard() {
    let (log, store) = (durable_log(1), Arc::new(MemoryStore::new()));
    let mut process = Process::open(&log, &store, small()).unwrap();
    outcomes(&mut process.shard, &[cash(1, 5)]);
    write_to_book(&log, &cash(2, 5));
    process.shard.credit(&batch(P0, &[cash(3, 5)])).unwrap();
    let error = process.shard.append().unwrap_err();
    assert!(matches!(error, LedgerError::Book { offset: 1, .. }), "{error}");
    process.shard.commit(&process.committer, true).unwrap();
    process.committer.run_ready();
    assert_eq!(store.applied().unwrap().offset, 0, "nothing is committed after that");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Balances go through the store, the cache or both; sums above i64 stay exact (I8).
    #[test]
    fn accounts_are_the_sums_of_the_book(
        amounts in prop::collection::vec((0_u64..6, prop_oneof![1_i64..1000, Just(i64::MAX)], any::<bool>()), 1..40),
    ) {
        let (log, store) = (durable_log(1), Arc::new(MemoryStore::new()));
        let mut process = Process::open(&log, &store, small()).unwrap();
        for (n, (person, amount, reopen)) in amounts.iter().enumerate() {
            let asset = ["CNY/2", "COUPON/0"][n % 2];
            outcomes(&mut process.shard, &[order(&format!("o{n}"), &format!("u{person}"), asset, *amount)]);
            process.commit_all();
            prop_assert_eq!(check_store(&log, P0, &store), n + 1);
            if *reopen {
                process = Process::open(&log, &store, small()).unwrap();
            }
        }
    }
}
