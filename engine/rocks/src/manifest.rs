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

    /// Whatever is read there: the walk ends, and the record it names has such a type.
    #[test]
    fn a_block_of_any_bytes_is_walked_to_its_end() {
        let mut drawn = 1_u64;
        let mut draw = || {
            drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (drawn >> 56) as u8
        };
        let mut odd = 0;
        for number in 0..20_000_usize {
            let mut block: Vec<u8> = (0..number % 200).map(|_| draw()).collect();
            // Types and lengths that lead on, most of the time.
            for at in (6..block.len()).step_by(HEADER_BYTES) {
                (block[at], block[at - 1]) = (draw() % 6, 0);
                block[at - 2] %= 2;
            }
            if let Some((at, kind)) = odd_record(&block) {
                assert!(kind > TYPE_MAX && block[at + 6] == kind, "{at} of {block:?}");
                odd += 1;
            }
        }
        assert!(odd > 1_000, "{odd}");
    }

    /// A changed MANIFEST is refused, or gives what was committed, all of it or up to some commit; RocksDB's
    /// reader always comes back.
    #[test]
    fn a_changed_manifest_shows_nothing_that_was_not_committed() {
        let root = tempfile::tempdir().unwrap();
        let environment = RocksEnv::new(1 << 20).unwrap();
        let store = RocksStore::open(root.path(), &environment, "a").unwrap();
        let mut rows = Rows::new();
        rows.put(b"ab", &[7; 16]);
        let applied = Applied { offset: 3, last_record_crc: 9 };
        store.commit(&[rows], applied).unwrap();
        drop(store);
        // Each open writes a MANIFEST anew, so that each trial begins with the same files.
        let database = root.path().join("db");
        let files: Vec<_> =
            std::fs::read_dir(&database).unwrap().map(|entry| entry.unwrap().path()).collect();
        let files: Vec<_> = files.into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
        let current = std::fs::read_to_string(database.join("CURRENT")).unwrap();
        let manifest = database.join(current.trim_end());
        let sound = std::fs::read(&manifest).unwrap();
        let (mut refused, mut same, mut earlier) = (0, 0_u64, 0_u64);
        for (number, at) in (0..sound.len()).step_by(sound.len().div_ceil(300)).enumerate() {
            std::fs::remove_dir_all(&database).unwrap();
            std::fs::create_dir(&database).unwrap();
            for (bytes, path) in &files {
                std::fs::write(path, bytes).unwrap();
            }
            let mut bytes = sound.clone();
            match number % 3 {
                0 => bytes[at] ^= 1 << (number / 3 % 8),
                1 => bytes[at] = !bytes[at],
                _ => bytes.truncate(at),
            }
            std::fs::write(&manifest, &bytes).unwrap();
            match RocksStore::open(root.path(), &environment, "a") {
                Err(_) => refused += 1,
                Ok(store) => {
                    let (found, row) = (store.applied().unwrap(), store.get(b"ab").unwrap());
                    // Cut off, or with a length that leads behind the end, it is that of an earlier moment, as
                    // after a loss of power: whole commits are missing, and are folded again from the log.
                    let is_earlier = found == Applied::default() && row.is_none();
                    let is_same = found == applied && row.as_deref() == Some(&[7; 16][..]);
                    assert!(is_same || is_earlier, "byte {at}: {found:?}, {row:?}");
                    same += u64::from(is_same);
                    earlier += u64::from(is_earlier);
                }
            }
        }
        assert!(refused > 50, "{refused} refused, {same} the same, {earlier} earlier");
    }
}
