//! Intake under the real task loop: crashes anywhere leave the same topics.

use std::sync::Arc;

use hongbao_engine::clock::ManualClock;
use hongbao_engine::commit::Committer;
use hongbao_engine::log::Log;
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::records::{Envelope, Frame, ReadBatch, RecordBuf};
use hongbao_engine::seen::SeenLimits;
use hongbao_engine::task::{Task, TaskPolicy, TaskPorts, TaskRunner, TaskSpec};
use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::control::ControlKind;

use super::harness::{
    PARTITION, PARTITIONS, award, control, control_key, encoded, settings, settings_with_lane, tick,
};
use crate::intake::{AWARDS, DEAD_LETTERS, Intake, IntakeBoard, IntakeSpec, JOURNAL, STAGE};

const TOPICS: [&str; 5] = [JOURNAL, DEAD_LETTERS, "orders.cash", "orders.coupon", "orders.a-cinema"];

/// Records of every kind, with a change of lanes in the middle.
fn inputs() -> Vec<Vec<u8>> {
    let mut records = vec![settings(1), tick(1, 5_000)];
    for index in 0..60_u32 {
        let stage = index * 7 % 40;
        let (scene, kind) = if stage % 2 == 0 { ("rain", "cash") } else { ("film", "film") };
        let award = AwardBuf {
            order_no: format!("a_{scene}_r1_x_{stage}"),
            scene_id: scene.to_owned(),
            reward_type: kind.to_owned(),
            amount_minor: if index % 13 == 0 { 2 } else { 1 },
            ..award()
        };
        records.push(encoded(&award.as_award()));
        match index {
            20 => records.push(b"noise".to_vec()),
            30 => {
                let json = settings_with_lane(2, "a-cinema");
                records.push(control(ControlKind::Settings, PARTITION.0, 2, 0, json.as_bytes()));
            }
            45 => records.push(tick(2, 6_000)),
            _ => {}
        }
    }
    records
}

struct World {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
    board: Arc<IntakeBoard>,
}

impl World {
    fn new() -> Self {
        let log = Arc::new(MemoryLog::new(PARTITIONS, Arc::new(ManualClock::at(1))));
        for record in inputs() {
            let mut records = RecordBuf::new();
            records.push(&record);
            let frame = Frame { topic: AWARDS, envelope: Envelope::PRODUCER, records: &records };
            log.append(PARTITION, &[frame]).unwrap();
        }
        Self { log, store: Arc::default(), board: Arc::default() }
    }

    fn open(&mut self) -> TaskRunner<Intake> {
        self.board = Arc::default();
        let task = TaskSpec {
            name: "intake/0",
            source: STAGE,
            partition: PARTITION,
            input_topic: AWARDS,
            outputs: &[JOURNAL, DEAD_LETTERS],
        };
        let ports = TaskPorts {
            log: self.log.clone(),
            store: self.store.clone(),
            committer: Arc::new(Committer::manual(self.log.clone(), 4)),
            clock: Arc::new(ManualClock::at(1)),
        };
        let policy = TaskPolicy { read_bytes_max: 1, ..TaskPolicy::default() };
        let spec = IntakeSpec {
            partition: PARTITION,
            partitions: PARTITIONS,
            control_key: control_key(),
            seen: SeenLimits { window_keys_max: 4 },
            board: self.board.clone(),
        };
        let store = self.store.clone();
        TaskRunner::open(&task, ports, policy, |outputs| Intake::open(spec, store, outputs)).unwrap()
    }

    fn topics(&self) -> Vec<Vec<Vec<u8>>> {
        let read = |topic| {
            let mut batch = ReadBatch::new();
            self.log.read(PARTITION, topic, 0, usize::MAX, &mut batch).unwrap();
            batch.frames().flat_map(|frame| frame.records()).map(|(_, record)| record.to_vec()).collect()
        };
        TOPICS.into_iter().map(read).collect()
    }
}

#[test]
fn crashes_anywhere_leave_the_same_topics_and_counts() {
    let mut calm = World::new();
    calm.open().drain().unwrap();
    let (topics, counts) = (calm.topics(), calm.board.counts());
    assert!(topics.iter().all(|records| !records.is_empty()));
    // Steps before each crash, and whether a commit comes before it.
    for (steps, commits) in [(1, true), (2, true), (3, false), (7, true), (40, true), (64, false)] {
        let mut world = World::new();
        for _ in 0..inputs().len() / steps {
            let mut task = world.open();
            for _ in 0..steps {
                task.step().unwrap();
            }
            if commits {
                task.commit_now().unwrap();
                task.step().unwrap();
            }
        }
        world.open().drain().unwrap();
        assert_eq!(world.topics(), topics, "a crash every {steps} steps");
        assert_eq!(world.board.counts(), counts, "a crash every {steps} steps");
    }
}
