//! A disk that keeps what was synced, and of the rest whatever it likes (F2).
//!
//! What a file holds is durable after a sync of the file; that it has a name after a sync of the
//! folder. Until then each write may be there or not, the last one torn at a multiple of 512 bytes,
//! and each change of a name may be there or not.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::trace::{Event, Trace};
use crate::wait::Dice;

/// A write is torn between sectors.
const SECTOR_BYTES: u64 = 512;

#[derive(Clone, Debug)]
enum Change {
    Write { at: u64, data: std::ops::Range<usize> },
    Truncate(u64),
    Allocate(u64),
    Clear { at: u64, len: u64 },
}

#[derive(Clone, Debug, Default)]
struct Content {
    durable: Vec<u8>,
    /// With their place among all changes.
    pending: Vec<(u64, Change)>,
}

#[derive(Clone, Debug)]
enum Naming {
    Add { path: String, inode: u64 },
    Remove { path: String },
    Move { from: String, to: String, inode: u64 },
}

impl Naming {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add { path, inode } => drop(names.insert(path.clone(), *inode)),
            Self::Remove { path } => drop(names.remove(path)),
            Self::Move { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }

    fn is_in(&self, folder: &str) -> bool {
        let is_in = |path: &str| parent(path) == Some(folder);
        match self {
            Self::Add { path, .. } | Self::Remove { path } => is_in(path),
            Self::Move { from, to, .. } => is_in(from) || is_in(to),
        }
    }
}

type Names = BTreeMap<String, u64>;

/// How much of what was not synced survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Synced,
    /// Everything: the power went, and the disk was quick.
    All,
    /// What came first, the last write torn.
    Prefix,
    /// Any writes; names in their order.
    SomeWrites,
    /// Any writes and any names.
    Some,
}

impl Mode {
    pub const ALL: [Self; 5] = [Self::Synced, Self::All, Self::Prefix, Self::SomeWrites, Self::Some];

    /// Name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Synced => "only_synced",
            Self::All => "everything",
            Self::Prefix => "prefix",
            Self::SomeWrites => "some_writes",
            Self::Some => "some_writes_and_names",
        }
    }
}

/// The disk after some events.
#[derive(Default)]
pub struct Disk {
    contents: BTreeMap<u64, Content>,
    folders: BTreeMap<u64, String>,
    /// As the running system sees them.
    names: Names,
    durable_names: Names,
    pending_names: Vec<(u64, Naming)>,
    changes: u64,
}

/// Parent of a path within the root, whose own path is empty.
fn parent(path: &str) -> Option<&str> {
    if path.is_empty() { None } else { Some(path.rsplit_once('/').map_or("", |(above, _)| above)) }
}

impl Disk {
    /// Takes in an event.
    pub fn take(&mut self, event: &Event) {
        self.changes += 1;
        match event {
            Event::Write { inode, at, data } => {
                self.change(*inode, Change::Write { at: *at, data: data.clone() });
            }
            Event::Truncate { inode, len } => self.change(*inode, Change::Truncate(*len)),
            Event::Allocate { inode, len } => self.change(*inode, Change::Allocate(*len)),
            Event::Clear { inode, at, len } => {
                self.change(*inode, Change::Clear { at: *at, len: *len });
            }
            Event::Sync { .. } | Event::FailedSync { .. } | Event::Send { .. } => {}
            Event::Create { inode, path } => {
                self.contents.entry(*inode).or_default();
                self.name(Naming::Add { path: path.clone(), inode: *inode });
            }
            Event::MakeFolder { inode, path } => {
                self.folders.insert(*inode, path.clone());
                self.name(Naming::Add { path: path.clone(), inode: *inode });
            }
            Event::Rename { from, to } => {
                // A file that is not recorded, such as a log for people, is not there.
                if let Some(inode) = self.names.get(from).copied() {
                    self.name(Naming::Move { from: from.clone(), to: to.clone(), inode });
                }
            }
            Event::Link { from, to } => {
                if let Some(inode) = self.names.get(from).copied() {
                    self.name(Naming::Add { path: to.clone(), inode });
                }
            }
            Event::Unlink { path } => {
                if self.names.contains_key(path) {
                    self.name(Naming::Remove { path: path.clone() });
                }
            }
        }
    }

    /// Makes a file's content, or a folder's names, durable.
    pub fn sync(&mut self, inode: u64, trace: &Trace) {
        if let Some(content) = self.contents.get_mut(&inode) {
            for (_, change) in content.pending.drain(..) {
                apply(&mut content.durable, &change, u64::MAX, trace);
            }
        }
        if let Some(folder) = self.folders.get(&inode) {
            let pending = std::mem::take(&mut self.pending_names);
            let (here, elsewhere) = pending.into_iter().partition(|(_, naming)| naming.is_in(folder));
            self.pending_names = elsewhere;
            let here: Vec<(u64, Naming)> = here;
            here.iter().for_each(|(_, naming)| naming.apply(&mut self.durable_names));
        }
    }

