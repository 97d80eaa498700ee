//! The time, once a second, for the folds (I30).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_processors::controls::ControlWriter;
use hongbao_schemas::control::ControlKey;

const TICK_EVERY: Duration = Duration::from_secs(1);

/// Appends the time to every partition, once a second, until dropped. A damaged partition gets none.
pub struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread.
    pub fn start(log: Arc<dyn Log>, clock: Arc<dyn Clock>, key: ControlKey) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let builder = std::thread::Builder::new().name("ticker".to_owned());
        let thread = builder.spawn(move || {
            let writer = ControlWriter { log: &*log, key: &key };
            let mut partitions: Vec<_> = (0..log.partitions()).map(Partition).collect();
            while !stopping.load(Ordering::Acquire) {
                partitions.retain(|partition| {
                    let ticked = writer.tick(*partition, clock.wall_ms());
                    if let Err(error) = &ticked {
                        tracing::warn!(%error, partition = partition.0, "a tick could not be appended");
                    }
                    !matches!(ticked, Err(LogError::Corrupt { .. }))
                });
                std::thread::park_timeout(TICK_EVERY);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}
