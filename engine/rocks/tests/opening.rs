//! Which directories a store opens, which it refuses, and what it leaves alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use hongbao_engine::store::{Applied, Rows, Store, StoreError};
use hongbao_rocks::{RocksEnv, RocksStore};

const OWNER: &str = "intake/3 of log 17";

fn environment() -> RocksEnv {
    RocksEnv::new(4 << 20).unwrap()
}

fn open(dir: &Path, identity: &str) -> Result<RocksStore, StoreError> {
    RocksStore::open(dir, &environment(), identity)
}

fn at(offset: u64) -> Applied {
    Applied { offset, last_record_crc: 5 }
}

fn row(key: &[u8], value: &[u8]) -> Rows {
    let mut rows = Rows::new();
    rows.put(key, value);
    rows
}

/// A store with one commit in `dir`.
fn make(dir: &Path) {
    open(dir, OWNER).unwrap().commit(&[row(b"on1", b"one")], at(9)).unwrap();
}

fn why(refused: Result<RocksStore, StoreError>) -> String {
    match refused {
        Err(StoreError::Open(why)) => why,
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn foreign_and_emptied_directories_are_refused() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil, &str); 8] = [
        (
            "another owner",
            |dir| make_for(dir, "intake/4 of log 17"),
            "it belongs to `intake/4 of log 17`, not to",
        ),
        (
            "another log",
            |dir| make_for(dir, "intake/3 of log 18"),
            "it belongs to `intake/3 of log 18`, not to",
        ),
        (
            "somebody's folder",
            |dir| fs::write(dir.join("thesis.txt"), "x").unwrap(),
            "since it holds `thesis.txt`",
        ),
        (
            "no database",
            |dir| remake(dir, |dir| fs::remove_dir_all(dir.join("db")).unwrap()),
            "its database is gone",
        ),
        ("an emptied database", |dir| remake(dir, |dir| empty(&dir.join("db"))), "its database is gone"),
        (
            "no name",
            |dir| remake(dir, |dir| fs::remove_file(dir.join("identity")).unwrap()),
            "`identity` is gone",
        ),
        ("a file", |dir| replace_by_file(dir), "Not a directory"),
        (
            "a database swapped in",
            |dir| remake(dir, swap_database),
            "it belongs to `intake/4 of log 17`, not to",
        ),
    ];
    for (name, spoil, expected) in cases {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("store");
        fs::create_dir(&dir).unwrap();
        spoil(&dir);
        let why = why(open(&dir, OWNER));
        assert!(why.contains(expected), "{name}: {why}");
        assert!(why.contains(&*dir.to_string_lossy()), "{name} names the directory: {why}");
    }
}

fn make_for(dir: &Path, owner: &str) {
    open(dir, owner).unwrap();
}

fn remake(dir: &Path, spoil: impl Fn(&Path)) {
    make(dir);
    spoil(dir);
}

fn empty(dir: &Path) {
    fs::remove_dir_all(dir).unwrap();
    fs::create_dir(dir).unwrap();
}

fn replace_by_file(dir: &Path) {
    fs::remove_dir(dir).unwrap();
    fs::write(dir, "x").unwrap();
}

fn swap_database(dir: &Path) {
    let other = dir.with_file_name("other");
    make_for(&other, "intake/4 of log 17");
    fs::remove_dir_all(dir.join("db")).unwrap();
    fs::rename(other.join("db"), dir.join("db")).unwrap();
}

#[test]
fn a_making_that_was_cut_off_is_taken_up() {
    type CutOff = fn(&Path);
    let cases: [(&str, CutOff); 4] = [
        ("at the directories", |dir| fs::create_dir_all(dir.join("staging")).unwrap()),
        ("before the database", |dir| fs::create_dir_all(dir.join("db")).unwrap()),
        ("before the name", |dir| {
            make_for(dir, OWNER);
            fs::rename(dir.join("identity"), dir.join("identity.new")).unwrap();
        }),
        ("within the row", |dir| {
            fs::create_dir_all(dir.join("staging")).unwrap();
            fs::write(dir.join("staging/identity.sst"), "half").unwrap();
        }),
    ];
    for (name, cut_off) in cases {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("deep/store");
        cut_off(&dir);
        make(&dir);
        assert_eq!(open(&dir, OWNER).unwrap().get(b"on1").unwrap().as_deref(), Some(&b"one"[..]), "{name}");
    }
}

#[test]
fn leftovers_of_a_commit_are_removed() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let leftover = root.path().join("staging/7-0.sst");
    fs::write(&leftover, "half a file").unwrap();
    let store = open(root.path(), OWNER).unwrap();
    assert!(!leftover.exists());
    store.commit(&[row(b"on2", b"two")], at(10)).unwrap();
    let staged = fs::read_dir(root.path().join("staging")).unwrap().count();
    assert_eq!(staged, 0, "a commit moves its files");
}

#[test]
fn one_owner_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let first = open(root.path(), OWNER).unwrap();
    let being_written = root.path().join("staging/1-0.sst");
    fs::write(&being_written, "of the first").unwrap();
    assert!(why(open(root.path(), OWNER)).contains("lock"));
    assert!(being_written.exists(), "the second must not touch what the first writes");
    drop(first);
    open(root.path(), OWNER).unwrap();
}

#[test]
fn read_only_stores_stand_still() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("store");
    let environment = environment();
    let read_only = |identity| RocksStore::open_read_only(&dir, &environment, identity);
    assert!(why(read_only(OWNER)).contains("there is no store"));
    assert!(!dir.exists(), "reading makes nothing");
    let owner = open(&dir, OWNER).unwrap();
    owner.commit(&[row(b"on1", b"one")], at(9)).unwrap();
    let reader = read_only(OWNER).unwrap();
    owner.commit(&[row(b"on1", b"two")], at(10)).unwrap();
    assert_eq!(reader.get(b"on1").unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(reader.applied().unwrap(), at(9));
    assert!(matches!(reader.commit(&[], at(11)), Err(StoreError::Failed(_))));
    assert_eq!(owner.applied().unwrap(), at(10));
    assert!(why(read_only("intake/4 of log 17")).contains("belongs to"));
}

#[test]
fn rows_of_the_store_itself_are_out_of_reach() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), OWNER).unwrap();
    for key in [&b"~applied"[..], b"~identity"] {
        assert!(matches!(store.commit(&[row(key, b"x")], at(1)), Err(StoreError::Failed(_))));
    }
    assert_eq!(store.applied().unwrap(), Applied::default());
    store.commit(&[row(b"~identitz", b"x")], at(1)).unwrap();
    let mut seen = Vec::new();
    let scanned = store.scan(b"", b"\xFF", &mut |key, _| {
        seen.push(key.to_vec());
        std::ops::ControlFlow::Continue(())
    });
    scanned.unwrap();
    assert_eq!(seen, [b"~identitz"]);
}

#[test]
fn stores_share_one_cache() {
    let root = tempfile::tempdir().unwrap();
    let environment = RocksEnv::new(16 << 20).unwrap().limit_writes(64 << 20);
    let mut used = environment.cache_used_bytes();
    for name in ["a", "b"] {
        let store = RocksStore::open(&root.path().join(name), &environment, name).unwrap();
        store.commit(&[row(b"on1", &[7; 100_000])], at(1)).unwrap();
        assert_eq!(store.get(b"on1").unwrap(), Some(vec![7; 100_000]));
        let now = environment.cache_used_bytes();
        assert!(now > used + 100_000, "{name}: {used} then {now}");
        used = now;
    }
}
