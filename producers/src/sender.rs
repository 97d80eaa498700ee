//! Sending encoded awards: the port that the award library and the load generator write to, and
//! its implementation over a log in the same process. Backup log and local spool (R4) are other
//! implementations of the same port.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_engine::log::{Log, LogError, Position};
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_engine::records::{Envelope, Frame, RecordBuf};

/// Takes encoded awards. Delivery is at least once: after an error a caller sends the same award
/// again, and the order number makes the repeat harmless (R3).
pub trait Sender: Send + Sync {
    /// Takes one encoded award of the person `act_id`, who decides the partition. Returns before
    /// it is durable and without waiting for a device. Awards of one person stay in the order of
    /// their submission.
    ///
    /// # Errors
    /// [`SendError`]: this award was not taken; after [`SendError::Log`] it may have been, together
    /// with others that were taken before and are not known to be durable.
    fn submit(&self, act_id: &str, award: &[u8]) -> Result<(), SendError>;

    /// Returns when everything taken before the call is durable (I25).
    ///
    /// # Errors
    /// [`SendError`]: what was taken since the last success may or may not be there.
    fn wait_durable(&self, timeout: Duration) -> Result<(), SendError>;
}

/// Why an award was not taken, or is not known to be durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The award is larger than any reader accepts.
    #[error("an award of {bytes} bytes is above the limit of {max_bytes}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// As much waits for the log as may; try again later.
    #[error("too much waits for the log: {0}")]
    Busy(LogError),
    /// The log takes nothing any more.
    #[error(transparent)]
    Log(LogError),
    /// The time given ran out.
    #[error("not durable within {0:?}")]
    Timeout(Duration),
    /// The sender was not able to start.
    #[error("cannot start the sender: {0}")]
    Start(String),
}

impl SendError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "award_too_large",
            Self::Busy(_) => "busy",
            Self::Log(_) => "log_failed",
            Self::Timeout(_) => "not_durable",
            Self::Start(_) => "not_started",
        }
    }
}

/// How a [`LogSender`] batches.
#[derive(Clone, Copy, Debug)]
pub struct SenderLimits {
    /// A partition's queue goes to the log when it holds this many awards...
    pub batch_records_max: usize,
    /// ...or this many bytes...
    pub batch_bytes_max: usize,
    /// ...or its oldest award has waited this long.
    pub batch_delay_max: Duration,
    /// While the log has no room, a partition's queue grows up to this size (I29).
    pub queue_bytes_max: usize,
}

/// The defaults: frames of about a thousand records, and little delay.
pub const SENDER_LIMITS: SenderLimits = SenderLimits {
    batch_records_max: 1_000,
    batch_bytes_max: 256 * 1024,
    batch_delay_max: Duration::from_millis(2),
    queue_bytes_max: 2 * 1024 * 1024,
};

/// Largest award: what readers of the `awards` topic accept.
const AWARD_BYTES_MAX: usize = hongbao_schemas::limits::AWARD_BYTES_MAX;

const AWARDS: &str = "awards";

/// Sends to the `awards` topic of a log in this process, as a producer without sequence. One
/// thread looks after the delay; dropping the sender stops it after a last hand-over.
pub struct LogSender {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

struct Shared {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    limits: SenderLimits,
    queues: Vec<Mutex<Queue>>,
    wake: Wake,
}

#[derive(Default)]
struct Queue {
    records: RecordBuf,
    /// Everything handed over so far is durable at this position.
    handed_over: Option<Position>,
    failed: Option<LogError>,
}

/// Tells the ticker that awards wait, or that it must stop.
#[derive(Default)]
struct Wake {
    waiting: AtomicBool,
    stop: Mutex<bool>,
    changed: Condvar,
}

impl std::fmt::Debug for LogSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogSender").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

impl LogSender {
    /// Starts a sender and its thread.
    ///
    /// # Errors
    /// [`SendError::Start`] when the thread cannot be started.
    pub fn start(log: Arc<dyn Log>, clock: Arc<dyn Clock>, limits: SenderLimits) -> Result<Self, SendError> {
        let queues = (0..log.partitions()).map(|_| Mutex::default()).collect();
        let shared = Arc::new(Shared { log, clock, limits, queues, wake: Wake::default() });
        let of_ticker = Arc::clone(&shared);
        let ticker = std::thread::Builder::new()
            .name("award-sender".to_owned())
            .spawn(move || of_ticker.tick())
            .map_err(|error| SendError::Start(error.to_string()))?;
        Ok(Self { shared, ticker: Some(ticker) })
    }
}

impl Sender for LogSender {
    fn submit(&self, act_id: &str, award: &[u8]) -> Result<(), SendError> {
        self.shared.submit(act_id, award)
    }

