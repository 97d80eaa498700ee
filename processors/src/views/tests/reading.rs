//! Readers while the fold and its commits go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::processor::{Outputs, Processor};
use hongbao_engine::records::{FrameRef, ReadBatch};
use hongbao_engine::store::{Applied, Rows, Store, StoreError, Visit};
use hongbao_schemas::journal::CreditStage::{Credited, Started};
use hongbao_schemas::order_state::OrderState;
use parking_lot::Mutex;

use super::journal::{CASH, FILM, Journal};
use super::rig::{Rig, TINY};
use crate::views::{ENTRIES_MAX, Views, ViewsReader};

/// Tells readers that the fold has ended, also when it failed.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A wallet and the statement behind it, each of one point of the journal.
fn look(reader: &ViewsReader, act_id: &str, last_count: usize) -> usize {
    let wallet = reader.wallet(act_id, None).unwrap();
    let credited: i64 = wallet
        .items
        .iter()
        .filter(|item| item.state == OrderState::Credited)
        .map(|item| item.amount_minor)
        .sum();
    let all: i64 = wallet.items.iter().map(|item| item.amount_minor).sum();
    if let Some(pieces) = wallet.balances.iter().find(|balance| &*balance.asset == "COUPON/0") {
        assert_eq!((pieces.credited_minor, pieces.income_minor()), (credited.into(), all.into()), "I15");
    }
    let statement = reader.entries(act_id, ENTRIES_MAX, None).unwrap();
    assert!(statement.entries.len() >= last_count, "an entry was gone for a while");
    let newest = statement.entries.first().map(|entry| entry.order_no.clone());
    if let Some(order_no) = newest {
        assert!(reader.order(&order_no).unwrap().is_some(), "{order_no}");
    }
    statement.entries.len()
}

#[test]
fn readers_see_everything_at_all_times() {
    let mut journal = Journal::default();
    for round in 0..60_u64 {
        for order in 0..18 {
            journal.accept(["u", "v", "w"][order % 3], [CASH, FILM][order % 2], 1 + order as i64);
        }
        for lane in ["cash", "coupon"] {
            journal.credit(Started, lane, &[(round * 9 + 1, 9)], 0, "");
            journal.credit(Credited, lane, &[(round * 9 + 3, 7)], 0, "");
        }
    }
    let mut rig = Rig::new(TINY);
    let reader = Arc::clone(&rig.reader);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for act_id in ["u", "v", "w"] {
            let (reader, done) = (&reader, &done);
            scope.spawn(move || {
                let mut count = 0;
                while !done.load(Ordering::SeqCst) {
                    count = look(reader, act_id, count);
                }
                assert_eq!(look(reader, act_id, count), 360);
            });
        }
        scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::SeqCst) {
                let rows = reader.totals(&[]).unwrap().rows;
                let sum = rows.iter().map(|row| row.accepted_minor + row.credited_minor).sum();
                assert!(sum >= last, "I18");
                last = sum;
            }
        });
        let _ending = Ending(&done);
        for end in 1..=journal.records.len() {
            rig.apply(&journal.records, end);
            match end % 7 {
                1 => rig.freeze(),
                3 => rig.write(),
                6 => rig.committed(),
                _ => {}
            }
        }
    });
}

type Meanwhile = Box<dyn FnOnce() + Send>;

/// A store that, once, lets something happen after a row of a kind was read and before the reader
/// gets it.
#[derive(Default)]
struct SlowStore {
    rows: MemoryStore,
    meanwhile: Mutex<Option<([u8; 2], Meanwhile)>>,
}

impl Store for SlowStore {
    fn applied(&self) -> Result<Applied, StoreError> {
        self.rows.applied()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.rows.get(key)?;
        let due = self.meanwhile.lock().take_if(|(kind, _)| key.starts_with(kind));
        if let Some((_, meanwhile)) = due {
            meanwhile();
        }
        Ok(row)
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.rows.multi_get(keys)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.rows.scan(from, to, visit)
    }

