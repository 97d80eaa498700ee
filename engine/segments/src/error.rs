//! Why a log could not be opened.

use std::io;
use std::path::{Path, PathBuf};

/// Why a log could not be opened. Nothing on disk was changed, except after [`OpenError::Io`].
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options contradict themselves.
    #[error("log options: {0}")]
    Options(String),
    /// Another process, or this one, has the log open.
    #[error("{} is in use: another process holds its LOCK", dir.display())]
    Locked {
        /// Directory of the log.
        dir: PathBuf,
    },
    /// The directory holds something else, or nothing where a log was expected.
    #[error("{} is not a log: {what}", dir.display())]
    NotALog {
        /// The directory.
        dir: PathBuf,
        /// What is there, or is not.
        what: String,
    },
    /// The directory's `meta` file cannot be understood.
    #[error("{} is damaged: {what}", path.display())]
    Meta {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Written by another version of this program.
    #[error("{} has format version {found}, this program knows {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Version of this program.
        known: u32,
    },
    /// The partition count is fixed for the life of the data.
    #[error("{} has {found} partitions, not {asked}; the count cannot be changed", dir.display())]
    Partitions {
        /// Directory of the log.
        dir: PathBuf,
        /// Partitions of the data.
        found: u16,
        /// Partitions asked for.
        asked: u16,
    },
    /// A segment that does not belong here, or one that should be here and is not.
    #[error("{}: {what}", path.display())]
    Segment {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

impl OpenError {
    /// For `map_err`: the error of a file.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn segment(path: &Path, what: impl Into<String>) -> Self {
        Self::Segment { path: path.to_owned(), what: what.into() }
    }
}
