//! The store port: a sorted map of bytes whose commits carry the applied offset.
//!
//! A store is a cache of the log. A crash leaves a whole commit or none (I6): what
//! [`Store::applied`] says and what the rows hold always belong together.

use std::ops::ControlFlow;

use crate::records::Offset;

/// How far the fold that owns a store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Offset of the first input record not applied.
    pub offset: Offset,
    /// CRC-32C of the last applied record, 0 if none: shows on start whether the log is the one
    /// that was folded.
    pub last_record_crc: u32,
}

/// Rows to commit, packed. Sorted by [`Rows::sort`] before a commit.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    bytes: Vec<u8>,
    index: Vec<RowAt>,
}

#[derive(Clone, Copy, Debug)]
struct RowAt {
    start: u32,
    key_len: u32,
    value_len: u32,
    delete: bool,
}

impl Rows {
    /// No rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`. A key may be given once per commit.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.push(key, value, false);
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: &[u8]) {
        self.push(key, &[], true);
    }

    fn push(&mut self, key: &[u8], value: &[u8], delete: bool) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        let (key_len, value_len) = (key.len() as u32, value.len() as u32);
        self.index.push(RowAt { start, key_len, value_len, delete });
    }

    /// Sorts by key.
    pub fn sort(&mut self) {
        let bytes = &self.bytes;
        self.index.sort_unstable_by(|left, right| key_at(bytes, left).cmp(key_at(bytes, right)));
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Size of keys and values together, in bytes. A commit's rows must stay below 4 GiB.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The keys of the first and the last row, which once sorted are the lowest and the highest.
    #[must_use]
    pub fn key_range(&self) -> Option<(&[u8], &[u8])> {
        let (first, last) = (self.index.first()?, self.index.last()?);
        Some((key_at(&self.bytes, first), key_at(&self.bytes, last)))
    }

    /// Key and value of each row in order; no value means delete.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.index.iter().map(|row| {
            let value_start = (row.start + row.key_len) as usize;
            let value = &self.bytes[value_start..value_start + row.value_len as usize];
            (key_at(&self.bytes, row), (!row.delete).then_some(value))
        })
    }
}

fn key_at<'a>(bytes: &'a [u8], row: &RowAt) -> &'a [u8] {
    &bytes[row.start as usize..(row.start + row.key_len) as usize]
}

/// Checks what [`Store::commit`] asks of its runs: each in ascending key order without repeats,
/// and no two key ranges overlapping. For store adapters.
///
/// # Errors
/// [`StoreError::NotSorted`].
pub fn check_runs(runs: &[Rows]) -> Result<(), StoreError> {
    let mut ranges = Vec::with_capacity(runs.len());
    for run in runs {
        let key = |row| key_at(&run.bytes, row);
        if !run.index.is_sorted_by(|left, right| key(left) < key(right)) {
            return Err(StoreError::NotSorted);
        }
        ranges.extend(run.key_range());
    }
    ranges.sort_unstable();
    let disjoint = ranges.is_sorted_by(|left, right| left.1 < right.0);
    if disjoint { Ok(()) } else { Err(StoreError::NotSorted) }
}

/// Called with key and value of each row of a scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A sorted map of bytes. Keys start with two bytes that name their kind and never change.
pub trait Store: Send + Sync {
    /// What the last commit said; the default before the first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn applied(&self) -> Result<Applied, StoreError>;

    /// The value of `key`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The values of `keys`, in their order. Faster than single gets, most so for sorted keys.
    ///
    /// # Errors
    /// [`StoreError`].
    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// Visits rows with `from <= key < to` in ascending order until `visit` breaks, on one
    /// consistent state.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// Makes `runs` and `applied` durable in one atomic step. Each run is sorted and holds a key
    /// once; no two runs' key ranges overlap. May wait while the store has to catch up with
    /// merging; call it from a background thread.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was committed, or the store must be opened again.
    fn commit(&self, runs: &[Rows], applied: Applied) -> Result<(), StoreError>;
}

/// Why a store refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The rows given to a commit are not sorted, or a key is given twice.
    #[error("rows of a commit are not in ascending key order")]
    NotSorted,
    /// The directory belongs to something else, or another process holds it.
    #[error("cannot open the store: {0}")]
    Open(String),
    /// Bytes on disk are damaged (I26).
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The device or the library failed.
    #[error("the store failed: {0}")]
    Failed(String),
}
