//! Runs an intake over records in memory, as the task loop does: outputs are numbered by topic,
//! compared when they are made again, and commits carry offset and sequences.

use std::collections::BTreeMap;
use std::sync::Arc;

use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::Partition;
use hongbao_engine::processor::{Outputs, Processor};
use hongbao_engine::records::ReadBatch;
use hongbao_engine::seen::SeenLimits;
use hongbao_engine::store::{Applied, Rows, Store};
use hongbao_schemas::award::{Award, AwardBuf};
use hongbao_schemas::control::{Control, ControlKey, ControlKind};
use hongbao_schemas::ext::ExtBuf;

use crate::intake::{Intake, IntakeBoard, IntakeSpec, Verdict};

/// Act ids `a` and `a_1` are of partition 0 of 2, `d` is not; a test asserts it.
pub(super) const PARTITION: Partition = Partition(0);
pub(super) const PARTITIONS: u16 = 2;

pub(super) fn control_key() -> ControlKey {
    ControlKey::new([7; 32])
}

/// Settings with this number: activities `spring` (scenes `rain`, `film`) and `empty`.
pub(super) fn settings_json(number: u64) -> String {
    settings_with_lane(number, "coupon")
}

/// The same, with coupons going to `lane`.
pub(super) fn settings_with_lane(number: u64, lane: &str) -> String {
    format!(
        r#"{{"number": {number}, "name": "test",
        "reward_types": {{
            "cash": {{"asset": "CNY/2", "max_minor": 200, "lane": "cash"}},
            "film": {{"asset": "COUPON/0", "max_minor": 1, "lane": "{lane}"}}}},
        "activities": {{
            "spring": {{"scenes": {{
                "rain": {{"reward_type": "cash", "text": "rain", "reconcile": true}},
                "film": {{"reward_type": "film", "text": "film", "reconcile": false}}}}}},
            "empty": {{"scenes": {{}}}}}},
        "reconcile_overdue_after_ms": 900000}}"#
    )
}

pub(super) fn settings(number: u64) -> Vec<u8> {
    control(ControlKind::Settings, PARTITION.0, number.cast_signed(), 0, settings_json(number).as_bytes())
}

pub(super) fn tick(number: i64, at_ms: i64) -> Vec<u8> {
    control(ControlKind::Tick, PARTITION.0, number, at_ms, b"")
}

pub(super) fn control(kind: ControlKind, partition: u16, number: i64, at_ms: i64, body: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    Control::seal(kind, partition, number, at_ms, body, &control_key()).encode(&mut record);
    record
}

/// A valid award of 100 fen; tests change what they are about.
pub(super) fn award() -> AwardBuf {
    AwardBuf {
        order_no: "a_rain_r1_cash_1".to_owned(),
        act_id: "a".to_owned(),
        activity_id: "spring".to_owned(),
        scene_id: "rain".to_owned(),
        reward_type: "cash".to_owned(),
        reward_id: String::new(),
        amount_minor: 100,
        event_time_ms: 1_643_601_600_000,
        app: "douyin".to_owned(),
        ext: ExtBuf::new(),
    }
}

pub(super) fn encoded(award: &Award<'_>) -> Vec<u8> {
    let mut record = Vec::new();
    award.encode(&mut record);
    record
}

/// Next sequence by topic.
type Sequences = BTreeMap<String, u64>;

pub(super) struct Harness {
    pub(super) store: Arc<MemoryStore>,
    pub(super) board: Arc<IntakeBoard>,
    pub(super) intake: Intake,
    /// Everything given to the intake, by offset.
    pub(super) log: Vec<Vec<u8>>,
    pub(super) applied: usize,
    /// Everything written, by topic and sequence.
    pub(super) written: BTreeMap<(String, u64), Vec<u8>>,
    outputs: Outputs,
    frozen: Option<(Vec<Rows>, usize, Sequences)>,
    committed: Sequences,
}

