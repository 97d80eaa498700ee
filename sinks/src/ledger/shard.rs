//! One partition of the ledger: decides, appends to the book, commits. No threads, no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use hongbao_engine::commit::{CommitHandle, CommitJob, Committer};
use hongbao_engine::crash::squeezed;
use hongbao_engine::log::{Log, LogError, Position};
use hongbao_engine::mutant;
use hongbao_engine::partition::Partition;
use hongbao_engine::processor::FrozenRows;
use hongbao_engine::records::{Envelope, Frame, Offset, ReadBatch, RecordBuf};
use hongbao_engine::seen::{SeenIndex, SeenLimits};
use hongbao_engine::store::{Applied, Rows, Store, StoreError};
use hongbao_schemas::order::Order;

use crate::batch::Batch;
use crate::downstream::{Outcome, Outcomes, Told};
use crate::ledger::LedgerError;
use crate::ledger::accounts::Accounts;

/// Topic of the book: credited orders, byte for byte.
pub const BOOK_TOPIC: &str = "book";
/// Kind of order rows: `od` + order number → [`order_value`].
pub const ORDER_KIND: [u8; 2] = *b"od";

const REPLAY_BYTES: usize = 1 << 20;
/// Postings are appended in groups of about this size, so that a batch of large orders fits the
/// smallest segment that a topology allows. They need not become durable together.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// When a shard commits and how much it keeps.
#[derive(Clone, Copy, Debug)]
pub struct LedgerLimits {
    /// Postings after which a commit begins. A ledger that has four times as many waiting decides
    /// nothing until a commit ends, which bounds memory and what a restart reads again (I29).
    pub commit_postings: u64,
    /// Order numbers kept in memory.
    pub window_keys_max: usize,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self { commit_postings: squeezed("ledger_commit_postings", 200_000), window_keys_max: 500_000 }
    }
}

/// What an order number maps to: the first half of a BLAKE3 hash over the whole order record.
#[must_use]
pub fn order_value(record: &[u8]) -> [u8; 16] {
    let mut value = [0; 16];
    value.copy_from_slice(&blake3::hash(record).as_bytes()[..16]);
    value
}

/// The ledger of one partition.
pub struct Shard {
    partition: Partition,
    log: Arc<dyn Log>,
    store: Arc<dyn Store>,
    limits: LedgerLimits,
    orders: SeenIndex,
    accounts: Accounts,
    /// Groups decided and not yet appended, in order.
    postings: VecDeque<RecordBuf>,
    spare: RecordBuf,
    /// End of the book, what was appended and may not be durable included.
    book_end: Offset,
    last_record_crc: u32,
    position: Position,
    committed_to: Offset,
    commit: Option<CommitHandle>,
    /// Rows of the book's beginning that found no room while it was folded, and how far they go.
    replayed: Option<(Vec<Rows>, Applied)>,
    /// Whether all is folded that was in the book when the shard was opened.
    is_replayed: bool,
}

impl Shard {
    /// Opens a shard and folds what the book has beyond the store.
    pub fn open(
        partition: Partition,
        log: Arc<dyn Log>,
        store: Arc<dyn Store>,
        limits: LedgerLimits,
    ) -> Result<Self, LedgerError> {
        let seen = SeenLimits { window_keys_max: limits.window_keys_max };
        let applied = store.applied()?;
        let mut shard = Self {
            partition,
            orders: SeenIndex::open(ORDER_KIND, seen, Arc::clone(&store))?,
            accounts: Accounts::default(),
            postings: VecDeque::new(),
            spare: RecordBuf::new(),
            book_end: if mutant!(M53) { 0 } else { applied.offset },
            last_record_crc: applied.last_record_crc,
            position: log.durable(partition)?,
            committed_to: applied.offset,
            commit: None,
            replayed: None,
            is_replayed: false,
            log,
            store,
            limits,
        };
        shard.verify_last(applied)?;
        shard.replay(true)?;
        hongbao_engine::kill_point!("ledger.replayed");
        Ok(shard)
    }

    fn book_error(&self, offset: Offset, what: impl Into<String>) -> LedgerError {
        LedgerError::Book { partition: self.partition.0, offset, what: what.into() }
    }

    /// The book must still hold what the store was folded from.
    fn verify_last(&self, applied: Applied) -> Result<(), LedgerError> {
        let Some(last) = applied.offset.checked_sub(1) else { return Ok(()) };
        let (_, end) = self.log.range(self.partition, BOOK_TOPIC)?;
        if end < applied.offset {
            return Err(
                self.book_error(end, format!("ends before {}, which the store has seen", applied.offset))
            );
        }
        let mut batch = ReadBatch::new();
        self.log.read(self.partition, BOOK_TOPIC, last, 1, &mut batch)?;
        let record = batch.frames().next().and_then(|frame| frame.get(0));
        if record.map(hongbao_engine::records::crc) != Some(applied.last_record_crc) {
            return Err(self.book_error(last, "is not the record that the store has seen"));
        }
        Ok(())
    }

