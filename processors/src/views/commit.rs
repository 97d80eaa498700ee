//! Sorted runs of rows, built on a background thread from what a freeze set aside.

use std::sync::Arc;

use hongbao_engine::store::{Rows, StoreError};

use super::changes::Changes;
use super::entry::{Entry, Pointer};
use super::rows;
use super::wire::damaged;

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    key_len: u32,
    value_len: u32,
}

/// Rows in any order, packed.
#[derive(Debug, Default)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Packed {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a row; `key` and `value` only append to the buffer they are given.
    #[inline]
    pub(super) fn push(&mut self, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        key(&mut self.bytes);
        let key_end = self.bytes.len();
        value(&mut self.bytes);
        let value_len = (self.bytes.len() - key_end) as u32;
        self.spans.push(Span { start, key_len: (key_end - start) as u32, value_len });
    }

    fn key(&self, at: u32) -> &[u8] {
        let span = &self.spans[at as usize];
        &self.bytes[span.start..span.start + span.key_len as usize]
    }

    /// The rows by ascending key. Most pairs of keys differ in the first bytes behind what all keys
    /// have in front. These are compared as numbers that lie next to each other; only for the other
    /// pairs the keys themselves are looked up.
    pub(super) fn into_rows(self) -> Rows {
        let skip = self.shared_prefix_len();
        let mut order: Vec<(u128, u64, u32)> = Vec::with_capacity(self.spans.len());
        for at in 0..self.spans.len() as u32 {
            let (high, low) = as_numbers(self.key(at).get(skip..).unwrap_or(&[]));
            order.push((high, low, at));
        }
        order.sort_unstable_by(|left, right| {
            let first = (left.0, left.1).cmp(&(right.0, right.1));
            first.then_with(|| self.key(left.2).cmp(self.key(right.2)))
        });
        let mut sorted = Rows::new();
        for (_, _, at) in order {
            let span = &self.spans[at as usize];
            let value_start = span.start + span.key_len as usize;
            let value = &self.bytes[value_start..value_start + span.value_len as usize];
            sorted.put(self.key(at), value);
        }
        sorted
    }

    fn shared_prefix_len(&self) -> usize {
        let mut shared = if self.spans.is_empty() { &[] } else { self.key(0) };
        for at in 1..self.spans.len() as u32 {
            let same = shared.iter().zip(self.key(at)).take_while(|(left, right)| left == right).count();
            shared = &shared[..same];
        }
        shared.len()
    }
}

/// The first 24 bytes as numbers in the order of the bytes.
fn as_numbers(bytes: &[u8]) -> (u128, u64) {
    let mut front = [0; 24];
    let len = bytes.len().min(front.len());
    front[..len].copy_from_slice(&bytes[..len]);
    let (high, low) = front.split_at(16);
    let high = high.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes));
    (high, low.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)))
}

/// Rows of the kinds that are few; see [`rows`].
#[derive(Debug, Default)]
pub(super) struct SmallRows(Rows);

impl SmallRows {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.put(key, value);
    }

    pub(super) fn delete(&mut self, key: &[u8]) {
        self.0.delete(key);
    }
}

/// Everything that one commit writes.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) small: SmallRows,
    pub(super) changes: Arc<Changes>,
    pub(super) users: Packed,
}

impl Commit {
    /// The runs: key ranges of no two overlap.
    pub(super) fn build(self) -> Result<Vec<Rows>, StoreError> {
        let Self { small: SmallRows(mut small), changes, users } = self;
        changes.small_rows(&mut small);
        small.sort();
        let mut runs = vec![small];
        let mut orders = Packed::new();
        for (lane, entries) in (0_u16..).zip(changes.entries()) {
            let mut run = Rows::new();
            for (seq, row) in entries.iter() {
                let at = Pointer::new(lane, seq).ok_or_else(|| damaged("a sequence is too large"))?;
                run.put(&rows::seq_key(rows::ENTRY, at), row);
                let entry = Entry::decode(row).ok_or_else(|| damaged("a staged entry"))?;
                orders.push(
                    |key| rows::push_order_key(key, entry.order_no),
                    |value| super::entry::put_pointer(value, Some(at)),
                );
            }
            runs.push(run);
        }
        drop(changes);
        runs.push(orders.into_rows());
        runs.push(users.into_rows());
        runs.retain(|run| !run.is_empty());
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_come_sorted(keys in prop::collection::btree_set(prop::collection::vec(0_u8..3, 0..40), 0..50)) {
            let mut packed = Packed::new();
            // Any order but the sorted one.
            for key in keys.iter().rev() {
                packed.push(|out| out.extend([&b"us"[..], key].concat()), |out| out.extend(key.iter().rev()));
            }
            let rows = packed.into_rows();
            let found: Vec<(Vec<u8>, Vec<u8>)> =
                rows.iter().map(|(key, value)| (key.to_vec(), value.unwrap().to_vec())).collect();
            let expected: Vec<(Vec<u8>, Vec<u8>)> = keys
                .iter()
                .map(|key| ([&b"us"[..], key].concat(), key.iter().rev().copied().collect()))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
