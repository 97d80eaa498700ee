//! `faults`: a hostile system around a node that is not killed: stopped and continued processes, a bad
//! network in front of the downstream, a full disk, a sync that fails.

mod full;
mod network;
mod paused;
mod proxy;
mod sync;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::figures::Figures;
use crate::jobs::on_threads;
use crate::rig::{Mall, Pendants, Rig};
use crate::story::Story;
use crate::traffic::Traffic;
use crate::wait::Dice;
use proxy::NAMES;

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
    /// Rounds at a time.
    pub jobs: u64,
}

/// What one round of a kind came to.
#[derive(Debug, Default)]
pub struct Round {
    /// Figures of the kind.
    pub sums: Vec<(String, u64)>,
    /// Figures that all kinds have.
    pub of_all: Vec<(&'static str, u64)>,
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
    let (next, found) = (AtomicU64::new(0), Mutex::new(Figures::begin("faults", faults.seed)));
    let rounds = faults.count * KINDS.len() as u64;
    on_threads(faults.jobs.min(rounds), |_| {
        loop {
            let round = next.fetch_add(1, Ordering::SeqCst);
            if round >= rounds {
                return Ok(());
            }
            one_round(
                faults,
                KINDS[(round % KINDS.len() as u64) as usize],
                round / KINDS.len() as u64,
                &found,
            )?;
        }
    })?;
    let mut figures = found.into_inner();
    for name in NAMES {
        if figures.number(&format!("network_{name}")) == 0 {
            figures.violations.push(format!("too weak: no exchange was {name}"));
        }
    }
    Ok(figures)
}

/// Runs a round of a kind, and keeps its folder when something is wrong.
fn one_round(faults: &Faults, (name, round): Kind, number: u64, found: &Mutex<Figures>) -> io::Result<()> {
    let home = faults.folder.join(format!("{name}-{number}"));
    std::fs::create_dir_all(&home)?;
    let dice = Dice(faults.seed.wrapping_mul(0x1_0000_0001) ^ (number << 8));
    let came_to = match round(faults, &home, dice) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Round { violations: vec![error.to_string()], ..Round::default() }
        }
        came_to => came_to?,
    };
    let mut figures = found.lock();
    figures.add(name, 1);
    for (what, more) in came_to.sums {
        figures.add(&format!("{name}_{what}"), more);
    }
    for (what, more) in came_to.of_all {
        figures.add(what, more);
    }
    if came_to.violations.is_empty() {
        std::fs::remove_dir_all(&home)?;
    }
    let place = format!("{name} {number}, kept in {}", home.display());
    figures.violations.extend(came_to.violations.into_iter().map(|what| format!("{place}: {what}")));
    Ok(())
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
fn round_of(story: Story<'_>, sums: Vec<(String, u64)>) -> Round {
    let of_all = [
        ("awards", story.traffic.acknowledged().len() as u64),
        ("duplicates", story.traffic.repeats),
        ("unknown_outcomes", story.unknown_outcomes),
        ("crashes", story.crashes),
    ];
    Round { sums, of_all: of_all.to_vec(), violations: story.violations }
}
