//! Views in the engine's task loop: commits on its threads, restarts, repeated records.

use std::sync::Arc;

use hongbao_engine::clock::ManualClock;
use hongbao_engine::commit::Committer;
use hongbao_engine::log::Log;
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_engine::store::Store;
use hongbao_engine::task::{Step, Task, TaskPolicy, TaskPorts, TaskRunner, TaskSpec};
use hongbao_schemas::journal::CreditStage::{Credited, Started};

use super::books::agree;
use super::journal::{CASH, FILM, Journal};
use super::model::Model;
use super::rig::TINY;
use crate::views::{Views, ViewsReader};

const FRAME: usize = 5;

fn journal() -> Journal {
    let mut journal = Journal::default();
    for round in 0..20 {
        for order in 0..6 {
            journal.accept(["u", "v", "w"][order % 3], [CASH, FILM][order % 2], 5);
        }
        journal.credit(Started, "cash", &[(round * 3 + 1, 3)], 0, "");
        journal.credit(Credited, "cash", &[(round * 3 + 1, 2)], 0, "");
    }
    journal
}

fn append(log: &MemoryLog, journal: &Journal, from: usize) {
    for (place, records) in (0..).zip(journal.records.chunks(FRAME)).skip(from / FRAME) {
        let mut buf = RecordBuf::new();
        records.iter().for_each(|record| buf.push(record));
        let envelope = Envelope { source: "intake", epoch: 0, first_seq: place * FRAME as u64 + 1 };
        log.append(Partition(0), &[Frame { topic: "journal", envelope, records: &buf }]).unwrap();
    }
}

#[test]
fn a_task_folds_commits_and_goes_on_after_a_restart() {
    let journal = journal();
    let clock = Arc::new(ManualClock::at(0));
    let log = Arc::new(MemoryLog::new(1, clock.clone()));
    append(&log, &journal, 0);
    // A writer that appended again what it did not know to be in the log already.
    append(&log, &journal, 100);
    let committer = Arc::new(Committer::start(log.clone(), 1, 4).unwrap());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let spec = TaskSpec {
        name: "views/0",
        source: "views",
        partition: Partition(0),
        input_topic: "journal",
        outputs: &[],
    };
    let policy = TaskPolicy { read_bytes_max: 900, commit_records: 20, ..TaskPolicy::default() };
    for restart in 0..3 {
        let ports = TaskPorts {
            log: log.clone(),
            store: store.clone(),
            committer: committer.clone(),
            clock: clock.clone(),
        };
        let reader = ViewsReader::new(1);
        let build = |_: &mut _| Ok(Views::open(0, store.clone(), TINY, &reader)?);
        let mut task = TaskRunner::open(&spec, ports, policy.clone(), build).unwrap();
        // The first two lives end before their work is done.
        for _ in 0..[4, 9, 1000][restart] {
            task.step().unwrap();
        }
        if restart == 2 {
            assert_eq!(task.step().unwrap(), Step::Idle);
            let model = Model::of(&journal.records);
            agree(&reader, &model, &["u", "v", "w"], &["cash", "coupon"]);
            task.stop().unwrap();
            agree(&reader, &model, &["u", "v", "w"], &["cash", "coupon"]);
            let end = log.range(Partition(0), "journal").unwrap().1;
            assert_eq!(store.applied().unwrap().offset, end);
        }
    }
}
