//! The keys of one batch: what is known of them, and what was inserted since the batch began.
//!
//! The batch lies over the window and the store, small enough to stay in the nearest caches. Inserts
//! reach the window together, when the next batch begins.

use hashbrown::HashTable;

use crate::store::{Store, StoreError};

use super::{Value, value_of};

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nobody was asked yet.
    Unknown,
    /// Nobody holds it.
    Absent,
    /// Its value.
    Held(Value),
}

/// A key of the batch.
#[derive(Debug)]
pub(super) struct Row {
    /// Hash of the key.
    pub(super) hash: u64,
    /// What is known of it.
    pub(super) answer: Answer,
    inserted: bool,
    start: usize,
    end: usize,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    row: usize,
}

/// Memory is kept from batch to batch.
#[derive(Debug)]
pub(super) struct Batch {
    kind: [u8; 2],
    /// Row keys one after the other, kind included, as the store wants them.
    keys: Vec<u8>,
    rows: Vec<Row>,
    table: HashTable<Slot>,
    /// Rows of the keys looked up together, in the order in which they were named.
    seats: Vec<usize>,
    inserted: Vec<usize>,
    inserted_bytes: usize,
}

impl Batch {
    /// An empty batch for keys of `kind`.
    pub(super) fn new(kind: [u8; 2]) -> Self {
        let (keys, rows, seats, inserted) = Default::default();
        Self { kind, keys, rows, table: HashTable::new(), seats, inserted, inserted_bytes: 0 }
    }

    /// Forgets everything, inserts as well.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.rows.clear();
        self.table.clear();
        self.seats.clear();
        self.inserted.clear();
        self.inserted_bytes = 0;
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Size of the keys inserted, without values, in bytes.
    pub(super) fn inserted_bytes(&self) -> usize {
        self.inserted_bytes
    }

    /// Number of keys inserted.
    pub(super) fn inserted_count(&self) -> usize {
        self.inserted.len()
    }

    /// The rows, to be answered.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Answers the row at `index`.
    pub(super) fn answer(&mut self, index: usize, answer: Answer) {
        if let Some(row) = self.rows.get_mut(index) {
            row.answer = answer;
        }
    }

    /// The key of a row.
    #[inline]
    pub(super) fn key(&self, row: &Row) -> &[u8] {
        self.keys.get(row.start + self.kind.len()..row.end).unwrap_or(&[])
    }

    /// Index of a key's row.
    #[inline]
    fn index(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let is_key = |slot: &Slot| {
            slot.hash == hash && self.rows.get(slot.row).is_some_and(|row| self.key(row) == key)
        };
        self.table.find(hash, is_key).map(|slot| slot.row)
    }

    /// What is known of a key.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Answer {
        let row = self.index(hash, key).and_then(|index| self.rows.get(index));
        row.map_or(Answer::Unknown, |row| row.answer)
    }

    /// Adds a key, unless it is there; returns the index of its row.
    #[inline]
    pub(super) fn add(&mut self, hash: u64, key: &[u8]) -> usize {
        if let Some(index) = self.index(hash, key) {
            return index;
        }
        let start = self.keys.len();
        self.keys.extend_from_slice(&self.kind);
        self.keys.extend_from_slice(key);
        let row = self.rows.len();
        self.rows.push(Row { hash, answer: Answer::Unknown, inserted: false, start, end: self.keys.len() });
        self.table.insert_unique(hash, Slot { hash, row }, |slot| slot.hash);
        row
    }

    /// Adds a key that is looked up together with others, and gives it the next seat.
    #[inline]
    pub(super) fn seat(&mut self, hash: u64, key: &[u8]) {
        let row = self.add(hash, key);
        self.seats.push(row);
    }

    /// The row of the key in a seat.
    ///
    /// # Panics
    /// If there is no such seat: another row would be a wrong answer.
    #[inline]
    pub(super) fn seated(&self, seat: usize) -> &Row {
        &self.rows[self.seats[seat]]
    }

    /// Sets a key's value, as an insert that is still to be passed on.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, key: &[u8], value: Value) {
        let row = self.add(hash, key);
        self.set(row, value);
    }

    /// As [`Self::insert`], for the key in a seat.
    ///
    /// # Panics
    /// If there is no such seat.
    #[inline]
    pub(super) fn insert_seated(&mut self, seat: usize, value: Value) {
        self.set(self.seats[seat], value);
    }

    #[inline]
    fn set(&mut self, index: usize, value: Value) {
        let Some(row) = self.rows.get_mut(index) else { return };
        row.answer = Answer::Held(value);
        if !row.inserted {
            row.inserted = true;
            self.inserted.push(index);
            self.inserted_bytes += row.end - row.start - self.kind.len();
        }
    }

    /// The rows inserted, in that order, with their values.
    pub(super) fn inserted(&self) -> impl Iterator<Item = (&Row, Value)> {
        self.inserted.iter().filter_map(|index| {
            let row = self.rows.get(*index)?;
            match row.answer {
                Answer::Held(value) => Some((row, value)),
                Answer::Absent | Answer::Unknown => None,
            }
        })
    }

    /// Asks the store for every row without an answer; returns how many it was asked for and how
    /// many it held.
    pub(super) fn fetch(&mut self, store: &dyn Store) -> Result<(u64, u64), StoreError> {
        let unknown = |(index, row): (usize, &Row)| (row.answer == Answer::Unknown).then_some(index);
        let mut wanted: Vec<usize> = self.rows.iter().enumerate().filter_map(unknown).collect();
        if wanted.is_empty() {
            return Ok((0, 0));
        }
        let row_key = |index: &usize| {
            self.rows.get(*index).and_then(|row| self.keys.get(row.start..row.end)).unwrap_or(&[])
        };
        wanted.sort_unstable_by(|left, right| row_key(left).cmp(row_key(right)));
        let asked: Vec<&[u8]> = wanted.iter().map(row_key).collect();
        let found = store.multi_get(&asked)?;
        let lookups = asked.len() as u64;
        let mut hits = 0;
        for (index, bytes) in wanted.into_iter().zip(found) {
            let value = bytes.map(|bytes| value_of(&bytes)).transpose()?;
            hits += u64::from(value.is_some());
            self.answer(index, value.map_or(Answer::Absent, Answer::Held));
        }
        Ok((lookups, hits))
    }
}
