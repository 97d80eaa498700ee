//! Commits of which nobody knows whether they happened, and what becomes of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hongbao_engine::store::{Applied, Rows, Store, StoreError};
use rocksdb::{DB, DEFAULT_COLUMN_FAMILY_NAME};

use crate::commit::write_files;
use crate::tests::{commit, run};
use crate::{RocksEnv, RocksStore};

/// As RocksDB leaves a store when the sync of its MANIFEST fails behind an ingest: the record is there,
/// the tables that it names are removed, the files handed over are not.
fn with_a_failed_sync(root: &Path, environment: &RocksEnv, runs: &[Rows]) -> Vec<PathBuf> {
    let store = RocksStore::open(root, environment, "intake/0").unwrap();
    commit(&store, &[run("on", 0, 1, 10)], 1);
    drop(store);
    fail_a_sync(root, environment, runs, 2).0
}

/// Stages the files of a commit.
fn write_again(root: &Path, environment: &RocksEnv, runs: &[Rows], number: u64) -> Vec<PathBuf> {
    let applied = Applied { offset: number, last_record_crc: 0 };
    write_files(&root.join("staging"), number, &environment.commit_files(), runs, applied).unwrap()
}

/// The tables of a store.
fn tables(root: &Path) -> BTreeSet<PathBuf> {
    let all = std::fs::read_dir(root.join("db")).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|suffix| suffix == "sst")).collect()
}

/// Commits number `number` to a store as if the sync behind it had failed. Returns the staged files, and the tables that
/// are not there.
fn fail_a_sync(
    root: &Path,
    environment: &RocksEnv,
    runs: &[Rows],
    number: u64,
) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let store = RocksStore::open(root, environment, "intake/0").unwrap();
    let before = tables(root);
    let files = write_again(root, environment, runs, number);
    let held: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
    store.ingest(files.clone()).unwrap();
    drop(store);
    let lost: Vec<PathBuf> = tables(root).difference(&before).cloned().collect();
    for table in &lost {
        std::fs::remove_file(table).unwrap();
    }
    for (file, bytes) in files.iter().zip(held) {
        std::fs::write(file, bytes).unwrap();
    }
    assert_eq!(files.len(), lost.len());
    (files, lost)
}

#[test]
fn a_commit_whose_sync_failed_happens_at_the_next_start() {
    let large = run("on", 10, 1, 80_000);
    for runs in [vec![run("on", 10, 1, 5)], vec![large.clone(), run("wa", 0, 3, 20)], vec![large]] {
        let root = directory();
        let environment = RocksEnv::new(8 << 20).unwrap();
        let files = with_a_failed_sync(root.path(), &environment, &runs);
        for _ in 0..2 {
            let store = RocksStore::open(root.path(), &environment, "intake/0").unwrap();
            assert_eq!(store.applied().unwrap().offset, 2, "{files:?}");
            assert_eq!(store.get(b"on000000000010").unwrap(), Some(vec![7; 16]));
            assert_eq!(std::fs::read_dir(root.path().join("staging")).unwrap().count(), 0);
        }
    }
}

#[test]
fn files_that_are_not_the_missing_ones_are_not_taken_for_them() {
    let root = directory();
    let environment = RocksEnv::new(8 << 20).unwrap();
    let files = with_a_failed_sync(root.path(), &environment, &[run("on", 10, 1, 5)]);
    // The same rows once more: of the same size, but not the file that was handed over.
    let length = std::fs::metadata(&files[0]).unwrap().len();
    let other = write_again(root.path(), &environment, &[run("on", 10, 1, 5)], 2);
    assert_eq!((&other, std::fs::metadata(&other[0]).unwrap().len()), (&files, length));
    for left in [1, 0] {
        let error = RocksStore::open(root.path(), &environment, "intake/0").map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(_)), "{left} files: {error}");
        _ = std::fs::remove_file(&files[0]);
    }
}

/// A directory for a store that need not outlive the machine: these tests open some hundreds.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

