//! A downstream under observation: what leaves is told to the oracles, with what was durable then;
//! the process may end before a request leaves and right after.

use std::collections::BTreeMap;
use std::sync::Arc;

use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::crc;
use hongbao_schemas::order::Order;
use hongbao_sinks::batch::Batch;
use hongbao_sinks::downstream::{
    Capabilities, Completed, Completion, Downstream, Outcome, Outcomes, Ticket, Told,
};
use parking_lot::Mutex;

use crate::clock::SimClock;
use crate::fuse::Fuse;
use crate::log::Undisturbed;
use crate::operator::LANES;
use crate::trace::{Trace, mix};

use super::{Asked, Breach, Sent};

/// The topic of facts.
const JOURNAL: &str = "journal";

/// What all downstreams tell.
#[derive(Debug, Default)]
pub struct Watch {
    /// What left since the oracles looked last.
    pub sent: Vec<Sent>,
    /// Questions that left since then.
    pub asks: Vec<Asked>,
    /// What broke the port's promises.
    pub breaches: Vec<Breach>,
    /// Items whose attempt came back unknown.
    pub unknown: u64,
    /// Orders asked about.
    pub asked: u64,
    /// Answers to asks that were no answers.
    pub asked_unknown: u64,
}

/// What an observer needs.
pub struct WatchParts {
    /// Index of the downstream.
    pub index: usize,
    /// Time.
    pub clock: Arc<SimClock>,
    /// The end of the process.
    pub fuse: Arc<Fuse>,
    /// History.
    pub trace: Arc<Trace>,
    /// The journal, as it is.
    pub log: Arc<Undisturbed>,
    /// Where to tell.
    pub watch: Arc<Mutex<Watch>>,
}

/// A downstream under observation.
pub struct Watched<D> {
    inner: D,
    parts: WatchParts,
    in_flight: BTreeMap<Ticket, bool>,
    capabilities: Capabilities,
}

impl<D: Downstream> Watched<D> {
    /// Observes `inner`.
    pub fn new(inner: D, parts: WatchParts) -> Self {
        let capabilities = inner.capabilities();
        Self { inner, parts, in_flight: BTreeMap::new(), capabilities }
    }

    fn breach(&self, invariant: &'static str, what: String) {
        self.parts.watch.lock().breaches.push(Breach {
            invariant,
            order_no: String::new(),
            what,
            may_follow_loss: false,
        });
    }

    fn open(&mut self, ticket: Ticket, is_send: bool) {
        self.in_flight.insert(ticket, is_send);
        let count = self.in_flight.values().filter(|kind| **kind == is_send).count();
        if count > self.capabilities.max_in_flight as usize {
            self.breach("I29", format!("{count} open at once, {} allowed", self.capabilities.max_in_flight));
        }
    }
}

impl<D: Downstream> Downstream for Watched<D> {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn submit(&mut self, ticket: Ticket, batch: Batch) {
        self.parts.fuse.point();
        let at_ms = self.parts.clock.now_ms();
        let partition = batch.partition();
        let journal_end = self.parts.log.range(partition, JOURNAL).map_or(0, |(_, end)| end);
        if batch.len() > self.capabilities.max_items as usize {
            self.breach(
                "I29",
                format!("a batch of {}, {} allowed", batch.len(), self.capabilities.max_items),
            );
        }
        let downstream = self.parts.index;
        self.note("send", partition, &batch);
        self.parts.watch.lock().sent.push(Sent { downstream, at_ms, batch: batch.clone(), journal_end });
        self.open(ticket, true);
        self.inner.submit(ticket, batch);
        self.parts.fuse.point();
    }

