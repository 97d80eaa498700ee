//! The simulator's command line: `run`, `seed`, `replay`, `shrink`, `meta`, `mutants`. The last line
//! on stdout is a JSON object; the exit code is 3 when something was found.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_sim::plan::{Plan, generate};
use hongbao_sim::report::set::{SetSpec, cpu_seconds, play};
use hongbao_sim::report::timeline::story;
use hongbao_sim::shrink::{Effort, shrink};
use hongbao_sim::stored::StoredPlan;
use hongbao_sim::trace::Trace;
use hongbao_sim::world::run;
use serde_json::json;

/// A run is mostly small allocations of one thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FOUND: u8 = 3;
const WRONG_USE: u8 = 2;

const USAGE: &str = "\
sim run --seeds FIRST..LAST [--threads N] [--for SECONDS]   plays seeds
sim seed N [--trace] [--plan]                               plays one; its history, or its plan as JSON
sim replay FILE [--trace]                                   plays a stored plan
sim shrink --seed N [--out FILE]                            the smallest plan that breaks the same
sim meta --seeds N                                          plays 1..N in two processes, compares hashes
sim mutants [NAME..] [--seeds N] [--keep]                   seeds until each planted bug is caught
sim scenarios                                               stored plans, each with its bug planted
sim hashes FIRST LAST                                       hash of each seed
all: --mutant NAME plants a bug first";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments = Arguments(arguments);
    if let Some(name) = arguments.value("--mutant")
        && let Err(text) = hongbao_sim::mutants::plant_named(name)
    {
        eprintln!("{text}");
        return ExitCode::from(WRONG_USE);
    }
    let done = match arguments.0.first().map(String::as_str) {
        Some("run") => run_set(&arguments),
        Some("seed") => one_seed(&arguments),
        Some("replay") => replay(&arguments),
        Some("shrink") => shrink_seed(&arguments),
        Some("meta") => meta(&arguments),
        Some("hashes") => hashes(&arguments),
        Some("mutants") => hongbao_sim::mutants::command(&arguments.0[1..]),
        Some("scenarios") => hongbao_sim::mutants::scenarios(),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FOUND),
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(WRONG_USE)
        }
    }
}

struct Arguments(Vec<String>);

impl Arguments {
    fn value(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|argument| argument == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let parse = |text: &str| text.parse().map_err(|_| format!("{name} {text}: not a number\n{USAGE}"));
        self.value(name).map(parse).transpose()
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|argument| argument == name)
    }

    fn place(&self, at: usize) -> Result<&str, String> {
        self.0.get(at).map(String::as_str).ok_or_else(|| USAGE.to_owned())
    }
}

fn run_set(arguments: &Arguments) -> Result<bool, String> {
    let seeds = arguments.value("--seeds").unwrap_or("1..1000");
    let (first, last) = seeds.split_once("..").ok_or_else(|| USAGE.to_owned())?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text}: not a number\n{USAGE}"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.number("--threads")?.map_or(cores, |threads| threads as usize);
    let spec = SetSpec {
        first: number(first)?,
        last: number(last)?,
        threads,
        deadline: arguments.number("--for")?.map(Duration::from_secs),
        violations_max: arguments.number("--violations")?.map_or(5, |count| count as usize),
        tells: true,
    };
    let result = play(spec);
    if let Some((seed, violation)) = result.violations.first_key_value() {
        eprintln!("shrinking seed {seed} ({})", violation.invariant);
        let smallest = shrink(&generate(*seed), &violation.invariant, Effort { runs_max: 1_000 });
        println!("{}", story(&smallest));
        println!("{}", serde_json::to_string(&smallest).unwrap_or_default());
    }
    if !result.missed.is_empty() {
        eprintln!("too weak: never met {:?}", result.missed);
    }
    println!("{}", result.line("sim", threads));
    Ok(result.is_good())
}

