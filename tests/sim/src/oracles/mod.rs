//! What must hold, looked at after every event and once more at the end. The journal is followed by
//! the plain reference model of `hongbao check`, record by record as it becomes durable; sends are
//! held against it, with what was durable when they left.

pub mod audit;
mod cash_first;
mod ends;
mod fresh;
pub mod money;
mod served;

use std::collections::{BTreeMap, VecDeque};

use hongbao_audit::{Journal, JournalAudit, Report};
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_processors::views::{GroupBy, ViewsReader};
use hongbao_sinks::dispatch::{LaneState, StatusBoard};
use serde::{Deserialize, Serialize};

use crate::downstreams::{Asked, Breach, Sent};
use crate::log::Undisturbed;
use crate::operator::LANES;
use crate::options::Options;

use cash_first::CashFirst;
use fresh::Fresh;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Id of the invariant, as in `docs/ARCHITECTURE.md`; `panic`, and `V1` and `V2` for liveness.
    pub invariant: String,
    /// What was found.
    pub what: String,
    /// The order concerned, where there is one.
    pub order_no: Option<String>,
}

impl Violation {
    /// A violation that concerns no single order.
    #[must_use]
    pub fn new(invariant: &str, what: String) -> Self {
        let order_no = order_in(&what);
        Self { invariant: invariant.to_owned(), what, order_no }
    }

    /// What a downstream found.
    #[must_use]
    pub fn of(breach: Breach) -> Self {
        let Breach { invariant, order_no, what, .. } = breach;
        let what = format!("order {order_no}: {what}");
        Self { invariant: invariant.to_owned(), what, order_no: Some(order_no) }
    }

    /// The first finding of a report, if there is one.
    ///
    /// # Errors
    /// The violation.
    pub fn check(report: &Report) -> Result<(), Self> {
        match report.broken().first() {
            None => Ok(()),
            Some(invariant) => {
                let what = report.line(*invariant).details.first().cloned().unwrap_or_default();
                Err(Self::new(&invariant.id(), what))
            }
        }
    }
}

/// The order number in a finding's text.
fn order_in(text: &str) -> Option<String> {
    let mut words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "_.-".contains(letter)));
    words.find(|word| word.starts_with('u') && word.split('_').count() == 5).map(str::to_owned)
}

/// Accepted and credited, in minor units.
type Served = BTreeMap<(Option<String>, String), (u64, i128, u64, i128)>;

/// The oracles of a run.
pub struct Oracles<'l> {
    log: &'l Undisturbed,
    journals: Vec<JournalAudit<'l>>,
    reports: Vec<Report>,
    /// Orders sent within the last second, by lane; the pool is the last.
    sends: Vec<VecDeque<(i64, u64)>>,
    /// Questions within the last second, by lane.
    asks: Vec<VecDeque<i64>>,
    cash_first: Option<CashFirst>,
    fresh: Fresh,
    served: Served,
    /// Last order of each lane up to which the views said that all have ended, by partition.
    low_water: BTreeMap<(u16, &'static str), u64>,
}

impl<'l> Oracles<'l> {
    /// Before anything was written.
    #[must_use]
    pub fn new(log: &'l Undisturbed, options: &Options) -> Self {
        let journals = (0..options.partitions).filter_map(|partition| {
            let journal = JournalAudit::open(log, Partition(partition));
            journal.ok()
        });
        let journals = journals.collect();
        let reports = (0..options.partitions).map(|_| Report::new()).collect();
        let sends = vec![VecDeque::new(); LANES.len() + 1];
        let asks = vec![VecDeque::new(); LANES.len()];
        let cash_first = CashFirst::new(options);
        Self {
            log,
            journals,
            reports,
            sends,
            asks,
            cash_first,
            fresh: Fresh::default(),
            served: BTreeMap::new(),
            low_water: BTreeMap::new(),
        }
    }

