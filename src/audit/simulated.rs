//! The book of a simulated downstream, read without touching it: opening it as its owner does would
//! cut a torn end off.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use hongbao_audit::{Invariant, Report};

/// Bytes of a record: key, payload, time, checksum.
const RECORD_BYTES: usize = 16 + 16 + 8 + 8;
const CHECKED_BYTES: usize = 40;

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
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(effects),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut record = [0; RECORD_BYTES];
    while read_whole(&mut reader, &mut record)? {
        let Some((key, payload)) = decode(&record) else { break };
        effects.add(key, payload);
    }
    Ok(effects)
}

fn read_whole(reader: &mut impl Read, record: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(record) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn decode(record: &[u8; RECORD_BYTES]) -> Option<(u128, u128)> {
    let (checked, checksum) = record.split_at(CHECKED_BYTES);
    if !blake3::hash(checked).as_bytes().starts_with(checksum) {
        return None;
    }
    let key = u128::from_le_bytes(*checked.first_chunk()?);
    let payload = u128::from_le_bytes(*checked.get(16..)?.first_chunk()?);
    Some((key, payload))
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
