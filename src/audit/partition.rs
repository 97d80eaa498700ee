//! The audit of one partition: intake, journal and views, then what downstreams did.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hongbao_audit::journal::Order;
use hongbao_audit::views::{self, rebuild};
use hongbao_audit::{
    AuditError, Evidence, IntakeAudit, Invariant, Journal, JournalAudit, LedgerAudit, Report, applied_offset,
    check_decided, check_effects, check_intake_store,
};
use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::Offset;
use hongbao_engine::store::Store;
use hongbao_processors::intake::{AWARDS, JOURNAL};
use hongbao_processors::views::{TotalsRow, ViewsLimits};
use hongbao_rocks::{RocksEnv, RocksStore};
use hongbao_segments::SegmentLog;
use hongbao_sinks::ledger::{BOOK_TOPIC, order_value};
use hongbao_sinks::simulated::decide::key_digest;

use crate::assemble::{DataDir, LEDGER_DIR, STATE_DIR, store_identity};

use super::downstreams::{Downstreams, Ledger};

/// Orders whose whole history is compared.
const HISTORIES_MAX: usize = 500;
/// Records folded between two looks at the progress.
const STEP_RECORDS: u64 = 20_000;

/// What is audited.
pub struct Audit<'a> {
    pub data: &'a DataDir,
    pub log: &'a SegmentLog,
    pub rocks: &'a RocksEnv,
    pub downstreams: &'a Downstreams,
    /// Records folded so far.
    pub done: &'a AtomicU64,
}

/// One partition, audited.
pub struct Audited {
    pub partition: u16,
    pub report: Report,
    /// Orders that took effect in each simulated downstream.
    pub effects: Vec<u64>,
    /// Everything could be read.
    pub is_whole: bool,
}

