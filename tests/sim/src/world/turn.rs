//! One turn: what is due happens, then every part of the process gets a step, in an order drawn by
//! the scheduler; when nothing moves, time does.

use std::sync::Arc;

use hongbao_engine::commit::Committer;
use hongbao_engine::log::{Log, LogError};
use hongbao_sinks::dispatch::Step;

use crate::downstreams::watched::Watch;
use crate::fuse::Ran;
use crate::operator;
use crate::oracles::Violation;

use super::{End, Process, World};

/// Longest step of time while a process runs, so that its timers are looked at.
const STEP_MAX_MS: i64 = 50;
/// Turns at one moment after which time moves on whatever happens.
const TURNS_AT_ONCE: u32 = 200;

/// A part of the process that gets steps of its own.
#[derive(Clone, Copy, Debug)]
enum Part {
    Intake(usize),
    Views(usize),
    Commits,
    Dispatcher,
    Deliver,
}

impl Part {
    fn slot(self) -> usize {
        match self {
            Self::Commits => 0,
            Self::Dispatcher => 1,
            Self::Deliver => 2,
            Self::Intake(index) => 3 + 2 * index,
            Self::Views(index) => 4 + 2 * index,
        }
    }
}

impl World<'_, '_> {
    /// A turn.
    pub(super) fn turn(&mut self) -> Result<(), Violation> {
        let mut worked = self.due_steps()?;
        if self.zombie.is_some() && !(self.is_nothing_ruined() && self.losses.is_empty()) {
            self.end_zombie()?;
        }
        let is_durable = self.estate.pass_time();
        worked |= is_durable;
        if is_durable {
            self.follow()?;
        }
        if self.frozen_until_ms > 0 && self.now_ms() >= self.frozen_until_ms {
            self.frozen_until_ms = 0;
            self.estate.clock.freeze(false);
        }
        if self.process.is_none() && self.now_ms() >= self.start_at_ms {
            self.start()?;
            worked = true;
        }
        if self.process.is_some() && self.now_ms() >= self.next_tick_ms {
            self.next_tick_ms = self.now_ms() + i64::from(self.plan.options.tick_ms);
            self.tick()?;
        }
        worked |= self.run_parts()?;
        self.observe()?;
        if self.is_recovering && self.process.as_ref().is_some_and(Process::has_caught_up) {
            self.is_recovering = false;
            self.estate.fuse.count_reads(false);
        }
        if self.zombie.is_some() {
            worked |= self.step_zombie()?;
        }
        self.stats.turns += 1;
        if worked && self.stats.turns_at_once < TURNS_AT_ONCE {
            self.stats.turns_at_once += 1;
            self.stats.idle = 0;
        } else {
            self.look()?;
            self.pass();
        }
        Ok(())
    }

    /// Lets time pass up to what comes next.
    fn pass(&mut self) {
        self.stats.turns_at_once = 0;
        self.stats.idle += 1;
        let now_ms = self.now_ms();
        let doubled = 1_i64 << self.stats.idle.min(10);
        let is_awake = self.process.is_some() || self.is_zombie_awake();
        let mut to_ms = now_ms + if is_awake { doubled.min(STEP_MAX_MS) } else { 3_600_000 };
        let step = self.plan.steps.get(self.next_step).map(|step| step.at_ms);
        let start = self.process.is_none().then_some(self.start_at_ms);
        let tick = self.process.is_some().then_some(self.next_tick_ms);
        let thaw = (self.frozen_until_ms > 0).then_some(self.frozen_until_ms);
        let zombie = self.zombie_due_ms();
        for due_ms in [step, self.estate.next_due_ms(), start, tick, thaw, zombie].into_iter().flatten() {
            to_ms = to_ms.min(due_ms);
        }
        self.estate.clock.advance_to(to_ms.max(now_ms + 1));
    }

    /// Runs a piece of the process; none when there is no process, or it ends on the way.
    pub(super) fn within<T>(&mut self, work: impl FnOnce(&mut Process) -> T) -> Result<Option<T>, Violation> {
        let Some(process) = &mut self.process else { return Ok(None) };
        match self.estate.fuse.run(|| work(process)) {
            Ran::Through(value) => Ok(Some(value)),
            Ran::Ended => {
                self.crashed()?;
                Ok(None)
            }
            Ran::Panicked(text) => Err(Violation::new("panic", text)),
        }
    }

