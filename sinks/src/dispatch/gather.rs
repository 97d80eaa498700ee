//! Which orders of a partition make the next batch: fresh ones or such as are to be tried again.

use hongbao_engine::mutant;

use crate::batch::Part;

use super::Dispatcher;
use super::held::Wait;
use super::now::Now;
use super::plan::Budget;
use super::settle::Place;
use super::track::Track;
use super::verdict::{Then, Verdict};

/// What a partition would have its lane plan next.
pub(super) enum Next {
    /// Nothing is due.
    Nothing,
    /// These orders.
    Batch { parts: Vec<Part>, is_held: bool },
    /// So many orders that permits are not near for, though they soon will be. Cut, they would leave
    /// one by one.
    Permits(u64),
}

impl Dispatcher {
    /// The next batch of a partition. Where held and fresh orders are due they take turns, order by
    /// order: permits that are few must not all go to orders that fail again and again (I27).
    pub(super) fn gather(&mut self, lane: usize, track: usize, budget: &Budget, now: Now) -> Next {
        let is_turn_of_fresh = self.lanes[lane].tracks[track].fresh_lead < 0 && !mutant!(M93);
        if is_turn_of_fresh {
            let fresh = self.gather_fresh(lane, track, budget, now);
            if !matches!(fresh, Next::Nothing) {
                return fresh;
            }
        }
        let most = budget.batch_max.min(usize::try_from(budget.orders).unwrap_or(usize::MAX));
        let parts = self.gather_held(lane, track, most, now);
        // Whoever is not there when it is its turn has not waited either.
        if is_turn_of_fresh || parts.is_empty() {
            self.lanes[lane].tracks[track].fresh_lead = 0;
        }
        match parts.is_empty() {
            true if is_turn_of_fresh => Next::Nothing,
            true => self.gather_fresh(lane, track, budget, now),
            false => Next::Batch { parts, is_held: true },
        }
    }

    /// Orders that are due to be sent again, in order of their sequence. Those for which time has
    /// run out end or are asked about instead.
    fn gather_held(&mut self, lane: usize, track: usize, batch_max: usize, now: Now) -> Vec<Part> {
        let rules = self.rules(lane);
        let mut due: Vec<u64> = Vec::new();
        let mut most = batch_max;
        while due.len() < most
            && let Some(seq) = self.lanes[lane].tracks[track].held.pop_send(now.mono)
        {
            let held = &mut self.lanes[lane].tracks[track].held;
            let Some(order) = held.get(seq) else { continue };
            match rules.when_due(&order.standing(now)) {
                Verdict::Keep(Then::Send { .. }) => {
                    most = most.min(order.batch_max.max(1) as usize);
                    if due.len() < most {
                        due.push(seq);
                    } else {
                        held.schedule(seq, Wait::Send, now.mono);
                    }
                }
                Verdict::Keep(Then::Ask) => held.schedule(seq, Wait::Ask, now.mono),
                verdict => self.follow(Place { lane, track, seq }, verdict, false, 0, now),
            }
        }
        due.sort_unstable();
        let held = &self.lanes[lane].tracks[track].held;
        let parts = due.into_iter().filter_map(|seq| {
            let record = held.get(seq)?.record.clone();
            Some(Part::One { seq, record })
        });
        parts.collect()
    }

    pub(super) fn gather_fresh(&mut self, lane: usize, track: usize, budget: &Budget, now: Now) -> Next {
        let delay = self.lines[self.lanes[lane].line].capabilities.batch_delay;
        let fresh_share = self.lanes[lane].fresh_share(track, self.policy.held_orders_max);
        let Track { ready, ready_since, .. } = &self.lanes[lane].tracks[track];
        let count = budget.batch_max.min(budget.fresh_room).min(fresh_share).min(ready.len());
        let is_full = ready.len() >= budget.batch_max;
        let has_waited = now.mono.saturating_sub(*ready_since) >= delay;
        if count == 0 || !(is_full || has_waited || budget.is_probe) {
            return Next::Nothing;
        }
        let most = usize::try_from(budget.orders).unwrap_or(usize::MAX);
        let patience = self.policy.send_within;
        if count > most && !budget.is_probe && self.permits_wait(lane, count as u64, now) <= patience {
            return Next::Permits(count as u64);
        }
        let Track { ready, ready_since, .. } = &mut self.lanes[lane].tracks[track];
        *ready_since = now.mono;
        Next::Batch { parts: ready.take(count.min(most)), is_held: false }
    }
}
