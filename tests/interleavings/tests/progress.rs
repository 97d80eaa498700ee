//! [`Progress`]: whoever looks, finds nothing and waits for the version it saw is woken.

use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::progress::Progress;
use hongbao_engine::thread;
use hongbao_interleavings::explore;
use parking_lot::Mutex;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn no_wake_up_is_lost() {
    explore(|| {
        let progress = Arc::new(Progress::default());
        let work = Arc::new(Mutex::new(0));
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (progress, work) = (Arc::clone(&progress), Arc::clone(&work));
                thread::spawn(move || {
                    for _ in 0..2 {
                        *work.lock() += 1;
                        progress.bump();
                    }
                })
            })
            .collect();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let (progress, work) = (Arc::clone(&progress), Arc::clone(&work));
                thread::spawn(move || {
                    loop {
                        let seen = progress.version();
                        if *work.lock() == 4 {
                            break;
                        }
                        progress.wait(seen, SECOND);
                    }
                })
            })
            .collect();
        for thread in workers.into_iter().chain(waiters) {
            thread.join().unwrap();
        }
        assert_eq!(progress.version(), 4, "each bump counts");
    });
}

#[test]
fn hooks_are_called_after_the_version_has_grown() {
    explore(|| {
        let progress = Arc::new(Progress::default());
        let called = Arc::new(Mutex::new(Vec::new()));
        let (inside, list) = (Arc::downgrade(&progress), Arc::clone(&called));
        progress.on_bump(Arc::new(move || {
            let version = inside.upgrade().map_or(0, |progress| progress.version());
            list.lock().push(version);
        }));
        let threads = [(); 2].map(|()| {
            let progress = Arc::clone(&progress);
            thread::spawn(move || progress.bump())
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let called = called.lock();
        assert!(called.len() == 2 && called.contains(&2) && called.iter().all(|version| *version > 0));
    });
}
