//! The real intake, over random awards, commits and crashes, writes and keeps what the plain model
//! says.

use std::sync::Arc;
use std::time::Duration;

use hongbao_audit::verdicts::AWARDS;
use hongbao_audit::{IntakeAudit, JournalAudit, Report, applied_offset, check_decided, check_intake_store};
use hongbao_engine::clock::ManualClock;
use hongbao_engine::commit::Committer;
use hongbao_engine::log::Log;
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_engine::seen::SeenLimits;
use hongbao_engine::task::{TaskPolicy, TaskPorts, TaskRunner, TaskSpec};
use hongbao_processors::intake::{Intake, IntakeBoard, IntakeSpec};
use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::control::ControlKind;
use hongbao_schemas::ext::ExtBuf;
use proptest::prelude::*;

use super::world::{HOME, START_MS, control, control_key, encoded, settings};

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    Append(Vec<u8>),
    Apply,
    Commit,
    Crash,
}

/// Awards of few people and rains, so that numbers meet again; some are wrong in some way.
fn any_award() -> impl Strategy<Value = Vec<u8>> {
    let one_of = |texts: &'static [&'static str]| prop::sample::select(texts);
    let names = (
        one_of(&["a", "a", "a_1", "d", "é"]),
        one_of(&["spring", "spring", "spring", "spring", "autumn"]),
        one_of(&["rain", "rain", "film", "snow"]),
        one_of(&["cash", "cash", "film"]),
        one_of(&["", "", "t1"]),
    );
    let values = (prop::sample::select(vec![1_i64, 1, 1, 2, 0, -1, 200, 201]), 0..3_u32, 0..16_u32);
    (names, values).prop_map(
        |((act_id, activity_id, scene_id, kind, reward_id), (amount_minor, rain, twist))| {
            let order_no = match twist {
                0 => "a_rain_r1".to_owned(),
                1 => format!("a_{scene_id}_r{rain}_x_1"),
                2 => format!("{act_id}_rain_r{rain}_x_1"),
                3 => format!("{act_id}_{scene_id}_r{rain}_x_{}", "1".repeat(128)),
                _ => format!("{act_id}_{scene_id}_r{rain}_x_1"),
            };
            let [act_id, activity_id, scene_id, reward_type, reward_id] =
                [act_id, activity_id, scene_id, kind, reward_id].map(str::to_owned);
            encoded(&AwardBuf {
                order_no,
                act_id,
                activity_id,
                scene_id,
                reward_type,
                reward_id,
                amount_minor,
                event_time_ms: START_MS + i64::from(twist),
                app: String::new(),
                ext: ExtBuf::new(),
            })
        },
    )
}

fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let step_ms = prop::sample::select(vec![-1_i64, 0, 1000, 299_000, 600_000, 9_000_000_000]);
    let lane = prop::sample::select(vec!["coupon", "coupon", "a-lane", "Not A Lane"]);
    prop_oneof![
        30 => any_award(),
        1 => (0..9_i64, step_ms).prop_map(|(number, step_ms)| control(ControlKind::Tick, number, START_MS + step_ms, "")),
        1 => (0..6_i64, 1..6_u64, lane).prop_map(|(number, stated, lane)| {
            // Mostly the same number twice; otherwise the settings cannot be in force.
            let stated = if stated == 1 { 1 } else { number.cast_unsigned() };
            let body = settings(stated).replace("\"lane\": \"coupon\"", &format!("\"lane\": {lane:?}"));
            control(ControlKind::Settings, number, START_MS, &body)
        }),
        1 => prop::collection::vec(any::<u8>(), 0..4),
        1 => any_award().prop_map(|mut record| { record.push(0); record }),
        1 => any_award().prop_map(|mut record| { record.truncate(20); record }),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        40 => any_record().prop_map(Event::Append),
        4 => Just(Event::Apply),
        2 => Just(Event::Commit),
        1 => Just(Event::Crash),
    ]
}

struct Rig {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
    runner: TaskRunner<Intake>,
}

impl Rig {
    fn open(log: Arc<MemoryLog>, store: Arc<MemoryStore>) -> Self {
        let committer = Committer::manual(log.clone(), 4);
        let ports = TaskPorts {
            log: log.clone(),
            store: store.clone(),
            committer: committer.into(),
            clock: Arc::new(ManualClock::at(START_MS)),
        };
        let task = TaskSpec {
            name: "intake/0",
            source: "intake",
            partition: HOME,
            input_topic: AWARDS,
            outputs: &[],
        };
        let policy = TaskPolicy {
            read_bytes_max: 200,
            commit_interval: Duration::from_secs(3600),
            ..TaskPolicy::default()
        };
        let spec = IntakeSpec {
            partition: HOME,
            partitions: log.partitions(),
            control_key: control_key(),
            seen: SeenLimits { window_keys_max: 4 },
            board: Arc::new(IntakeBoard::new()),
        };
        let state = store.clone();
        let runner =
            TaskRunner::open(&task, ports, policy, |outputs| Intake::open(spec, state, outputs)).unwrap();
        Self { log, store, runner }
    }

    fn follow(mut self, event: &Event) -> Self {
        match event {
            Event::Append(record) => {
                let mut records = RecordBuf::new();
                records.push(record);
                let frame = Frame { topic: AWARDS, envelope: Envelope::PRODUCER, records: &records };
                self.log.append(HOME, &[frame]).unwrap();
            }
            Event::Apply => self.runner.drain().unwrap(),
            Event::Commit => self.runner.commit_now().unwrap(),
            Event::Crash => return Self::open(self.log, self.store),
        }
        self
    }

    fn audit(&self) -> Report {
        let (log, mut report) = (&*self.log as &dyn Log, Report::new());
        let mut intake = IntakeAudit::open(log, HOME, control_key()).unwrap();
        let applied = applied_offset(&*self.store, "intake-0", (log, HOME, AWARDS), &mut report).unwrap();
        intake.advance(applied, &mut report).unwrap();
        check_intake_store(&*self.store, "intake-0", &intake.verdicts, &mut report).unwrap();
        intake.advance(intake.end().unwrap(), &mut report).unwrap();
        let (verdicts, undecided) = intake.finish(&mut report).unwrap();
        check_decided("intake-0", applied, undecided, &mut report);
        let mut journal = JournalAudit::open(log, HOME).unwrap();
        journal.advance(journal.end().unwrap(), &mut report).unwrap();
        let journal = journal.finish(&mut report);
        if undecided.is_none() {
            let accepted: Vec<_> = journal.orders().map(|order| order.award_offset).collect();
            assert_eq!(accepted.len() as u64, verdicts.counts.accepted);
        }
        report
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn intake_and_the_model_agree(events in prop::collection::vec(any_event(), 0..150)) {
        let log = Arc::new(MemoryLog::new(2, Arc::new(ManualClock::at(START_MS))));
        let mut rig = Rig::open(log, Arc::new(MemoryStore::new()));
        let first = Event::Append(control(ControlKind::Settings, 1, 0, &settings(1)));
        for event in std::iter::once(&first).chain(&events) {
            rig = rig.follow(event);
            if matches!(event, Event::Commit) {
                let report = rig.audit();
                prop_assert_eq!(report.broken(), [], "{:#?}", report);
            }
        }
        let report = rig.audit();
        prop_assert_eq!(report.broken(), [], "{:#?}", report);
    }
}
