//! The routes over logs and reads that a test has in hand.

mod publishing;
mod reading;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::Sample;
use crate::model::{Counts, EntryView, LaneView, OrderView, Page, ReconcileRow, TotalsView, WalletView};
use crate::reads::{Answer, Barrier, ReadError, Readiness, Reads, Verdict, Watch};

/// Reads that say what a test wants. Every award is accepted at once; wallets, statements and totals
/// cannot be had, each for a reason of its own. Partition 0 has passed everything; partition 1 has
/// when it was asked `passes_at` times, and then shows the order, which was refused there.
#[derive(Default)]
struct Script {
    asked: AtomicUsize,
    passes_at: usize,
    order: Option<OrderView>,
    /// No verdict is ever told.
    is_silent: AtomicBool,
}

impl Script {
    fn has_passed(&self) -> bool {
        self.asked.load(Ordering::SeqCst) >= self.passes_at
    }
}

impl Reads for Script {
    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    fn intake_halted(&self, _: u16) -> Option<String> {
        None
    }

    fn counts(&self) -> Counts {
        Counts::default()
    }

    fn watch(&self, _: u16, _: u64, count: usize, answer: Answer) -> Watch {
        if self.is_silent.load(Ordering::SeqCst) {
            return Box::new(answer);
        }
        answer(vec![Some(Verdict::Accepted); count]);
        Box::new(())
    }

    fn barrier(&self, partition: u16) -> Result<Barrier, ReadError> {
        Ok(Barrier { partition, ..Barrier::default() })
    }

    fn passed(&self, barrier: &mut Barrier) -> Result<bool, ReadError> {
        if barrier.partition == 1 {
            self.asked.fetch_add(1, Ordering::SeqCst);
        }
        Ok(barrier.partition == 0 || self.has_passed())
    }

    fn order(&self, _: &str) -> Result<Option<OrderView>, ReadError> {
        Ok(self.order.clone().filter(|_| self.has_passed()))
    }

    fn wallet(&self, _: &str, _: Option<&str>) -> Result<WalletView, ReadError> {
        Err(ReadError::Halted("views/1: damaged".to_owned()))
    }

    fn entries(&self, _: &str, _: usize, _: Option<&str>) -> Result<Page<EntryView>, ReadError> {
        Err(ReadError::Failed("the device".to_owned()))
    }

    fn totals(&self, _: &[String]) -> Result<TotalsView, ReadError> {
        Err(ReadError::BadGroup("colour".to_owned()))
    }

    fn lanes(&self) -> Vec<LaneView> {
        Vec::new()
    }

    fn reconcile(&self) -> Vec<ReconcileRow> {
        Vec::new()
    }

    fn samples(&self) -> Vec<Sample> {
        Vec::new()
    }
}
