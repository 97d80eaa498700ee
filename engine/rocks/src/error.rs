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
