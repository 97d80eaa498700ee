//! What is lost for good, and what can be asked of a partition all the same.
//!
//! A log that loses its end where no store and no gap tells of it is a log that goes on from an earlier
//! place: everything must go on from there, and is judged by what is left. Nobody knows any more what the
//! lost records said: orders of which an acceptance or an attempt is lost may be sent once more, and what
//! clients delivered with them need not be known.

use hongbao_audit::Journal;
use hongbao_processors::intake::{AWARDS, JOURNAL};
use hongbao_schemas::award::Award;
use hongbao_schemas::journal::{CreditFact, Fact};

use crate::oracles::Violation;

use super::{Doom, World};

impl World<'_, '_> {
    /// The log of a partition lacks its last durable groups from now on.
    pub(super) fn losses_happen(&mut self) -> Result<(), Violation> {
        if !self.losses.is_empty() {
            // The oracles know which orders are named by what is lost.
            self.follow()?;
        }
        for (partition, groups) in std::mem::take(&mut self.losses) {
            if self.doomed.contains_key(&partition) {
                continue;
            }
            let lost = self.estate.log.lose_durable(partition, groups);
            if lost.is_empty() {
                continue;
            }
            let is_ahead = self.is_ahead(partition);
            let must_halt = is_ahead || self.has_gap(partition);
            let name = match (is_ahead, must_halt) {
                (true, _) => "loss.detectable",
                (false, true) => "loss.detectable_by_gap",
                (false, false) => "loss.undetectable",
            };
            self.stats.sometimes(name, 1);
            // What arrives later was written behind what is lost, so that it may contradict what is
            // written now. What an intake counts as written to a topic without readers stays missing.
            let is_whole = !self.estate.log.has_late_of(partition)
                && self
                    .readable_ends(partition)
                    .iter()
                    .all(|(topic, _)| !self.lacks_output(partition, topic));
            if must_halt || !is_whole {
                self.forget_halts(partition);
                self.doomed.insert(partition, Doom::Lost { must_halt, is_noticed: is_ahead });
                continue;
            }
            self.stats.sometimes("loss.judged", 1);
            let Named { in_facts, in_passing } = named_by(&lost, self.oracles.journal(partition));
            self.oracles.reopen(partition)?;
            self.oracles.forget_cash(partition);
            let advanced = self.oracles.advance(partition, self.estate.clock.now_ms());
            self.weigh(advanced)?;
            let journal = self.oracles.journal(partition);
            let in_passing = in_passing.into_iter().filter(|order_no| journal.order(order_no).is_none());
            self.lost_orders.extend(in_facts.into_iter().chain(in_passing));
        }
        Ok(())
    }

    /// Whether an order may be sent as if it never had been: what was known of it is lost, and nobody
    /// could notice before it was sent.
    pub(super) fn may_repeat(&self, order_no: &str) -> bool {
        self.lost_orders.contains(order_no)
            || matches!(self.doomed.get(&self.home_of(order_no)), Some(Doom::Lost { is_noticed: false, .. }))
    }

    /// Whether something of a partition is lost that somebody had still to read.
    pub(super) fn is_ruined(&self, partition: u16) -> bool {
        self.doomed.get(&partition).is_some_and(|doom| !doom.is_harmless())
    }

    /// Whether orders of a partition need not end: something is lost, and not only a damaged store of the
    /// intake. Without its intake a partition goes on with what was accepted so far, unless facts wait for
    /// a missing one, which nobody writes any more.
    pub(super) fn is_given_up(&self, partition: u16) -> bool {
        let goes_on = matches!(
            self.doomed.get(&partition),
            Some(Doom::Store { is_intake: true, must_halt: true, is_foreign: false })
        );
        self.is_ruined(partition) && !(goes_on && self.oracles.is_whole(partition))
    }

    /// Whether nothing of the kind has happened anywhere.
    pub(super) fn is_nothing_ruined(&self) -> bool {
        self.doomed.values().all(Doom::is_harmless)
    }

    /// Whether what was durable in a partition is not, so that nothing can be held against it. Oracles
    /// still read what was trimmed or is damaged.
    pub(super) fn is_forgotten(&self, partition: u16) -> bool {
        matches!(self.doomed.get(&partition), Some(Doom::Lost { .. }))
    }
}

/// The orders that lost records name.
#[derive(Default)]
struct Named {
    /// Whose acceptance, or an attempt, is lost.
    in_facts: Vec<String>,
    /// Of which an award or its refusal is lost: where the acceptance is left, it was a repeat.
    in_passing: Vec<String>,
}

/// `journal` is as it was before.
fn named_by(lost: &[(String, Vec<Vec<u8>>)], journal: &Journal) -> Named {
    let of = |topic: &'static str| {
        lost.iter().filter(move |(name, _)| name == topic).flat_map(|(_, records)| records)
    };
    let mut named = Named::default();
    for award in of(AWARDS).filter_map(|record| Award::decode(record).ok()) {
        named.in_passing.push(award.order_no.to_owned());
    }
    for fact in of(JOURNAL).filter_map(|record| Fact::decode(record).ok()) {
        match fact {
            Fact::Accepted(fact) => named.in_facts.push(fact.award.order_no.to_owned()),
            Fact::Rejected(fact) => named.in_passing.push(fact.order_no.to_owned()),
            Fact::Conflict(fact) => named.in_passing.push(fact.order_no.to_owned()),
            Fact::Credit(fact) => named.in_facts.extend(orders_of(&fact, journal)),
            Fact::Opened(_) | Fact::Ticked(_) | Fact::SettingsChanged(_) => {}
        }
    }
    named
}

fn orders_of(fact: &CreditFact<'_>, journal: &Journal) -> Vec<String> {
    let orders = journal.orders_of_lane(fact.lane);
    let ranges = fact.ranges.iter().map(|range| range.first()..range.end());
    let orders = ranges.flatten().filter_map(|seq| orders.get(usize::try_from(seq - 1).ok()?));
    orders.map(|order| order.order_no.to_string()).collect()
}
