//! The crash harness: the real program and its real files against kills, lost power, flipped bytes
//! and a hostile system. `scripts/crash` builds what it needs and calls it; `docs/TESTING.md` says
//! what each part covers.

mod attempts;
mod ci;
mod faults;
mod figures;
mod finding;
mod flips;
mod http;
mod images;
mod jobs;
mod kills;
mod process;
mod reports;
mod rig;
mod segment_file;
mod story;
mod topology;
mod traffic;
#[expect(dead_code, reason = "shared with the tests of the root package, which use more of it")]
#[path = "../../node/wait.rs"]
mod wait;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use ci::Dose;
use faults::Faults;
use figures::Figures;
use flips::Flips;
use images::Images;
use kills::Kills;

const JOBS_A_CORE: u64 = 3;

/// The real program and its real files against kills, lost power, flipped bytes and a hostile system.
#[derive(Debug, Parser)]
#[command(name = "crash", bin_name = "./scripts/crash", max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 nothing found, 1 failed, 2 wrong use, 3 a violation, or a run too weak."
)]
struct Cli {
    #[command(subcommand)]
    part: Part,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The node killed at named places and at any moment, also while it recovers.
    Kills {
        /// Kills.
        #[arg(long, default_value_t = 1_000, value_parser = at_least_one())]
        count: u64,
    },
    /// The data folder as a loss of power at any moment may leave it.
    Images {
        /// Images at least; there is one behind each call of every recording.
        #[arg(long, default_value_t = 1_000, value_parser = at_least_one())]
        count: u64,
        /// On a disk that forgets what was synced: must find something.
        #[arg(long)]
        lying: bool,
    },
    /// One byte of a stopped data folder changed.
    Flips {
        /// Bytes.
        #[arg(long, default_value_t = 1_000, value_parser = at_least_one())]
        count: u64,
    },
    /// Stopped processes, a bad network, a full disk, a failed sync.
    Faults {
        /// Rounds of each.
        #[arg(long, default_value_t = 3, value_parser = at_least_one())]
        count: u64,
    },
    /// A small dose of all, and a disk that lies; about a minute once it is built.
    Ci,
}

impl Part {
    fn name(&self) -> &'static str {
        match self {
            Self::Kills { .. } => "kills",
            Self::Images { .. } => "images",
            Self::Flips { .. } => "flips",
            Self::Faults { .. } => "faults",
            Self::Ci => "ci",
        }
    }
}

#[derive(Debug, Args)]
struct How {
    /// Chooses places, moments and bytes.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Data folders at a time; three a core unless given: processes that start, recover and are killed
    /// wait much.
    #[arg(long, global = true, value_parser = at_least_one())]
    jobs: Option<u64>,
    /// Where a folder of its own is made for the data: in memory unless given, since a killed process
    /// loses nothing that it has written. What failed is kept there.
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// Where nothing may be mounted, leaves full disks out of `faults` and `ci` instead of failing.
    #[arg(long, global = true)]
    without_mounts: bool,
    /// The program with kill points.
    #[arg(
        long,
        global = true,
        env = "HONGBAO_CRASH_PROGRAM",
        default_value = "hongbao-kill-points",
        hide = true
    )]
    program: PathBuf,
    /// The library that records calls and fails them.
    #[arg(
        long,
        global = true,
        env = "HONGBAO_CRASH_PRELOAD",
        default_value = "hongbao-crashes-files.so",
        hide = true
    )]
    preload: PathBuf,
}

fn at_least_one() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

impl How {
    fn jobs(&self) -> u64 {
        let usual =
            || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64) * JOBS_A_CORE;
        self.jobs.unwrap_or_else(usual)
    }

    fn folder(&self, part: &str) -> io::Result<PathBuf> {
        let parent = self.dir.clone().unwrap_or_else(|| PathBuf::from("/dev/shm"));
        let folder = parent.join(format!("hongbao-{part}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

fn main() -> ExitCode {
    let Cli { part, how } = Cli::parse();
    run(&part, how).end()
}

/// Runs a part. The folder stays when something was found, or the harness itself could not go on.
fn run(part: &Part, how: How) -> Figures {
    let (name, seed, jobs) = (part.name(), how.seed, how.jobs());
    let folder = match how.folder(name) {
        Ok(folder) => folder,
        Err(error) => {
            let mut figures = Figures::begin(name, seed);
            figures.trouble(&error);
            return figures;
        }
    };
    let kept = folder.clone();
    let How { program, preload, without_mounts, .. } = how;
    let mut figures = match *part {
        Part::Kills { count } => kills::run(&Kills { program, folder, count, seed, jobs }),
        Part::Flips { count } => flips::run(&Flips { program, folder, count, seed, jobs }),
        Part::Images { count, lying: is_lying } => {
            images::run(&Images { program, preload, folder, count, seed, jobs, is_lying })
        }
        Part::Faults { count } => {
            faults::run(&Faults { program, preload, folder, count, seed, jobs, without_mounts })
        }
        Part::Ci => ci::run(&Dose { program, preload, folder, seed, jobs, without_mounts }),
    };
    if figures.violations.is_empty()
        && figures.is_whole()
        && let Err(error) = std::fs::remove_dir_all(kept)
    {
        figures.trouble(&error);
    }
    figures
}