    fn commit(&self, runs: &[Rows], applied: Applied) -> Result<(), StoreError> {
        self.rows.commit(runs, applied)
    }
}

/// Views over a [`SlowStore`].
struct Slow {
    store: Arc<SlowStore>,
    views: Views,
    reader: ViewsReader,
}

impl Slow {
    fn new() -> Self {
        let (store, reader) = (Arc::new(SlowStore::default()), ViewsReader::new(1));
        let views = Views::open(0, Arc::clone(&store) as Arc<dyn Store>, TINY, &reader).unwrap();
        Self { store, views, reader }
    }
}

/// Applies each record by itself, with a commit after each.
fn apply_and_commit(views: &mut Views, store: &dyn Store, first: u64, records: &[Vec<u8>]) {
    for (offset, record) in (first..).zip(records) {
        let mut batch = ReadBatch::new();
        let frame = batch.next_frame();
        frame.first_offset = offset;
        frame.bytes.extend_from_slice(record);
        frame.ends.push(record.len() as u32);
        let frames: Vec<FrameRef<'_>> = batch.frames().collect();
        views.apply(&frames, &mut Outputs::new()).unwrap();
        let runs = (views.freeze().unwrap())().unwrap();
        store.commit(&runs, Applied { offset: offset + 1, last_record_crc: 0 }).unwrap();
        views.committed();
    }
}

#[test]
fn a_read_that_the_fold_overtakes_is_of_one_point_all_the_same() {
    let mut journal = Journal::default();
    let order_no = journal.accept("u", FILM, 1);
    for person in ["v", "w", "x", "y"] {
        journal.accept(person, CASH, 1);
    }
    let first = journal.records.len();
    journal.accept("u", FILM, 2);
    journal.credit(Credited, "coupon", &[(1, 2)], 0, "");
    for person in ["v", "w", "x", "y"] {
        journal.accept(person, CASH, 1);
    }
    let (before, later) = journal.records.split_at(first);
    for kind in [b"us", b"en"] {
        // While the person's row, then the entry, is on its way, more happens to this person, all of
        // it is committed, and the person leaves the memory again.
        let Slow { store, mut views, reader } = Slow::new();
        apply_and_commit(&mut views, &*store, 0, before);
        assert!(views.shared.state.read().users.get(b"u").is_none(), "given up");
        let (later, inner) = (later.to_vec(), Arc::clone(&store));
        let meanwhile = move || {
            apply_and_commit(&mut views, &inner.rows, first as u64, &later);
            assert!(views.shared.state.read().users.get(b"u").is_none(), "given up again");
        };
        *store.meanwhile.lock() = Some((*kind, Box::new(meanwhile)));
        let wallet = reader.wallet("u", None).unwrap();
        assert!(store.meanwhile.lock().is_none(), "it happened");
        assert_eq!(wallet.folded, journal.records.len() as u64);
        assert_eq!(wallet.balances[0].credited_minor, 3);
        assert!(wallet.items.iter().all(|item| item.state == OrderState::Credited), "{:?}", wallet.items);
        assert_eq!(wallet.items.len(), 2);
    }
    let Slow { store, mut views, reader } = Slow::new();
    apply_and_commit(&mut views, &*store, 0, before);
    let (later, inner) = (later.to_vec(), Arc::clone(&store));
    let meanwhile = move || apply_and_commit(&mut views, &inner.rows, first as u64, &later);
    *store.meanwhile.lock() = Some((*b"en", Box::new(meanwhile)));
    let order = reader.order(&order_no).unwrap().unwrap();
    assert_eq!((order.state, order.timeline.len()), (OrderState::Accepted, 1), "both of before");
    let order = reader.order(&order_no).unwrap().unwrap();
    assert_eq!((order.state, order.timeline.len()), (OrderState::Credited, 2), "both of after");
}