    /// Follows the journal of a partition as far as it is durable (I2 I5 I8 I9 I10 I11 I12 I16 I18
    /// I24).
    ///
    /// # Errors
    /// The violation.
    pub fn advance(&mut self, partition: u16, now_ms: i64) -> Result<(), Violation> {
        let end = self.log.range(Partition(partition), "journal").map_or(0, |(_, end)| end);
        self.advance_to(partition, end)?;
        if let Some(cash_first) = &mut self.cash_first {
            cash_first.follow(partition, &self.journals[usize::from(partition)].journal, now_ms);
        }
        Ok(())
    }

    /// The log of a partition has lost its end: what is left is read from its beginning, and readers may
    /// be told less than before.
    ///
    /// # Errors
    /// The violation.
    pub fn reopen(&mut self, partition: u16) -> Result<(), Violation> {
        let opened = JournalAudit::open(self.log, Partition(partition));
        let opened = opened.map_err(|error| Violation::new("I26", error.to_string()))?;
        self.journals[usize::from(partition)] = opened;
        self.reports[usize::from(partition)] = Report::new();
        // Totals are those of all partitions.
        self.served.clear();
        self.low_water.retain(|(of, _), _| *of != partition);
        Ok(())
    }

    /// A process starts, over what is durable now.
    pub fn start_of_process(&mut self) {
        if let Some(cash_first) = &mut self.cash_first {
            cash_first.start_of_process();
        }
    }

    /// Orders of lower lanes that left while cash waited for the same permits.
    #[must_use]
    pub fn contended(&self) -> u64 {
        self.cash_first.as_ref().map_or(0, |cash_first| cash_first.contended)
    }

    fn advance_to(&mut self, partition: u16, end: u64) -> Result<(), Violation> {
        let index = usize::from(partition);
        let (journal, report) = (&mut self.journals[index], &mut self.reports[index]);
        if journal.folded() >= end {
            return Ok(());
        }
        journal.advance(end, report).map_err(|error| Violation::new("I26", error.to_string()))?;
        Violation::check(report)
    }

    /// The views' store of a partition stands at an offset of the journal: nothing before it waits
    /// for a missing fact, since it would be lost to the next process (rule 2, I6).
    ///
    /// # Errors
    /// The violation.
    pub fn stands(&mut self, partition: u16, applied: u64, now_ms: i64) -> Result<(), Violation> {
        self.advance(partition, now_ms)?;
        match self.journals[usize::from(partition)].waiting_at(applied) {
            None => Ok(()),
            Some(first) => Err(Violation::new(
                "I6",
                format!("views-{partition} stands at {applied}, and the fact at {first} waits"),
            )),
        }
    }

    /// A batch has left: each of its orders was accepted with these very bytes (I9), an intent of it
    /// is durable (I12) and nothing has ended it (I10), no second has seen too many (I21), and cash
    /// went first (I20). `lanes` is how the lanes stand in the process that sent it, if there is one.
    ///
    /// # Errors
    /// The violation.
    pub fn sent(
        &mut self,
        sent: &Sent,
        options: &Options,
        lanes: Option<&StatusBoard>,
    ) -> Result<(), Violation> {
        self.check_sent(sent, true)?;
        self.look_at_cash(sent, lanes)?;
        self.count_sends(sent, options)
    }

    /// As [`Self::sent`], without what is counted. Of a process that does not know that another has
    /// taken over (`owns` is false) no more can be asked than that the orders were accepted with these
    /// bytes and intended: what the other has made of them since is not known to it (rule 4).
    ///
    /// # Errors
    /// The violation.
    pub fn check_sent(&mut self, sent: &Sent, owns: bool) -> Result<(), Violation> {
        let partition = sent.batch.partition().0;
        self.advance_to(partition, sent.journal_end)?;
        let lane = sent.batch.lane();
        let orders = self.journals[usize::from(partition)].journal.orders_of_lane(lane);
        for (seq, record) in sent.batch.orders() {
            let Some(order) = orders.get(seq as usize - 1) else {
                return Err(Violation::new(
                    "I9",
                    format!("{lane} {seq} of {partition} was sent and never accepted"),
                ));
            };
            let breach = |invariant: &str, what: &str| {
                Err(Violation {
                    invariant: invariant.to_owned(),
                    what: format!("order {}: {what}", order.order_no),
                    order_no: Some(order.order_no.to_string()),
                })
            };
            if order.is_ended() && owns {
                return breach("I10", "sent after it had ended");
            }
            let is_intended = if owns { order.in_flight } else { order.intents > 0 };
            if !is_intended {
                return breach("I12", "sent without a durable intent");
            }
            if order.lane_record() != record {
                return breach("I9", "sent other than accepted");
            }
        }
        Ok(())
    }

