//! One accepted order, and how facts move it.

use std::sync::Arc;

use hongbao_engine::records::Offset;
use hongbao_schemas::journal::CreditStage;
use hongbao_schemas::order::Order as LaneRecord;
use hongbao_schemas::order_state::OrderState;

use crate::report::Invariant;

/// What orders share: one row of the totals, split by lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// Parent activity.
    pub activity_id: Arc<str>,
    /// Scene.
    pub scene_id: Arc<str>,
    /// Type of the reward.
    pub reward_type: Arc<str>,
    /// Code and scale.
    pub asset: Arc<str>,
    /// Lane.
    pub lane: Arc<str>,
}

/// An accepted order.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its number.
    pub order_no: Arc<str>,
    /// The person.
    pub act_id: Arc<str>,
    pub(super) person_number: usize,
    /// Activity, scene, type, asset and lane.
    pub group: Arc<GroupKey>,
    pub(super) group_number: usize,
    /// Template or pendant; may be empty.
    pub reward_id: Arc<str>,
    /// Which app; may be empty.
    pub app: Arc<str>,
    /// In the asset's minor unit.
    pub amount_minor: i64,
    /// When it was won, in milliseconds since the Unix epoch.
    pub event_time_ms: i64,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub accepted_at_ms: i64,
    /// Where its award stands.
    pub award_offset: i64,
    /// Where its fact stands.
    pub journal_offset: Offset,
    /// Its scene was reconciled when it was accepted.
    pub reconciled: bool,
    /// How it ended: by [`CreditStage::Credited`], `Refused` or `Reported`.
    pub ended: Option<CreditStage>,
    /// How often it was about to be sent, and was not withdrawn.
    pub intents: u32,
    /// An attempt is running, as far as the journal tells.
    pub in_flight: bool,
    /// An attempt before that may have had an effect.
    pub unresolved: bool,
    /// A fact said so.
    said_unknown: bool,
    /// Time of the first intent that may have had an effect.
    pub first_intent_at_ms: i64,
    /// Epoch of that intent's writer.
    pub first_intent_in: u32,
    /// Epoch of the writer of its end, once it has ended.
    pub ended_in: u32,
}

/// The terms of an acceptance, as its fact states them.
pub(crate) struct Acceptance {
    pub(crate) order_no: Arc<str>,
    pub(crate) act_id: Arc<str>,
    pub(crate) person_number: usize,
    pub(crate) group: Arc<GroupKey>,
    pub(crate) group_number: usize,
    pub(crate) reward_id: Arc<str>,
    pub(crate) app: Arc<str>,
    pub(crate) amount_minor: i64,
    pub(crate) event_time_ms: i64,
    pub(crate) accepted_at_ms: i64,
    pub(crate) award_offset: i64,
    pub(crate) journal_offset: Offset,
    pub(crate) reconciled: bool,
}

/// What is wrong with a fact about an order.
pub(crate) struct Fault {
    /// What it breaks.
    pub(crate) invariant: Invariant,
    /// How.
    pub(crate) what: &'static str,
    /// The fact changes nothing.
    pub(crate) is_void: bool,
}

impl Order {
    pub(crate) fn new(terms: Acceptance) -> Self {
        Self {
            order_no: terms.order_no,
            act_id: terms.act_id,
            person_number: terms.person_number,
            group: terms.group,
            group_number: terms.group_number,
            reward_id: terms.reward_id,
            app: terms.app,
            amount_minor: terms.amount_minor,
            event_time_ms: terms.event_time_ms,
            accepted_at_ms: terms.accepted_at_ms,
            award_offset: terms.award_offset,
            journal_offset: terms.journal_offset,
            reconciled: terms.reconciled,
            ended: None,
            intents: 0,
            in_flight: false,
            unresolved: false,
            said_unknown: false,
            first_intent_at_ms: 0,
            first_intent_in: 0,
            ended_in: 0,
        }
    }

    /// Where it stands, as users see it.
    #[must_use]
    pub fn state(&self) -> OrderState {
        match self.ended {
            Some(CreditStage::Credited) => OrderState::Credited,
            Some(CreditStage::Refused) => OrderState::Refused,
            Some(_) => OrderState::Reported,
            None if !self.in_flight && !self.unresolved => OrderState::Accepted,
            None if self.in_flight && !self.said_unknown => OrderState::Crediting,
            None => OrderState::Unknown,
        }
    }

    /// Credited, refused or reported.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The record of its lane, and so of a ledger's book.
    #[must_use]
    pub fn lane_record(&self) -> Vec<u8> {
        let mut record = Vec::new();
        let order = LaneRecord {
            order_no: &self.order_no,
            act_id: &self.act_id,
            reward_type: &self.group.reward_type,
            reward_id: &self.reward_id,
            asset: &self.group.asset,
            amount_minor: self.amount_minor,
            accepted_at_ms: self.accepted_at_ms,
        };
        order.encode(&mut record);
        record
    }

