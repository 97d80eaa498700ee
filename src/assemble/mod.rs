//! The composition root: the only place that names concrete logs, stores and downstreams.

mod books;
mod data_dir;
mod halted;
mod memory;
mod reads;
mod samples;
mod sealed_file;
mod settings;
mod sinks;
mod targets;
mod tasks;
mod ticker;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context;
use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_engine::crash::squeezed;
use hongbao_engine::log::Log;
use hongbao_engine::task::TaskPolicy;
use hongbao_segments::{SegmentLog, SegmentOptions};
use hongbao_topology::Topology;

pub use data_dir::DataDir;
use halted::PublishedLog;
pub use memory::Memory;
pub use reads::NodeReads;
use settings::publish_settings;
use sinks::{Sinks, SinksSpec};
use tasks::{Folds, FoldsSpec, OpenedFolds};
use ticker::Ticker;

/// Folder of the log within the data folder.
pub const LOG_DIR: &str = "log";
/// Folder of the folds' stores.
pub const STATE_DIR: &str = "state";
/// Folder of the embedded ledger: its book and its stores.
pub const LEDGER_DIR: &str = "ledger";
/// Folder of the books of simulated downstreams.
pub const SIMULATED_DIR: &str = "simulated";

/// What a node is started with.
pub struct NodeSpec<'a> {
    pub topology: Arc<Topology>,
    pub data_dir: &'a Path,
    /// Worker threads.
    pub workers: usize,
    pub memory: Memory,
    pub policy: TaskPolicy,
    /// Runs the clients of HTTP downstreams.
    pub runtime: tokio::runtime::Handle,
}

/// A running node: log, folds, sinks, time. The API is put in front of it by the caller.
pub struct Node {
    /// As publishers see it: a partition that has stopped takes nothing.
    pub log: Arc<dyn Log>,
    pub clock: Arc<dyn Clock>,
    pub reads: Arc<NodeReads>,
    ticker: Option<Ticker>,
    sinks: Sinks,
    folds: Folds,
    /// Last, so that the folder is given back when everything has ended.
    _data: DataDir,
}

/// The options of the log that a topology asks for.
pub fn segment_options(topology: &Topology) -> SegmentOptions {
    let segments = topology.segments();
    SegmentOptions {
        partitions: topology.partitions(),
        segment_bytes: squeezed("segment_bytes", segments.segment_size_bytes()),
        sync_max_delay: segments.sync_max_delay(),
        sync_max_bytes: segments.sync_max_bytes(),
    }
}

/// Whose a store is: what is folded into it, and from which log. So a store of another data folder is
/// never taken for one of this (F6).
pub fn store_identity(name: &str, log_id: u64) -> String {
    format!("{name} of log {log_id:016x}")
}

/// Opens a segment log and says what was repaired.
pub fn open_log(dir: &Path, options: SegmentOptions, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Log>> {
    Ok(open_segments(dir, options, clock)?)
}

/// As [`open_log`].
fn open_segments(
    dir: &Path,
    options: SegmentOptions,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<SegmentLog>> {
    let opened = SegmentLog::open(dir, options, Arc::clone(clock));
    let (log, recovery) = opened.with_context(|| format!("cannot open the log in {}", dir.display()))?;
    for partition in &recovery.partitions {
        if let Some(cut) = &partition.cut {
            tracing::warn!(partition = partition.partition.0, ?cut, "a torn end was cut off");
        }
        if let Some(damage) = &partition.damage {
            tracing::error!(partition = partition.partition.0, damage, "a partition of the log is damaged");
        }
    }
    Ok(Arc::new(log))
}

impl Node {
    /// Opens everything and starts all threads. Reads are ready once what is in the log is folded.
    /// A damaged partition of a log, or a store that is damaged or somebody else's, stops what stands
    /// on it and nothing else (I26).
    pub fn start(spec: NodeSpec<'_>) -> anyhow::Result<Self> {
        let topology = spec.topology;
        let data = DataDir::open_or_create(spec.data_dir, topology.name(), topology.partitions())?;
        if data.identity().namespace != topology.name() {
            tracing::warn!(
                namespace = data.identity().namespace,
                "the topology was renamed; idempotency keys keep the name that the data folder was made with"
            );
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let segments = open_segments(&data.path(LOG_DIR), segment_options(&topology), &clock)?;
        let log_id = segments.id();
        let log: Arc<dyn Log> = segments;
        let folds = OpenedFolds::open(&FoldsSpec {
            log: Arc::clone(&log),
            log_id,
            clock: Arc::clone(&clock),
            control_key: data.control_key(),
            state_dir: &data.path(STATE_DIR),
            threads: spec.workers,
            memory: spec.memory,
            policy: spec.policy,
            lanes: topology.lanes().len(),
        })?;
        publish_settings(&*log, &*clock, &data, &topology, folds.settings())?;
        let folds = folds.start()?;
        let sinks = Sinks::start(SinksSpec {
            topology: &topology,
            data: &data,
            log: &log,
            clock: &clock,
            folds: &folds,
            memory: spec.memory,
            runtime: spec.runtime,
        })?;
        let ticker = Ticker::start(Arc::clone(&log), Arc::clone(&clock), data.control_key())?;
        let reads = NodeReads::new(
            Arc::clone(&log),
            Arc::clone(&clock),
            topology,
            Arc::clone(&folds.reader),
            folds.partitions.clone(),
            sinks.status(),
        );
        let intakes = folds.partitions.iter().map(|partition| Arc::clone(&partition.intake)).collect();
        let log = Arc::new(PublishedLog::new(log, intakes));
        Ok(Self { log, clock, reads: Arc::new(reads), ticker: Some(ticker), sinks, folds, _data: data })
    }

    /// Ends all threads where they are, without a drain or a last commit.
    pub fn abandon(self) {
        let Self { ticker, sinks, folds, .. } = self;
        drop(ticker);
        sinks.abandon();
        drop(folds);
    }

    /// Drains: what was sent is awaited, what was decided is committed. Awards still in the log and
    /// credits still waiting go on at the next start.
    ///
    /// # Errors
    /// When something had halted, with every reason: a supervisor has to tell a person.
    pub fn stop(self) -> anyhow::Result<()> {
        self.reads.draining.store(true, Ordering::Release);
        drop(self.ticker);
        let sinks = self.sinks.status();
        self.sinks.stop();
        let mut stopped = sinks.halted();
        stopped.extend(
            self.folds.stop().into_iter().map(|halted| format!("{}: {}", halted.task, halted.reason)),
        );
        if stopped.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("stopped: {}", stopped.join("; "))) }
    }
}
