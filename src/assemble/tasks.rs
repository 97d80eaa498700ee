//! The folds of all partitions: their stores, tasks and worker threads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_engine::commit::Committer;
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::seen::SeenCounters;
use hongbao_engine::store::Store;
use hongbao_engine::task::{Task, TaskError, TaskPolicy, TaskPorts, TaskRunner, TaskSpec, TaskStatus};
use hongbao_engine::worker::{Halted, WorkerOptions, Workers};
use hongbao_processors::intake::{AWARDS, Intake, IntakeBoard, IntakeSpec, JOURNAL, STAGE};
use hongbao_processors::views::{Views, ViewsReader};
use hongbao_rocks::{RocksEnv, RocksStore};
use hongbao_schemas::control::ControlKey;

use super::memory::Memory;
use super::settings::FoldedSettings;
use super::store_identity;

/// Threads that build and write commits.
const COMMIT_THREADS: usize = 1;
const COMMIT_QUEUE_MAX: usize = 256;
/// Idle workers look again after this long.
const IDLE_WAIT: Duration = Duration::from_millis(20);

/// What the folds are opened over.
pub struct FoldsSpec<'a> {
    pub log: Arc<dyn Log>,
    /// Tells the log from others.
    pub log_id: u64,
    pub clock: Arc<dyn Clock>,
    pub control_key: ControlKey,
    pub state_dir: &'a Path,
    pub threads: usize,
    pub memory: Memory,
    /// What a task may hold at most; the memory budget may allow less.
    pub policy: TaskPolicy,
    /// How many lanes there are.
    pub lanes: usize,
}

/// What may be known of one partition's folds.
#[derive(Clone)]
pub struct PartitionStatus {
    pub intake: Arc<TaskStatus>,
    pub views: Arc<TaskStatus>,
    pub board: Arc<IntakeBoard>,
    pub seen: Arc<SeenCounters>,
}

impl PartitionStatus {
    /// Whether a fold of the partition has stopped.
    pub fn is_halted(&self) -> bool {
        self.intake.halted().is_some() || self.views.halted().is_some()
    }
}

/// Folds that were opened and do not run yet. A fold that could not be opened has halted (I26).
pub struct OpenedFolds {
    folds: FoldsParts,
    log: Arc<dyn Log>,
    threads: usize,
    intakes: Vec<Box<dyn Task>>,
    views: Vec<Box<dyn Task>>,
    settings: Vec<FoldedSettings>,
}

struct FoldsParts {
    partitions: Vec<PartitionStatus>,
    reader: Arc<ViewsReader>,
    rocks: Arc<RocksEnv>,
    unopened: Vec<Halted>,
}

/// Running folds.
pub struct Folds {
    /// By partition.
    pub partitions: Vec<PartitionStatus>,
    pub reader: Arc<ViewsReader>,
    pub rocks: Arc<RocksEnv>,
    workers: Workers,
    /// What could not be opened.
    unopened: Vec<Halted>,
}

impl OpenedFolds {
    /// Opens the stores and folds of all partitions.
    pub fn open(spec: &FoldsSpec<'_>) -> anyhow::Result<Self> {
        let partitions = spec.log.partitions();
        let rocks = Arc::new(RocksEnv::new(spec.memory.block_cache_bytes)?);
        let reader = Arc::new(ViewsReader::new(partitions));
        let committer = Arc::new(Committer::start(Arc::clone(&spec.log), COMMIT_THREADS, COMMIT_QUEUE_MAX)?);
        let folds = FoldsParts { partitions: Vec::new(), reader, rocks, unopened: Vec::new() };
        let mut opened = Self {
            folds,
            log: Arc::clone(&spec.log),
            threads: spec.threads,
            intakes: Vec::new(),
            views: Vec::new(),
            settings: Vec::new(),
        };
        for partition in (0..partitions).map(Partition) {
            let (intake, board, seen) = opened.add_intake(spec, &committer, partition);
            let views = opened.add_views(spec, &committer, partition);
            opened.folds.partitions.push(PartitionStatus { intake, views, board, seen });
        }
        Ok(opened)
    }

    /// The settings that were folded, of the partitions whose intake could be opened.
    pub fn settings(&self) -> &[FoldedSettings] {
        &self.settings
    }

    /// Starts the workers.
    pub fn start(self) -> anyhow::Result<Folds> {
        let options = WorkerOptions {
            threads: self.threads,
            idle_wait: IDLE_WAIT,
            on_halt: Arc::new(|task, reason| tracing::error!(task, reason, "a task has halted")),
        };
        let workers = Workers::start(options, self.log, spread(self.intakes, self.views, self.threads))?;
        let FoldsParts { partitions, reader, rocks, unopened } = self.folds;
        Ok(Folds { partitions, reader, rocks, workers, unopened })
    }

