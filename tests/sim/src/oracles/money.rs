//! Money alone: what clients were told is durable, held against what their downstreams did, by the true
//! books. For runs that go on although an invariant is broken
//! ([`Judge::Money`](crate::plan::Judge::Money)), so that it shows what comes of it.
//!
//! | id | what is told |
//! | --- | --- |
//! | I10 | doubled: an order took effect twice in its downstream |
//! | I25 | lost: an award was acknowledged, nothing says that it ever came, and nobody has paid it |
//! | I11 | lost: an order was accepted, took no effect, and nobody is told so |
//! | I15 | lost: an order is shown as credited and took no effect |

use std::collections::{BTreeMap, BTreeSet};

use hongbao_audit::journal::Order;
use hongbao_audit::{Journal, LedgerAudit, Report};
use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::ReadBatch;
use hongbao_processors::intake::{AWARDS, JOURNAL, STAGE};
use hongbao_schemas::award::Award;
use hongbao_schemas::journal::Fact;
use hongbao_schemas::order_state::OrderState;
use hongbao_sinks::dispatch::LaneState;
use hongbao_sinks::ledger::order_value;

use crate::clients::Delivery;
use crate::downstreams::port::NAMESPACE;
use crate::log::Undisturbed;
use crate::world::{Estate, Place, Process};

use super::Violation;

/// Ids that say that money was doubled or lost, where money is the judge.
pub const IDS: [&str; 4] = ["I10", "I11", "I15", "I25"];

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;

/// One partition whose money is counted.
pub struct Till<'a> {
    /// Everything durable.
    pub estate: &'a Estate,
    /// Its number.
    pub partition: u16,
    /// Its journal, by the reference model.
    pub journal: &'a Journal,
    /// What runs, where the end was waited for in vain.
    pub process: Option<&'a Process>,
    /// What clients were told is durable, and is owed to them.
    pub acknowledged: &'a [&'a Delivery],
    /// Orders of which it is lost what became of them.
    pub lost_orders: &'a BTreeSet<String>,
}

