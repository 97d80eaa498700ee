//! Intake: awards out of the log, decided, facts and orders durably into the log, state committed;
//! and beside it, in the same process, the raw limit: the same bytes appended without decisions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_engine::commit::Committer;
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::seen::SeenLimits;
use hongbao_engine::store::Store;
use hongbao_engine::task::{Step, Task, TaskError, TaskPolicy, TaskPorts, TaskRunner, TaskSpec, TaskStatus};
use hongbao_engine::worker::{WorkerOptions, Workers};
use hongbao_processors::intake::{AWARDS, Counts, Intake, IntakeBoard, IntakeSpec, STAGE};
use hongbao_rocks::{RocksEnv, RocksStore};
use hongbao_schemas::control::ControlKey;
use serde_json::{Map, json};

use super::Workplace;
use super::load::{Frames, Load, publish_settings, topology, wait_durable};
use super::measure::{Meter, Report, rounded};
use crate::assemble::{open_log, segment_options};
use crate::cli::Mix;

/// Order numbers in all windows together.
const WINDOW_KEYS: usize = 1_000_000;
/// Orders before the measured part: ten times the window.
const STATE_ORDERS: u64 = 10_000_000;
const PART: u64 = 1_000_000;
const THREADS: usize = 2;
const KEY: [u8; 32] = [7; 32];

/// An intake that rests while its input is being laid out.
struct Gated {
    runner: TaskRunner<Intake>,
    open: Arc<AtomicBool>,
}

impl Task for Gated {
    fn name(&self) -> &str {
        self.runner.name()
    }

    fn step(&mut self) -> Result<Step, TaskError> {
        if self.open.load(Ordering::Acquire) { self.runner.step() } else { Ok(Step::Idle) }
    }

    fn stop(&mut self) -> Result<(), TaskError> {
        self.runner.stop()
    }
}

/// Intakes of all partitions on worker threads.
pub struct Intakes {
    pub statuses: Vec<Arc<TaskStatus>>,
    boards: Vec<Arc<IntakeBoard>>,
    open: Arc<AtomicBool>,
    log: Arc<dyn Log>,
    workers: Workers,
}

impl Intakes {
    /// Opens stores below `place` and starts the workers, resting.
    pub fn start(place: &Workplace, log: &Arc<dyn Log>, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let rocks = RocksEnv::new(256 << 20)?;
        let committer = Arc::new(Committer::start(Arc::clone(log), 1, 64)?);
        let open = Arc::new(AtomicBool::new(false));
        let (mut tasks, mut statuses, mut boards): (Vec<Box<dyn Task>>, _, _) =
            (Vec::new(), Vec::new(), Vec::new());
        for partition in (0..log.partitions()).map(Partition) {
            let name = format!("intake-{partition}");
            let store: Arc<dyn Store> = Arc::new(RocksStore::open(&place.path(&name), &rocks, &name)?);
            let board = Arc::new(IntakeBoard::new());
            let spec = IntakeSpec {
                partition,
                partitions: log.partitions(),
                control_key: ControlKey::new(KEY),
                seen: SeenLimits { window_keys_max: WINDOW_KEYS / usize::from(log.partitions()) },
                board: Arc::clone(&board),
            };
            let ports = TaskPorts {
                log: Arc::clone(log),
                store: Arc::clone(&store),
                committer: Arc::clone(&committer),
                clock: Arc::clone(clock),
            };
            let task = TaskSpec { name: &name, source: STAGE, partition, input_topic: AWARDS, outputs: &[] };
            let runner = TaskRunner::open(&task, ports, TaskPolicy::default(), |outputs| {
                Intake::open(spec, store, outputs)
            })
            .context("intake")?;
            statuses.push(runner.status());
            boards.push(board);
            tasks.push(Box::new(Gated { runner, open: Arc::clone(&open) }));
        }
        let options = WorkerOptions {
            threads: THREADS,
            idle_wait: Duration::from_millis(5),
            on_halt: Arc::new(|task, reason| eprintln!("{task} has halted: {reason}")),
        };
        let workers = Workers::start(options, Arc::clone(log), tasks)?;
        Ok(Self { statuses, boards, open, log: Arc::clone(log), workers })
    }

