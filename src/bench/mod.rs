//! `hongbao bench`: one stage at a time, self-contained, in a folder of its own. Each benchmark
//! prints what it measured and what it left out; speed never decides a test.

mod codec;
mod dispatch;
mod end_to_end;
mod intake;
mod load;
mod log;
mod measure;
mod recovery;
mod wallet;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::cli::{BenchArgs, BenchName, Global, Output};
use crate::exit::{Failure, OK, Outcome, USAGE};
use crate::output::{print_json, print_lines};
use measure::Report;

/// Fewest events that say anything.
const EVENTS_MIN: u64 = 1_000_000;

/// A folder to work in, removed at the end if it is ours.
pub struct Workplace {
    path: PathBuf,
    is_ours: bool,
}

impl Workplace {
    fn new(given: Option<&Path>) -> anyhow::Result<Self> {
        let (path, is_ours) = match given {
            Some(path) => (path.to_owned(), false),
            None => (std::env::temp_dir().join(format!("hongbao-bench-{}", std::process::id())), true),
        };
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let is_empty = std::fs::read_dir(&path)?.next().is_none();
        anyhow::ensure!(is_empty, "{} is not empty", path.display());
        Ok(Self { path, is_ours })
    }

    /// A path within.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if self.is_ours {
            // What cannot be removed from a temporary folder is nobody's loss.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

/// Runs one benchmark and prints it.
pub fn run(global: &Global, args: &BenchArgs) -> Outcome {
    if args.events.is_some_and(|events| events < EVENTS_MIN) {
        return Err(Failure::new(USAGE, anyhow!("--events is at least {EVENTS_MIN}")));
    }
    let place = Workplace::new(args.dir.as_deref())?;
    let events = |default: u64| args.events.unwrap_or(default);
    let report: Report = match args.name {
        BenchName::Codec => codec::run(events(5_000_000))?,
        BenchName::Log => log::run(&place, events(10_000_000))?,
        BenchName::Intake => intake::run(&place, events(4_000_000), args.mix)?,
        BenchName::Dispatch => dispatch::run(&place, events(2_000_000))?,
        BenchName::Wallet => wallet::run(&place, events(3_000_000))?,
        BenchName::EndToEnd => end_to_end::run(&place, events(3_000_000))?,
        BenchName::Recovery => recovery::run(&place, events(10_000_000))?,
    };
    match global.output {
        Output::Text => print_lines(&report.lines())?,
        output => print_json(&report.json(), output)?,
    }
    Ok(OK)
}
