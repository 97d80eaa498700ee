//! The embedded log: append-only segment files for one machine.
//!
//! ```text
//! dir/LOCK              held by the process that has the log open
//! dir/meta              format, log id, partition count
//! dir/p-0003/0000000007.seg    all topics of partition 3, one stream over consecutive segments
//! dir/p-0003/0000000002.spare  a segment given up, to be written again
//! ```
//! A segment is a header, groups of frames, and once it is sealed a footer with its frame index.
//! A group lies in one segment and counts as a whole. One thread syncs all partitions, by time
//! and bytes; only what is synced is readable (I25). A sync that fails ends the log (never
//! retried: the kernel may have dropped what it could not write), a full disk does not.
//!
//! What a reader can rely on: a record comes back as it was written, or the partition says that it
//! is damaged (I26). Frames carry checksums, their place in the stream, the frame before, and what
//! was known durable when they were written; so a torn end is told from a lost record when the log
//! is opened, and nothing left in a reused file is ever taken for a frame.
//!
//! Memory, apart from the caller's buffers: the index of the segments without a footer (32 bytes a
//! frame; usually one segment a partition), up to 8 sealed segments or 4 MiB of index a partition
//! read last, and per sealed segment 24 bytes and 16 per topic in it (200 KiB for a log of 64 GiB
//! with ten topics in 64 MiB segments).

mod append;
mod commit;
mod core;
mod device;
mod error;
mod footer;
mod frame;
mod group;
mod index;
mod log;
mod meta;
mod options;
mod partition;
mod read;
mod recovery;
mod repair;
mod retention;
mod sealed;
mod segment;
mod topics;
mod walk;
mod wire;

pub use device::{Device, OsDevice, UnsyncedDevice};
pub use error::OpenError;
pub use log::SegmentLog;
pub use options::{
    PARTITIONS_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SPARES_MAX, SegmentOptions, TOPICS_MAX,
};
pub use recovery::{Cut, PartitionRecovery, Recovery};
