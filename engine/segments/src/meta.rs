//! What makes a directory a log: `LOCK`, which one process holds, and `meta`, which says whose
//! segments belong here (a random log id), how many partitions there are, and in which format.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use crate::device::Device;
use crate::error::OpenError;
use crate::options::PARTITIONS_MAX;

/// Version of the files written by this program.
pub(crate) const FORMAT_VERSION: u32 = 1;

const LOCK_NAME: &str = "LOCK";
const META_NAME: &str = "meta";
const META_TEMPORARY: &str = "meta.tmp";
const TITLE: &str = "hongbao log";

/// Identity of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Random; in every segment and frame, so that those of another log are never taken for ours.
    pub(crate) log_id: u64,
    pub(crate) partitions: u16,
    /// Whether the first segments of all partitions are there: false only while, or after a crash
    /// while, the log was created.
    pub(crate) ready: bool,
}

pub(crate) fn partition_dir(dir: &Path, partition: u16) -> PathBuf {
    dir.join(format!("p-{partition:04}"))
}

/// Takes the lock of a log to write. Does not touch a directory that holds something else.
pub(crate) fn lock_to_write(dir: &Path) -> Result<File, OpenError> {
    create_dir(dir).map_err(OpenError::io(dir))?;
    if !dir.join(META_NAME).exists() {
        refuse_foreign_files(dir)?;
    }
    let path = dir.join(LOCK_NAME);
    let open = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = open.map_err(OpenError::io(&path))?;
    locked(file.try_lock(), dir, &path)?;
    Ok(file)
}

/// Creates a directory and those above it, with their names durable.
fn create_dir(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|above| !above.exists()).collect();
    fs::create_dir_all(dir)?;
    missing.into_iter().try_for_each(|created| File::open(parent(created))?.sync_all())
}

/// The directory that holds the name of `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Takes the lock of a log to read: refused while somebody writes, shared with others who read.
pub(crate) fn lock_to_read(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK_NAME);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(not_a_log(dir, "it has no LOCK file"));
        }
        result => result.map_err(OpenError::io(&path))?,
    };
    locked(file.try_lock_shared(), dir, &path)?;
    Ok(file)
}

fn locked(result: Result<(), TryLockError>, dir: &Path, path: &Path) -> Result<(), OpenError> {
    match result {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::io(path)(source)),
    }
}

fn not_a_log(dir: &Path, what: &str) -> OpenError {
    OpenError::NotALog { dir: dir.to_owned(), what: what.to_owned() }
}

fn refuse_foreign_files(dir: &Path) -> Result<(), OpenError> {
    for entry in fs::read_dir(dir).map_err(OpenError::io(dir))? {
        let name = entry.map_err(OpenError::io(dir))?.file_name();
        if name != LOCK_NAME && name != META_TEMPORARY {
            let what = format!("it has no meta file, but holds {}", name.display());
            return Err(not_a_log(dir, &what));
        }
    }
    Ok(())
}

impl Meta {
    /// A log to be created.
    pub(crate) fn fresh(dir: &Path, partitions: u16) -> Result<Self, OpenError> {
        let log_id = getrandom::u64().map_err(|error| OpenError::io(dir)(io::Error::other(error)))?;
        Ok(Self { log_id, partitions, ready: false })
    }

