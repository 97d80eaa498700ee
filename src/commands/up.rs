//! `hongbao up`: everything in one process.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use hongbao_api::reads::{Readiness, Reads};
use hongbao_api::{ApiOptions, Server, Tokens};
use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_engine::task::TaskPolicy;
use hongbao_topology::Topology;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::demo::{self, Demo};
use super::offline;
use crate::assemble::{Memory, Node, NodeSpec};
use crate::cli::{Global, UpArgs};
use crate::exit::{CONFIGURATION, FAILED, Failure, OK, Outcome};

/// How often a start that folds a long log says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Supervisors and terminals often send a signal twice: what comes so soon after the first one does not
/// mean "now".
const SAME_STOP: Duration = Duration::from_secs(1);

/// How long a stop may take: more than its parts wait one after the other (open requests 10 s,
/// downstreams 20 s, the ledger and the folds 30 s each). Beyond it a device does not answer, and
/// threads that wait for it would be waited for without end.
const STOP_MAX: Duration = Duration::from_secs(120);

/// How long the process may take to end: RocksDB waits for its threads even then.
const EXIT_MAX: Duration = Duration::from_secs(5);

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs until the first SIGTERM or Ctrl-C, then drains.
pub fn run(global: &Global, args: &UpArgs) -> Outcome {
    start_tracing();
    let topology = Arc::new(if args.demo { demo::topology()? } else { offline::load(&global.config)? });
    let listen = args.listen.unwrap_or_else(|| topology.http().listen());
    let tokens = read_tokens(&topology, listen)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("http")
        .enable_all()
        .build()
        .context("cannot start the HTTP threads")?;
    // From here on a signal waits to be seen, also one that comes while everything is opened.
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let listener =
        runtime.block_on(TcpListener::bind(listen)).with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr().context("listener")?;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let node = Node::start(NodeSpec {
        topology: Arc::clone(&topology),
        data_dir: &global.data_dir,
        workers: args.workers.unwrap_or(cores).max(1),
        memory: Memory::default(),
        policy: TaskPolicy::default(),
        runtime: runtime.handle().clone(),
    })?;
    let options = ApiOptions {
        connections_max: topology.http().max_connections() as usize,
        request_timeout: topology.http().request_timeout(),
        ..ApiOptions::new(tokens)
    };
    let reads = Arc::clone(&node.reads) as Arc<dyn Reads>;
    let server = Server::new(Arc::clone(&node.log), reads, Arc::clone(&node.clock), options)
        .map_err(|error| Failure::new(FAILED, error))?;
    let (stop, stopping) = watch::channel(false);
    let serving = runtime.spawn(server.serve(listener, stopping));
    banner(global, &topology, address);
    let demo = args.demo.then(|| Demo::start(&node, &topology, args)).transpose()?;
    runtime.block_on(wait_for_signal(&node, &mut signals));
    eprintln!("draining (a second signal stops at once)");
    runtime.spawn(stop_at_once(signals));
    after(Arc::new(SystemClock::new()), STOP_MAX, || {
        eprintln!(
            "not stopped after {} s: a device does not answer; ended as by a crash, and the next start goes on \
             from the last commit",
            STOP_MAX.as_secs()
        );
        end_now(1);
    })
    .context("cannot watch over the stop")?;
    drop(demo);
    node.reads.draining.store(true, std::sync::atomic::Ordering::Release);
    stop.send_replace(true);
    runtime.block_on(serving).context("the HTTP side failed")?;
    node.stop()?;
    eprintln!("stopped");
    Ok(OK)
}

#[expect(clippy::disallowed_methods, reason = "RUST_LOG is the usual switch of log levels")]
fn start_tracing() {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails only when a subscriber is set already.
    if std::io::stderr().is_terminal() {
        drop(subscriber.try_init());
    } else {
        drop(subscriber.json().try_init());
    }
}

