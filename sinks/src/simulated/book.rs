//! What a simulated downstream really did: one entry for each key that took effect, for ever, and
//! counts. What it remembers of keys when it decides is another matter and may be shorter.

use std::io;
use std::path::Path;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::file::{BookFile, Record};

/// 128-bit digests are keys: equal digests are taken for equal keys and payloads.
pub type Digest = u128;

/// Effects by key.
#[derive(Debug, Default)]
pub struct Book {
    entries: HashMap<Digest, Entry, FixedState>,
    counts: BookCounts,
    second: i64,
    second_count: u64,
    file: Option<BookFile>,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Digest of what was credited.
    pub payload: Digest,
    /// How often it took effect; more than once is a double credit.
    pub effects: u32,
    /// When it last took effect, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// The book's counts, as `GET /book` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BookCounts {
    /// Effects in all.
    pub effects: u64,
    /// Effects of a key that had taken effect before: money given twice (I10).
    pub double_effects: u64,
    /// Items whose key came before with another payload (I13).
    pub payload_mismatches: u64,
    /// Most items received in one second of the clock, resends included (I21).
    pub busiest_second: u64,
}

impl Book {
    /// A book in memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A book that is kept in a file: every effect is in it before it is answered. It survives a
    /// crash of the process.
    ///
    /// # Errors
    /// Any of the file's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut book = Self::new();
        let file = BookFile::open(path, |record| {
            book.enter(record.key, record.payload, record.at_ms);
        })?;
        book.file = Some(file);
        Ok(book)
    }

    /// The counts.
    #[must_use]
    pub fn counts(&self) -> BookCounts {
        self.counts
    }

    /// What is known of a key.
    #[must_use]
    pub fn entry(&self, key: Digest) -> Option<Entry> {
        self.entries.get(&key).copied()
    }

    /// Counts items received at this time.
    pub fn received(&mut self, items: u64, now_ms: i64) {
        let second = now_ms.div_euclid(1_000);
        if second != self.second {
            (self.second, self.second_count) = (second, 0);
        }
        self.second_count += items;
        self.counts.busiest_second = self.counts.busiest_second.max(self.second_count);
    }

    /// Counts an item whose key came before with another payload.
    pub fn mismatched(&mut self) {
        self.counts.payload_mismatches += 1;
    }

    /// Applies an effect. Call [`Book::flush`] before it is answered.
    ///
    /// # Errors
    /// Any of the file's; then the effect did not happen.
    pub fn apply(&mut self, key: Digest, payload: Digest, at_ms: i64) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.append(&Record { key, payload, at_ms })?;
        }
        self.enter(key, payload, at_ms);
        Ok(())
    }

    /// Hands everything applied to the operating system.
    ///
    /// # Errors
    /// Any of the file's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), BookFile::flush)
    }

    fn enter(&mut self, key: Digest, payload: Digest, at_ms: i64) {
        self.counts.effects += 1;
        let entry = self.entries.entry(key).or_insert(Entry { payload, effects: 0, at_ms });
        entry.effects += 1;
        entry.at_ms = at_ms;
        if entry.effects > 1 {
            self.counts.double_effects += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_double_effects_and_the_busiest_second() {
        let mut book = Book::new();
        for (items, now_ms) in [(3, 10_000), (4, 10_999), (5, 11_000), (1, 11_500), (2, 10_100)] {
            book.received(items, now_ms);
        }
        for (key, at_ms) in [(1, 5), (2, 5), (1, 9)] {
            book.apply(key, 7, at_ms).unwrap();
        }
        book.mismatched();
        let expected = BookCounts { effects: 3, double_effects: 1, payload_mismatches: 1, busiest_second: 7 };
        assert_eq!(book.counts(), expected);
        assert_eq!(book.entry(1), Some(Entry { payload: 7, effects: 2, at_ms: 9 }));
        assert_eq!(book.entry(3), None);
    }

    #[test]
    fn a_book_in_a_file_is_there_again_and_a_torn_tail_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("book");
        let mut book = Book::open(&path).unwrap();
        for key in 0..100 {
            book.apply(key, key + 1, key as i64).unwrap();
        }
        book.apply(5, 6, 200).unwrap();
        book.flush().unwrap();
        drop(book);
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 1, 30] {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let mut book = Book::open(&path).unwrap();
            let counts = book.counts();
            let lost = u64::from(cut > 0);
            assert_eq!((counts.effects, counts.double_effects), (101 - lost, 1 - lost), "cut by {cut}");
            book.apply(1_000, 1, 1).unwrap();
            drop(book);
            let again = Book::open(&path).unwrap();
            assert_eq!(again.counts().effects, counts.effects + 1, "cut by {cut}");
        }
    }
}
