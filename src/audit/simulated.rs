//! The book of a simulated downstream, read without touching it: opening it as its owner does would
//! cut a torn end off.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use hongbao_audit::{Invariant, Report};
use hongbao_sinks::simulated::file;

/// What happened for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Effect {
    payload: u128,
    times: u64,
    payloads_differ: bool,
}

/// Effects by the digest of their key.
#[derive(Debug, Default)]
pub struct Effects {
    by_key: HashMap<u128, Effect>,
}

impl Effects {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// How often a key took effect.
    pub fn times(&self, key: u128) -> u64 {
        self.by_key.get(&key).map_or(0, |effect| effect.times)
    }

    fn add(&mut self, key: u128, payload: u128) {
        let first = Effect { payload, times: 0, payloads_differ: false };
        let effect = self.by_key.entry(key).or_insert(first);
        effect.times += 1;
        effect.payloads_differ |= effect.payload != payload;
    }

    /// No key took effect twice (I10), or with two payloads (I13).
    pub fn check(&self, name: &str, report: &mut Report) {
        for (key, effect) in &self.by_key {
            let times = effect.times;
            report.expect(
                Invariant::I10,
                times == 1,
                format_args!("simulated {name}: key {key:032x} took effect {times} times"),
            );
            let is_one = !effect.payloads_differ;
            report.expect(
                Invariant::I13,
                is_one,
                format_args!("simulated {name}: key {key:032x} has two payloads"),
            );
        }
        report.checked(Invariant::I13, "keys of simulated downstreams", self.by_key.len() as u64);
    }
}

/// Reads a book up to its last whole record; a book that was never written is empty.
pub fn read_book(path: &Path) -> io::Result<Effects> {
    let mut effects = Effects::default();
    file::read_book(path, |record| effects.add(record.key, record.payload))?;
    Ok(effects)
}

#[cfg(test)]
mod tests {
    use hongbao_sinks::simulated::Book;

    use super::*;

    #[test]
    fn a_book_is_read_as_it_was_written_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("partner.book");
        let mut book = Book::open(&path).unwrap();
        for (key, payload) in [(1, 10), (2, 20), (1, 10), (3, 30), (3, 31)] {
            book.apply(key, payload, 5).unwrap();
        }
        book.flush().unwrap();
        drop(book);
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend([7; 20]);
        std::fs::write(&path, &torn).unwrap();

        let effects = read_book(&path).unwrap();
        assert_eq!((effects.len(), [1, 2, 3, 4].map(|key| effects.times(key))), (3, [2, 1, 2, 0]));
        let mut report = Report::new();
        effects.check("partner", &mut report);
        assert_eq!(report.broken(), [Invariant::I10, Invariant::I13]);
        assert_eq!((report.line(Invariant::I10).findings, report.line(Invariant::I13).findings), (2, 1));
        assert_eq!(std::fs::read(&path).unwrap(), torn);
        assert_eq!(read_book(&folder.path().join("none")).unwrap().len(), 0);
    }
}
