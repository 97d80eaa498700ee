//! A world: a process over an estate, stepped by hand in virtual time through a plan; after it the next
//! one, and at times one beside it that should be gone.
//!
//! ```text
//! safety     operations and faults of the plan, oracles at every event
//! heal       faults stop, what can be repaired is
//! liveness   everything must end well before a deadline
//! final      the plain reference model over all logs, stores and true books
//! ```

mod ending;
mod estate;
mod faults;
mod halts;
mod judging;
mod looks;
mod losses;
mod process;
mod stops;
mod turn;
mod zombie;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::clients::Clients;
use crate::log::Undisturbed;
use crate::operator::settings;
use crate::oracles::{Oracles, Violation};
use crate::plan::{Op, Plan};
use crate::random::Random;
use crate::report::Stats;
use crate::trace::Trace;

use zombie::{Owners, Zombie};

pub use estate::{Estate, Place};
pub use process::{Process, views_limits};

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// The first thing that was wrong.
    pub violation: Option<Violation>,
    /// Hash of all events.
    pub hash: u64,
    /// Number of events.
    pub events: u64,
    /// What happened.
    pub stats: Stats,
    /// The history, if it was asked for.
    pub trace: Arc<Trace>,
}

/// Plays a plan. A panic is a violation of it, wherever it comes from.
#[must_use]
pub fn run(plan: &Plan, trace: Trace) -> Run {
    #[cfg(feature = "mutants")]
    hongbao_engine::mutants::restart();
    let trace = Arc::new(trace);
    let mut stats = Stats::default();
    let played = catch_unwind(AssertUnwindSafe(|| {
        let estate = Estate::new(&plan.options, Arc::clone(&trace));
        let log = estate.log.undisturbed();
        let mut world = World::new(plan, estate, &log);
        let violation = world.play().err();
        stats = std::mem::take(&mut world.stats);
        world.count(&mut stats);
        violation
    }));
    let violation =
        played.unwrap_or_else(|payload| Some(Violation::new("panic", crate::fuse::text_of(&*payload))));
    Run { violation, hash: trace.hash(), events: trace.events(), stats, trace }
}

/// How much of a partition is lost for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doom {
    /// Its log lacks what was durable: whatever is folded from it may be anything.
    Lost {
        /// The folds must notice.
        must_halt: bool,
        /// A fold notices at the start already, so nothing is sent any more.
        is_noticed: bool,
    },
    /// Its log cannot be read any more; what had been written is known to the oracles.
    Damaged,
    /// The beginning of its awards or of its journal is gone (rule 8).
    Trimmed {
        /// The journal; else the awards.
        is_journal: bool,
        /// First offset kept.
        start: u64,
        /// The fold of it was behind that, so it may halt.
        may_halt: bool,
        /// Its store was behind that at a start, so it must halt.
        must_halt: bool,
        /// The journal, of which the intake's store had not read so much: it may lack outputs of its own,
        /// which it has to compare (rule 6).
        lacks_outputs: bool,
    },
    /// A fold's store is not what the fold wrote.
    Store {
        /// Of the intake; else of the views.
        is_intake: bool,
        /// The fold must notice.
        must_halt: bool,
        /// It is another partition's; else it is damaged.
        is_foreign: bool,
    },
}

impl Doom {
    /// Whether nothing is lost that anybody had still to read, so that everything must go on.
    fn is_harmless(&self) -> bool {
        matches!(self, Self::Trimmed { may_halt: false, must_halt: false, lacks_outputs: false, .. })
    }

    /// Whether a process that starts now cannot open the views, without which nothing is sent.
    fn is_silent(&self) -> bool {
        match self {
            Self::Damaged => true,
            Self::Store { is_intake, must_halt, .. } => !is_intake && *must_halt,
            Self::Lost { is_noticed, .. } => *is_noticed,
            Self::Trimmed { is_journal, must_halt, .. } => *is_journal && *must_halt,
        }
    }
}

/// The end of a process that is planned.
#[derive(Clone, Copy, Debug)]
struct End {
    keep_permille: u32,
    down_ms: i64,
    again: Option<u64>,
    /// Reads of the next process are points.
    reads: bool,
    audit: bool,
}

impl End {
    /// One that nobody planned.
    fn unplanned(keep_permille: u32, down_ms: i64) -> Self {
        Self { keep_permille, down_ms, again: None, reads: false, audit: false }
    }
}

