//! Keys seen for ever, exactly, at the speed of memory (R3, W1, I2).
//!
//! Three places answer, and the answer never depends on which of them does:
//! - a **window** of the keys inserted last, exact, in memory. It also holds whatever is not yet
//!   committed, so that the store is written in the background;
//! - a **filter** over all keys, which only skips look-ups: "certainly not in the store";
//! - the **store**, asked for what the window lacks and the filter cannot rule out: duplicates of
//!   old keys, and about one new key in a thousand. One sorted multi-get per batch.
//!
//! After a restart a background thread rebuilds the filter from the store; until it is ready every
//! key that the window lacks is looked up, which is slow and just as exact. A small store is read
//! at once instead: that takes less time than a thread.
//!
//! Hashes only find candidates; equality is decided on whole keys. They are seeded at random per
//! process, since order numbers come from outside, and no result depends on the seed (I4).
//!
//! Memory (I29): 35 bytes beside the key for each key of the window, of which `window_keys_max` are
//! kept at most once they are committed. What is not committed comes on top, so the owner commits by
//! [`SeenIndex::staged_bytes`]. The filter takes 2 to 6 bytes for each key ever inserted, and at least
//! 8 for each of `window_keys_max`. A batch takes about 150 bytes a key, and a freeze 32 bytes for each
//! of its keys, and the rows, while they are sorted and committed.

mod arena;
mod batch;
mod filter;
mod frozen;
mod lines;
mod rebuild;
mod table;
#[cfg(test)]
mod tests;
mod window;

