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
//! confirm   intents that became durable
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
mod held;
mod lane;
mod line;
mod now;
mod open;
mod plan;
mod reader;
mod ready;
mod send;
mod settle;
mod spec;
mod status;
mod track;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_engine::log::{Log, LogError};
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
use verdict::Rules;

pub use lane::LaneCounts;
pub use spec::{BreakerPolicy, DispatcherSpec, LaneSpec, Policy, PoolSpec, SpecError};
pub use status::{LaneState, LaneStatus, StatusBoard};

/// Shortest and longest time that [`Step::Idle`] proposes to wait.
const IDLE_MIN: Duration = Duration::from_millis(1);
const IDLE_MAX: Duration = Duration::from_millis(50);

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
    /// The log has failed.
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
        let now = Now::read(&*self.clock);
        let version = self.log.progress().version();
        let mut worked = self.collect(now);
        worked += self.open_tracks(now);
        if !self.is_draining {
            worked += self.read(version, now)?;
            worked += self.plan(now);
        }
        worked += self.flush(now)?;
        worked += self.confirm()?;
        worked += self.send(now);
        if !self.is_draining {
            worked += self.ask(now);
        }
        self.publish_status(now);
        if worked > 0 {
            return Ok(Step::Worked(worked));
        }
        if self.is_draining && self.is_drained()? {
            return Ok(Step::Drained);
        }
        Ok(Step::Idle { wake_in: self.wake_in(now) })
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

    fn is_drained(&self) -> Result<bool, LogError> {
        if !self.flights.is_empty() || !self.asks.is_empty() {
            return Ok(false);
        }
        for track in self.lanes.iter().flat_map(|lane| &lane.tracks) {
            let is_written = track.facts.is_empty() && self.is_durable(track)?;
            if track.is_running() && !is_written {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What the downstream of a lane and the policy allow.
    fn rules(&self, lane: usize) -> Rules {
        let capabilities = self.lines[self.lanes[lane].line].capabilities;
        Rules {
            key_life: capabilities.key_life,
            can_query: capabilities.can_query,
            key_margin: self.policy.key_margin,
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

    /// How long until something is due by time alone.
    fn wake_in(&self, now: Now) -> Duration {
        let waits_for_permits = self.lanes.iter().any(|lane| !lane.sendable.is_empty() || lane.backlog > 0);
        if waits_for_permits {
            return IDLE_MIN;
        }
        let due = self.lanes.iter().flat_map(|lane| &lane.tracks).filter_map(|track| track.held.next_due());
        let first = due.min().map_or(IDLE_MAX, |due| due.saturating_sub(now.mono));
        first.clamp(IDLE_MIN, IDLE_MAX)
    }
}

fn seeded(seed: u64) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(seed)
}

#[cfg(test)]
mod tests;
