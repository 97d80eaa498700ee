//! A plain fold of the journal, which also checks that what it folds makes sense.

use std::collections::BTreeMap;
use std::sync::Arc;

use hongbao_engine::log::Log;
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Offset, ReadBatch};
use hongbao_schemas::journal::{CreditFact, CreditStage, Fact};
use parking_lot::Mutex;

use crate::journal_view::{JournalView, LaneResume, OpenRange, ViewError, Winner};

/// One order of a lane, as the journal tells it.
#[derive(Clone, Debug, Default)]
pub struct OrderView {
    /// Since the order last had no unresolved attempt.
    pub first_intent_ms: Option<i64>,
    /// An earlier attempt is unresolved besides the one at hand.
    pub is_unknown: bool,
    /// An intent without an outcome.
    pub is_started: bool,
    /// How it ended, and why.
    pub end: Option<(CreditStage, String)>,
    /// Every stage, one letter each, in order.
    pub story: String,
}

#[derive(Default)]
struct LaneView {
    opened: Option<Winner>,
    next_seq: u64,
    last_at_ms: i64,
    orders: BTreeMap<u64, OrderView>,
}

#[derive(Default)]
struct Folded {
    offset: Offset,
    lanes: BTreeMap<String, LaneView>,
}

/// Folds each partition's journal as far as it is readable whenever it is asked, unless held back.
pub struct TestView {
    log: Arc<MemoryLog>,
    folded: Mutex<BTreeMap<u16, Folded>>,
    limit: Mutex<BTreeMap<u16, Offset>>,
    /// First sequence not accepted, in all lanes: there are no acceptances in these journals.
    accepted: Mutex<u64>,
}

impl TestView {
    pub fn new(log: Arc<MemoryLog>) -> Arc<Self> {
        let (folded, limit) = (Mutex::default(), Mutex::default());
        Arc::new(Self { log, folded, limit, accepted: Mutex::new(u64::MAX) })
    }

    /// Has folded the acceptance of all orders below this.
    pub fn accept_below(&self, seq: u64) {
        *self.accepted.lock() = seq;
    }

    /// Folds no further than this.
    pub fn hold_at(&self, limit: Option<Offset>) {
        (0..self.log.partitions()).for_each(|partition| self.hold_in(partition, limit));
    }

    /// Folds one partition no further than this.
    pub fn hold_in(&self, partition: u16, limit: Option<Offset>) {
        let mut limits = self.limit.lock();
        match limit {
            Some(limit) => limits.insert(partition, limit),
            None => limits.remove(&partition),
        };
    }

    /// The orders of a lane by sequence.
    pub fn orders(&self, partition: u16, lane: &str) -> BTreeMap<u64, OrderView> {
        self.fold(Partition(partition));
        let folded = self.folded.lock();
        let lane = folded.get(&partition).and_then(|folded| folded.lanes.get(lane));
        lane.map(|lane| lane.orders.clone()).unwrap_or_default()
    }

    /// How many orders of a lane ended by each stage, over all partitions.
    pub fn ends(&self, lane: &str) -> BTreeMap<&'static str, usize> {
        let mut ends = BTreeMap::new();
        for partition in 0..self.log.partitions() {
            for order in self.orders(partition, lane).values() {
                let stage = order.end.as_ref().map_or("open", |(stage, _)| stage.as_str());
                *ends.entry(stage).or_insert(0) += 1;
            }
        }
        ends
    }

    fn fold(&self, partition: Partition) -> Offset {
        let mut all = self.folded.lock();
        let folded = all.entry(partition.0).or_default();
        let (_, end) = self.log.range(partition, "journal").unwrap();
        let end = self.limit.lock().get(&partition.0).map_or(end, |limit| end.min(*limit));
        let mut batch = ReadBatch::new();
        while folded.offset < end {
            self.log.read(partition, "journal", folded.offset, 1, &mut batch).unwrap();
            for frame in batch.frames() {
                let envelope = frame.envelope();
                for (index, (offset, record)) in frame.records().enumerate() {
                    if offset < end {
                        let seq = envelope.first_seq + index as u64;
                        folded.apply(Envelope { first_seq: seq, ..envelope }, record);
                        folded.offset = offset + 1;
                    }
                }
            }
        }
        folded.offset
    }
}

