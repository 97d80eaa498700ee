//! A disk without space: nothing is acknowledged that is not there, and with space the node goes on (F4).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::{Faults, Round, round_of, story};
use crate::finding::found;
use crate::process::{End, Process};
use crate::rig::{DEADLINE, Mall, until};
use crate::story::Story;
use crate::wait::Dice;

/// Size of the file system.
const SIZE: &str = "size=12m";
const BATCHES_BEFORE: u64 = 20;
const BATCHES_FULL: u64 = 200;
const BLOCK_BYTES: usize = 4 << 10;
/// Blocks that stay free at first, so that the disk runs full in the middle of something.
const FREE_BLOCKS_MAX: u64 = 100;

/// A small file system; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// Or why this process may not mount.
    fn mount(path: &Path) -> io::Result<Result<Self, String>> {
        fs::create_dir_all(path)?;
        let place = path.to_string_lossy();
        match system("/bin/mount", &["-t", "tmpfs", "-o", SIZE, "hongbao", &place])? {
            Some(End::Code(0)) => Ok(Ok(Self(path.to_owned()))),
            end => Ok(Err(format!("no small file system can be mounted ({end:?}); full disks need root"))),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let place = self.0.to_string_lossy();
        let done = system("/bin/umount", &["-l", &place]);
        if !matches!(done, Ok(Some(End::Code(0)))) {
            eprintln!("still mounted: {place}: {done:?}");
        }
    }
}

/// Runs a program of the system, for as long as it may need; none if that was not enough.
fn system(program: &str, arguments: &[&str]) -> io::Result<Option<End>> {
    Process::start(Path::new(program), arguments, &[], Path::new("/dev/null"))?.ends_within(DEADLINE)
}

/// Fills the disk under a running node, gives space back, then compares.
pub fn round(faults: &Faults, home: &Path, dice: Dice) -> io::Result<Round> {
    let mut mall = Mall::start(&faults.program, home, "steady", faults.seed)?;
    let address = mall.address;
    let mounted = match Mounted::mount(&home.join("node"))? {
        Ok(mounted) => mounted,
        Err(why) => return Ok(Round { left_out: Some(why), ..Round::default() }),
    };
    let mut story = story(faults, home, &mut mall, address, dice)?;
    let attacked = attack(&mut story);
    let mut round = round_of(story, attacked)?;
    if !round.violations.is_empty() {
        // The file system goes with this function.
        round.violations.push(process_log(&mounted.0));
    }
    Ok(round)
}

fn attack(story: &mut Story<'_>) -> io::Result<Vec<(&'static str, u64)>> {
    let mut process = story.rig.start(&[])?;
    let mut api = story.rig.connect(&mut process)?;
    for _ in 0..BATCHES_BEFORE {
        api = api.take().and_then(|open| story.send(open));
    }
    let ballast = story.rig.folder.join("ballast");
    let free = story.dice.below(FREE_BLOCKS_MAX);
    fill(&ballast, free)?;
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..BATCHES_FULL {
        let Some(open) = api.take() else { break };
        api = story.send(open);
        if story.traffic.is_open() { refused += 1 } else { taken += 1 }
    }
    fs::remove_file(&ballast)?;
    let mut sums = vec![("taken_while_full", taken), ("refused_while_full", refused)];
    let Some(mut open) = api.or(story.rig.connect(&mut process)?) else {
        return Err(found(format!("F4: the node is gone; {}", process.tells())));
    };
    let halted = until("awards are taken again, or something has halted", || {
        if let Some(halted) = halted(&open.get("/readyz")?.body) {
            return Ok(Some(Some(halted)));
        }
        let batch = story.batch(3);
        let is_taken = open.post("/v1/awards", &batch)?.status == 202;
        if is_taken {
            story.traffic.acknowledge();
        }
        Ok(is_taken.then_some(None))
    })?;
    sums.push(("went_on", u64::from(halted.is_none())));
    sums.push(("halted", u64::from(halted.is_some())));
    // The exit code of the stop below says the same once more.
    let goes_on = halted.is_none();
    if let Some(halted) = halted {
        story.violated(format!("{halted}, with {free} blocks left at first; {}", process.tells()));
    }
    process.signal(Signal::TERM);
    let end = process.ends_within(DEADLINE)?;
    if goes_on && end != Some(End::Code(0)) {
        story.violated(format!("a graceful stop ended with {end:?}; {}", process.tells()));
    }
    Ok(sums)
}

/// What is wrong when a part has halted. Whoever finds no space waits for it: only a node that is started on
/// a full disk may stay as it began, and none is started here.
fn halted(standing: &[u8]) -> Option<String> {
    let is_halted = standing.starts_with(b"halted");
    is_halted.then(|| format!("F4: a disk without space {}", String::from_utf8_lossy(standing).trim()))
}

fn process_log(folder: &Path) -> String {
    fs::read_to_string(folder.join("node.log")).unwrap_or_default()
}

/// Takes all space but some blocks.
fn fill(ballast: &Path, free_blocks: u64) -> io::Result<()> {
    let block = [7; BLOCK_BYTES];
    let mut file = fs::File::create(ballast)?;
    let mut written = 0_u64;
    while file.write_all(&block).is_ok() {
        written += 1;
    }
    file.set_len(written.saturating_sub(free_blocks) * BLOCK_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_space_must_not_halt_anything() {
        let wrong = halted(b"halted:\nintake/0: the store failed: No space left on device\n").unwrap();
        assert!(wrong.starts_with("F4: ") && wrong.contains("intake/0: the store failed"));
        for standing in ["ready\n", "recovering: 1 of 1 partitions are being folded\n", "draining\n"] {
            assert_eq!(halted(standing.as_bytes()), None);
        }
    }
}