fn one_seed(arguments: &Arguments) -> Result<bool, String> {
    let seed = arguments.place(1)?.parse().map_err(|_| USAGE.to_owned())?;
    let plan = generate(seed);
    if arguments.has("--plan") {
        println!("{}", serde_json::to_string(&plan).unwrap_or_default());
        return Ok(true);
    }
    show(&plan, arguments.has("--trace"))
}

fn replay(arguments: &Arguments) -> Result<bool, String> {
    let stored = StoredPlan::read(Path::new(arguments.place(1)?))?;
    show(&stored.plan, arguments.has("--trace"))
}

fn show(plan: &Plan, with_trace: bool) -> Result<bool, String> {
    let played = run(plan, if with_trace { Trace::verbose() } else { Trace::default() });
    for line in played.trace.lines() {
        println!("{:>8} {:016x} {}", line.at_ms, line.hash, line.text);
    }
    if let Some(violation) = &played.violation {
        println!("{}", story(plan));
        println!("{}: {}", violation.invariant, violation.what);
    }
    let stats = &played.stats;
    let line = json!({
        "name": "sim seed", "seeds": 1, "awards": stats.awards, "crashes": stats.crashes,
        "unknown_outcomes": stats.unknown_outcomes, "duplicates": stats.duplicates,
        "violations": u8::from(played.violation.is_some()), "events": played.events,
        "turns": stats.turns, "hash": format!("{:016x}", played.hash), "simulated_ms": stats.virtual_ms,
    });
    println!("{line}");
    Ok(played.violation.is_none())
}

fn shrink_seed(arguments: &Arguments) -> Result<bool, String> {
    let seed = arguments.number("--seed")?.ok_or_else(|| USAGE.to_owned())?;
    let plan = generate(seed);
    let Some(violation) = run(&plan, Trace::default()).violation else {
        println!("{}", json!({"name": "sim shrink", "seeds": 1, "violations": 0}));
        return Ok(true);
    };
    let smallest = shrink(&plan, &violation.invariant, Effort::default());
    println!("{}", story(&smallest));
    let steps = smallest.steps.len();
    let mutant = arguments.value("--mutant").map(str::to_owned);
    let kept = StoredPlan { invariant: violation.invariant, note: violation.what, mutant, plan: smallest };
    match arguments.value("--out") {
        Some(path) => kept.write(Path::new(path))?,
        None => println!("{}", serde_json::to_string(&kept).unwrap_or_default()),
    }
    println!("{}", json!({"name": "sim shrink", "seeds": 1, "violations": 1, "steps": steps}));
    Ok(false)
}

fn hashes(arguments: &Arguments) -> Result<bool, String> {
    let number = |at| arguments.place(at)?.parse::<u64>().map_err(|_| USAGE.to_owned());
    for seed in number(1)?..=number(2)? {
        let played = run(&generate(seed), Trace::default());
        println!("{seed} {:016x} {}", played.hash, played.events);
    }
    Ok(true)
}

/// The same seeds in two processes give the same hashes; where they do not, the first event that
/// differs is told.
fn meta(arguments: &Arguments) -> Result<bool, String> {
    let clock = SystemClock::new();
    let seeds = arguments.number("--seeds")?.unwrap_or(1_000);
    let binary = std::env::current_exe().map_err(|error| error.to_string())?;
    let other = arguments.value("--other").map_or_else(|| binary.clone(), Into::into);
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
    let is_whole = left.lines().count() as u64 == seeds && right.lines().count() as u64 == seeds;
    let line = json!({
        "name": "sim meta", "seeds": seeds, "awards": 0, "crashes": 0, "unknown_outcomes": 0,
        "duplicates": 0, "violations": differing.len(), "wall_s": clock.monotonic().as_secs_f64(),
        "cpu_s": cpu_seconds(), "whole": is_whole,
    });
    println!("{line}");
    Ok(differing.is_empty() && is_whole)
}