impl Folded {
    fn apply(&mut self, envelope: Envelope<'_>, record: &[u8]) {
        let name = envelope.source.strip_prefix("sink.").unwrap().to_owned();
        let lane = self.lanes.entry(name).or_default();
        match Fact::decode(record).unwrap() {
            Fact::Opened(opened) => {
                assert_eq!(opened.epoch, i64::from(envelope.epoch));
                assert_eq!(envelope.first_seq, 1, "an epoch begins with its Opened");
                if lane.opened.is_none_or(|winner| winner.epoch < envelope.epoch) {
                    lane.opened = Some(Winner { writer: opened.writer, epoch: envelope.epoch });
                    lane.next_seq = 2;
                    lane.last_at_ms = lane.last_at_ms.max(opened.at_ms);
                }
            }
            Fact::Credit(fact) => {
                let winner = lane.opened.expect("nothing is written before Opened");
                if envelope.epoch == winner.epoch {
                    assert_eq!(envelope.first_seq, lane.next_seq, "sequences have no gap (I5)");
                    lane.next_seq += 1;
                    lane.apply(&fact);
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

impl LaneView {
    fn apply(&mut self, fact: &CreditFact<'_>) {
        self.last_at_ms = self.last_at_ms.max(fact.at_ms);
        for range in fact.ranges {
            for seq in range.first()..range.end() {
                self.orders.entry(seq as u64).or_default().apply(fact, seq);
            }
        }
    }

    fn resume(&self) -> LaneResume {
        let mut low_water = 1;
        while self.orders.get(&low_water).is_some_and(|order| order.end.is_some()) {
            low_water += 1;
        }
        let above = || self.orders.range(low_water..);
        let ended = above().filter(|(_, order)| order.end.is_some()).map(|(seq, _)| (*seq, 1)).collect();
        let open = above().filter(|(_, order)| order.end.is_none()).filter_map(|(seq, order)| {
            let first_intent_ms = order.first_intent_ms?;
            let is_unknown = order.is_unknown && !order.is_started;
            Some(OpenRange { first: *seq, count: 1, first_intent_ms, is_unknown })
        });
        let (opened, last_at_ms) = (self.opened, self.last_at_ms);
        LaneResume { opened, low_water, ended, open: open.collect(), last_at_ms }
    }
}

impl OrderView {
    fn apply(&mut self, fact: &CreditFact<'_>, seq: i64) {
        let stage = fact.stage;
        assert_eq!(self.end, None, "order {seq} has ended and now {stage:?}: {}", self.story);
        self.story.push(match stage {
            CreditStage::Started => 's',
            CreditStage::Credited => 'C',
            CreditStage::Deferred => 'd',
            CreditStage::Withdrawn => 'w',
            CreditStage::Refused => 'F',
            CreditStage::Unknown => 'u',
            CreditStage::Reported => 'R',
        });
        match stage {
            CreditStage::Started => {
                assert!(!self.is_started, "order {seq} has two attempts at once: {}", self.story);
                self.is_started = true;
                self.first_intent_ms.get_or_insert(fact.at_ms);
            }
            CreditStage::Unknown => {
                assert!(self.first_intent_ms.is_some(), "order {seq} was never intended");
                (self.is_started, self.is_unknown) = (false, true);
            }
            CreditStage::Deferred | CreditStage::Withdrawn => {
                assert!(self.is_started, "order {seq} has no attempt: {}", self.story);
                self.is_started = false;
                if !self.is_unknown {
                    self.first_intent_ms = None;
                }
            }
            CreditStage::Credited | CreditStage::Refused | CreditStage::Reported => {
                assert!(self.first_intent_ms.is_some(), "order {seq} was never intended (I12)");
                let was_unknown = self.is_unknown && self.is_started;
                assert!(!(stage == CreditStage::Refused && was_unknown), "order {seq}: {}", self.story);
                self.end = Some((stage, fact.reason.to_owned()));
            }
        }
    }
}

impl JournalView for TestView {
    fn folded(&self, partition: Partition) -> Result<Offset, ViewError> {
        Ok(self.fold(partition))
    }

    fn lane(&self, partition: Partition, lane: &str) -> Result<LaneResume, ViewError> {
        self.fold(partition);
        let folded = self.folded.lock();
        let lane = folded.get(&partition.0).and_then(|folded| folded.lanes.get(lane));
        Ok(lane.map(LaneView::resume).unwrap_or_default())
    }

    fn accepted(&self, _partition: Partition, _lane: &str) -> Result<u64, ViewError> {
        Ok(*self.accepted.lock())
    }
}
