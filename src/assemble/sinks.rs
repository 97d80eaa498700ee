//! The dispatcher's thread, and the downstreams that a topology names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use hongbao_engine::clock::Clock;
use hongbao_engine::log::Log;
use hongbao_engine::panics;
use hongbao_engine::partition::Partition;
use hongbao_engine::store::Store;
use hongbao_resume::{FoldedJournal, PartitionFolds};
use hongbao_rocks::RocksStore;
use hongbao_sinks::dispatch::{
    DispatchError, Dispatcher, DispatcherSpec, LaneSpec, LaneStatus, PoolSpec, Ports, StatusBoard, Step,
};
use hongbao_sinks::downstream::{Downstream, KeyLife};
use hongbao_sinks::http::{HttpDownstream, HttpSpec, Mode};
use hongbao_sinks::ledger::{LedgerDownstream, LedgerSpec, LedgerStatus};
use hongbao_sinks::limits::rate::Rate;
use hongbao_sinks::simulated::{Book, Profile, SimulatedDownstream, Simulation};
use hongbao_topology::{Delivery, DownstreamKind, Topology};
use parking_lot::Mutex;

use super::books;
use super::data_dir::DataDir;
use super::halted::UnopenedStore;
use super::memory::Memory;
use super::targets::Targets;
use super::tasks::Folds;
use super::{LEDGER_DIR, SIMULATED_DIR, open_segments, segment_options, store_identity};

/// How long a drain waits for answers that are under way.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

const RUN: u8 = 0;
const DRAIN: u8 = 1;
const ABANDON: u8 = 2;

/// What sinks are started over.
pub struct SinksSpec<'a> {
    pub topology: &'a Topology,
    pub data: &'a DataDir,
    pub log: &'a Arc<dyn Log>,
    pub clock: &'a Arc<dyn Clock>,
    pub folds: &'a Folds,
    pub memory: Memory,
    pub runtime: tokio::runtime::Handle,
}

/// The running dispatcher.
pub struct Sinks {
    status: SinksStatus,
    log: Arc<dyn Log>,
    order: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

/// What may be known of the sinks at any time.
#[derive(Clone)]
pub struct SinksStatus {
    board: Arc<StatusBoard>,
    ledgers: Vec<(String, Arc<LedgerStatus>)>,
    failed: Arc<Mutex<Option<String>>>,
}

impl SinksStatus {
    /// All lanes as the dispatcher sees them.
    pub fn lanes(&self) -> Vec<LaneStatus> {
        self.board.lanes()
    }

    /// Everything that has stopped for good.
    pub fn halted(&self) -> Vec<String> {
        let ledgers = self
            .ledgers
            .iter()
            .filter_map(|(name, status)| Some(format!("ledger {name}: {}", status.halted()?)));
        let failed = self.failed.lock().clone().map(|reason| format!("dispatcher: {reason}"));
        let lanes = self.board.lanes().into_iter().filter(|lane| !lane.halted.is_empty());
        let lanes = lanes.map(|lane| format!("lane {}: {}", lane.lane, lane.detail));
        ledgers.chain(failed).chain(lanes).collect()
    }
}

impl Sinks {
    /// Opens all downstreams and starts the dispatcher.
    pub fn start(spec: SinksSpec<'_>) -> anyhow::Result<Self> {
        let mut downstreams: BTreeMap<String, Box<dyn Downstream>> = BTreeMap::new();
        let mut ledgers = Vec::new();
        for downstream in spec.topology.downstreams() {
            let name = downstream.name();
            let opened: Box<dyn Downstream> = match downstream.kind() {
                DownstreamKind::Embedded => {
                    let ledger = open_ledger(&spec, name)?;
                    ledgers.push((name.to_owned(), ledger.status()));
                    Box::new(ledger)
                }
                DownstreamKind::Http(http) => Box::new(open_http(&spec, name, http)?),
                DownstreamKind::Simulated(simulated) => Box::new(open_simulated(&spec, name, simulated)?),
            };
            downstreams.insert(name.to_owned(), opened);
        }
        let folds = spec.folds.partitions.iter().map(|partition| PartitionFolds {
            intake: Arc::clone(&partition.intake),
            views: Arc::clone(&partition.views),
        });
        let targets = Targets::open(spec.data, spec.topology)?;
        let admit =
            Box::new(move |lane: &str, partition, unresolved| targets.admit(lane, partition, unresolved));
        let ports = Ports {
            log: Arc::clone(spec.log),
            clock: Arc::clone(spec.clock),
            view: Arc::new(FoldedJournal::new(Arc::clone(&spec.folds.reader), folds.collect(), admit)),
            downstreams,
        };
        let dispatcher = Dispatcher::open(dispatcher_spec(&spec)?, ports).context("sinks")?;
        let status = SinksStatus { board: dispatcher.status(), ledgers, failed: Arc::default() };
        let order = Arc::new(AtomicU8::new(RUN));
        let thread = Thread {
            dispatcher,
            log: Arc::clone(spec.log),
            clock: Arc::clone(spec.clock),
            order: Arc::clone(&order),
            failed: Arc::clone(&status.failed),
        };
        let builder = std::thread::Builder::new().name("dispatcher".to_owned());
        let thread = builder.spawn(move || thread.run())?;
        Ok(Self { status, log: Arc::clone(spec.log), order, thread: Some(thread) })
    }

