//! What every store must do ([`Store`]'s contract), case by case.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use hongbao_engine::store::{Applied, Rows, Store, StoreError};

/// Opens the store of a directory. Called again for the same directory once the earlier store is
/// dropped, it must show what was committed.
pub type Open<'a> = dyn Fn(&Path) -> Arc<dyn Store> + 'a;

type Case = fn(&Open<'_>, &Path);

/// Runs every case, each in an empty directory of its own.
///
/// # Panics
/// When the store breaks its contract.
pub fn suite(open: impl Fn(&Path) -> Arc<dyn Store>) {
    let cases: &[(&str, Case)] = &[
        ("an empty store", empty),
        ("boundary keys and values", boundaries),
        ("deletes and overwrites", deletes),
        ("multi_get keeps order, misses and repeats", multi_get),
        ("scan ranges", scan_ranges),
        ("scans stop when told", scan_breaks),
        ("a scan sees one state", scan_is_consistent),
        ("applied", applied),
        ("unsorted runs are refused", refused),
        ("several runs are one commit", several_runs),
        ("a large commit", large),
        ("reopening keeps whole commits", reopen),
        ("commits beside readers", concurrent),
    ];
    let root = tempfile::tempdir().unwrap();
    for (number, (name, case)) in cases.iter().enumerate() {
        let dir = root.path().join(number.to_string());
        std::fs::create_dir(&dir).unwrap();
        println!("store case: {name}");
        case(&open, &dir);
    }
}

type Key<'a> = &'a [u8];
type Row<'a> = (&'a [u8], Option<&'a [u8]>);

/// A sorted run; no value deletes.
fn run(rows: &[Row<'_>]) -> Rows {
    let mut run = unsorted(rows);
    run.sort();
    run
}

fn unsorted(rows: &[Row<'_>]) -> Rows {
    let mut run = Rows::new();
    for (key, value) in rows {
        match value {
            Some(value) => run.put(key, value),
            None => run.delete(key),
        }
    }
    run
}

fn at(offset: u64) -> Applied {
    Applied { offset, last_record_crc: !(offset as u32) }
}

fn commit(store: &dyn Store, rows: &[Row<'_>], offset: u64) {
    store.commit(&[run(rows)], at(offset)).unwrap();
}

fn scan(store: &dyn Store, from: &[u8], to: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let visited = store.scan(from, to, &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    });
    visited.unwrap();
    rows
}

fn keys(store: &dyn Store, from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
    scan(store, from, to).into_iter().map(|(key, _)| key).collect()
}

/// Above every key of these cases.
const END: &[u8] = b"~~";

fn empty(open: &Open<'_>, dir: &Path) {
    let store = open(dir);
    assert_eq!(store.applied().unwrap(), Applied::default());
    assert_eq!(store.get(b"aa").unwrap(), None);
    assert_eq!(store.multi_get(&[]).unwrap(), Vec::<Option<Vec<u8>>>::new());
    assert_eq!(store.multi_get(&[b"aa", b"bb"]).unwrap(), [None, None]);
    assert_eq!(keys(&*store, b"", END), Vec::<Vec<u8>>::new());
}

fn boundaries(open: &Open<'_>, dir: &Path) {
    let store = open(dir);
    let long_key = [b"aa".to_vec(), vec![0xFF; 4000]].concat();
    let long_value = vec![7; 1 << 20];
    let rows: Vec<Row<'_>> = vec![
        (b"aa", Some(b"shortest key")),
        (b"aa\0", Some(b"zero")),
        (b"aa\0\0", Some(b"two zeros")),
        (b"aa\xFF", Some(b"")),
        (&long_key, Some(&long_value)),
        (b"ab", Some(b"\0")),
        (b"zz\xFF\xFF", Some(b"last kind")),
    ];
    commit(&*store, &rows, 1);
    for (key, value) in &rows {
        assert_eq!(store.get(key).unwrap().as_deref(), *value, "{:?}", key.get(..5));
    }
    for absent in [&b"a"[..], b"aa\0\0\0", b"aa\x01", b"zz\xFF"] {
        assert_eq!(store.get(absent).unwrap(), None, "{absent:?}");
    }
    let expected: Vec<_> = rows.iter().map(|(key, _)| key.to_vec()).collect();
    assert_eq!(keys(&*store, b"aa", END), expected, "in byte order, as unsigned bytes");
}

fn deletes(open: &Open<'_>, dir: &Path) {
    let store = open(dir);
    commit(&*store, &[(b"aa1", Some(b"1")), (b"aa2", Some(b"2")), (b"aa3", Some(b"3"))], 1);
    commit(&*store, &[(b"aa1", None), (b"aa2", Some(b"two")), (b"aa9", None)], 2);
    assert_eq!(
        store.multi_get(&[b"aa1", b"aa2", b"aa3", b"aa9"]).unwrap(),
        [None, Some(b"two".to_vec()), Some(b"3".to_vec()), None]
    );
    assert_eq!(keys(&*store, b"aa", END), [b"aa2", b"aa3"]);
    commit(&*store, &[(b"aa1", Some(b"again"))], 3);
    assert_eq!(store.get(b"aa1").unwrap().as_deref(), Some(&b"again"[..]));
}

fn multi_get(open: &Open<'_>, dir: &Path) {
    let store = open(dir);
    commit(&*store, &[(b"aa1", Some(b"1")), (b"aa2", Some(b"2"))], 1);
    commit(&*store, &[(b"aa3", Some(b"3"))], 2);
    let cases: [(&[Key<'_>], &[Option<&str>]); 4] = [
        (&[b"aa1", b"aa2", b"aa3"], &[Some("1"), Some("2"), Some("3")]),
        (&[b"aa3", b"aa0", b"aa1"], &[Some("3"), None, Some("1")]),
        (&[b"aa2", b"aa2", b"aa4"], &[Some("2"), Some("2"), None]),
        (&[b"zz"], &[None]),
    ];
    for (asked, expected) in cases {
        let found = store.multi_get(asked).unwrap();
        let expected: Vec<_> =
            expected.iter().map(|value| value.map(|text| text.as_bytes().to_vec())).collect();
        assert_eq!(found, expected, "{asked:?}");
    }
}

fn scan_ranges(open: &Open<'_>, dir: &Path) {
    let store = open(dir);
    commit(&*store, &[(b"aa1", Some(b"")), (b"ab", Some(b"")), (b"ab1", Some(b"")), (b"ac", Some(b""))], 1);
    let cases: [(Key<'_>, Key<'_>, &[Key<'_>]); 8] = [
        (b"aa", b"ab", &[b"aa1"]),
        (b"ab", b"ac", &[b"ab", b"ab1"]),
        (b"ab", b"ab\0", &[b"ab"]),
        (b"ab\0", b"ac", &[b"ab1"]),
        (b"", b"\xFF", &[b"aa1", b"ab", b"ab1", b"ac"]),
        (b"ab", b"ab", &[]),
        (b"ac", b"aa", &[]),
        (b"ad", b"zz", &[]),
    ];
    for (from, to, expected) in cases {
        assert_eq!(keys(&*store, from, to), *expected, "{from:?} to {to:?}");
    }
}

fn scan_breaks(open: &Open<'_>, dir: &Path) {
    let store = open(dir);
    commit(&*store, &[(b"aa1", Some(b"")), (b"aa2", Some(b"")), (b"aa3", Some(b""))], 1);
    for stop_after in 1..=3 {
        let mut visited = 0;
        let scanned = store.scan(b"aa", END, &mut |_, _| {
            visited += 1;
            if visited == stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((scanned, visited), (Ok(()), stop_after));
    }
}

fn scan_is_consistent(open: &Open<'_>, dir: &Path) {
    let store = open(dir);
    commit(&*store, &[(b"aa1", Some(b"old")), (b"aa2", Some(b"old")), (b"aa3", Some(b"old"))], 1);
    let mut seen = Vec::new();
    let scanned = store.scan(b"aa", END, &mut |key, value| {
        if seen.is_empty() {
            commit(&*store, &[(b"aa2", Some(b"new")), (b"aa3", None), (b"aa4", Some(b"new"))], 2);
        }
        seen.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    let old = |key: &[u8]| (key.to_vec(), b"old".to_vec());
    assert_eq!(seen, [old(b"aa1"), old(b"aa2"), old(b"aa3")]);
    assert_eq!(keys(&*store, b"aa", END), [b"aa1", b"aa2", b"aa4"]);
}

fn applied(open: &Open<'_>, dir: &Path) {
    let store = open(dir);
    for offset in [1, 1, 7, 3, u64::MAX, 0] {
        store.commit(&[], at(offset)).unwrap();
        assert_eq!(store.applied().unwrap(), at(offset), "a commit without rows moves it too");
    }
    store.commit(&[Rows::new(), run(&[(b"aa", Some(b"1"))]), Rows::new()], at(9)).unwrap();
    assert_eq!(store.applied().unwrap(), at(9));
    assert_eq!(keys(&*store, b"aa", b"zz"), [b"aa"], "what is applied is not among the rows");
}

fn refused(open: &Open<'_>, dir: &Path) {
    let store = open(dir);
    commit(&*store, &[(b"aa1", Some(b"kept"))], 5);
    let one = |key| run(&[(key, Some(&b"new"[..]))]);
    let cases: Vec<(&str, Vec<Rows>)> = vec![
        ("unsorted", vec![unsorted(&[(b"aa2", Some(b"")), (b"aa1", Some(b""))])]),
        ("repeated", vec![unsorted(&[(b"aa1", Some(b"")), (b"aa1", Some(b""))])]),
        ("put and deleted", vec![unsorted(&[(b"aa1", Some(b"")), (b"aa1", None)])]),
        ("repeated between runs", vec![one(b"aa1"), one(b"aa1")]),
        ("overlapping runs", vec![run(&[(b"aa1", Some(b"")), (b"aa3", Some(b""))]), one(b"aa2")]),
        ("overlapping, later first", vec![one(b"aa2"), run(&[(b"aa1", None), (b"aa3", Some(b""))])]),
        ("touching", vec![run(&[(b"aa1", None), (b"aa3", None)]), run(&[(b"aa3", None), (b"aa4", None)])]),
    ];
    for (name, runs) in cases {
        assert_eq!(store.commit(&runs, at(6)), Err(StoreError::NotSorted), "{name}");
        assert_eq!(store.applied().unwrap(), at(5), "{name}");
        assert_eq!(scan(&*store, b"aa", END), [(b"aa1".to_vec(), b"kept".to_vec())], "{name}");
    }
    commit(&*store, &[(b"aa1", Some(b"new"))], 6);
    assert_eq!(store.get(b"aa1").unwrap().as_deref(), Some(&b"new"[..]), "a refusal breaks nothing");
}

fn several_runs(open: &Open<'_>, dir: &Path) {
    let store = open(dir);
    // Ranges are disjoint; their order is free, and so is what lies between them, such as rows whose
    // kind begins with `~`.
    let runs = [
        run(&[(b"~m1", Some(b"m")), (b"~s1", Some(b"s"))]),
        run(&[(b"bb1", Some(b"b")), (b"bb2", Some(b"b"))]),
        run(&[(b"aa1", Some(b"a")), (b"aa2", Some(b"a"))]),
        Rows::new(),
    ];
    store.commit(&runs, at(3)).unwrap();
    assert_eq!(keys(&*store, b"aa", b"zz"), [b"aa1", b"aa2", b"bb1", b"bb2"]);
    assert_eq!(keys(&*store, b"~m", b"~t"), [b"~m1", b"~s1"]);
    let wide = [run(&[(b"aa1", None), (b"~s1", Some(b"one run over everything"))])];
    store.commit(&wide, at(4)).unwrap();
    assert_eq!(store.applied().unwrap(), at(4));
    assert_eq!(keys(&*store, b"aa", b"zz"), [b"aa2", b"bb1", b"bb2"]);
    assert_eq!(store.get(b"~s1").unwrap().as_deref(), Some(&b"one run over everything"[..]));
}

/// The `index`-th key of a spread sequence.
fn spread_key(index: u32) -> Vec<u8> {
    format!("kk{:08x}-{index}", index.wrapping_mul(0x9E37_79B1)).into_bytes()
}

fn large(open: &Open<'_>, dir: &Path) {
    let store = open(dir);
    let mut model = BTreeMap::new();
    for (offset, count) in [(1, 30_000_u32), (2, 10), (3, 20_000)] {
        let mut rows = Rows::new();
        for index in (0..count).map(|index| index * offset) {
            let (key, value) = (spread_key(index), format!("{offset}/{index}").into_bytes());
            rows.put(&key, &value);
            model.insert(key, value);
        }
        rows.sort();
        store.commit(&[rows], at(offset.into())).unwrap();
    }
    let expected: Vec<_> = model.into_iter().collect();
    assert!(scan(&*store, b"kk", b"kl") == expected, "a scan shows all rows once, in order");
    let asked: Vec<_> = (0..20_000).step_by(7).map(spread_key).collect();
    let found = store.multi_get(&asked.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    for (key, value) in asked.iter().zip(found) {
        let held = expected.binary_search_by(|(held, _)| held.cmp(key)).ok().map(|index| &expected[index].1);
        assert_eq!(value.as_ref(), held);
    }
}

fn reopen(open: &Open<'_>, dir: &Path) {
    let mut model = BTreeMap::new();
    for round in 1..=6_u64 {
        let store = open(dir);
        assert_eq!(store.applied().unwrap(), if round == 1 { Applied::default() } else { at(round - 1) });
        let held: BTreeMap<_, _> = scan(&*store, b"aa", b"zz").into_iter().collect();
        assert_eq!(held, model, "round {round}");
        let mut rows = Rows::new();
        for number in 0..200_u64 {
            let key = format!("rr{:03}", (number * round) % 500).into_bytes();
            let value = round.to_be_bytes().to_vec();
            if model.insert(key.clone(), value.clone()) != Some(value.clone()) {
                rows.put(&key, &value);
            }
        }
        if let Some((key, _)) = model.pop_first() {
            let last_run: Vec<_> = rows.iter().filter(|(held, _)| *held != key).collect();
            rows = unsorted(&last_run);
            rows.delete(&key);
        }
        rows.sort();
        store.commit(&[rows], at(round)).unwrap();
    }
}

/// Rows of one commit carry its number: a reader that finds two numbers in one scan has seen half a
/// commit.
fn concurrent(open: &Open<'_>, dir: &Path) {
    let store = open(dir);
    let rows_of = |number: u64| {
        let mut rows = Rows::new();
        (0..50_u8).for_each(|index| rows.put(&[b'c', b'c', index], &number.to_be_bytes()));
        rows
    };
    store.commit(&[rows_of(0)], at(0)).unwrap();
    std::thread::scope(|threads| {
        let reader = threads.spawn(|| {
            let mut newest = 0;
            while newest < 30 {
                let rows = scan(&*store, b"cc", b"cd");
                let number = u64::from_be_bytes(rows[0].1.clone().try_into().unwrap());
                assert_eq!(rows.len(), 50);
                assert!(rows.iter().all(|(_, value)| *value == number.to_be_bytes()));
                assert!(number >= newest, "a reader does not go back");
                assert!(store.applied().unwrap().offset >= number, "rows are not ahead of what is applied");
                newest = number;
            }
        });
        for number in 1..=30 {
            store.commit(&[rows_of(number)], at(number)).unwrap();
        }
        reader.join().unwrap();
    });
}