    fn run_parts(&mut self) -> Result<bool, Violation> {
        let partitions = usize::from(self.plan.options.partitions);
        let mut parts = vec![Part::Commits, Part::Dispatcher, Part::Deliver];
        parts.extend((0..partitions).flat_map(|index| [Part::Intake(index), Part::Views(index)]));
        for index in (1..parts.len()).rev() {
            let other = self.schedule.below(index as u64 + 1) as usize;
            parts.swap(index, other);
        }
        let mut worked = false;
        let version = |world: &Self| (world.estate.log.progress().version(), world.now_ms(), world.moves);
        for part in parts {
            if self.schedule.chance(u64::from(self.plan.options.laziness)) {
                continue;
            }
            // A part that had nothing to do when everything was as it is now has nothing to do.
            let slot = part.slot();
            let before = version(self);
            if self.idle_since.get(slot).is_some_and(|since| *since == before) {
                continue;
            }
            let part_worked = self.run_part(part)?;
            if part_worked {
                self.moves += 1;
            }
            if self.idle_since.len() <= slot {
                self.idle_since.resize(slot + 1, (0, -1, 0));
            }
            self.idle_since[slot] = if part_worked { (0, -1, 0) } else { version(self) };
            worked |= part_worked;
        }
        Ok(worked)
    }

    fn run_part(&mut self, part: Part) -> Result<bool, Violation> {
        let log = Arc::clone(&self.estate.log);
        match part {
            Part::Intake(index) => {
                let worked = self.within(|process| process.intakes[index].step())?;
                self.look_at_fold(|process| process.intakes[index].status())?;
                Ok(worked.unwrap_or(false))
            }
            Part::Views(index) => {
                let worked = self.within(|process| process.views[index].step())?;
                self.look_at_fold(|process| process.views[index].status())?;
                Ok(worked.unwrap_or(false))
            }
            Part::Commits => {
                let run = |process: &mut Process| {
                    process.committers.iter().map(|committer| Committer::run_ready(committer)).sum::<usize>()
                };
                let worked = self.within(run)?.is_some_and(|count| count > 0);
                if worked {
                    self.look_at_stores()?;
                }
                Ok(worked)
            }
            Part::Deliver => {
                if self.process.is_none() {
                    return Ok(false);
                }
                let mut clients = std::mem::take(&mut self.clients);
                let delivered = self.within(|_| {
                    clients.acknowledge(&*log);
                    clients.deliver(&*log)
                });
                // What a process ended in the middle of is still theirs.
                let crashed = self.process.is_none();
                self.clients = clients;
                if crashed {
                    self.clients.connection_lost();
                }
                Ok(delivered?.unwrap_or(false))
            }
            Part::Dispatcher => self.dispatch(),
        }
    }

    fn dispatch(&mut self) -> Result<bool, Violation> {
        let stepped = self.within(|process| matches!(process.dispatch(), Ok(Step::Worked(_))))?;
        self.observe()?;
        Ok(stepped.unwrap_or(false))
    }

    /// Shows the oracles what left.
    pub(super) fn observe(&mut self) -> Result<(), Violation> {
        self.observe_of(self.processes)
    }

    /// The same, of a process by its number.
    pub(super) fn observe_of(&mut self, process: u64) -> Result<(), Violation> {
        let (sent, asks, breaches) = {
            let mut watch = self.estate.watch.lock();
            let Watch { sent, asks, breaches, .. } = &mut *watch;
            (std::mem::take(sent), std::mem::take(asks), std::mem::take(breaches))
        };
        // Limits are not promised over two processes.
        let is_alone = self.owners.is_none();
        for asked in asks.into_iter().filter(|_| is_alone) {
            let asked = self.oracles.asked(asked, &self.plan.options);
            self.weigh(asked)?;
        }
        for sent in &sent {
            self.stats.sends += sent.batch.len() as u64;
            let partition = sent.batch.partition().0;
            if self.silenced.contains(&partition) {
                let (lane, doom) = (sent.batch.lane(), &self.doomed[&partition]);
                let what = format!("{lane} of partition {partition} was sent after a start with {doom:?}");
                self.weigh(Err(Violation::new("I26", what)))?;
            }
            if !self.is_forgotten(partition) {
                let judged = self.judge(sent, process);
                self.weigh(judged)?;
            }
        }
        let mut breaches = breaches;
        for partner in self.estate.partners() {
            breaches.append(&mut self.breaches_of(&mut partner.lock()));
        }
        for breach in breaches {
            if !(breach.may_follow_loss && self.may_repeat(&breach.order_no)) {
                self.weigh_breach(breach)?;
            }
        }
        Ok(())
    }

    /// Shows the oracles what became durable.
    pub(super) fn follow(&mut self) -> Result<(), Violation> {
        for partition in 0..self.plan.options.partitions {
            if self.is_ruined(partition) {
                self.oracles.forget_cash(partition);
            }
            if !self.is_forgotten(partition) {
                let advanced = self.oracles.advance(partition, self.estate.clock.now_ms());
                self.weigh(advanced)?;
            }
        }
        self.note_owners();
        Ok(())
    }