impl Audit<'_> {
    /// Audits a partition. What cannot be read is a finding (I26), and the rest goes on.
    pub fn partition(&self, partition: Partition) -> Audited {
        let mut report = Report::new();
        report.checked(Invariant::I26, "partitions", 1);
        if let Err(error) = self.log.range(partition, AWARDS) {
            report.find(Invariant::I26, format_args!("{error}"));
            return Audited { partition: partition.0, report, effects: Vec::new(), is_whole: false };
        }
        let intake = self.intake(partition, &mut report);
        let mut is_whole = self.is_read(partition, intake, &mut report).is_some();
        let mut effects = Vec::new();
        let journal = self.journal(partition, &mut report);
        match self.is_read(partition, journal, &mut report) {
            Some(journal) => {
                let found = self.downstreams(partition, &journal, &mut report);
                match self.is_read(partition, found, &mut report) {
                    Some(found) => effects = found,
                    None => is_whole = false,
                }
            }
            None => is_whole = false,
        }
        Audited { partition: partition.0, report, effects, is_whole }
    }

    fn is_read<T>(
        &self,
        partition: Partition,
        result: Result<T, AuditError>,
        report: &mut Report,
    ) -> Option<T> {
        result
            .inspect_err(|error| report.find(Invariant::I26, format_args!("partition {partition}: {error}")))
            .ok()
    }

    /// A store as it was left; none if it was never made.
    fn store(&self, path: PathBuf, identity: &str) -> Result<Option<Arc<dyn Store>>, AuditError> {
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Arc::new(RocksStore::open_read_only(&path, self.rocks, identity)?)))
    }

    fn state(&self, name: &str) -> Result<Option<Arc<dyn Store>>, AuditError> {
        self.store(self.data.path(STATE_DIR).join(name), &store_identity(name, self.log.id()))
    }

    /// Lets `fold` go on from `from` to `to` in steps, and counts them.
    fn steps(
        &self,
        from: Offset,
        to: Offset,
        mut fold: impl FnMut(Offset) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let mut at = from;
        while at < to {
            let next = (at + STEP_RECORDS).min(to);
            fold(next)?;
            self.done.fetch_add(next - at, Ordering::Relaxed);
            at = next;
        }
        Ok(())
    }

    fn intake(&self, partition: Partition, report: &mut Report) -> Result<(), AuditError> {
        let name = format!("intake-{partition}");
        let mut intake = IntakeAudit::open(self.log, partition, self.data.control_key())?;
        let mut stands_at = 0;
        // A damaged store is a finding like others: the log is audited all the same.
        let opened = self.state(&name);
        if let Some(Some(store)) = self.is_read(partition, opened, report) {
            stands_at = applied_offset(&*store, &name, (self.log, partition, AWARDS), report)?;
            self.steps(0, stands_at, |to| intake.advance(to, report))?;
            let checked = check_intake_store(&*store, &name, &intake.verdicts, report);
            self.is_read(partition, checked.map_err(AuditError::from), report);
        }
        self.steps(stands_at, intake.end()?, |to| intake.advance(to, report))?;
        let (_, undecided) = intake.finish(report)?;
        check_decided(&name, stands_at, undecided, report);
        Ok(())
    }

    fn journal(&self, partition: Partition, report: &mut Report) -> Result<Journal, AuditError> {
        let name = format!("views-{partition}");
        let mut journal = JournalAudit::open(self.log, partition)?;
        let mut stands_at = 0;
        let mut totals = Vec::new();
        let opened = self.state(&name);
        if let Some(Some(store)) = self.is_read(partition, opened, report) {
            stands_at = applied_offset(&*store, &name, (self.log, partition, JOURNAL), report)?;
            self.steps(0, stands_at, |to| journal.advance(to, report))?;
            let checked = self.views(partition, store, &journal, report);
            totals = self.is_read(partition, checked, report).unwrap_or_default();
        }
        self.steps(stands_at, journal.end()?, |to| journal.advance(to, report))?;
        let journal = journal.finish(report);
        views::check_totals_grow(&totals, &journal, report);
        Ok(journal)
    }

    /// Rebuilds the views, compares every row with the store's (I19), then every answer with the
    /// model (I6). Where all rows are equal, the rebuilt ones are asked, which are in memory.
    fn views(
        &self,
        partition: Partition,
        store: Arc<dyn Store>,
        journal: &JournalAudit<'_>,
        report: &mut Report,
    ) -> Result<Vec<TotalsRow>, AuditError> {
        let name = format!("views-{partition}");
        let mut asked = Arc::clone(&store);
        match rebuild::rebuild(self.log, partition, journal.folded(), ViewsLimits::default(), self.done) {
            Ok(rebuilt) if rebuild::compare(&*store, &*rebuilt, &name, report)? => asked = rebuilt,
            Ok(_) => {}
            Err(error) => {
                report.find(Invariant::I19, format_args!("{name}: the journal cannot be folded: {error}"));
            }
        }
        views::check(asked, self.log.partitions(), partition, journal, HISTORIES_MAX, report)
    }

    /// Returns how many orders took effect in each simulated downstream.
    fn downstreams(
        &self,
        partition: Partition,
        journal: &Journal,
        report: &mut Report,
    ) -> Result<Vec<u64>, AuditError> {
        let mut ledgers = Vec::new();
        for ledger in self.downstreams.ledgers() {
            let audit =
                ledger.book.as_ref().map(|book| self.ledger(ledger, book, partition, journal, report));
            ledgers.push((ledger, audit.transpose()?));
        }
        let times_posted: Vec<_> = ledgers
            .iter()
            .map(|(_, audit)| {
                move |order: &Order| {
                    audit.as_ref().map_or(0, |audit: &LedgerAudit<'_>| audit.times(&order.order_no))
                }
            })
            .collect();
        let namespace = &self.data.identity().namespace;
        let times_simulated: Vec<_> = self
            .downstreams
            .simulated()
            .iter()
            .map(|book| {
                move |order: &Order| {
                    book.effects.times(key_digest(&format!("{namespace}/{}", order.order_no)))
                }
            })
            .collect();
        let mut evidence: Vec<Evidence<'_>> = Vec::new();
        for ((ledger, _), times) in ledgers.iter().zip(&times_posted) {
            evidence.push(Evidence { name: &ledger.name, lanes: ledger.lanes(), times });
        }
        for (book, times) in self.downstreams.simulated().iter().zip(&times_simulated) {
            evidence.push(Evidence { name: &book.name, lanes: book.lanes(), times });
        }
        let mut effects = check_effects(journal, &evidence, report);
        Ok(effects.split_off(ledgers.len()))
    }

    fn ledger<'b>(
        &self,
        ledger: &Ledger,
        book: &'b SegmentLog,
        partition: Partition,
        journal: &Journal,
        report: &mut Report,
    ) -> Result<LedgerAudit<'b>, AuditError> {
        let name = &ledger.name;
        let path = self.data.path(LEDGER_DIR).join(name).join(format!("accounts-{partition}"));
        let mut audit = LedgerAudit::open(name, book, partition, order_value)?;
        let mut stands_at = 0;
        let identity = store_identity(&format!("ledger-{name}-{partition}"), book.id());
        let opened = self.store(path, &identity);
        if let Some(Some(store)) = self.is_read(partition, opened, report) {
            let store_name = format!("ledger {name} of partition {partition}");
            stands_at = applied_offset(&*store, &store_name, (book, partition, BOOK_TOPIC), report)?;
            self.steps(0, stands_at, |to| audit.advance(to, journal, report))?;
            let checked = audit.check_store(&*store, report);
            self.is_read(partition, checked.map_err(AuditError::from), report);
        }
        self.steps(stands_at, audit.end()?, |to| audit.advance(to, journal, report))?;
        audit.finish(journal, report);
        Ok(audit)
    }
}
