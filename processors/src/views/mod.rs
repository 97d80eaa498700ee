//! The views of a partition: wallets, orders, totals and reconciliation, folded from its journal in
//! one pass (W7, W10, W12, W16).
//!
//! ```text
//! journal ──> Views ──┬─ people   sums by asset, newest entry          one row each
//!                     ├─ entries  one row per accepted order, written once, in order of acceptance
//!                     ├─ lanes    where all orders of a lane stand     one row each
//!                     └─ groups   totals, open orders by minute        one row each
//! ```
//! Where an order stands is a property of its lane: everything below a mark has ended, above it
//! there are ranges, and orders that were not credited have a row of their own. So a credit changes
//! the person's sums and a range, never the order's row, and rows of orders are only ever appended.
//!
//! Every row is a function of the journal up to the offset it was committed with, whatever the
//! commits and batches on the way: views that are thrown away and folded again are equal byte for
//! byte (I19).
//!
//! [`Views`] folds; [`ViewsReader`] answers for all partitions, from memory and the stores, while
//! folds and commits go on.

mod changes;
mod commit;
mod entry;
mod fold;
mod groups;
mod history;
mod index;
mod known;
mod lanes;
mod listing;
mod open;
mod orders;
mod outcome;
mod pages;
mod pieces;
mod plan;
mod reader;
mod resume;
mod rows;
mod state;
mod sums;
mod user;
mod users;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use hongbao_engine::processor::{FrozenRows, Outputs, Processor, ProcessorError};
use hongbao_engine::records::{FrameRef, Offset};
use hongbao_engine::store::{Store, StoreError};
use hongbao_schemas::journal::Fact;
use parking_lot::{RwLock, RwLockWriteGuard};

use changes::LaneEntries;
use fold::{Fold, Scratch, broken};
use known::KnownUsers;
use plan::Plan;
use state::State;

pub use listing::{AssetBalance, ENTRIES_MAX, Item, Statement, StatementEntry, WALLET_ITEMS_MAX, Wallet};
pub use orders::{Order, TimelineStep};
pub use reader::{ReadError, ViewsReader};
pub use resume::{LaneState, SentRange};
pub use sums::{GroupBy, LaneSummary, ReconcileRow, Reconciliation, Totals, TotalsRow};

/// Most facts that are decoded, prepared and applied at once. The lock is held for about this many.
const CHUNK_FACTS_MAX: usize = 1024;

/// A chunk is closed before its credits name more orders than this; a single fact may.
const CHUNK_ORDERS_MAX: u64 = 1 << 16;

/// Slots that the search for rows to give up looks at after each chunk.
const SHRINK_STEPS: usize = 2 * CHUNK_FACTS_MAX;

/// How much memory one partition's views may keep (I29), beside changes not yet committed and room
/// for as many entries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewsLimits {
    /// Rows of people kept in memory; 150 to 200 bytes each.
    pub users_max: usize,
    /// Latest orders of each lane kept in memory, so that their credit needs no look-up; 24 bytes
    /// each.
    pub recent_orders_max: usize,
    /// Size of the filter that saves looking up people without a row; 2 bytes for each person who
    /// ever got an award are ample.
    pub known_users_bytes: usize,
}

impl Default for ViewsLimits {
    fn default() -> Self {
        Self { users_max: 500_000, recent_orders_max: 1 << 16, known_users_bytes: 8 << 20 }
    }
}

/// What the fold and readers share of a partition.
#[derive(Debug)]
struct Shared {
    partition: u16,
    store: StoreHandle,
    state: RwLock<State>,
}

/// A store, without anything to show of it.
struct StoreHandle(Arc<dyn Store>);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Shared {
    fn store(&self) -> &dyn Store {
        &*self.store.0
    }
}

/// The fold of one partition's journal. See the [module](self).
#[derive(Debug)]
pub struct Views {
    shared: Arc<Shared>,
    limits: ViewsLimits,
    known: KnownUsers,
    plan: Plan,
    scratch: Scratch,
    /// Memory of entries that were committed: fresh memory is slow.
    spare: Vec<LaneEntries>,
}