    /// Reads the meta file, if there is one.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(META_NAME);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(OpenError::io(&path))?,
        };
        let damaged = |what: &str| OpenError::Meta { path: path.clone(), what: what.to_owned() };
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is not text"))?;
        let rest = text.strip_prefix(TITLE).and_then(|rest| rest.strip_prefix("\nversion "));
        let rest = rest.ok_or_else(|| not_a_log(dir, "its meta file is of something else"))?;
        let (version, _) = rest.split_once('\n').ok_or_else(|| damaged("it ends early"))?;
        let found: u32 = version.parse().map_err(|_| damaged("its version is not a number"))?;
        if found != FORMAT_VERSION {
            return Err(OpenError::Version { path, found, known: FORMAT_VERSION });
        }
        let body = rest.split_once('\n').map(|(_, body)| body).and_then(Self::parse);
        // Compared whole: what differs from what we would write was not written by us.
        let meta =
            body.filter(|meta| meta.encode() == text).ok_or_else(|| damaged("its checksum differs"))?;
        // Nobody makes such a log; one without partitions would be taken for a sound one that is empty.
        if !(1..=PARTITIONS_MAX).contains(&meta.partitions) {
            return Err(damaged(&format!("{} partitions, must be 1 to {PARTITIONS_MAX}", meta.partitions)));
        }
        Ok(Some(meta))
    }

    fn parse(body: &str) -> Option<Self> {
        let mut lines = body.lines();
        let log_id = u64::from_str_radix(lines.next()?.strip_prefix("id ")?, 16).ok()?;
        let partitions = lines.next()?.strip_prefix("partitions ")?.parse().ok()?;
        let ready = match lines.next()?.strip_prefix("ready ")? {
            "yes" => true,
            "no" => false,
            _ => return None,
        };
        Some(Self { log_id, partitions, ready })
    }

    fn encode(&self) -> String {
        let ready = if self.ready { "yes" } else { "no" };
        let (id, partitions) = (self.log_id, self.partitions);
        let text = format!(
            "{TITLE}\nversion {FORMAT_VERSION}\nid {id:016x}\npartitions {partitions}\nready {ready}\n"
        );
        let crc = crc32c::crc32c(text.as_bytes());
        format!("{text}crc32c {crc:08x}\n")
    }

    /// Replaces the meta file as a whole, durably.
    pub(crate) fn write(&self, dir: &Path, device: &dyn Device) -> Result<(), OpenError> {
        let (temporary, path) = (dir.join(META_TEMPORARY), dir.join(META_NAME));
        let write = || {
            let file = device.create(&temporary)?;
            device.write(&file, &mut [IoSlice::new(self.encode().as_bytes())], 0)?;
            device.sync(&file)?;
            hongbao_engine::kill_point!("log.meta.drafted");
            fs::rename(&temporary, &path)?;
            hongbao_engine::kill_point!("log.meta.renamed");
            device.sync_dir(dir)
        };
        write().map_err(OpenError::io(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::OsDevice;

    const META: Meta = Meta { log_id: 0x0123_4567_89ab_cdef, partitions: 8, ready: true };

    fn written(meta: Meta) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        meta.write(dir.path(), &OsDevice).unwrap();
        let path = dir.path().join(META_NAME);
        (dir, path)
    }

    #[test]
    fn is_read_as_written() {
        for ready in [true, false] {
            let meta = Meta { ready, ..META };
            let (dir, _) = written(meta);
            assert_eq!(Meta::read(dir.path()).unwrap(), Some(meta));
        }
        assert_eq!(Meta::read(tempfile::tempdir().unwrap().path()).unwrap(), None);
    }

    #[test]
    fn no_byte_of_it_can_change_unnoticed() {
        let (dir, path) = written(META);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                fs::write(&path, &bad).unwrap();
                assert!(Meta::read(dir.path()).is_err(), "byte {at} ^ {flip:#x}");
            }
            fs::write(&path, &good[..at]).unwrap();
            assert!(Meta::read(dir.path()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_number_of_partitions_that_no_log_has_is_refused() {
        for partitions in [0, PARTITIONS_MAX + 1, u16::MAX] {
            let (dir, _) = written(Meta { partitions, ..META });
            let refused = Meta::read(dir.path());
            assert!(matches!(refused, Err(OpenError::Meta { .. })), "{partitions}: {refused:?}");
        }
        for partitions in [1, PARTITIONS_MAX] {
            let (dir, _) = written(Meta { partitions, ..META });
            assert_eq!(Meta::read(dir.path()).unwrap().unwrap().partitions, partitions);
        }
    }

    #[test]
    fn another_version_is_named() {
        let (dir, path) = written(META);
        let text = fs::read_to_string(&path).unwrap().replace("version 1\n", "version 2\nnew stuff\n");
        fs::write(&path, text).unwrap();
        let error = Meta::read(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::Version { found: 2, known: 1, .. }), "{error}");
    }

    #[test]
    fn the_lock_excludes_writers_and_is_shared_by_readers() {
        let dir = tempfile::tempdir().unwrap();
        let writer = lock_to_write(dir.path()).unwrap();
        assert!(matches!(lock_to_write(dir.path()), Err(OpenError::Locked { .. })));
        assert!(matches!(lock_to_read(dir.path()), Err(OpenError::Locked { .. })));
        drop(writer);
        let readers = [lock_to_read(dir.path()).unwrap(), lock_to_read(dir.path()).unwrap()];
        assert!(matches!(lock_to_write(dir.path()), Err(OpenError::Locked { .. })));
        drop(readers);
        lock_to_write(dir.path()).unwrap();
    }

    #[test]
    fn a_directory_of_something_else_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("photo.jpg"), b"x").unwrap();
        let error = lock_to_write(dir.path()).unwrap_err();
        assert!(matches!(&error, OpenError::NotALog { what, .. } if what.contains("photo.jpg")), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was left behind");
        assert!(matches!(lock_to_read(dir.path()), Err(OpenError::NotALog { .. })));
    }
}
