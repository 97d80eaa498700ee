//! A small world: clock, log, view, orders, and a downstream that answers as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_engine::log::Log;
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_schemas::order::Order;
use parking_lot::Mutex;

use crate::batch::Batch;
use crate::dispatch::{Dispatcher, DispatcherSpec, LaneSpec, Policy, Ports, Step};
use crate::downstream::{
    Capabilities, Completed, Completion, Downstream, KeyLife, Outcome, Outcomes, Pause, Ticket, Told,
};

use super::view::TestView;

/// A clock whose wall time can be set back.
#[derive(Default)]
pub struct TestClock {
    mono_ms: AtomicI64,
    wall_ahead_ms: AtomicI64,
}

impl TestClock {
    pub fn advance_ms(&self, ms: i64) {
        self.mono_ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn step_wall_ms(&self, ms: i64) {
        self.wall_ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn now_ms(&self) -> i64 {
        self.mono_ms.load(Ordering::SeqCst)
    }
}

impl Clock for TestClock {
    fn wall_ms(&self) -> i64 {
        1_000_000 + self.now_ms() + self.wall_ahead_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms() as u64)
    }
}

/// Everything around a dispatcher; outlives it, as disk and downstream outlive a process.
pub struct World {
    pub clock: Arc<TestClock>,
    pub log: Arc<MemoryLog>,
    pub view: Arc<TestView>,
    pub spec: DispatcherSpec,
    written: Mutex<BTreeMap<(String, u16), u64>>,
}

impl World {
    /// Lanes without limits, each with the downstream `bank`.
    pub fn new(lanes: &[&str], partitions: u16) -> Self {
        let clock = Arc::new(TestClock::default());
        let log = Arc::new(MemoryLog::new(partitions, clock.clone()));
        Self::over(log, clock, lanes)
    }

    /// As [`World::new`], over a log of its own.
    pub fn over(log: Arc<MemoryLog>, clock: Arc<TestClock>, lanes: &[&str]) -> Self {
        let lane = |name: &&str| LaneSpec {
            name: (*name).to_owned(),
            downstream: "bank".to_owned(),
            rate: None,
            query_rate: None,
        };
        let spec = DispatcherSpec {
            partitions: (0..log.partitions()).map(Partition).collect(),
            lanes: lanes.iter().map(lane).collect(),
            pools: Vec::new(),
            writer: [1; 16],
            seed: 1,
            policy: Policy { backoff_max: Duration::from_millis(400), ..Policy::default() },
        };
        let view = TestView::new(log.clone());
        Self { clock, log, view, spec, written: Mutex::default() }
    }

    /// Appends orders to a lane, as intake would.
    pub fn orders(&self, lane: &str, partition: u16, count: u64) {
        let first_seq = {
            let mut written = self.written.lock();
            let last = written.entry((lane.to_owned(), partition)).or_insert(0);
            *last += count;
            *last + 1 - count
        };
        self.orders_from(lane, partition, first_seq, count);
    }

    /// Appends orders with these sequences, as a process that ended may have left them.
    pub fn orders_from(&self, lane: &str, partition: u16, first_seq: u64, count: u64) {
        let mut records = RecordBuf::new();
        for seq in first_seq..first_seq + count {
            records.push_with(|out| encode_order(lane, partition, seq, out));
        }
        let envelope = Envelope { source: "intake", epoch: 0, first_seq };
        let topic = format!("orders.{lane}");
        self.log
            .append(Partition(partition), &[Frame { topic: &topic, envelope, records: &records }])
            .unwrap();
        self.log.sync();
    }

    /// A process with one downstream, `bank`.
    pub fn open(&self, bank: impl Downstream + 'static) -> Dispatcher {
        self.open_with(BTreeMap::from([("bank".to_owned(), Box::new(bank) as Box<dyn Downstream>)]))
    }

    /// A process with one downstream, over a log that wraps this world's.
    pub fn open_over(&self, log: Arc<dyn Log>, bank: impl Downstream + 'static) -> Dispatcher {
        let downstreams = BTreeMap::from([("bank".to_owned(), Box::new(bank) as Box<dyn Downstream>)]);
        let ports = Ports { log, clock: self.clock.clone(), view: self.view.clone(), downstreams };
        Dispatcher::open(self.spec.clone(), ports).unwrap()
    }

    /// A process.
    pub fn open_with(&self, downstreams: BTreeMap<String, Box<dyn Downstream>>) -> Dispatcher {
        let ports =
            Ports { log: self.log.clone(), clock: self.clock.clone(), view: self.view.clone(), downstreams };
        Dispatcher::open(self.spec.clone(), ports).unwrap()
    }

    /// Steps for so long; time moves a millisecond whenever there is nothing to do. Returns whether
    /// it drained.
    pub fn run(&self, dispatcher: &mut Dispatcher, ms: i64) -> bool {
        let until = self.clock.now_ms() + ms;
        let mut at_once = 0;
        while self.clock.now_ms() < until {
            at_once += 1;
            assert!(at_once < 10_000, "it does not come to rest: {:?}", dispatcher.status().lanes());
            match dispatcher.step().unwrap() {
                Step::Worked(_) => {}
                Step::Idle { .. } => {
                    self.clock.advance_ms(1);
                    at_once = 0;
                }
                Step::Drained => return true,
            }
        }
        false
    }