use std::hash::{BuildHasher, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;

use crate::mutant;
use crate::store::{Store, StoreError};

pub use frozen::FrozenSeen;

use arena::RECORD_OVERHEAD_BYTES;
use batch::{Answer, Batch};
use filter::Filter;
use rebuild::Rebuild;
use window::Window;

/// What a key maps to.
pub type Value = [u8; 16];

/// The filter's first layer takes so many times the keys of the window: few layers then, which are
/// what a look-up costs, for an eighth of the window's memory.
const FILTER_KEYS_PER_WINDOW_KEY: usize = 4;

/// Inserts after which a batch ends although no other begins.
const BATCH_INSERTS_MAX: usize = 1 << 16;

/// Keys of a store that are read while the index is opened; beyond them a thread goes on.
#[cfg(not(test))]
const INLINE_KEYS_MAX: usize = 4096;
/// Tests are about the thread.
#[cfg(test)]
const INLINE_KEYS_MAX: usize = 0;

/// How much a [`SeenIndex`] keeps in memory.
#[derive(Clone, Copy, Debug)]
pub struct SeenLimits {
    /// Keys kept in the window at most once committed; at least half of them are kept.
    pub window_keys_max: usize,
}

/// How look-ups were answered since the index was opened. Counted per [`SeenIndex::prefetch`].
#[derive(Debug, Default)]
pub struct SeenCounters {
    window_hits: AtomicU64,
    filter_skips: AtomicU64,
    store_lookups: AtomicU64,
    store_hits: AtomicU64,
}

impl SeenCounters {
    /// Keys that the window held.
    #[must_use]
    pub fn window_hits(&self) -> u64 {
        self.window_hits.load(Ordering::Relaxed)
    }

    /// Keys that the filter ruled out.
    #[must_use]
    pub fn filter_skips(&self) -> u64 {
        self.filter_skips.load(Ordering::Relaxed)
    }

    /// Keys looked up in the store.
    #[must_use]
    pub fn store_lookups(&self) -> u64 {
        self.store_lookups.load(Ordering::Relaxed)
    }

    /// Keys found in the store; the difference to the look-ups is the filter's false positives.
    #[must_use]
    pub fn store_hits(&self) -> u64 {
        self.store_hits.load(Ordering::Relaxed)
    }
}

/// An exact map from byte keys to 16-byte values over a window, a filter and a store. Owned by one
/// fold; rows are kept in the store under a kind of their own.
pub struct SeenIndex {
    store: Arc<dyn Store>,
    kind: [u8; 2],
    hashing: RandomState,
    window: Window,
    /// Keys committed before this process only if there is no `rebuild`; later keys always.
    filter: Filter,
    rebuild: Option<Rebuild>,
    /// Answers of the batch begun last, and what was inserted since: neither is in the window.
    batch: Batch,
    /// Rows of the batch that the filter did not rule out; kept for its memory.
    maybe_held: Vec<usize>,
    counters: Arc<SeenCounters>,
    /// Treats every key as one that the store may hold.
    #[cfg(test)]
    filter_is_blind: bool,
}

impl SeenIndex {
    /// The index over the rows of `kind` in `store`, which nobody else writes. Over many rows of an
    /// earlier process it starts a background thread that scans them, one index at a time; few it
    /// reads at once.
    ///
    /// # Errors
    /// [`StoreError`] of the store.
    pub fn open(kind: [u8; 2], limits: SeenLimits, store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let hashing = RandomState::default();
        let first_layer_keys = limits.window_keys_max.saturating_mul(FILTER_KEYS_PER_WINDOW_KEY);
        let mut filter = Filter::new(first_layer_keys);
        let is_whole = read_some(&*store, kind, &hashing, &mut filter)?;
        let rebuild = match is_whole {
            true => None,
            false => Some(Rebuild::start(Arc::clone(&store), kind, hashing.clone(), first_layer_keys)?),
        };
        Ok(Self {
            store,
            kind,
            hashing,
            window: Window::new(limits.window_keys_max),
            filter,
            rebuild,
            batch: Batch::new(kind),
            maybe_held: Vec::new(),
            counters: Arc::default(),
            #[cfg(test)]
            filter_is_blind: false,
        })
    }

    /// Begins a batch: looks its `keys` up together, in the store those that only the store can
    /// answer, so that [`Self::get`] need not. Keys may repeat.
    ///
    /// # Errors
    /// [`StoreError`] of the store or of its background scan.
    pub fn prefetch<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) -> Result<(), StoreError> {
        self.adopt_rebuilt(false)?;
        self.pass_on();
        for key in keys {
            self.batch.seat(hash_of(&self.hashing, key), key);
        }
        let filter_skips = self.skip_by_filter();
        let window_hits = self.ask_window();
        let (lookups, hits) = self.batch.fetch(&*self.store)?;
        self.counters.window_hits.fetch_add(window_hits, Ordering::Relaxed);
        self.counters.filter_skips.fetch_add(filter_skips, Ordering::Relaxed);
        self.counters.store_lookups.fetch_add(lookups, Ordering::Relaxed);
        self.counters.store_hits.fetch_add(hits, Ordering::Relaxed);
        Ok(())
    }

    /// Answers for the keys that the filter rules out, and lists in `maybe_held` those that the
    /// window may hold. The window's keys are all in the filter, so it need not be asked for the
    /// others. Returns the number of answers.
    fn skip_by_filter(&mut self) -> u64 {
        // Loads what is read next, since loads overlap.
        let sum = self.batch.rows().iter().fold(0, |sum, row| sum ^ self.filter.touch(row.hash));
        std::hint::black_box(sum);
        self.maybe_held.clear();
        let mut skips = 0;
        for index in 0..self.batch.len() {
            let hash = self.batch.rows()[index].hash;
            if self.filter_may_hold(hash) {
                self.maybe_held.push(index);
            } else if self.rebuild.is_none() {
                skips += 1;
                self.batch.answer(index, Answer::Absent);
            }
        }
        skips
    }

    /// Answers for the keys that the window holds, and returns their number.
    fn ask_window(&mut self) -> u64 {
        let mut sum = 0;
        for index in &self.maybe_held {
            sum ^= self.window.touch(self.batch.rows()[*index].hash);
        }
        for index in &self.maybe_held {
            sum ^= self.window.touch_record(self.batch.rows()[*index].hash);
        }
        std::hint::black_box(sum);
        let mut hits = 0;
        for index in &self.maybe_held {
            let row = &self.batch.rows()[*index];
            if let Some(value) = self.window.find(row.hash, self.batch.key(row)) {
                hits += 1;
                self.batch.answer(*index, Answer::Held(value));
            }
        }
        hits
    }

    /// The value of `key`. Exact whether or not it was prefetched, but a key that was not may cost
    /// a look-up of its own.
    ///
    /// # Errors
    /// [`StoreError`] of the store.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        let hash = hash_of(&self.hashing, key);
        match self.batch.find(hash, key) {
            Answer::Held(value) => Ok(Some(value)),
            Answer::Absent => Ok(None),
            Answer::Unknown => self.look_up(hash, key),
        }
    }

    /// The value of the key that was the `seat`-th, from 0, of the last [`Self::prefetch`]: as
    /// [`Self::get`], without searching for the key again.
    ///
    /// # Errors
    /// [`StoreError`] of the store.
    ///
    /// # Panics
    /// If that batch had fewer keys, or has ended since with a freeze or by inserts of other keys.
    #[inline]
    pub fn get_seated(&self, seat: usize) -> Result<Option<Value>, StoreError> {
        let row = self.batch.seated(seat);
        match row.answer {
            Answer::Held(value) => Ok(Some(value)),
            Answer::Absent => Ok(None),
            Answer::Unknown => self.look_up(row.hash, self.batch.key(row)),
        }
    }

    #[cold]
    fn look_up(&self, hash: u64, key: &[u8]) -> Result<Option<Value>, StoreError> {
        if let Some(value) = self.window.find(hash, key) {
            return Ok(Some(value));
        }
        if !self.store_may_hold(hash) {
            return Ok(None);
        }
        let row_key = [&self.kind[..], key].concat();
        self.store.get(&row_key)?.map(|bytes| value_of(&bytes)).transpose()
    }

    /// Sets `key` to `value`, to be committed with the next freeze.
    #[inline]
    pub fn insert(&mut self, key: &[u8], value: Value) {
        self.batch.insert(hash_of(&self.hashing, key), key, value);
        if self.batch.inserted_count() >= BATCH_INSERTS_MAX {
            self.pass_on();
        }
    }

    /// Sets the key that was the `seat`-th, from 0, of the last [`Self::prefetch`]: as
    /// [`Self::insert`].
    ///
    /// # Panics
    /// As [`Self::get_seated`].
    #[inline]
    pub fn insert_seated(&mut self, seat: usize, value: Value) {
        self.batch.insert_seated(seat, value);
    }

    /// Ends the batch: passes what was inserted on to the window and the filter.
    fn pass_on(&mut self) {
        let mut sum = 0;
        for (row, _) in self.batch.inserted() {
            sum ^= self.window.touch_newest(row.hash) ^ self.filter.touch_newest(row.hash);
        }
        std::hint::black_box(sum);
        for (row, value) in self.batch.inserted() {
            self.window.insert(row.hash, self.batch.key(row), value);
            self.filter.insert(row.hash);
        }
        self.batch.clear();
    }

    /// Sets aside what was inserted and not yet committed. It keeps answering from the window. A
    /// freeze before [`Self::committed`] repeats the earlier one's keys.
    #[must_use]
    pub fn freeze(&mut self) -> FrozenSeen {
        self.pass_on();
        FrozenSeen::new(self.kind, self.window.freeze())
    }

    /// The rows of the last freeze are in the store.
    pub fn committed(&mut self) {
        self.window.committed();
    }

    /// Memory held by keys not yet committed, frozen ones included, in bytes.
    #[must_use]
    pub fn staged_bytes(&self) -> usize {
        let record_bytes = self.batch.inserted_count() * RECORD_OVERHEAD_BYTES;
        self.window.uncommitted_bytes() + self.batch.inserted_bytes() + record_bytes
    }

    /// Number of keys in the window, those of the batch not included.
    #[must_use]
    pub fn window_len(&self) -> usize {
        self.window.len()
    }

    /// Memory held by the filter, in bytes.
    #[must_use]
    pub fn filter_bytes(&self) -> usize {
        self.filter.bytes()
    }

    /// Counters for metrics, which go on counting while the index lives.
    #[must_use]
    pub fn counters(&self) -> Arc<SeenCounters> {
        Arc::clone(&self.counters)
    }

    /// Whether the filter covers all keys, as it does except for a while after a restart.
    #[must_use]
    pub fn is_filter_ready(&self) -> bool {
        self.rebuild.is_none()
    }

    /// Waits until the filter covers all keys. For benchmarks and tests; folds need not.
    ///
    /// # Errors
    /// [`StoreError`] of the background scan.
    pub fn wait_for_filter(&mut self) -> Result<(), StoreError> {
        self.adopt_rebuilt(true)
    }

    fn adopt_rebuilt(&mut self, wait: bool) -> Result<(), StoreError> {
        let Some(rebuild) = self.rebuild.take_if(|rebuild| wait || rebuild.is_finished()) else {
            return Ok(());
        };
        // Keys inserted since the scan began are in the filter that the scan's is added to.
        self.filter.absorb(rebuild.finish()?);
        Ok(())
    }

    #[inline]
    fn store_may_hold(&self, hash: u64) -> bool {
        self.rebuild.is_some() || self.filter_may_hold(hash)
    }

    #[inline]
    fn filter_may_hold(&self, hash: u64) -> bool {
        #[cfg(test)]
        if self.filter_is_blind {
            return true;
        }
        self.filter.may_hold(hash) && !mutant!(M13)
    }
}

