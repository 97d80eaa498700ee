//! Log, stores and clock, and over them the folds and the dispatcher of a process, stepped by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::{Clock, ManualClock};
use hongbao_engine::commit::Committer;
use hongbao_engine::log::{Log, LogError, Position};
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_engine::seen::SeenLimits;
use hongbao_engine::task::{TaskPolicy, TaskPorts, TaskRunner, TaskSpec};
use hongbao_processors::controls::ControlWriter;
use hongbao_processors::intake::{AWARDS, Counts, Intake, IntakeBoard, IntakeSpec, JOURNAL, STAGE, Verdict};
use hongbao_processors::views::{Views, ViewsLimits, ViewsReader};
use hongbao_resume::{FoldedJournal, PartitionFolds};
use hongbao_schemas::control::ControlKey;
use hongbao_schemas::settings::Settings;
use hongbao_sinks::dispatch::{Dispatcher, DispatcherSpec, LaneSpec, Policy, PoolSpec, Ports, Step};
use hongbao_sinks::downstream::Downstream;
use hongbao_sinks::limits::rate::Rate;
use hongbao_topology::Topology;
use parking_lot::{Mutex, MutexGuard};

use super::downstream::{Script, Scripted};

/// 2027-02-05T20:00:00+08:00.
const START_MS: i64 = 1_801_828_800_000;
const TICK: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(1);

/// Everything that outlives a process, and the process.
pub struct World {
    topology: Topology,
    settings: Settings,
    clock: Arc<ManualClock>,
    log: Arc<MemoryLog>,
    stores: Vec<[Arc<MemoryStore>; 2]>,
    scripts: BTreeMap<String, Arc<Mutex<Script>>>,
    writers: u8,
    process: Option<Process>,
}

struct Process {
    intakes: Vec<TaskRunner<Intake>>,
    views: Vec<TaskRunner<Views>>,
    boards: Vec<Arc<IntakeBoard>>,
    reader: Arc<ViewsReader>,
    dispatcher: Dispatcher,
}

fn key() -> ControlKey {
    ControlKey::new([7; 32])
}

impl World {
    /// A world with the settings of a topology in force.
    pub fn new(topology: Topology) -> Self {
        let clock = Arc::new(ManualClock::at(START_MS));
        let downstreams = topology.downstreams().iter();
        let mut world = Self {
            settings: topology.settings(0),
            log: Arc::new(MemoryLog::new(topology.partitions(), clock.clone())),
            stores: (0..topology.partitions()).map(|_| <[Arc<MemoryStore>; 2]>::default()).collect(),
            scripts: downstreams.map(|downstream| (downstream.name().to_owned(), Arc::default())).collect(),
            topology,
            clock,
            writers: 0,
            process: None,
        };
        world.restart();
        let topology = world.topology.clone();
        world.change(&topology);
        world
    }

    /// Puts the settings of a topology in force.
    pub fn change(&mut self, topology: &Topology) {
        self.settings = topology.settings(self.settings.number + 1);
        let (number, body) = (self.settings.number.cast_signed(), self.settings.to_json().unwrap());
        self.control(|writer, partition, at_ms| writer.settings(partition, number, &body, at_ms));
        self.tick();
        self.fold();
    }

    fn tick(&self) {
        self.control(|writer, partition, at_ms| writer.tick(partition, at_ms));
    }

