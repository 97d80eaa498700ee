//! Work on some threads at a time.

use std::io;
use std::path::Path;
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

/// Preparations are begun again this often.
const TRIES: u32 = 3;

/// Prepares something in a folder of its own. A connection that breaks while nothing has been killed yet
/// shows nothing about crashes: it is said, and everything is prepared again.
///
/// # Errors
/// Of the last try, and at once any other than a broken connection.
pub fn prepared<T>(home: &Path, mut prepare: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match prepare() {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                eprintln!("prepared again in {}: {error}", home.display());
                std::fs::remove_dir_all(home)?;
            }
            done => return done,
        }
    }
    prepare()
}
