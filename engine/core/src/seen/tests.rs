//! The index against a plain map, under random inserts, freezes, commits and restarts.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use crate::memory::store::MemoryStore;
use crate::store::{Applied, Rows, Visit};

use super::*;

const KIND: [u8; 2] = *b"on";
const LIMITS: SeenLimits = SeenLimits { window_keys_max: 8 };

fn value(number: u8) -> Value {
    [number; 16]
}

fn open(store: &Arc<MemoryStore>) -> SeenIndex {
    SeenIndex::open(KIND, LIMITS, Arc::clone(store) as Arc<dyn Store>).unwrap()
}

fn commit(store: &MemoryStore, frozen: FrozenSeen) {
    store.commit(&[frozen.into_rows()], Applied::default()).unwrap();
}

/// A store over `keys`, each mapped to `value(0)`, beside rows of neighbouring kinds.
fn filled_store(keys: &[&[u8]]) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let mut rows = Rows::new();
    rows.put(b"om\xFF", b"another kind, another length");
    keys.iter().for_each(|key| rows.put(&[&KIND[..], key].concat(), &value(0)));
    rows.put(b"oo", b"");
    rows.sort();
    store.commit(&[rows], Applied::default()).unwrap();
    store
}

#[derive(Clone, Debug)]
enum Step {
    /// Batches are prefetched and then read and written, as by a fold.
    Batch(Vec<(u8, u8)>),
    Freeze,
    Commit,
    WaitForFilter,
    /// Loses what is not committed.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec((0..60_u8, any::<u8>()), 0..20).prop_map(Step::Batch),
        3 => Just(Step::Freeze),
        3 => Just(Step::Commit),
        1 => Just(Step::WaitForFilter),
        1 => Just(Step::Restart),
    ]
}

/// Keys of several lengths, the empty one included, some beginning with others.
fn key(number: u8) -> Vec<u8> {
    vec![number / 6; usize::from(number % 6) * 7]
}

/// The index under test and what it has to equal.
struct Pair {
    store: Arc<MemoryStore>,
    index: SeenIndex,
    blind: bool,
    frozen: Option<FrozenSeen>,
    live: BTreeMap<Vec<u8>, Value>,
    frozen_model: BTreeMap<Vec<u8>, Value>,
    committed_model: BTreeMap<Vec<u8>, Value>,
}

impl Pair {
    fn new(blind: bool) -> Self {
        let store = filled_store(&[]);
        let mut index = open(&store);
        index.filter_is_blind = blind;
        let [live, frozen_model, committed_model] = Default::default();
        Self { store, index, blind, frozen: None, live, frozen_model, committed_model }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Batch(batch) => self.batch(&batch),
            Step::Freeze => {
                self.frozen = Some(self.index.freeze());
                self.frozen_model = self.live.clone();
            }
            Step::Commit => {
                if let Some(frozen) = self.frozen.take() {
                    commit(&self.store, frozen);
                    self.committed_model = self.frozen_model.clone();
                    self.index.committed();
                }
            }
            Step::WaitForFilter => self.index.wait_for_filter().unwrap(),
            Step::Restart => {
                self.index = open(&self.store);
                self.index.filter_is_blind = self.blind;
                self.frozen = None;
                self.live = self.committed_model.clone();
            }
        }
    }

    fn batch(&mut self, batch: &[(u8, u8)]) {
        let keys: Vec<_> = batch.iter().map(|(number, _)| key(*number)).collect();
        self.index.prefetch(keys.iter().map(Vec::as_slice)).unwrap();
        for (seat, (key, (_, number))) in keys.into_iter().zip(batch).enumerate() {
            let expected = self.live.get(&key).copied();
            assert_eq!(self.index.get(&key).unwrap(), expected, "{key:?}");
            assert_eq!(self.index.get_seated(seat).unwrap(), expected, "{key:?} in seat {seat}");
            match number % 3 {
                0 => continue,
                1 => self.index.insert(&key, value(*number)),
                _ => self.index.insert_seated(seat, value(*number)),
            }
            self.live.insert(key, value(*number));
        }
    }

    fn check_all(&self) {
        for key in (0..60).map(key) {
            assert_eq!(self.index.get(&key).unwrap(), self.live.get(&key).copied(), "{key:?}");
        }
    }
}

