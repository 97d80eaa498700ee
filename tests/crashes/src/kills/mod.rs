//! `kills`: the real program under load, killed at every named place and at any moment, also while
//! it recovers from the kill before.

mod aim;
mod chain;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hongbao_engine::crash::POINTS;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::figures::Figures;
use crate::finding::or_violation;
use crate::jobs::on_threads;
use crate::rig::{Mall, Pendants, Rig};
use crate::story::Story;
use crate::topology::Keys;
use crate::traffic::Traffic;
use crate::wait::Dice;
use aim::{Aim, Target};
use chain::{Chain, Tally};

/// What to run.
#[derive(Clone, Debug)]
pub struct Kills {
    /// The binary, built with the feature `kill-points`.
    pub program: PathBuf,
    /// Where data folders go; one in memory is fine, since a kill loses nothing that was written.
    pub folder: PathBuf,
    pub count: u64,
    pub seed: u64,
    /// Chains at a time.
    pub jobs: u64,
}

/// Kills in one data folder: from, and how many more at most.
const CHAIN_KILLS: (u64, u64) = (6, 14);

/// One chain in so many has a downstream that knows no keys, where a resend costs money.
const KEYLESS_ONE_IN: u64 = 3;

/// Kills begun once something was wrong.
const STOPPED: u64 = 1 << 40;

/// What a chain does.
#[derive(Debug)]
enum Course {
    /// So many kills at places that were hit least.
    Drawn(u64),
    /// Kills at places that were never hit.
    Planned(Vec<Vec<Target>>),
}

/// Runs until there were enough kills, and then until every place was reached.
pub fn run(kills: &Kills) -> Figures {
    let aim = Mutex::new(Aim::default());
    let (begun, chains) = (AtomicU64::new(0), AtomicU64::new(0));
    let tallies = Mutex::new(Vec::new());
    let mut figures = Figures::begin("kills", kills.seed);
    let done = on_threads(kills.jobs, |job| work(kills, job, &aim, &begun, &chains, &tallies));
    if let Err(error) = done {
        figures.trouble(&error);
    }
    report(&mut figures, kills.count, &aim.into_inner(), tallies.into_inner());
    figures
}

fn work(
    kills: &Kills,
    job: u64,
    aim: &Mutex<Aim>,
    begun: &AtomicU64,
    chains: &AtomicU64,
    tallies: &Mutex<Vec<Tally>>,
) -> io::Result<()> {
    let home = kills.folder.join(format!("job-{job}"));
    std::fs::create_dir_all(&home)?;
    let start = |keys: Keys| Mall::start(&kills.program, &home, keys.flaky(), kills.seed ^ job);
    let (mut mall, mut keyless) = (start(Keys::ForADay)?, start(Keys::None)?);
    loop {
        let chain = chains.fetch_add(1, Ordering::SeqCst);
        let mut dice = Dice(kills.seed.wrapping_mul(0x1_0000_0001) ^ (chain << 20));
        let wanted = CHAIN_KILLS.0 + dice.below(CHAIN_KILLS.1);
        let before = begun.fetch_add(wanted, Ordering::SeqCst);
        let course = if before < kills.count {
            Course::Drawn(wanted.min(kills.count - before))
        } else if let Some(steps) = planned(kills, aim, before) {
            Course::Planned(steps)
        } else {
            return Ok(());
        };
        let mut unstarted = Tally::default();
        let is_keyless = chain % KEYLESS_ONE_IN == 1;
        let mall = if is_keyless { &mut keyless } else { &mut mall };
        let done = one_chain(kills, &home, chain, &course, dice, mall, aim);
        let tally = or_violation(done, |what| unstarted.violations.push(format!("chain {chain}: {what}")))?;
        let tally = tally.unwrap_or(unstarted);
        if let Course::Planned(steps) = &course {
            aim.lock().give_back(steps);
        }
        let is_broken = !tally.violations.is_empty();
        tallies.lock().push(tally);
        if is_broken {
            begun.fetch_add(STOPPED, Ordering::SeqCst);
        }
    }
}

