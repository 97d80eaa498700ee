//! Recent keys in memory, exactly: hash tables over packed records, dropped a generation at a time.

use super::Value;
use super::arena::{Arena, CHUNK_BYTES, Chunk, Place, RECORD_OVERHEAD_BYTES, SpareChunks};
use super::table::Table;

/// Generations kept at least: the newest, which grows, and one full one.
const GENERATIONS_MIN: usize = 2;

/// Size of a record with a usual key, which bounds the memory kept for reuse.
const RECORD_BYTES_USUAL: usize = 64;

/// Exact map of the keys inserted last.
///
/// Holds between half of `keys_max` and all of it, and beyond that whatever is not committed:
/// a generation goes only when the store holds all of it.
#[derive(Debug)]
pub(super) struct Window {
    /// Oldest first; never empty.
    generations: Vec<Generation>,
    generation_keys_max: usize,
    spare_chunks: SpareChunks,
    spare_table: Option<Table>,
    staged_bytes: usize,
    frozen_bytes: usize,
}

#[derive(Debug)]
struct Generation {
    table: Table,
    arena: Arena,
    /// Chunks closed at the last freeze.
    frozen: usize,
}

impl Generation {
    fn new(table: Table) -> Self {
        Self { table, arena: Arena::default(), frozen: 0 }
    }

    #[inline]
    fn place(&self, hash: u32, key: &[u8]) -> Option<Place> {
        self.table.find(hash, |place| self.arena.at(place).is_some_and(|(found, _)| found == key))
    }

    #[inline]
    fn find(&self, hash: u32, key: &[u8]) -> Option<Value> {
        self.arena.at(self.place(hash, key)?).map(|(_, value)| value)
    }
}

impl Window {
    /// An empty window for about `keys_max` keys.
    pub(super) fn new(keys_max: usize) -> Self {
        let generation_keys_max = (keys_max / GENERATIONS_MIN).max(1);
        Self {
            generations: vec![Generation::new(Table::new(generation_keys_max))],
            generation_keys_max,
            spare_chunks: Vec::new(),
            spare_table: None,
            staged_bytes: 0,
            frozen_bytes: 0,
        }
    }

