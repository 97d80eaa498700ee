//! A commit of several files is there as a whole or not at all, whatever becomes of one of them (I6). With
//! the feature `mutants` the bug that takes this away is planted, and must be caught:
//! `cargo test --release -p hongbao-rocks --features mutants --test planted`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[cfg(feature = "mutants")]
use hongbao_engine::mutants::Below;
use hongbao_engine::store::{Applied, Rows, Store};
use hongbao_rocks::{RocksEnv, RocksStore};

/// More than a file of its own takes.
const ROWS: u32 = 40_000;

fn open(root: &std::path::Path) -> RocksStore {
    RocksStore::open(root, &RocksEnv::new(8 << 20).unwrap(), "intake/0").unwrap()
}

/// The file with the offset is a link that leads nowhere once it is moved into the database: it can be
/// written, and not be taken in.
fn the_file_with_the_offset_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let mut rows = Rows::new();
    (0..ROWS).for_each(|row| rows.put(format!("on{row:012}").as_bytes(), &[7; 64]));
    {
        let store = open(root.path());
        store.commit(&[], Applied { offset: 1, last_record_crc: 0 }).unwrap();
        let staging = root.path().join("staging");
        std::os::unix::fs::symlink("elsewhere", staging.join("2-applied.sst")).unwrap();
        store.commit(&[rows], Applied { offset: 2, last_record_crc: 0 }).unwrap_err();
        std::fs::remove_file(staging.join("2-applied.sst")).unwrap();
    }
    let store = open(root.path());
    assert_eq!(store.applied().unwrap().offset, 1);
    assert_eq!(store.get(b"on000000000000").unwrap(), None, "rows are there without their offset");
}

#[test]
fn a_commit_is_there_as_a_whole_or_not_at_all() {
    the_file_with_the_offset_is_lost();
    #[cfg(feature = "mutants")]
    Below::STORES.are_caught(|_| the_file_with_the_offset_is_lost);
}
