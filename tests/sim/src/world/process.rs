//! A process: the real folds and the real dispatcher over the ports of the world.

use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::commit::Committer;
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::processor::Processor;
use hongbao_engine::seen::SeenLimits;
use hongbao_engine::store::Store;
use hongbao_engine::task::{Step, Task, TaskError, TaskPolicy, TaskPorts, TaskRunner, TaskSpec, TaskStatus};
use hongbao_processors::intake::{AWARDS, Intake, IntakeBoard, IntakeSpec, JOURNAL, STAGE};
use hongbao_processors::views::{Views, ViewsLimits, ViewsReader};
use hongbao_resume::{FoldedJournal, PartitionFolds};
use hongbao_sinks::dispatch::{
    self, BreakerPolicy, Confirm, Dispatcher, DispatcherSpec, LaneSpec, Policy, PoolSpec, Ports, StatusBoard,
};
use hongbao_sinks::downstream::Downstream;
use hongbao_sinks::ledger::{LedgerLimits, LedgerSpec, SteppedLedger};
use hongbao_sinks::limits::rate::Rate;

use crate::downstreams::ledger::LedgerPort;
use crate::downstreams::port::PartnerPort;
use crate::downstreams::watched::{WatchParts, Watched};
use crate::operator::{LANES, control_key};
use crate::options::{DownstreamOptions, LogProfile, Options};

use super::estate::{Estate, Place};
use super::zombie::writer_of;

/// Commits that may wait.
const COMMITS_MAX: usize = 64;

/// A fold that runs, or why it does not.
pub enum Fold<P> {
    /// Running.
    Open(Box<TaskRunner<P>>),
    /// Never started.
    Closed(Arc<TaskStatus>),
}

/// A process.
pub struct Process {
    /// By partition.
    pub intakes: Vec<Fold<Intake>>,
    /// By partition.
    pub views: Vec<Fold<Views>>,
    /// Counts of the intakes.
    pub boards: Vec<Arc<IntakeBoard>>,
    /// Answers of the views.
    pub reader: Arc<ViewsReader>,
    /// Of the main log, then of each ledger.
    pub committers: Vec<Arc<Committer>>,
    /// Sends.
    pub dispatcher: Dispatcher,
    /// Where the lanes stand.
    pub lanes: Arc<StatusBoard>,
    /// Why the dispatcher has stopped.
    pub failed: Option<String>,
}

impl<P: Processor> Fold<P> {
    fn opened(
        result: Result<TaskRunner<P>, TaskError>,
        name: &str,
        partition: Partition,
        input_topic: &str,
    ) -> Self {
        match result {
            Ok(task) => Self::Open(Box::new(task)),
            Err(error) => {
                Self::Closed(Arc::new(TaskStatus::not_opened(name, partition, input_topic, &error)))
            }
        }
    }

    /// What may be known of it, if it runs.
    pub fn status(&self) -> Option<Arc<TaskStatus>> {
        match self {
            Self::Open(task) => Some(task.status()),
            Self::Closed(_) => None,
        }
    }

    fn status_anyway(&self) -> Arc<TaskStatus> {
        match self {
            Self::Open(task) => task.status(),
            Self::Closed(status) => Arc::clone(status),
        }
    }

    /// Why it has stopped.
    pub fn halted(&self) -> Option<String> {
        self.status_anyway().halted()
    }

    /// A step; whether it did anything.
    pub fn step(&mut self) -> bool {
        match self {
            Self::Open(task) if task.status().halted().is_none() => {
                matches!(task.step(), Ok(Step::Worked(_)))
            }
            _ => false,
        }
    }
}

impl Process {
    /// Starts over what is left of the world, with a number that no process before had.
    pub fn start(estate: &Estate, options: &Options, number: u64) -> Self {
        let partitions = options.partitions;
        let log: Arc<dyn Log> = Arc::clone(&estate.log) as Arc<dyn Log>;
        let committer = Arc::new(Committer::manual(Arc::clone(&log), COMMITS_MAX));
        let reader = Arc::new(ViewsReader::new(partitions));
        let boards: Vec<Arc<IntakeBoard>> = (0..partitions).map(|_| Arc::new(IntakeBoard::new())).collect();
        let ports = |store: Arc<dyn Store>| TaskPorts {
            log: Arc::clone(&log),
            store,
            committer: Arc::clone(&committer),
            clock: estate.clock.clone(),
        };
        let mut intakes = Vec::new();
        let mut views = Vec::new();
        for (partition, board) in (0..partitions).zip(&boards) {
            let index = usize::from(partition);
            let partition = Partition(partition);
            let intake = intake(partition, ports(estate.intakes[index].clone()), options, board);
            intakes.push(Fold::opened(intake, "intake", partition, AWARDS));
            let view = view(partition, ports(estate.views[index].clone()), options, &reader);
            views.push(Fold::opened(view, "views", partition, JOURNAL));
        }
        let folds = intakes.iter().zip(&views).map(|(intake, views)| PartitionFolds {
            intake: intake.status_anyway(),
            views: views.status_anyway(),
        });
        let view = Arc::new(folded_journal(&reader, folds.collect()));
        let mut committers = vec![committer];
        let downstreams = (0..estate.places.len())
            .map(|index| (format!("d{index}"), downstream(estate, options, index, number, &mut committers)));
        let downstreams = downstreams.collect();
        let ports = Ports { log, clock: estate.clock.clone(), view, downstreams };
        let (dispatcher, failed) = match Dispatcher::open(spec(options, number), ports) {
            Ok(dispatcher) => (dispatcher, None),
            Err(error) => (idle_dispatcher(estate), Some(error.to_string())),
        };
        let lanes = dispatcher.status();
        Self { intakes, views, boards, reader, committers, dispatcher, lanes, failed }
    }