/// The next planned chain: in runs long enough to reach every place, until something was wrong.
fn planned(kills: &Kills, aim: &Mutex<Aim>, begun: u64) -> Option<Vec<Vec<Target>>> {
    let is_whole = kills.count >= POINTS.len() as u64;
    if is_whole && begun < STOPPED { aim.lock().plan() } else { None }
}

/// Runs a chain, and keeps its folder when something is wrong.
fn one_chain(
    kills: &Kills,
    home: &Path,
    number: u64,
    course: &Course,
    mut dice: Dice,
    mall: &mut Mall,
    aim: &Mutex<Aim>,
) -> io::Result<Tally> {
    let folder = home.join(format!("chain-{number}"));
    let partitions = 1 + dice.below(2) as u16;
    let rig = Rig::new(&kills.program, folder, partitions, mall.address, mall.keys, Pendants::Within)?;
    let traffic = Traffic::new(format!("c{number}"), kills.seed ^ (number << 32));
    let story = Story::begin(rig, mall, traffic, dice)?;
    let chain = Chain { story, aim, tally: Tally::default() };
    let (rig, mut tally) = match course {
        Course::Drawn(kills) => chain.run(*kills)?,
        Course::Planned(steps) => chain.follow(steps)?,
    };
    if tally.violations.is_empty() {
        std::fs::remove_dir_all(&rig.folder)?;
    } else {
        let kept = rig.folder.display();
        for violation in &mut tally.violations {
            *violation = format!("chain {number} of seed {}, kept in {kept}: {violation}", kills.seed);
        }
    }
    Ok(tally)
}

fn report(figures: &mut Figures, wanted: u64, aim: &Aim, tallies: Vec<Tally>) {
    let mut sums = BTreeMap::<&str, u64>::new();
    for tally in tallies {
        for (name, more) in [
            ("kills", tally.kills),
            ("kills_in_recovery", tally.in_recovery),
            ("missed", tally.missed),
            ("stopped", tally.stopped),
            ("crashes", tally.kills),
            ("awards", tally.awards),
            ("duplicates", tally.duplicates),
            ("unknown_outcomes", tally.unknown_outcomes),
            ("reported", tally.reported),
            ("kills_without_keys", tally.without_keys.kills),
            ("unanswered_without_keys", tally.without_keys.unanswered),
            ("reported_without_keys", tally.without_keys.reported),
            ("chains", 1),
        ] {
            *sums.entry(name).or_default() += more;
        }
        figures.violations.extend(tally.violations);
    }
    for (name, sum) in &sums {
        figures.set(name, json!(sum));
    }
    let (by_place, moments) = aim.hits();
    let least = by_place.values().min().copied().unwrap_or_default();
    figures.set("points", json!(POINTS.len()));
    figures.set("kills_at_least_by_point", json!(least));
    figures.set("kills_at_any_moment", json!(moments));
    figures
        .set("kills_by_point", by_place.iter().map(|(name, hits)| (*name, json!(hits))).collect::<Value>());
    let kills = figures.number("kills");
    if kills < wanted && figures.is_whole() && figures.violations.is_empty() {
        figures.violations.push(format!("too weak: {kills} kills of {wanted}"));
    }
    // A run with fewer kills than places cannot reach them all.
    if wanted >= POINTS.len() as u64 && figures.is_whole() {
        if figures.violations.is_empty() && figures.number("unanswered_without_keys") == 0 {
            let what = "too weak: nothing was left unanswered where no keys are known";
            figures.violations.push(what.to_owned());
        }
        for (name, tries) in aim.missing() {
            figures.violations.push(format!("too weak: {name} was never reached, tried {tries} times"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_fewer_kills_than_asked_for_is_too_weak() {
        let weak = |kills| {
            let mut figures = Figures::begin("kills", 1);
            let tally = Tally { kills, missed: 3, stopped: 2, ..Tally::default() };
            report(&mut figures, 10, &Aim::default(), vec![tally]);
            assert_eq!((figures.number("missed"), figures.number("stopped")), (3, 2));
            assert_eq!(figures.number("crashes"), kills);
            !figures.violations.is_empty()
        };
        assert!(weak(9) && !weak(10));
    }
}