proptest! {
    #[test]
    fn equals_a_map(steps in prop::collection::vec(step(), 1..60), blind in any::<bool>()) {
        let mut pair = Pair::new(blind);
        for step in steps {
            pair.run(step);
            pair.check_all();
        }
    }
}

/// A store that counts look-ups and keeps scans waiting until it is told.
#[derive(Default)]
struct WatchedStore {
    inner: MemoryStore,
    asked: AtomicU64,
    scans_may_run: AtomicBool,
    scan_fails: bool,
}

impl Store for WatchedStore {
    fn applied(&self) -> Result<Applied, StoreError> {
        self.inner.applied()
    }
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.inner.get(key)
    }
    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        assert!(keys.is_sorted(), "a sorted multi-get is what stores are good at");
        self.asked.fetch_add(keys.len() as u64, Ordering::SeqCst);
        self.inner.multi_get(keys)
    }
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut rows = 0;
        self.inner.scan(from, to, &mut |key, value| {
            rows += 1;
            let flow = visit(key, value);
            while flow.is_continue() && !self.scans_may_run.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            flow
        })?;
        // The first scan only asks whether there is a row.
        let failed = self.scan_fails && rows > 1;
        if failed { Err(StoreError::Corrupt("a block".into())) } else { Ok(()) }
    }
    fn commit(&self, runs: &[Rows], applied: Applied) -> Result<(), StoreError> {
        self.inner.commit(runs, applied)
    }
}

fn watched(scan_fails: bool) -> Arc<WatchedStore> {
    let store = WatchedStore { scan_fails, ..WatchedStore::default() };
    let mut rows = Rows::new();
    (0..100_u8).for_each(|number| rows.put(&[KIND[0], KIND[1], number], &value(number)));
    store.commit(&[rows], Applied::default()).unwrap();
    Arc::new(store)
}

fn prefetch(index: &mut SeenIndex, keys: impl IntoIterator<Item = u8>) -> Result<(), StoreError> {
    let keys: Vec<_> = keys.into_iter().map(|number| [number]).collect();
    index.prefetch(keys.iter().map(|key| &key[..]))
}

#[test]
fn is_exact_before_and_after_the_filter_is_rebuilt() {
    let store = watched(false);
    let mut index = SeenIndex::open(KIND, LIMITS, Arc::clone(&store) as Arc<dyn Store>).unwrap();
    prefetch(&mut index, 90..110).unwrap();
    assert!(!index.is_filter_ready());
    assert_eq!(store.asked.load(Ordering::SeqCst), 20, "no filter yet: all are looked up, in one go");
    let held: Vec<_> = (90..110).map(|number| index.get(&[number]).unwrap()).collect();
    let expected: Vec<_> = (90..110).map(|number| (number < 100).then_some(value(number))).collect();
    assert_eq!(held, expected);
    assert_eq!(store.asked.load(Ordering::SeqCst), 20, "what was prefetched is not asked for again");
    index.insert(&[200], value(200));
    commit(&store.inner, index.freeze());
    index.committed();
    store.scans_may_run.store(true, Ordering::SeqCst);
    index.wait_for_filter().unwrap();
    // Push the key that was committed during the rebuild out of the window.
    for number in 201..220 {
        index.insert(&[number], value(number));
        commit(&store.inner, index.freeze());
        index.committed();
    }
    assert!(index.window_len() <= LIMITS.window_keys_max);
    let asked = store.asked.load(Ordering::SeqCst);
    prefetch(&mut index, (0..100).chain([200, 201])).unwrap();
    assert_eq!(store.asked.load(Ordering::SeqCst), asked + 102);
    assert_eq!(index.get(&[200]).unwrap(), Some(value(200)));
    prefetch(&mut index, 100..200).unwrap();
    let counters = index.counters();
    assert_eq!((counters.store_lookups(), counters.store_hits()), (20 + 102, 10 + 102));
    assert_eq!((counters.filter_skips(), counters.window_hits()), (100, 0));
    prefetch(&mut index, [219, 218, 219]).unwrap();
    assert_eq!(counters.window_hits(), 2, "a key counts once a batch");
}

