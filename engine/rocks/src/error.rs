//! RocksDB's errors as the port's.

use hongbao_engine::store::StoreError;
use rocksdb::{Error, ErrorKind};

/// An error while the store is in use.
pub(crate) fn failed(error: &Error) -> StoreError {
    match error.kind() {
        ErrorKind::Corruption => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}

/// An error of the file system.
pub(crate) fn io_failed(what: &str, error: &std::io::Error) -> StoreError {
    StoreError::Failed(format!("{what}: {error}"))
}

/// An error while a file of a commit is written, before the database knows of it. The binding keeps
/// only the kind and the text of what RocksDB and the system said.
pub(crate) fn not_written(error: &Error) -> StoreError {
    let text = error.to_string();
    let is_full = ["No space left on device", "Disk quota exceeded"].iter().any(|why| text.contains(why));
    match error.kind() {
        ErrorKind::IOError if is_full => StoreError::Full(text),
        _ => failed(error),
    }
}
