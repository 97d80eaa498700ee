//! A process that should be gone: paused and not ended, while another was started in its place on
//! another machine. It wakes up and goes on, with its own stores, clock and fuse, over the same log and
//! downstreams.
//!
//! What holds while both run. A process that has a lane (the journal's last `Opened` is its own) is
//! held to everything. One that had it, and was replaced, may still send for `send_within` after the
//! `Opened` that replaced it could be read (rule 4), and nothing later (I24). What it sends then was
//! accepted and intended, and whoever took over knows the order as one in flight; but by then it may
//! have come to an end, which the replaced process cannot know, so of I10 and I12 only the downstream's
//! own book is left. All sends count together for I21, since the new one's limits begin empty when the
//! replaced one sends nothing any more; but not where one has a lane in one partition and the other in
//! another, since each of them bounds its lane as a whole.

use hongbao_engine::commit::Committer;
use hongbao_sinks::dispatch::Step;

use crate::clock::NodeClock;
use crate::downstreams::Sent;
use crate::fuse::{Ran, Wick};
use crate::operator::LANES;
use crate::options::{DownstreamOptions, LogProfile};
use crate::oracles::{Oracles, Violation};
use crate::plan::Op;
use crate::random::Random;

use super::{Process, World};

/// A process that should be gone.
pub struct Zombie {
    /// Its number.
    pub number: u64,
    process: Process,
    wick: Wick,
    clock: NodeClock,
    schedule: Random,
    wakes_at_ms: i64,
    ends_at_ms: i64,
    keep_permille: u32,
}

/// How a process stands to a lane of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// It never had it.
    Never,
    /// It has it.
    Now,
    /// Another has it since then.
    Until(i64),
}

/// Who has the lanes.
pub struct Owners {
    main: Ownership,
    zombie: Option<Ownership>,
    /// Lanes that both have had at a time, since the zombie was paused, in different partitions.
    shared: [bool; LANES.len()],
}

struct Ownership {
    number: u64,
    lanes: Vec<Owner>,
}

impl Ownership {
    fn new(number: u64, partitions: u16) -> Self {
        Self { number, lanes: vec![Owner::Never; usize::from(partitions) * LANES.len()] }
    }

    fn look(&mut self, oracles: &Oracles<'_>, now_ms: i64) {
        for (at, owner) in self.lanes.iter_mut().enumerate() {
            let opener = oracles.opener((at / LANES.len()) as u16, LANES[at % LANES.len()]);
            let is_own = opener.is_some_and(|writer| writer == writer_of(self.number));
            *owner = match *owner {
                _ if is_own => Owner::Now,
                Owner::Now => Owner::Until(now_ms),
                before => before,
            };
        }
    }

    fn of(&self, sent: &Sent) -> Owner {
        let at = usize::from(sent.batch.partition().0) * LANES.len() + lane_of(sent);
        self.lanes.get(at).copied().unwrap_or(Owner::Never)
    }

    fn has(&self, lane: usize) -> bool {
        self.lanes.iter().skip(lane).step_by(LANES.len()).any(|owner| *owner == Owner::Now)
    }
}

impl Owners {
    /// A process was started in place of the last.
    pub fn restart(&mut self, number: u64) {
        let lanes = vec![Owner::Never; self.main.lanes.len()];
        self.main = Ownership { number, lanes };
    }

    fn note_shared(&mut self) {
        let Some(zombie) = &self.zombie else { return };
        for (lane, shared) in self.shared.iter_mut().enumerate() {
            *shared |= self.main.has(lane) && zombie.has(lane);
        }
    }

    /// Whether what the zombie sends adds to what its lane sends. Lanes of a pool are as one.
    fn adds_up(&self, sent: &Sent, has_pool: bool) -> bool {
        !if has_pool { self.shared.contains(&true) } else { self.shared[lane_of(sent)] }
    }
}

fn lane_of(sent: &Sent) -> usize {
    LANES.iter().position(|lane| *lane == sent.batch.lane()).unwrap_or_default()
}

