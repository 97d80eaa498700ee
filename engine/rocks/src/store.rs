//! [`RocksStore`]: the store port over one database.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hongbao_engine::mutant;
use hongbao_engine::store::{Applied, Rows, Store, StoreError, Visit, check_runs};
use rocksdb::{
    ColumnFamily, DB, DBPinnableSlice, DEFAULT_COLUMN_FAMILY_NAME, Error, ErrorKind,
    IngestExternalFileOptions, Options, ReadOptions, properties,
};

use crate::commit::{APPLIED, IDENTITY, decode_applied, holds_reserved, write_file, write_files};
use crate::directory::{Directory, Found};
use crate::environment::RocksEnv;
use crate::error::failed;
use crate::{manifest, unsure};

/// A commit waits while level 0 has more files than this: look-ups in 142 files were three times
/// slower than in a few, and ingestion itself is never slowed down.
pub(crate) const LEVEL0_FILES_MAX: u64 = 96;

/// How often a waiting commit looks again.
const LEVEL0_POLL: Duration = Duration::from_millis(5);

/// One task's rows in a database of their own (I6, I26).
///
/// A commit is durable and atomic: its files, with the applied offset in one of them, are synced and
/// then ingested by one record of the database's manifest. Checksums of blocks are verified on every read;
/// damage is [`StoreError::Corrupt`]. A commit whose files find no room is [`StoreError::Full`] and left
/// no trace. After any other failed commit the store refuses further ones until it is opened again,
/// since nobody knows then what reached the device.
pub struct RocksStore {
    pub(crate) db: DB,
    directory: Directory,
    commit_files: Options,
    /// Held for the whole of a commit: there is one at a time.
    state: Mutex<CommitState>,
}

#[derive(Debug, Default)]
struct CommitState {
    number: u64,
    read_only: bool,
    failed: bool,
    /// Background errors that came of a lack of space.
    excused_errors: u64,
}

impl RocksStore {
    /// Opens the store of `identity` in `dir`, or makes it there if the directory is empty or missing.
    /// An identity says what is folded where, such as `intake/3 of <log id>`. Leftovers of a commit
    /// that was cut off are removed.
    ///
    /// # Errors
    /// [`StoreError::Open`] when the directory belongs to something else, when its database is gone
    /// (F6), or when another process holds it; [`StoreError::Corrupt`] when it is damaged (F5);
    /// [`StoreError::Failed`] when the device or RocksDB failed.
    pub fn open(dir: &Path, environment: &RocksEnv, identity: &str) -> Result<Self, StoreError> {
        let (directory, found) = Directory::examine(dir, identity)?;
        let mut options = environment.database();
        if found == Found::Unfinished {
            directory.prepare()?;
            options.create_if_missing(true);
        }
        manifest::check(&directory.database())?;
        let db = unsure::open(&directory, &options, |error| refused(&directory, error))?;
        hongbao_engine::kill_point!("store.opened");
        let store = Self::over(db, directory, environment);
        // Only now: the database's lock says that nobody is writing there.
        store.directory.clear_staging()?;
        hongbao_engine::kill_point!("store.staging.cleared");
        match found {
            Found::Unfinished => store.finish_making(identity)?,
            Found::Finished => store.check_owner(identity)?,
        }
        Ok(store)
    }

    /// Opens the store of `identity` in `dir` as it stands now, to be read beside the process that
    /// owns it. Sees none of that one's later commits; commits are refused.
    ///
    /// # Errors
    /// As [`Self::open`], and [`StoreError::Open`] when there is no store.
    pub fn open_read_only(dir: &Path, environment: &RocksEnv, identity: &str) -> Result<Self, StoreError> {
        let (directory, found) = Directory::examine(dir, identity)?;
        if found == Found::Unfinished {
            return Err(directory.refused("there is no store"));
        }
        let mut options = environment.database();
        manifest::check(&directory.database())?;
        // All files are opened now, so that the owner may remove them.
        options.set_max_open_files(-1);
        let families = [(DEFAULT_COLUMN_FAMILY_NAME, options.clone())];
        let opened = DB::open_cf_with_opts_for_read_only(&options, directory.database(), families, false);
        let db = opened.map_err(|error| refused(&directory, &error))?;
        let mut store = Self::over(db, directory, environment);
        store.state = Mutex::new(CommitState { read_only: true, ..CommitState::default() });
        store.check_owner(identity)?;
        Ok(store)
    }

    fn over(db: DB, directory: Directory, environment: &RocksEnv) -> Self {
        let commit_files = environment.commit_files();
        Self { db, directory, commit_files, state: Mutex::default() }
    }

    /// Writes the owner's name into the database and then beside it.
    fn finish_making(&self, identity: &str) -> Result<(), StoreError> {
        if self.row(APPLIED)?.is_some() {
            return Err(self.directory.refused("it holds rows, but its `identity` is gone"));
        }
        if self.row(IDENTITY)?.is_some() {
            self.check_owner(identity)?;
        }
        let path = self.directory.staging().join("identity.sst");
        let row = (IDENTITY, Some(identity.as_bytes()));
        write_file(&path, &self.commit_files, std::iter::once(row), None)?;
        self.ingest(vec![path])?;
        hongbao_engine::kill_point!("store.making.named");
        self.directory.finish(identity)
    }

