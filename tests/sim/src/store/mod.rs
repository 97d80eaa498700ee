//! A store of a world: commits are atomic, and the end of the process leaves a whole one or none.
//! Faults: no room, an old or a foreign folder at the next start, damaged bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::records::crc;
use hongbao_engine::store::{Applied, Rows, Store, StoreError, Visit};
use parking_lot::Mutex;

use crate::clock::SimClock;
use crate::fuse::Fuse;
use crate::trace::{Trace, mix};

/// All rows are between these keys.
const KEYS: (&[u8], &[u8]) = (&[], &[0xff]);

/// A store whose faults are decided by the world.
pub struct SimStore {
    name: String,
    clock: Arc<SimClock>,
    fuse: Arc<Fuse>,
    trace: Arc<Trace>,
    state: Mutex<State>,
}

struct State {
    rows: Arc<MemoryStore>,
    /// What the next start finds instead.
    replaced_by: Option<(Arc<MemoryStore>, Other)>,
    full_until_ms: i64,
    /// The next commit fails for good.
    fails: bool,
    is_damaged: bool,
    met: BTreeMap<&'static str, u64>,
}

/// What the next start finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// The rows of an earlier time.
    Old,
    /// Another partition's rows.
    Foreign,
}

impl SimStore {
    /// An empty store.
    #[must_use]
    pub fn new(name: String, clock: Arc<SimClock>, fuse: Arc<Fuse>, trace: Arc<Trace>) -> Self {
        let rows = Arc::new(MemoryStore::new());
        let state = State {
            rows,
            replaced_by: None,
            full_until_ms: 0,
            fails: false,
            is_damaged: false,
            met: BTreeMap::new(),
        };
        Self { name, clock, fuse, trace, state: Mutex::new(state) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rows as they are, without faults: for oracles.
    #[must_use]
    pub fn rows(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.state.lock().rows)
    }

    /// No commit finds room until then.
    pub fn fill(&self, until_ms: i64) {
        self.state.lock().full_until_ms = until_ms;
    }

    /// The next commit fails, whatever the reason.
    pub fn fail_commit(&self) {
        self.state.lock().fails = true;
    }

    /// Every read finds damaged bytes.
    pub fn damage(&self) {
        self.state.lock().is_damaged = true;
    }

    /// The next start finds the rows as they are now, whatever is committed until then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_back_at_restart(&self) -> Result<(), StoreError> {
        let copy = copy_of(&self.rows())?;
        self.state.lock().replaced_by.get_or_insert_with(|| (Arc::new(copy), Other::Old));
        Ok(())
    }

    /// The next start finds the rows of another store, whatever else was to be found.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn exchange_at_restart(&self, other: &Self) -> Result<(), StoreError> {
        let copy = copy_of(&other.rows())?;
        self.state.lock().replaced_by = Some((Arc::new(copy), Other::Foreign));
        Ok(())
    }

    /// A copy on another machine, or an empty store there. What the next start was to find instead is
    /// found there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn on_another_machine(&self, is_empty: bool) -> Result<Self, StoreError> {
        let rows = if is_empty { MemoryStore::new() } else { copy_of(&self.rows())? };
        let copy = Self::new(self.name.clone(), self.clock.clone(), self.fuse.clone(), self.trace.clone());
        {
            let mut state = copy.state.lock();
            state.rows = Arc::new(rows);
            state.replaced_by = self.state.lock().replaced_by.take();
        }
        Ok(copy)
    }

    /// A process starts; by what the rows were exchanged.
    pub fn restart(&self) -> Option<Other> {
        let mut state = self.state.lock();
        let (rows, other) = state.replaced_by.take()?;
        state.rows = rows;
        Some(other)
    }

    /// What its processes have met, by name.
    #[must_use]
    pub fn met(&self) -> BTreeMap<&'static str, u64> {
        self.state.lock().met.clone()
    }

    /// Faults that can be repaired are.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        (state.full_until_ms, state.fails) = (0, false);
    }

    fn open(&self) -> Result<Arc<MemoryStore>, StoreError> {
        self.fuse.check();
        let mut state = self.state.lock();
        if state.is_damaged {
            *state.met.entry("store_damaged").or_default() += 1;
            return Err(StoreError::Corrupt(format!("{}: a block is not what was written", self.name)));
        }
        Ok(Arc::clone(&state.rows))
    }
}

fn copy_of(rows: &MemoryStore) -> Result<MemoryStore, StoreError> {
    let copy = MemoryStore::new();
    let mut all = Rows::new();
    rows.scan(KEYS.0, KEYS.1, &mut |key, value| {
        all.put(key, value);
        std::ops::ControlFlow::Continue(())
    })?;
    copy.commit(&[all], rows.applied()?)?;
    Ok(copy)
}

impl Store for SimStore {
    fn applied(&self) -> Result<Applied, StoreError> {
        self.open()?.applied()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.open()?.get(key)
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.open()?.multi_get(keys)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.open()?.scan(from, to, visit)
    }

    fn commit(&self, runs: &[Rows], applied: Applied) -> Result<(), StoreError> {
        self.fuse.point();
        let rows = self.open()?;
        let now_ms = self.clock.now_ms();
        {
            let mut state = self.state.lock();
            if std::mem::take(&mut state.fails) {
                *state.met.entry("store_fails").or_default() += 1;
                return Err(StoreError::Failed(format!("{}: input/output error", self.name)));
            }
            if now_ms < state.full_until_ms {
                *state.met.entry("store_full").or_default() += 1;
                return Err(StoreError::Full(self.name.clone()));
            }
        }
        rows.commit(runs, applied)?;
        let count: usize = runs.iter().map(Rows::len).sum();
        let digest = runs.iter().flat_map(Rows::iter).fold(u64::from(applied.last_record_crc), |sum, row| {
            mix(mix(sum, u64::from(crc(row.0))), row.1.map_or(0, |value| u64::from(crc(value))))
        });
        self.trace.note(now_ms, "commit", [applied.offset, digest], || {
            format!("{}: {count} rows, applied {}", self.name, applied.offset)
        });
        self.fuse.point();
        Ok(())
    }
}
