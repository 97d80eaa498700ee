//! Everything the log asks of a disk when it writes. A seam for fault tests: a device may fail to
//! sync, have no space, or lose what was not synced.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, pwritev};

use crate::walk::next_data;

/// Writes, and makes durable. Reads go to the files directly.
pub trait Device: Send + Sync {
    /// Creates a file, or empties the one that is there. Its name is durable after
    /// [`Device::sync_dir`].
    ///
    /// # Errors
    /// Of the file system.
    fn create(&self, path: &Path) -> io::Result<File>;

    /// Reserves the first `len` bytes of a file, so that writing there needs no space. A file that
    /// was shorter reads as zeros behind its old end.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::QuotaExceeded`] when there is no space;
    /// others when the device failed.
    fn allocate(&self, file: &File, len: u64) -> io::Result<()>;

    /// Cuts a file off at `len`, or makes it so long: it then reads as zeros behind its old end, and
    /// writing there needs space.
    ///
    /// # Errors
    /// Of the file system.
    fn set_len(&self, file: &File, len: u64) -> io::Result<()>;

    /// Makes a file read as zeros from `at` to its end. It keeps its length at every moment; space
    /// that was reserved there may be given back.
    ///
    /// # Errors
    /// Of the file system. Any part may have been cleared then.
    fn clear_from(&self, file: &File, at: u64) -> io::Result<()>;

    /// Writes all slices, one after the other, from `at` on. After an error any part of them may
    /// have been written.
    ///
    /// # Errors
    /// As for [`Device::allocate`].
    fn write(&self, file: &File, slices: &mut [IoSlice<'_>], at: u64) -> io::Result<()>;

    /// Makes everything written to a file, and its size, durable. An error is final: what was
    /// written may be lost although a second call would succeed.
    ///
    /// # Errors
    /// Of the device.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Of the device.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDevice;

/// The kernel takes at most this many slices at once.
const SLICES_MAX: usize = 1_024;
/// Zeros written at once.
const ZEROS_BYTES: u64 = 64 << 10;

impl Device for OsDevice {
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
    }

    fn allocate(&self, file: &File, len: u64) -> io::Result<()> {
        match fallocate(file, FallocateFlags::empty(), 0, len) {
            // No preallocation here: a full disk then shows in the writes.
            Err(Errno::OPNOTSUPP) if file.metadata()?.len() < len => file.set_len(len),
            Err(Errno::OPNOTSUPP) => Ok(()),
            result => Ok(result?),
        }
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn clear_from(&self, file: &File, at: u64) -> io::Result<()> {
        let len = file.metadata()?.len().saturating_sub(at);
        if len == 0 {
            return Ok(());
        }
        match fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, len) {
            Err(Errno::OPNOTSUPP) => write_zeros(file, at, at + len),
            result => Ok(result?),
        }
    }

    fn write(&self, file: &File, mut slices: &mut [IoSlice<'_>], mut at: u64) -> io::Result<()> {
        while !slices.is_empty() {
            let count = slices.len().min(SLICES_MAX);
            let written = match pwritev(file, &slices[..count], at) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            if written == 0 && slices[..count].iter().any(|slice| !slice.is_empty()) {
                return Err(io::ErrorKind::WriteZero.into());
            }
            at += written as u64;
            IoSlice::advance_slices(&mut slices, written);
        }
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// The operating system's files, never synced. For tests alone: what a log over it acknowledges
/// survives the process, and no loss of power.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnsyncedDevice;

impl Device for UnsyncedDevice {
    fn create(&self, path: &Path) -> io::Result<File> {
        OsDevice.create(path)
    }

    fn allocate(&self, file: &File, len: u64) -> io::Result<()> {
        OsDevice.allocate(file, len)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        OsDevice.set_len(file, len)
    }

    fn clear_from(&self, file: &File, at: u64) -> io::Result<()> {
        OsDevice.clear_from(file, at)
    }

    fn write(&self, file: &File, slices: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        OsDevice.write(file, slices, at)
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// Writes zeros between two places wherever something was written.
fn write_zeros(file: &File, from: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES.min(end.saturating_sub(from)) as usize];
    let mut at = from;
    while let Some(data) = next_data(file, at, end)? {
        let len = ZEROS_BYTES.min(end - data);
        file.write_all_at(&zeros[..len as usize], data)?;
        at = data + len;
    }
    Ok(())
}

/// Whether an error says that there is no space, which passes, rather than that the device failed.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_more_slices_than_the_kernel_takes_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = OsDevice.create(&path).unwrap();
        let parts: Vec<Vec<u8>> = (0..3_000_u32).map(|n| vec![n as u8; (n % 5) as usize]).collect();
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        OsDevice.write(&file, &mut slices, 7).unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[7..], parts.concat());
    }

    #[test]
    fn what_is_cleared_reads_as_zeros_and_the_length_stays() {
        type Clear = fn(&File, u64) -> io::Result<()>;
        let clears: [Clear; 2] =
            [|file, at| OsDevice.clear_from(file, at), |file, at| write_zeros(file, at, 300_000)];
        for clear in clears {
            for at in [0, 1, 4_095, 4_096, 70_001, 299_999, 300_000] {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("file");
                let file = OsDevice.create(&path).unwrap();
                // A hole in the middle, which stays one where zeros are written.
                OsDevice.set_len(&file, 300_000).unwrap();
                OsDevice.write(&file, &mut [IoSlice::new(&[7; 100_000])], 0).unwrap();
                OsDevice.write(&file, &mut [IoSlice::new(&[7; 100_000])], 200_000).unwrap();
                let mut expected = std::fs::read(&path).unwrap();
                expected[at..].fill(0);
                clear(&file, at as u64).unwrap();
                assert!(std::fs::read(&path).unwrap() == expected, "from {at}");
            }
        }
    }

    #[test]
    fn allocated_space_reads_as_zeros_and_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = OsDevice.create(&path).unwrap();
        OsDevice.write(&file, &mut [IoSlice::new(b"abc")], 0).unwrap();
        OsDevice.allocate(&file, 10_000).unwrap();
        OsDevice.allocate(&file, 5_000).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 10_000, "a smaller allocation must not shorten the file");
        assert!(bytes.starts_with(b"abc") && bytes[3..].iter().all(|byte| *byte == 0));
    }
}
