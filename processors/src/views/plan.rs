//! What a chunk of facts needs that is not in memory: rows of people, and entries of orders that end
//! long after they were accepted. Found for all facts at once, so that the store is asked in bulk
//! and outside of the lock.

use std::ops::{ControlFlow, Range};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hongbao_engine::mutant;
use hongbao_engine::processor::ProcessorError;
use hongbao_engine::records::Offset;
use hongbao_engine::store::{Store, StoreError};
use hongbao_schemas::journal::{CreditFact, CreditStage, Fact};

use super::entry::{Entry, Pointer};
use super::fold::broken;
use super::groups::{NOT_RECONCILED, minute_of};
use super::history::Conflicts;
use super::known::KnownUsers;
use super::lanes::Standing;
use super::open::OpenOrder;
use super::pieces::Piece;
use super::rows;
use super::state::State;
use super::user::UserRow;
use super::users::{Slot, Users};
use super::wire::damaged;

/// Most orders that the facts of one chunk may end: what they need is in memory at once (I29). One
/// fact alone must stay below; sinks write batches of thousands.
pub(super) const ENDED_ORDERS_MAX: u64 = 1 << 20;

/// Memory that is kept from chunk to chunk: orders, and bytes of their entries.
const KEPT_ORDERS_MAX: usize = 1 << 16;
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Orders whose entries are in the store.
#[derive(Clone, Copy, Debug)]
struct Missing {
    first: Pointer,
    last: Pointer,
    /// The person's row is needed as well.
    credited: bool,
}

/// See the [module](self). Used again from chunk to chunk.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// For each fact the person's slot, if it needs one.
    pub(super) slots: Vec<Slot>,
    /// Hashes of the accepted orders' people, in order.
    hashes: Vec<u64>,
    /// Keeps loads that have no other use.
    touched: u64,
    /// Ended orders that are not among the recent ones.
    orders: HashMap<Pointer, OpenOrder, RandomState>,
    missing: Vec<Missing>,
    entry_bytes: Vec<u8>,
    entries: Vec<(Pointer, Range<usize>, bool)>,
    conflicts: Vec<Box<str>>,
    conflict_counts: HashMap<Box<str>, u64, RandomState>,
    pieces: Vec<Piece<Standing>>,
    ended: u64,
}

/// Whether a fact of this stage ends orders.
pub(super) const fn ends_orders(stage: CreditStage) -> bool {
    matches!(stage, CreditStage::Credited | CreditStage::Refused | CreditStage::Reported)
}