/// The random number that a process opens lanes with.
pub fn writer_of(process: u64) -> [u8; 16] {
    let mut writer = [0; 16];
    writer[..8].copy_from_slice(&process.to_le_bytes());
    writer
}

impl World<'_, '_> {
    /// The process becomes a zombie, unless there is one, or something is lost for good: what must be
    /// noticed then is told by one process alone.
    pub(super) fn pause(&mut self, op: &Op) {
        let Op::Zombie { for_ms, awake_ms, down_ms, calls, keep_permille, is_empty, ahead_ms, .. } = op
        else {
            return;
        };
        let options = &self.plan.options;
        let is_ledger =
            |downstream: &DownstreamOptions| matches!(downstream, DownstreamOptions::Ledger { .. });
        let is_possible = options.log == LogProfile::Broker
            && !options.downstreams.iter().any(is_ledger)
            && self.zombie.is_none()
            && !self.is_healed
            && self.is_nothing_ruined()
            && self.losses.is_empty();
        if !is_possible || self.process.is_none() || self.estate.move_house(*is_empty).is_err() {
            return;
        }
        let Some(process) = self.process.take() else { return };
        let now_ms = self.now_ms();
        let (mut wick, mut clock) = (Wick::default(), NodeClock::ahead(*ahead_ms));
        self.estate.fuse.exchange(&mut wick);
        self.estate.clock.exchange(&mut clock);
        wick.left = calls.unwrap_or(0);
        let number = self.processes;
        self.note("pause", [number, for_ms.cast_unsigned()], || format!("process {number}"));
        self.stats.sometimes("zombie", 1);
        let wakes_at_ms = now_ms + for_ms;
        self.zombie = Some(Box::new(Zombie {
            number,
            process,
            wick,
            clock,
            schedule: Random::of(self.plan.options.seed, &format!("zombie-{number}")),
            wakes_at_ms,
            ends_at_ms: wakes_at_ms + awake_ms,
            keep_permille: *keep_permille,
        }));
        let partitions = self.plan.options.partitions;
        let main = Ownership::new(0, partitions);
        let mut own = match self.owners.take() {
            Some(owners) => owners.main,
            None => Ownership::new(number, partitions),
        };
        own.look(&self.oracles, now_ms);
        self.owners = Some(Owners { main, zombie: Some(own), shared: [false; LANES.len()] });
        self.clients.connection_lost();
        self.end = None;
        self.start_at_ms = now_ms + down_ms.max(&1);
    }

    /// Looks who has the lanes now.
    pub(super) fn note_owners(&mut self) {
        let now_ms = self.now_ms();
        let Some(owners) = &mut self.owners else { return };
        owners.main.look(&self.oracles, now_ms);
        if let Some(zombie) = &mut owners.zombie {
            zombie.look(&self.oracles, now_ms);
        }
        owners.note_shared();
    }

    /// It, if there is one.
    pub(super) fn zombie_process(&self) -> Option<&Process> {
        self.zombie.as_ref().map(|zombie| &zombie.process)
    }

    /// Whether it gets steps.
    pub(super) fn is_zombie_awake(&self) -> bool {
        self.zombie.as_ref().is_some_and(|zombie| self.now_ms() >= zombie.wakes_at_ms)
    }

    /// When it wakes up or ends.
    pub(super) fn zombie_due_ms(&self) -> Option<i64> {
        let zombie = self.zombie.as_ref()?;
        Some(if self.is_zombie_awake() { zombie.ends_at_ms } else { zombie.wakes_at_ms })
    }

