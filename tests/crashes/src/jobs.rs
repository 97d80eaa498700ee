//! Work on some threads at a time.

use std::io;
use std::thread;

/// Runs `work` for each job on a thread of its own, and waits for all.
///
/// # Errors
/// The first of theirs.
pub fn on_threads(jobs: u64, work: impl Fn(u64) -> io::Result<()> + Sync) -> io::Result<()> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..jobs).map(|job| scope.spawn(move || work(job))).collect();
        let panicked = |_| io::Error::other("a thread of the harness panicked");
        threads.into_iter().try_for_each(|thread| thread.join().map_err(panicked).flatten())
    })
}
