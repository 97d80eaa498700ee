//! What is made of a broken invariant, by the judge of the run: its end, or a note on the way to what
//! comes of it in money.

use hongbao_audit::{JournalAudit, Report};
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::store::Store;

use crate::clients::Delivery;
use crate::downstreams::Breach;
use crate::oracles::Violation;
use crate::oracles::money::Till;

use super::{Doom, World};

/// Steps of 200 ms in which what is on its way arrives, at most.
const ARRIVAL_STEPS_MAX: u32 = 600;

impl World<'_, '_> {
    /// A broken invariant ends the run, or is noted.
    pub(super) fn weigh(&mut self, result: Result<(), Violation>) -> Result<(), Violation> {
        let Err(violation) = result else { return Ok(()) };
        if self.plan.judge.is_strict() {
            return Err(violation);
        }
        if self.noted.insert(violation.invariant.clone()) {
            self.note("noted", [0, 0], || format!("{}: {}", violation.invariant, violation.what));
        }
        Ok(())
    }

    /// What a downstream has found; an order that took effect twice is money by any judge.
    pub(super) fn weigh_breach(&mut self, breach: Breach) -> Result<(), Violation> {
        let is_doubled = breach.invariant == "I10";
        let violation = Violation::of(breach);
        if is_doubled { Err(violation) } else { self.weigh(Err(violation)) }
    }

    /// Remembers since when clients were told by partitions that must have halted, since their logs are
    /// behind their stores (rule 5).
    pub(super) fn note_behind(&mut self) {
        let is_behind = |partition: &u16| {
            let doom = self.doomed.get(partition);
            matches!(doom, Some(Doom::Lost { is_noticed: true, .. }))
        };
        let behind: Vec<u16> = self.silenced.iter().copied().filter(is_behind).collect();
        self.behind_since.retain(|partition, _| behind.contains(partition));
        let told = self.clients.acknowledged.len();
        for partition in behind {
            self.behind_since.entry(partition).or_insert(told);
        }
    }

    /// The end of a run in which money is the judge.
    pub(super) fn judge_money(&mut self, played: Result<(), Violation>) -> Result<(), Violation> {
        let ended = match played {
            Ok(()) => None,
            Err(violation) if ["I11", "V1", "V2"].contains(&&*violation.invariant) => Some(violation),
            Err(violation) => return Err(violation),
        };
        let stops_again = ended.as_ref().is_some_and(|violation| violation.invariant == "V2");
        for _ in 0..ARRIVAL_STEPS_MAX {
            self.estate.clock.advance_to(self.now_ms() + 200);
            self.estate.pass_time();
            if !self.estate.log.has_late() {
                break;
            }
        }
        self.estate.clock.advance_to(self.now_ms() + 200);
        self.estate.pass_time();
        self.follow()?;
        self.observe()?;
        for partition in 0..self.plan.options.partitions {
            self.count_till(partition, stops_again)?;
        }
        match ended {
            // Whoever comes is not served; but nothing of what was promised is gone.
            Some(violation) if stops_again => Err(violation),
            Some(violation) => self.weigh(Err(violation)),
            None => Ok(()),
        }
    }

    fn count_till(&self, partition: u16, stops_again: bool) -> Result<(), Violation> {
        let doom = self.doomed.get(&partition);
        let has_halted = |kind: &str| self.halted_ever.contains(&format!("{kind}/{partition}"));
        let goes_on = !has_halted("intake") && !has_halted("views");
        let since = match doom {
            None => 0,
            Some(Doom::Trimmed { must_halt: true, .. }) if goes_on => 0,
            Some(doom) if doom.is_harmless() => 0,
            Some(Doom::Lost { is_noticed: true, .. }) if goes_on => {
                self.behind_since.get(&partition).copied().unwrap_or(usize::MAX)
            }
            // Nobody was promised anything by a partition that has halted.
            Some(_) => return Ok(()),
        };
        let own = self.clients.acknowledged.iter().skip(since);
        let own: Vec<&Delivery> = own.filter(|delivery| delivery.partition == partition).collect();
        let mut till = Till {
            estate: &self.estate,
            partition,
            journal: self.oracles.journal(partition),
            process: self.process.as_ref(),
            acknowledged: &own,
            lost_orders: &self.lost_orders,
        };
        if stops_again {
            let store = self.estate.intakes[usize::from(partition)].rows();
            return till.check_decided(store.applied().map_or(0, |applied| applied.offset));
        }
        if !self.is_forgotten(partition) {
            return till.check_all();
        }
        // What had been followed before the loss is not what is there.
        let log = self.estate.log.undisturbed();
        let Ok(mut audit) = JournalAudit::open(&log, Partition(partition)) else { return Ok(()) };
        let end = log.range(Partition(partition), "journal").map_or(0, |(_, end)| end);
        if audit.advance(end, &mut Report::new()).is_err() {
            return Ok(());
        }
        till.journal = &audit.journal;
        till.check_all()
    }
}