    /// Loads what [`Self::find`] will read first.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> u32 {
        let mut sum = 0;
        for generation in &self.generations {
            sum ^= generation.table.touch(hash as u32);
        }
        sum
    }

    /// Loads what [`Self::insert`] will read.
    #[inline]
    pub(super) fn touch_newest(&self, hash: u64) -> u32 {
        self.generations.last().map_or(0, |newest| newest.table.touch(hash as u32))
    }

    /// Loads the record that [`Self::find`] will compare the key with, if there is one.
    #[inline]
    pub(super) fn touch_record(&self, hash: u64) -> u32 {
        let mut sum = 0;
        for Generation { table, arena, .. } in &self.generations {
            table.find(hash as u32, |place| {
                sum ^= arena.touch(place);
                true
            });
        }
        sum
    }

    /// The value of `key`, if the window holds it. `hash` depends on the key alone.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<Value> {
        for generation in self.generations.iter().rev() {
            if let Some(value) = generation.find(hash as u32, key) {
                return Some(value);
            }
        }
        None
    }

    /// Sets `key` to `value`.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, key: &[u8], value: Value) {
        let Some(newest) = self.generations.last_mut() else { return };
        let old = newest.place(hash as u32, key);
        let place = newest.arena.push(key, value, &mut self.spare_chunks);
        newest.table.set(hash as u32, old, place);
        self.staged_bytes += RECORD_OVERHEAD_BYTES + key.len();
        if newest.table.is_full() || newest.arena.is_full() {
            self.turn();
        }
    }

    /// Begins a new generation.
    #[cold]
    fn turn(&mut self) {
        // First, so that the new generation takes over the old one's memory.
        self.drop_old(GENERATIONS_MIN - 1);
        let table = self.spare_table.take().unwrap_or_else(|| Table::new(self.generation_keys_max));
        self.generations.push(Generation::new(table));
    }

    /// Drops generations that are committed, oldest first, until `keep` are left.
    fn drop_old(&mut self, keep: usize) {
        while self.generations.len() > keep
            && self.generations.first().is_some_and(|oldest| oldest.arena.is_committed())
        {
            let Generation { mut table, arena, .. } = self.generations.remove(0);
            table.clear();
            self.spare_table = Some(table);
            let spare_max = self.generation_keys_max * RECORD_BYTES_USUAL / CHUNK_BYTES + 1;
            arena.recycle(&mut self.spare_chunks, spare_max);
        }
    }

    /// The records that the store does not hold, in the order of their insertion.
    pub(super) fn freeze(&mut self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for generation in &mut self.generations {
            generation.arena.freeze(&mut chunks);
            generation.frozen = generation.arena.closed_count();
        }
        self.frozen_bytes += std::mem::take(&mut self.staged_bytes);
        chunks
    }

    /// The store holds what the last freeze gave out.
    pub(super) fn committed(&mut self) {
        for generation in &mut self.generations {
            generation.arena.committed(generation.frozen);
        }
        self.frozen_bytes = 0;
        self.drop_old(GENERATIONS_MIN);
    }

    /// Memory held by records that the store does not hold, in bytes.
    pub(super) fn uncommitted_bytes(&self) -> usize {
        self.staged_bytes + self.frozen_bytes
    }

    /// Number of keys held, repeats in older generations included.
    pub(super) fn len(&self) -> usize {
        self.generations.iter().map(|generation| generation.table.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> [u8; 4] {
        index.to_be_bytes()
    }

    /// Few distinct hashes, so that equality of keys is what decides.
    fn poor_hash(index: u32) -> u64 {
        u64::from(index % 3)
    }

    fn insert(window: &mut Window, index: u32) {
        window.insert(poor_hash(index), &key(index), [index as u8; 16]);
    }

    fn held(window: &Window, upto: u32) -> Vec<u32> {
        (0..upto).filter(|index| window.find(poor_hash(*index), &key(*index)).is_some()).collect()
    }

    #[test]
    fn uncommitted_keys_stay_however_many_they_are() {
        let mut window = Window::new(4);
        for index in 0..20 {
            insert(&mut window, index);
        }
        assert_eq!(held(&window, 20), (0..20).collect::<Vec<_>>());
        window.freeze();
        (20..24).for_each(|index| insert(&mut window, index));
        assert_eq!(window.len(), 24);
        window.committed();
        assert_eq!(held(&window, 24), (20..24).collect::<Vec<_>>(), "frozen keys may go now");
    }

    #[test]
    fn committed_keys_leave_a_generation_at_a_time() {
        let mut window = Window::new(8);
        for index in 0..40 {
            insert(&mut window, index);
            window.freeze();
            window.committed();
            let kept = held(&window, 40).len();
            assert!(kept >= (index as usize + 1).min(4) && kept <= 8, "{kept} after {index}");
        }
        assert_eq!(window.uncommitted_bytes(), 0);
    }

    #[test]
    fn the_newest_value_of_a_key_answers() {
        let mut window = Window::new(100);
        window.insert(1, b"key", [1; 16]);
        window.insert(1, b"key", [2; 16]);
        assert_eq!((window.find(1, b"key"), window.len()), (Some([2; 16]), 1));
        window.freeze();
        window.insert(1, b"key", [3; 16]);
        assert_eq!(window.find(1, b"key"), Some([3; 16]));
        assert_eq!(window.find(1, b"ke"), None);
        assert_eq!(window.uncommitted_bytes(), 3 * (RECORD_OVERHEAD_BYTES + 3));
    }

    #[test]
    fn what_came_after_a_freeze_is_not_committed_with_it() {
        let mut window = Window::new(1000);
        insert(&mut window, 0);
        window.freeze();
        // Enough for several chunks to be closed.
        for index in 1..10 {
            window.insert(poor_hash(index), &vec![index as u8; CHUNK_BYTES / 3], [0; 16]);
        }
        window.committed();
        let held: usize = window.freeze().iter().map(|chunk| chunk.len()).sum();
        assert_eq!(held, 9 * (RECORD_OVERHEAD_BYTES + CHUNK_BYTES / 3));
        assert_eq!(window.uncommitted_bytes(), held);
    }
}