/// The tokens that the topology names. Beyond loopback there must be some.
fn read_tokens(topology: &Topology, listen: SocketAddr) -> Result<Option<Tokens>, Failure> {
    let Some(path) = topology.http().tokens_file() else {
        if hongbao_topology::is_loopback(listen) {
            return Ok(None);
        }
        let error = anyhow!(
            "{listen} can be reached from other machines and no tokens are configured: set `http.tokens_file`, \
             or listen on 127.0.0.1"
        );
        return Err(Failure::new(CONFIGURATION, error));
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(CONFIGURATION, anyhow!("cannot read the tokens file {path}: {error}"))
    })?;
    let tokens = Tokens::parse(&text)
        .map_err(|error| Failure::new(CONFIGURATION, anyhow!("tokens file {path}: {error}")))?;
    Ok(Some(tokens))
}

fn banner(global: &Global, topology: &Topology, address: SocketAddr) {
    let version = env!("CARGO_PKG_VERSION");
    let (name, partitions) = (topology.name(), topology.partitions());
    eprintln!(
        "  hongbao {version}  topology {name}, {partitions} partitions  data {}",
        global.data_dir.display()
    );
    eprintln!("  api      http://{address}/v1      openapi http://{address}/v1/openapi.json");
    eprintln!("  metrics  http://{address}/metrics");
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("signals")?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt()).context("signals")? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn wait_for_signal(node: &Node, signals: &mut Signals) {
    let mut said_ready = false;
    let mut look = tokio::time::interval(PROGRESS_EVERY.min(Duration::from_millis(200)));
    let mut looks = 0_u32;
    loop {
        tokio::select! {
            () = signals.next() => return,
            _ = look.tick(), if !said_ready => {
                looks += 1;
                match node.reads.readiness() {
                    Readiness::Ready => {
                        said_ready = true;
                        eprintln!("  ready");
                    }
                    Readiness::Recovering(detail) if looks.is_multiple_of(10) => eprintln!("  recovering: {detail}"),
                    Readiness::Halted(reasons) => {
                        said_ready = true;
                        eprintln!("  not ready, stopped: {}", reasons.join("; "));
                    }
                    Readiness::Recovering(_) | Readiness::Draining => {}
                }
            }
        }
    }
}

async fn stop_at_once(mut signals: Signals) {
    let same_stop = tokio::time::sleep(SAME_STOP);
    tokio::pin!(same_stop);
    loop {
        tokio::select! {
            () = &mut same_stop => break,
            () = signals.next() => {}
        }
    }
    signals.next().await;
    eprintln!("stopped at once; the next start goes on from the last commit");
    end_now(130);
}

/// Calls `end` once this time is over, on a thread of its own, which nobody waits for.
fn after(clock: Arc<dyn Clock>, limit: Duration, end: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let since = clock.monotonic();
    let watch = move || {
        while clock.monotonic().saturating_sub(since) < limit {
            std::thread::park_timeout(LOOK_EVERY);
        }
        end();
    };
    std::thread::Builder::new().name("deadline".to_owned()).spawn(watch).map(drop)
}

/// Ends the process without waiting for anything that goes on in it.
fn end_now(code: i32) -> ! {
    let hard = after(Arc::new(SystemClock::new()), EXIT_MAX, || std::process::abort());
    if hard.is_err() {
        std::process::abort();
    }
    std::process::exit(code);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use hongbao_engine::clock::ManualClock;

    use super::*;

    #[test]
    fn a_deadline_comes_when_its_time_is_over() {
        let clock = Arc::new(ManualClock::at(0));
        let (tell, told) = mpsc::channel();
        let seen = Arc::clone(&clock);
        after(Arc::clone(&clock) as _, STOP_MAX, move || tell.send(seen.monotonic()).unwrap()).unwrap();
        clock.advance(STOP_MAX.checked_sub(Duration::from_millis(1)).unwrap());
        assert!(told.recv_timeout(LOOK_EVERY * 2).is_err(), "too early");
        clock.advance(Duration::from_millis(1));
        assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok(STOP_MAX));
    }
}
