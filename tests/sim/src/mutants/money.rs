//! Bugs planted one after the other until money is doubled, and until money is lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_engine::mutants::{Mutant, plant};
use parking_lot::Mutex;
use serde_json::json;

use crate::options::LogProfile;
use crate::oracles::Violation;
use crate::oracles::money::IDS;
use crate::plan::{AwardOp, Op, Plan, Step, of_money};
use crate::random::Random;
use crate::report::{Stats, joined};
use crate::shrink::{Effort, shrink};
use crate::stored::{self, StoredPlan};
use crate::trace::Trace;
use crate::world::run;

use super::Hunt;

/// Runs for the smallest plan at most; those that lose something last as long as the deadline.
const SHRINK_RUNS_MAX: u32 = 1_000;

/// How money can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wrong {
    Doubled,
    Lost,
}

impl Wrong {
    fn of(violation: &Violation) -> Option<Self> {
        match &*violation.invariant {
            "I10" => Some(Self::Doubled),
            id if IDS.contains(&id) => Some(Self::Lost),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Doubled => "doubled",
            Self::Lost => "lost",
        }
    }
}

/// Plants each bug until it doubles money and until it loses some, or the seeds or the time are over.
/// False when one did neither.
///
/// # Errors
/// A scenario that cannot be stored.
pub fn command(hunt: &Hunt, mutants: &[Mutant]) -> Result<bool, String> {
    let clock = SystemClock::new();
    let mut stats = Stats::default();
    let (mut tried, mut missed) = (0, Vec::new());
    for mutant in mutants {
        plant(*mutant);
        let (found, seeds) = seek(hunt, *mutant, &mut stats);
        tried += seeds;
        for (wrong, (seed, violation)) in &found {
            println!(
                "{mutant:?} {seed:>6}  {:<7} {:<4} {}",
                wrong.name(),
                violation.invariant,
                violation.what
            );
            if hunt.keeps {
                keep(*mutant, *seed, *wrong, violation)?;
            }
        }
        plant(Mutant::None);
        if found.is_empty() {
            println!("{mutant:?} {seeds:>6}  NEITHER      {}", mutant.what());
            missed.push(format!("{mutant:?}"));
        }
    }
    let line = stats.line("sim mutants --money", tried, missed.len(), clock.monotonic());
    println!("{}", joined(line, json!({"mutants": mutants.len(), "missed": missed})));
    Ok(missed.is_empty())
}

/// The plan of a seed for a bug: what is rare and takes part in it comes for sure.
fn aimed(mutant: Mutant, seed: u64) -> Plan {
    let mut plan = of_money(seed);
    let random = &mut Random::of(seed, "aim");
    match mutant {
        Mutant::M61 => trim_unread_awards(&mut plan, random),
        Mutant::M12 => forget_read_awards(&mut plan, random),
        Mutant::M15 => {
            plan.options.log = LogProfile::Segments;
            end_often(&mut plan, random, 1_000);
        }
        Mutant::M06 | Mutant::M11 | Mutant::M69 => {
            plan.options.log = LogProfile::Broker;
            plan.options.task.staged_bytes_max = plan.options.task.staged_bytes_max.max(1 << 20);
            end_often(&mut plan, random, 500);
        }
        _ => {}
    }
    plan.steps.sort_by_key(|step| step.at_ms);
    plan
}

/// Processes end soon, and often.
fn end_often(plan: &mut Plan, random: &mut Random, keep_permille: u32) {
    let last_ms = plan.steps.last().map_or(1_000, |step| step.at_ms.max(1));
    for _ in 0..random.within(3, 12) {
        let at_ms = random.below(last_ms.cast_unsigned()).cast_signed();
        plan.steps.push(Step { at_ms, op: crash(random.magnitude(1, 100), keep_permille) });
    }
}

fn crash(calls: u64, keep_permille: u32) -> Op {
    Op::Crash { calls, keep_permille, down_ms: 10, again: None, reads: false, audit: false }
}