    /// What may be known.
    pub fn status(&self) -> SinksStatus {
        self.status.clone()
    }

    /// Waits for what is under way, then ends the downstreams.
    pub fn stop(mut self) {
        self.end(DRAIN);
    }

    /// Ends the downstreams at once; what is under way is unresolved for the next start.
    pub fn abandon(mut self) {
        self.end(ABANDON);
    }

    fn end(&mut self, order: u8) {
        self.order.store(order, Ordering::Release);
        self.log.progress().bump();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        self.end(ABANDON);
    }
}

struct Thread {
    dispatcher: Dispatcher,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    order: Arc<AtomicU8>,
    failed: Arc<Mutex<Option<String>>>,
}

impl Thread {
    fn run(mut self) {
        let failed = Arc::clone(&self.failed);
        let reason = match panics::catch(|| self.work()) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        tracing::error!(reason, "the dispatcher has stopped");
        *failed.lock() = Some(reason);
    }

    fn work(&mut self) -> Result<(), DispatchError> {
        let mut draining_since: Option<Duration> = None;
        loop {
            let seen = self.log.progress().version();
            let order = self.order.load(Ordering::Acquire);
            if order == ABANDON {
                return Ok(());
            }
            if draining_since.is_none() && order == DRAIN {
                self.dispatcher.drain();
                draining_since = Some(self.clock.monotonic());
            }
            match self.dispatcher.step()? {
                Step::Worked(_) => {}
                Step::Drained => return Ok(()),
                Step::Idle { wake_in } => self.log.progress().wait(seen, wake_in),
            }
            let waited = draining_since.map(|since| self.clock.monotonic().saturating_sub(since));
            if waited.is_some_and(|waited| waited > DRAIN_TIMEOUT) {
                tracing::warn!(
                    "downstreams did not answer in time; what is open is asked for at the next start"
                );
                return Ok(());
            }
        }
    }
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

fn dispatcher_spec(spec: &SinksSpec<'_>) -> anyhow::Result<DispatcherSpec> {
    let rate = |name: &str, rate: u64, burst: u64| {
        Rate::with_burst(rate, burst)
            .ok_or_else(|| anyhow!("{name}: a burst of {burst} does not fit {rate}/s"))
    };
    let lanes = spec.topology.lanes().iter().map(|lane| {
        Ok(LaneSpec {
            name: lane.name().to_owned(),
            downstream: lane.downstream().to_owned(),
            rate: Some(rate(lane.name(), lane.rate_per_second(), lane.burst())?),
            query_rate: Rate::per_second(lane.query_rate_per_second()),
        })
    });
    let pools = spec.topology.pools().iter().map(|pool| {
        Ok(PoolSpec {
            name: pool.name().to_owned(),
            rate: rate(pool.name(), pool.rate_per_second(), pool.burst())?,
            rank: pool.rank().to_vec(),
            floor_permille: u32::from(pool.floor_percent()) * 10,
        })
    });
    Ok(DispatcherSpec {
        partitions: (0..spec.log.partitions()).map(Partition).collect(),
        lanes: lanes.collect::<anyhow::Result<_>>()?,
        pools: pools.collect::<anyhow::Result<_>>()?,
        writer: random()?,
        seed: u64::from_le_bytes(random()?),
        policy: spec.memory.dispatch(spec.log.partitions(), spec.topology.lanes().len()),
    })
}

/// Called by downstreams from their own threads when something completed.
fn wake(log: &Arc<dyn Log>) -> Arc<dyn Fn() + Send + Sync> {
    let log = Arc::clone(log);
    Arc::new(move || log.progress().bump())
}

fn open_ledger(spec: &SinksSpec<'_>, name: &str) -> anyhow::Result<LedgerDownstream> {
    let dir = spec.data.path(LEDGER_DIR).join(name);
    let options = segment_options(spec.topology);
    let path = dir.join("book");
    books::check_present(spec.data.folder(), name, &path)?;
    let book = open_segments(&path, options, spec.clock)?;
    books::admit(spec.data.folder(), name, book.id())?;
    let open_store = |partition: u16| -> Arc<dyn Store> {
        let identity = store_identity(&format!("ledger-{name}-{partition}"), book.id());
        let path = dir.join(format!("accounts-{partition}"));
        match RocksStore::open(&path, &spec.folds.rocks, &identity) {
            Ok(store) => Arc::new(store),
            // The ledger stops that partition and says why.
            Err(error) => Arc::new(UnopenedStore(error)),
        }
    };
    let stores = (0..book.partitions()).map(open_store).collect();
    let is_ledger = |kind: &DownstreamKind| matches!(kind, DownstreamKind::Embedded);
    let ledgers =
        spec.topology.downstreams().iter().filter(|downstream| is_ledger(downstream.kind())).count();
    let limits = spec.memory.ledger(book.partitions(), ledgers);
    let ledger = LedgerDownstream::open(LedgerSpec { log: book, stores, wake: wake(spec.log), limits });
    ledger.with_context(|| format!("ledger {name}"))
}

fn open_http(
    spec: &SinksSpec<'_>,
    name: &str,
    http: &hongbao_topology::HttpDownstream,
) -> anyhow::Result<HttpDownstream> {
    let opened = HttpDownstream::open(
        HttpSpec {
            url: http.url().to_owned(),
            query_url: http.query_url().map(str::to_owned),
            mode: match http.delivery() {
                Delivery::Batch => Mode::Batch,
                Delivery::Single => Mode::Single,
            },
            max_items: http.batch_items_max(),
            batch_delay: http.batch_delay_max(),
            max_in_flight: http.in_flight_max(),
            timeout: http.timeout(),
            key_life: if http.key_life().is_zero() { KeyLife::None } else { KeyLife::Lasts(http.key_life()) },
            bearer_file: http.bearer_file().map(PathBuf::from),
            namespace: spec.data.identity().namespace.clone(),
        },
        spec.runtime.clone(),
        Arc::clone(spec.clock),
        wake(spec.log),
    );
    opened.with_context(|| format!("downstream {name}"))
}

fn open_simulated(
    spec: &SinksSpec<'_>,
    name: &str,
    simulated: &hongbao_topology::Simulated,
) -> anyhow::Result<SimulatedDownstream> {
    let profile = Profile::named(simulated.profile()).with_context(|| format!("downstream {name}"))?;
    let dir = spec.data.path(SIMULATED_DIR);
    std::fs::create_dir_all(&dir)?;
    let path = dir.join(format!("{name}.book"));
    let book = Book::open(&path).with_context(|| format!("cannot open the book {}", path.display()))?;
    let simulation = Simulation::new(profile, simulated.seed(), book, spec.clock.wall_ms());
    let namespace = &spec.data.identity().namespace;
    Ok(SimulatedDownstream::new(Arc::new(Mutex::new(simulation)), namespace, Arc::clone(spec.clock)))
}
