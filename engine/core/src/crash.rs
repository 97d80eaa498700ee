//! Named places at which the crash harness kills the process, and knobs that it turns down.
//!
//! Without the feature `kill-points` a place is nothing at all. With it, `HONGBAO_KILL_AT=name:count`
//! ends the process with SIGKILL at the count-th pass of the named place: no destructor runs, nothing
//! is flushed. `HONGBAO_SQUEEZE=knob=number,..` makes segments, commits and the like so small that a
//! few hundred awards pass all places.

/// When a place is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// While a data folder is made.
    Making,
    /// At every start.
    Opening,
    /// At a start after the process ended within a roll of the log.
    Mending,
    /// While awards come in.
    Running,
    /// In a graceful stop.
    Stopping,
}

/// All places, each named once in the sources (a test compares). Names begin with what they are in.
pub const POINTS: [(&str, When); 79] = [
    // The data folder: key, identity, settings and lanes, each replaced by a rename.
    ("data.file.drafted", When::Making),
    ("data.file.renamed", When::Making),
    ("data.file.synced", When::Making),
    // Control records.
    ("settings.appended", When::Opening),
    ("settings.durable", When::Opening),
    ("tick.appended", When::Opening),
    // The segment log. The embedded ledger's book is another one of them.
    ("log.meta.drafted", When::Making),
    ("log.meta.renamed", When::Making),
    ("log.partition.made", When::Making),
    ("log.repair.removed", When::Mending),
    ("log.repair.rewritten", When::Opening),
    ("log.repair.durable", When::Opening),
    ("log.repair.sealed", When::Mending),
    ("log.preallocated", When::Opening),
    ("log.group.placed", When::Running),
    ("log.group.written", When::Running),
    ("log.sync.begun", When::Running),
    ("log.segment.synced", When::Running),
    ("log.synced", When::Running),
    ("log.readable", When::Running),
    ("log.told", When::Running),
    ("log.roll.begun", When::Running),
    ("log.segment.created", When::Running),
    ("log.segment.allocated", When::Running),
    ("log.segment.headed", When::Running),
    ("log.rolled", When::Running),
    ("log.footer.written", When::Running),
    ("log.footer.cut", When::Running),
    ("log.footer.synced", When::Running),
    ("log.close.begun", When::Stopping),
    ("log.close.written", When::Stopping),
    ("log.close.synced", When::Stopping),
    // Folds.
    ("task.read", When::Running),
    ("task.applied", When::Running),
    ("task.outputs.built", When::Running),
    ("task.outputs.submitted", When::Running),
    ("task.commit.frozen", When::Running),
    ("task.commit.queued", When::Running),
    ("task.commit.learned", When::Running),
    ("commit.begun", When::Running),
    ("commit.rows.built", When::Running),
    ("commit.done", When::Running),
    // Stores.
    ("store.opened", When::Opening),
    ("store.staging.cleared", When::Opening),
    ("store.making.named", When::Making),
    ("store.identity.drafted", When::Making),
    ("store.identity.renamed", When::Making),
    ("store.staged.rows", When::Running),
    ("store.staged.positions", When::Running),
    ("store.staged.synced", When::Running),
    ("store.ingest.before", When::Running),
    ("store.ingest.after", When::Running),
    // The dispatcher.
    ("sink.lane.announced", When::Opening),
    ("sink.lane.started", When::Opening),
    ("sink.picked", When::Running),
    ("sink.facts.gathered", When::Running),
    ("sink.facts.written", When::Running),
    ("sink.intent.written", When::Running),
    ("sink.intent.durable", When::Running),
    ("sink.submit.before", When::Running),
    ("sink.submitted", When::Running),
    ("sink.answered", When::Running),
    ("sink.settled", When::Running),
    ("sink.asked", When::Running),
    ("sink.told", When::Running),
    // Downstreams.
    ("http.request.before", When::Running),
    ("http.answer.begun", When::Running),
    ("http.answer.read", When::Running),
    ("simulated.granted", When::Running),
    ("ledger.replayed", When::Opening),
    ("ledger.decided", When::Running),
    ("ledger.book.appended", When::Running),
    ("ledger.durable", When::Running),
    ("ledger.answered", When::Running),
    ("ledger.commit.queued", When::Running),
    ("ledger.commit.learned", When::Running),
    // The API.
    ("api.publish.appended", When::Running),
    ("api.publish.durable", When::Running),
    ("api.publish.decided", When::Running),
];

/// Kills the process here if the harness said so. Nothing without the feature `kill-points`.
#[cfg(not(feature = "kill-points"))]
#[macro_export]
macro_rules! kill_point {
    ($name:literal) => {};
}

/// Kills the process here if the harness said so.
#[cfg(feature = "kill-points")]
#[macro_export]
macro_rules! kill_point {
    ($name:literal) => {
        $crate::crash::pass($name);
    };
}

/// A knob's usual value, or what the harness turns it to.
#[cfg(not(feature = "kill-points"))]
#[must_use]
pub const fn squeezed(_knob: &str, usual: u64) -> u64 {
    usual
}

#[cfg(feature = "kill-points")]
pub use armed::{pass, squeezed};

#[cfg(feature = "kill-points")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::POINTS;

    struct Armed {
        name: String,
        /// Passes until the end.
        left: AtomicI64,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let text = setting("HONGBAO_KILL_AT")?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        match count.parse() {
            Ok(count) if POINTS.iter().any(|(point, _)| *point == name) => {
                Some(Armed { name: name.to_owned(), left: AtomicI64::new(count) })
            }
            _ => {
                eprintln!("HONGBAO_KILL_AT={text} names no kill point");
                std::process::exit(2);
            }
        }
    });

    #[expect(clippy::disallowed_methods, reason = "the harness speaks to a process that it starts")]
    fn setting(name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    /// Counts a pass of a place, and does not return from the last.
    pub fn pass(name: &str) {
        if let Some(armed) = &*ARMED
            && armed.name == name
            && armed.left.fetch_sub(1, Ordering::SeqCst) == 1
            && kill_process(getpid(), Signal::KILL).is_err()
        {
            std::process::abort();
        }
    }

    /// A knob's usual value, or what `HONGBAO_SQUEEZE` turns it to.
    #[must_use]
    pub fn squeezed(knob: &str, usual: u64) -> u64 {
        let text = setting("HONGBAO_SQUEEZE").unwrap_or_default();
        let found = text.split(',').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == knob);
        found.and_then(|(_, number)| number.parse().ok()).unwrap_or(usual)
    }
}