    fn wait_durable(&self, timeout: Duration) -> Result<(), SendError> {
        self.shared.wait_durable(timeout)
    }
}

impl Drop for LogSender {
    fn drop(&mut self) {
        *lock(&self.shared.wake.stop) = true;
        self.shared.wake.changed.notify_all();
        if let Some(ticker) = self.ticker.take() {
            // A panic of the ticker has nobody left to be told to.
            drop(ticker.join());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn queue(&self, partition: Partition) -> MutexGuard<'_, Queue> {
        // `partition_of` stays below the count of partitions, which is the count of queues.
        lock(&self.queues[usize::from(partition.0)])
    }

    fn submit(&self, act_id: &str, award: &[u8]) -> Result<(), SendError> {
        if award.len() > AWARD_BYTES_MAX {
            return Err(SendError::TooLarge { bytes: award.len(), max_bytes: AWARD_BYTES_MAX });
        }
        let partition = partition_of(act_id.as_bytes(), self.log.partitions());
        let mut queue = self.queue(partition);
        if let Some(error) = &queue.failed {
            return Err(SendError::Log(error.clone()));
        }
        let is_full = queue.records.byte_len() + award.len() > self.limits.queue_bytes_max;
        if is_full && !queue.records.is_empty() {
            self.hand_over(partition, &mut queue).map_err(as_send_error)?;
        }
        queue.records.push(award);
        let is_due = queue.records.len() >= self.limits.batch_records_max
            || queue.records.byte_len() >= self.limits.batch_bytes_max;
        if is_due {
            // The award is taken either way: what the log has no room for stays queued.
            match self.hand_over(partition, &mut queue) {
                Ok(()) | Err(LogError::Full(_)) => {}
                Err(error) => return Err(SendError::Log(error)),
            }
        }
        let is_waiting = !queue.records.is_empty();
        drop(queue);
        if is_waiting && !self.wake.waiting.swap(true, Ordering::SeqCst) {
            // Taken and given back so that the notice cannot fall between look and wait.
            drop(lock(&self.wake.stop));
            self.wake.changed.notify_all();
        }
        Ok(())
    }

    /// Appends what a queue holds as one group.
    fn hand_over(&self, partition: Partition, queue: &mut Queue) -> Result<(), LogError> {
        if queue.records.is_empty() {
            return Ok(());
        }
        let frame = Frame { topic: AWARDS, envelope: Envelope::PRODUCER, records: &queue.records };
        match self.log.append(partition, &[frame]) {
            Ok(appended) => {
                queue.handed_over = Some(appended.position);
                queue.records.clear();
                Ok(())
            }
            Err(error @ LogError::Full(_)) => Err(error),
            Err(error) => {
                queue.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    fn hand_over_all(&self) -> Result<(), LogError> {
        let mut first_error = Ok(());
        for partition in (0..self.log.partitions()).map(Partition) {
            let handed_over = self.hand_over(partition, &mut self.queue(partition));
            first_error = first_error.and(handed_over);
        }
        first_error
    }

    fn wait_durable(&self, timeout: Duration) -> Result<(), SendError> {
        let deadline = self.clock.monotonic().saturating_add(timeout);
        self.hand_over_all().map_err(as_send_error)?;
        loop {
            let version = self.log.progress().version();
            if self.is_durable().map_err(SendError::Log)? {
                return Ok(());
            }
            let left = deadline.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                return Err(SendError::Timeout(timeout));
            }
            self.log.progress().wait(version, left);
        }
    }

    fn is_durable(&self) -> Result<bool, LogError> {
        for partition in (0..self.log.partitions()).map(Partition) {
            let (handed_over, failed) = {
                let queue = self.queue(partition);
                (queue.handed_over, queue.failed.clone())
            };
            if let Some(error) = failed {
                return Err(error);
            }
            if let Some(position) = handed_over
                && self.log.durable(partition)? < position
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The thread: waits until awards wait, gives them the delay to become more, hands them over.
    fn tick(&self) {
        let mut stop = lock(&self.wake.stop);
        while !*stop {
            if self.wake.waiting.load(Ordering::SeqCst) {
                let delay = self.limits.batch_delay_max;
                let waited = self.wake.changed.wait_timeout_while(stop, delay, |stop| !*stop);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
                self.wake.waiting.store(false, Ordering::SeqCst);
                self.hand_over_waiting();
                stop = lock(&self.wake.stop);
            } else {
                stop = self.wake.changed.wait(stop).unwrap_or_else(PoisonError::into_inner);
            }
        }
        drop(stop);
        self.hand_over_waiting();
    }

    fn hand_over_waiting(&self) {
        // A full log is tried again after the next delay; a failed one is told to the next caller.
        if let Err(LogError::Full(_)) = self.hand_over_all() {
            self.wake.waiting.store(true, Ordering::SeqCst);
        }
    }
}

fn as_send_error(error: LogError) -> SendError {
    match error {
        LogError::Full(_) => SendError::Busy(error),
        _ => SendError::Log(error),
    }
}

#[cfg(test)]
mod tests;
