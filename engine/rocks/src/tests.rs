//! Where RocksDB puts the files of commits, and what that costs.

use std::sync::Arc;

use hongbao_engine::store::{Applied, Rows, Store, StoreError};

use crate::commit::OWN_FILE_BYTES;
use crate::store::{LEVEL0_FILES_MAX, Merging, after_errors};
use crate::{RocksEnv, RocksStore};

/// A run of `count` rows of `kind`, `step` apart, from `first`.
pub(crate) fn run(kind: &str, first: u64, step: u64, count: u64) -> Rows {
    let mut rows = Rows::new();
    for index in 0..count {
        rows.put(format!("{kind}{:012}", first + index * step).as_bytes(), &[7; 16]);
    }
    rows
}

pub(crate) fn commit(store: &RocksStore, runs: &[Rows], offset: u64) {
    store.commit(runs, Applied { offset, last_record_crc: 0 }).unwrap();
}

#[test]
fn large_appended_runs_go_to_the_bottom_at_once() {
    const COMMITS: u64 = 40;
    const ENTRIES: u64 = 80_000;
    let root = tempfile::tempdir().unwrap();
    let environment = RocksEnv::new(8 << 20).unwrap();
    let store = RocksStore::open(root.path(), &environment, "views/0").unwrap();
    for number in 0..COMMITS {
        // Entries are appended; a few other rows and the runner's are written anew each time.
        let runs = [run("en", number * ENTRIES, 1, ENTRIES), run("wa", 0, 3, 20), run("~m", 0, 1, 3)];
        assert!(runs[0].byte_len() >= OWN_FILE_BYTES);
        commit(&store, &runs, number);
    }
    let files = store.db.live_files().unwrap();
    let appended: Vec<_> = files.iter().filter(|file| file.num_entries == ENTRIES).collect();
    assert_eq!(appended.len() as u64, COMMITS, "none was merged: {files:?}");
    assert!(appended.iter().all(|file| file.level == 6), "{appended:?}");
}

#[test]
fn small_runs_do_not_pile_up() {
    let root = tempfile::tempdir().unwrap();
    let environment = RocksEnv::new(8 << 20).unwrap();
    let store = RocksStore::open(root.path(), &environment, "views/0").unwrap();
    for number in 0..150 {
        commit(&store, &[run("en", number * 5, 1, 5), run("wa", 0, 3, 2)], number);
    }
    let files = store.db.live_files().unwrap().len() as u64;
    assert!(files <= LEVEL0_FILES_MAX + 7, "{files} files");
}

#[test]
fn a_large_run_may_surround_the_applied_offset() {
    let root = tempfile::tempdir().unwrap();
    let environment = RocksEnv::new(8 << 20).unwrap();
    let store = RocksStore::open(root.path(), &environment, "views/0").unwrap();
    for number in 1..=20 {
        let mut wide = run("en", 0, 1, 80_000);
        wide.put(b"~s", &[number as u8]);
        assert!(wide.byte_len() >= OWN_FILE_BYTES);
        commit(&store, &[wide, run("~t", 0, 1, 1)], number);
        assert_eq!(store.applied().unwrap().offset, number);
        assert_eq!(store.get(b"~s").unwrap(), Some(vec![number as u8]));
    }
}

#[test]
fn commits_wait_for_merging_and_hold_no_one_up() {
    let root = tempfile::tempdir().unwrap();
    let environment = RocksEnv::new(8 << 20).unwrap();
    let store = Arc::new(RocksStore::open(root.path(), &environment, "intake/0").unwrap());
    let most = std::thread::scope(|threads| {
        let commits = threads.spawn(|| {
            let mut most = 0;
            for number in 0..200 {
                commit(&store, &[run("on", number, 200, 200)], number);
                most = most.max(store.level0_files().unwrap());
            }
            most
        });
        while !commits.is_finished() {
            // Reads go on meanwhile, also while a commit waits.
            store.get(b"on000000000000").unwrap();
            store.applied().unwrap();
        }
        commits.join().unwrap()
    });
    assert!(most <= LEVEL0_FILES_MAX + 1, "level 0 had {most} files");
    assert_eq!(store.applied().unwrap().offset, 199);
    let mut count = 0;
    let scanned = store.scan(b"on", b"oo", &mut |_, _| {
        count += 1;
        std::ops::ControlFlow::Continue(())
    });
    scanned.unwrap();
    assert_eq!(count, 200 * 200);
}