impl Views {
    /// The views that `store` holds, folded up to what it applied, and shows them to `reader`.
    /// Takes a moment, not a scan: of what grows with people and orders nothing is read.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when rows are not what the views wrote (I26).
    pub fn open(
        partition: u16,
        store: Arc<dyn Store>,
        limits: ViewsLimits,
        reader: &ViewsReader,
    ) -> Result<Self, StoreError> {
        let state = State::load(&*store)?;
        let known = KnownUsers::new(limits.known_users_bytes, state.folded == 0);
        let shared = Arc::new(Shared { partition, store: StoreHandle(store), state: RwLock::new(state) });
        reader.attach(Arc::clone(&shared))?;
        let (plan, scratch) = (Plan::default(), Scratch::default());
        Ok(Self { shared, limits, known, plan, scratch, spare: Vec::new() })
    }

    fn fill_known(&mut self) -> Result<(), StoreError> {
        if self.known.is_filling() {
            let hasher = self.shared.state.read().users.hasher();
            self.known.fill_step(self.shared.store(), |act_id| users::hash_of(&hasher, act_id))?;
        }
        Ok(())
    }

    fn apply_chunk(&mut self, facts: &[(Offset, Fact<'_>)]) -> Result<(), ProcessorError> {
        let shared = Arc::clone(&self.shared);
        let mut state = self.prepare(&shared, facts)?;
        for ((offset, fact), slot) in facts.iter().zip(&self.plan.slots) {
            let mut fold =
                Fold { state: &mut state, plan: &self.plan, scratch: &mut self.scratch, offset: *offset };
            fold.apply(fact, *slot)?;
            // What the engine held aside for missing records comes late, with lower offsets.
            state.folded = state.folded.max(offset + 1);
        }
        state.lanes.trim(self.limits.recent_orders_max);
        state.users.shrink(self.limits.users_max, SHRINK_STEPS);
        Ok(())
    }

    /// Brings everything that the facts need into memory. The lock is not held while the store is
    /// read; nothing changes meanwhile, since only this fold makes changes.
    fn prepare<'a>(
        &mut self,
        shared: &'a Shared,
        facts: &[(Offset, Fact<'_>)],
    ) -> Result<RwLockWriteGuard<'a, State>, ProcessorError> {
        let mut state = shared.state.write();
        self.plan.prepare(&mut state, &mut self.known, facts)?;
        if self.plan.needs_entries() {
            drop(state);
            self.plan.read_entries(shared.store())?;
            state = shared.state.write();
            self.plan.take_entries(&mut state, &mut self.known)?;
        }
        if state.users.awaits_any() || self.plan.has_conflicts() {
            let keys = self.plan.keys(&state);
            drop(state);
            let borrowed: Vec<&[u8]> = keys.iter().map(|(key, _)| key.as_slice()).collect();
            let rows = shared.store().multi_get(&borrowed)?;
            state = shared.state.write();
            self.plan.take_rows(&mut state, &keys, rows)?;
        }
        Ok(state)
    }
}

impl Processor for Views {
    fn apply(&mut self, frames: &[FrameRef<'_>], _outputs: &mut Outputs) -> Result<(), ProcessorError> {
        self.fill_known()?;
        let records = frames.iter().map(FrameRef::len).sum::<usize>();
        let mut facts = Vec::with_capacity(records.min(CHUNK_FACTS_MAX));
        let mut orders = 0_u64;
        for (offset, record) in frames.iter().flat_map(|frame| frame.records()) {
            let fact = Fact::decode(record)
                .map_err(|error| broken("I26", offset, format!("not a fact: {error}")))?;
            let named = match &fact {
                Fact::Credit(credit) => credit.ranges.total().cast_unsigned(),
                _ => 0,
            };
            let full = facts.len() == CHUNK_FACTS_MAX || orders.saturating_add(named) > CHUNK_ORDERS_MAX;
            if full && !facts.is_empty() {
                self.apply_chunk(&facts)?;
                facts.clear();
                orders = 0;
            }
            orders = orders.saturating_add(named);
            facts.push((offset, fact));
        }
        self.apply_chunk(&facts)
    }

    fn freeze(&mut self) -> Result<FrozenRows, ProcessorError> {
        // The long part reads only, so readers go on; nobody but this thread makes changes.
        let users = self.shared.state.read().users.copy_changed(&rows::USER);
        let spare = std::mem::take(&mut self.spare);
        let commit = self.shared.state.write().freeze(users, spare);
        Ok(Box::new(move || commit.build()))
    }

    fn committed(&mut self) {
        let frozen = self.shared.state.write().committed();
        // Unless a reader still copies from it.
        if let Some(changes) = frozen.and_then(Arc::into_inner) {
            self.spare = changes.into_spare();
        }
    }

    fn staged_bytes(&self) -> usize {
        self.shared.state.read().staged_bytes()
    }
}