    /// Lets them work until everything readable is applied and its outputs are durable.
    pub fn run(&self) -> anyhow::Result<()> {
        self.open.store(true, Ordering::Release);
        self.log.progress().bump();
        for (index, status) in self.statuses.iter().enumerate() {
            let partition = Partition(index as u16);
            let (_, end) = self.log.range(partition, AWARDS)?;
            loop {
                let seen = self.log.progress().version();
                ensure!(status.halted().is_none(), "{:?}", status.halted());
                if status.applied() >= end && self.log.durable(partition)? >= status.outputs_position() {
                    break;
                }
                self.log.progress().wait(seen, Duration::from_millis(20));
            }
        }
        self.open.store(false, Ordering::Release);
        Ok(())
    }

    /// Verdicts so far.
    pub fn counts(&self) -> Counts {
        self.boards.iter().map(|board| board.counts()).sum()
    }

    /// Commits and ends.
    pub fn stop(self) -> anyhow::Result<()> {
        let halted = self.workers.stop();
        ensure!(halted.is_empty(), "{halted:?}");
        Ok(())
    }
}

/// Measures.
pub fn run(place: &Workplace, events: u64, mix: Mix) -> anyhow::Result<Report> {
    let topology = topology()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let log = open_log(&place.path("log"), segment_options(&topology), &clock)?;
    publish_settings(&*log, &topology, &ControlKey::new(KEY))?;
    let intakes = Intakes::start(place, &log, &clock)?;
    for from in (0..STATE_ORDERS).step_by(PART as usize) {
        Frames::make(Load::FRESH, from, from + PART, log.partitions()).append(&*log)?;
        wait_durable(&*log)?;
        intakes.run()?;
    }
    let load = Load::of(mix);
    let frames = Frames::make(load, STATE_ORDERS, STATE_ORDERS + events, log.partitions());
    frames.append(&*log)?;
    wait_durable(&*log)?;
    let before = intakes.counts();
    let meter = Meter::start();
    intakes.run()?;
    let took = meter.took();
    let after = intakes.counts();
    ensure!(after.read - before.read == events, "intake read {} of {events}", after.read - before.read);
    let limit = raw_limit(place, &frames, &clock)?;
    intakes.stop()?;
    let mut extra = Map::new();
    let duplicates = (after.duplicate - before.duplicate) as f64 / events as f64;
    extra.insert("duplicate_share".to_owned(), json!(rounded(duplicates)));
    extra.insert("mix".to_owned(), json!(if mix == Mix::Recent { "recent" } else { "hard" }));
    Ok(Report {
        name: "intake",
        events,
        took,
        limit_events_per_s: Some(limit),
        params: json!({
            "partitions": log.partitions(), "threads": THREADS, "window_keys": WINDOW_KEYS,
            "state_orders": STATE_ORDERS, "recent_duplicates_permille": load.recent_permille,
            "any_age_duplicates_permille": load.any_age_permille, "sync_max_delay_ms": 5,
        }),
        extra,
        not_included: "making the awards and appending them to the log (they are in it when the clock starts); the \
            last commit. Included: reading, decoding, deciding, facts and orders durable, commits under way",
    })
}

/// The same bytes appended to a fresh log by as many threads, durable, without decisions.
fn raw_limit(place: &Workplace, frames: &Frames, clock: &Arc<dyn Clock>) -> anyhow::Result<f64> {
    let log = open_log(&place.path("limit"), segment_options(&*topology()?), clock)?;
    let records: usize = frames.frames.iter().map(|(_, records)| records.len()).sum();
    let meter = Meter::start();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let log = Arc::clone(&log);
                let mine = frames
                    .frames
                    .iter()
                    .filter(move |(partition, _)| usize::from(partition.0) % THREADS == thread);
                scope.spawn(move || Frames::append_each(mine, &*log))
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a thread panicked")))
    })?;
    wait_durable(&*log)?;
    Ok(records as f64 / meter.took().wall_s)
}
