//! Small files of the data folder: replaced in one durable step, and sealed with a checksum. A changed
//! byte in a name that leads keys, in the control key or in a number would otherwise be believed (F5, I26).

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, bail};

const SEAL: &str = "\nblake3 ";
/// Hexadecimal digits of the checksum, and the line's end.
const DIGITS: usize = 32;
const SEAL_BYTES: usize = SEAL.len() + DIGITS + 1;

/// Replaces a file of a folder in one durable step.
///
/// # Errors
/// Of the file system; the file is then the old or the new one.
pub fn write(root: &Path, name: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let (path, draft) = (root.join(name), root.join(format!("{name}.new")));
    let write = || -> std::io::Result<()> {
        let mut file = File::options().create(true).truncate(true).write(true).mode(mode).open(&draft)?;
        file.write_all(bytes)?;
        file.write_all(seal(bytes).as_bytes())?;
        file.sync_all()?;
        hongbao_engine::kill_point!("data.file.drafted");
        std::fs::rename(&draft, &path)?;
        hongbao_engine::kill_point!("data.file.renamed");
        File::open(root)?.sync_all()?;
        hongbao_engine::kill_point!("data.file.synced");
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// What was written into a file; none if there is no such file.
///
/// # Errors
/// Of the file system, and when the checksum differs.
pub fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let mut bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let body = bytes.len().saturating_sub(SEAL_BYTES);
    if bytes[body..] != *seal(&bytes[..body]).as_bytes() {
        bail!("{} is malformed: its checksum is missing or differs", path.display());
    }
    bytes.truncate(body);
    Ok(Some(bytes))
}

fn seal(bytes: &[u8]) -> String {
    let hash = blake3::hash(bytes).to_hex();
    format!("{SEAL}{}\n", &hash[..DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_of_it_can_change_unnoticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(read(&path).unwrap(), None);
        for content in [&b"{\"number\": 7}"[..], b"", &[0xff; 32]] {
            write(folder.path(), "file", content, 0o600).unwrap();
            assert_eq!(read(&path).unwrap().as_deref(), Some(content));
            let good = std::fs::read(&path).unwrap();
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                std::fs::write(&path, &bad).unwrap();
                assert!(read(&path).is_err(), "byte {at}");
                std::fs::write(&path, &good[..at]).unwrap();
                assert!(read(&path).is_err(), "cut off at {at}");
            }
        }
    }
}
