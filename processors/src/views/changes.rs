//! Rows that are not in the store yet: written by facts since the last freeze, or frozen and being
//! committed. Readers look here first, then in the store.

use std::collections::BTreeMap;

use hongbao_engine::store::Rows;

use super::entry::Pointer;
use super::rows;

/// What a row outside of the entries takes beside its bytes, roughly.
const ROW_BYTES: usize = 64;

/// Entries of one lane, without a gap.
#[derive(Debug, Default)]
pub(super) struct LaneEntries {
    first_seq: u64,
    bytes: Vec<u8>,
    /// End of each entry within `bytes`.
    ends: Vec<u32>,
}

impl LaneEntries {
    /// The row of one order.
    #[inline]
    pub(super) fn get(&self, seq: u64) -> Option<&[u8]> {
        let at = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        let end = *self.ends.get(at)? as usize;
        let start = match at.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.bytes.get(start..end)
    }

    /// All rows with their sequences, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (self.first_seq..).zip(0..self.ends.len()).filter_map(|(seq, _)| Some((seq, self.get(seq)?)))
    }

    /// Adds the next row; false when the entries of one commit are too many bytes.
    #[inline]
    fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        write(&mut self.bytes);
        match u32::try_from(self.bytes.len()) {
            Ok(end) => {
                self.ends.push(end);
                true
            }
            Err(_) => false,
        }
    }

    /// Drops all rows and keeps the memory.
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// By number of the lane.
    entries: Vec<LaneEntries>,
    /// Last refusals by intake, by order number.
    pub(super) refusals: BTreeMap<Box<str>, Vec<u8>>,
    /// Conflicts, by order number.
    pub(super) conflicts: BTreeMap<Box<str>, Vec<u8>>,
    /// Orders refused downstream or reported.
    pub(super) exceptions: BTreeMap<Pointer, Vec<u8>>,
    /// Credit facts, by lane, bucket and journal offset.
    pub(super) batches: BTreeMap<(u16, u64, u64), Vec<u8>>,
    /// Bytes of all rows but entries.
    small_bytes: usize,
}

impl Changes {
    pub(super) fn entries(&self) -> &[LaneEntries] {
        &self.entries
    }

    /// The row of an entry.
    #[inline]
    pub(super) fn entry(&self, at: Pointer) -> Option<&[u8]> {
        self.entries.get(usize::from(at.lane()))?.get(at.seq())
    }

    /// Adds the next entry of a lane, whose sequence is that of `at`; false when the entries of one
    /// commit are too many bytes.
    #[inline]
    pub(super) fn push_entry(&mut self, at: Pointer, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let lane = usize::from(at.lane());
        while self.entries.len() <= lane {
            self.entries.push(LaneEntries::default());
        }
        let entries = &mut self.entries[lane];
        if entries.ends.is_empty() {
            entries.first_seq = at.seq();
        }
        entries.push_with(write)
    }

    /// Notes that a row outside of the entries was written.
    pub(super) fn count_row(&mut self, bytes: usize) {
        self.small_bytes += bytes + ROW_BYTES;
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let entries = |lane: &LaneEntries| lane.bytes.len() + lane.ends.len() * size_of::<u32>();
        self.entries.iter().map(entries).sum::<usize>() + self.small_bytes
    }

    /// No changes, with the memory of earlier ones.
    pub(super) fn with_spare(mut spare: Vec<LaneEntries>) -> Self {
        spare.iter_mut().for_each(LaneEntries::clear);
        Self { entries: spare, ..Self::default() }
    }

    /// The entries' memory, to be used again.
    pub(super) fn into_spare(self) -> Vec<LaneEntries> {
        self.entries
    }

    /// Adds all rows but entries.
    pub(super) fn small_rows(&self, out: &mut Rows) {
        for (order_no, row) in &self.refusals {
            out.put(&rows::named_key(rows::REJECTED, order_no), row);
        }
        for (order_no, row) in &self.conflicts {
            out.put(&rows::named_key(rows::CONFLICT, order_no), row);
        }
        for (at, row) in &self.exceptions {
            out.put(&rows::seq_key(rows::EXCEPTION, *at), row);
        }
        for ((lane, bucket, offset), row) in &self.batches {
            out.put(&rows::batch_key(*lane, *bucket, *offset), row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lane: u16, seq: u64) -> Pointer {
        Pointer::new(lane, seq).unwrap()
    }

    #[test]
    fn entries_are_found_by_sequence_and_their_memory_is_used_again() {
        let mut changes = Changes::default();
        for seq in 7..10_u8 {
            assert!(changes.push_entry(at(1, u64::from(seq)), |out| out.extend([seq; 3])));
        }
        let held = |changes: &Changes| -> Vec<u64> {
            (0..20)
                .filter(|seq| Pointer::new(1, *seq).is_some_and(|at| changes.entry(at).is_some()))
                .collect()
        };
        assert_eq!(held(&changes), [7, 8, 9]);
        assert_eq!(changes.entry(at(1, 8)), Some(&[8; 3][..]));
        assert_eq!(changes.entry(at(0, 8)), None);
        assert_eq!(changes.entry(at(2, 8)), None);
        let all: Vec<(u64, &[u8])> = changes.entries()[1].iter().collect();
        assert_eq!(all, [(7, &[7; 3][..]), (8, &[8; 3]), (9, &[9; 3])]);
        let mut next = Changes::with_spare(changes.into_spare());
        assert_eq!((held(&next), next.bytes()), (vec![], 0));
        assert!(next.push_entry(at(1, 10), |out| out.push(1)));
        assert!(next.push_entry(at(0, 4), |out| out.push(2)));
        assert_eq!((held(&next), next.entry(at(0, 4))), (vec![10], Some(&[2][..])));
    }
}
