//! A look at RocksDB's MANIFEST before RocksDB reads it. A record whose type is that of a recycled log,
//! which a MANIFEST never is, makes its reader loop for ever at full load (seen with one flipped bit,
//! RocksDB 11.8): such a file is damaged and must be said so (F5, I26). Everything else is left to RocksDB,
//! which checks sums and names what is wrong.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use hongbao_engine::store::StoreError;

const BLOCK_BYTES: usize = 32 << 10;
/// Checksum (4), length (2), type (1).
const HEADER_BYTES: usize = 7;
/// Zeros, and the whole, first, middle or last part of a record.
const TYPE_MAX: u8 = 4;

/// Refuses a database whose present MANIFEST holds a record of a type that cannot be there. A database
/// without one is left to RocksDB.
///
/// # Errors
/// [`StoreError::Corrupt`]; [`StoreError::Failed`] when the file cannot be read.
pub(crate) fn check(database: &Path) -> Result<(), StoreError> {
    let Ok(current) = std::fs::read_to_string(database.join("CURRENT")) else { return Ok(()) };
    let path = database.join(current.trim_end());
    let failed = |error: std::io::Error| StoreError::Failed(format!("{}: {error}", path.display()));
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    for number in 0_usize.. {
        block.clear();
        file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block).map_err(failed)?;
        if block.is_empty() {
            break;
        }
        if let Some((at, kind)) = odd_record(&block) {
            let at = number * BLOCK_BYTES + at;
            let what = format!("{}: a record of type {kind} at byte {at}", path.display());
            return Err(StoreError::Corrupt(what));
        }
    }
    Ok(())
}

/// Place and type of the first record in a block whose type cannot be in a MANIFEST.
fn odd_record(block: &[u8]) -> Option<(usize, u8)> {
    let mut at = 0;
    while let Some(header) = block.get(at..at + HEADER_BYTES) {
        let (length, kind) = (usize::from(u16::from_le_bytes([header[4], header[5]])), header[6]);
        if kind > TYPE_MAX {
            return Some((at, kind));
        }
        if kind == 0 && length == 0 {
            return None;
        }
        at += HEADER_BYTES + length;
    }
    None
}

#[cfg(test)]
mod tests {
    use hongbao_engine::store::{Applied, Rows, Store};

    use super::*;
    use crate::{RocksEnv, RocksStore};

    /// Every record of a real MANIFEST, its type changed to each that RocksDB knows.
    #[test]
    fn types_that_cannot_be_there_are_refused_before_rocksdb_reads_them() {
        let root = tempfile::tempdir().unwrap();
        let environment = RocksEnv::new(1 << 20).unwrap();
        let store = RocksStore::open(root.path(), &environment, "a").unwrap();
        for offset in 1..4 {
            let mut rows = Rows::new();
            rows.put(b"ab", &[7; 16]);
            store.commit(&[rows], Applied { offset, last_record_crc: 0 }).unwrap();
        }
        let database = root.path().join("db");
        drop(store);
        check(&database).unwrap();
        let current = std::fs::read_to_string(database.join("CURRENT")).unwrap();
        let path = database.join(current.trim_end());
        let sound = std::fs::read(&path).unwrap();
        let mut starts = Vec::new();
        let mut at = 0;
        while let Some(header) = sound.get(at..at + HEADER_BYTES).filter(|header| header[6] > 0) {
            starts.push(at);
            at += HEADER_BYTES + usize::from(u16::from_le_bytes([header[4], header[5]]));
        }
        assert!(starts.len() > 3, "{starts:?}");
        for start in starts {
            for kind in (5..=11).chain([130, 131, 255]) {
                let mut bytes = sound.clone();
                bytes[start + 6] = kind;
                std::fs::write(&path, &bytes).unwrap();
                let refused = RocksStore::open(root.path(), &environment, "a").err();
                assert!(
                    matches!(refused, Some(StoreError::Corrupt(_))),
                    "type {kind} at {start}: {refused:?}"
                );
            }
        }
        std::fs::write(&path, &sound).unwrap();
        RocksStore::open(root.path(), &environment, "a").unwrap();
    }
}