    fn check_owner(&self, identity: &str) -> Result<(), StoreError> {
        match self.row(IDENTITY)? {
            Some(held) => self.directory.check_identity(&held, identity),
            None => Err(self.directory.refused("its database names no owner")),
        }
    }

    pub(crate) fn ingest(&self, paths: Vec<PathBuf>) -> Result<(), StoreError> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        // Nothing is ever in the memtable.
        options.set_allow_blocking_flush(false);
        hongbao_engine::kill_point!("store.ingest.before");
        self.db.ingest_external_file_opts(&options, paths).map_err(|error| failed(&error))?;
        hongbao_engine::kill_point!("store.ingest.after");
        Ok(())
    }

    fn family(&self) -> Result<&ColumnFamily, StoreError> {
        let family = self.db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME);
        family.ok_or_else(|| StoreError::Failed("the database has no default column family".into()))
    }

    fn row(&self, key: &[u8]) -> Result<Option<DBPinnableSlice<'_>>, StoreError> {
        self.db.get_pinned(key).map_err(|error| failed(&error))
    }

    /// Number of files on level 0: high while merging is behind.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn level0_files(&self) -> Result<u64, StoreError> {
        self.number(&properties::num_files_at_level(0))
    }

    /// Size of the store's files, in bytes.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        self.number(properties::LIVE_SST_FILES_SIZE)
    }

    fn number(&self, property: &properties::PropName) -> Result<u64, StoreError> {
        let number = self.db.property_int_value(property).map_err(|error| failed(&error))?;
        number.ok_or_else(|| StoreError::Failed("a property of the database is missing".into()))
    }

    /// Waits until merging has caught up. It cannot after an error in the background, unless that
    /// came of a lack of space: merging goes on by itself when there is room again.
    fn wait_for_merging(&self, excused_errors: &mut u64) -> Result<(), StoreError> {
        while self.level0_files()? > LEVEL0_FILES_MAX {
            let errors = self.number(properties::BACKGROUND_ERRORS)?;
            match after_errors(errors, *excused_errors, self.directory.free_bytes()?, self.disk_bytes()?) {
                Merging::GoesOn => {}
                Merging::LacksSpace => {
                    *excused_errors = errors;
                    return Err(StoreError::Full("merging has no room and level 0 is long".into()));
                }
                Merging::HasFailed => {
                    return Err(StoreError::Failed("merging failed in the background".into()));
                }
            }
            // Merging has no bell to ring.
            std::thread::park_timeout(LEVEL0_POLL);
        }
        Ok(())
    }
}

/// What a number of background errors means for merging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merging {
    GoesOn,
    LacksSpace,
    HasFailed,
}

/// RocksDB counts its background errors and does not tell them apart. A merge writes at most the whole
/// store again: with less room than that, errors are put down to a lack of it.
pub(crate) fn after_errors(errors: u64, excused: u64, free_bytes: u64, store_bytes: u64) -> Merging {
    if errors > 0 && free_bytes < store_bytes {
        Merging::LacksSpace
    } else if errors > excused {
        Merging::HasFailed
    } else {
        Merging::GoesOn
    }
}

fn refused(directory: &Directory, error: &Error) -> StoreError {
    match error.kind() {
        ErrorKind::Corruption => StoreError::Corrupt(error.to_string()),
        _ => directory.refused(error.as_ref()),
    }
}

impl Store for RocksStore {
    fn applied(&self) -> Result<Applied, StoreError> {
        self.row(APPLIED)?.map_or_else(|| Ok(Applied::default()), |bytes| decode_applied(&bytes))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.row(key)?.map(|value| value.to_vec()))
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let found = self.db.batched_multi_get_cf(self.family()?, keys.iter().copied(), keys.is_sorted());
        let owned = |value: Option<DBPinnableSlice<'_>>| value.map(|value| value.to_vec());
        found.into_iter().map(|value| value.map(owned).map_err(|error| failed(&error))).collect()
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        // A scan reads much once; look-ups of other rows want the cache.
        options.fill_cache(false);
        let mut rows = self.db.raw_iterator_opt(options);
        rows.seek(from);
        while let Some((key, value)) = rows.item() {
            if ![APPLIED, IDENTITY].contains(&key) && visit(key, value).is_break() {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(|error| failed(&error))
    }

    fn commit(&self, runs: &[Rows], applied: Applied) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.read_only {
            return Err(StoreError::Failed("the store was opened to be read only".into()));
        }
        if state.failed {
            return Err(StoreError::Failed("an earlier commit failed: open the store again".into()));
        }
        check_runs(runs)?;
        if runs.iter().any(holds_reserved) {
            return Err(StoreError::Failed("a commit writes rows of the store itself".into()));
        }
        self.wait_for_merging(&mut state.excused_errors)?;
        state.number += 1;
        let written = write_files(&self.directory.staging(), state.number, &self.commit_files, runs, applied);
        if let Err(StoreError::Full(_)) = &written {
            // What could be written takes room that others need.
            state.failed = self.directory.clear_staging().is_err();
            return written.map(drop);
        }
        let committed = written.and_then(|paths| match mutant!(M92) {
            true => paths.into_iter().try_for_each(|path| self.ingest(vec![path])),
            false => self.ingest(paths),
        });
        state.failed = committed.is_err();
        committed
    }
}
