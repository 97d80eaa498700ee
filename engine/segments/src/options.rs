//! What can be set about a log, and the limits of it.

use std::time::Duration;

use crate::error::OpenError;

/// Most partitions of a log.
pub const PARTITIONS_MAX: u16 = 4_096;
/// Most topics of one partition; each segment's header names them all.
pub const TOPICS_MAX: usize = 1_024;
/// Smallest segment, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 10;
/// Largest segment, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Segments are sized in whole pages of so many bytes, which is how their headers say it.
pub(crate) const PAGE_BYTES: u64 = 4 << 10;
/// Most segments of one partition that trimming keeps to be written again.
pub const SPARES_MAX: usize = 2;

/// Settings of a log. Only the partition count is bound to the data; the others may differ each
/// time the log is opened.
#[derive(Clone, Debug)]
pub struct SegmentOptions {
    /// Partitions, fixed for the life of the data: 1 to [`PARTITIONS_MAX`].
    pub partitions: u16,
    /// Size of a segment file, [`SEGMENT_BYTES_MIN`] to [`SEGMENT_BYTES_MAX`]. A group must fit
    /// one. Whole pages of 4 KiB count. Each partition allocates a segment ahead; one that was begun
    /// with less stays as small.
    pub segment_bytes: u64,
    /// Longest time a group waits for others to share its sync, counted from the first one not
    /// synced. Zero syncs as fast as the device does.
    pub sync_max_delay: Duration,
    /// Appended bytes, over all partitions, after which a sync does not wait any longer.
    pub sync_max_bytes: u64,
}

impl SegmentOptions {
    /// 64 MiB segments; a sync each 10 ms or 16 MiB.
    #[must_use]
    pub fn new(partitions: u16) -> Self {
        Self {
            partitions,
            segment_bytes: 64 << 20,
            sync_max_delay: Duration::from_millis(10),
            sync_max_bytes: 16 << 20,
        }
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            let what = format!("{} partitions, must be 1 to {PARTITIONS_MAX}", self.partitions);
            return Err(OpenError::Options(what));
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            let range = format!("must be {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}");
            return Err(OpenError::Options(format!("segment_bytes {}, {range}", self.segment_bytes)));
        }
        Ok(())
    }
}