/// See the [module](self).
pub struct World<'p, 'l> {
    plan: &'p Plan,
    next_step: usize,
    estate: Estate,
    oracles: Oracles<'l>,
    schedule: Random,
    clients: Clients,
    process: Option<Process>,
    /// Processes started; the number of the last one.
    processes: u64,
    /// By process: time of each partition's journal when it started.
    journal_ms_at_start: BTreeMap<u64, Vec<i64>>,
    /// The process has not caught up with what there was at its start.
    is_recovering: bool,
    zombie: Option<Box<Zombie>>,
    /// The next process to start becomes one.
    opening_zombie: Option<Op>,
    /// Who has the lanes, once there was a zombie.
    owners: Option<Owners>,
    end: Option<End>,
    start_at_ms: i64,
    next_tick_ms: i64,
    frozen_until_ms: i64,
    settings: (u64, i64, bool),
    /// Operations that wait for a process.
    deferred: VecDeque<Op>,
    /// Groups that the log lacks at the next start.
    losses: Vec<(u16, usize)>,
    /// Orders that lost records named, where nobody could notice the loss.
    lost_orders: BTreeSet<String>,
    /// Partitions of which something is lost for good.
    doomed: BTreeMap<u16, Doom>,
    /// Partitions of which the process may send nothing, since it started after they were lost.
    silenced: BTreeSet<u16>,
    /// Folds seen halted, by name; of a doomed partition, since it is.
    halted_ever: BTreeSet<String>,
    /// Those that lacked the beginning of a log.
    lacked_beginning: BTreeSet<String>,
    /// Offset that each intake's store stood at when it was looked at last.
    intakes_stood: Vec<u64>,
    restarts_without_reason: u32,
    /// Ids of what was broken and did not end the run.
    noted: BTreeSet<String>,
    /// Deliveries acknowledged before a process started that must not take on a partition whose log is
    /// behind its stores, by that partition.
    behind_since: BTreeMap<u16, usize>,
    is_healed: bool,
    /// End of each partition's awards when clients were done.
    delivered: Option<Vec<u64>>,
    /// Version of the log, time and moves when a part last had nothing to do.
    idle_since: Vec<(u64, i64, u64)>,
    /// Steps in which a part did something.
    moves: u64,
    stats: Stats,
}

impl<'p, 'l> World<'p, 'l> {
    fn new(plan: &'p Plan, estate: Estate, log: &'l Undisturbed) -> Self {
        let options = &plan.options;
        Self {
            plan,
            next_step: 0,
            oracles: Oracles::new(log, options),
            schedule: Random::of(options.seed, "schedule"),
            estate,
            clients: Clients::default(),
            process: None,
            processes: 0,
            journal_ms_at_start: BTreeMap::new(),
            is_recovering: false,
            zombie: None,
            opening_zombie: None,
            owners: None,
            end: None,
            start_at_ms: 0,
            next_tick_ms: 0,
            frozen_until_ms: 0,
            settings: (1, options.cash_max_minor, true),
            deferred: VecDeque::new(),
            losses: Vec::new(),
            lost_orders: BTreeSet::new(),
            doomed: BTreeMap::new(),
            silenced: BTreeSet::new(),
            halted_ever: BTreeSet::new(),
            lacked_beginning: BTreeSet::new(),
            intakes_stood: vec![0; usize::from(options.partitions)],
            restarts_without_reason: 0,
            noted: BTreeSet::new(),
            behind_since: BTreeMap::new(),
            is_healed: false,
            delivered: None,
            idle_since: Vec::new(),
            moves: 0,
            stats: Stats::default(),
        }
    }

    fn now_ms(&self) -> i64 {
        self.estate.clock.now_ms()
    }

    fn note(&self, kind: &str, numbers: [u64; 2], text: impl FnOnce() -> String) {
        self.estate.trace.note(self.now_ms(), kind, numbers, text);
    }

    fn settings_in_force(&self) -> hongbao_schemas::settings::Settings {
        let (number, cash_max_minor, has_films) = self.settings;
        settings(number, cash_max_minor, has_films)
    }

    fn play(&mut self) -> Result<(), Violation> {
        let played = self.play_through();
        if self.plan.judge.is_strict() { played } else { self.judge_money(played) }
    }

    fn play_through(&mut self) -> Result<(), Violation> {
        while self.next_step < self.plan.steps.len() {
            self.turn()?;
        }
        self.heal()?;
        let deadline_ms = self.now_ms() + self.plan.options.deadline_ms;
        let mut look_at_ms = 0;
        loop {
            self.turn()?;
            if self.now_ms() >= look_at_ms {
                look_at_ms = self.now_ms() + 500;
                if self.is_done() {
                    break;
                }
            }
            if self.now_ms() > deadline_ms {
                let halts = self.expect_halts();
                self.weigh(halts)?;
                return Err(self.stuck());
            }
        }
        self.finish()
    }

    /// Numbers that are told at the end.
    fn count(&self, stats: &mut Stats) {
        stats.virtual_ms += self.now_ms().cast_unsigned();
        stats.retries += self.clients.retries;
        stats.sometimes("log.late", self.estate.log.late_arrivals());
        stats.sometimes("cash.contended", self.oracles.contended());
        stats.sometimes("partition.halted", self.halted_ever.len() as u64);
        let met = self.estate.logs().map(|log| log.met());
        for (what, count) in met.chain(self.estate.stores().map(|store| store.met())).flatten() {
            stats.sometimes(what, count);
        }
        let watch = self.estate.watch.lock();
        stats.unknown_outcomes += watch.unknown;
        stats.asks_unknown += watch.asked_unknown;
        stats.asks += watch.asked;
        for partner in self.estate.partners() {
            stats.sometimes("clock.deceived", partner.lock().excused());
            for (name, count) in &partner.lock().met {
                stats.sometimes(&format!("request.{name}"), *count);
            }
            for (name, count) in &partner.lock().asked {
                stats.sometimes(name, *count);
            }
        }
    }
}
