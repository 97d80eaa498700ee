//! What `up --demo` adds: a built-in topology, a rain, and a live table.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use hongbao_api::model::{Counts, LaneView};
use hongbao_api::reads::{Readiness, Reads};
use hongbao_engine::clock::Clock;
use hongbao_producers::rain::{Profile, Rain, TOTAL_MAX};
use hongbao_producers::sender::{LogSender, SENDER_LIMITS, SendError, Sender};
use hongbao_topology::{File, Topology};

use super::offline;
use crate::assemble::{Node, NodeReads};
use crate::cli::UpArgs;
use crate::exit::Failure;
use crate::output::{grouped, table};

const PROFILE: &str = "spring-2022";
const PACE: Duration = Duration::from_millis(5);
const TABLE_EVERY: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The built-in topology, with variables from the environment.
#[expect(clippy::disallowed_methods, reason = "the composition root gives the environment to the compiler")]
pub fn topology() -> Result<Topology, Failure> {
    let file = File { name: "demo/topology.yaml", text: include_str!("../../demo/topology.yaml") };
    let campaign = File {
        name: "demo/campaigns/spring-2027.yaml",
        text: include_str!("../../demo/campaigns/spring-2027.yaml"),
    };
    hongbao_topology::compile(file, &[campaign], &|name| std::env::var(name).ok())
        .map_err(|problems| offline::invalid("demo/topology.yaml", &problems))
}

/// The rain and the table; dropping it ends both.
pub struct Demo {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Demo {
    /// Starts both.
    pub fn start(node: &Node, topology: &Topology, args: &UpArgs) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut demo = Self { stop: Arc::clone(&stop), threads: Vec::new() };
        let profile = Profile::named(PROFILE).context("rain")?;
        let total = TOTAL_MAX;
        let rain = Rain::new(&profile, &topology.settings(1), args.seed, total).context("rain")?;
        if args.rain_rate > 0 {
            let sender = LogSender::start(Arc::clone(&node.log), Arc::clone(&node.clock), SENDER_LIMITS)?;
            let pour = Pour {
                rain,
                sender,
                reads: Arc::clone(&node.reads),
                clock: Arc::clone(&node.clock),
                rate: args.rain_rate,
                awards: args.rain_awards.unwrap_or(total),
                stop: Arc::clone(&stop),
            };
            demo.spawn("rain", move || pour.run())?;
        }
        let show = Show {
            reads: Arc::clone(&node.reads),
            clock: Arc::clone(&node.clock),
            stop,
            last: Look::default(),
        };
        demo.spawn("table", move || show.run())?;
        Ok(demo)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        let builder = std::thread::Builder::new().name(name.to_owned());
        self.threads.push(builder.spawn(work).context(name.to_owned())?);
        Ok(())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

struct Pour {
    rain: Rain,
    sender: LogSender,
    reads: Arc<NodeReads>,
    clock: Arc<dyn Clock>,
    rate: u64,
    awards: u64,
    stop: Arc<AtomicBool>,
}

impl Pour {
    fn run(self) {
        while matches!(self.reads.readiness(), Readiness::Recovering(_)) && !self.stop.load(Ordering::Acquire)
        {
            std::thread::park_timeout(PACE);
        }
        // A restart goes on where the rain stood, so that it brings new awards.
        let first = self.reads.counts().read;
        let mut rain = self.rain.part(first..TOTAL_MAX);
        let started = self.clock.monotonic();
        let mut sent: u64 = 0;
        while !self.stop.load(Ordering::Acquire) && sent < self.awards {
            let elapsed = self.clock.monotonic().saturating_sub(started);
            let due =
                u64::try_from(elapsed.as_micros() * u128::from(self.rate) / 1_000_000).unwrap_or(u64::MAX);
            while sent < due.min(self.awards) {
                let Some(delivery) = rain.next_delivery() else { return };
                match self.submit(delivery.act_id, delivery.award) {
                    Ok(()) => sent += 1,
                    Err(error) => {
                        tracing::error!(%error, "the rain has stopped");
                        return;
                    }
                }
            }
            std::thread::park_timeout(PACE);
        }
    }

