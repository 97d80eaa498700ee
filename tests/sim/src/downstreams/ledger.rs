//! The real embedded ledger, driven by polls, over a log and stores of the world.

use std::sync::Arc;

use hongbao_engine::partition::Partition;
use hongbao_sinks::batch::Batch;
use hongbao_sinks::downstream::{Capabilities, Completion, Downstream, Ticket};
use hongbao_sinks::ledger::SteppedLedger;
use parking_lot::Mutex;

/// Why a ledger has stopped, for the operator.
pub type Halted = Arc<Mutex<Option<String>>>;

/// A ledger that tells when it stops.
pub struct LedgerPort {
    ledger: SteppedLedger,
    halted: Halted,
}

impl LedgerPort {
    /// Over an open ledger.
    #[must_use]
    pub fn new(ledger: SteppedLedger, halted: Halted) -> Self {
        Self { ledger, halted }
    }
}

impl Downstream for LedgerPort {
    fn capabilities(&self) -> Capabilities {
        self.ledger.capabilities()
    }

    fn submit(&mut self, ticket: Ticket, batch: Batch) {
        self.ledger.submit(ticket, batch);
    }

    fn ask(&mut self, ticket: Ticket, record: Arc<[u8]>) {
        self.ledger.ask(ticket, record);
    }

    fn poll(&mut self, done: &mut Vec<Completion>) {
        self.ledger.poll(done);
        if let Some(reason) = self.ledger.halted() {
            self.halted.lock().get_or_insert_with(|| reason.to_owned());
        }
    }

    fn halted(&self, partition: Partition) -> Option<String> {
        Downstream::halted(&self.ledger, partition)
    }
}
