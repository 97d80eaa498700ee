//! The whole check of everything durable, by the reference model that `hongbao check` uses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hongbao_audit::journal::Order;
use hongbao_audit::views::{self, rebuild};
use hongbao_audit::{
    AuditError, Evidence, IntakeAudit, Journal, JournalAudit, Lanes, LedgerAudit, Report, applied_offset,
    check_decided, check_effects, check_intake_store,
};
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::ReadBatch;
use hongbao_engine::store::Store;
use hongbao_processors::intake::{AWARDS, JOURNAL};
use hongbao_processors::views::ViewsLimits;
use hongbao_schemas::journal::CreditStage;
use hongbao_sinks::ledger::{BOOK_TOPIC, order_value};

use crate::clients::Delivery;
use crate::downstreams::port::NAMESPACE;
use crate::log::{SimLog, Undisturbed};
use crate::operator::{LANES, control_key};
use crate::options::{LogProfile, Options};
use crate::world::{Doom, Estate, Place};

use super::ends::Ends;
use super::{Violation, order_in};

/// Orders of a partition whose whole history is compared.
const HISTORIES_MAX: usize = 12;
/// Bytes of awards read at a time.
const READ_BYTES: usize = 1 << 20;

/// What is looked at.
pub struct Scope<'a> {
    /// Everything durable.
    pub estate: &'a Estate,
    /// What the world is made of.
    pub options: &'a Options,
    /// Of the views.
    pub limits: ViewsLimits,
    /// Partitions whose log says nothing any more.
    pub is_forgotten: &'a dyn Fn(u16) -> bool,
    /// Partitions of which something is lost for good.
    pub is_ruined: &'a dyn Fn(u16) -> bool,
    /// Those of them whose orders need not have ended.
    pub is_given_up: &'a dyn Fn(u16) -> bool,
    /// Orders of which it is lost what became of them, so that nothing that was done for them counts.
    pub lost_orders: &'a BTreeSet<String>,
    /// How much of partitions is lost for good.
    pub doomed: &'a BTreeMap<u16, Doom>,
    /// What clients were told is durable.
    pub acknowledged: &'a [Delivery],
    /// Wall clocks are right throughout, and no two processes run at a time.
    pub are_clocks_right: bool,
    /// Everything must have ended.
    pub is_final: bool,
}

/// What was counted on the way.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "verdicts, ends and effects")]
pub struct Counts {
    pub accepted: u64,
    pub duplicate: u64,
    pub conflict: u64,
    pub rejected: u64,
    pub undecodable: u64,
    pub credited: u64,
    pub refused: u64,
    pub reported: u64,
    pub effects: u64,
}

/// How often an order took effect in a downstream.
type Times<'a> = Box<dyn Fn(&Order) -> u64 + 'a>;

