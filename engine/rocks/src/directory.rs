//! A store's directory: whose it is, and how it comes into being.
//!
//! `identity` names the owner, `db` is the database, `staging` holds files of a commit that is being
//! written. The database names the owner too. The file is written last: with it the database must be
//! there, since an empty one in its place would quietly forget what was committed (F6).

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use hongbao_engine::store::StoreError;

use crate::error::io_failed;

const IDENTITY: &str = "identity";
const DATABASE: &str = "db";
const STAGING: &str = "staging";
const HALF_WRITTEN: &str = "identity.new";

/// Paths of a store.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

/// What a directory was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, or a store whose making was cut off: nothing was committed yet.
    Unfinished,
    /// A store of the expected owner.
    Finished,
}

impl Directory {
    /// Looks at `root`, which need not exist.
    pub(crate) fn examine(root: &Path, identity: &str) -> Result<(Self, Found), StoreError> {
        let directory = Self { root: root.to_path_buf() };
        let found = match fs::read(root.join(IDENTITY)) {
            Ok(held) => {
                directory.check_identity(&held, identity)?;
                if !directory.database().join("CURRENT").exists() {
                    return Err(directory.refused("its database is gone"));
                }
                Found::Finished
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                directory.refuse_strangers()?;
                Found::Unfinished
            }
            Err(error) => return Err(directory.refused(&error.to_string())),
        };
        Ok((directory, found))
    }

    /// Makes what an unfinished store lacks, except for its database and its identity.
    pub(crate) fn prepare(&self) -> Result<(), StoreError> {
        fs::create_dir_all(self.staging()).map_err(|error| io_failed("no directory", &error))?;
        let mut above = Some(self.root.as_path());
        // Entries of new directories are durable once the directory above is synced.
        for _ in 0..2 {
            if let Some(path) = above.filter(|path| !path.as_os_str().is_empty()) {
                sync_directory(path)?;
                above = path.parent();
            }
        }
        Ok(())
    }

    /// Declares the store finished, durably.
    pub(crate) fn finish(&self, identity: &str) -> Result<(), StoreError> {
        // The database's own name first: names of one directory need not become durable in order.
        sync_directory(&self.root)?;
        let half_written = self.root.join(HALF_WRITTEN);
        let write = || {
            let mut file = File::create(&half_written)?;
            file.write_all(identity.as_bytes())?;
            file.sync_all()?;
            hongbao_engine::kill_point!("store.identity.drafted");
            fs::rename(&half_written, self.root.join(IDENTITY))
        };
        write().map_err(|error| io_failed("cannot write the identity", &error))?;
        hongbao_engine::kill_point!("store.identity.renamed");
        sync_directory(&self.root)
    }

    /// Compares the owner that the store names with the expected one.
    pub(crate) fn check_identity(&self, held: &[u8], expected: &str) -> Result<(), StoreError> {
        if held == expected.as_bytes() {
            return Ok(());
        }
        let held = String::from_utf8_lossy(held);
        Err(self.refused(&format!("it belongs to `{held}`, not to `{expected}`")))
    }

    /// An error that names the directory.
    pub(crate) fn refused(&self, why: &str) -> StoreError {
        StoreError::Open(format!("{}: {why}", self.root.display()))
    }

    /// Where the database is.
    pub(crate) fn database(&self) -> PathBuf {
        self.root.join(DATABASE)
    }

    /// Where files of commits are written: on the database's file system, since they are moved.
    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join(STAGING)
    }

    /// Room on the file system, in bytes.
    pub(crate) fn free_bytes(&self) -> Result<u64, StoreError> {
        let found = rustix::fs::statvfs(&self.root);
        let found = found.map_err(|error| io_failed("cannot ask for free space", &error.into()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Removes what a commit left behind that was cut off.
    pub(crate) fn clear_staging(&self) -> Result<(), StoreError> {
        let clear = || {
            fs::create_dir_all(self.staging())?;
            for entry in fs::read_dir(self.staging())? {
                fs::remove_file(entry?.path())?;
            }
            Ok(())
        };
        clear().map_err(|error: std::io::Error| self.refused(&format!("cannot clear `{STAGING}`: {error}")))
    }

    /// The files of a commit that was cut off, in the order in which they were handed over.
    pub(crate) fn staged(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut staged = match fs::read_dir(self.staging()) {
            Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => Err(error),
        }
        .map_err(|error| io_failed("cannot list staged files", &error))?;
        // By number, and `applied` is the last.
        staged.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
        Ok(staged)
    }

    /// Makes names of tables durable.
    pub(crate) fn sync_database(&self) -> Result<(), StoreError> {
        sync_directory(&self.database())
    }

    /// Refuses a directory that holds anything which the making of a store does not leave.
    fn refuse_strangers(&self) -> Result<(), StoreError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.refused(&error.to_string())),
        };
        for entry in entries {
            let name = entry.map_err(|error| self.refused(&error.to_string()))?.file_name();
            if ![DATABASE, STAGING, HALF_WRITTEN].iter().any(|known| name == *known) {
                let name = name.to_string_lossy();
                return Err(self.refused(&format!("it is not a store, since it holds `{name}`")));
            }
        }
        Ok(())
    }
}

fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|error| io_failed("cannot sync a directory", &error))
}
