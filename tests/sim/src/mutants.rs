//! The test of the tester: each planted bug of [`hongbao_engine`] in turn, and how many seeds it
//! takes until an oracle notices it. Only with the feature `mutants`.

/// Seeds tried at most for one bug.
pub const SEEDS_MAX: u64 = 10_000;

/// Plants each bug, or those named, until it is caught; prints a table and a line of JSON. False
/// when one was not caught.
///
/// # Errors
/// Wrong use, or a build without the feature.
#[cfg(not(feature = "mutants"))]
pub fn command(_arguments: &[String]) -> Result<bool, String> {
    Err("this needs the feature `mutants`: use ./scripts/sim mutants".to_owned())
}

/// Plants the bug of this name for the rest of the process.
///
/// # Errors
/// There is none, or the build lacks the feature.
#[cfg(not(feature = "mutants"))]
pub fn plant_named(name: &str) -> Result<(), String> {
    Err(format!("{name}: this needs the feature `mutants`"))
}

#[cfg(feature = "mutants")]
pub use planting::{command, plant_named};

#[cfg(feature = "mutants")]
mod planting {
    use hongbao_engine::clock::{Clock, SystemClock};
    use hongbao_engine::mutants::{Mutant, plant};
    use serde_json::json;

    use crate::oracles::Violation;
    use crate::plan::generate;
    use crate::report::Stats;
    use crate::report::set::cpu_seconds;
    use crate::trace::Trace;
    use crate::world::run;

    /// See [`super::command`].
    ///
    /// # Errors
    /// Wrong use.
    pub fn command(arguments: &[String]) -> Result<bool, String> {
        let clock = SystemClock::new();
        let seeds_at = arguments.iter().position(|argument| argument == "--seeds");
        let seeds_max = match seeds_at.and_then(|at| arguments.get(at + 1)) {
            Some(text) => text.parse().map_err(|_| format!("{text}: not a number"))?,
            None => super::SEEDS_MAX,
        };
        let named = |mutant: &Mutant| arguments.contains(&format!("{mutant:?}"));
        let all = !arguments.iter().any(|argument| argument.starts_with('M'));
        let mut stats = Stats::default();
        let (mut caught, mut missed, mut tried) = (Vec::new(), Vec::new(), 0);
        for mutant in Mutant::ALL.iter().filter(|mutant| all || named(mutant)) {
            plant(*mutant);
            let found = hunt(seeds_max, &mut tried, &mut stats);
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
        let line = json!({
            "name": "sim mutants", "seeds": tried, "awards": stats.awards, "crashes": stats.crashes,
            "unknown_outcomes": stats.unknown_outcomes, "duplicates": stats.duplicates,
            "violations": missed.len(), "wall_s": clock.monotonic().as_secs_f64(), "cpu_s": cpu_seconds(),
            "mutants": caught.len() + missed.len(), "caught": caught.len(), "missed": missed,
            "median_seeds": caught.get(caught.len() / 2), "worst_seeds": caught.last(),
        });
        println!("{line}");
        Ok(missed.is_empty())
    }

    /// See [`super::plant_named`].
    ///
    /// # Errors
    /// There is none.
    pub fn plant_named(name: &str) -> Result<(), String> {
        let found = Mutant::ALL.iter().find(|mutant| format!("{mutant:?}") == name);
        plant(*found.ok_or_else(|| format!("{name}: no such planted bug"))?);
        Ok(())
    }

    /// Plays seeds until something is found.
    fn hunt(seeds_max: u64, tried: &mut u64, stats: &mut Stats) -> Option<(u64, Violation)> {
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
}
