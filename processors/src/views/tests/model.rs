//! The views as one would write them with nothing but a list of orders: every answer is computed
//! from all of them.

use std::collections::{BTreeMap, BTreeSet};

use hongbao_schemas::journal::{CreditStage, Fact};
use hongbao_schemas::order_state::OrderState;
use hongbao_schemas::settings::Settings;

/// One attempt to credit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Attempt {
    Running,
    /// Started again before it was settled.
    Abandoned,
    Unknown(String),
}

/// One accepted order.
#[derive(Clone, Debug)]
pub(super) struct ModelOrder {
    pub(super) order_no: String,
    pub(super) act_id: String,
    pub(super) activity_id: String,
    pub(super) scene_id: String,
    pub(super) reward_type: String,
    pub(super) reward_id: String,
    pub(super) asset: String,
    pub(super) lane: String,
    pub(super) seq: u64,
    pub(super) amount_minor: i128,
    pub(super) at_ms: i64,
    pub(super) reconciled: bool,
    attempts: Vec<Attempt>,
    first_intent_at_ms: i64,
    ended: Option<CreditStage>,
    /// Offsets and stages of all facts about it.
    pub(super) story: Vec<(u64, &'static str)>,
}

impl ModelOrder {
    pub(super) fn state(&self) -> OrderState {
        match (self.ended, self.attempts.last()) {
            (Some(CreditStage::Credited), _) => OrderState::Credited,
            (Some(CreditStage::Refused), _) => OrderState::Refused,
            (Some(_), _) => OrderState::Reported,
            (None, None) => OrderState::Accepted,
            (None, Some(Attempt::Running)) if self.unknown().is_none() => OrderState::Crediting,
            (None, Some(_)) => OrderState::Unknown,
        }
    }

    fn unknown(&self) -> Option<&str> {
        self.attempts.iter().rev().find_map(|attempt| match attempt {
            Attempt::Unknown(reason) => Some(reason.as_str()),
            _ => None,
        })
    }

    pub(super) fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// First intent, whether an attempt runs, and why one is unresolved; none without attempts.
    pub(super) fn sent(&self) -> Option<(i64, bool, Option<String>)> {
        let last = self.attempts.last().filter(|_| self.is_open())?;
        let abandoned = self.attempts.contains(&Attempt::Abandoned);
        let unsettled = abandoned.then_some("started again before it was settled");
        let unknown = self.unknown().or(unsettled).map(str::to_owned);
        Some((self.first_intent_at_ms, *last == Attempt::Running, unknown))
    }

    /// Follows a fact; false when it cannot follow.
    fn follow(&mut self, stage: CreditStage, at_ms: i64, reason: &str) -> bool {
        if !self.is_open() {
            return false;
        }
        if self.attempts.is_empty() {
            self.first_intent_at_ms = at_ms;
        }
        let running = self.attempts.last() == Some(&Attempt::Running);
        match stage {
            CreditStage::Started => {
                if running {
                    self.attempts.pop();
                    self.attempts.push(Attempt::Abandoned);
                }
                self.attempts.push(Attempt::Running);
            }
            CreditStage::Unknown => {
                if running {
                    self.attempts.pop();
                }
                self.attempts.push(Attempt::Unknown(reason.to_owned()));
            }
            CreditStage::Deferred | CreditStage::Withdrawn => {
                if running {
                    self.attempts.pop();
                }
                return running;
            }
            ended => self.ended = Some(ended),
        }
        true
    }
}

/// All that a journal says.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) orders: Vec<ModelOrder>,
    pub(super) now_ms: i64,
    pub(super) sent: BTreeMap<String, u64>,
    pub(super) contradictions: u64,
    pub(super) settings: Option<Settings>,
    /// Last refusal: code and offset.
    pub(super) refusals: BTreeMap<String, (String, u64)>,
    /// Count and offset of the last conflict.
    pub(super) conflicts: BTreeMap<String, (u64, u64)>,
    pub(super) opened: BTreeMap<String, (i64, [u8; 16])>,
}

impl Model {
    pub(super) fn of(records: &[Vec<u8>]) -> Self {
        let mut model = Self::default();
        for (offset, record) in (0..).zip(records) {
            model.apply(offset, &Fact::decode(record).unwrap());
        }
        model
    }

    fn apply(&mut self, offset: u64, fact: &Fact<'_>) {
        if !matches!(fact, Fact::Credit(_) | Fact::Opened(_)) {
            self.now_ms = self.now_ms.max(fact.at_ms());
        }
        match fact {
            Fact::Accepted(fact) => {
                let award = &fact.award;
                let scene = self.settings.as_ref().and_then(|settings| {
                    settings.activities.get(award.activity_id)?.scenes.get(award.scene_id)
                });
                self.orders.push(ModelOrder {
                    order_no: award.order_no.to_owned(),
                    act_id: award.act_id.to_owned(),
                    activity_id: award.activity_id.to_owned(),
                    scene_id: award.scene_id.to_owned(),
                    reward_type: award.reward_type.to_owned(),
                    reward_id: award.reward_id.to_owned(),
                    asset: fact.asset.to_owned(),
                    lane: fact.lane.to_owned(),
                    seq: fact.lane_seq.cast_unsigned(),
                    amount_minor: award.amount_minor.into(),
                    at_ms: self.now_ms,
                    reconciled: scene.is_none_or(|scene| scene.reconcile),
                    attempts: Vec::new(),
                    first_intent_at_ms: 0,
                    ended: None,
                    story: vec![(offset, "accepted")],
                });
            }
            Fact::Credit(fact) => {
                let seqs = || fact.ranges.iter().flat_map(|range| range.first()..range.end());
                let named: BTreeSet<u64> = seqs().map(i64::cast_unsigned).collect();
                for seq in seqs().map(i64::cast_unsigned) {
                    let is_it = |order: &&mut ModelOrder| order.lane == fact.lane && order.seq == seq;
                    let followed = match self.orders.iter_mut().find(is_it) {
                        Some(order) => order.follow(fact.stage, fact.at_ms, fact.reason),
                        None => false,
                    };
                    self.contradictions += u64::from(!followed);
                    let sent = self.sent.entry(fact.lane.to_owned()).or_default();
                    match fact.stage {
                        CreditStage::Started if followed => *sent += 1,
                        CreditStage::Withdrawn if followed => *sent -= 1,
                        _ => {}
                    }
                }
                for order in self.orders.iter_mut().filter(|order| order.lane == fact.lane) {
                    if named.contains(&order.seq) {
                        order.story.push((offset, fact.stage.as_str()));
                    }
                }
            }
            Fact::Rejected(fact) => {
                self.refusals.insert(fact.order_no.to_owned(), (fact.code.to_owned(), offset));
            }
            Fact::Conflict(fact) => {
                let conflicts = self.conflicts.entry(fact.order_no.to_owned()).or_default();
                *conflicts = (conflicts.0 + 1, offset);
            }
            Fact::Ticked(_) => {}
            Fact::SettingsChanged(fact) => self.settings = Some(Settings::from_json(fact.body).unwrap()),
            Fact::Opened(fact) => {
                let last = self.opened.entry(fact.source.to_owned()).or_insert((i64::MIN, [0; 16]));
                if fact.epoch > last.0 {
                    *last = (fact.epoch, fact.writer);
                }
            }
        }
    }
}
