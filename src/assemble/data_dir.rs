//! The data folder: whose it is, what is fixed in it for life, and that one process holds it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use hongbao_schemas::control::ControlKey;
use serde::{Deserialize, Serialize};

use super::sealed_file;

const FORMAT: u32 = 1;
const IDENTITY_FILE: &str = "hongbao.json";
const KEY_FILE: &str = "control.key";
const LOCK_FILE: &str = "LOCK";

/// What is fixed when the folder is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Version of the layout.
    pub format: u32,
    /// Leads every idempotency key; the topology's name when the folder was made. Renaming the
    /// topology later must not change the keys of orders that were sent (I13).
    pub namespace: String,
    /// Number of partitions (the uniqueness of order numbers depends on it).
    pub partitions: u16,
}

/// A folder whose small files are replaced in one durable step.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

/// A data folder held by this process.
#[derive(Debug)]
pub struct DataDir {
    folder: Folder,
    identity: Identity,
    control_key: [u8; 32],
    _lock: File,
}

impl DataDir {
    /// Opens the folder, or makes it when there is none or an empty one.
    pub fn open_or_create(root: &Path, namespace: &str, partitions: u16) -> anyhow::Result<Self> {
        std::fs::create_dir_all(root)
            .with_context(|| format!("cannot make the data folder {}", root.display()))?;
        // Before the lock, which would leave a file in somebody else's folder.
        if !root.join(IDENTITY_FILE).exists() {
            refuse_foreign(root)?;
        }
        let lock = lock(root)?;
        if !root.join(IDENTITY_FILE).exists() {
            let mut key = [0; 32];
            getrandom::fill(&mut key)
                .map_err(|error| anyhow!("no randomness for the control key: {error}"))?;
            let folder = Folder { root: root.to_owned() };
            folder.write_as(KEY_FILE, &key, 0o600)?;
            let identity = Identity { format: FORMAT, namespace: namespace.to_owned(), partitions };
            // Last, so that a folder with an identity has everything.
            folder.write(IDENTITY_FILE, &serde_json::to_vec_pretty(&identity)?)?;
        }
        let opened = Self::with_lock(root, lock)?;
        if opened.identity.partitions != partitions {
            bail!(
                "the data folder {} has {} partitions and the topology {partitions}: the number is fixed for the \
                 life of the data, since order numbers are unique per partition; set `partitions: {}`",
                root.display(),
                opened.identity.partitions,
                opened.identity.partitions
            );
        }
        Ok(opened)
    }

    /// Opens an existing folder.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        if !root.join(IDENTITY_FILE).exists() {
            bail!("{} is not a data folder of hongbao: it has no {IDENTITY_FILE}", root.display());
        }
        Self::with_lock(root, lock(root)?)
    }

    fn with_lock(root: &Path, lock: File) -> anyhow::Result<Self> {
        let path = root.join(IDENTITY_FILE);
        let text = present(&path)?;
        let identity: Identity =
            serde_json::from_slice(&text).with_context(|| format!("{} is malformed", path.display()))?;
        if identity.format != FORMAT {
            bail!("{} says format {}, this program knows {FORMAT}", path.display(), identity.format);
        }
        let path = root.join(KEY_FILE);
        let key = present(&path)?;
        let control_key = key.try_into().map_err(|_| anyhow!("{} does not hold 32 bytes", path.display()))?;
        Ok(Self { folder: Folder { root: root.to_owned() }, identity, control_key, _lock: lock })
    }

    /// What is fixed.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The key that seals control records.
    pub fn control_key(&self) -> ControlKey {
        ControlKey::new(self.control_key)
    }

    /// The folder's small files.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A path within the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.root.join(name)
    }
}

impl Folder {
    /// What a file says, as `decode` reads it; nothing when there is no such file.
    pub fn read<T, E>(
        &self,
        name: &str,
        decode: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> anyhow::Result<Option<T>>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let path = self.root.join(name);
        let Some(bytes) = sealed_file::read(&path)? else { return Ok(None) };
        decode(&bytes).map(Some).with_context(|| format!("{} is malformed", path.display()))
    }

    /// Replaces a file in one durable step.
    pub fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.write_as(name, bytes, 0o644)
    }

    fn write_as(&self, name: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
        sealed_file::write(&self.root, name, bytes, mode)
    }
}

/// What a file holds that must be there.
fn present(path: &Path) -> anyhow::Result<Vec<u8>> {
    sealed_file::read(path)?.ok_or_else(|| anyhow!("{} is missing", path.display()))
}

fn lock(root: &Path) -> anyhow::Result<File> {
    let path = root.join(LOCK_FILE);
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    let file = open.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "the data folder {} is held by another process (is `hongbao up` running on it?)",
                root.display()
            )
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// A folder with other things in it is somebody else's; what an interrupted start left is ours.
fn refuse_foreign(root: &Path) -> anyhow::Result<()> {
    let ours = [LOCK_FILE, KEY_FILE];
    for entry in std::fs::read_dir(root)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !ours.contains(&&*name) && !name.ends_with(".new") {
            bail!(
                "{} is not empty ({name}) and not a data folder of hongbao; give another --data-dir",
                root.display()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_what_it_was_made_with() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        let made = DataDir::open_or_create(&root, "spring", 4).unwrap();
        let key = made.control_key;
        drop(made);
        let again = DataDir::open_or_create(&root, "renamed", 4).unwrap();
        assert_eq!(again.identity().namespace, "spring");
        assert_eq!(again.control_key, key);
    }

    #[test]
    fn files_are_read_as_they_were_written_last_and_absent_ones_are_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder { root: root.path().to_owned() };
        let number = |bytes: &[u8]| serde_json::from_slice::<u64>(bytes);
        assert_eq!(folder.read("number.json", number).unwrap(), None);
        for text in [b"1", b"2"] {
            folder.write("number.json", text).unwrap();
        }
        assert_eq!(folder.read("number.json", number).unwrap(), Some(2));
        folder.write("number.json", b"two").unwrap();
        let error = folder.read("number.json", number).unwrap_err().to_string();
        assert!(error.contains("number.json is malformed"), "{error}");
    }

    #[test]
    fn wrong_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        let held = DataDir::open_or_create(&root, "spring", 4).unwrap();
        let error = DataDir::open(&root).unwrap_err().to_string();
        assert!(error.contains("held by another process"), "{error}");
        drop(held);

        let error = DataDir::open_or_create(&root, "spring", 8).unwrap_err().to_string();
        assert!(error.contains("has 4 partitions"), "{error}");

        std::fs::write(root.join(IDENTITY_FILE), "{}").unwrap();
        assert!(DataDir::open(&root).unwrap_err().to_string().contains("malformed"));

        let foreign = folder.path().join("foreign");
        std::fs::create_dir(&foreign).unwrap();
        std::fs::write(foreign.join("thesis.tex"), "").unwrap();
        let error = DataDir::open_or_create(&foreign, "spring", 4).unwrap_err().to_string();
        assert!(error.contains("thesis.tex"), "{error}");
        let error = DataDir::open(&foreign).unwrap_err().to_string();
        assert!(error.contains("not a data folder"), "{error}");
    }
}
