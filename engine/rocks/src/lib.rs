//! The state store over RocksDB: the only crate that links it.
//!
//! **Commits are ingested files, and nothing else.** A commit writes its rows and the applied offset
//! into sorted files beside the database and hands them over in one atomic ingest. So there is no
//! write-ahead log, no memtable and no flush: after a crash the store stands at a whole commit, and
//! the log replays the rest (I6). Small commits take the same way although each costs some
//! milliseconds of syncing whatever its size: a write batch would be cheaper for a hundred rows, but
//! it is durable only by a flush, and two ways to commit that mix (a batch in the memtable, a file
//! that overlaps it) would order themselves by rules of their own. Commit seldom instead, by size and
//! time: 100,000 rows and more at once.
//!
//! RocksDB never slows ingestion down, so a commit waits while level 0 is long.

mod commit;
mod directory;
mod environment;
mod error;
mod manifest;
mod store;
#[cfg(test)]
mod tests;
mod unsure;

pub use environment::RocksEnv;
pub use store::RocksStore;
