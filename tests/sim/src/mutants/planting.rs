//! Bugs planted one after the other.

use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_engine::mutants::{Below, Mutant, plant};
use serde_json::{Map, Value, json};

use crate::oracles::Violation;
use crate::plan::{Plan, generate};
use crate::report::{Stats, joined};
use crate::shrink::{Effort, shrink};
use crate::stored::{self, StoredPlan};
use crate::trace::Trace;
use crate::world::run;

use super::Hunt;

/// Seeds until a planted bug is caught: more than these, and the simulator is too weak.
const MEDIAN_SEEDS_MAX: u64 = 100;
const WORST_SEEDS_MAX: u64 = 10_000;

/// See [`super::command`].
///
/// # Errors
/// A name that is none of the simulator's bugs, or a scenario that cannot be stored.
pub fn command(hunt: &Hunt) -> Result<bool, String> {
    let clock = SystemClock::new();
    let mutants = chosen(&hunt.names)?;
    if hunt.is_money {
        return super::money::command(hunt, &mutants);
    }
    let mut stats = Stats::default();
    let (mut caught, mut missed, mut tried) = (Vec::new(), Vec::new(), 0);
    let mut broken = None;
    for mutant in &mutants {
        plant(*mutant);
        let found = seek(hunt.seeds_max, &mut tried, &mut stats);
        if let Some((seed, _)) = &found
            && let Some(own) = without(*mutant, *seed)
        {
            eprintln!("the product itself is broken by seed {seed}, so {mutant:?} was not looked for:");
            eprintln!("{}: {}", own.invariant, own.what);
            broken = Some(*seed);
            break;
        }
        if let (true, Some((seed, violation))) = (hunt.keeps, &found) {
            keep(*mutant, *seed, violation)?;
        }
        plant(Mutant::None);
        match &found {
            Some((seeds, violation)) => {
                println!("{mutant:?} {seeds:>6}  {:<6} {}", violation.invariant, mutant.what());
                caught.push(*seeds);
            }
            None => {
                println!("{mutant:?}  MISSED        {}", mutant.what());
                missed.push(format!("{mutant:?}"));
            }
        }
    }
    caught.sort_unstable();
    let (median, worst) = (caught.get(caught.len() / 2).copied(), caught.last().copied());
    // A median of some says nothing.
    let is_quick = median.is_none_or(|seeds| seeds <= MEDIAN_SEEDS_MAX || !hunt.names.is_empty())
        && worst.is_none_or(|seeds| seeds <= WORST_SEEDS_MAX);
    if !is_quick {
        eprintln!("too slow: {median:?} seeds in the median, {worst:?} at worst");
    }
    let simulated = caught.len() + missed.len();
    let mut below = Map::new();
    for Below { what, mutants, .. } in Below::ALL.into_iter().filter(|_| hunt.in_tests.is_some()) {
        let names = hunt.in_tests.as_deref().unwrap_or_default();
        below.insert(format!("{what}_mutants"), json!(mutants.len()));
        below.insert(format!("{what}_caught"), json!(caught_in_tests(mutants, names, &mut missed)));
    }
    let more = json!({
        "mutants": simulated, "caught": caught.len(), "missed": missed,
        "median_seeds": median, "worst_seeds": worst, "too_slow": !is_quick, "broken_seed": broken,
    });
    let violations = missed.len() + usize::from(broken.is_some());
    let line = stats.line("sim mutants", tried, violations, clock.monotonic());
    println!("{}", joined(joined(line, more), Value::Object(below)));
    Ok(missed.is_empty() && is_quick && broken.is_none())
}

/// What a seed breaks by itself, while the bug that is planted is not.
fn without(mutant: Mutant, seed: u64) -> Option<Violation> {
    plant(Mutant::None);
    let violation = run(&generate(seed), Trace::default()).violation;
    plant(mutant);
    violation
}

