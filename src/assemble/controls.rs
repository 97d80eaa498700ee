//! Control records: how they are appended, and the time once a second. They reach the folds as
//! records of `awards`, so that a replay sees them where they were (I30).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_engine::log::{Log, LogError, Position};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_processors::intake::AWARDS;
use hongbao_schemas::control::{Control, ControlKey, ControlKind};

const TICK_EVERY: Duration = Duration::from_secs(1);

/// Appends a control record.
pub fn append(log: &dyn Log, partition: Partition, control: &Control<'_>) -> Result<Position, LogError> {
    let mut records = RecordBuf::new();
    records.push_with(|bytes| control.encode(bytes));
    let frame = Frame { topic: AWARDS, envelope: Envelope::PRODUCER, records: &records };
    Ok(log.append(partition, &[frame])?.position)
}

/// Appends the time. Numbers must count up for ever, also when the clock goes back; the end of the
/// topic does, since every tick moves it.
pub fn tick(
    log: &dyn Log,
    clock: &dyn Clock,
    partition: Partition,
    key: &ControlKey,
) -> Result<(), LogError> {
    let (_, end) = log.range(partition, AWARDS)?;
    let number = i64::try_from(end).unwrap_or(i64::MAX).saturating_add(1);
    let tick = Control::seal(ControlKind::Tick, partition.0, number, clock.wall_ms(), &[], key);
    append(log, partition, &tick)?;
    hongbao_engine::kill_point!("tick.appended");
    Ok(())
}

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
            let mut partitions: Vec<_> = (0..log.partitions()).map(Partition).collect();
            while !stopping.load(Ordering::Acquire) {
                partitions.retain(|partition| {
                    let ticked = tick(&*log, &*clock, *partition, &key);
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