    /// Who has opened a lane last, by its random number.
    #[must_use]
    pub fn opener(&self, partition: u16, lane: &str) -> Option<[u8; 16]> {
        let openings = &self.journals[usize::from(partition)].journal.openings;
        openings.get(&format!("sink.{lane}")).map(|opening| opening.writer)
    }

    fn look_at_cash(&mut self, sent: &Sent, lanes: Option<&StatusBoard>) -> Result<(), Violation> {
        let Some(cash_first) = &mut self.cash_first else { return Ok(()) };
        let concerned = [LANES[0], sent.batch.lane()];
        let is_running = lanes.is_some_and(|board| {
            let lanes = board.lanes();
            let mut lanes = lanes.iter().filter(|lane| concerned.contains(&lane.lane.as_ref()));
            lanes.all(|lane| lane.state == LaneState::Running)
        });
        match cash_first.sent(sent, is_running) {
            None => Ok(()),
            Some(what) => Err(Violation::new("I20", what)),
        }
    }

    /// Counts sends of a lane and of the pool: no second has seen too many (I21).
    ///
    /// # Errors
    /// The violation.
    pub fn count_sends(&mut self, sent: &Sent, options: &Options) -> Result<(), Violation> {
        let Some(index) = LANES.iter().position(|lane| *lane == sent.batch.lane()) else { return Ok(()) };
        let rates = [(index, options.lanes[index].rate), (LANES.len(), options.pool.map(|pool| pool.rate))];
        for (place, rate) in rates {
            let Some(rate) = rate else { continue };
            let sends = &mut self.sends[place];
            sends.push_back((sent.at_ms, sent.batch.len() as u64));
            while sends.front().is_some_and(|(at_ms, _)| *at_ms <= sent.at_ms - 1_000) {
                sends.pop_front();
            }
            let count: u64 = sends.iter().map(|(_, count)| count).sum();
            if count > rate {
                let name = LANES.get(place).unwrap_or(&"pool");
                return Err(Violation::new(
                    "I21",
                    format!("{count} sends of {name} within a second, {rate} allowed"),
                ));
            }
        }
        Ok(())
    }

    /// A question has left: no second has seen too many of a lane (I21).
    ///
    /// # Errors
    /// The violation.
    pub fn asked(&mut self, asked: Asked, options: &Options) -> Result<(), Violation> {
        let lane = &options.lanes[asked.lane];
        let Some(rate) = lane.query_rate.or(lane.rate) else { return Ok(()) };
        let asks = &mut self.asks[asked.lane];
        asks.push_back(asked.at_ms);
        while asks.front().is_some_and(|at_ms| *at_ms <= asked.at_ms - 1_000) {
            asks.pop_front();
        }
        let (count, name) = (asks.len() as u64, LANES[asked.lane]);
        if count > rate {
            let what = format!("{count} questions of {name} within a second, {rate} allowed");
            return Err(Violation::new("I21", what));
        }
        Ok(())
    }

    /// What the views serve never goes back (I18), and is what the journal says (I15, I16).
    ///
    /// # Errors
    /// The violation.
    pub fn serve(&mut self, reader: &ViewsReader) -> Result<(), Violation> {
        let Ok(totals) = reader.totals(&[GroupBy::RewardType]) else { return Ok(()) };
        let served = served::check(reader, &totals, &self.journals);
        for row in totals.rows {
            let sums = (row.accepted_count, row.accepted_minor, row.credited_count, row.credited_minor);
            let key = (row.reward_type, row.asset);
            let last = self.served.entry(key).or_insert(sums);
            let is_back = sums.0 < last.0 || sums.1 < last.1 || sums.2 < last.2 || sums.3 < last.3;
            if is_back {
                return Err(Violation::new("I18", format!("totals were {last:?} and are {sums:?}")));
            }
            *last = sums;
        }
        served
    }