/// Adds the first keys of `kind` to a filter; whether these are all.
fn read_some(
    store: &dyn Store,
    kind: [u8; 2],
    hashing: &RandomState,
    filter: &mut Filter,
) -> Result<bool, StoreError> {
    let (from, to) = kind_range(kind);
    let (mut keys, mut is_whole) = (0, true);
    store.scan(&from, &to, &mut |row_key, _| {
        if keys == INLINE_KEYS_MAX {
            is_whole = false;
            return ControlFlow::Break(());
        }
        keys += 1;
        filter.insert(hash_of(hashing, row_key.get(kind.len()..).unwrap_or(&[])));
        ControlFlow::Continue(())
    })?;
    Ok(is_whole)
}

fn value_of(bytes: &[u8]) -> Result<Value, StoreError> {
    bytes.try_into().map_err(|_| {
        StoreError::Corrupt(format!("a key that was seen has a value of {} bytes, not 16", bytes.len()))
    })
}

#[inline]
fn hash_of(hashing: &RandomState, key: &[u8]) -> u64 {
    let mut hasher = hashing.build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// The range of row keys that begin with `kind`, two letters.
fn kind_range(kind: [u8; 2]) -> ([u8; 2], [u8; 2]) {
    (kind, u16::from_be_bytes(kind).saturating_add(1).to_be_bytes())
}
