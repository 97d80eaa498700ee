//! The simulator's command line. The last line on stdout is a JSON object; the exit code is 3 when
//! something was found.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_sim::mutants::Hunt;
use hongbao_sim::plan::{Plan, generate};
use hongbao_sim::report::set::{SetSpec, play};
use hongbao_sim::report::timeline::story;
use hongbao_sim::report::{Stats, joined};
use hongbao_sim::shrink::{Effort, shrink};
use hongbao_sim::stored::StoredPlan;
use hongbao_sim::trace::Trace;
use hongbao_sim::world::run;
use serde_json::json;

/// A run is mostly small allocations of one thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FOUND: u8 = 3;

/// Plays the real processors, sinks and views through hostile histories made from seeds, in one
/// thread and in virtual time.
#[derive(Debug, Parser)]
#[command(name = "sim", bin_name = "./scripts/sim", max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 nothing found, 1 failed, 2 wrong use, 3 a violation, or a set too weak."
)]
struct Cli {
    /// Plants a bug first, such as M31. Needs a build with the feature `mutants`.
    #[arg(long, global = true, value_name = "NAME")]
    mutant: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Plays seeds; the first violation is cut down and told.
    Run(SetArgs),
    /// Plays one seed.
    Seed {
        seed: u64,
        /// Tells event by event.
        #[arg(long)]
        trace: bool,
        /// Prints the plan as JSON and does not play it.
        #[arg(long)]
        plan: bool,
    },
    /// Plays a stored plan.
    Replay {
        file: PathBuf,
        /// Tells event by event.
        #[arg(long)]
        trace: bool,
    },
    /// Finds the smallest plan that breaks the same invariant as a seed.
    Shrink {
        #[arg(long)]
        seed: u64,
        /// Where to store it; it is printed otherwise.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Plays the same seeds in two processes and compares the hashes of their traces.
    Meta {
        /// Plays 1 to this.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// Binary of the second process, such as a debug build; the same one unless given.
        #[arg(long, value_name = "FILE")]
        other: Option<PathBuf>,
    },
    /// Plants each bug in turn and counts seeds until it is caught.
    Mutants {
        /// Only these, such as M31.
        names: Vec<String>,
        /// Seeds tried at most for one bug; 10000, or 40000 with --money, unless given.
        #[arg(long)]
        seeds: Option<u64>,
        /// Stores the smallest plan of each under tests/sim/scenarios.
        #[arg(long)]
        keep: bool,
        /// Goes on where an invariant breaks, until an order is paid twice or never.
        #[arg(long)]
        money: bool,
        /// With --money, seconds at most for one bug.
        #[arg(long = "for", value_name = "SECONDS", default_value_t = 300, requires = "money")]
        for_s: u64,
        /// Those that tests of their own have caught, with commas between them.
        #[arg(long, hide = true, value_name = "NAMES", conflicts_with = "names")]
        in_tests: Option<String>,
    },
    /// Plays the stored scenarios: clean as they are, each broken by its planted bug.
    Scenarios,
    /// Prints the hash of each seed, for `meta`.
    #[command(hide = true)]
    Hashes { first: u64, last: u64 },
}

#[derive(Debug, Args)]
struct SetArgs {
    /// First and last seed.
    #[arg(long, value_name = "FIRST..LAST", default_value = "1..1000", value_parser = seed_range)]
    seeds: RangeInclusive<u64>,
    /// Threads; as many as there are cores unless given.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Ends after so long, whatever is left.
    #[arg(long = "for", value_name = "SECONDS")]
    for_s: Option<u64>,
    /// Goes on until so many seeds were played, however long it takes, and fails with fewer.
    #[arg(long, value_name = "N", default_value_t = 0)]
    least: u64,
    /// Ends after so many violations.
    #[arg(long, value_name = "N", default_value_t = 5)]
    violations: usize,
}

fn seed_range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let (first, last) = text.split_once("..").ok_or("as in 1..1000")?;
    let (first, last) = (number(first)?, number(last.trim_start_matches('='))?);
    if first > last {
        return Err("the first is behind the last".to_owned());
    }
    Ok(first..=last)
}

