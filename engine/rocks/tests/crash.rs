//! A killed process leaves a whole commit, and every one that was acknowledged (F1, I6, I25).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hongbao_engine::store::{Applied, Rows, Store};
use hongbao_rocks::{RocksEnv, RocksStore};

const OWNER: &str = "totals/1 of log 17";
const DIR_OF_CHILD: &str = "HONGBAO_ROCKS_CRASH_DIR";
const KILLS: u64 = 12;
const ROWS: u32 = 3_000;

fn open(dir: &Path) -> RocksStore {
    RocksStore::open(dir, &RocksEnv::new(4 << 20).unwrap(), OWNER).unwrap()
}

/// Two runs, large enough for files of their own. Every row of commit `number` carries the number.
fn rows(number: u64) -> [Rows; 2] {
    let mut runs = [Rows::new(), Rows::new()];
    for (run, kind) in runs.iter_mut().zip(["aa", "bb"]) {
        (0..ROWS)
            .for_each(|row| run.put(format!("{kind}{row:05}").as_bytes(), &number.to_le_bytes().repeat(100)));
    }
    runs
}

/// Not a test of its own: what the process does that is killed.
#[test]
fn commits_until_killed() {
    let Some(dir) = std::env::var_os(DIR_OF_CHILD).map(PathBuf::from) else { return };
    let store = open(&dir);
    for number in store.applied().unwrap().offset + 1.. {
        store.commit(&rows(number), Applied { offset: number, last_record_crc: 0 }).unwrap();
        println!("committed {number}");
    }
}

/// The commit at which the store stands; fails if its rows are not all of that commit.
fn check_whole(dir: &Path) -> u64 {
    let store = open(dir);
    let applied = store.applied().unwrap().offset;
    let mut count = 0;
    let scanned = store.scan(b"aa", b"cc", &mut |key, value| {
        assert_eq!(value, applied.to_le_bytes().repeat(100), "{key:?} is of another commit than {applied}");
        count += 1;
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    assert_eq!(count, if applied == 0 { 0 } else { 2 * ROWS });
    applied
}

#[test]
fn kills_leave_whole_commits() {
    let root = tempfile::tempdir().unwrap();
    let mut standing = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "commits_until_killed", "--nocapture"])
            .env(DIR_OF_CHILD, root.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // Some children are killed while they open, most at some moment of a later commit.
        let acknowledged = lines
            .filter_map(|line| line.strip_prefix("committed ")?.parse::<u64>().ok())
            .inspect(|_| std::thread::park_timeout(std::time::Duration::from_micros(kill * 1700 % 9000)))
            .take((kill % 4) as usize)
            .last();
        child.kill().unwrap();
        child.wait().unwrap();
        let now = check_whole(root.path());
        assert!(now >= standing.max(acknowledged.unwrap_or(0)), "{now} after {standing}, {acknowledged:?}");
        standing = now;
    }
    assert!(standing >= KILLS, "children get somewhere");
}
