//! Damaged bytes are noticed or harmless, never believed (F5, I26).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use hongbao_engine::store::{Applied, Rows, Store, StoreError};
use hongbao_rocks::{RocksEnv, RocksStore};

const OWNER: &str = "views/0 of log 17";
const COMMITS: u64 = 4;

/// Flips tried in each file, over its whole length.
const FLIPS: usize = 24;

/// Files that a store can do without.
const NOT_NEEDED: [&str; 4] = ["LOG", "LOCK", "OPTIONS", "IDENTITY"];

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A closed store of several commits, with what it held after each.
fn make(dir: &Path, environment: &RocksEnv) -> Vec<Model> {
    let store = RocksStore::open(dir, environment, OWNER).unwrap();
    let mut states = vec![Model::new()];
    for number in 1..=COMMITS {
        let mut model = states.last().unwrap().clone();
        let mut rows = Rows::new();
        for index in 0..40 {
            let key = format!("aa{:04}", index * number % 97).into_bytes();
            let value = format!("{number} {index}").into_bytes();
            if model.insert(key.clone(), value.clone()) != Some(value.clone())
                && rows.iter().all(|row| row.0 != key)
            {
                rows.put(&key, &value);
            }
            model.insert(key.clone(), rows.iter().find(|row| row.0 == key).unwrap().1.unwrap().to_vec());
        }
        rows.sort();
        store.commit(&[rows], Applied { offset: number, last_record_crc: 0 }).unwrap();
        states.push(model);
    }
    states
}

fn read_all(dir: &Path, environment: &RocksEnv) -> Result<(u64, Model), StoreError> {
    let store = RocksStore::open(dir, environment, OWNER)?;
    let mut model = Model::new();
    store.scan(b"", b"zz", &mut |key, value| {
        model.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    })?;
    for (key, value) in &model {
        assert_eq!(store.get(key)?.as_ref(), Some(value));
    }
    Ok((store.applied()?.offset, model))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

#[test]
fn flipped_bytes_are_noticed_or_harmless() {
    let environment = RocksEnv::new(4 << 20).unwrap();
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    let states = make(&whole, &environment);
    assert_eq!(read_all(&whole, &environment), Ok((COMMITS, states.last().unwrap().clone())));
    let (mut noticed, mut harmless) = (0, 0);
    for file in files(&whole) {
        let name = file.strip_prefix(&whole).unwrap();
        if NOT_NEEDED.iter().any(|start| name.file_name().unwrap().to_string_lossy().starts_with(start)) {
            continue;
        }
        let len = fs::metadata(&file).unwrap().len() as usize;
        for flip in 0..FLIPS.min(len) {
            let damaged = root.path().join("damaged");
            copy(&whole, &damaged);
            let mut bytes = fs::read(damaged.join(name)).unwrap();
            bytes[flip * len / FLIPS.min(len)] ^= 1 << (flip % 8);
            fs::write(damaged.join(name), bytes).unwrap();
            match read_all(&damaged, &environment) {
                Err(_) => noticed += 1,
                // A manifest cut short is an earlier commit, whole; the log replays the rest.
                Ok((offset, model)) => {
                    assert_eq!(Some(&model), states.get(offset as usize), "{name:?}, flip {flip}");
                    harmless += 1;
                }
            }
            fs::remove_dir_all(damaged).unwrap();
        }
    }
    assert!(noticed > 50 && harmless > 0, "{noticed} noticed, {harmless} harmless");
}

#[test]
fn missing_files_are_noticed() {
    let environment = RocksEnv::new(4 << 20).unwrap();
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    make(&whole, &environment);
    let needed = |file: &Path| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        name.ends_with(".sst") || name == "CURRENT" || name.starts_with("MANIFEST")
    };
    let needed: Vec<_> = files(&whole).into_iter().filter(|file| needed(file)).collect();
    assert!(needed.len() > 2);
    for file in needed {
        let damaged = root.path().join("damaged");
        copy(&whole, &damaged);
        fs::remove_file(damaged.join(file.strip_prefix(&whole).unwrap())).unwrap();
        assert!(read_all(&damaged, &environment).is_err(), "{file:?}");
        fs::remove_dir_all(damaged).unwrap();
    }
}