fn main() -> ExitCode {
    let Cli { mutant, verb } = Cli::parse();
    let planted = mutant.as_deref().map_or(Ok(()), hongbao_sim::mutants::plant_named);
    match planted.and_then(|()| done(verb, mutant)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FOUND),
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing was found.
fn done(verb: Verb, mutant: Option<String>) -> Result<bool, String> {
    match verb {
        Verb::Run(set) => Ok(run_set(&set)),
        Verb::Seed { seed, plan: true, .. } => {
            println!("{}", serde_json::to_string(&generate(seed)).unwrap_or_default());
            Ok(true)
        }
        Verb::Seed { seed, trace, .. } => Ok(show("sim seed", &generate(seed), trace)),
        Verb::Replay { file, trace } => Ok(show("sim replay", &StoredPlan::read(&file)?.plan, trace)),
        Verb::Shrink { seed, out } => shrink_seed(seed, out.as_deref(), mutant),
        Verb::Meta { seeds, other } => meta(seeds, other),
        Verb::Mutants { names, seeds, keep, money, for_s, in_tests } => {
            let seeds_max = seeds.unwrap_or(if money { 40_000 } else { 10_000 });
            let hunt = Hunt { names, seeds_max, keeps: keep, in_tests, is_money: money, for_s };
            hongbao_sim::mutants::command(&hunt)
        }
        Verb::Scenarios => hongbao_sim::mutants::scenarios(),
        Verb::Hashes { first, last } => {
            hashes(first..=last);
            Ok(true)
        }
    }
}

fn run_set(set: &SetArgs) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = set.threads.unwrap_or(cores);
    let result = play(SetSpec {
        first: *set.seeds.start(),
        last: *set.seeds.end(),
        threads,
        deadline: set.for_s.map(Duration::from_secs),
        least: set.least,
        violations_max: set.violations,
        tells: true,
    });
    if let Some((seed, violation)) = result.violations.first_key_value() {
        eprintln!("shrinking seed {seed} ({})", violation.invariant);
        let smallest = shrink(&generate(*seed), &violation.invariant, Effort { runs_max: 1_000 });
        println!("{}", story(&smallest));
        println!("{}", serde_json::to_string(&smallest).unwrap_or_default());
    }
    if !result.missed.is_empty() {
        eprintln!("too weak: met too seldom: {:?}", result.missed);
    }
    if result.is_short {
        eprintln!("too weak: {} seeds, {} were wanted", result.seeds, set.least);
    }
    println!("{}", result.line("sim", threads));
    result.is_good()
}

fn show(name: &str, plan: &Plan, with_trace: bool) -> bool {
    let clock = SystemClock::new();
    let played = run(plan, if with_trace { Trace::verbose() } else { Trace::default() });
    for line in played.trace.lines() {
        println!("{:>8} {:016x} {}", line.at_ms, line.hash, line.text);
    }
    if let Some(violation) = &played.violation {
        println!("{}", story(plan));
        println!("{}: {}", violation.invariant, violation.what);
    }
    let stats = &played.stats;
    let more = json!({
        "events": played.events, "turns": stats.turns, "hash": format!("{:016x}", played.hash),
        "simulated_ms": stats.virtual_ms,
    });
    let line = stats.line(name, 1, usize::from(played.violation.is_some()), clock.monotonic());
    println!("{}", joined(line, more));
    played.violation.is_none()
}