#[test]
fn a_failed_commit_stops_the_store_until_it_is_opened_again() {
    let root = tempfile::tempdir().unwrap();
    let environment = RocksEnv::new(8 << 20).unwrap();
    let store = RocksStore::open(root.path(), &environment, "intake/0").unwrap();
    commit(&store, &[run("on", 0, 1, 10)], 1);
    // No folder for its files: the next commit cannot be written.
    let staging = root.path().join("staging");
    std::fs::remove_dir_all(&staging).unwrap();
    let rows = [run("on", 10, 1, 10)];
    let applied = Applied { offset: 2, last_record_crc: 0 };
    store.commit(&rows, applied).unwrap_err();
    std::fs::create_dir(&staging).unwrap();
    let why = store.commit(&rows, applied).unwrap_err().to_string();
    assert!(why.contains("open the store again"), "{why}");
    assert_eq!(store.applied().unwrap().offset, 1);
    drop(store);
    let store = RocksStore::open(root.path(), &environment, "intake/0").unwrap();
    store.commit(&rows, applied).unwrap();
    assert_eq!(store.applied().unwrap(), applied);
}

#[test]
fn large_filters_stay_in_the_cache() {
    let root = tempfile::tempdir().unwrap();
    let environment = RocksEnv::new(8 << 20).unwrap();
    let store = RocksStore::open(root.path(), &environment, "intake/0").unwrap();
    commit(&store, &[run("on", 0, 2, 700_000)], 1);
    assert_eq!(store.get(b"on000000000001").unwrap(), None);
    // 12 bits a row.
    let held = environment.cache_used_bytes();
    assert!(held > 1_000_000, "only {held} bytes: the filter was dropped at once");
}

/// The files are written to a device that is always full, and the database never hears of them.
#[test]
fn a_commit_without_room_leaves_no_trace_and_can_be_tried_again() {
    let root = tempfile::tempdir().unwrap();
    let environment = RocksEnv::new(8 << 20).unwrap();
    let store = RocksStore::open(root.path(), &environment, "intake/0").unwrap();
    commit(&store, &[run("on", 0, 1, 10)], 1);
    let staging = root.path().join("staging");
    let large = run("on", 10, 1, 80_000);
    assert!(large.byte_len() >= OWN_FILE_BYTES);
    // The second commit has its small file there, the third its large one.
    for (number, file) in [(2, "2-applied.sst"), (3, "3-0.sst")] {
        std::os::unix::fs::symlink("/dev/full", staging.join(file)).unwrap();
        let runs = [large.clone(), run("wa", 0, 3, 20)];
        let error = store.commit(&runs, Applied { offset: 2, last_record_crc: 0 }).unwrap_err();
        assert!(matches!(error, StoreError::Full(_)), "{number}: {error}");
        assert_eq!(store.applied().unwrap().offset, 1);
        assert_eq!(store.get(b"on000000000010").unwrap(), None);
        assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0, "{file} stays");
    }
    commit(&store, &[large, run("wa", 0, 3, 20)], 2);
    drop(store);
    let store = RocksStore::open(root.path(), &environment, "intake/0").unwrap();
    assert_eq!(store.applied().unwrap().offset, 2);
    assert_eq!(store.get(b"on000000000010").unwrap(), Some(vec![7; 16]));
}

#[test]
fn errors_of_merging_are_put_down_to_a_lack_of_space_where_there_is_one() {
    // (errors, excused, free, store, meaning)
    let cases = [
        (0, 0, 0, 100, Merging::GoesOn),
        (1, 0, 100, 100, Merging::HasFailed),
        (1, 0, 99, 100, Merging::LacksSpace),
        (1, 1, 99, 100, Merging::LacksSpace),
        // There is room again: merging goes on by itself.
        (1, 1, 100, 100, Merging::GoesOn),
        (2, 1, 100, 100, Merging::HasFailed),
    ];
    for (errors, excused, free, store, meaning) in cases {
        let case = (errors, excused, free, store);
        assert_eq!(after_errors(errors, excused, free, store), meaning, "{case:?}");
    }
}
