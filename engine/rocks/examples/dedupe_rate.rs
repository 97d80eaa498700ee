//! How fast the seen index takes order numbers over RocksDB, commits in the background included.
//! 8% of the keys repeat one of the last million, 1% one of any age. Each thread has a store.
//!
//! `cargo run --release -p hongbao-rocks --example dedupe_rate -- [keys per thread] [threads] [window keys per
//! thread] [keys per commit]`

mod measure;

use std::sync::{Arc, mpsc};

use hongbao_engine::seen::{FrozenSeen, SeenCounters, SeenIndex, SeenLimits};
use hongbao_engine::store::{Applied, Store, StoreError};
use hongbao_rocks::{RocksEnv, RocksStore};
use measure::{Watch, argument, resident_mb, spread, write_key};

const CACHE_BYTES: usize = 512 << 20;
const BATCH: u64 = 1000;
const RECENT_KEYS: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (keys, threads) = (argument(1, 10_000_000), argument(2, 1));
    let dir = tempfile::tempdir_in(".")?;
    let environment = RocksEnv::new(CACHE_BYTES)?;
    let mut stores = Vec::new();
    for thread in 0..threads {
        let name = format!("dedupe/{thread}");
        stores.push(Arc::new(RocksStore::open(&dir.path().join(&name), &environment, &name)?));
    }
    let watch = Watch::start();
    let counters = std::thread::scope(|scope| {
        let folds: Vec<_> =
            stores.iter().map(|store| scope.spawn(|| fold(Arc::clone(store), keys))).collect();
        folds
            .into_iter()
            .map(|fold| fold.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let millions = (keys * threads) as f64 / 1e6;
    println!(
        "{:.2} M/s, {:.2} CPU-s per million, {} MB resident",
        millions / watch.wall().as_secs_f64(),
        watch.cpu_s() / millions,
        resident_mb()
    );
    for (counters, store) in counters.iter().zip(&stores) {
        println!(
            "window hits {}, filter skips {}, look-ups {}, of them found {}; {} MB on disk, level 0 has {} files",
            counters.window_hits(),
            counters.filter_skips(),
            counters.store_lookups(),
            counters.store_hits(),
            store.disk_bytes()? >> 20,
            store.level0_files()?,
        );
    }
    for store in stores {
        let watch = Watch::start();
        let mut index = SeenIndex::open(*b"on", limits(), store)?;
        index.wait_for_filter()?;
        println!(
            "filter of {} MB rebuilt in {:.1} s",
            index.filter_bytes() >> 20,
            watch.wall().as_secs_f64()
        );
    }
    Ok(())
}

fn limits() -> SeenLimits {
    SeenLimits { window_keys_max: argument(3, 1_000_000) as usize }
}

/// The key that the `number`-th award of a thread carries.
fn key_index(number: u64) -> u64 {
    match spread(number) % 100 {
        0..8 => number.saturating_sub(spread(!number) % RECENT_KEYS),
        8 => spread(!number) % (number + 1),
        _ => number,
    }
}

fn fold(store: Arc<RocksStore>, keys: u64) -> Result<Arc<SeenCounters>, StoreError> {
    let commit_keys = argument(4, 200_000);
    let mut index = SeenIndex::open(*b"on", limits(), Arc::clone(&store) as Arc<dyn Store>)?;
    let (to_commit, frozen) = mpsc::sync_channel::<FrozenSeen>(1);
    let (done, committed) = mpsc::channel();
    let committer = std::thread::spawn(move || {
        frozen.iter().try_for_each(|frozen| {
            store.commit(&[frozen.into_rows()], Applied::default())?;
            done.send(()).map_err(|_| StoreError::Failed("nobody waits for commits".into()))
        })
    });
    let mut batch = vec![Vec::new(); BATCH as usize];
    let (mut inserted, mut pending) = (0, false);
    for first in (0..keys).step_by(BATCH as usize) {
        for (number, key) in (first..).zip(&mut batch) {
            write_key(key_index(number), key);
        }
        index.prefetch(batch.iter().map(Vec::as_slice))?;
        for key in &batch {
            if index.get(key)?.is_none() {
                index.insert(key, [1; 16]);
                inserted += 1;
            }
        }
        // A fold that is far ahead of its commits waits, as a task does.
        let far_ahead = inserted > 4 * commit_keys;
        if pending && (committed.try_recv().is_ok() || far_ahead && committed.recv().is_ok()) {
            index.committed();
            pending = false;
        }
        if !pending && inserted >= commit_keys {
            let sent = to_commit.send(index.freeze());
            sent.map_err(|_| StoreError::Failed("the committer is gone".into()))?;
            (inserted, pending) = (0, true);
        }
    }
    drop(to_commit);
    committer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(index.counters())
}
