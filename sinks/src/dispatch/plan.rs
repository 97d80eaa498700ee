//! Chooses who plans next, by lane in rank order and by partition in turn, and how much. Each batch
//! gets an intent and then waits for its permits.

use crate::batch::{Batch, Part};
use crate::downstream::Reason;

use hongbao_engine::mutant;
use hongbao_schemas::journal::CreditStage;

use super::Dispatcher;
use super::breaker::Admission;
use super::flight::{Flight, Stage};
use super::gather::Next;
use super::lane::{Lane, PoolPlace, Stock};
use super::now::{FirstIntent, Now};

/// Most orders of a lane that may wait with an intent.
const STOCK_ORDERS_MAX: u64 = 65_536;

/// What a lane may plan in this step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub batches: u32,
    pub orders: u64,
    pub batch_max: usize,
    pub fresh_room: usize,
    pub is_probe: bool,
}

impl Dispatcher {
    /// Plans for all lanes. Returns the number of batches.
    pub(super) fn plan(&mut self, now: Now) -> usize {
        let held_max = self.policy.held_orders_max;
        for lane in &mut self.lanes {
            lane.count_backlog(held_max, now.mono);
        }
        let mut planned = 0;
        for position in 0..self.by_rank.len() {
            let lane = self.by_rank[position];
            self.lanes[lane].saves_for = 0;
            if let Some(budget) = self.budget(lane, now) {
                planned += self.plan_lane(lane, budget, now);
            }
        }
        planned
    }

    fn budget(&mut self, index: usize, now: Now) -> Option<Budget> {
        let ahead = self.policy.intent_ahead;
        let orders_max = self.stock_orders_max(index, now);
        let leaves_probe = self.leaves_probe(index, now);
        let stock = self.stock_on_its_way(index, now);
        let batch_max = self.batch_max(index, now);
        let lane = &self.lanes[index];
        let line = &mut self.lines[lane.line];
        let orders = orders_max.checked_sub(stock.orders).filter(|orders| *orders > 0)?;
        let fresh_room = lane.fresh_room(self.policy.held_orders_max);
        let (batches, batch_max, is_probe) = match line.sends.admission(now.mono) {
            Admission::All => {
                let batches = line.stock_max(now.mono, ahead).checked_sub(stock.batches)?;
                (batches, batch_max, false)
            }
            // A lane that has but orders that were tried before leaves the probe to one that has
            // others: its orders may fail by themselves (I27).
            Admission::Probe if line.sends.probe.is_none() && !leaves_probe => {
                (1, batch_max.min(self.policy.breaker.probe_items.max(1) as usize), true)
            }
            Admission::Probe | Admission::NotBefore(_) => return None,
        };
        Some(Budget { batches, orders, batch_max, fresh_room, is_probe })
    }

    /// Whether a probe that should be an order not tried before is for another lane to plan: this one has
    /// none that it may plan, and the other has.
    fn leaves_probe(&mut self, index: usize, now: Now) -> bool {
        let line = self.lanes[index].line;
        self.lines[line].sends.breaker.probes_fresh()
            && !self.may_plan_fresh(index, now)
            && (0..self.lanes.len())
                .any(|other| self.lanes[other].line == line && self.may_plan_fresh(other, now))
    }

    fn may_plan_fresh(&mut self, index: usize, now: Now) -> bool {
        let lane = &self.lanes[index];
        lane.has_fresh()
            && lane.fresh_room(self.policy.held_orders_max) > 0
            && self.stock_on_its_way(index, now).orders < self.stock_orders_max(index, now)
    }

    /// What waits with an intent, but for partitions that are held up: what they have may wait for
    /// long, and the others must not wait with it (F4).
    fn stock_on_its_way(&self, index: usize, now: Now) -> Stock {
        let Lane { stock, tracks, .. } = &self.lanes[index];
        let held_up = (0..tracks.len())
            .filter(|track| tracks[*track].stock.orders > 0 && !self.may_plan(index, *track, now));
        held_up.fold(*stock, |stock, track| stock.without(tracks[track].stock))
    }