#[test]
fn a_batch_sees_its_own_inserts() {
    let store = filled_store(&[&[9]]);
    let mut index = open(&store);
    index.filter_is_blind = true;
    prefetch(&mut index, [7, 9]).unwrap();
    assert_eq!((index.get(&[7]).unwrap(), index.get(&[9]).unwrap()), (None, Some(value(0))));
    index.insert(&[7], value(1));
    assert_eq!(index.get(&[7]).unwrap(), Some(value(1)));
    index.insert(&[7], value(2));
    index.insert(&[9], value(3));
    assert_eq!(index.staged_bytes(), 2 * (RECORD_OVERHEAD_BYTES + 1));
    prefetch(&mut index, [9]).unwrap();
    assert_eq!((index.get(&[7]).unwrap(), index.get(&[9]).unwrap()), (Some(value(2)), Some(value(3))));
    assert_eq!(index.staged_bytes(), 2 * (RECORD_OVERHEAD_BYTES + 1), "staged in the window now");
    commit(&store, index.freeze());
    let index = open(&store);
    assert_eq!((index.get(&[7]).unwrap(), index.get(&[9]).unwrap()), (Some(value(2)), Some(value(3))));
}

#[test]
fn batches_need_no_beginning() {
    let limits = SeenLimits { window_keys_max: 1 << 20 };
    let mut index = SeenIndex::open(KIND, limits, filled_store(&[])).unwrap();
    let keys: Vec<_> = (0..BATCH_INSERTS_MAX as u32 + 10).map(u32::to_be_bytes).collect();
    for key in &keys {
        index.insert(key, value(key[3]));
    }
    assert_eq!(index.window_len(), BATCH_INSERTS_MAX);
    for key in &keys {
        assert_eq!(index.get(key).unwrap(), Some(value(key[3])));
    }
    assert_eq!(index.freeze().into_rows().len(), keys.len());
}

#[test]
fn a_failed_rebuild_is_reported() {
    let store = watched(true);
    store.scans_may_run.store(true, Ordering::SeqCst);
    let mut index = SeenIndex::open(KIND, LIMITS, store as Arc<dyn Store>).unwrap();
    assert_eq!(index.wait_for_filter(), Err(StoreError::Corrupt("a block".into())));
}

#[test]
fn dropping_the_index_stops_its_scan() {
    let store = watched(false);
    let index = SeenIndex::open(KIND, LIMITS, Arc::clone(&store) as Arc<dyn Store>).unwrap();
    let waits = Arc::clone(&store);
    let release = std::thread::spawn(move || waits.scans_may_run.store(true, Ordering::SeqCst));
    drop(index);
    release.join().unwrap();
    assert_eq!(Arc::strong_count(&store), 1, "no thread holds the store any more");
}

#[test]
fn rows_of_a_wrong_size_are_damage() {
    let store = Arc::new(MemoryStore::new());
    let mut rows = Rows::new();
    rows.put(b"onkey", b"short");
    store.commit(&[rows], Applied::default()).unwrap();
    let mut index = open(&store);
    assert!(matches!(index.get(b"key"), Err(StoreError::Corrupt(_))));
    assert!(matches!(index.prefetch([&b"key"[..]].into_iter()), Err(StoreError::Corrupt(_))));
}

#[test]
fn staged_bytes_go_with_commits() {
    let store = filled_store(&[b"old"]);
    let mut index = open(&store);
    assert_eq!(index.staged_bytes(), 0);
    index.insert(b"new", value(1));
    let staged = index.staged_bytes();
    assert!(staged > 0);
    let frozen = index.freeze();
    assert_eq!(index.staged_bytes(), staged, "frozen is not committed");
    commit(&store, frozen);
    index.committed();
    assert_eq!(index.staged_bytes(), 0);
    assert!(index.freeze().is_empty());
}
