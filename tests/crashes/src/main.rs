//! The crash harness: the real program and its real files against kills, lost power, flipped bytes
//! and a hostile system. `scripts/crash` builds what it needs and calls it; `docs/TESTING.md` says
//! what each part covers.

mod ci;
mod faults;
mod figures;
mod flips;
mod http;
mod images;
mod jobs;
mod kills;
mod process;
mod rig;
mod story;
mod topology;
mod traffic;
#[expect(dead_code, reason = "shared with the tests of the root package, which use more of it")]
#[path = "../../node/wait.rs"]
mod wait;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use ci::Dose;
use faults::Faults;
use figures::Figures;
use flips::Flips;
use images::Images;
use kills::Kills;

const USAGE: &str = "usage: hongbao-crashes kills|images|flips|faults|ci --program FILE [--preload FILE] [--count N] \
                     [--seed S] [--jobs N] [--dir DIR]";
const USAGE_CODE: u8 = 2;
const JOBS_A_CORE: u64 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, options)) =
        arguments.split_first().and_then(|(name, rest)| Some((name, Options::read(rest)?)))
    else {
        eprintln!("{USAGE}");
        return ExitCode::from(USAGE_CODE);
    };
    match run(name, &options) {
        Ok(Some(figures)) => figures.end(),
        Ok(None) => {
            eprintln!("{USAGE}");
            ExitCode::from(USAGE_CODE)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `--name value` pairs.
struct Options(BTreeMap<String, String>);

impl Options {
    fn read(arguments: &[String]) -> Option<Self> {
        let pairs = arguments.chunks(2).map(|pair| match pair {
            [name, value] => Some((name.strip_prefix("--")?.to_owned(), value.clone())),
            _ => None,
        });
        pairs.collect::<Option<BTreeMap<_, _>>>().map(Self)
    }

    fn number(&self, name: &str, usual: u64) -> io::Result<u64> {
        let wrong = |_| io::Error::other(format!("--{name} is not a number"));
        self.0.get(name).map_or(Ok(usual), |text| text.parse().map_err(wrong))
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let missing = || io::Error::other(format!("--{name} is missing"));
        self.0.get(name).map(PathBuf::from).ok_or_else(missing)
    }

    /// Where data goes: in memory unless said otherwise, since a killed process loses nothing that
    /// it has written.
    fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let usual = || PathBuf::from("/dev/shm").join(format!("hongbao-{name}-{}", std::process::id()));
        let folder = self.0.get("dir").map_or_else(usual, PathBuf::from);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// Data folders at a time: processes that start, recover and are killed wait much.
fn usual_jobs() -> u64 {
    std::thread::available_parallelism().map_or(JOBS_A_CORE, |cores| cores.get() as u64 * JOBS_A_CORE)
}

/// Runs a part; none when there is no such.
fn run(name: &str, options: &Options) -> io::Result<Option<Figures>> {
    let seed = options.number("seed", 1)?;
    let program = options.path("program")?;
    let jobs = options.number("jobs", usual_jobs())?;
    let folder = options.folder(name)?;
    let kept = folder.clone();
    let figures = match name {
        "kills" => {
            kills::run(&Kills { program, folder, count: options.number("count", 1_000)?, seed, jobs })?
        }
        "flips" => {
            flips::run(&Flips { program, folder, count: options.number("count", 1_000)?, seed, jobs })?
        }
        "images" => {
            let (preload, count) = (options.path("preload")?, options.number("count", 1_000)?);
            let is_lying = options.number("lying", 0)? > 0;
            images::run(&Images { program, preload, folder, count, seed, jobs, is_lying })?
        }
        "faults" => {
            let (preload, count) = (options.path("preload")?, options.number("count", 3)?);
            faults::run(&Faults { program, preload, folder, count, seed, jobs })?
        }
        "ci" => ci::run(&Dose { program, preload: options.path("preload")?, folder, seed, jobs })?,
        _ => return Ok(None),
    };
    if figures.violations.is_empty() {
        std::fs::remove_dir_all(kept)?;
    }
    Ok(Some(figures))
}