    fn change(&mut self, inode: u64, change: Change) {
        self.contents.entry(inode).or_default().pending.push((self.changes, change));
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending_names.push((self.changes, naming));
    }

    /// Writes an image of what a loss of power now may leave.
    ///
    /// # Errors
    /// Of the file system.
    pub fn leave(&self, trace: &Trace, mode: Mode, dice: &mut Dice, target: &Path) -> io::Result<()> {
        let cut = self.cut(mode, dice);
        let mut names = self.durable_names.clone();
        for (place, naming) in &self.pending_names {
            let survives = match mode {
                Mode::Some => dice.below(2) == 0,
                _ => *place <= cut.names,
            };
            if survives {
                naming.apply(&mut names);
            }
        }
        // A folder comes before what is in it.
        for (path, inode) in &names {
            if !is_reachable(path, &names) {
                continue;
            }
            if self.folders.contains_key(inode) {
                fs::create_dir_all(target.join(path))?;
            } else if let Some(content) = self.contents.get(inode) {
                fs::write(target.join(path), self.survivor(content, trace, mode, cut, dice))?;
            }
        }
        Ok(())
    }

    fn cut(&self, mode: Mode, dice: &mut Dice) -> Cut {
        let pending = self.contents.values().flat_map(|content| &content.pending).map(|(place, _)| *place);
        let mut places: Vec<u64> =
            pending.chain(self.pending_names.iter().map(|(place, _)| *place)).collect();
        places.sort_unstable();
        let any = |dice: &mut Dice| {
            let index = dice.below(places.len() as u64 + 1) as usize;
            index.checked_sub(1).map_or(0, |index| places[index])
        };
        match mode {
            Mode::Synced => Cut { names: 0, writes: 0 },
            Mode::All => Cut { names: u64::MAX, writes: u64::MAX },
            Mode::Prefix => {
                let place = any(dice);
                Cut { names: place, writes: place }
            }
            Mode::SomeWrites | Mode::Some => Cut { names: any(dice), writes: u64::MAX },
        }
    }

    /// What is left of a file.
    fn survivor(&self, content: &Content, trace: &Trace, mode: Mode, cut: Cut, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = content.durable.clone();
        let is_some = matches!(mode, Mode::SomeWrites | Mode::Some);
        let survivors = content.pending.iter().filter(|(place, _)| match mode {
            Mode::SomeWrites | Mode::Some => dice.below(2) == 0,
            _ => *place <= cut.writes,
        });
        let survivors: Vec<&(u64, Change)> = survivors.collect();
        let last = survivors.len().saturating_sub(1);
        for (index, (place, change)) in survivors.into_iter().enumerate() {
            let is_torn = if is_some { index == last && dice.below(2) == 0 } else { *place == cut.writes };
            let keep = match change {
                Change::Write { at, data } if is_torn => torn(*at, data.len() as u64, dice),
                _ => u64::MAX,
            };
            apply(&mut bytes, change, keep, trace);
        }
        bytes
    }
}

/// Up to which change something survives.
#[derive(Clone, Copy, Debug)]
struct Cut {
    names: u64,
    writes: u64,
}

/// Bytes kept of a write: up to any boundary of sectors within it.
fn torn(at: u64, len: u64, dice: &mut Dice) -> u64 {
    let first = SECTOR_BYTES - at % SECTOR_BYTES;
    let boundaries = if len > first { 1 + (len - first - 1) / SECTOR_BYTES } else { 0 };
    match dice.below(boundaries + 2) {
        0 => 0,
        boundary if boundary > boundaries => len,
        boundary => first + (boundary - 1) * SECTOR_BYTES,
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change, keep: u64, trace: &Trace) {
    match change {
        Change::Truncate(len) => bytes.resize(*len as usize, 0),
        Change::Allocate(len) => {
            let len = bytes.len().max(*len as usize);
            bytes.resize(len, 0);
        }
        Change::Clear { at, len } => {
            let end = bytes.len().min((at + len) as usize);
            bytes[(*at as usize).min(end)..end].fill(0);
        }
        Change::Write { at, data } => {
            let data = trace.data(data);
            let data = &data[..data.len().min(usize::try_from(keep).unwrap_or(usize::MAX))];
            let end = *at as usize + data.len();
            if !data.is_empty() && bytes.len() < end {
                bytes.resize(end, 0);
            }
            if !data.is_empty() {
                bytes[*at as usize..end].copy_from_slice(data);
            }
        }
    }
}

/// Whether all folders above a path are there.
fn is_reachable(path: &str, names: &Names) -> bool {
    let above = std::iter::successors(parent(path), |path| parent(path));
    above.filter(|path| !path.is_empty()).all(|path| names.contains_key(path))
}
