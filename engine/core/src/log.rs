//! The log port: partitioned, append-only topics, written in atomic groups.
//!
//! ```text
//! offset of one topic in one partition
//!   0 ........ start ................. end ............. appended
//!   trimmed    first readable          first not        submitted, may
//!                                      readable         still be lost
//! ```
//! `start <= end <= appended`. Only records below `end` are ever read, and what was once below
//! `end` is durable (I25): it survives a crash of the process and of the machine.

use crate::partition::Partition;
use crate::progress::Progress;
use crate::records::{Frame, Offset, ReadBatch};

/// A point in the stream of everything appended to one partition, all topics together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// Where an appended group stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record of each frame, in the order of the group.
    pub first_offsets: Vec<Offset>,
    /// The group is durable once [`Log::durable`] has reached this.
    pub position: Position,
}

/// Topics of a set of partitions. See the [module](self) for offsets.
pub trait Log: Send + Sync {
    /// Number of partitions, fixed for the life of the data.
    fn partitions(&self) -> u16;

    /// Submits a group of frames: after a crash either all of its records are there or none, and
    /// readers see them in listed order. Returns before the group is durable; wait for
    /// [`Log::durable`]. Groups of one partition become durable in the order of their append.
    ///
    /// # Errors
    /// [`LogError::Invalid`] (see [`check_group`]), [`LogError::Full`] and
    /// [`LogError::GroupTooLarge`] appended nothing and leave the log usable; after
    /// [`LogError::Failed`] it is not, and the outcome of this group is unknown.
    /// [`LogError::Corrupt`] when the partition has stopped (I26).
    fn append(&self, partition: Partition, group: &[Frame<'_>]) -> Result<Appended, LogError>;

    /// Everything appended before this position is durable.
    ///
    /// # Errors
    /// [`LogError::Failed`] when a sync failed: nothing later will ever become durable.
    fn durable(&self, partition: Partition) -> Result<Position, LogError>;

    /// Start and end of a topic's readable records; `(0, 0)` for a topic never written.
    ///
    /// # Errors
    /// [`LogError::Failed`].
    fn range(&self, partition: Partition, topic: &str) -> Result<(Offset, Offset), LogError>;

    /// Replaces `out` with whole frames from the one that holds `from`, its records before `from`
    /// cut off, up to about `max_bytes` but at least one frame if any is readable. Empty at the end.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] when `from` is below the start or above the end;
    /// [`LogError::Corrupt`] when the bytes on disk are not what was written.
    fn read(
        &self,
        partition: Partition,
        topic: &str,
        from: Offset,
        max_bytes: usize,
        out: &mut ReadBatch,
    ) -> Result<(), LogError>;

    /// Gives up records that lie below every given floor. Topics without a floor are kept whole,
    /// and with them whatever shares their storage. May keep more than asked, never less.
    ///
    /// # Errors
    /// [`LogError::Failed`].
    fn trim(&self, partition: Partition, floors: &[(&str, Offset)]) -> Result<(), LogError>;

    /// Bumped whenever something became durable.
    fn progress(&self) -> &Progress;
}

/// Longest name of a topic or a source, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Checks what every log refuses with [`LogError::Invalid`] before it appends anything: at least
/// one frame, at least one record in each, topics of 1 to [`NAME_BYTES_MAX`] bytes of
/// `[a-z0-9_.-]`, sources of the same bytes or empty.
///
/// # Errors
/// [`LogError::Invalid`].
pub fn check_group(group: &[Frame<'_>]) -> Result<(), LogError> {
    if group.is_empty() {
        return Err(LogError::Invalid("a group without frames".to_owned()));
    }
    for frame in group {
        if frame.topic.is_empty() || !is_name(frame.topic) {
            return Err(LogError::Invalid(format!("{:?} is not a topic's name", frame.topic)));
        }
        if !is_name(frame.envelope.source) {
            return Err(LogError::Invalid(format!("{:?} is not a source's name", frame.envelope.source)));
        }
        if frame.records.is_empty() {
            return Err(LogError::Invalid(format!("a frame of {} without records", frame.topic)));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed)
}

/// Why a log refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The call breaks a rule: an unknown partition, an empty group or frame, a name that is not
    /// allowed. Nothing was appended; the log stays usable.
    #[error("not a valid call of the log: {0}")]
    Invalid(String),
    /// No room for more; nothing was appended. Try again when there is.
    #[error("no space left for the log: {0}")]
    Full(String),
    /// The group does not fit a segment; nothing was appended.
    #[error("a group of {bytes} bytes is above the limit of {max_bytes}")]
    GroupTooLarge {
        /// Size of the group.
        bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// A read outside of what is kept and durable.
    #[error("offset {offset} of {topic}/{partition} is outside of {start}..={end}")]
    OutOfRange {
        /// Topic.
        topic: String,
        /// Partition.
        partition: u16,
        /// Asked for.
        offset: Offset,
        /// First readable.
        start: Offset,
        /// First not readable.
        end: Offset,
    },
    /// Bytes on disk are damaged (I26): the partition must stop.
    #[error("partition {partition} of the log is damaged: {what}")]
    Corrupt {
        /// Partition.
        partition: u16,
        /// File, position and what was found.
        what: String,
    },
    /// The device failed; the log has stopped and only a restart may go on.
    #[error("the log failed: {0}")]
    Failed(String),
}
