//! The folds of all partitions: their stores, tasks and worker threads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hongbao_engine::clock::Clock;
use hongbao_engine::commit::Committer;
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::seen::{SeenCounters, SeenLimits};
use hongbao_engine::store::Store;
use hongbao_engine::task::{Task, TaskPolicy, TaskPorts, TaskRunner, TaskSpec, TaskStatus};
use hongbao_engine::worker::{Halted, WorkerOptions, Workers};
use hongbao_processors::intake::{AWARDS, Intake, IntakeBoard, IntakeSpec, JOURNAL, STAGE};
use hongbao_processors::views::{Views, ViewsLimits, ViewsReader};
use hongbao_rocks::{RocksEnv, RocksStore};
use hongbao_schemas::control::ControlKey;

/// Threads that build and write commits.
const COMMIT_THREADS: usize = 1;
const COMMIT_QUEUE_MAX: usize = 256;
/// Idle workers look again after this long.
const IDLE_WAIT: Duration = Duration::from_millis(20);

/// Memory for all partitions of a process together.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Order numbers in intake's windows; about 60 bytes each.
    pub window_keys: usize,
    /// People in the views' caches; up to 200 bytes each.
    pub users: usize,
    /// RocksDB's block cache, shared by all stores.
    pub block_cache_bytes: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { window_keys: 4_000_000, users: 2_000_000, block_cache_bytes: 256 << 20 }
    }
}

/// What the folds are opened over.
pub struct FoldsSpec<'a> {
    pub log: Arc<dyn Log>,
    pub clock: Arc<dyn Clock>,
    pub control_key: ControlKey,
    pub state_dir: &'a Path,
    pub threads: usize,
    pub memory: Memory,
    pub policy: TaskPolicy,
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

/// Running folds.
pub struct Folds {
    /// By partition.
    pub partitions: Vec<PartitionStatus>,
    pub reader: Arc<ViewsReader>,
    pub rocks: Arc<RocksEnv>,
    workers: Workers,
}

impl Folds {
    /// Opens all stores and starts the workers.
    pub fn start(spec: FoldsSpec<'_>) -> anyhow::Result<Self> {
        let partitions = spec.log.partitions();
        let rocks = Arc::new(RocksEnv::new(spec.memory.block_cache_bytes)?);
        let reader = Arc::new(ViewsReader::new(partitions));
        let committer = Arc::new(Committer::start(Arc::clone(&spec.log), COMMIT_THREADS, COMMIT_QUEUE_MAX)?);
        let mut statuses = Vec::new();
        let mut intakes: Vec<Box<dyn Task>> = Vec::new();
        let mut views: Vec<Box<dyn Task>> = Vec::new();
        for partition in (0..partitions).map(Partition) {
            let ports = |kind: &str| -> anyhow::Result<TaskPorts> {
                let name = format!("{kind}-{partition}");
                let store = RocksStore::open(&spec.state_dir.join(&name), &rocks, &name)
                    .with_context(|| format!("state of {kind}/{partition}"))?;
                Ok(TaskPorts {
                    log: Arc::clone(&spec.log),
                    store: Arc::new(store),
                    committer: Arc::clone(&committer),
                    clock: Arc::clone(&spec.clock),
                })
            };
            let (intake, board, seen) = open_intake(&spec, partition, ports("intake")?)?;
            let view = open_views(&spec, partition, ports("views")?, &reader)?;
            statuses.push(PartitionStatus { intake: intake.status(), views: view.status(), board, seen });
            intakes.push(Box::new(intake));
            views.push(Box::new(view));
        }
        let options = WorkerOptions {
            threads: spec.threads,
            idle_wait: IDLE_WAIT,
            on_halt: Arc::new(|task, reason| tracing::error!(task, reason, "a task has halted")),
        };
        let workers = Workers::start(options, spec.log, spread(intakes, views, spec.threads))?;
        Ok(Self { partitions: statuses, reader, rocks, workers })
    }

    /// Commits everything and ends. Returns what could not end well.
    pub fn stop(self) -> Vec<Halted> {
        self.workers.stop()
    }
}

/// Workers take tasks in turn; each should get as many intakes as views.
fn spread(intakes: Vec<Box<dyn Task>>, views: Vec<Box<dyn Task>>, threads: usize) -> Vec<Box<dyn Task>> {
    let (mut intakes, mut views) = (intakes.into_iter().peekable(), views.into_iter());
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    while intakes.peek().is_some() {
        tasks.extend(intakes.by_ref().take(threads.max(1)));
        tasks.extend(views.by_ref().take(threads.max(1)));
    }
    tasks
}

type OpenedIntake = (TaskRunner<Intake>, Arc<IntakeBoard>, Arc<SeenCounters>);

fn open_intake(spec: &FoldsSpec<'_>, partition: Partition, ports: TaskPorts) -> anyhow::Result<OpenedIntake> {
    let partitions = spec.log.partitions();
    let board = Arc::new(IntakeBoard::new());
    let name = format!("intake/{partition}");
    let task = TaskSpec { name: &name, source: STAGE, partition, input_topic: AWARDS, outputs: &[] };
    let intake = IntakeSpec {
        partition,
        partitions,
        control_key: spec.control_key.clone(),
        seen: SeenLimits { window_keys_max: spec.memory.window_keys / usize::from(partitions) },
        board: Arc::clone(&board),
    };
    let store: Arc<dyn Store> = Arc::clone(&ports.store);
    let runner =
        TaskRunner::open(&task, ports, spec.policy.clone(), |outputs| Intake::open(intake, store, outputs))
            .with_context(|| name.clone())?;
    let seen = runner.processor().seen_counters();
    Ok((runner, board, seen))
}

fn open_views(
    spec: &FoldsSpec<'_>,
    partition: Partition,
    ports: TaskPorts,
    reader: &ViewsReader,
) -> anyhow::Result<TaskRunner<Views>> {
    let name = format!("views/{partition}");
    let task = TaskSpec { name: &name, source: "views", partition, input_topic: JOURNAL, outputs: &[] };
    let partitions = usize::from(spec.log.partitions());
    let limits = ViewsLimits { users_max: spec.memory.users / partitions, ..ViewsLimits::default() };
    let store = Arc::clone(&ports.store);
    TaskRunner::open(&task, ports, spec.policy.clone(), |_| {
        Ok(Views::open(partition.0, store, limits, reader)?)
    })
    .with_context(|| name.clone())
}
