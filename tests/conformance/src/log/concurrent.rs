//! Checks of what threads see of each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hongbao_engine::log::Log;
use hongbao_engine::records::RecordBuf;

use super::{ALL_BYTES, ONE, ZERO, append, produced, range, read, read_all, records, texts, wait_durable};

/// What is readable is durable, what is durable is readable, and progress tells of it (I25).
pub fn only_durable_records_are_readable(log: &Arc<dyn Log>) {
    let log = &**log;
    for round in 0..200_u64 {
        let before = log.progress().version();
        let buf = records("a", round, 1);
        let appended = append(log, ZERO, &[produced("awards", &buf)]);
        // Both only grow, so the one asked first is never ahead of the other.
        let readable = range(log, ZERO, "awards").1 > round;
        let durable = super::ok(log.durable(ZERO), "durable") >= appended.position;
        assert!(!readable || durable, "record {round} is readable and not durable");
        if !durable {
            assert!(
                read(log, ZERO, "awards", range(log, ZERO, "awards").0, 0).len() as u64 <= round + 1,
                "more than was appended"
            );
        }
        if round % 10 == 0 {
            wait_durable(log, ZERO, appended.position);
        }
        let durable = super::ok(log.durable(ZERO), "durable") >= appended.position;
        let readable = range(log, ZERO, "awards").1 > round;
        assert!(readable || !durable, "record {round} is durable and not readable");
        if round % 10 == 0 {
            assert!(log.progress().version() > before, "progress was not bumped");
        }
    }
}

/// A reader never sees a later frame of a group without the earlier ones.
pub fn groups_become_readable_whole(log: &Arc<dyn Log>) {
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (log, done) = (Arc::clone(log), Arc::clone(&done));
        thread::spawn(move || {
            loop {
                let last = done.load(Ordering::SeqCst);
                // Asked in reverse of the listed order: what was seen of the later topic must
                // already be there in the earlier one.
                let lane = range(&*log, ZERO, "orders.cash").1;
                let journal = range(&*log, ZERO, "journal").1;
                assert!(journal >= 2 * lane, "{lane} orders are readable, but {journal} facts");
                if lane > 0 {
                    assert!(!read(&*log, ZERO, "journal", 2 * lane - 1, ALL_BYTES).is_empty());
                }
                if last {
                    return lane;
                }
            }
        })
    };
    let mut last = None;
    for round in 0..300_u64 {
        let facts = records("j", 2 * round, 2);
        let order = records("o", round, 1);
        let group = [produced("journal", &facts), produced("orders.cash", &order)];
        last = Some(append(&**log, ZERO, &group).position);
    }
    wait_durable(&**log, ZERO, last.unwrap_or_default());
    done.store(true, Ordering::SeqCst);
    let seen = reader.join().unwrap_or_else(|_| panic!("the reader failed"));
    assert_eq!(seen, 300, "orders seen at the end");
}

/// Groups of several threads interleave only as wholes, and each thread's stay in order.
pub fn producers_on_threads(log: &Arc<dyn Log>) {
    const THREADS: u64 = 4;
    const GROUPS: u64 = 100;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let log = Arc::clone(log);
            thread::spawn(move || {
                for group in 0..GROUPS {
                    let mut buf = RecordBuf::new();
                    for number in 0..3 {
                        buf.push(format!("{thread} {}", group * 3 + number).as_bytes());
                    }
                    for partition in [ZERO, ONE] {
                        let appended = append(&*log, partition, &[produced("awards", &buf)]);
                        if group % 10 == 0 {
                            wait_durable(&*log, partition, appended.position);
                            let first = appended.first_offsets[0];
                            let found = read(&*log, partition, "awards", first, 0);
                            assert_eq!(texts(&found)[0], format!("{thread} {}", group * 3));
                        }
                        if group + 1 == GROUPS {
                            wait_durable(&*log, partition, appended.position);
                        }
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap_or_else(|_| panic!("a producer failed"));
    }
    for partition in [ZERO, ONE] {
        let all = texts(&read_all(&**log, partition, "awards", 10_000));
        assert_eq!(all.len() as u64, THREADS * GROUPS * 3);
        let mut next = [0_u64; THREADS as usize];
        for group in all.chunks(3) {
            let thread: usize = group[0].split(' ').next().and_then(|t| t.parse().ok()).unwrap_or(usize::MAX);
            for record in group {
                assert_eq!(*record, format!("{thread} {}", next[thread]), "out of order, or a torn group");
                next[thread] += 1;
            }
        }
    }
}
