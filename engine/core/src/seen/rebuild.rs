//! The filter of a store that was filled by an earlier process, rebuilt in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use foldhash::quality::RandomState;
use parking_lot::Mutex;

use crate::store::{Store, StoreError};

use super::filter::Filter;
use super::{hash_of, kind_range};

/// One rebuild at a time in a process: while it recovers, scans must leave processors to its folds.
static TURN: Mutex<()> = Mutex::new(());

/// How long a rebuild waits for its turn before it looks whether it is still wanted.
const TURN_WAIT: Duration = Duration::from_millis(20);

/// A background scan of the store; stops and is waited for when dropped.
#[derive(Debug)]
pub(super) struct Rebuild {
    worker: Option<JoinHandle<Result<Filter, StoreError>>>,
    stop: Arc<AtomicBool>,
}

impl Rebuild {
    /// Starts to scan the keys of `kind` on a thread of its own.
    pub(super) fn start(
        store: Arc<dyn Store>,
        kind: [u8; 2],
        hashing: RandomState,
        first_layer_keys: usize,
    ) -> Result<Self, StoreError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let scan = move || {
            let filter = Filter::new(first_layer_keys);
            rebuild(&*store, kind, &hashing, filter, &stopped)
        };
        let worker = std::thread::Builder::new()
            .name("seen-filter".into())
            .spawn(scan)
            .map_err(|error| StoreError::Failed(format!("no thread for a filter: {error}")))?;
        Ok(Self { worker: Some(worker), stop })
    }

    /// Whether [`Self::finish`] would return at once.
    pub(super) fn is_finished(&self) -> bool {
        self.worker.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The filter over every key that the store held when the scan began; waits for it.
    pub(super) fn finish(mut self) -> Result<Filter, StoreError> {
        let lost = || StoreError::Failed("a filter was lost".into());
        let worker = self.worker.take().ok_or_else(lost)?;
        worker.join().unwrap_or_else(|_| Err(lost()))
    }
}

impl Drop for Rebuild {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            // The scan's result is not wanted any more, but the store must be free afterwards.
            drop(worker.join());
        }
    }
}

fn rebuild(
    store: &dyn Store,
    kind: [u8; 2],
    hashing: &RandomState,
    mut filter: Filter,
    stopped: &AtomicBool,
) -> Result<Filter, StoreError> {
    let mut turn = None;
    while turn.is_none() && !stopped.load(Ordering::Relaxed) {
        turn = TURN.try_lock_for(TURN_WAIT);
    }
    let (from, to) = kind_range(kind);
    store.scan(&from, &to, &mut |row_key, _| {
        if stopped.load(Ordering::Relaxed) {
            return std::ops::ControlFlow::Break(());
        }
        filter.insert(hash_of(hashing, row_key.get(kind.len()..).unwrap_or(&[])));
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(filter)
}