    /// Writes to all partitions.
    fn control(&self, write: impl Fn(&ControlWriter<'_>, Partition, i64) -> Result<Position, LogError>) {
        let writer = ControlWriter { log: &*self.log, key: &key() };
        for partition in (0..self.log.partitions()).map(Partition) {
            write(&writer, partition, self.clock.wall_ms()).unwrap();
        }
    }

    fn append(&self, partition: u16, record: &[u8]) -> u64 {
        let mut records = RecordBuf::new();
        records.push(record);
        let frame = Frame { topic: AWARDS, envelope: Envelope::PRODUCER, records: &records };
        self.log.append(Partition(partition), &[frame]).unwrap().first_offsets[0]
    }

    /// The partition of a person.
    pub fn partition_of(&self, act_id: &str) -> u16 {
        partition_of(act_id.as_bytes(), self.log.partitions()).0
    }

    /// The reward type of a scene.
    pub fn reward_type_of(&self, scene_id: &str) -> Option<String> {
        let scenes = self.settings.activities.values().find_map(|activity| activity.scenes.get(scene_id));
        scenes.map(|scene| scene.reward_type.clone())
    }

    /// What is known of a downstream.
    pub fn script(&self, downstream: &str) -> MutexGuard<'_, Script> {
        self.scripts.get(downstream).unwrap_or_else(|| panic!("no downstream {downstream}")).lock()
    }

    /// Appends a record and folds it; nothing is sent yet. Returns the verdict, or
    /// the code of a refusal.
    pub fn decide(&mut self, partition: u16, record: &[u8]) -> String {
        let offset = self.append(partition, record);
        let told: Arc<Mutex<Option<String>>> = Arc::default();
        let tell = Arc::clone(&told);
        let answer = Box::new(move |verdicts: Vec<Option<Verdict>>| {
            *tell.lock() = Some(match verdicts[0].unwrap() {
                Verdict::Rejected(refusal) => refusal.code().to_owned(),
                verdict => verdict.as_str().to_owned(),
            });
        });
        let watch = self.process().boards[usize::from(partition)].watch(offset, 1, answer);
        self.fold();
        drop(watch);
        told.lock().take().unwrap()
    }

    fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// The views of the running process.
    pub fn reader(&self) -> &ViewsReader {
        &self.process().reader
    }

    /// Verdicts so far.
    pub fn counts(&self) -> Counts {
        self.process().boards.iter().map(|board| board.counts()).sum()
    }

    /// Folds everything that is in the log.
    pub fn fold(&mut self) {
        let process = self.process.as_mut().unwrap();
        process.intakes.iter_mut().for_each(|task| task.drain().unwrap());
        process.views.iter_mut().for_each(|task| task.drain().unwrap());
    }

    /// Lets time pass: everything works, a millisecond after the other.
    pub fn run(&mut self, time: Duration) {
        let end = self.clock.monotonic() + time;
        let mut tick_at = self.clock.monotonic() + TICK;
        while self.clock.monotonic() < end {
            self.work();
            self.clock.advance(STEP);
            if self.clock.monotonic() >= tick_at {
                tick_at += TICK;
                self.tick();
            }
        }
        self.work();
    }

