//! What all partitions of an open log share.

use std::sync::{Arc, OnceLock};

use hongbao_engine::clock::Clock;
use hongbao_engine::log::LogError;
use hongbao_engine::progress::Progress;

use crate::device::Device;
use crate::options::PAGE_BYTES;

/// Identity, settings and fate of an open log.
pub(crate) struct Core {
    pub(crate) log_id: u64,
    /// Whole pages: what a segment's header says of its size.
    pub(crate) segment_bytes: u64,
    pub(crate) device: Arc<dyn Device>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) progress: Progress,
    failure: OnceLock<String>,
}

impl Core {
    pub(crate) fn new(
        log_id: u64,
        segment_bytes: u64,
        device: Arc<dyn Device>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (progress, failure) = (Progress::default(), OnceLock::new());
        let segment_bytes = segment_bytes / PAGE_BYTES * PAGE_BYTES;
        Self { log_id, segment_bytes, device, clock, progress, failure }
    }

    /// Stops the log for good: what the device has of the last writes is unknown, and asking it
    /// again would not tell. Wakes everybody who waits for them.
    pub(crate) fn fail(&self, what: String) -> LogError {
        tracing::error!(%what, "the log failed");
        let first = self.failure.get_or_init(|| what);
        self.progress.bump();
        LogError::Failed(first.clone())
    }

    /// # Errors
    /// [`LogError::Failed`] once the log has failed.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        self.failure.get().map_or(Ok(()), |what| Err(LogError::Failed(what.clone())))
    }
}