    fn submit(&self, act_id: &str, award: &[u8]) -> Result<(), SendError> {
        loop {
            match self.sender.submit(act_id, award) {
                Err(SendError::Busy(_)) if !self.stop.load(Ordering::Acquire) => {
                    std::thread::park_timeout(PACE)
                }
                other => return other,
            }
        }
    }
}

/// What rates are counted from.
#[derive(Default)]
struct Look {
    at: Duration,
    read: u64,
    /// By lane.
    credited: BTreeMap<String, u64>,
}

struct Show {
    reads: Arc<NodeReads>,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
    last: Look,
}

impl Show {
    fn run(mut self) {
        let terminal = std::io::stdout().is_terminal();
        let every = if terminal { TABLE_EVERY } else { LINE_EVERY };
        // What a restart folds again is not what comes in.
        while matches!(self.reads.readiness(), Readiness::Recovering(_)) && !self.stop.load(Ordering::Acquire)
        {
            std::thread::park_timeout(PACE);
        }
        self.last = self.look(&self.reads.counts(), &self.reads.lanes());
        while !self.stop.load(Ordering::Acquire) {
            std::thread::park_timeout(every);
            if self.clock.monotonic().saturating_sub(self.last.at) < every / 2 {
                continue;
            }
            let lines = self.lines(terminal);
            let mut stdout = std::io::stdout().lock();
            let clear = if terminal { "\x1b[2J\x1b[H" } else { "" };
            // A reader that has gone away must not stop the server.
            drop(writeln!(stdout, "{clear}{}", lines.join("\n")));
            drop(stdout.flush());
        }
    }

    fn look(&self, counts: &Counts, lanes: &[LaneView]) -> Look {
        let credited = lanes.iter().map(|lane| (lane.lane.clone(), lane.credited)).collect();
        Look { at: self.clock.monotonic(), read: counts.read, credited }
    }

    fn lines(&mut self, terminal: bool) -> Vec<String> {
        let (counts, lanes) = (self.reads.counts(), self.reads.lanes());
        let now = self.look(&counts, &lanes);
        let last = std::mem::replace(&mut self.last, now);
        let seconds = self.last.at.saturating_sub(last.at).as_secs_f64().max(0.001);
        let offered = counts.read.saturating_sub(last.read) as f64 / seconds;
        let rate = |lane: &LaneView| {
            let before = last.credited.get(&lane.lane).copied().unwrap_or(lane.credited);
            lane.credited.saturating_sub(before) as f64 / seconds
        };
        if !terminal {
            let parts = lanes.iter().map(|lane| {
                let (backlog, lag) = (grouped(lane.backlog), lane.lag_seconds);
                format!(
                    "{} {:.0}/s of {} backlog {backlog} oldest {lag:.1}s",
                    lane.lane,
                    rate(lane),
                    lane.limit_per_second
                )
            });
            return vec![format!(
                "offered {offered:.0}/s read {} = accepted {} + duplicate {} + conflict {} + rejected {} + undecodable {} | {}",
                grouped(counts.read),
                grouped(counts.accepted),
                grouped(counts.duplicate),
                grouped(counts.conflict),
                grouped(counts.rejected),
                grouped(counts.undecodable),
                parts.collect::<Vec<_>>().join(" | "),
            )];
        }
        let rows: Vec<Vec<String>> = lanes
            .iter()
            .map(|lane| {
                vec![
                    lane.lane.clone(),
                    lane.state.clone(),
                    grouped(lane.backlog),
                    format!("{:.0}/s", rate(lane)),
                    format!("{}/s", grouped(lane.limit_per_second)),
                    format!("{:.1} s", lane.lag_seconds),
                    grouped(lane.credited),
                    grouped(lane.unknown),
                ]
            })
            .collect();
        let mut lines = vec![
            format!("raining {offered:.0} awards/s   (Ctrl-C drains and stops)"),
            format!(
                "read {} = accepted {} + duplicate {} + conflict {} + rejected {} + undecodable {}",
                grouped(counts.read),
                grouped(counts.accepted),
                grouped(counts.duplicate),
                grouped(counts.conflict),
                grouped(counts.rejected),
                grouped(counts.undecodable),
            ),
            String::new(),
        ];
        let header = ["LANE", "STATE", "BACKLOG", "RATE", "CAP", "OLDEST", "CREDITED", "UNKNOWN"];
        lines.extend(table(&header, &rows, &[1]));
        lines
    }
}