    /// Time passes, and nobody works.
    pub fn sleep(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn work(&mut self) {
        loop {
            self.fold();
            if !matches!(self.process.as_mut().unwrap().dispatcher.step().unwrap(), Step::Worked(_)) {
                return;
            }
        }
    }

    /// Commits what the folds hold.
    pub fn commit(&mut self) {
        let process = self.process.as_mut().unwrap();
        process.intakes.iter_mut().for_each(|task| task.commit_now().unwrap());
        process.views.iter_mut().for_each(|task| task.commit_now().unwrap());
    }

    /// The process ends without a word, and another begins.
    pub fn restart(&mut self) {
        self.process = None;
        self.writers += 1;
        let committer = Arc::new(Committer::manual(self.log.clone(), 64));
        let reader = Arc::new(ViewsReader::new(self.log.partitions()));
        let (mut intakes, mut views, mut boards) = (Vec::new(), Vec::new(), Vec::new());
        for (partition, [intake_store, view_store]) in self.stores.iter().enumerate() {
            let partition = Partition(partition as u16);
            let ports = |store: &Arc<MemoryStore>| TaskPorts {
                log: self.log.clone(),
                store: store.clone(),
                committer: committer.clone(),
                clock: self.clock.clone(),
            };
            let board = Arc::new(IntakeBoard::new());
            intakes.push(intake(partition, self.log.partitions(), ports(intake_store), &board));
            views.push(view(partition, ports(view_store), &reader));
            boards.push(board);
        }
        let folds = intakes
            .iter()
            .map(TaskRunner::status)
            .zip(views.iter().map(TaskRunner::status))
            .map(|(intake, views)| PartitionFolds { intake, views });
        let admit = Box::new(|_: &str, _, _| Ok(()));
        let view = Arc::new(FoldedJournal::new(reader.clone(), folds.collect(), admit));
        let downstreams = self.topology.downstreams().iter().map(|downstream| {
            let scripted = Scripted::new(downstream.kind(), self.scripts[downstream.name()].clone());
            (downstream.name().to_owned(), Box::new(scripted) as Box<dyn Downstream>)
        });
        let ports = Ports {
            log: self.log.clone(),
            clock: self.clock.clone(),
            view,
            downstreams: downstreams.collect(),
        };
        let dispatcher = Dispatcher::open(spec(&self.topology, self.writers), ports).unwrap();
        self.process = Some(Process { intakes, views, boards, reader, dispatcher });
        self.fold();
    }

    /// What must be true at any time.
    pub fn is_sound(&self, context: &str) {
        let counts = self.counts();
        assert_eq!(counts.read, counts.sum(), "{context}: every record has one verdict (I1)");
        assert_eq!(self.reader().contradictions(), Ok(0), "{context}: contradictions");
        for (name, script) in &self.scripts {
            assert_eq!(script.lock().faults, Vec::<String>::new(), "{context}: {name}");
        }
    }
}

fn intake(
    partition: Partition,
    partitions: u16,
    ports: TaskPorts,
    board: &Arc<IntakeBoard>,
) -> TaskRunner<Intake> {
    let name = format!("intake/{partition}");
    let task = TaskSpec { name: &name, source: STAGE, partition, input_topic: AWARDS, outputs: &[] };
    let spec = IntakeSpec {
        partition,
        partitions,
        control_key: key(),
        // Small, so that the store is asked too.
        seen: SeenLimits { window_keys_max: 4 },
        board: Arc::clone(board),
    };
    let store = Arc::clone(&ports.store);
    TaskRunner::open(&task, ports, TaskPolicy::default(), |outputs| Intake::open(spec, store, outputs))
        .unwrap()
}

fn view(partition: Partition, ports: TaskPorts, reader: &ViewsReader) -> TaskRunner<Views> {
    let name = format!("views/{partition}");
    let task = TaskSpec { name: &name, source: "views", partition, input_topic: JOURNAL, outputs: &[] };
    let limits = ViewsLimits { users_max: 4, recent_orders_max: 4, known_users_bytes: 1 << 10 };
    let store = Arc::clone(&ports.store);
    TaskRunner::open(&task, ports, TaskPolicy::default(), |_| {
        Ok(Views::open(partition.0, store, limits, reader)?)
    })
    .unwrap()
}

fn spec(topology: &Topology, writer: u8) -> DispatcherSpec {
    let lanes = topology.lanes().iter().map(|lane| LaneSpec {
        name: lane.name().to_owned(),
        downstream: lane.downstream().to_owned(),
        rate: Rate::with_burst(lane.rate_per_second(), lane.burst()),
        query_rate: Rate::per_second(lane.query_rate_per_second()),
    });
    let pools = topology.pools().iter().map(|pool| PoolSpec {
        name: pool.name().to_owned(),
        rate: Rate::with_burst(pool.rate_per_second(), pool.burst()).unwrap(),
        rank: pool.rank().to_vec(),
        floor_permille: u32::from(pool.floor_percent()) * 10,
    });
    DispatcherSpec {
        partitions: (0..topology.partitions()).map(Partition).collect(),
        lanes: lanes.collect(),
        pools: pools.collect(),
        writer: [writer; 16],
        seed: 1,
        policy: Policy::default(),
    }
}
