//! A device that fails when told to: to sync, to write, or for want of space.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hongbao_segments::{Device, OsDevice};

/// What goes wrong next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every sync of a file fails.
    Sync,
    /// The next sync of a file fails, and what it was to write is given up: the ones after it succeed.
    SyncOnce,
    /// Every sync of a directory fails.
    SyncDir,
    /// Every write fails.
    Write,
    /// There is no space to reserve.
    Allocate,
    /// There is no space behind so many bytes of a write; what is before is written.
    Full(usize),
    /// There is no space for the footer of a segment.
    Footer,
    /// No file can be created for want of space.
    Create,
}

#[derive(Default)]
pub struct FaultyDevice {
    fault: Mutex<Option<Fault>>,
    /// Calls of [`Device::sync`] so far.
    pub syncs: AtomicUsize,
}

impl FaultyDevice {
    pub fn set(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
    }

    fn is(&self, fault: Fault) -> bool {
        *self.fault.lock().unwrap() == Some(fault)
    }
}

fn device_error() -> io::Error {
    io::Error::other("the disk is gone")
}

fn no_space() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Device for FaultyDevice {
    fn create(&self, path: &Path) -> io::Result<File> {
        if self.is(Fault::Create) { Err(no_space()) } else { OsDevice.create(path) }
    }

    fn allocate(&self, file: &File, len: u64) -> io::Result<()> {
        if self.is(Fault::Allocate) { Err(no_space()) } else { OsDevice.allocate(file, len) }
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        OsDevice.set_len(file, len)
    }

    fn clear_from(&self, file: &File, at: u64) -> io::Result<()> {
        OsDevice.clear_from(file, at)
    }

    fn write(&self, file: &File, slices: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            Some(Fault::Write) => Err(device_error()),
            Some(Fault::Full(bytes)) => {
                let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                let fits = &all[..bytes.min(all.len())];
                OsDevice.write(file, &mut [IoSlice::new(fits)], at)?;
                if fits.len() == all.len() { Ok(()) } else { Err(no_space()) }
            }
            Some(Fault::Footer) if slices.iter().any(|slice| slice.starts_with(b"hbT1")) => Err(no_space()),
            _ => OsDevice.write(file, slices, at),
        }
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        let failed = self.is(Fault::Sync) || self.is(Fault::SyncOnce);
        if self.is(Fault::SyncOnce) {
            self.set(None);
        }
        if failed { Err(device_error()) } else { Ok(()) }
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        if self.is(Fault::SyncDir) { Err(device_error()) } else { Ok(()) }
    }
}
