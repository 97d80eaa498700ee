//! The ledger behind the downstream port without a thread: the caller's polls step its worker. For
//! simulation, where one thread does everything.

use std::sync::Arc;

use hongbao_engine::commit::Committer;
use hongbao_engine::partition::Partition;

use crate::batch::Batch;
use crate::downstream::{Capabilities, Completion, Downstream, Ticket};
use crate::ledger::desk::Round;
use crate::ledger::port::Port;
use crate::ledger::worker::Worker;
use crate::ledger::{LedgerError, LedgerSpec};

/// The embedded ledger, driven by [`Downstream::poll`]: each poll is one step of the worker that
/// [`LedgerDownstream`](crate::ledger::LedgerDownstream) runs on its thread. Dropping it gives up
/// what is not done yet.
pub struct SteppedLedger {
    worker: Worker,
    port: Port,
}

impl SteppedLedger {
    /// Opens all shards, folding what the book has beyond the stores. A partition that cannot be
    /// opened is halted from the start, alone (I26). Commits go to `committer`, whose log must be the
    /// book.
    ///
    /// # Errors
    /// [`LedgerError::Stores`].
    pub fn open(spec: LedgerSpec, committer: Arc<Committer>) -> Result<Self, LedgerError> {
        let (worker, port) = Worker::open(spec, committer)?;
        Ok(Self { worker, port })
    }

    /// Which partitions have stopped for good and why, if any has (I26).
    #[must_use]
    pub fn halted(&self) -> Option<String> {
        self.port.status().halted()
    }
}

impl Downstream for SteppedLedger {
    fn capabilities(&self) -> Capabilities {
        self.port.capabilities()
    }

    fn submit(&mut self, ticket: Ticket, batch: Batch) {
        self.port.submit(ticket, batch);
    }

    fn ask(&mut self, ticket: Ticket, record: Arc<[u8]>) {
        self.port.ask(ticket, record);
    }

    fn poll(&mut self, done: &mut Vec<Completion>) {
        self.worker.step(Round::default());
        self.port.poll(done);
    }

    fn halted(&self, partition: Partition) -> Option<String> {
        self.port.halted(partition)
    }
}
