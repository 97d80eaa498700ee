//! A downstream that answers as it is told, and notes what must never happen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hongbao_schemas::order::Order;
use hongbao_sinks::batch::Batch;
use hongbao_sinks::downstream::{
    Capabilities, Completed, Completion, Downstream, KeyLife, Outcome, Outcomes, Ticket, Told,
};
use hongbao_topology::DownstreamKind;
use parking_lot::Mutex;

/// Answers in store and what was received; lives longer than a process.
#[derive(Debug, Default)]
pub struct Script {
    says: BTreeMap<String, VecDeque<Outcome>>,
    tells: BTreeMap<String, VecDeque<Told>>,
    /// Order numbers of all sends.
    pub sent: Vec<String>,
    /// Order numbers of all asks.
    pub asked: Vec<String>,
    records: BTreeMap<String, Vec<u8>>,
    credits: BTreeMap<String, u32>,
    /// What broke a promise.
    pub faults: Vec<String>,
}

impl Script {
    /// The next answer to a send of this order.
    pub fn say(&mut self, order_no: &str, outcome: Outcome) {
        self.says.entry(order_no.to_owned()).or_default().push_back(outcome);
    }

    /// The next answer to an ask about this order.
    pub fn tell(&mut self, order_no: &str, told: Told) {
        self.tells.entry(order_no.to_owned()).or_default().push_back(told);
    }

    fn receive(&mut self, record: &[u8]) -> Outcome {
        let order_no = Order::decode(record).unwrap().order_no.to_owned();
        self.sent.push(order_no.clone());
        let first = self.records.entry(order_no.clone()).or_insert_with(|| record.to_vec());
        if first != record {
            self.faults.push(format!("{order_no} came with other bytes (I13)"));
        }
        let outcome = self.says.get_mut(&order_no).and_then(VecDeque::pop_front);
        let outcome = outcome.unwrap_or(Outcome::Credited);
        let credits = self.credits.entry(order_no.clone()).or_default();
        if *credits > 0 {
            self.faults.push(format!("{order_no} was sent after it was credited (I10)"));
        }
        *credits += u32::from(outcome == Outcome::Credited);
        outcome
    }

    fn asked(&mut self, record: &[u8]) -> Told {
        let order_no = Order::decode(record).unwrap().order_no.to_owned();
        self.asked.push(order_no.clone());
        let told = self.tells.get_mut(&order_no).and_then(VecDeque::pop_front);
        told.unwrap_or(Told::Absent)
    }
}

/// The end of a process at the script.
pub struct Scripted {
    capabilities: Capabilities,
    script: Arc<Mutex<Script>>,
    done: Vec<Completion>,
}

impl Scripted {
    /// Can do what the topology says that it can.
    pub fn new(kind: &DownstreamKind, script: Arc<Mutex<Script>>) -> Self {
        let mut capabilities = Capabilities {
            max_items: 100,
            max_in_flight: 4,
            key_life: KeyLife::Forever,
            can_query: false,
            batch_delay: Duration::ZERO,
            timeout: Duration::ZERO,
        };
        if let DownstreamKind::Http(http) = kind {
            capabilities.can_query = http.query_url().is_some();
            capabilities.timeout = http.timeout();
            let life = http.key_life();
            capabilities.key_life = if life.is_zero() { KeyLife::None } else { KeyLife::Lasts(life) };
        }
        Self { capabilities, script, done: Vec::new() }
    }
}

impl Downstream for Scripted {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn submit(&mut self, ticket: Ticket, batch: Batch) {
        let mut script = self.script.lock();
        let outcomes = batch.records().map(|record| script.receive(record)).collect();
        let result = Completed::Sent { outcomes: Outcomes::Each(outcomes), pause: None };
        self.done.push(Completion { ticket, result });
    }

    fn ask(&mut self, ticket: Ticket, record: Arc<[u8]>) {
        let told = self.script.lock().asked(&record);
        self.done.push(Completion { ticket, result: Completed::Asked { told, pause: None } });
    }

    fn poll(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.done);
    }
}
