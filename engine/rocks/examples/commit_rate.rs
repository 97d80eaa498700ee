//! How fast a store takes commits of random keys, and how fast it finds old ones.
//!
//! `cargo run --release -p hongbao-rocks --example commit_rate -- [keys per commit] [keys in all]`

mod measure;

use std::time::Duration;

use hongbao_engine::store::{Applied, Rows, Store, StoreError};
use hongbao_rocks::{RocksEnv, RocksStore};
use measure::{Watch, argument, spread, write_key};

const CACHE_BYTES: usize = 256 << 20;
const LOOK_UP_BATCHES: u64 = 2_000;
const LOOK_UP_KEYS: u64 = 32;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (per_commit, in_all) = (argument(1, 100_000), argument(2, 10_000_000));
    let dir = tempfile::tempdir_in(".")?;
    let environment = RocksEnv::new(CACHE_BYTES)?;
    let store = RocksStore::open(dir.path(), &environment, "commit rate")?;
    commits(&store, per_commit, in_all)?;
    for (name, present) in [("present", true), ("absent", false)] {
        look_ups(&store, name, in_all, present)?;
    }
    let held_mb = environment.cache_used_bytes() >> 20;
    println!(
        "{} MB on disk, {held_mb} MB of cache, {} MB resident",
        store.disk_bytes()? >> 20,
        measure::resident_mb()
    );
    Ok(())
}

fn row_key(index: u64, key: &mut Vec<u8>, order: &mut Vec<u8>) {
    write_key(index, order);
    key.clear();
    key.extend_from_slice(b"on");
    key.extend_from_slice(order);
}

fn commits(store: &RocksStore, per_commit: u64, in_all: u64) -> Result<(), StoreError> {
    let (mut key, mut order) = (Vec::new(), Vec::new());
    let (mut times, mut cpu_s, mut level0) = (Vec::new(), 0.0, 0);
    for first in (0..in_all).step_by(per_commit as usize) {
        let mut rows = Rows::new();
        for index in first..first + per_commit {
            row_key(index, &mut key, &mut order);
            rows.put(&key, &spread(index).to_le_bytes().repeat(2));
        }
        rows.sort();
        let watch = Watch::start();
        store.commit(&[rows], Applied { offset: first, last_record_crc: 0 })?;
        times.push(watch.wall());
        cpu_s += watch.cpu_s();
        level0 = level0.max(store.level0_files()?);
    }
    let watch = Watch::start();
    settle();
    cpu_s += watch.cpu_s();
    let seconds = times.iter().sum::<Duration>().as_secs_f64();
    let millions = in_all as f64 / 1e6;
    println!(
        "{per_commit} keys a commit: {:.2} M/s, {:.2} CPU-s per million, p50 {:.0} ms, p99 {:.0} ms, level 0 up to {level0} files",
        millions / seconds,
        cpu_s / millions,
        percentile_ms(&mut times, 0.5),
        percentile_ms(&mut times, 0.99),
    );
    Ok(())
}

fn look_ups(store: &RocksStore, name: &str, in_all: u64, present: bool) -> Result<(), StoreError> {
    let mut order = Vec::new();
    let (mut wall, mut found) = (Duration::ZERO, 0);
    let mut cpu_s = 0.0;
    for batch in 0..LOOK_UP_BATCHES {
        let mut keys = vec![Vec::new(); LOOK_UP_KEYS as usize];
        for (number, key) in (batch * LOOK_UP_KEYS..).zip(&mut keys) {
            let index = spread(number) % in_all;
            row_key(if present { index } else { in_all + index }, key, &mut order);
        }
        keys.sort_unstable();
        let asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let watch = Watch::start();
        found += store.multi_get(&asked)?.iter().flatten().count();
        wall += watch.wall();
        cpu_s += watch.cpu_s();
    }
    let keys = (LOOK_UP_BATCHES * LOOK_UP_KEYS) as f64;
    println!(
        "look-ups of {name} keys: {:.1} us, {:.1} us CPU, {found} found, level 0 has {} files",
        1e6 * wall.as_secs_f64() / keys,
        1e6 * cpu_s / keys,
        store.level0_files()?,
    );
    Ok(())
}

/// The value below which the given share of `times` lies, in milliseconds.
fn percentile_ms(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
    times.get(index).map_or(0.0, Duration::as_secs_f64) * 1e3
}

/// Waits until the process has nothing to do in the background.
fn settle() {
    const STEP: Duration = Duration::from_millis(200);
    const IDLE_S: f64 = 0.02;
    loop {
        let watch = Watch::start();
        while watch.wall() < STEP {
            std::thread::park_timeout(STEP);
        }
        if watch.cpu_s() < IDLE_S {
            return;
        }
    }
}
