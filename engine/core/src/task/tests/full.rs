//! A store without room for a commit: the fold waits, keeps everything, and goes on by itself.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::memory::store::MemoryStore;
use crate::store::{StoreError, Visit};

use super::*;

/// Has no room for so many commits; the one after them fails for another reason if it is to.
#[derive(Debug, Default)]
struct FullStore {
    inner: Arc<MemoryStore>,
    full: AtomicUsize,
    tries: AtomicUsize,
    then_fails: bool,
}

impl Store for FullStore {
    fn applied(&self) -> Result<Applied, StoreError> {
        self.inner.applied()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key)
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.inner.multi_get(keys)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.inner.scan(from, to, visit)
    }

    fn commit(&self, runs: &[Rows], applied: Applied) -> Result<(), StoreError> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        let left = self.full.load(Ordering::SeqCst);
        if left > 0 {
            self.full.store(left - 1, Ordering::SeqCst);
            return Err(StoreError::Full("the device is full".to_owned()));
        }
        if self.then_fails {
            return Err(StoreError::Failed("the device is gone".to_owned()));
        }
        self.inner.commit(runs, applied)
    }
}

fn open(world: &mut World, full: usize, then_fails: bool) -> Arc<FullStore> {
    let inner = Arc::clone(&world.store);
    let store = FullStore { inner, full: full.into(), then_fails, ..FullStore::default() };
    let store = Arc::new(store);
    world.open_with(world.log.clone(), store.clone()).unwrap();
    store
}

#[test]
fn a_full_store_is_tried_again_and_nothing_is_lost() {
    let mut world = World::new();
    (world.policy.commit_records, world.policy.staged_bytes_max) = (1, 30);
    world.policy.read_bytes_max = 1;
    let store = open(&mut world, 3, false);
    let status = world.status();
    world.produce(&[1, 2]);
    world.task().step().unwrap();
    for tries in 1..=2 {
        assert_eq!(world.commit(), 0, "it is not over");
        assert_eq!(store.tries.load(Ordering::SeqCst), tries, "one try each time");
        // Meanwhile the fold goes on, and says what its commit waits for.
        world.produce(&[3]);
        assert_eq!(world.task().step().unwrap(), Step::Worked(1));
        assert_eq!((status.waits_for(), status.halted()), (WaitsFor::StoreSpace, None));
    }
    world.produce(&[5]);
    // Until too much is staged.
    for _ in 0..3 {
        assert_eq!(world.task().step().unwrap(), Step::Idle);
        assert_eq!((status.applied(), status.committed()), (4, 0));
        assert_eq!((status.waits_for(), status.staged_bytes()), (WaitsFor::StoreSpace, 40));
    }
    assert_eq!(world.commit(), 0);
    assert_eq!(world.commit(), 1, "there is room");
    assert_eq!(world.task().step().unwrap(), Step::Worked(1));
    assert_eq!((status.committed(), status.waits_for()), (2, WaitsFor::Nothing));
    world.check_store();
    world.finish();
    assert_eq!(world.store.applied().unwrap().offset, 5);
    world.check_store();
    world.check_outputs();
}

#[test]
fn any_other_failure_of_a_commit_halts_the_task() {
    let mut world = World::new();
    world.policy.commit_records = 1;
    open(&mut world, 1, true);
    world.produce(&[1]);
    world.task().step().unwrap();
    assert_eq!((world.commit(), world.commit()), (0, 1));
    let error = world.task().step().unwrap_err().to_string();
    assert_eq!(error, "commit: the store failed: the device is gone");
    assert_eq!(world.store.applied().unwrap(), Applied::default());
}

#[test]
fn a_stop_with_a_full_store_does_not_wait_and_leaves_the_work_to_the_next_start() {
    let mut world = World::new();
    world.policy.stop_timeout = Duration::MAX;
    open(&mut world, usize::MAX, false);
    world.produce(&[1, 2, 3]);
    world.task().step().unwrap();
    let error = world.task().stop().unwrap_err();
    assert!(matches!(error, TaskError::StoreFull), "{error}");
    world.crash();
    world.finish();
    world.check_store();
    world.check_outputs();
}

#[test]
fn a_gap_that_could_not_be_read_on_for_want_of_space_is_not_held_against_its_writer() {
    let mut world = World::new();
    (world.policy.commit_records, world.policy.staged_bytes_max) = (1, 30);
    world.policy.read_bytes_max = 1;
    let store = open(&mut world, usize::MAX, false);
    world.produce(&[1]);
    world.task().step().unwrap();
    assert_eq!(world.commit(), 0);
    world.send(writer(1, 2), &[9]);
    for value in [2, 3, 4] {
        world.produce(&[value]);
    }
    for _ in 0..4 {
        assert_eq!(world.task().step().unwrap(), Step::Worked(1));
    }
    // Too much is staged to read it.
    world.send(writer(1, 1), &[8]);
    assert_eq!(world.task().step().unwrap(), Step::Idle);
    world.clock.advance(world.policy.gap_timeout * 2);
    for _ in 0..3 {
        assert_eq!(world.task().step().unwrap(), Step::Idle);
        assert_eq!(world.status().waits_for(), WaitsFor::StoreSpace);
    }
    store.full.store(0, Ordering::SeqCst);
    assert_eq!(world.commit(), 1);
    assert_eq!(world.task().step().unwrap(), Step::Worked(1));
    world.finish();
    world.check_store();
    world.check_outputs();
}