/// How many of these bugs, which tests of their own catch, are among the names. The others are missed.
fn caught_in_tests(all: &[Mutant], names: &str, missed: &mut Vec<String>) -> usize {
    let named = |mutant: &&Mutant| names.split(',').any(|caught| caught == format!("{mutant:?}"));
    for mutant in all.iter().filter(|mutant| !named(mutant)) {
        println!("{mutant:?}  MISSED        {}", mutant.what());
        missed.push(format!("{mutant:?}"));
    }
    all.iter().filter(named).count()
}

/// See [`super::plant_named`].
///
/// # Errors
/// There is none.
pub fn plant_named(name: &str) -> Result<(), String> {
    plant(by_name(name)?);
    Ok(())
}

/// See [`super::scenarios`].
///
/// # Errors
/// A file that cannot be read.
pub fn scenarios() -> Result<bool, String> {
    let clock = SystemClock::new();
    let mut stats = Stats::default();
    let mut wrong = Vec::new();
    let all = stored::all("scenarios")?;
    for (name, stored) in &all {
        let mutant = by_name(stored.mutant.as_deref().unwrap_or_default())?;
        let mut play = |mutant: Mutant| {
            plant(mutant);
            let played = run(&stored.plan, Trace::default());
            plant(Mutant::None);
            stats.absorb(&played.stats);
            played.violation.map(|violation| violation.invariant)
        };
        let (without, with) = (play(Mutant::None), play(mutant));
        let is_good = without.is_none() && with.as_ref() == Some(&stored.invariant);
        println!("{name}: {}: {}", mutant.what(), with.as_deref().unwrap_or("NOT CAUGHT"));
        if !is_good {
            eprintln!("{name}: {without:?} by itself, {with:?} with the bug, {} expected", stored.invariant);
            wrong.push(name.clone());
        }
    }
    for mutant in chosen(&[])? {
        let name = format!("{mutant:?}");
        if !all.iter().any(|(_, stored)| stored.mutant.as_ref() == Some(&name)) {
            eprintln!("{name} has no stored scenario: {}", mutant.what());
            wrong.push(name);
        }
    }
    let line = stats.line("sim scenarios", 0, wrong.len(), clock.monotonic());
    println!("{}", joined(line, json!({"scenarios": all.len(), "wrong": wrong})));
    Ok(wrong.is_empty() && !all.is_empty())
}

/// Those named, or all that are the simulator's to catch.
fn chosen(names: &[String]) -> Result<Vec<Mutant>, String> {
    if names.is_empty() {
        return Ok(Mutant::ALL.iter().filter(|mutant| mutant.below().is_none()).copied().collect());
    }
    let named = |name: &String| {
        let mutant = by_name(name)?;
        match mutant.below() {
            Some(Below { test, .. }) => Err(format!("{name} is caught by {test}, not by the simulator")),
            None => Ok(mutant),
        }
    };
    names.iter().map(named).collect()
}

fn by_name(name: &str) -> Result<Mutant, String> {
    let found = Mutant::ALL.iter().find(|mutant| format!("{mutant:?}") == name);
    found.copied().ok_or_else(|| format!("{name}: no such planted bug"))
}

/// Stores the smallest plan that breaks the same invariant while the bug is planted.
fn keep(mutant: Mutant, seed: u64, violation: &Violation) -> Result<(), String> {
    let plan: Plan = shrink(&generate(seed), &violation.invariant, Effort::default());
    let note = run(&plan, Trace::default()).violation.map_or_else(String::new, |violation| violation.what);
    let name = format!("{mutant:?}");
    let path = stored::folder("scenarios").join(format!("{}.json", name.to_lowercase()));
    let invariant = violation.invariant.clone();
    StoredPlan { invariant, note, mutant: Some(name), plan }.write(&path)
}

/// Plays seeds until something is found.
fn seek(seeds_max: u64, tried: &mut u64, stats: &mut Stats) -> Option<(u64, Violation)> {
    for seed in 1..=seeds_max {
        *tried += 1;
        let played = run(&generate(seed), Trace::default());
        stats.absorb(&played.stats);
        if let Some(violation) = played.violation {
            return Some((seed, violation));
        }
    }
    None
}