/// Awards that the intake has not read lose their beginning.
fn trim_unread_awards(plan: &mut Plan, random: &mut Random) {
    plan.options.task.commit_records = 1;
    plan.options.task.commit_interval_ms = 0;
    let awards = plan.steps.iter().filter_map(|step| match step.op {
        Op::Award(award) => Some(award),
        _ => None,
    });
    let Some(first) = awards.min_by_key(|award| award.rain) else { return };
    let at_ms = plan.steps.last().map_or(0, |step| step.at_ms) + 500;
    for rain in 0..random.within(1, 8) as u32 {
        let award = AwardOp { rain: 10_000 + rain, scene: 0, amount_minor: 1, ..first };
        plan.steps.push(Step { at_ms, op: Op::Award(award) });
    }
    plan.steps.push(Step { at_ms, op: crash(random.magnitude(1, 6), 1_000) });
    for partition in 0..plan.options.partitions {
        let trim_ms = at_ms + random.within(1, 10).cast_signed();
        plan.steps.push(Step { at_ms: trim_ms, op: Op::Trimmed { partition, is_journal: false, keep: 0 } });
    }
}

/// A log loses awards that the intake has read, without which its journal is whole, and others come.
fn forget_read_awards(plan: &mut Plan, random: &mut Random) {
    plan.options.partitions = 1;
    plan.options.log = LogProfile::Segments;
    plan.options.task.commit_records = 1;
    plan.options.task.commit_interval_ms = 0;
    let awards = plan.steps.iter().filter_map(|step| match step.op {
        Op::Award(award) => Some((step.at_ms, award)),
        _ => None,
    });
    let awards: Vec<(i64, AwardOp)> = awards.collect();
    let Some((_, first)) = awards.first() else { return };
    // They have come long ago, so they leave nothing in the journal.
    let at_ms = plan.steps.last().map_or(0, |step| step.at_ms) + 500;
    let again = AwardOp { app: first.app + 1, ..*first };
    for _ in 0..random.within(1, 12) {
        plan.steps.push(Step { at_ms, op: Op::Award(again) });
    }
    let end_ms = at_ms + random.within(5, 240).cast_signed();
    plan.steps
        .push(Step { at_ms: end_ms, op: Op::LogLost { partition: 0, groups: random.within(1, 3) as usize } });
    plan.steps.push(Step { at_ms: end_ms, op: crash(random.magnitude(1, 4), 0) });
    for rain in 0..random.within(1, 30) as u32 {
        let at_ms = end_ms + random.below(20).cast_signed() - 5;
        plan.steps
            .push(Step { at_ms, op: Op::Award(AwardOp { rain: 10_000 + rain, amount_minor: 1, ..*first }) });
    }
}

type Found = BTreeMap<Wrong, (u64, Violation)>;

/// Plays seeds on all cores until both kinds are found.
fn seek(hunt: &Hunt, mutant: Mutant, stats: &mut Stats) -> (Found, u64) {
    let clock = SystemClock::new();
    let deadline = Duration::from_secs(hunt.for_s);
    let (next, result) = (AtomicU64::new(1), Mutex::new((Found::new(), Stats::default())));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed > hunt.seeds_max || clock.monotonic() > deadline || result.lock().0.len() == 2 {
            return;
        }
        let played = run(&aimed(mutant, seed), Trace::default());
        let mut result = result.lock();
        result.1.absorb(&played.stats);
        if let Some(violation) = played.violation
            && let Some(wrong) = Wrong::of(&violation)
        {
            result.0.entry(wrong).or_insert((seed, violation));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let (found, played) = result.into_inner();
    stats.absorb(&played);
    (found, (next.into_inner() - 1).min(hunt.seeds_max))
}

/// Stores the smallest plan in which the same goes wrong.
fn keep(mutant: Mutant, seed: u64, wrong: Wrong, violation: &Violation) -> Result<(), String> {
    let invariant = violation.invariant.clone();
    let plan = shrink(&aimed(mutant, seed), &invariant, Effort { runs_max: SHRINK_RUNS_MAX });
    plant(Mutant::None);
    let own = run(&plan, Trace::default()).violation;
    plant(mutant);
    if let Some(own) = own {
        return Err(format!("{mutant:?}, seed {seed}: {} by itself: {}", own.invariant, own.what));
    }
    let note = run(&plan, Trace::default()).violation.map_or_else(String::new, |violation| violation.what);
    let mutant_name = format!("{mutant:?}");
    let rule = match mutant.what().split_once("rule ") {
        Some((_, rest)) => rest.chars().take_while(char::is_ascii_digit).collect(),
        None => "none".to_owned(),
    };
    let name = format!("rule-{rule}-{}-{}.json", mutant_name.to_lowercase(), wrong.name());
    StoredPlan { invariant, note, mutant: Some(mutant_name), plan }
        .write(&stored::folder("scenarios").join(name))
}