    /// Follows a fact that names it, by a writer in this epoch.
    pub(crate) fn follow(&mut self, stage: CreditStage, at_ms: i64, epoch: u32) -> Result<(), Fault> {
        if let Some(ended) = self.ended {
            return Err(fault_after_end(ended, stage));
        }
        let is_open = self.in_flight || self.unresolved;
        match stage {
            CreditStage::Started => {
                if !is_open {
                    (self.first_intent_at_ms, self.first_intent_in) = (at_ms, epoch);
                }
                self.unresolved |= self.in_flight;
                self.in_flight = true;
                self.intents += 1;
                return Ok(());
            }
            CreditStage::Deferred | CreditStage::Withdrawn if !self.in_flight => {
                let what = "an attempt was put off that was not running";
                return Err(Fault { invariant: Invariant::I12, what, is_void: true });
            }
            CreditStage::Deferred => self.in_flight = false,
            CreditStage::Withdrawn => {
                self.in_flight = false;
                self.intents -= 1;
            }
            CreditStage::Unknown => {
                if !is_open {
                    (self.first_intent_at_ms, self.first_intent_in) = (at_ms, epoch);
                }
                (self.in_flight, self.unresolved, self.said_unknown) = (false, true, true);
            }
            CreditStage::Credited | CreditStage::Refused | CreditStage::Reported => {
                (self.ended, self.ended_in) = (Some(stage), epoch);
            }
        }
        if is_open {
            return Ok(());
        }
        Err(Fault {
            invariant: Invariant::I12,
            what: "an outcome without an intent before it",
            is_void: false,
        })
    }
}

fn fault_after_end(ended: CreditStage, stage: CreditStage) -> Fault {
    let (invariant, what) = match (ended, stage) {
        (CreditStage::Credited, CreditStage::Credited) => (Invariant::I10, "credited twice"),
        (_, CreditStage::Started) => (Invariant::I10, "to be sent again after it had ended"),
        _ => (Invariant::I11, "another outcome after it had ended"),
    };
    Fault { invariant, what, is_void: true }
}

#[cfg(test)]
mod tests {
    use CreditStage::{Credited, Deferred, Refused, Reported, Started, Unknown, Withdrawn};

    use super::*;

    fn order() -> Order {
        let text = || Arc::<str>::from("x");
        let group = GroupKey {
            activity_id: text(),
            scene_id: text(),
            reward_type: text(),
            asset: text(),
            lane: text(),
        };
        Order::new(Acceptance {
            order_no: text(),
            act_id: text(),
            person_number: 0,
            group: group.into(),
            group_number: 0,
            reward_id: text(),
            app: text(),
            amount_minor: 1,
            event_time_ms: 0,
            accepted_at_ms: 0,
            award_offset: 0,
            journal_offset: 0,
            reconciled: true,
        })
    }

    #[test]
    fn facts_move_an_order() {
        let cases: [(&[CreditStage], OrderState, Option<Invariant>); 18] = [
            (&[], OrderState::Accepted, None),
            (&[Started], OrderState::Crediting, None),
            (&[Started, Credited], OrderState::Credited, None),
            (&[Started, Deferred], OrderState::Accepted, None),
            (&[Started, Deferred, Started, Refused], OrderState::Refused, None),
            (&[Started, Withdrawn], OrderState::Accepted, None),
            (&[Withdrawn], OrderState::Accepted, Some(Invariant::I12)),
            (&[Started, Started], OrderState::Crediting, None),
            (&[Started, Started, Deferred], OrderState::Unknown, None),
            (&[Started, Unknown, Started], OrderState::Unknown, None),
            (&[Started, Unknown, Credited], OrderState::Credited, None),
            (&[Started, Unknown, Reported], OrderState::Reported, None),
            (&[Credited], OrderState::Credited, Some(Invariant::I12)),
            (&[Started, Deferred, Credited], OrderState::Credited, Some(Invariant::I12)),
            (&[Deferred], OrderState::Accepted, Some(Invariant::I12)),
            (&[Started, Credited, Credited], OrderState::Credited, Some(Invariant::I10)),
            (&[Started, Credited, Started], OrderState::Credited, Some(Invariant::I10)),
            (&[Started, Refused, Credited], OrderState::Refused, Some(Invariant::I11)),
        ];
        for (facts, state, fault) in cases {
            let mut order = order();
            let faults: Vec<Invariant> = facts
                .iter()
                .filter_map(|stage| order.follow(*stage, 7, 1).err())
                .map(|fault| fault.invariant)
                .collect();
            assert_eq!(
                (order.state(), faults.first().copied(), faults.len()),
                (state, fault, fault.iter().count()),
                "{facts:?}"
            );
        }
    }
}