fn shrink_seed(seed: u64, out: Option<&Path>, mutant: Option<String>) -> Result<bool, String> {
    let clock = SystemClock::new();
    let plan = generate(seed);
    let played = run(&plan, Trace::default());
    let Some(violation) = played.violation else {
        println!("{}", played.stats.line("sim shrink", 1, 0, clock.monotonic()));
        return Ok(true);
    };
    let smallest = shrink(&plan, &violation.invariant, Effort::default());
    println!("{}", story(&smallest));
    let steps = smallest.steps.len();
    let kept = StoredPlan { invariant: violation.invariant, note: violation.what, mutant, plan: smallest };
    match out {
        Some(path) => kept.write(path)?,
        None => println!("{}", serde_json::to_string(&kept).unwrap_or_default()),
    }
    let line = played.stats.line("sim shrink", 1, 1, clock.monotonic());
    println!("{}", joined(line, json!({"steps": steps})));
    Ok(false)
}

fn hashes(seeds: RangeInclusive<u64>) {
    for seed in seeds {
        let played = run(&generate(seed), Trace::default());
        let stats = &played.stats;
        let broken = played.violation.as_ref().map_or("-", |violation| violation.invariant.as_str());
        println!(
            "{seed} {:016x} {} {} {} {} {} {broken}",
            played.hash, played.events, stats.awards, stats.crashes, stats.unknown_outcomes, stats.duplicates
        );
    }
}

/// The numbers of one of two processes, from its lines.
fn counted(lines: &str) -> Stats {
    let mut stats = Stats::default();
    for line in lines.lines() {
        let mut numbers = line.split(' ').skip(3).map(|number| number.parse::<u64>().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        stats.awards += next();
        stats.crashes += next();
        stats.unknown_outcomes += next();
        stats.duplicates += next();
    }
    stats
}

/// The first event of a seed that differs between two binaries, as both tell it.
fn first_difference(binaries: [&Path; 2], seed: &str) -> Result<Option<[String; 2]>, String> {
    let told = binaries.map(|binary| Command::new(binary).args(["seed", seed, "--trace"]).output());
    let [left, right] = told.map(|told| told.map_err(|error| error.to_string()));
    let [left, right] = [left?, right?].map(|told| String::from_utf8_lossy(&told.stdout).into_owned());
    let events = left.lines().zip(right.lines());
    Ok(events
        .into_iter()
        .find(|(left, right)| left != right)
        .map(|(left, right)| [left, right].map(str::to_owned)))
}

/// The same seeds in two processes give the same hashes; where they do not, the first event that
/// differs is told. A seed that breaks an invariant counts as well.
fn meta(seeds: u64, other: Option<PathBuf>) -> Result<bool, String> {
    let clock = SystemClock::new();
    let binary = std::env::current_exe().map_err(|error| error.to_string())?;
    let other = other.unwrap_or_else(|| binary.clone());
    let start = |binary: &Path| {
        let mut command = Command::new(binary);
        command.args(["hashes", "1", &seeds.to_string()]).stdout(std::process::Stdio::piped());
        command.spawn().map_err(|error| error.to_string())
    };
    let (left, right) = (start(&binary)?, start(&other)?);
    let [left, right] = [left, right].map(|child| {
        child.wait_with_output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    let (left, right) = (left.map_err(|error| error.to_string())?, right.map_err(|error| error.to_string())?);
    let differing = left.lines().zip(right.lines()).filter(|(left, right)| left != right);
    let differing: Vec<(&str, &str)> = differing.collect();
    for (left, right) in differing.iter().take(3) {
        println!("{left} and {right}");
    }
    if let Some((seed, _)) = differing.first().and_then(|(left, _)| left.split_once(' '))
        && let Some([left, right]) = first_difference([&binary, &other], seed)?
    {
        println!("seed {seed}, first event that differs:\n{left}\n{right}");
    }
    let broken: Vec<&str> = left.lines().filter(|line| !line.ends_with(" -")).collect();
    for line in broken.iter().take(3) {
        println!("breaks an invariant: {line}");
    }
    let is_whole = left.lines().count() as u64 == seeds && right.lines().count() as u64 == seeds;
    let violations = differing.len() + broken.len();
    let line = counted(&left).line("sim meta", seeds, violations, clock.monotonic());
    println!("{}", joined(line, json!({"whole": is_whole, "differing": differing.len()})));
    Ok(violations == 0 && is_whole)
}
