//! What the store said of a batch's keys.

use hashbrown::HashTable;

use crate::store::{Store, StoreError};

use super::{Value, value_of};

/// Keys looked up for a batch, with their values. Memory is kept from batch to batch.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// Row keys one after the other, kind included.
    keys: Vec<u8>,
    rows: Vec<Row>,
    table: HashTable<Slot>,
}

#[derive(Debug)]
struct Row {
    hash: u64,
    start: usize,
    end: usize,
    value: Option<Value>,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    row: usize,
}

impl Fetched {
    /// Forgets everything.
    #[inline]
    pub(super) fn clear(&mut self) {
        if !self.rows.is_empty() {
            self.keys.clear();
            self.rows.clear();
            self.table.clear();
        }
    }

    /// Notes a key for [`Self::fetch`].
    pub(super) fn want(&mut self, hash: u64, kind: [u8; 2], key: &[u8]) {
        let start = self.keys.len();
        self.keys.extend_from_slice(&kind);
        self.keys.extend_from_slice(key);
        self.rows.push(Row { hash, start, end: self.keys.len(), value: None });
    }

    /// Asks the store for all keys noted; returns how many it was asked for and how many it held.
    pub(super) fn fetch(&mut self, store: &dyn Store) -> Result<(u64, u64), StoreError> {
        if self.rows.is_empty() {
            return Ok((0, 0));
        }
        let keys = &self.keys;
        let key_of = |row: &Row| &keys[row.start..row.end];
        self.rows.sort_unstable_by(|left, right| key_of(left).cmp(key_of(right)));
        self.rows.dedup_by(|later, earlier| key_of(later) == key_of(earlier));
        let asked: Vec<&[u8]> = self.rows.iter().map(key_of).collect();
        let found = store.multi_get(&asked)?;
        let mut hits = 0;
        for (index, (row, bytes)) in self.rows.iter_mut().zip(found).enumerate() {
            row.value = bytes.map(|bytes| value_of(&bytes)).transpose()?;
            hits += u64::from(row.value.is_some());
            self.table.insert_unique(row.hash, Slot { hash: row.hash, row: index }, |slot| slot.hash);
        }
        Ok((self.rows.len() as u64, hits))
    }

    /// What the store said of `key`, if it was asked.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<Option<Value>> {
        let is_key = |slot: &Slot| {
            let row = self.rows.get(slot.row);
            row.is_some_and(|row| slot.hash == hash && self.keys.get(row.start + 2..row.end) == Some(key))
        };
        let slot = self.table.find(hash, is_key)?;
        self.rows.get(slot.row).map(|row| row.value)
    }
}