    fn start(&mut self) -> Result<(), Violation> {
        self.processes += 1;
        // What a loss leaves to be noticed depends on the stores that the process finds.
        self.stores_change();
        self.losses_happen()?;
        self.look_at_beginnings();
        self.silence();
        self.follow()?;
        self.look_at_replays();
        self.oracles.start_of_process();
        self.estate.fuse.renew();
        self.estate.fuse.set_process(self.processes);
        self.estate.clock.boot();
        let end = self.end.take();
        if let Some(end) = end
            && let Some(calls) = end.again
        {
            self.estate.fuse.light(calls);
            self.estate.fuse.count_reads(end.reads);
            self.end = Some(End { again: None, reads: false, ..end });
        }
        self.note("start", [self.processes, 0], || format!("process {}", self.processes));
        let number = self.processes;
        let journal_ms = (0..self.plan.options.partitions).map(|at| self.oracles.last_fact_ms(at));
        self.journal_ms_at_start.insert(number, journal_ms.collect());
        let (estate, options) = (&self.estate, &self.plan.options);
        match estate.fuse.run(|| Process::start(estate, options, number)) {
            Ran::Through(process) => self.process = Some(process),
            Ran::Ended => {
                self.stats.sometimes("crash.while_opening", 1);
                return self.crashed();
            }
            Ran::Panicked(text) => return Err(Violation::new("panic", text)),
        }
        self.is_recovering = true;
        self.idle_since.clear();
        if let Some(owners) = &mut self.owners {
            owners.restart(self.processes);
        }
        self.next_tick_ms = self.now_ms() + i64::from(self.plan.options.tick_ms);
        let settings = self.settings_in_force();
        let (log, clock) = (Arc::clone(&self.estate.log), Arc::clone(&self.estate.clock));
        for partition in 0..self.plan.options.partitions {
            // What cannot be appended now is completed at the next start, or was there before.
            let published = self.within(|_| {
                operator::tick(&*log, &*clock, partition)
                    .and_then(|()| operator::publish(&*log, &*clock, partition, &settings))
            })?;
            if matches!(published, Some(Err(_))) {
                self.deferred.push_back(crate::plan::Op::Settings {
                    cash_max_minor: self.settings.1,
                    has_films: self.settings.2,
                });
            }
        }
        self.run_deferred()?;
        if let Some(op) = self.opening_zombie.take() {
            self.pause(&op);
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Violation> {
        let (log, clock) = (Arc::clone(&self.estate.log), Arc::clone(&self.estate.clock));
        for partition in 0..self.plan.options.partitions {
            let ticked = self.within(|_| operator::tick(&*log, &*clock, partition))?;
            if let Some(Err(error)) = ticked {
                self.stats.sometimes("tick.refused", 1);
                // The ticker warns of it, and nobody else may come by.
                if let (LogError::Failed(_), Some(process)) = (&error, &mut self.process) {
                    process.failed.get_or_insert_with(|| error.to_string());
                }
            }
        }
        self.run_deferred()?;
        if let Some(process) = &self.process {
            let mut looked = self.oracles.bounded(&process.lanes, &self.plan.options);
            if looked.is_ok() && self.is_healed && self.is_nothing_ruined() {
                let now_ms = self.estate.clock.now_ms();
                looked = self.oracles.look_at_fresh(&process.lanes, &self.plan.options, now_ms);
            }
            self.weigh(looked)?;
        }
        self.look_at_answers()
    }

    /// The fuse has burnt: the process is no more.
    pub(super) fn crashed(&mut self) -> Result<(), Violation> {
        let end = self.end.take();
        let end = end.unwrap_or_else(|| End::unplanned(500, 100));
        if self.process.is_some() && self.is_recovering {
            self.stats.sometimes("crash.in_recovery", 1);
        }
        self.stats.crashes += 1;
        self.stats.sometimes("crash", 1);
        self.end_process(end)
    }

    pub(super) fn end_process(&mut self, end: End) -> Result<(), Violation> {
        // What was on its way when the process ended still happened.
        let observed = self.observe();
        let stopped = self.explain_stops();
        let set_aside = self.process.as_ref().map_or(0, Process::orders_set_aside);
        self.stats.sometimes("orders.gap_held", set_aside);
        self.process = None;
        observed?;
        self.weigh(stopped)?;
        self.note("end", [self.processes, u64::from(end.keep_permille)], || {
            format!("process {}", self.processes)
        });
        self.estate.end_of_process(end.keep_permille, self.zombie.as_ref().map(|zombie| zombie.number));
        if self.owners.is_some() {
            self.follow()?;
        }
        self.look_at_stores()?;
        self.clients.connection_lost();
        self.start_at_ms = self.now_ms() + end.down_ms.max(1);
        self.end = end.again.is_some().then_some(end);
        if end.audit {
            self.stats.sometimes("audit.at_crash", 1);
            self.audit(false)?;
        }
        Ok(())
    }
}