impl Scope<'_> {
    /// Looks at all partitions.
    ///
    /// # Errors
    /// The first violation.
    pub fn run(&self) -> Result<Counts, Violation> {
        let mut counts = Counts::default();
        for partition in 0..self.options.partitions {
            if (self.is_forgotten)(partition) {
                continue;
            }
            let mut report = Report::new();
            let audited = self.partition(partition, &mut report, &mut counts);
            Violation::check(&report)?;
            let forgotten = audited.map_err(|error| Violation::new("I26", error.to_string()))?;
            if let Some(what) = forgotten {
                return Err(Violation::new("I25", what));
            }
        }
        Ok(counts)
    }

    /// Whether what is missing may still come: from a dead process, or from the next one.
    fn is_unfinished(&self, partition: u16) -> bool {
        let goes_on = self.is_final && !(self.is_ruined)(partition);
        !goes_on && self.options.log == LogProfile::Broker
    }

    fn has_store(&self, partition: u16, intake: bool) -> bool {
        !matches!(self.doomed.get(&partition), Some(Doom::Store { is_intake, .. }) if *is_intake == intake)
    }

    /// Returns what was acknowledged and is not known, if there is such.
    fn partition(
        &self,
        partition: u16,
        report: &mut Report,
        counts: &mut Counts,
    ) -> Result<Option<String>, AuditError> {
        let log = self.estate.log.undisturbed();
        let (index, at) = (usize::from(partition), Partition(partition));
        self.intake(&log, at, report, counts)?;
        let mut audit = JournalAudit::open(&log, at)?;
        if self.is_unfinished(partition) {
            audit = audit.unfinished();
        }
        let mut totals = Vec::new();
        if self.has_store(partition, false) {
            let name = format!("views-{partition}");
            let store: Arc<dyn Store> = self.estate.views[index].rows();
            let stands_at = applied_offset(&*store, &name, (&log, at, JOURNAL), report)?;
            audit.advance(stands_at, report)?;
            totals = self.views((&log, at), store, &audit, report)?;
        }
        audit.advance(audit.end()?, report)?;
        let journal = audit.finish(report);
        views::check_totals_grow(&totals, &journal, report);
        self.effects(at, &journal, report, counts)?;
        if self.is_final {
            self.ends(partition, &journal, report, counts);
        }
        self.forgotten(partition, &journal)
    }

    fn intake(
        &self,
        log: &Undisturbed,
        at: Partition,
        report: &mut Report,
        counts: &mut Counts,
    ) -> Result<(), AuditError> {
        let name = format!("intake-{at}");
        let mut intake = IntakeAudit::open(log, at, control_key())?;
        if self.is_unfinished(at.0) {
            intake = intake.unfinished();
        }
        let mut stands_at = 0;
        if self.has_store(at.0, true) {
            let store = self.estate.intakes[usize::from(at.0)].rows();
            stands_at = applied_offset(&*store, &name, (log, at, AWARDS), report)?;
            intake.advance(stands_at, report)?;
            if stands_at > 0 {
                check_intake_store(&*store, &name, &intake.verdicts, report)?;
            }
        }
        intake.advance(intake.end()?, report)?;
        let (verdicts, undecided) = intake.finish(report)?;
        check_decided(&name, stands_at, undecided, report);
        let found = verdicts.counts;
        counts.accepted += found.accepted;
        counts.duplicate += found.duplicate;
        counts.conflict += found.conflict;
        counts.rejected += found.rejected;
        counts.undecodable += found.undecodable;
        Ok(())
    }

    fn views(
        &self,
        (log, at): (&Undisturbed, Partition),
        store: Arc<dyn Store>,
        audit: &JournalAudit<'_>,
        report: &mut Report,
    ) -> Result<Vec<hongbao_processors::views::TotalsRow>, AuditError> {
        let name = format!("views-{at}");
        if audit.folded() == 0 {
            return Ok(Vec::new());
        }
        match rebuild::rebuild(log, at, audit.folded(), self.limits, &AtomicU64::new(0)) {
            Ok(rebuilt) => {
                rebuild::compare(&*store, &*rebuilt, &name, report)?;
            }
            Err(error) => {
                report.find(hongbao_audit::Invariant::I19, format_args!("{name}: cannot be folded: {error}"));
            }
        }
        views::check(store, log.partitions(), at, audit, HISTORIES_MAX, report)
    }

    /// What downstreams did, but for orders that are lost.
    fn effects(
        &self,
        at: Partition,
        journal: &Journal,
        report: &mut Report,
        counts: &mut Counts,
    ) -> Result<(), AuditError> {
        let mut all = Report::with_every_detail();
        self.all_effects(at, journal, &mut all, counts)?;
        let is_lost =
            |what: &&String| order_in(what).is_some_and(|order_no| self.lost_orders.contains(&order_no));
        for invariant in all.broken() {
            for what in all.line(invariant).details.iter().filter(|what| !is_lost(what)) {
                report.find(invariant, format_args!("{what}"));
            }
        }
        Ok(())
    }

    fn all_effects(
        &self,
        at: Partition,
        journal: &Journal,
        report: &mut Report,
        counts: &mut Counts,
    ) -> Result<(), AuditError> {
        let mut ledgers = Vec::new();
        let books: Vec<(usize, Undisturbed)> =
            self.books().map(|(index, book)| (index, book.undisturbed())).collect();
        for (index, book) in &books {
            let Some(Place::Ledger { stores, .. }) = self.estate.places.get(*index) else { continue };
            let name = format!("d{index}");
            let mut ledger = LedgerAudit::open(&name, book, at, order_value)?;
            let store = stores[usize::from(at.0)].rows();
            let store_name = format!("ledger {name} of partition {at}");
            let stands_at = applied_offset(&*store, &store_name, (book, at, BOOK_TOPIC), report)?;
            ledger.advance(stands_at, journal, report)?;
            ledger.check_store(&*store, report)?;
            ledger.advance(ledger.end()?, journal, report)?;
            // Sums of people do not tell of which orders they are.
            if self.lost_orders.iter().all(|order_no| ledger.times(order_no) == 0) {
                ledger.finish(journal, report);
            }
            ledgers.push((*index, ledger));
        }
        let lanes: Vec<Vec<String>> =
            (0..self.estate.places.len()).map(|index| self.lanes_of(index)).collect();
        let names: Vec<String> = (0..self.estate.places.len()).map(|index| format!("d{index}")).collect();
        let times: Vec<Times<'_>> =
            (0..self.estate.places.len()).map(|index| self.times(index, &ledgers)).collect();
        let evidence = names.iter().zip(&lanes).zip(&times).map(|((name, lanes), times)| Evidence {
            name,
            lanes: Lanes::Named(lanes),
            times: &**times,
        });
        let evidence: Vec<Evidence<'_>> = evidence.collect();
        counts.effects += check_effects(journal, &evidence, report).iter().sum::<u64>();
        let Self { estate, options, are_clocks_right, .. } = *self;
        Ends { estate, options, are_clocks_right }.check(journal, report);
        Ok(())
    }

    fn books(&self) -> impl Iterator<Item = (usize, &Arc<SimLog>)> {
        self.estate.places.iter().enumerate().filter_map(|(index, place)| match place {
            Place::Ledger { book, .. } => Some((index, book)),
            Place::Partner(_) => None,
        })
    }

    fn times<'b>(&'b self, index: usize, ledgers: &'b [(usize, LedgerAudit<'_>)]) -> Times<'b> {
        match &self.estate.places[index] {
            Place::Partner(partner) => Box::new(move |order: &Order| {
                partner.lock().times(&format!("{NAMESPACE}/{}", order.order_no))
            }),
            Place::Ledger { .. } => {
                let ledger = ledgers.iter().find(|(place, _)| *place == index).map(|(_, ledger)| ledger);
                Box::new(move |order: &Order| ledger.map_or(0, |ledger| ledger.times(&order.order_no)))
            }
        }
    }

    fn lanes_of(&self, downstream: usize) -> Vec<String> {
        let lanes = LANES.iter().zip(&self.options.lanes).filter(|(_, lane)| lane.downstream == downstream);
        lanes.map(|(name, _)| (*name).to_owned()).collect()
    }

    /// Every accepted order has ended (I11).
    fn ends(&self, partition: u16, journal: &Journal, report: &mut Report, counts: &mut Counts) {
        for order in journal.orders() {
            match order.ended {
                Some(CreditStage::Credited) => counts.credited += 1,
                Some(CreditStage::Refused) => counts.refused += 1,
                Some(_) => counts.reported += 1,
                None => {}
            }
            if !order.is_ended() && !(self.is_given_up)(partition) {
                let (order_no, state) = (&order.order_no, order.state().as_str());
                report.find(
                    hongbao_audit::Invariant::I11,
                    format_args!("order {order_no} is {state} at the end"),
                );
            }
        }
    }

    /// What was acknowledged is known in the end (I25); where a fold's store is ruined and its log is
    /// whole, it is in the log at least.
    fn forgotten(&self, partition: u16, journal: &Journal) -> Result<Option<String>, AuditError> {
        if !self.is_final {
            return Ok(None);
        }
        let awards = match self.doomed.get(&partition) {
            _ if !(self.is_ruined)(partition) => None,
            Some(Doom::Store { .. }) => Some(self.awards(partition)?),
            _ => return Ok(None),
        };
        let is_known = |order_no: &str, record: &[u8]| match &awards {
            None => journal.state(order_no).is_some(),
            Some(awards) => awards.contains(record),
        };
        let own = self.acknowledged.iter().filter(|delivery| delivery.partition == partition);
        let numbers = own.filter_map(|delivery| Some((delivery.order_no.as_deref()?, &*delivery.record)));
        let mut numbers = numbers.filter(|(order_no, _)| !self.lost_orders.contains(*order_no));
        let forgotten = numbers.find(|(order_no, record)| !is_known(order_no, record));
        let told = |(order_no, _)| format!("order {order_no} was acknowledged, and nothing is known of it");
        Ok(forgotten.map(told))
    }

    /// All awards of a partition, as they were delivered.
    fn awards(&self, partition: u16) -> Result<BTreeSet<Vec<u8>>, AuditError> {
        let log = self.estate.log.undisturbed();
        let (mut at, end) = log.range(Partition(partition), AWARDS)?;
        let (mut batch, mut awards) = (ReadBatch::new(), BTreeSet::new());
        while at < end {
            log.read(Partition(partition), AWARDS, at, READ_BYTES, &mut batch)?;
            let before = at;
            for frame in batch.frames() {
                for (offset, record) in frame.records() {
                    awards.insert(record.to_vec());
                    at = at.max(offset + 1);
                }
            }
            if at == before {
                break;
            }
        }
        Ok(awards)
    }
}
