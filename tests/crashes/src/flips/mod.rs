//! `flips`: one byte of a stopped data folder is changed. The node then shows the same state, or it
//! refuses, halts or reports; it never goes on with something else (F5, I26).

mod damage;
mod part;
mod shown;
mod torn;
mod trial;
mod verdict;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::figures::Figures;
use crate::finding::or_violation;
use crate::jobs::{on_threads, prepared};
use crate::wait::Dice;
use damage::Damage;
use trial::Base;
use verdict::Verdict;

/// What to run.
#[derive(Clone, Debug)]
pub struct Flips {
    /// The binary.
    pub program: PathBuf,
    /// Where data folders go.
    pub folder: PathBuf,
    pub count: u64,
    pub seed: u64,
    /// Trials at a time.
    pub jobs: u64,
}

/// What makes it worth while to prepare.
const JOB_FLIPS: u64 = 40;

/// Outcomes by kind of file.
type Outcomes = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

#[derive(Default)]
struct Found {
    outcomes: Outcomes,
    /// What every run counts.
    sums: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
}

/// Runs until there were enough flips.
pub fn run(flips: &Flips) -> Figures {
    let mut figures = Figures::begin("flips", flips.seed);
    let (done, found) = (AtomicU64::new(0), Mutex::new(Found::default()));
    // Each job makes sound folders of its own first.
    let jobs = flips.jobs.min(flips.count.div_ceil(JOB_FLIPS));
    let worked = on_threads(jobs, |job| {
        let worked = work(flips, job, &done, &found);
        let violated = |what| found.lock().violations.push(format!("job {job}: {what}"));
        or_violation(worked, violated).map(drop)
    });
    if let Err(error) = worked {
        figures.trouble(&error);
    }
    let Found { outcomes, sums: all, violations } = found.into_inner();
    for (name, sum) in all {
        figures.set(name, json!(sum));
    }
    let mut sums = BTreeMap::<&str, u64>::new();
    for (verdict, count) in outcomes.values().flatten() {
        *sums.entry(verdict).or_default() += count;
    }
    figures.set("flips", json!(sums.values().sum::<u64>()));
    figures.set("outcomes", sums.iter().map(|(verdict, count)| (*verdict, json!(count))).collect::<Value>());
    figures.set("outcomes_by_file", json!(outcomes));
    for kind in damage::KINDS {
        let is_enough = flips.count >= damage::KINDS.len() as u64 && figures.is_whole();
        if !outcomes.contains_key(kind) && is_enough {
            figures.violations.push(format!("too weak: nothing was changed in a file of kind {kind}"));
        }
    }
    figures.violations.extend(violations);
    figures
}

fn work(flips: &Flips, job: u64, done: &AtomicU64, found: &Mutex<Found>) -> io::Result<()> {
    let home = flips.folder.join(format!("job-{job}"));
    let bases = prepared(&home, || {
        Ok([Base::make(flips, &home, job, true)?, Base::make(flips, &home, job, false)?])
    })?;
    loop {
        let number = done.fetch_add(1, Ordering::SeqCst);
        if number >= flips.count {
            break;
        }
        let mut dice = Dice(flips.seed.wrapping_mul(0x1_0000_0001) ^ (number << 8));
        let base = &bases[dice.below(2) as usize];
        let (trial, damage) = base.damaged(number, &mut dice)?;
        let mut failed = String::new();
        let verdict = or_violation(base.judge(&trial, &damage), |what| failed = what)?;
        let verdict = verdict.unwrap_or(Verdict::Different(failed));
        let mut found = found.lock();
        *found.outcomes.entry(damage.kind).or_default().entry(verdict.name()).or_default() += 1;
        if let Verdict::Different(what) = verdict {
            let kept = trial.folder.display();
            let place = describe(&damage);
            found.violations.push(format!("flip {number}: {place}, kept in {kept}: {what}"));
        } else {
            std::fs::remove_dir_all(&trial.folder)?;
        }
    }
    let mut found = found.lock();
    for base in &bases {
        for (name, more) in &base.figures {
            *found.sums.entry(name).or_default() += more;
        }
        found.violations.extend(base.mall_changed()?);
    }
    Ok(())
}

fn describe(damage: &Damage) -> String {
    format!("{} {} at {}", damage.path.display(), damage.what, damage.at)
}
