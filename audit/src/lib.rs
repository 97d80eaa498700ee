//! The plain reference model of the system, and what it finds: the audit behind `hongbao check`.
//!
//! ```text
//! awards ──> Verdicts ──┬─ what intake must have written ── journal, orders.*, dlq.intake
//!                       └─ what its store must hold
//! journal ──> Journal ──── orders, wallets, totals, lanes ── views, ledgers, simulated books
//! ```
//! It is written from the rules (`schemas/avsc`, the header of intake, the invariants) and shares no
//! code with the folds it audits but the records' codecs; [`views`] asks the real views and
//! compares. It knows nothing of speed: everything is a map of owned values in memory, which grows
//! with the data. What it reads, it reads through the ports; what it finds goes into a [`Report`] by
//! invariant, and the models can be asked.

pub mod intake;
pub mod intake_store;
pub mod journal;
pub mod ledger;
mod outputs;
pub mod report;
pub mod stores;
pub mod stream;
pub mod verdicts;
pub mod views;

pub use intake::IntakeAudit;
pub use intake_store::{check_decided, check_intake_store};
pub use journal::{Journal, JournalAudit};
pub use ledger::{Evidence, Lanes, LedgerAudit, check_effects};
pub use report::{At, DETAILS_MAX, Invariant, Line, Report};
pub use stores::applied_offset;
pub use verdicts::Verdicts;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_engine::store::StoreError;
use hongbao_schemas::control::ControlKey;

/// Why a partition cannot be audited to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// A topic cannot be read, or not from its beginning.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Audits what the log alone tells of a partition, and returns both models.
///
/// # Errors
/// [`AuditError::Log`].
pub fn audit_log(
    log: &dyn Log,
    partition: Partition,
    control_key: ControlKey,
    report: &mut Report,
) -> Result<(Verdicts, Journal), AuditError> {
    let mut intake = IntakeAudit::open(log, partition, control_key)?;
    intake.advance(intake.end()?, report)?;
    let (verdicts, _) = intake.finish(report)?;
    let mut journal = JournalAudit::open(log, partition)?;
    journal.advance(journal.end()?, report)?;
    Ok((verdicts, journal.finish(report)))
}
