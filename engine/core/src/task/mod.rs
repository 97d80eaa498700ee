//! Tasks: what worker threads step, and the one that folds a log partition into a store.
//!
//! ```text
//! read a batch -> leave out repeats -> apply -> compare or append outputs -> now and then commit
//! ```
//! The committed offset is always the end of a batch whose outputs are durable (I6).

mod error;
mod runner;
mod status;

use std::time::Duration;

pub use error::TaskError;
pub use runner::{TaskPorts, TaskRunner};
pub use status::{TaskStatus, WaitsFor};

use crate::crash::squeezed;
use crate::partition::Partition;

/// Something that a worker thread advances step by step.
pub trait Task: Send {
    /// Name for logs and the operator.
    fn name(&self) -> &str;

    /// Does a bounded amount of work without blocking.
    ///
    /// # Errors
    /// The task has halted and is not stepped again; others go on (I26).
    fn step(&mut self) -> Result<Step, TaskError>;

    /// Ends gracefully. Called once, after the last step.
    ///
    /// # Errors
    /// What could not be saved; after a restart it is done again.
    fn stop(&mut self) -> Result<(), TaskError>;

    /// Told that the task will not be stepped again, because of an error or a panic in a step.
    fn halt(&mut self, _reason: &str) {}
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This many records were worked on; there may be more.
    Worked(usize),
    /// There was nothing to do, or what there is has to wait.
    Idle,
}

/// What a fold reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct TaskSpec<'a> {
    /// Name for logs and the operator, such as `intake/3`.
    pub name: &'a str,
    /// Name under which the fold writes, as in [`crate::records::Envelope::source`].
    pub source: &'a str,
    /// Partition of input and outputs.
    pub partition: Partition,
    /// Topic to fold.
    pub input_topic: &'a str,
    /// Topics written, in the order in which a batch's outputs become readable. The fold may name
    /// more of them later.
    pub outputs: &'a [&'a str],
}

/// When a fold commits, and how much it may hold.
#[derive(Clone, Debug)]
pub struct TaskPolicy {
    /// Size of a batch in bytes of input records; at least one frame is read.
    pub read_bytes_max: usize,
    /// A commit is due after this many records,
    pub commit_records: u64,
    /// or this long after the first record that is not committed,
    pub commit_interval: Duration,
    /// or when this many bytes are staged.
    pub commit_staged_bytes: usize,
    /// No batch is read while more bytes than this are staged (I29).
    pub staged_bytes_max: usize,
    /// How long a writer's missing records are waited for.
    pub gap_timeout: Duration,
    /// Bytes of records that may be held aside behind missing ones (I29).
    pub held_bytes_max: usize,
    /// How long a graceful stop waits for its last commit.
    pub stop_timeout: Duration,
}

impl Default for TaskPolicy {
    fn default() -> Self {
        Self {
            read_bytes_max: squeezed("read_bytes", 1 << 20) as usize,
            commit_records: 1_000_000,
            commit_interval: Duration::from_millis(squeezed("commit_interval_ms", 1_000)),
            commit_staged_bytes: 64 << 20,
            staged_bytes_max: 192 << 20,
            gap_timeout: Duration::from_secs(10),
            held_bytes_max: 8 << 20,
            stop_timeout: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests;