    /// Folds the book to its end, or until so much waits for a commit that the rest has to (I29). Commits
    /// on the way while it opens; afterwards other partitions wait for this thread.
    fn replay(&mut self, is_opening: bool) -> Result<(), LedgerError> {
        let mut batch = ReadBatch::new();
        let (_, end) = self.log.range(self.partition, BOOK_TOPIC)?;
        while self.book_end < end {
            self.log.read(self.partition, BOOK_TOPIC, self.book_end, REPLAY_BYTES, &mut batch)?;
            if batch.is_empty() {
                return Err(self.book_error(self.book_end, "cannot be read"));
            }
            for (offset, record) in batch.frames().flat_map(|frame| frame.records()) {
                let order =
                    Order::decode(record).map_err(|error| self.book_error(offset, error.to_string()))?;
                if order.amount_minor <= 0 {
                    return Err(self.book_error(offset, "is a posting without an amount"));
                }
                self.orders.insert(order.order_no.as_bytes(), order_value(record));
                self.accounts.post(order.act_id, order.asset, order.amount_minor);
                self.book_end = offset + 1;
                self.last_record_crc = hongbao_engine::records::crc(record);
            }
            if is_opening && self.uncommitted() >= self.limits.commit_postings.max(1) {
                self.commit_replayed()?;
            }
            if self.book_end < end && self.holds_enough() {
                return Ok(());
            }
        }
        self.is_replayed = true;
        Ok(())
    }

    /// Commits on this thread, so that a long book can be folded in bounded memory (I29). What was
    /// read is durable (I25). Without room it is kept, and [`Self::commit`] goes on with it (F4).
    fn commit_replayed(&mut self) -> Result<(), LedgerError> {
        let (rows, applied) = match self.replayed.take() {
            Some(replayed) => replayed,
            None => {
                let [accounts, issued] = self.accounts.freeze().into_rows(&*self.store)?;
                (vec![accounts, issued, self.orders.freeze().into_rows()], self.applied())
            }
        };
        match self.store.commit(&rows, applied) {
            Err(StoreError::Full(_)) => self.replayed = Some((rows, applied)),
            committed => {
                committed?;
                self.orders.committed();
                self.committed_to = applied.offset;
            }
        }
        Ok(())
    }

    fn applied(&self) -> Applied {
        Applied { offset: self.book_end, last_record_crc: self.last_record_crc }
    }

    /// Decides about a batch. What is new waits for [`Self::append`], which must succeed before the
    /// next batch; the outcomes hold once the book is durable up to [`Self::position`] after it.
    pub fn credit(&mut self, batch: &Batch) -> Result<Outcomes, LedgerError> {
        let mut outcomes: Vec<Outcome> = Vec::new();
        {
            let records = batch.records().filter_map(|record| Order::decode(record).ok());
            self.orders.prefetch(records.map(|order| order.order_no.as_bytes()))?;
        }
        for (index, record) in batch.records().enumerate() {
            let outcome = self.decide(record)?;
            // Nearly all batches are credited throughout, which needs no list.
            if outcome != Outcome::Credited && outcomes.is_empty() {
                outcomes.resize(index, Outcome::Credited);
            }
            if outcome != Outcome::Credited || !outcomes.is_empty() {
                outcomes.push(outcome);
            }
        }
        Ok(if outcomes.is_empty() { Outcomes::All(Outcome::Credited) } else { Outcomes::Each(outcomes) })
    }

    fn decide(&mut self, record: &[u8]) -> Result<Outcome, LedgerError> {
        let order = match Order::decode(record) {
            Ok(order) if order.amount_minor > 0 => order,
            Ok(_) => return Ok(Outcome::Rejected("amount_not_positive".into())),
            Err(_) => return Ok(Outcome::Rejected("undecodable".into())),
        };
        let value = order_value(record);
        match self.orders.get(order.order_no.as_bytes())? {
            Some(seen) if seen == value => Ok(Outcome::AlreadyCredited),
            Some(_) => Ok(Outcome::Conflict("order_conflict".into())),
            None => {
                if !mutant!(M52) {
                    self.orders.insert(order.order_no.as_bytes(), value);
                }
                self.accounts.post(order.act_id, order.asset, order.amount_minor);
                self.post(record);
                Ok(Outcome::Credited)
            }
        }
    }

    fn post(&mut self, record: &[u8]) {
        let fits = |group: &&mut RecordBuf| group.byte_len() + record.len() <= GROUP_BYTES_MAX;
        if let Some(group) = self.postings.back_mut().filter(fits) {
            return group.push(record);
        }
        let mut group = std::mem::take(&mut self.spare);
        group.push(record);
        self.postings.push_back(group);
    }