    /// The largest batch that a lane gets permits for while those above it take all that they may.
    fn batch_max(&self, index: usize, now: Now) -> usize {
        let lane = &self.lanes[index];
        // What goes from the floor is gathered for.
        let Some(place) = lane.pool.filter(|place| !self.is_contended(*place, now)) else {
            return lane.batch_max;
        };
        let claims = self.busy_above(place, now).map(Lane::burst).fold(0, u64::saturating_add);
        let most = self.pools[place.pool].0.batch_max_beside(claims);
        lane.batch_max.min(usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// Orders of a lane that may wait with an intent: what its limits let go in `intent_ahead`, so
    /// that no intent grows old. A lower lane of a contended pool can count on the floor only.
    fn stock_orders_max(&mut self, index: usize, now: Now) -> u64 {
        let ahead = self.policy.intent_ahead;
        let place = self.lanes[index].pool;
        let floor_only = place.is_some_and(|place| self.is_contended(place, now));
        let own = match &mut self.lanes[index].limiter {
            Some(limiter) => limiter.available_within(ahead, now.mono),
            None => STOCK_ORDERS_MAX,
        };
        let shared = place.map_or(STOCK_ORDERS_MAX, |place| {
            self.pools[place.pool].0.available_within(floor_only, ahead, now.mono)
        });
        own.min(shared).min(STOCK_ORDERS_MAX)
    }

    /// Whether lanes above this place have work enough to take the whole pool for a while.
    fn is_contended(&self, place: PoolPlace, now: Now) -> bool {
        let taken = self.busy_above(place, now).map(Lane::refill_milli);
        taken.fold(0, u64::saturating_add) >= self.pools[place.pool].0.refill_milli()
    }

    fn busy_above(&self, place: PoolPlace, now: Now) -> impl Iterator<Item = &Lane> {
        let above = self.pools[place.pool].1[..place.rank].iter().map(|index| &self.lanes[*index]);
        above.filter(move |lane| {
            lane.has_work() && self.lines[lane.line].sends.admission(now.mono) == Admission::All
        })
    }

    /// A probe that should be an order not tried before looks for one in all partitions, before it
    /// takes one that was: that one may fail by itself, and the lane would stay closed (I27).
    fn plan_lane(&mut self, index: usize, mut budget: Budget, now: Now) -> usize {
        let breaker = &self.lines[self.lanes[index].line].sends.breaker;
        if budget.is_probe && breaker.probes_fresh() && !mutant!(M93) {
            let planned = self.plan_round(index, &mut budget, true, now);
            if planned > 0 {
                return planned;
            }
        }
        self.plan_round(index, &mut budget, false, now)
    }

    /// Plans batches of all partitions in turn; of fresh orders alone if `only_fresh`.
    fn plan_round(&mut self, index: usize, budget: &mut Budget, only_fresh: bool, now: Now) -> usize {
        let tracks = self.lanes[index].tracks.len();
        let (mut planned, mut idle) = (0, 0);
        while idle < tracks && budget.batches > 0 && budget.orders > 0 {
            let track = self.lanes[index].cursor % tracks;
            self.lanes[index].cursor = track + 1;
            idle += 1;
            if !self.may_plan(index, track, now) {
                continue;
            }
            let next = match only_fresh {
                true => self.gather_fresh(index, track, budget, now),
                false => self.gather(index, track, budget, now),
            };
            let (parts, is_held) = match next {
                Next::Nothing => continue,
                Next::Batch { parts, is_held } => (parts, is_held),
                Next::Permits(count) => {
                    // It would never have them if others took each as it comes.
                    let lane = &mut self.lanes[index];
                    (lane.cursor, lane.saves_for) = (track, count);
                    break;
                }
            };
            let len = self.launch(index, track, parts, is_held, budget.is_probe, now);
            budget.batches -= 1;
            budget.orders = budget.orders.saturating_sub(len as u64);
            budget.fresh_room = budget.fresh_room.saturating_sub(if is_held { 0 } else { len });
            planned += 1;
            idle = 0;
        }
        planned
    }

    /// Whether intents of a partition would count in time. One that is held up must not hold what the
    /// lane may plan for all, nor the probe.
    fn may_plan(&self, lane: usize, track: usize, now: Now) -> bool {
        let (place, patience) = (&self.lanes[lane].tracks[track], self.policy.send_within);
        let oldest = place.intended.front().and_then(|(_, ticket)| self.flights.get(ticket));
        let is_slow = oldest.is_some_and(|flight| flight.intent.age(now) >= patience);
        place.is_running() && !place.is_held_up(patience) && !is_slow
    }

    /// Writes the intent of a batch. Returns its number of orders.
    fn launch(
        &mut self,
        lane_index: usize,
        track: usize,
        parts: Vec<Part>,
        is_held: bool,
        is_probe: bool,
        now: Now,
    ) -> usize {
        hongbao_engine::kill_point!("sink.picked");
        let ticket = self.next_ticket();
        let lane = &mut self.lanes[lane_index];
        let place = &mut lane.tracks[track];
        let batch = Batch::new(lane.name.clone(), place.partition, parts);
        for (first, count) in batch.ranges() {
            place.facts.add(CreditStage::Started, &Reason::Borrowed(""), first, count);
        }
        place.unflushed.push(ticket);
        let len = batch.len();
        place.fresh_lead += if is_held { -(len as i64) } else { len as i64 };
        lane.tracks[track].stock.add(len as u64);
        lane.stock.add(len as u64);
        lane.backlog = lane.backlog.saturating_sub(len as u64);
        if !is_held {
            lane.tracks[track].fresh_in_flight += len;
        }
        if is_probe {
            self.lines[lane.line].sends.probe = Some(ticket);
        }
        let intent = FirstIntent::here(now);
        let flight = Flight { lane: lane_index, track, batch, is_held, intent, stage: Stage::Planned };
        self.flights.insert(ticket, flight);
        len
    }
}
