//! A device that knows what is durable, so that what a power loss leaves can be made at any
//! moment, also between the steps of the log's own threads: each sector not synced has its old or
//! its new bytes or is torn between them, file sizes and names are old or new.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use hongbao_segments::{Device, OsDevice};

use super::Random;

const SECTOR_BYTES: usize = 512;

/// Names of a directory, and the inode behind each.
type Names = BTreeMap<PathBuf, u64>;

pub struct LossyDevice {
    state: Mutex<State>,
}

struct State {
    dir: PathBuf,
    /// By inode. Holding the files open keeps inodes from being used again.
    files: BTreeMap<u64, Disk>,
    /// States of the partition's directory since it was synced last, the durable one first.
    names: Vec<Names>,
    random: Random,
    /// Groups acknowledged so far.
    acked: usize,
    /// A power loss is made after one in so many calls.
    loss_one_in: u64,
    losses: Vec<(tempfile::TempDir, usize)>,
    syncs_fail: bool,
}

/// A file and what of it is on the disk.
struct Disk {
    file: File,
    durable: Vec<u8>,
    /// Written since, and still known to the system as not synced.
    dirty: Vec<Range<usize>>,
}

impl Disk {
    /// What a sync now would leave on the disk.
    fn flushed(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        bytes.resize(self.file.metadata().unwrap().len() as usize, 0);
        for range in &self.dirty {
            let range = range.start..range.end.min(bytes.len());
            if !range.is_empty() {
                let at = range.start as u64;
                self.file.read_exact_at(&mut bytes[range], at).unwrap();
            }
        }
        bytes
    }
}

fn names(dir: &Path) -> Names {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.path(), entry.ino())).collect()
}

impl LossyDevice {
    /// A device under the log of one partition in `dir`, all of which is durable.
    pub fn over(dir: &Path, random: Random) -> Self {
        let mut files = BTreeMap::new();
        let found = names(&dir.join("p-0000"));
        for (path, inode) in &found {
            let (file, durable) = (File::open(path).unwrap(), fs::read(path).unwrap());
            files.insert(*inode, Disk { file, durable, dirty: Vec::new() });
        }
        let state = State {
            dir: dir.to_owned(),
            files,
            names: vec![found],
            random,
            acked: 0,
            loss_one_in: u64::MAX,
            losses: Vec::new(),
            syncs_fail: false,
        };
        Self { state: Mutex::new(state) }
    }

    /// From now on a power loss is made after one in so many calls.
    pub fn lose_one_in(&self, calls: u64) {
        self.state.lock().unwrap().loss_one_in = calls;
    }

    pub fn fail_syncs(&self, fail: bool) {
        self.state.lock().unwrap().syncs_fail = fail;
    }

    /// Notes that so many groups are acknowledged.
    pub fn acked(&self, groups: usize) {
        self.state.lock().unwrap().acked = groups;
    }

    /// The power losses so far: what each left, and how many groups were acknowledged before it.
    pub fn losses(&self) -> Vec<(tempfile::TempDir, usize)> {
        std::mem::take(&mut self.state.lock().unwrap().losses)
    }

    /// What a power loss now may leave.
    pub fn lose(&self) -> tempfile::TempDir {
        self.state.lock().unwrap().lose()
    }
}

impl State {
    fn lose(&mut self) -> tempfile::TempDir {
        let to = super::directory();
        fs::copy(self.dir.join("meta"), to.path().join("meta")).unwrap();
        fs::write(to.path().join("LOCK"), b"").unwrap();
        fs::create_dir(to.path().join("p-0000")).unwrap();
        self.names.push(names(&self.dir.join("p-0000")));
        let chosen = self.names[self.random.below(self.names.len() as u64) as usize].clone();
        for (path, inode) in chosen {
            // A file that was created without the device is none of the log's.
            let Some(disk) = self.files.get(&inode) else { continue };
            let bytes = mixed(&disk.durable, &disk.flushed(), &mut self.random);
            fs::write(to.path().join("p-0000").join(path.file_name().unwrap()), bytes).unwrap();
        }
        to
    }

    fn step(&mut self) {
        if self.loss_one_in != u64::MAX && self.random.chance(self.loss_one_in) {
            let left = self.lose();
            self.losses.push((left, self.acked));
        }
    }

    fn disk(&mut self, file: &File) -> io::Result<Option<&mut Disk>> {
        Ok(self.files.get_mut(&file.metadata()?.ino()))
    }
}

/// The bytes of a file of which `old` was durable and `new` was written.
fn mixed(old: &[u8], new: &[u8], random: &mut Random) -> Vec<u8> {
    let len = if random.chance(2) { old.len() } else { new.len() };
    let one_in = 1 + random.below(4);
    let mut bytes = vec![0; len];
    for at in (0..len).step_by(SECTOR_BYTES) {
        let end = (at + SECTOR_BYTES).min(len);
        let torn = if random.chance(8) { at + random.below((end - at) as u64) as usize } else { at };
        let (first, second) = if random.chance(one_in) { (new, old) } else { (old, new) };
        for (place, byte) in bytes[at..end].iter_mut().enumerate() {
            let from = if at + place < torn { second } else { first };
            *byte = from.get(at + place).copied().unwrap_or(0);
        }
    }
    bytes
}

impl Device for LossyDevice {
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut state = self.state.lock().unwrap();
        let file = OsDevice.create(path)?;
        let disk = Disk { file: File::open(path)?, durable: Vec::new(), dirty: Vec::new() };
        state.files.insert(file.metadata()?.ino(), disk);
        let now = names(&state.dir.join("p-0000"));
        state.names.push(now);
        state.step();
        Ok(file)
    }

    fn allocate(&self, file: &File, len: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        OsDevice.allocate(file, len)?;
        state.step();
        Ok(())
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        OsDevice.set_len(file, len)?;
        state.step();
        Ok(())
    }

    fn clear_from(&self, file: &File, at: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        OsDevice.clear_from(file, at)?;
        if let Some(disk) = state.disk(file)? {
            disk.dirty.push(at as usize..file.metadata()?.len() as usize);
        }
        state.step();
        Ok(())
    }

    fn write(&self, file: &File, slices: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        OsDevice.write(file, slices, at)?;
        if let Some(disk) = state.disk(file)? {
            disk.dirty.push(at as usize..at as usize + len);
        }
        state.step();
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        // What a sync begins with may get to the disk before it ends, in any order.
        state.step();
        let fail = state.syncs_fail;
        if let Some(disk) = state.disk(file)? {
            if !fail {
                disk.durable = disk.flushed();
            }
            // The system forgets what it could not write: a later sync does not try it again.
            disk.dirty.clear();
        }
        state.step();
        if fail { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if dir.ends_with("p-0000") {
            state.names = vec![names(dir)];
        }
        state.step();
        Ok(())
    }
}