    /// What the views say of the lanes of one partition never goes back (I18).
    ///
    /// # Errors
    /// The violation.
    pub fn serve_of(&mut self, partition: u16, reader: &ViewsReader) -> Result<(), Violation> {
        for lane in LANES {
            let Ok(state) = reader.lane_state(partition, lane) else { continue };
            let last = self.low_water.entry((partition, lane)).or_default();
            if state.low_water < *last {
                let (last, now) = (*last, state.low_water);
                let what = format!("{lane} of partition {partition} had ended up to {last}, now {now}");
                return Err(Violation::new("I18", what));
            }
            *last = state.low_water;
        }
        Ok(())
    }

    /// The last of a writer's facts in a journal up to which all are durable.
    #[must_use]
    pub fn last_of(&self, partition: u16, source: &str) -> u64 {
        let mut marks = self.journals[usize::from(partition)].marks();
        marks.find(|(name, ..)| *name == source).map_or(0, |(_, _, seq)| seq)
    }

    /// The journal of a partition as far as it was followed.
    #[must_use]
    pub fn journal(&self, partition: u16) -> &Journal {
        &self.journals[usize::from(partition)].journal
    }

    /// Nobody sends the cash of a partition any more, or not for sure.
    pub fn forget_cash(&mut self, partition: u16) {
        if let Some(cash_first) = &mut self.cash_first {
            cash_first.forget(partition);
        }
    }

    /// No lane keeps more orders one by one than it may, and at most as many again that earlier
    /// processes left (I29).
    ///
    /// # Errors
    /// The violation.
    pub fn bounded(&self, lanes: &StatusBoard, options: &Options) -> Result<(), Violation> {
        let most = 2 * options.dispatch.held_orders_max as u64;
        match lanes.lanes().iter().find(|lane| lane.held > most) {
            None => Ok(()),
            Some(lane) => Err(Violation::new(
                "I29",
                format!("{} orders of {} held, {most} allowed", lane.held, lane.lane),
            )),
        }
    }

    /// Orders that were never tried do not wait for those that fail by themselves (I27). To be asked
    /// once faults have stopped, in a world in which no partition has halted for good.
    ///
    /// # Errors
    /// The violation.
    pub fn look_at_fresh(
        &mut self,
        lanes: &StatusBoard,
        options: &Options,
        now_ms: i64,
    ) -> Result<(), Violation> {
        self.fresh.look(&self.journals, lanes, options, now_ms)
    }

    /// Time of the journal of a partition, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn last_fact_ms(&self, partition: u16) -> i64 {
        self.journals[usize::from(partition)].journal.now_ms
    }

    /// Whether no fact of a journal waits for a missing one.
    #[must_use]
    pub fn is_whole(&self, partition: u16) -> bool {
        let audit = &self.journals[usize::from(partition)];
        audit.waiting_at(audit.folded()).is_none()
    }

    /// Whether all orders of a partition have ended.
    #[must_use]
    pub fn is_all_ended(&self, partition: u16) -> bool {
        let journal = &self.journals[usize::from(partition)].journal;
        journal.orders().all(|order| order.is_ended())
    }

    /// The first order that has not ended, of partitions that are not left out.
    #[must_use]
    pub fn first_open(&self, is_left_out: &dyn Fn(u16) -> bool) -> Option<(String, &'static str)> {
        let journals = (0_u16..).zip(&self.journals).filter(|(partition, _)| !is_left_out(*partition));
        let mut orders = journals.flat_map(|(_, audit)| audit.journal.orders());
        let open = orders.find(|order| !order.is_ended())?;
        Some((open.order_no.to_string(), open.state().as_str()))
    }
}