    fn ask(&mut self, ticket: Ticket, record: Arc<[u8]>) {
        self.parts.fuse.point();
        let at_ms = self.parts.clock.now_ms();
        {
            let mut watch = self.parts.watch.lock();
            watch.asked += 1;
            // Each lane of a world has one type of reward, of the same name.
            let reward_type = Order::decode(&record).map_or("", |order| order.reward_type);
            let lane = LANES.iter().position(|lane| *lane == reward_type);
            watch.asks.extend(lane.map(|lane| Asked { at_ms, lane }));
        }
        let numbers = [self.parts.index as u64, mix(ticket.0, u64::from(crc(&record)))];
        self.parts.trace.note(at_ms, "ask", numbers, || {
            let order_no = Order::decode(&record).map_or("", |order| order.order_no);
            format!("{}: {order_no}", self.parts.index)
        });
        self.open(ticket, false);
        self.inner.ask(ticket, record);
        self.parts.fuse.point();
    }

    fn poll(&mut self, done: &mut Vec<Completion>) {
        let before = done.len();
        self.inner.poll(done);
        for completion in &done[before..] {
            self.in_flight.remove(&completion.ticket);
            let unknown = match &completion.result {
                Completed::Sent { outcomes, .. } => unknown_in(outcomes),
                Completed::Asked { told, .. } => {
                    self.parts.watch.lock().asked_unknown += u64::from(matches!(told, Told::Unknown(_)));
                    0
                }
            };
            self.parts.watch.lock().unknown += unknown;
            let (at_ms, index) = (self.parts.clock.now_ms(), self.parts.index as u64);
            let numbers = [index, mix(completion.ticket.0, digest(&completion.result))];
            self.parts.trace.note(at_ms, "answer", numbers, || format!("{index}: {:?}", completion.result));
        }
    }

    fn halted(&self, partition: Partition) -> Option<String> {
        self.inner.halted(partition)
    }
}

impl<D> Watched<D> {
    fn note(&self, kind: &str, partition: Partition, batch: &Batch) {
        let first = batch.ranges().first().map_or(0, |(first, _)| *first);
        let (at_ms, index) = (self.parts.clock.now_ms(), self.parts.index as u64);
        self.parts.trace.note(at_ms, kind, [index, first], || {
            let orders = batch.records().filter_map(|record| Order::decode(record).ok());
            let orders: Vec<String> = orders.map(|order| order.order_no.to_owned()).collect();
            format!(
                "{index}: lane {} of {partition}, {:?}: {}",
                batch.lane(),
                batch.ranges(),
                orders.join(" ")
            )
        });
    }
}

/// Tells answers apart, but for their words.
fn digest(result: &Completed) -> u64 {
    let kind = |outcome: &Outcome| match outcome {
        Outcome::Credited => 1,
        Outcome::AlreadyCredited => 2,
        Outcome::Throttled { retry_after } => retry_after.map_or(3, |after| mix(3, after.as_millis() as u64)),
        Outcome::Rejected(_) => 4,
        Outcome::Conflict(_) => 5,
        Outcome::Unknown(_) => 6,
        Outcome::NotSent(_) => 7,
    };
    let (digest, pause) = match result {
        Completed::Sent { outcomes: Outcomes::All(outcome), pause } => (mix(1, kind(outcome)), pause),
        Completed::Sent { outcomes: Outcomes::Each(each), pause } => {
            (each.iter().fold(2, |sum, outcome| mix(sum, kind(outcome))), pause)
        }
        Completed::Sent { outcomes: Outcomes::Split(_), pause } => (3, pause),
        Completed::Asked { told, pause } => {
            let told = match told {
                Told::Credited => 4,
                Told::Rejected(_) => 5,
                Told::Conflict(_) => 6,
                Told::Pending => 7,
                Told::Absent => 8,
                Told::Unknown(_) => 9,
            };
            (told, pause)
        }
    };
    mix(digest, pause.as_ref().map_or(0, |pause| pause.for_time.as_millis() as u64 + 1))
}

fn unknown_in(outcomes: &Outcomes) -> u64 {
    match outcomes {
        Outcomes::All(outcome) => u64::from(matches!(outcome, Outcome::Unknown(_))),
        Outcomes::Each(each) => {
            each.iter().filter(|outcome| matches!(outcome, Outcome::Unknown(_))).count() as u64
        }
        Outcomes::Split(_) => 0,
    }
}
