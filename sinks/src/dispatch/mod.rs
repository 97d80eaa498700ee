//! The dispatcher: order -> intent -> downstream -> outcome -> journal, for all lanes and all
//! partitions of a process. A synchronous core without threads: the caller steps it, and given the
//! same clock, seed, log and completions it does the same.
//!
//! One step, in this order:
//! ```text
//! collect   answers of downstreams become facts, or orders to try again
//! open      tracks whose `Opened` was folded start to read
//! read      fresh orders, ahead of need
//! plan      batches by lane in rank order; an intent each
//! flush     facts and intents: one group per partition
//! confirm   intents that became durable or, where others write too, were read back (rule 4)
//! send      permits by rank, then submit
//! ask       what became of unresolved orders
//! ```
//! Permits are taken at the moment of sending, not when the intent is written: a slow sync would
//! otherwise let the sends of two seconds fall into one (I21).

mod asks;
mod breaker;
mod concurrency;
mod confirm;
mod facts;
mod flight;
mod gate;
mod gather;
mod held;
mod lane;
mod line;
mod now;
mod open;
mod plan;
mod read_back;
mod reader;
mod ready;
mod send;
mod settle;
mod spec;
mod status;
mod track;
mod verdict;
mod wake;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_engine::log::{Log, LogError};
use hongbao_engine::mutant;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::ReadBatch;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::downstream::{Completed, Completion, Downstream, Ticket};
use crate::journal_view::JournalView;
use crate::limits::pool::Pool;

use asks::OpenAsk;
use flight::Flight;
use lane::Lane;
use line::Line;
use now::Now;
use track::Track;
use verdict::Rules;

pub use lane::LaneCounts;
pub use spec::{BreakerPolicy, Confirm, DispatcherSpec, LaneSpec, Policy, PoolSpec, SpecError};
pub use status::{LaneState, LaneStatus, StatusBoard};

/// What a dispatcher works with.
pub struct Ports {
    /// Orders and journal.
    pub log: Arc<dyn Log>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The folded journal, for opening.
    pub view: Arc<dyn JournalView>,
    /// Downstreams by the names that lanes use.
    pub downstreams: BTreeMap<String, Box<dyn Downstream>>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many things happened; step again at once.
    Worked(usize),
    /// Nothing to do until the log makes progress, a downstream answers, or this time has passed.
    Idle {
        /// How long to wait at most.
        wake_in: Duration,
    },
    /// Draining is over: nothing is under way and every outcome is durable.
    Drained,
}

/// Why the dispatcher cannot go on at all; single lanes and partitions halt by themselves.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The log has failed, and with it the last partition halted that was left.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The dispatcher. See the [module](self).
pub struct Dispatcher {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    view: Arc<dyn JournalView>,
    policy: Policy,
    writer: [u8; 16],
    rng: Pcg64Mcg,
    lanes: Vec<Lane>,
    /// Lane indices, the most urgent first: by pool and rank, then as declared.
    by_rank: Vec<usize>,
    /// Pools with their lanes' indices in rank order.
    pools: Vec<(Pool, Vec<usize>)>,
    lines: Vec<Line>,
    flights: BTreeMap<Ticket, Flight>,
    asks: BTreeMap<Ticket, OpenAsk>,
    last_ticket: u64,
    /// Partitions that downstreams have stopped for, found in this step: line, partition and why.
    stopped: Vec<(usize, Partition, String)>,
    /// The last error of the log that halted something.
    log_error: Option<LogError>,
    /// See [`Now::has_gone_back`].
    has_gone_back: bool,
    is_draining: bool,
    buffer: ReadBatch,
    done: Vec<Completion>,
    status: Arc<StatusBoard>,
}

impl Dispatcher {
    /// A dispatcher whose tracks open one by one as it is stepped (rule 3). Limiters start empty
    /// (I21).
    ///
    /// # Errors
    /// [`SpecError`] when the spec contradicts itself or the ports.
    pub fn open(spec: DispatcherSpec, ports: Ports) -> Result<Self, SpecError> {
        open::open(spec, ports)
    }

    /// Does what can be done now, without waiting.
    ///
    /// # Errors
    /// [`DispatchError`]; then nothing works any more. A lane or partition that cannot go on halts
    /// alone and says so in the status (I26).
    pub fn step(&mut self) -> Result<Step, DispatchError> {
        let now = self.now();
        let version = self.log.progress().version();
        let mut worked = self.collect(now);
        worked += self.open_tracks();
        if !self.is_draining {
            self.let_go();
            worked += self.read(version, now);
            worked += self.plan(now);
        }
        worked += self.flush(now);
        self.halt_stopped();
        worked += match self.policy.confirm {
            Confirm::ByReading if !mutant!(M56) => self.read_back(),
            _ => self.confirm(),
        };
        worked += self.send(now);
        if !self.is_draining {
            worked += self.ask(now);
        }
        let is_drained = worked == 0 && self.is_draining && self.is_drained();
        self.publish_status(now);
        if let Some(error) = self.failure() {
            return Err(error);
        }
        Ok(match worked {
            0 if is_drained => Step::Drained,
            0 => Step::Idle { wake_in: self.wake_in(now) },
            _ => Step::Worked(worked),
        })
    }

    /// The error of the log when nothing is left that could go on.
    fn failure(&self) -> Option<DispatchError> {
        let error = self.log_error.as_ref()?;
        let mut tracks = self.lanes.iter().flat_map(|lane| &lane.tracks);
        tracks.all(Track::is_halted).then(|| error.clone().into())
    }

    fn now(&self) -> Now {
        Now::read(&*self.clock, self.has_gone_back)
    }

    /// Takes no new work from now on; what was sent is still awaited. Step until
    /// [`Step::Drained`], or give up after a while: what is open then is unresolved for the next
    /// process.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Where the lanes stand, for other threads to read at any time.
    #[must_use]
    pub fn status(&self) -> Arc<StatusBoard> {
        Arc::clone(&self.status)
    }

    /// Takes the downstreams' answers.
    fn collect(&mut self, now: Now) -> usize {
        let mut done = std::mem::take(&mut self.done);
        for line in &mut self.lines {
            line.port.poll(&mut done);
        }
        let count = done.len();
        for completion in done.drain(..) {
            match completion.result {
                Completed::Sent { outcomes, pause } => {
                    self.settle(completion.ticket, outcomes, pause, now);
                }
                Completed::Asked { told, pause } => {
                    self.settle_ask(completion.ticket, &told, pause, now);
                }
            }
        }
        self.done = done;
        count
    }

    /// What the downstream of a lane and the policy allow.
    fn rules(&self, lane: usize) -> Rules {
        let capabilities = self.lines[self.lanes[lane].line].capabilities;
        Rules {
            key_life: capabilities.key_life,
            can_query: capabilities.can_query,
            key_margin: self.policy.key_margin,
            send_time: capabilities.timeout + capabilities.batch_delay,
            attempts_max: self.policy.attempts_max,
            unresolved_max: self.policy.unresolved_max,
        }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    fn random(&mut self) -> u64 {
        self.rng.next_u64()
    }
}

fn seeded(seed: u64) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(seed)
}

#[cfg(test)]
mod tests;