    /// Appends the postings of the last batch to the book. On [`LogError::Full`] what was not
    /// appended is kept: call it again when there is space. After any other error the shard must
    /// not be used again: what it remembers as credited may not be in the book.
    pub fn append(&mut self) -> Result<(), LedgerError> {
        while let Some(group) = self.postings.front() {
            let Some(last) = group.len().checked_sub(1).and_then(|last| group.get(last)) else { break };
            let crc = hongbao_engine::records::crc(last);
            let frame = Frame { topic: BOOK_TOPIC, envelope: Envelope::PRODUCER, records: group };
            let appended = self.log.append(self.partition, &[frame])?;
            if appended.first_offsets.first() != Some(&self.book_end) {
                return Err(self.book_error(self.book_end, "somebody else writes to the book"));
            }
            hongbao_engine::kill_point!("ledger.book.appended");
            self.last_record_crc = crc;
            self.book_end += group.len() as u64;
            self.position = appended.position;
            self.spare = self.postings.pop_front().unwrap_or_default();
            self.spare.clear();
        }
        Ok(())
    }

    /// What became of an order, given its record. Holds once the book is durable up to
    /// [`Self::position`].
    pub fn ask(&self, record: &[u8]) -> Result<Told, LedgerError> {
        let Ok(order) = Order::decode(record) else { return Ok(Told::Absent) };
        Ok(match self.orders.get(order.order_no.as_bytes())? {
            Some(seen) if seen == order_value(record) => Told::Credited,
            Some(_) => Told::Conflict("order_conflict".into()),
            None => Told::Absent,
        })
    }

    /// Whether the book is durable up to a position.
    pub fn is_durable(&self, position: Position) -> Result<bool, LogError> {
        Ok(self.log.durable(self.partition)? >= position || mutant!(M51))
    }

    /// End of what was appended to the book.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Postings since the last commit.
    pub fn uncommitted(&self) -> u64 {
        self.book_end - self.committed_to
    }

    /// Begins a commit when one is due (or in any case when `now`) and none is under way; takes
    /// note of one that has ended, and then goes on folding a book that had to wait for room. Returns
    /// whether a commit is under way.
    pub fn commit(&mut self, committer: &Committer, now: bool) -> Result<bool, LedgerError> {
        if let Some(done) = self.commit.as_ref().and_then(CommitHandle::poll) {
            self.committed_to = done?.offset;
            hongbao_engine::kill_point!("ledger.commit.learned");
            self.orders.committed();
            self.commit = None;
            if !self.is_replayed {
                self.replay(false)?;
            }
        }
        let due = self.uncommitted() >= if now { 1 } else { self.limits.commit_postings.max(1) };
        // What is decided and not appended must not get into the store (I6).
        if self.commit.is_none()
            && due
            && self.postings.is_empty()
            && let Some(place) = committer.try_reserve()
        {
            let (fold_rows, applied) = self.rows_to_commit();
            self.commit = Some(place.submit(CommitJob {
                partition: self.partition,
                after: self.position,
                store: Arc::clone(&self.store),
                fold_rows,
                task_rows: Rows::new(),
                applied,
            }));
            hongbao_engine::kill_point!("ledger.commit.queued");
        }
        Ok(self.commit.is_some())
    }

    /// The next rows, and how far they go: first those that found no room before.
    fn rows_to_commit(&mut self) -> (FrozenRows, Applied) {
        if let Some((rows, applied)) = self.replayed.take() {
            return (Box::new(move || Ok(rows)), applied);
        }
        let (orders, accounts) = (self.orders.freeze(), self.accounts.freeze());
        let store = Arc::clone(&self.store);
        let rows = move || {
            let [accounts, issued] = accounts.into_rows(&*store)?;
            Ok(vec![accounts, issued, orders.into_rows()])
        };
        (Box::new(rows), self.applied())
    }

    /// Whether the commit under way found no room when it was tried last.
    pub fn waits_for_space(&self) -> bool {
        self.commit.as_ref().is_some_and(CommitHandle::waits_for_space)
    }

    /// Whether orders and questions must wait: for a commit, since so much waits for one (I29), or
    /// because the book is not folded to its end, so that nobody knows what else is in it.
    pub fn is_full(&self) -> bool {
        !self.is_replayed || self.holds_enough()
    }

    fn holds_enough(&self) -> bool {
        self.uncommitted() >= self.limits.commit_postings.max(1).saturating_mul(4)
    }

    /// Memory held by what is not committed.
    pub fn staged_bytes(&self) -> usize {
        self.orders.staged_bytes() + self.accounts.staged_bytes()
    }
}