/// A copy of a store.
fn copied(root: &Path) -> tempfile::TempDir {
    let copy = directory();
    for folder in ["", "db", "staging"] {
        std::fs::create_dir_all(copy.path().join(folder)).unwrap();
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, copy.path().join(folder).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    copy
}

/// Fewer than are merged.
const COMMITS: u64 = 45;

/// Commits five rows, and returns how many tables level 0 has. Which of them RocksDB loads depends on
/// their numbers, of which every opening takes some: so steps between them differ.
fn add_table(root: &Path, environment: &RocksEnv, number: u64) -> u64 {
    for _ in 0..number * number % 5 {
        RocksStore::open(root, environment, "intake/0").unwrap();
    }
    let store = RocksStore::open(root, environment, "intake/0").unwrap();
    commit(&store, &[run("on", number * 5, 1, 5)], number);
    store.level0_files().unwrap()
}

/// RocksDB loads 16 tables when it opens a database, and misses the others when they are read.
#[test]
fn a_lost_table_is_noticed_among_many() {
    let root = directory();
    let environment = RocksEnv::new(8 << 20).unwrap();
    let mut unnoticed = 0;
    for number in 1..=COMMITS {
        if add_table(root.path(), &environment, number) < 25 {
            continue;
        }
        let copy = copied(root.path());
        let runs = [run("on", (number + 1) * 5, 1, 5)];
        let (files, lost) = fail_a_sync(copy.path(), &environment, &runs, number + 1);
        let database = copy.path().join("db");
        let options = environment.database();
        let families = [(DEFAULT_COLUMN_FAMILY_NAME, options.clone())];
        let plain = DB::open_cf_with_opts_for_read_only(&options, &database, families, false);
        unnoticed += u64::from(plain.is_ok());
        drop(plain);
        // Nothing staged is it: the store is damaged, and is not opened to be read wrong one day.
        let held = std::fs::read(&files[0]).unwrap();
        std::fs::remove_file(&files[0]).unwrap();
        let error = RocksStore::open(copy.path(), &environment, "intake/0").map(drop).unwrap_err();
        let StoreError::Corrupt(what) = error else { panic!("{number}: {error}") };
        let name = lost[0].file_stem().unwrap().to_str().unwrap().trim_start_matches('0');
        assert!(what.contains(name), "{what} does not name table {name}");
        std::fs::write(&files[0], held).unwrap();
        for _ in 0..2 {
            let store = RocksStore::open(copy.path(), &environment, "intake/0").unwrap();
            assert_eq!(store.applied().unwrap().offset, number + 1);
            for row in 5..(number + 2) * 5 {
                assert!(
                    store.get(format!("on{row:012}").as_bytes()).unwrap().is_some(),
                    "{number}: row {row}"
                );
            }
        }
    }
    assert!(unnoticed > 0, "RocksDB notices by itself: none of the stores had its lost table unloaded");
}

/// Among many tables RocksDB does not look at the one that was put back either.
#[test]
fn among_many_tables_a_file_that_is_not_the_lost_one_is_not_taken_for_it() {
    let root = directory();
    let environment = RocksEnv::new(8 << 20).unwrap();
    for number in 1..=COMMITS - 10 {
        if add_table(root.path(), &environment, number) < 25 {
            continue;
        }
        let copy = copied(root.path());
        let runs = [run("on", (number + 1) * 5, 1, 5)];
        let (files, lost) = fail_a_sync(copy.path(), &environment, &runs, number + 1);
        write_again(copy.path(), &environment, &runs, number + 1);
        let error = RocksStore::open(copy.path(), &environment, "intake/0").map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(_)), "{number}: {error}");
        assert!(files[0].exists() && !lost[0].exists(), "{number}: what is not known was changed");
    }
}

/// Giving back, or RocksDB's removal, was itself cut off: some tables are there, as the staged files.
#[test]
fn giving_back_goes_on_where_it_was_cut_off() {
    let large = |first| run("on", first, 1, 80_000);
    let runs = [large(10), large(100_000), run("wa", 0, 3, 20)];
    for there in 0..8_usize {
        let root = directory();
        let environment = RocksEnv::new(8 << 20).unwrap();
        let store = RocksStore::open(root.path(), &environment, "intake/0").unwrap();
        commit(&store, &[run("on", 0, 1, 10)], 1);
        drop(store);
        let (files, lost) = fail_a_sync(root.path(), &environment, &runs, 2);
        assert_eq!(files.len(), 3);
        for (index, (file, table)) in files.iter().zip(&lost).enumerate() {
            if there & 1 << index != 0 {
                std::fs::hard_link(file, table).unwrap();
            }
        }
        // A file that is not one of them: what was there before stays, what was linked goes again.
        let changed = (0..3).find(|index| there & 1 << index == 0);
        if let Some(index) = changed {
            let held = std::fs::read(&files[index]).unwrap();
            std::fs::remove_file(&files[index]).unwrap();
            std::fs::write(&files[index], &held[..held.len() - 1]).unwrap();
            let error = RocksStore::open(root.path(), &environment, "intake/0").map(drop).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt(_)), "{there:03b}: {error}");
            let found = (0..3).fold(0, |found, index| found | usize::from(lost[index].exists()) << index);
            assert_eq!(found, there, "tables there");
            std::fs::write(&files[index], held).unwrap();
        }
        for _ in 0..2 {
            let store = RocksStore::open(root.path(), &environment, "intake/0").unwrap();
            assert_eq!(store.applied().unwrap().offset, 2, "{there:03b}");
            for row in ["on000000000010", "on000000100000", "wa000000000057"] {
                assert_eq!(store.get(row.as_bytes()).unwrap(), Some(vec![7; 16]), "{there:03b}: {row}");
            }
            assert_eq!(std::fs::read_dir(root.path().join("staging")).unwrap().count(), 0);
        }
    }
}