impl Harness {
    pub(super) fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let (intake, board, outputs) = open(&store, &Sequences::new());
        Self {
            store,
            board,
            intake,
            log: Vec::new(),
            applied: 0,
            written: BTreeMap::new(),
            outputs,
            frozen: None,
            committed: Sequences::new(),
        }
    }

    /// A harness whose intake has settings 1 in force.
    pub(super) fn with_settings() -> Self {
        let mut harness = Self::new();
        harness.feed(&[settings(1)]);
        harness
    }

    /// Appends records to the log and applies them as one batch; returns their verdicts.
    pub(super) fn feed(&mut self, records: &[Vec<u8>]) -> Vec<Verdict> {
        self.log.extend_from_slice(records);
        self.apply(usize::MAX)
    }

    /// Feeds one award.
    pub(super) fn feed_award(&mut self, award: &AwardBuf) -> Verdict {
        self.feed(&[encoded(&award.as_award())])[0]
    }

    /// Applies up to `records_max` records of the log as one batch, in frames of three.
    pub(super) fn apply(&mut self, records_max: usize) -> Vec<Verdict> {
        let first = self.applied;
        let end = self.log.len().min(first.saturating_add(records_max));
        let mut batch = ReadBatch::new();
        for start in (first..end).step_by(3) {
            let frame = batch.next_frame();
            frame.first_offset = start as u64;
            for record in &self.log[start..end.min(start + 3)] {
                frame.bytes.extend_from_slice(record);
                frame.ends.push(frame.bytes.len() as u32);
            }
        }
        let frames: Vec<_> = batch.frames().collect();
        self.intake.apply(&frames, &mut self.outputs).unwrap();
        self.applied = end;
        self.collect();
        let counts = self.board.counts();
        assert_eq!(counts.read, counts.sum(), "counts add up after each batch");
        self.verdicts(first, end)
    }

    /// Verdicts as the board tells them.
    pub(super) fn verdicts(&self, first: usize, end: usize) -> Vec<Verdict> {
        let (tell, told) = std::sync::mpsc::channel();
        let watch =
            self.board.watch(first as u64, end - first, Box::new(move |found| tell.send(found).unwrap()));
        drop(watch);
        told.try_recv().unwrap().into_iter().map(Option::unwrap).collect()
    }

    /// Numbers what was written. What was written before must come out the same (I4).
    fn collect(&mut self) {
        for topic in self.outputs.topics_mut() {
            for index in 0..topic.records.len() {
                let record = topic.records.get(index).unwrap().to_vec();
                let place = (topic.name.to_string(), topic.first_seq + index as u64);
                let before = self.written.insert(place.clone(), record.clone());
                assert!(before.is_none_or(|before| before == record), "{place:?} came out different");
            }
            topic.first_seq += topic.records.len() as u64;
            topic.records.clear();
        }
    }

    pub(super) fn freeze(&mut self) {
        if self.frozen.is_none() {
            let rows = self.intake.freeze().unwrap()().unwrap();
            let sequences = self
                .outputs
                .topics_mut()
                .iter()
                .map(|topic| (topic.name.to_string(), topic.first_seq))
                .collect();
            self.frozen = Some((rows, self.applied, sequences));
        }
    }

    pub(super) fn commit(&mut self) {
        self.freeze();
        let (rows, applied, sequences) = self.frozen.take().unwrap();
        let applied = Applied { offset: applied as u64, last_record_crc: 0 };
        self.store.commit(&rows, applied).unwrap();
        self.committed = sequences;
        self.intake.committed();
    }

    /// A crash: all but the store and the log is lost.
    pub(super) fn reopen(&mut self) {
        self.frozen = None;
        self.applied = self.store.applied().unwrap().offset as usize;
        (self.intake, self.board, self.outputs) = open(&self.store, &self.committed);
    }

    /// Records of a topic in order.
    pub(super) fn topic(&self, name: &str) -> Vec<&[u8]> {
        self.written.iter().filter(|((topic, _), _)| topic == name).map(|(_, record)| &record[..]).collect()
    }
}

fn open(store: &Arc<MemoryStore>, sequences: &Sequences) -> (Intake, Arc<IntakeBoard>, Outputs) {
    let mut outputs = Outputs::new();
    for (topic, first_seq) in sequences {
        outputs.topic(topic);
        outputs.topics_mut().last_mut().unwrap().first_seq = *first_seq;
    }
    let board = Arc::new(IntakeBoard::new());
    let spec = IntakeSpec {
        partition: PARTITION,
        partitions: PARTITIONS,
        control_key: control_key(),
        seen: SeenLimits { window_keys_max: 4 },
        board: board.clone(),
    };
    let intake = Intake::open(spec, store.clone(), &mut outputs).unwrap();
    (intake, board, outputs)
}
