//! The simulated downstream in process: a [`Downstream`] driven by a clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_schemas::order::Order;
use parking_lot::Mutex;

use crate::batch::Batch;
use crate::downstream::{
    Capabilities, Completed, Completion, Downstream, Outcome, Outcomes, Pause, Reason, Ticket, Told,
};

use super::decide::{Item, ItemResult, Reply, Simulation};

/// Serves a [`Simulation`], which others may look at meanwhile.
pub struct SimulatedDownstream {
    simulation: Arc<Mutex<Simulation>>,
    namespace: String,
    clock: Arc<dyn Clock>,
    capabilities: Capabilities,
    timeout: Duration,
    /// Its own time: the wall clock's at the start plus what has passed.
    began: (i64, Duration),
    coming: BTreeMap<(Duration, Ticket), Completed>,
}

impl SimulatedDownstream {
    /// Serves `simulation`; keys are `{namespace}/{order_no}`.
    #[must_use]
    pub fn new(simulation: Arc<Mutex<Simulation>>, namespace: &str, clock: Arc<dyn Clock>) -> Self {
        let (capabilities, timeout) = {
            let simulation = simulation.lock();
            (simulation.profile().capabilities(), simulation.profile().timeout)
        };
        let began = (clock.wall_ms(), clock.monotonic());
        let namespace = namespace.to_owned();
        Self { simulation, namespace, clock, capabilities, timeout, began, coming: BTreeMap::new() }
    }

    fn now_ms(&self, mono: Duration) -> i64 {
        let passed_ms = mono.saturating_sub(self.began.1).as_millis();
        self.began.0.saturating_add_unsigned(passed_ms as u64)
    }
}

impl Downstream for SimulatedDownstream {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn submit(&mut self, ticket: Ticket, batch: Batch) {
        let now = self.clock.monotonic();
        let orders: Result<Vec<Order<'_>>, _> = batch.records().map(Order::decode).collect();
        let Ok(orders) = orders else {
            let outcomes = Outcomes::Split(Reason::Borrowed("order cannot be decoded"));
            self.coming.insert((now, ticket), Completed::Sent { outcomes, pause: None });
            return;
        };
        let keys: Vec<String> =
            orders.iter().map(|order| format!("{}/{}", self.namespace, order.order_no)).collect();
        let items: Vec<Item<'_>> = keys.iter().zip(&orders).map(|(key, order)| item(key, order)).collect();
        let decision = self.simulation.lock().decide(&items, self.now_ms(now));
        hongbao_engine::kill_point!("simulated.granted");
        let is_lost = decision.reply == Reply::Lost || decision.after > self.timeout;
        let after = if is_lost { self.timeout } else { decision.after };
        let (outcomes, pause) = if is_lost {
            (Outcomes::All(Outcome::Unknown(Reason::Borrowed("timeout"))), None)
        } else {
            read_reply(&decision.reply, batch.len())
        };
        self.coming.insert((now + after, ticket), Completed::Sent { outcomes, pause });
    }

    fn ask(&mut self, ticket: Ticket, record: Arc<[u8]>) {
        let now = self.clock.monotonic();
        let key = Order::decode(&record).map(|order| format!("{}/{}", self.namespace, order.order_no));
        let (after, told) = match key {
            Err(_) => (Duration::ZERO, Told::Unknown(Reason::Borrowed("order cannot be decoded"))),
            Ok(key) => {
                let decision = self.simulation.lock().ask(&key, self.now_ms(now));
                match decision.result {
                    Some(result) if decision.after <= self.timeout => (decision.after, told(result)),
                    _ => (self.timeout, Told::Unknown(Reason::Borrowed("timeout"))),
                }
            }
        };
        self.coming.insert((now + after, ticket), Completed::Asked { told, pause: None });
    }

    fn poll(&mut self, done: &mut Vec<Completion>) {
        let now = self.clock.monotonic();
        while let Some(first) = self.coming.first_entry()
            && first.key().0 <= now
        {
            let ((_, ticket), result) = first.remove_entry();
            done.push(Completion { ticket, result });
        }
    }
}

fn item<'a>(key: &'a str, order: &Order<'a>) -> Item<'a> {
    Item {
        key,
        order_no: order.order_no,
        act_id: order.act_id,
        reward_type: order.reward_type,
        reward_id: order.reward_id,
        asset: order.asset,
        amount_minor: order.amount_minor,
    }
}

fn told(result: &str) -> Told {
    match result {
        "credited" => Told::Credited,
        "rejected" => Told::Rejected(Reason::Borrowed("rejected")),
        "pending" => Told::Pending,
        _ => Told::Absent,
    }
}

/// Reads an answer as a client would: by key, believing nothing that it does not say.
fn read_reply(reply: &Reply, items: usize) -> (Outcomes, Option<Pause>) {
    let unknown = |why: String| Outcomes::All(Outcome::Unknown(why.into()));
    match reply {
        Reply::AllCredited => (Outcomes::All(Outcome::Credited), None),
        Reply::Items(replies) => {
            let mut each = vec![Outcome::Unknown(Reason::Borrowed("no answer")); items];
            for reply in replies {
                if let Some(outcome) = reply.index.and_then(|index| each.get_mut(index)) {
                    *outcome = read_item(reply.result);
                }
            }
            (Outcomes::Each(each), None)
        }
        Reply::Status(429, retry_after) => {
            (Outcomes::All(Outcome::Throttled { retry_after: *retry_after }), None)
        }
        Reply::Status(503, Some(for_time)) => {
            let reason = Reason::Borrowed("status 503");
            let pause = Pause { reason, for_time: *for_time, is_configuration: false };
            (unknown("status 503".to_owned()), Some(pause))
        }
        Reply::Status(status, _) => (unknown(format!("status {status}")), None),
        Reply::Lost => (unknown("timeout".to_owned()), None),
        Reply::Refused => (Outcomes::All(Outcome::NotSent(Reason::Borrowed("connection refused"))), None),
    }
}

fn read_item(result: ItemResult) -> Outcome {
    match result {
        ItemResult::Credited => Outcome::Credited,
        ItemResult::Duplicate => Outcome::AlreadyCredited,
        ItemResult::Throttled(after) => Outcome::Throttled { retry_after: Some(after) },
        ItemResult::Rejected => Outcome::Rejected(Reason::Borrowed("rejected")),
        ItemResult::Pending => Outcome::Unknown(Reason::Borrowed("pending")),
    }
}
