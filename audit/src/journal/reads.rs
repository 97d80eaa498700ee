//! Questions to the folded journal. Answers are read off the list of orders.

use std::collections::BTreeMap;
use std::sync::Arc;

use hongbao_engine::records::Offset;
use hongbao_schemas::journal::CreditStage;
use hongbao_schemas::order_state::OrderState;

use super::{CreditNote, GroupKey, Journal, Order, Person, Sums};

/// Open orders are put together by the minute in which they were accepted.
const MINUTE_MS: i64 = 60_000;

/// One step of an order's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Offset of the fact.
    pub offset: Offset,
    /// Its time, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What it says.
    pub stage: &'static str,
    /// Why, where it says so.
    pub reason: String,
}

/// Sums of one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneSums {
    /// Orders accepted.
    pub accepted: u64,
    /// Items of all attempts.
    pub sent: u64,
    /// Orders credited.
    pub credited: u64,
    /// Orders refused downstream.
    pub refused: u64,
    /// Orders that need a person.
    pub reported: u64,
    /// Orders that are unknown now.
    pub unknown: u64,
    /// Orders not ended.
    pub backlog: u64,
    /// Acceptance of the first order not ended, in milliseconds since the Unix epoch.
    pub oldest_open_at_ms: Option<i64>,
}

/// Reconciled orders of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenSums {
    /// Orders accepted while the scene was reconciled.
    pub accepted_count: u64,
    /// Of these, ended.
    pub ended_count: u64,
    /// Sum of those not ended, in minor units.
    pub open_minor: i128,
    /// Not ended, and accepted longer ago than the settings allow, to within a minute.
    pub overdue_count: u64,
    /// Their sum in minor units.
    pub overdue_minor: i128,
}

impl Journal {
    /// All orders, lane by lane, in the order of their sequence.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.lanes.iter().flat_map(|lane| &lane.orders)
    }

    /// An order by its number.
    #[must_use]
    pub fn order(&self, order_no: &str) -> Option<&Order> {
        let (lane, place) = *self.numbers.get(order_no)?;
        self.lanes.get(lane)?.orders.get(place)
    }

    /// Where an order number stands: also one that was only refused.
    #[must_use]
    pub fn state(&self, order_no: &str) -> Option<OrderState> {
        let refused = || self.refusals.contains_key(order_no).then_some(OrderState::Rejected);
        self.order(order_no).map(Order::state).or_else(refused)
    }

    /// Everything the journal says of an order number, in its order. Looks at all facts of the lane.
    #[must_use]
    pub fn history(&self, order_no: &str) -> Vec<Step> {
        let mut steps = BTreeMap::new();
        let mut add = |offset, at_ms, stage, reason: &str| {
            steps.insert(offset, Step { offset, at_ms, stage, reason: reason.to_owned() });
        };
        if let Some((number, place)) = self.numbers.get(order_no)
            && let Some(lane) = self.lanes.get(*number)
        {
            let seq = *place as u64 + 1;
            let names =
                |ranges: &[(u64, u64)]| ranges.iter().any(|(first, end)| (*first..*end).contains(&seq));
            if let Some(order) = lane.orders.get(*place) {
                add(order.journal_offset, order.accepted_at_ms, "accepted", "");
                let is_of = |fact: &&CreditNote| fact.offset > order.journal_offset && names(&fact.ranges);
                for fact in lane.facts.iter().filter(is_of) {
                    add(fact.offset, fact.at_ms, fact.stage.as_str(), &fact.reason);
                }
            }
            if let Some(conflicts) = self.conflicts.get(order_no) {
                add(conflicts.offset, conflicts.at_ms, "conflict", "");
            }
        }
        if let Some(refusal) = self.refusals.get(order_no) {
            add(refusal.offset, refusal.at_ms, "rejected", &refusal.code);
        }
        steps.into_values().collect()
    }

    /// All people who ever had an order accepted, in the order of their first one.
    #[must_use]
    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// A person by id.
    #[must_use]
    pub fn person(&self, act_id: &str) -> Option<&Person> {
        self.people.get(*self.people_numbers.get(act_id)?)
    }

    /// A person's orders, newest first, each with its lane and sequence.
    pub fn orders_of<'j>(&'j self, person: &'j Person) -> impl Iterator<Item = &'j Order> {
        person.orders.iter().rev().filter_map(|(lane, place)| self.lanes.get(*lane)?.orders.get(*place))
    }

    /// Totals by activity, scene, type, asset and lane.
    #[must_use]
    pub fn totals(&self) -> &[(Arc<GroupKey>, Sums)] {
        &self.groups
    }

    /// Names of the lanes that ever had an order.
    pub fn lanes(&self) -> impl Iterator<Item = &str> {
        self.lanes.iter().map(|lane| &*lane.name)
    }

    /// Orders of a lane; the first one has sequence 1.
    #[must_use]
    pub fn orders_of_lane(&self, lane: &str) -> &[Order] {
        let number = self.find_lane(lane);
        number.and_then(|number| self.lanes.get(number)).map_or(&[], |lane| &lane.orders)
    }

    /// Sums of a lane.
    #[must_use]
    pub fn lane_sums(&self, lane: &str) -> LaneSums {
        let mut sums = LaneSums::default();
        for order in self.orders_of_lane(lane) {
            sums.accepted += 1;
            sums.sent += u64::from(order.intents);
            sums.unknown += u64::from(order.state() == OrderState::Unknown);
            match order.ended {
                Some(CreditStage::Credited) => sums.credited += 1,
                Some(CreditStage::Refused) => sums.refused += 1,
                Some(_) => sums.reported += 1,
                None => {
                    sums.backlog += 1;
                    sums.oldest_open_at_ms.get_or_insert(order.accepted_at_ms);
                }
            }
        }
        sums
    }

    /// Reconciled orders by group, as of the journal's own time.
    #[must_use]
    pub fn open_sums(&self) -> BTreeMap<Arc<GroupKey>, OpenSums> {
        let after_ms = self.settings.as_ref().map(|settings| settings.reconcile_overdue_after_ms);
        let mut groups: BTreeMap<Arc<GroupKey>, OpenSums> = BTreeMap::new();
        for order in self.orders().filter(|order| order.reconciled) {
            let sums = groups.entry(Arc::clone(&order.group)).or_default();
            sums.accepted_count += 1;
            if order.is_ended() {
                sums.ended_count += 1;
                continue;
            }
            let amount = i128::from(order.amount_minor);
            sums.open_minor += amount;
            let minute_end_ms = (order.accepted_at_ms.max(0) / MINUTE_MS + 1) * MINUTE_MS;
            if after_ms.is_some_and(|after_ms| minute_end_ms <= self.now_ms.saturating_sub(after_ms)) {
                sums.overdue_count += 1;
                sums.overdue_minor += amount;
            }
        }
        groups
    }
}
