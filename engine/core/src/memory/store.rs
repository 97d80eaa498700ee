//! A store in memory, for tests and for state that need not outlive the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::store::{Applied, Rows, Store, StoreError, Visit, check_runs};

/// A [`Store`] over a sorted map. "Durable" means as long as the value lives. A scan reads a state
/// of its own and neither waits for commits nor holds them up; a commit during a scan copies the
/// map once.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<Arc<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    applied: Applied,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.lock())
    }
}

impl Store for MemoryStore {
    fn applied(&self) -> Result<Applied, StoreError> {
        Ok(self.state.lock().applied)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state.lock().rows.get(key).cloned())
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let state = self.state();
        Ok(keys.iter().map(|key| state.rows.get(*key).cloned()).collect())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        let state = self.state();
        let range = (Bound::Included(from), Bound::Excluded(to));
        for (key, value) in state.rows.range::<[u8], _>(range) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, runs: &[Rows], applied: Applied) -> Result<(), StoreError> {
        check_runs(runs)?;
        let mut held = self.state.lock();
        let state = Arc::make_mut(&mut held);
        for (key, value) in runs.iter().flat_map(Rows::iter) {
            match value {
                Some(value) => state.rows.insert(key.to_vec(), value.to_vec()),
                None => state.rows.remove(key),
            };
        }
        state.applied = applied;
        Ok(())
    }
}
