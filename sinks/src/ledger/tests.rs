//! What the tests of the ledger share: orders, batches, and a naive reading of a book that a store
//! must equal row for row.

mod crashes;
mod driving;
mod faults;
mod shards;
mod stepping;
mod stopping;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use hongbao_engine::clock::ManualClock;
use hongbao_engine::commit::Committer;
use hongbao_engine::log::Log;
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::ReadBatch;
use hongbao_engine::store::Store;
use hongbao_schemas::order::Order;

use super::shard::Shard;
use super::*;
use crate::batch::{Batch, OrderChunk, Part};

type Record = Vec<u8>;

const P0: Partition = Partition(0);

fn order(order_no: &str, act_id: &str, asset: &str, amount_minor: i64) -> Record {
    large_order(order_no, act_id, asset, amount_minor, "")
}

fn large_order(order_no: &str, act_id: &str, asset: &str, amount_minor: i64, reward_id: &str) -> Record {
    let order =
        Order { order_no, act_id, reward_type: "cash", reward_id, asset, amount_minor, accepted_at_ms: 7 };
    let mut record = Vec::new();
    order.encode(&mut record);
    record
}

/// Order `n` of a person who depends on it.
fn cash(n: u64, amount_minor: i64) -> Record {
    order(&format!("u{}_s_{n}_t_0", n % 3), &format!("u{}", n % 3), "CNY/2", amount_minor)
}

/// The first record on its own, as after a resend, the others as a run.
fn batch(partition: Partition, records: &[Record]) -> Batch {
    let mut parts = Vec::new();
    let mut chunk = OrderChunk::starting_at(1);
    for record in records {
        chunk.push(record);
    }
    if let Some(first) = records.first() {
        parts.push(Part::One { seq: 1, record: first.as_slice().into() });
        parts.push(Part::Run { chunk: Arc::new(chunk), from: 1, to: records.len() as u32 });
    }
    Batch::new("cash".into(), partition, parts)
}

/// Few keys in memory and frequent commits, so that the store is asked too.
fn small() -> LedgerLimits {
    LedgerLimits { commit_postings: 3, window_keys_max: 2 }
}

fn durable_log(partitions: u16) -> Arc<MemoryLog> {
    Arc::new(MemoryLog::new(partitions, Arc::new(ManualClock::at(1_000))))
}

fn manual_log(partitions: u16) -> Arc<MemoryLog> {
    Arc::new(MemoryLog::manual(partitions, Arc::new(ManualClock::at(1_000))))
}

/// A shard of partition 0, its committer moved by hand.
struct Process {
    shard: Shard,
    committer: Committer,
}

impl Process {
    fn open(
        log: &Arc<MemoryLog>,
        store: &Arc<MemoryStore>,
        limits: LedgerLimits,
    ) -> Result<Self, LedgerError> {
        let shard = Shard::open(P0, log.clone(), store.clone(), limits)?;
        Ok(Self { shard, committer: Committer::manual(log.clone(), 1) })
    }

    /// Commits everything that is in the book, which must be durable.
    fn commit_all(&mut self) {
        for _ in 0..10 {
            self.shard.commit(&self.committer, true).unwrap();
            self.committer.run_ready();
        }
        assert_eq!(self.shard.uncommitted(), 0);
    }
}

/// The durable book from `from` on.
fn book_from(log: &MemoryLog, partition: Partition, from: u64) -> Vec<Record> {
    let mut batch = ReadBatch::new();
    log.read(partition, BOOK_TOPIC, from, usize::MAX, &mut batch).unwrap();
    batch.frames().flat_map(|frame| frame.records()).map(|(_, record)| record.to_vec()).collect()
}

fn book(log: &MemoryLog) -> Vec<Record> {
    book_from(log, P0, 0)
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn rows(store: &MemoryStore) -> Rows {
    let mut rows = Rows::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    };
    store.scan(&[], &[0xFF; 4], &mut visit).unwrap();
    rows
}

/// The rows of a store that has seen `postings`; each order number is posted once (I10).
fn rows_of(postings: &[Record]) -> Rows {
    let (mut balances, mut rows) = (BTreeMap::<Vec<u8>, i128>::new(), Rows::new());
    for record in postings {
        let order = Order::decode(record).unwrap();
        let key = [&ORDER_KIND, order.order_no.as_bytes()].concat();
        assert_eq!(rows.insert(key, order_value(record).to_vec()), None, "{} twice", order.order_no);
        let amount = i128::from(order.amount_minor);
        *balances.entry(account_key(order.act_id, order.asset)).or_default() += amount;
        *balances.entry(issued_key(order.asset)).or_default() += amount;
    }
    rows.extend(balances.into_iter().map(|(key, balance)| (key, balance.to_le_bytes().to_vec())));
    rows
}

/// The store is the fold of the book up to where it says (I6), and each asset's accounts are what
/// was issued of it. Returns how far it is.
fn check_store(log: &MemoryLog, partition: Partition, store: &MemoryStore) -> usize {
    let applied = store.applied().unwrap();
    let book = book_from(log, partition, 0);
    let seen = book.get(..applied.offset as usize).expect("the store is ahead of the durable book");
    assert_eq!(applied.last_record_crc, seen.last().map_or(0, |record| hongbao_engine::records::crc(record)));
    let rows = rows(store);
    assert_eq!(rows, rows_of(seen), "at {}", applied.offset);

    let assets: BTreeSet<&str> = seen.iter().map(|record| Order::decode(record).unwrap().asset).collect();
    for asset in assets {
        let ending = [&b"\0"[..], asset.as_bytes()].concat();
        let accounts =
            rows.iter().filter(|(key, _)| key.starts_with(&ACCOUNT_KIND) && key.ends_with(&ending));
        let held: i128 = accounts.map(|(_, balance)| balance_of(balance).unwrap()).sum();
        assert_eq!(Some(held), balance_of(&rows[&issued_key(asset)]), "{asset}");
    }
    applied.offset as usize
}