    fn add_intake(
        &mut self,
        spec: &FoldsSpec<'_>,
        committer: &Arc<Committer>,
        partition: Partition,
    ) -> (Arc<TaskStatus>, Arc<IntakeBoard>, Arc<SeenCounters>) {
        let board = Arc::new(IntakeBoard::new());
        let opened = self.ports(spec, committer, "intake", partition);
        match opened.and_then(|ports| open_intake(spec, partition, ports, &board)) {
            Ok(intake) => {
                let (status, seen) = (intake.status(), intake.processor().seen_counters());
                let (number, applied) = (intake.processor().settings_number(), status.applied());
                self.settings.push(FoldedSettings { partition, number, applied });
                self.intakes.push(Box::new(intake));
                (status, board, seen)
            }
            Err(error) => (self.halted("intake", partition, AWARDS, error), board, Arc::default()),
        }
    }

    fn add_views(
        &mut self,
        spec: &FoldsSpec<'_>,
        committer: &Arc<Committer>,
        partition: Partition,
    ) -> Arc<TaskStatus> {
        let opened = self.ports(spec, committer, "views", partition);
        match opened.and_then(|ports| open_views(spec, partition, ports, &self.folds.reader)) {
            Ok(views) => {
                let status = views.status();
                self.views.push(Box::new(views));
                status
            }
            Err(error) => self.halted("views", partition, JOURNAL, error),
        }
    }

    fn ports(
        &self,
        spec: &FoldsSpec<'_>,
        committer: &Arc<Committer>,
        kind: &str,
        partition: Partition,
    ) -> anyhow::Result<TaskPorts> {
        // First, so that a damaged partition gets no store where there was none.
        spec.log.range(partition, AWARDS)?;
        let name = format!("{kind}-{partition}");
        let identity = store_identity(&name, spec.log_id);
        let store = RocksStore::open(&spec.state_dir.join(&name), &self.folds.rocks, &identity)?;
        Ok(TaskPorts {
            log: Arc::clone(&spec.log),
            store: Arc::new(store),
            committer: Arc::clone(committer),
            clock: Arc::clone(&spec.clock),
        })
    }

    /// Notes a fold that could not be opened.
    fn halted(
        &mut self,
        kind: &str,
        partition: Partition,
        topic: &str,
        error: anyhow::Error,
    ) -> Arc<TaskStatus> {
        let error =
            error.downcast::<TaskError>().unwrap_or_else(|error| TaskError::Other(format!("{error:#}")));
        let (task, reason) = (format!("{kind}/{partition}"), error.to_string());
        tracing::error!(task, reason, "a task could not be opened");
        let status = Arc::new(TaskStatus::not_opened(&task, partition, topic, &error));
        self.folds.unopened.push(Halted { task, reason });
        status
    }
}

impl Folds {
    /// Commits everything and ends. Returns what could not be opened or end well.
    pub fn stop(mut self) -> Vec<Halted> {
        self.unopened.extend(self.workers.stop());
        self.unopened
    }
}

/// Workers take tasks in turn; each should get as many intakes as views.
fn spread(intakes: Vec<Box<dyn Task>>, views: Vec<Box<dyn Task>>, threads: usize) -> Vec<Box<dyn Task>> {
    let (mut intakes, mut views) = (intakes.into_iter().peekable(), views.into_iter().peekable());
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    while intakes.peek().is_some() || views.peek().is_some() {
        tasks.extend(intakes.by_ref().take(threads.max(1)));
        tasks.extend(views.by_ref().take(threads.max(1)));
    }
    tasks
}

fn open_intake(
    spec: &FoldsSpec<'_>,
    partition: Partition,
    ports: TaskPorts,
    board: &Arc<IntakeBoard>,
) -> anyhow::Result<TaskRunner<Intake>> {
    let partitions = spec.log.partitions();
    let name = format!("intake/{partition}");
    let task = TaskSpec { name: &name, source: STAGE, partition, input_topic: AWARDS, outputs: &[] };
    let intake = IntakeSpec {
        partition,
        partitions,
        control_key: spec.control_key.clone(),
        seen: spec.memory.seen(partitions),
        board: Arc::clone(board),
    };
    let store: Arc<dyn Store> = Arc::clone(&ports.store);
    let policy = spec.memory.task(&spec.policy, partitions);
    Ok(TaskRunner::open(&task, ports, policy, |outputs| Intake::open(intake, store, outputs))?)
}

fn open_views(
    spec: &FoldsSpec<'_>,
    partition: Partition,
    ports: TaskPorts,
    reader: &ViewsReader,
) -> anyhow::Result<TaskRunner<Views>> {
    let partitions = spec.log.partitions();
    let name = format!("views/{partition}");
    let task = TaskSpec { name: &name, source: "views", partition, input_topic: JOURNAL, outputs: &[] };
    let limits = spec.memory.views(partitions, spec.lanes);
    let store = Arc::clone(&ports.store);
    let policy = spec.memory.task(&spec.policy, partitions);
    Ok(TaskRunner::open(&task, ports, policy, |_| Ok(Views::open(partition.0, store, limits, reader)?))?)
}
