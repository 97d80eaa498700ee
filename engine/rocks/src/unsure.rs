//! A commit that the database said had failed, and that it may hold after all. When the sync of its
//! MANIFEST fails, RocksDB removes the tables that it had just named there, and the next start misses
//! them (RocksDB 11.8). The staged files are still there: whether that commit happened was open, and
//! giving its tables back makes it happen, rows and offset together (F3, I6).
//!
//! RocksDB loads at most 16 tables when it opens a database, so it may open without the tables that it
//! will miss. Which are lost is asked here, of all it names, before anything staged is cleared.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hongbao_engine::store::StoreError;
use rocksdb::{DB, DEFAULT_COLUMN_FAMILY_NAME, Error, ErrorKind as Kind, Options};

use crate::directory::Directory;
use crate::error::{failed, io_failed};

/// Opens a database; where it misses tables of the commit in `staging`, they are put back first.
///
/// # Errors
/// What RocksDB said at first, by `refused`; [`StoreError::Corrupt`] when tables are lost and what is
/// staged is not them; [`StoreError::Failed`] when the device failed.
pub(crate) fn open(
    directory: &Directory,
    options: &Options,
    refused: impl Fn(&Error) -> StoreError,
) -> Result<DB, StoreError> {
    let database = directory.database();
    let found = open_as_it_is(&database, options);
    let (lost, error) = match found {
        Ok(db) => {
            let lost = lost_tables(&db, &database)?;
            if lost.is_empty() {
                return Ok(db);
            }
            let what = format!("{}: tables {lost:?} are not there", database.display());
            (lost, StoreError::Corrupt(what))
        }
        // Read only, so that nothing changes, and content with less: only its list counts.
        Err(error) if error.kind() == Kind::Corruption => match open_to_read(&database, options, false) {
            Ok(db) => (lost_tables(&db, &database)?, refused(&error)),
            Err(_) => return Err(refused(&error)),
        },
        Err(error) => return Err(refused(&error)),
    };
    if !give_back(directory, options, &lost)? {
        return Err(error);
    }
    open_as_it_is(&database, options).map_err(|error| refused(&error))
}

/// Puts lost tables back if all of them are among what is staged. Which file is which table is not
/// written anywhere but follows one another. A table that is there already must be the staged file
/// itself: RocksDB, or a start before this one, was cut off in the middle.
fn give_back(directory: &Directory, options: &Options, lost: &BTreeSet<u64>) -> Result<bool, StoreError> {
    let (staged, database) = (directory.staged()?, directory.database());
    let count = staged.len() as u64;
    let (Some(first), Some(last)) = (lost.first(), lost.last()) else { return Ok(false) };
    for from in (last + 1).saturating_sub(count)..=*first {
        let mut missing: Vec<(&PathBuf, PathBuf)> = Vec::new();
        let mut fits = true;
        for (number, file) in (from..).zip(&staged) {
            let table = table(&database, number);
            if lost.contains(&number) {
                missing.push((file, table));
            } else {
                fits &= is_same_file(file, &table)?;
            }
        }
        if fits && link(&database, options, &missing)? {
            directory.sync_database()?;
            tracing::warn!(path = %database.display(), tables = count, "a commit whose sync had failed is kept");
            return Ok(true);
        }
    }
    Ok(false)
}

/// Links staged files as the tables that are missing, and has RocksDB look at every table: it knows
/// each by an identifier. Returns whether it takes them; if not, the links are gone again.
fn link(database: &Path, options: &Options, missing: &[(&PathBuf, PathBuf)]) -> Result<bool, StoreError> {
    let linked = missing.iter().try_for_each(|(staged, table)| fs::hard_link(staged, table));
    if linked.is_ok() && open_to_read(database, options, true).is_ok() {
        return Ok(true);
    }
    for (_, table) in missing {
        match fs::remove_file(table) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io_failed("cannot remove a table", &error));
            }
            _ => {}
        }
    }
    Ok(false)
}

/// Tables that a database names and that are not there.
fn lost_tables(db: &DB, database: &Path) -> Result<BTreeSet<u64>, StoreError> {
    let mut lost = BTreeSet::new();
    for number in named_tables(db)? {
        let there = fs::exists(table(database, number));
        if !there.map_err(|error| io_failed("cannot look for a table", &error))? {
            lost.insert(number);
        }
    }
    if !lost.is_empty() {
        // Merging removes tables at any time, but not while they are named.
        let named = named_tables(db)?;
        lost.retain(|number| named.contains(number));
    }
    Ok(lost)
}

fn named_tables(db: &DB) -> Result<BTreeSet<u64>, StoreError> {
    let files = db.live_files().map_err(|error| failed(&error))?;
    let number = |name: &str| name.trim_start_matches('/').strip_suffix(".sst")?.parse().ok();
    Ok(files.iter().filter_map(|file| number(&file.name)).collect())
}

fn open_as_it_is(database: &Path, options: &Options) -> Result<DB, Error> {
    // A family that is only named would get default options.
    DB::open_cf_with_opts(options, database, [(DEFAULT_COLUMN_FAMILY_NAME, options.clone())])
}

/// Opens a database to read it: with `all` every table is loaded, and must be the one that is named;
/// without, missing tables do not matter.
fn open_to_read(database: &Path, options: &Options, all: bool) -> Result<DB, Error> {
    let mut options = options.clone();
    options.create_if_missing(false);
    options.set_paranoid_checks(all);
    if all {
        options.set_max_open_files(-1);
    }
    let families = [(DEFAULT_COLUMN_FAMILY_NAME, options.clone())];
    DB::open_cf_with_opts_for_read_only(&options, database, families, false)
}

fn table(database: &Path, number: u64) -> PathBuf {
    database.join(format!("{number:06}.sst"))
}

/// Whether two names are of one file; a name that is not there is of none.
fn is_same_file(one: &Path, other: &Path) -> Result<bool, StoreError> {
    let found = |path: &Path| -> io::Result<Option<(u64, u64)>> {
        match fs::metadata(path) {
            Ok(found) => Ok(Some((found.dev(), found.ino()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    let both = found(one).and_then(|one| Ok((one, found(other)?)));
    let (one, other) = both.map_err(|error| io_failed("cannot look at a table", &error))?;
    Ok(one.is_some() && one == other)
}

#[cfg(test)]
mod tests;
