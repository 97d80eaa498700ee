//! Worker threads: each owns its share of the tasks and steps them in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::log::Log;
use crate::panics;
use crate::task::{Step, Task};

/// Told the name of a task that halts and why.
pub type OnHalt = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// How workers run.
#[derive(Clone)]
pub struct WorkerOptions {
    /// Number of threads, at least 1.
    pub threads: usize,
    /// Longest time that a thread with idle tasks waits for the log's progress before it steps
    /// them again: what bounds the delay of timers and retries.
    pub idle_wait: Duration,
    /// Called once for each task that halts, from its worker.
    pub on_halt: OnHalt,
}

/// A task that stopped for a reason of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halted {
    /// Name of the task.
    pub task: String,
    /// Why.
    pub reason: String,
}

/// Running worker threads. Dropping them stops the tasks where they are, as a crash would.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    log: Arc<dyn Log>,
    options: WorkerOptions,
    order: AtomicU8,
    halted: Mutex<Vec<Halted>>,
}

const RUN: u8 = 0;
const STOP: u8 = 1;
const ABANDON: u8 = 2;

impl Workers {
    /// Hands out `tasks` to threads in turn and starts them. `log` is the one whose progress
    /// brings work.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        options: WorkerOptions,
        log: Arc<dyn Log>,
        tasks: Vec<Box<dyn Task>>,
    ) -> std::io::Result<Self> {
        let threads = options.threads.max(1);
        let mut shares: Vec<Vec<Box<dyn Task>>> = (0..threads).map(|_| Vec::new()).collect();
        for (index, task) in tasks.into_iter().enumerate() {
            shares[index % threads].push(task);
        }
        let shared = Shared { log, options, order: AtomicU8::new(RUN), halted: Mutex::default() };
        let mut workers = Self { shared: Arc::new(shared), threads: Vec::new() };
        for (index, share) in shares.into_iter().enumerate() {
            let shared = workers.shared.clone();
            let builder = std::thread::Builder::new().name(format!("worker-{index}"));
            workers.threads.push(builder.spawn(move || shared.work(share))?);
        }
        Ok(workers)
    }

    /// The tasks that have halted so far.
    #[must_use]
    pub fn halted(&self) -> Vec<Halted> {
        self.shared.halted.lock().clone()
    }

    /// Stops all tasks gracefully, waits for them and returns those that halted before or could
    /// not end as they should.
    #[must_use]
    pub fn stop(mut self) -> Vec<Halted> {
        self.end(STOP);
        self.halted()
    }

    fn end(&mut self, order: u8) {
        self.shared.order.store(order, Ordering::SeqCst);
        self.shared.log.progress().bump();
        for thread in self.threads.drain(..) {
            // Panics of tasks are caught, so there is nothing to learn from the join.
            drop(thread.join());
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end(ABANDON);
    }
}

impl Shared {
    fn work(&self, mut tasks: Vec<Box<dyn Task>>) {
        while self.order.load(Ordering::SeqCst) == RUN {
            let seen = self.log.progress().version();
            let mut worked = false;
            tasks.retain_mut(|task| match self.step(&mut **task) {
                Some(Step::Worked(_)) => {
                    worked = true;
                    true
                }
                Some(Step::Idle) => true,
                None => false,
            });
            if !worked && self.order.load(Ordering::SeqCst) == RUN {
                self.log.progress().wait(seen, self.options.idle_wait);
            }
        }
        if self.order.load(Ordering::SeqCst) == STOP {
            for task in &mut tasks {
                self.stop(&mut **task);
            }
        }
    }

    /// Steps a task; nothing if it has halted.
    fn step(&self, task: &mut dyn Task) -> Option<Step> {
        let reason = match panics::catch(|| task.step()) {
            Ok(Ok(step)) => return Some(step),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        task.halt(&reason);
        self.record(task.name(), reason);
        None
    }

    fn stop(&self, task: &mut dyn Task) {
        match panics::catch(|| task.stop()) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.record(task.name(), error.to_string()),
            Err(panic) => self.record(task.name(), panic),
        }
    }

    fn record(&self, task: &str, reason: String) {
        (self.options.on_halt)(task, &reason);
        self.halted.lock().push(Halted { task: task.to_owned(), reason });
    }
}

#[cfg(test)]
mod tests;