impl Till<'_> {
    /// Everything that still can happen has happened: whoever was promised something has it, or is told
    /// that he has not.
    ///
    /// # Errors
    /// The first order that was doubled or lost.
    pub fn check_all(&self) -> Result<(), Violation> {
        for order in self.journal.orders().filter(|order| !self.lost_orders.contains(&*order.order_no)) {
            let times = self.times(&order.order_no);
            let (order_no, state) = (&order.order_no, self.told(order));
            let (id, what) = match (times, state) {
                (2.., _) => ("I10", format!("took effect {times} times")),
                (1, _) | (0, OrderState::Refused | OrderState::Reported) => continue,
                (_, OrderState::Credited) => ("I15", "is shown as credited and took no effect".to_owned()),
                _ if !self.is_given_up(&order.group.lane) => continue,
                _ => ("I11", format!("is {} for ever and took no effect", state.as_str())),
            };
            return Err(Violation::new(id, format!("order {order_no}: {what}")));
        }
        let is_unknown =
            |order_no: &&str| self.journal.state(order_no).is_none() && self.times(order_no) == 0;
        let numbers = self.acknowledged.iter().filter_map(|delivery| owed(delivery));
        let mut numbers = numbers.filter(|order_no| !self.lost_orders.contains(*order_no));
        match numbers.find(is_unknown).filter(|_| self.is_all_decided()) {
            None => Ok(()),
            Some(order_no) => Err(unknown(order_no)),
        }
    }

    /// Where an order stands for its person: as the views answer, where they do.
    fn told(&self, order: &Order) -> OrderState {
        let told = self.process.and_then(|process| process.reader.order(&order.order_no).ok().flatten());
        told.map_or_else(|| order.state(), |told| told.state)
    }

    /// Whether a lane runs, and has nothing left to do: what is open is not late but forgotten.
    fn is_given_up(&self, name: &str) -> bool {
        let Some(process) = self.process else { return false };
        process.lanes.lanes().iter().any(|lane| {
            let left = lane.ready + lane.waiting + lane.held;
            *lane.lane == *name && lane.state == LaneState::Running && left == 0
        })
    }

    /// Whether the intake has nothing left to decide.
    fn is_all_decided(&self) -> bool {
        let Some(process) = self.process else { return true };
        let status = process.intakes[usize::from(self.partition)].status();
        let end = self.estate.log.undisturbed().range(Partition(self.partition), AWARDS);
        status.is_some_and(|status| end.is_ok_and(|(_, end)| status.applied() >= end))
    }

    /// Some part stops again and again. What it had still to do is not lost by that; but what the
    /// intake's store says is written, and is not there, is never written again.
    ///
    /// # Errors
    /// The first award that was lost.
    pub fn check_decided(&self, applied: u64) -> Result<(), Violation> {
        let (log, at) = (self.estate.log.undisturbed(), self.partition);
        let mut known = BTreeSet::new();
        let mut accepted = Vec::new();
        // What cannot be read says nothing of what was lost.
        let read = each(&log, at, JOURNAL, |_, bytes| match Fact::decode(bytes) {
            Ok(Fact::Accepted(fact)) => {
                let order_no = fact.award.order_no.to_owned();
                accepted.push((order_no.clone(), fact.lane.to_owned(), fact.lane_seq, fact.award_offset));
                known.insert(order_no);
            }
            Ok(Fact::Rejected(fact)) => _ = known.insert(fact.order_no.to_owned()),
            Ok(Fact::Conflict(fact)) => _ = known.insert(fact.order_no.to_owned()),
            _ => {}
        });
        let mut offsets: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        let read = read.and_then(|()| {
            each(&log, at, AWARDS, |offset, bytes| _ = offsets.entry(bytes.to_vec()).or_insert(offset))
        });
        if read.is_err() {
            return Ok(());
        }
        for delivery in self.acknowledged {
            let Some(order_no) = owed(delivery) else { continue };
            let is_decided = offsets.get(&delivery.record).is_some_and(|offset| *offset < applied);
            if is_decided && !known.contains(order_no) && self.times(order_no) == 0 {
                return Err(unknown(order_no));
            }
        }
        let mut lanes: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for (order_no, lane, seq, award) in accepted {
            let topic = format!("orders.{lane}");
            let there = lanes.entry(lane).or_insert_with(|| self.estate.log.sequences(at, &topic, STAGE));
            let is_missing = award.cast_unsigned() < applied && !there.contains(&seq.cast_unsigned());
            if is_missing && self.times(&order_no) == 0 {
                let what = format!("order {order_no}: is accepted, and its lane lacks it for ever");
                return Err(Violation::new("I11", what));
            }
        }
        Ok(())
    }

    /// How often an order took effect, in all downstreams together.
    fn times(&self, order_no: &str) -> u64 {
        let times = self.estate.places.iter().map(|place| match place {
            Place::Partner(partner) => partner.lock().times(&format!("{NAMESPACE}/{order_no}")),
            Place::Ledger { book, .. } => self.postings(&book.undisturbed(), order_no),
        });
        times.sum()
    }

    /// What it finds beside is told by the whole audit.
    fn postings(&self, book: &Undisturbed, order_no: &str) -> u64 {
        let open = LedgerAudit::open("ledger", book, Partition(self.partition), order_value);
        let Ok(mut ledger) = open else { return 0 };
        let read = ledger.end().and_then(|end| ledger.advance(end, self.journal, &mut Report::new()));
        read.map_or(0, |()| ledger.times(order_no))
    }
}

/// The order number of an award that no settings of a world refuse.
fn owed(delivery: &Delivery) -> Option<&str> {
    let order_no = delivery.order_no.as_deref()?;
    let award = Award::decode(&delivery.record).ok()?;
    // Films are given at times only, and cash up to some amount.
    let most_minor = match award.reward_type {
        "cash" => 1_000,
        "pendant" => 5,
        _ => 0,
    };
    (award.scene_id != "nowhere" && (1..=most_minor).contains(&award.amount_minor)).then_some(order_no)
}

fn unknown(order_no: &str) -> Violation {
    Violation::new("I25", format!("order {order_no}: was acknowledged, and nothing is known of it"))
}

/// All durable records of a topic.
fn each(
    log: &Undisturbed,
    partition: u16,
    topic: &str,
    mut take: impl FnMut(u64, &[u8]),
) -> Result<(), LogError> {
    let (mut from, end) = log.range(Partition(partition), topic)?;
    let mut batch = ReadBatch::new();
    while from < end {
        log.read(Partition(partition), topic, from, READ_BYTES, &mut batch)?;
        for (offset, record) in batch.frames().flat_map(|frame| frame.records()) {
            take(offset, record);
        }
        from = batch.next_offset().unwrap_or(end);
    }
    Ok(())
}