    /// A step of the dispatcher, if it has not stopped; why it stops now, or has.
    pub fn dispatch(&mut self) -> Result<dispatch::Step, String> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        self.dispatcher.step().map_err(|error| self.failed.insert(error.to_string()).clone())
    }

    /// Orders that its lanes have held aside behind missing ones.
    pub fn orders_set_aside(&self) -> u64 {
        self.lanes.lanes().iter().map(|lane| lane.counts.set_aside).sum()
    }

    /// Whether all folds that run have come to where their inputs ended at the start.
    pub fn has_caught_up(&self) -> bool {
        fn is_there<P: Processor>(fold: &Fold<P>) -> bool {
            fold.status().is_none_or(|status| status.recovered() || status.halted().is_some())
        }
        self.intakes.iter().all(is_there) && self.views.iter().all(is_there)
    }

    /// Whether all views have come to where the journal ended at the start.
    pub fn is_recovered(&self) -> bool {
        self.views.iter().all(|fold| fold.status().is_some_and(|status| status.recovered()))
    }
}

/// The journal as the program's sinks see it. Lanes never change their downstream here.
fn folded_journal(reader: &Arc<ViewsReader>, folds: Vec<PartitionFolds>) -> FoldedJournal {
    FoldedJournal::new(Arc::clone(reader), folds, Box::new(|_, _, _| Ok(())))
}

/// Stands in where none can be opened; the process is about to end.
fn idle_dispatcher(estate: &Estate) -> Dispatcher {
    let log: Arc<dyn Log> = Arc::clone(&estate.log) as Arc<dyn Log>;
    let view = folded_journal(&Arc::new(ViewsReader::new(0)), Vec::new());
    let ports =
        Ports { log, clock: estate.clock.clone(), view: Arc::new(view), downstreams: Default::default() };
    let spec = DispatcherSpec {
        partitions: Vec::new(),
        lanes: Vec::new(),
        pools: Vec::new(),
        writer: [0; 16],
        seed: 0,
        policy: Policy::default(),
    };
    match Dispatcher::open(spec, ports) {
        Ok(dispatcher) => dispatcher,
        Err(error) => unreachable!("a dispatcher without lanes opens: {error}"),
    }
}

fn policy(options: &Options) -> TaskPolicy {
    let task = options.task;
    TaskPolicy {
        read_bytes_max: task.read_bytes_max,
        commit_records: task.commit_records,
        commit_interval: Duration::from_millis(task.commit_interval_ms),
        commit_staged_bytes: task.commit_staged_bytes,
        staged_bytes_max: task.staged_bytes_max,
        gap_timeout: Duration::from_millis(task.gap_timeout_ms),
        held_bytes_max: task.held_bytes_max,
        stop_timeout: Duration::from_secs(30),
    }
}

fn intake(
    partition: Partition,
    ports: TaskPorts,
    options: &Options,
    board: &Arc<IntakeBoard>,
) -> Result<TaskRunner<Intake>, TaskError> {
    let name = format!("intake/{partition}");
    let task = TaskSpec { name: &name, source: STAGE, partition, input_topic: AWARDS, outputs: &[] };
    let spec = IntakeSpec {
        partition,
        partitions: options.partitions,
        control_key: control_key(),
        seen: SeenLimits { window_keys_max: options.window_keys },
        board: Arc::clone(board),
    };
    let store = Arc::clone(&ports.store);
    TaskRunner::open(&task, ports, policy(options), |outputs| Intake::open(spec, store, outputs))
}

/// How much the views of a world keep.
pub fn views_limits(options: &Options) -> ViewsLimits {
    ViewsLimits {
        users_max: options.users_max,
        recent_orders_max: options.recent_orders_max,
        known_users_bytes: 1 << 10,
    }
}