impl Plan {
    /// Looks through the facts.
    pub(super) fn prepare(
        &mut self,
        state: &mut State,
        known: &mut KnownUsers,
        facts: &[(Offset, Fact<'_>)],
    ) -> Result<(), ProcessorError> {
        self.slots.clear();
        self.orders.clear();
        self.orders.shrink_to(KEPT_ORDERS_MAX);
        self.missing.clear();
        self.conflicts.clear();
        self.conflict_counts.clear();
        self.ended = 0;
        self.hashes.clear();
        self.hashes.extend(facts.iter().filter_map(|(_, fact)| match fact {
            Fact::Accepted(fact) => Some(state.users.hash(fact.award.act_id.as_bytes())),
            _ => None,
        }));
        self.touched = state.users.touch(&self.hashes);
        let mut accepted = 0;
        for (offset, fact) in facts {
            let slot = match fact {
                Fact::Accepted(fact) => {
                    accepted += 1;
                    state.users.resolve(self.hashes[accepted - 1], fact.award.act_id.as_bytes(), known)
                }
                Fact::Credit(fact) if ends_orders(fact.stage) => {
                    self.find_orders(state, known, *offset, fact)?;
                    0
                }
                Fact::Conflict(fact) => {
                    self.conflicts.push(fact.order_no.into());
                    0
                }
                _ => 0,
            };
            self.slots.push(slot);
        }
        Ok(())
    }

    fn find_orders(
        &mut self,
        state: &mut State,
        known: &mut KnownUsers,
        offset: Offset,
        fact: &CreditFact<'_>,
    ) -> Result<(), ProcessorError> {
        let Some(number) = state.lanes.find(fact.lane) else { return Ok(()) };
        let credited = fact.stage == CreditStage::Credited || mutant!(M83);
        let mut pieces = std::mem::take(&mut self.pieces);
        for range in fact.ranges {
            let Some(lane) = state.lanes.get(number) else { break };
            // Orders accepted by facts of this chunk will be among the recent ones.
            let last = (range.end().cast_unsigned() - 1).min(lane.next_seq - 1);
            lane.pieces(range.first().cast_unsigned(), last, &mut pieces);
            for piece in pieces.iter().filter(|piece| piece.value != Some(Standing::Ended)) {
                self.ended += piece.count();
                if self.ended > ENDED_ORDERS_MAX {
                    return Err(broken("I29", offset, "a fact ends too many orders"));
                }
                for seq in piece.first..=piece.last {
                    if let Some(at) = Pointer::new(number, seq) {
                        self.find_order(state, known, at, credited)?;
                    }
                }
            }
        }
        self.pieces = pieces;
        Ok(())
    }

    #[inline]
    fn find_order(
        &mut self,
        state: &mut State,
        known: &mut KnownUsers,
        at: Pointer,
        credited: bool,
    ) -> Result<(), StoreError> {
        let recent = state.lanes.of(at).and_then(|lane| lane.recent.get(at.seq()));
        match recent {
            Some(_) if !credited => Ok(()),
            Some(order) if state.users.is_current(order.slot, order.generation) => {
                self.touched ^= state.users.touch_row(order.slot);
                Ok(())
            }
            _ => self.find_old_order(state, known, at, credited),
        }
    }

    fn find_old_order(
        &mut self,
        state: &mut State,
        known: &mut KnownUsers,
        at: Pointer,
        credited: bool,
    ) -> Result<(), StoreError> {
        let frozen = || state.frozen.as_ref()?.entry(at);
        match state.staged.entry(at).or_else(frozen) {
            Some(row) => self.add_order(&mut state.users, known, at, row, credited),
            None => {
                self.add_missing(at, credited);
                Ok(())
            }
        }
    }

    fn add_missing(&mut self, at: Pointer, credited: bool) {
        if let Some(run) = self.missing.last_mut()
            && run.credited == credited
            && Pointer::new(run.last.lane(), run.last.seq() + 1) == Some(at)
        {
            run.last = at;
            return;
        }
        self.missing.push(Missing { first: at, last: at, credited });
    }

    fn add_order(
        &mut self,
        users: &mut Users,
        known: &mut KnownUsers,
        at: Pointer,
        row: &[u8],
        credited: bool,
    ) -> Result<(), StoreError> {
        let entry = Entry::decode(row).ok_or_else(|| damaged("an entry"))?;
        let (slot, generation) = if credited {
            let act_id = entry.act_id.as_bytes();
            let slot = users.resolve(users.hash(act_id), act_id, known);
            (slot, users.generation(slot))
        } else if self.orders.contains_key(&at) {
            return Ok(());
        } else {
            (0, 0)
        };
        let minute = if entry.reconciled { minute_of(entry.at_ms) } else { NOT_RECONCILED };
        let order =
            OpenOrder { amount_minor: entry.amount_minor, slot, generation, group: entry.group, minute };
        self.orders.insert(at, order);
        Ok(())
    }

    /// Whether entries have to be read from the store.
    pub(super) fn needs_entries(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Reads the missing entries.
    pub(super) fn read_entries(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.entry_bytes.clear();
        self.entry_bytes.shrink_to(KEPT_BYTES_MAX);
        self.entries.clear();
        self.entries.shrink_to(KEPT_ORDERS_MAX);
        for run in &self.missing {
            let before = self.entries.len() as u64;
            let from = rows::seq_key(rows::ENTRY, run.first);
            let mut to = rows::seq_key(rows::ENTRY, run.last).to_vec();
            to.push(0);
            store.scan(&from, &to, &mut |key, row| {
                let start = self.entry_bytes.len();
                self.entry_bytes.extend_from_slice(row);
                if let Some(at) = rows::tail_u64(key).and_then(|seq| Pointer::new(run.first.lane(), seq)) {
                    self.entries.push((at, start..self.entry_bytes.len(), run.credited));
                }
                ControlFlow::Continue(())
            })?;
            if self.entries.len() as u64 - before != run.last.seq() - run.first.seq() + 1 {
                return Err(damaged("an accepted order has no entry"));
            }
        }
        Ok(())
    }

    /// Takes what [`Self::read_entries`] read.
    pub(super) fn take_entries(
        &mut self,
        state: &mut State,
        known: &mut KnownUsers,
    ) -> Result<(), StoreError> {
        let (bytes, entries) = (std::mem::take(&mut self.entry_bytes), std::mem::take(&mut self.entries));
        for (at, range, credited) in &entries {
            let row = bytes.get(range.clone()).unwrap_or(&[]);
            self.add_order(&mut state.users, known, *at, row, *credited)?;
        }
        (self.entry_bytes, self.entries) = (bytes, entries);
        Ok(())
    }

    /// Keys of the rows to read: of awaited people with their slots, and of conflicts.
    pub(super) fn keys(&mut self, state: &State) -> Vec<(Vec<u8>, Option<Slot>)> {
        let frozen =
            |order_no: &str| state.frozen.as_ref().is_some_and(|f| f.conflicts.contains_key(order_no));
        self.conflicts.retain(|order_no| !state.staged.conflicts.contains_key(order_no) && !frozen(order_no));
        self.conflicts.sort_unstable();
        self.conflicts.dedup();
        let users =
            state.users.awaited().map(|(slot, act_id)| ([&rows::USER[..], act_id].concat(), Some(slot)));
        let conflicts =
            self.conflicts.iter().map(|order_no| (rows::named_key(rows::CONFLICT, order_no), None));
        let mut keys: Vec<_> = users.chain(conflicts).collect();
        keys.sort_unstable();
        keys
    }

    /// Takes the rows of [`Self::keys`].
    pub(super) fn take_rows(
        &mut self,
        state: &mut State,
        keys: &[(Vec<u8>, Option<Slot>)],
        rows: Vec<Option<Vec<u8>>>,
    ) -> Result<(), StoreError> {
        for ((key, slot), row) in keys.iter().zip(rows) {
            match (slot, row) {
                (Some(slot), None) => state.users.fill(*slot, None),
                (Some(slot), Some(row)) => {
                    let user = UserRow::decode(&row).ok_or_else(|| damaged("a person's"))?;
                    state.users.fill(*slot, Some(user));
                }
                (None, None) => {}
                (None, Some(row)) => {
                    let order_no = key.get(2..).and_then(|name| std::str::from_utf8(name).ok());
                    let count = Conflicts::count_of(&row).zip(order_no);
                    let (count, order_no) = count.ok_or_else(|| damaged("a conflict"))?;
                    self.conflict_counts.insert(order_no.into(), count);
                }
            }
        }
        state.users.all_filled();
        Ok(())
    }

    /// Whether a conflict's earlier row has to be read.
    pub(super) fn has_conflicts(&self) -> bool {
        !self.conflicts.is_empty()
    }

    /// Conflicts of an order number that the store has counted.
    pub(super) fn stored_conflicts(&self, order_no: &str) -> u64 {
        self.conflict_counts.get(order_no).copied().unwrap_or(0)
    }

    /// An ended order that is not among the recent ones.
    pub(super) fn order(&self, at: Pointer) -> Option<&OpenOrder> {
        self.orders.get(&at)
    }
}
