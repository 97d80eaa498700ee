//! A commit that the database said had failed, and that it may hold after all. When the sync of its
//! MANIFEST fails, RocksDB removes the tables that it had just named there, and the next start misses
//! them (RocksDB 11.8). The staged files are still there: whether that commit happened was open, and
//! giving its tables back makes it happen, rows and offset together (F3, I6).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hongbao_engine::store::StoreError;
use rocksdb::{DB, Error};

use crate::directory::Directory;
use crate::error::io_failed;

const MISSING: &str = ".sst: No such file or directory";

/// Opens a database; where it misses tables of the commit in `staging`, they are put back first. Which
/// file is which table is not written anywhere but follows one another; a table that is not the one
/// meant is refused by RocksDB, which knows each by its own identifier.
///
/// # Errors
/// What `open` said at first, by `refused`; [`StoreError::Failed`] when the device failed.
pub(crate) fn open(
    directory: &Directory,
    open: impl Fn() -> Result<DB, Error>,
    refused: impl Fn(&Error) -> StoreError,
) -> Result<DB, StoreError> {
    let error = match open() {
        Ok(db) => return Ok(db),
        Err(error) => error,
    };
    let staged = directory.staged()?;
    let Some(missing) = missing_table(error.as_ref()) else { return Err(refused(&error)) };
    let count = staged.len() as u64;
    for first in (missing + 1).saturating_sub(count)..=missing {
        let database = directory.database();
        let tables: Vec<PathBuf> = (first..first + count).map(|number| table(&database, number)).collect();
        if tables.iter().any(|table| table.exists()) {
            continue;
        }
        let linked = staged.iter().zip(&tables).try_for_each(|(staged, table)| fs::hard_link(staged, table));
        if linked.is_ok()
            && let Ok(db) = open()
        {
            directory.sync_database()?;
            tracing::warn!(path = %database.display(), tables = count, "a commit whose sync had failed is kept");
            return Ok(db);
        }
        tables.iter().try_for_each(|table| withdraw(table))?;
    }
    Err(refused(&error))
}

/// The number of the table that an error says is not there.
fn missing_table(error: &str) -> Option<u64> {
    let (before, _) = error.split_once(MISSING)?;
    before.rsplit('/').next()?.parse().ok()
}

fn table(database: &Path, number: u64) -> PathBuf {
    database.join(format!("{number:06}.sst"))
}

fn withdraw(table: &Path) -> Result<(), StoreError> {
    match fs::remove_file(table) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_failed("cannot remove a table", &error)),
        _ => Ok(()),
    }
}