fn view(
    partition: Partition,
    ports: TaskPorts,
    options: &Options,
    reader: &ViewsReader,
) -> Result<TaskRunner<Views>, TaskError> {
    let name = format!("views/{partition}");
    let task = TaskSpec { name: &name, source: "views", partition, input_topic: JOURNAL, outputs: &[] };
    let store = Arc::clone(&ports.store);
    TaskRunner::open(&task, ports, policy(options), |_| {
        Ok(Views::open(partition.0, store, views_limits(options), reader)?)
    })
}

fn downstream(
    estate: &Estate,
    options: &Options,
    index: usize,
    number: u64,
    committers: &mut Vec<Arc<Committer>>,
) -> Box<dyn Downstream> {
    let parts = WatchParts {
        index,
        clock: estate.clock.clone(),
        fuse: estate.fuse.clone(),
        trace: estate.trace.clone(),
        log: Arc::new(estate.log.undisturbed()),
        watch: estate.watch.clone(),
    };
    match (&estate.places[index], &options.downstreams[index]) {
        (
            Place::Ledger { book, stores, halted },
            DownstreamOptions::Ledger { commit_postings, window_keys },
        ) => {
            let committer = Arc::new(Committer::manual(book.clone(), COMMITS_MAX));
            committers.push(Arc::clone(&committer));
            let spec = LedgerSpec {
                log: book.clone(),
                stores: stores.iter().map(|store| store.clone() as Arc<dyn Store>).collect(),
                wake: Arc::new(|| {}),
                limits: LedgerLimits { commit_postings: *commit_postings, window_keys_max: *window_keys },
            };
            match SteppedLedger::open(spec, committer) {
                Ok(ledger) => Box::new(Watched::new(LedgerPort::new(ledger, halted.clone()), parts)),
                Err(error) => {
                    *halted.lock() = Some(error.to_string());
                    Box::new(super::estate::Closed)
                }
            }
        }
        (Place::Partner(partner), _) => {
            Box::new(Watched::new(PartnerPort::new(partner.clone(), estate.clock.clone(), number), parts))
        }
        (Place::Ledger { .. }, DownstreamOptions::Partner(_)) => Box::new(super::estate::Closed),
    }
}

fn spec(options: &Options, writer: u64) -> DispatcherSpec {
    let lanes = LANES.iter().zip(&options.lanes).map(|(name, lane)| LaneSpec {
        name: (*name).to_owned(),
        downstream: format!("d{}", lane.downstream),
        rate: lane.rate.and_then(|rate| match lane.burst {
            Some(burst) => Rate::with_burst(rate, burst),
            None => Rate::per_second(rate),
        }),
        query_rate: lane.query_rate.and_then(Rate::per_second),
    });
    let pools = options.pool.iter().filter_map(|pool| {
        Some(PoolSpec {
            name: "pool".to_owned(),
            rate: Rate::per_second(pool.rate)?,
            rank: LANES.iter().map(|name| (*name).to_owned()).collect(),
            floor_permille: pool.floor_permille,
        })
    });
    DispatcherSpec {
        partitions: (0..options.partitions).map(Partition).collect(),
        lanes: lanes.collect(),
        pools: pools.collect(),
        writer: writer_of(writer),
        seed: options.seed ^ writer,
        policy: dispatch_policy(options),
    }
}

fn dispatch_policy(options: &Options) -> Policy {
    let dispatch = options.dispatch;
    let ms = Duration::from_millis;
    Policy {
        held_orders_max: dispatch.held_orders_max,
        read_ahead_bytes_max: dispatch.read_ahead_bytes_max,
        read_ahead_orders_min: dispatch.read_ahead_orders_min,
        gap_timeout: ms(options.task.gap_timeout_ms),
        held_bytes_max: options.task.held_bytes_max,
        intent_ahead: ms(dispatch.intent_ahead_ms),
        confirm: match options.log {
            LogProfile::Segments => Confirm::ByDurability,
            LogProfile::Broker => Confirm::ByReading,
        },
        send_within: ms(dispatch.send_within_ms),
        attempts_max: dispatch.attempts_max,
        unresolved_max: ms(dispatch.unresolved_max_ms),
        key_margin: ms(dispatch.key_margin_ms),
        backoff_base: ms(dispatch.backoff_base_ms),
        backoff_max: ms(dispatch.backoff_max_ms),
        pause_max: ms(dispatch.pause_max_ms),
        breaker: BreakerPolicy {
            failures_max: dispatch.breaker_failures_max,
            open_base: ms(dispatch.breaker_open_base_ms),
            open_max: ms(dispatch.breaker_open_max_ms),
            ..BreakerPolicy::default()
        },
    }
}
