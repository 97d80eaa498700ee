//! How orders that nobody credited have ended (I11): refused only where the downstream rejects it,
//! reported only where nothing else was left. `hongbao check` cannot tell, since it does not know what
//! downstreams have answered.

use hongbao_audit::journal::Order;
use hongbao_audit::{Invariant, Journal, Report};
use hongbao_schemas::journal::CreditStage;

use crate::downstreams::partner::Partner;
use crate::downstreams::port::NAMESPACE;
use crate::operator::LANES;
use crate::options::{Keys, Options};
use crate::world::{Estate, Place};

/// What is needed to tell.
pub(super) struct Ends<'a> {
    pub estate: &'a Estate,
    pub options: &'a Options,
    /// Wall clocks of all machines are right throughout, and no two processes run at a time, so that
    /// the times of facts are those by which they were decided.
    pub are_clocks_right: bool,
}

impl Ends<'_> {
    /// Looks at all orders of a partition.
    pub fn check(&self, journal: &Journal, report: &mut Report) {
        for order in journal.orders() {
            let wrong = match order.ended {
                Some(CreditStage::Refused) => self.refused(order).map(str::to_owned),
                Some(CreditStage::Reported) => self.reported(order, journal),
                _ => None,
            };
            if let Some(what) = wrong {
                report.find(Invariant::I11, format_args!("order {}: {what}", order.order_no));
            }
        }
    }

    fn place(&self, order: &Order) -> Option<&Place> {
        let lane = LANES.iter().position(|lane| *lane == &*order.group.lane)?;
        self.estate.places.get(self.options.lanes[lane].downstream)
    }

    fn refused(&self, order: &Order) -> Option<&'static str> {
        let is_rejected = match self.place(order)? {
            // It takes every amount that intake accepts.
            Place::Ledger { .. } => false,
            Place::Partner(partner) => {
                partner.lock().words(&key(order)).is_some_and(|words| words.is_rejected())
            }
        };
        (!is_rejected).then_some("refused, and nobody has rejected it")
    }

    fn reported(&self, order: &Order, journal: &Journal) -> Option<String> {
        let Place::Partner(partner) = self.place(order)? else {
            return Some("reported, and the ledger always knows".to_owned());
        };
        let partner = partner.lock();
        let words = partner.words(&key(order));
        // Of what an earlier process intended a later one knows nothing.
        let is_taken_over = order.first_intent_in != order.ended_in;
        if !is_taken_over && !words.is_some_and(|words| words.is_unknown()) {
            return Some("reported, although all attempts were answered for certain".to_owned());
        }
        let is_rejected = words.is_some_and(|words| words.is_rejected());
        if is_rejected || !self.are_clocks_right {
            return None;
        }
        self.needless(order, &partner, journal)
    }

    /// Why there was something left to do. Everything counts in favour of the dispatcher: attempts of
    /// earlier processes, and the time since the very first of them.
    fn needless(&self, order: &Order, partner: &Partner, journal: &Journal) -> Option<String> {
        let (dispatch, partner) = (&self.options.dispatch, partner.options());
        let steps = journal.history(&order.order_no);
        let at_ms = |stage: CreditStage| {
            steps.iter().find(|step| step.stage == stage.as_str()).map(|step| step.at_ms)
        };
        let lasted_ms = at_ms(CreditStage::Reported)? - at_ms(CreditStage::Started)?;
        let lasted_ms = u64::try_from(lasted_ms).unwrap_or(0);
        let is_key_over = match partner.keys {
            Keys::None => true,
            Keys::Forever => false,
            Keys::Lasts(life_ms) => {
                let margin_ms = dispatch.key_margin_ms.min(life_ms / 4);
                lasted_ms + u64::from(partner.timeout_ms) + margin_ms >= life_ms
            }
        };
        let is_tried = order.intents >= dispatch.attempts_max;
        let is_overdue = partner.can_query && lasted_ms > dispatch.unresolved_max_ms;
        let intents = order.intents;
        (!is_key_over && !is_tried && !is_overdue)
            .then(|| format!("reported after {intents} attempts in {lasted_ms} ms, without need"))
    }
}

fn key(order: &Order) -> String {
    format!("{NAMESPACE}/{}", order.order_no)
}
