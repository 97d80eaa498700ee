//! The embedded double-entry ledger: the default downstream, for one machine.
//!
//! Its truth is a book of its own: a log whose records are the credited orders, byte for byte. A
//! posting moves an amount from the issuance account of its asset to the account of the person, so
//! that all accounts of an asset always sum to zero. Balances and the index of order numbers are
//! a fold of the book, committed in bulk, and re-derived from it after a crash (I6).
//!
//! An order number is credited once, for ever (I10), whatever the sinks in front believe: a repeat
//! with the same bytes is [`Outcome::AlreadyCredited`](crate::downstream::Outcome), one with other
//! bytes is a conflict, which a person has to look at (I13). An answer is given when the posting is durable (I25), not before.

mod accounts;
mod desk;
mod driver;
mod port;
mod shard;
mod stepped;
#[cfg(test)]
mod tests;
mod worker;

use hongbao_engine::commit::CommitError;
use hongbao_engine::log::LogError;
use hongbao_engine::store::StoreError;

pub use accounts::{ACCOUNT_KIND, ISSUED_KIND, account_key, balance_of, issued_key};
pub use driver::{LedgerDownstream, LedgerSpec, LedgerStatus};
pub use shard::{BOOK_TOPIC, LedgerLimits, ORDER_KIND, order_value};
pub use stepped::SteppedLedger;

/// Why a partition of a ledger stops. Nothing of it is credited until it is opened again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// The book failed.
    #[error("the ledger's book: {0}")]
    Log(#[from] LogError),
    /// The index or the accounts failed.
    #[error("the ledger's store: {0}")]
    Store(#[from] StoreError),
    /// A commit failed.
    #[error("the ledger's commit: {0}")]
    Commit(#[from] CommitError),
    /// The book holds what the ledger never wrote (I26).
    #[error("the ledger's book, partition {partition}, offset {offset}: {what}")]
    Book {
        /// Partition.
        partition: u16,
        /// Offset.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// Each partition of the book needs a store of its own.
    #[error("the ledger's book has {partitions} partitions, and there are stores for {stores}")]
    Stores {
        /// Stores given.
        stores: usize,
        /// Partitions of the book.
        partitions: u16,
    },
    /// Answers or commits did not come to an end in the time of a stop.
    #[error("the ledger did not come to an end at the stop; what it has not answered is open")]
    StopTimeout,
    /// Deciding panicked.
    #[error("the ledger: {0}")]
    Panicked(String),
    /// The system refused a thread.
    #[error("cannot start the ledger: {0}")]
    Thread(String),
}