    /// A turn of its parts, if it is awake; whether anything moved.
    pub(super) fn step_zombie(&mut self) -> Result<bool, Violation> {
        if !self.is_zombie_awake() {
            return Ok(false);
        }
        if self.zombie.as_ref().is_some_and(|zombie| self.now_ms() >= zombie.ends_at_ms) {
            self.end_zombie()?;
            return Ok(true);
        }
        let partitions = usize::from(self.plan.options.partitions);
        let mut parts: Vec<usize> = (0..2 + 2 * partitions).collect();
        let mut worked = false;
        for left in (1..=parts.len()).rev() {
            let Some(zombie) = &mut self.zombie else { break };
            let part = parts.swap_remove(zombie.schedule.below(left as u64) as usize);
            if zombie.schedule.chance(u64::from(self.plan.options.laziness)) {
                continue;
            }
            worked |= self.within_zombie(|process| match part {
                0 => {
                    process.committers.iter().map(|committer| Committer::run_ready(committer)).sum::<usize>()
                        > 0
                }
                1 => matches!(process.dispatch(), Ok(Step::Worked(_))),
                part if part % 2 == 0 => process.intakes[part / 2 - 1].step(),
                part => process.views[part / 2 - 1].step(),
            })?;
        }
        Ok(worked)
    }

    fn within_zombie(&mut self, work: impl FnOnce(&mut Process) -> bool) -> Result<bool, Violation> {
        let Some(zombie) = &mut self.zombie else { return Ok(false) };
        self.estate.fuse.exchange(&mut zombie.wick);
        self.estate.clock.exchange(&mut zombie.clock);
        let ran = self.estate.fuse.run(|| work(&mut zombie.process));
        self.estate.fuse.exchange(&mut zombie.wick);
        self.estate.clock.exchange(&mut zombie.clock);
        let number = zombie.number;
        self.observe_of(number)?;
        match ran {
            Ran::Through(worked) => Ok(worked),
            Ran::Ended => {
                self.stats.sometimes("zombie.crash", 1);
                self.stats.crashes += 1;
                self.end_zombie()?;
                Ok(true)
            }
            Ran::Panicked(text) => Err(Violation::new("panic", text)),
        }
    }

    /// The operator finds it and ends it, if there is one.
    pub(super) fn end_zombie(&mut self) -> Result<(), Violation> {
        let Some(zombie) = self.zombie.take() else { return Ok(()) };
        let lanes = zombie.process.lanes.lanes();
        let replaced = lanes.iter().filter(|lane| lane.detail.contains("replaced by another process"));
        self.stats.sometimes("zombie.replaced", replaced.count() as u64);
        let Zombie { number, keep_permille, process, .. } = *zombie;
        let stopped = self.explain_stops_of(&process);
        drop(process);
        self.weigh(stopped)?;
        self.note("end", [number, u64::from(keep_permille)], || {
            format!("process {number}, which was paused")
        });
        let living = self.process.as_ref().map(|_| self.processes);
        self.estate.end_of_process(keep_permille, living);
        self.follow()?;
        if let Some(owners) = &mut self.owners {
            owners.zombie = None;
        }
        Ok(())
    }

    /// Holds what left against what its sender may do. See the [module](self).
    pub(super) fn judge(&mut self, sent: &Sent, number: u64) -> Result<(), Violation> {
        let options = &self.plan.options;
        let lanes = self.process.as_ref().map(|process| &*process.lanes);
        let Some(owners) = &self.owners else { return self.oracles.sent(sent, options, lanes) };
        let zombie = owners.zombie.as_ref().filter(|zombie| zombie.number == number);
        let counts = zombie.is_none() || owners.adds_up(sent, options.pool.is_some());
        match zombie.unwrap_or(&owners.main).of(sent) {
            Owner::Until(at_ms) => {
                let late_ms = sent.at_ms - at_ms;
                self.stats.sometimes(if zombie.is_some() { "zombie.sent" } else { "replaced.sent" }, 1);
                if late_ms.cast_unsigned() > options.dispatch.send_within_ms {
                    let what =
                        format!("process {number} sent {late_ms} ms after another had opened the lane");
                    return Err(Violation::new("I24", what));
                }
                self.oracles.check_sent(sent, false)?;
                if counts { self.oracles.count_sends(sent, options) } else { Ok(()) }
            }
            Owner::Never | Owner::Now if counts => self.oracles.sent(sent, options, lanes),
            Owner::Never | Owner::Now => self.oracles.check_sent(sent, true),
        }
    }
}