    /// The stories of a lane's orders in a partition, by sequence.
    pub fn stories(&self, partition: u16, lane: &str) -> Vec<String> {
        self.view.orders(partition, lane).into_values().map(|order| order.story).collect()
    }
}

/// An order whose number tells where it stands.
pub fn encode_order(lane: &str, partition: u16, seq: u64, out: &mut Vec<u8>) {
    let order_no = order_no(lane, partition, seq);
    let order = Order {
        order_no: &order_no,
        act_id: "u",
        reward_type: lane,
        reward_id: "",
        asset: "CNY/2",
        amount_minor: seq as i64,
        accepted_at_ms: 5,
    };
    order.encode(out);
}

pub fn order_no(lane: &str, partition: u16, seq: u64) -> String {
    format!("u_{lane}_{partition}_{seq}_0")
}

/// One submission that a downstream got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub at_ms: i64,
    pub lane: String,
    pub partition: u16,
    pub seqs: Vec<u64>,
}

/// What a scripted downstream got, and what it will say.
#[derive(Default)]
pub struct Script {
    pub sent: Vec<Sent>,
    pub asked: Vec<(i64, String)>,
    /// Answers to submissions in order; credited when there is none left.
    pub answers: VecDeque<Answer>,
    /// How to answer when there is none left, by what was sent.
    pub by: Option<AnswerBy>,
    /// Answers to asks in order; absent when there is none left.
    pub told: VecDeque<Told>,
    /// What asks want besides.
    pub ask_pause: Option<Pause>,
    /// A partition that the downstream has stopped for.
    pub halted: Option<u16>,
    /// Nothing is answered while this is set.
    pub is_silent: bool,
    pub most_open: usize,
}

pub type Answer = (Outcomes, Option<Pause>);
pub type AnswerBy = Box<dyn FnMut(&Sent) -> Answer + Send>;

/// Shares a script with the test.
pub type SharedScript = Arc<Mutex<Script>>;

/// Answers by a script, after a fixed time.
pub struct Scripted {
    script: SharedScript,
    clock: Arc<TestClock>,
    capabilities: Capabilities,
    latency_ms: i64,
    open: VecDeque<(i64, Ticket, Option<Sent>)>,
}

pub const ABLE: Capabilities = Capabilities {
    max_items: 10,
    max_in_flight: 4,
    key_life: KeyLife::Lasts(Duration::from_secs(100)),
    can_query: true,
    batch_delay: Duration::ZERO,
    timeout: Duration::ZERO,
};

impl Scripted {
    pub fn new(world: &World, capabilities: Capabilities) -> (Self, SharedScript) {
        let script = SharedScript::default();
        (Self::with(world, capabilities, &script, 0), script)
    }

    pub fn with(world: &World, capabilities: Capabilities, script: &SharedScript, latency_ms: i64) -> Self {
        let (script, clock) = (script.clone(), world.clock.clone());
        Self { script, clock, capabilities, latency_ms, open: VecDeque::new() }
    }

    fn complete(&self, ticket: Ticket, sent: Option<&Sent>) -> Completion {
        let mut script = self.script.lock();
        let result = if let Some(sent) = sent {
            let is_halted = script.halted == Some(sent.partition);
            let (outcomes, pause) = match (script.answers.pop_front(), &mut script.by) {
                _ if is_halted => (Outcomes::All(Outcome::NotSent("stopped".into())), None),
                (Some(answer), _) => answer,
                (None, Some(by)) => by(sent),
                (None, None) => (Outcomes::All(Outcome::Credited), None),
            };
            Completed::Sent { outcomes, pause }
        } else {
            let told = script.told.pop_front().unwrap_or(Told::Absent);
            Completed::Asked { told, pause: script.ask_pause.clone() }
        };
        Completion { ticket, result }
    }
}

impl Downstream for Scripted {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn submit(&mut self, ticket: Ticket, batch: Batch) {
        let at_ms = self.clock.now_ms();
        assert!(!batch.is_empty() && batch.len() <= self.capabilities.max_items as usize);
        for (seq, record) in batch.orders() {
            let mut expected = Vec::new();
            encode_order(batch.lane(), batch.partition().0, seq, &mut expected);
            assert_eq!(record, expected, "every attempt carries the order's own bytes (I13)");
        }
        let seqs = batch.orders().map(|(seq, _)| seq).collect();
        let (lane, partition) = (batch.lane().to_owned(), batch.partition().0);
        let sent = Sent { at_ms, lane, partition, seqs };
        self.open.push_back((at_ms + self.latency_ms, ticket, Some(sent.clone())));
        let open = self.open.iter().filter(|(_, _, sent)| sent.is_some()).count();
        assert!(open <= self.capabilities.max_in_flight as usize, "{open} open");
        let mut script = self.script.lock();
        script.most_open = script.most_open.max(open);
        script.sent.push(sent);
    }

    fn ask(&mut self, ticket: Ticket, record: Arc<[u8]>) {
        assert!(self.capabilities.can_query);
        let at_ms = self.clock.now_ms();
        let order = Order::decode(&record).unwrap();
        self.script.lock().asked.push((at_ms, order.order_no.to_owned()));
        self.open.push_back((at_ms + self.latency_ms, ticket, None));
    }

    fn poll(&mut self, done: &mut Vec<Completion>) {
        if self.script.lock().is_silent {
            return;
        }
        while let Some((due_ms, _, _)) = self.open.front()
            && *due_ms <= self.clock.now_ms()
            && let Some((_, ticket, sent)) = self.open.pop_front()
        {
            done.push(self.complete(ticket, sent.as_ref()));
        }
    }

    fn halted(&self, partition: Partition) -> Option<String> {
        (self.script.lock().halted == Some(partition.0)).then(|| "its book is damaged".to_owned())
    }
}

pub fn unknown() -> Outcome {
    Outcome::Unknown("timeout".into())
}

pub fn rejected() -> Outcome {
    Outcome::Rejected("no such account".into())
}
