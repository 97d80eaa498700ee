//! `faults`: a hostile system around a node that is not killed: stopped and continued processes, a bad
//! network in front of the downstream, a full disk, a sync that fails.

mod full;
mod network;
mod paused;
mod proxy;
mod sync;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::figures::Figures;
use crate::rig::{Mall, Pendants, Rig};
use crate::story::Story;
use crate::traffic::Traffic;
use crate::wait::Dice;

/// What to run.
#[derive(Clone, Debug)]
pub struct Faults {
    /// The binary.
    pub program: PathBuf,
    /// The recorder, which also makes a sync fail.
    pub preload: PathBuf,
    /// Where data folders go.
    pub folder: PathBuf,
    /// Rounds of each kind.
    pub count: u64,
    pub seed: u64,
}

/// What one round of a kind came to.
#[derive(Debug, Default)]
pub struct Round {
    /// Further figures.
    pub sums: Vec<(String, u64)>,
    pub violations: Vec<String>,
}

type Kind = (&'static str, fn(&Faults, &Path, Dice) -> io::Result<Round>);

const KINDS: [Kind; 4] = [
    ("paused", paused::round),
    ("network", network::round),
    ("full_disk", full::round),
    ("failed_sync", sync::round),
];

/// Runs all kinds.
///
/// # Errors
/// The harness itself cannot go on.
pub fn run(faults: &Faults) -> io::Result<Figures> {
    let mut figures = Figures::begin("faults");
    for (name, round) in KINDS {
        for number in 0..faults.count {
            let home = faults.folder.join(format!("{name}-{number}"));
            std::fs::create_dir_all(&home)?;
            let dice = Dice(faults.seed.wrapping_mul(0x1_0000_0001) ^ (number << 8));
            let found = round(faults, &home, dice)?;
            figures.add(name, 1);
            for (what, more) in found.sums {
                figures.add(&format!("{name}_{what}"), more);
            }
            if found.violations.is_empty() {
                std::fs::remove_dir_all(&home)?;
            }
            let place = format!("{name} {number}, kept in {}", home.display());
            figures.violations.extend(found.violations.into_iter().map(|what| format!("{place}: {what}")));
        }
    }
    figures.set("seed", json!(faults.seed));
    Ok(figures)
}

/// A story whose node sends to the downstream at `address`, which may stand in front of the real one.
fn story<'a>(
    faults: &Faults,
    home: &Path,
    mall: &'a mut Mall,
    address: std::net::SocketAddr,
    mut dice: Dice,
) -> io::Result<Story<'a>> {
    let rig = Rig::new(&faults.program, home.join("node"), 1, address, Pendants::Within)?;
    let traffic = Traffic::new("f".to_owned(), dice.below(u64::MAX));
    Story::begin(rig, mall, traffic, dice)
}

/// What every round counts.
fn round_of(story: Story<'_>, mut sums: Vec<(String, u64)>) -> Round {
    sums.push(("awards".to_owned(), story.traffic.acknowledged().len() as u64));
    sums.push(("unknown_outcomes".to_owned(), story.unknown_outcomes));
    Round { sums, violations: story.violations }
}
