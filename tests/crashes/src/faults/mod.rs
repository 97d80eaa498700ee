//! `faults`: a hostile system around a node that is not killed: stopped and continued processes, a bad
//! network in front of the downstream, also of one that knows no keys, a full disk, a sync that fails,
//! syncs that take long.

mod full;
mod network;
mod paused;
mod proxy;
mod slow;
mod sync;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::json;

use crate::figures::Figures;
use crate::finding::or_violation;
use crate::jobs::on_threads;
use crate::rig::{Mall, Pendants, Rig};
use crate::story::Story;
use crate::traffic::Traffic;
use crate::wait::Dice;
use proxy::NAMES;

/// What to run.
#[derive(Clone, Debug)]
pub struct Faults {
    /// The binary.
    pub program: PathBuf,
    /// The recorder, which also makes a sync fail, or slow.
    pub preload: PathBuf,
    /// Where data folders go.
    pub folder: PathBuf,
    /// Rounds of each kind.
    pub count: u64,
    pub seed: u64,
    /// Rounds at a time.
    pub jobs: u64,
    /// Full disks may be left out where nothing may be mounted.
    pub without_mounts: bool,
}

/// What one round of a kind came to.
#[derive(Debug, Default)]
pub struct Round {
    /// Figures of the kind.
    pub sums: Vec<(String, u64)>,
    /// Figures that all kinds have.
    pub of_all: Vec<(&'static str, u64)>,
    pub violations: Vec<String>,
    /// Why this machine does not allow the fault, if it does not.
    pub left_out: Option<String>,
}

/// A kind of fault.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    round: fn(&Faults, &Path, Dice) -> io::Result<Round>,
    /// Figures that count how often it took effect; each must be more than zero in a run.
    effects: &'static [&'static str],
    /// Figures that count what must not be.
    never: &'static [&'static str],
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "paused",
        round: paused::round,
        effects: &["node_seen_stopped", "downstream_seen_stopped"],
        never: &[],
    },
    Kind { name: "network", round: network::round, effects: &NAMES, never: &[] },
    Kind {
        name: "network_no_keys",
        round: network::round_without_keys,
        effects: &["request_cut", "answer_cut", "answer_swallowed", "unanswered", "reported"],
        never: &[],
    },
    Kind { name: "full_disk", round: full::round, effects: &["refused_while_full"], never: &["halted"] },
    Kind { name: "failed_sync", round: sync::round, effects: &["failed"], never: &[] },
    Kind { name: "slow_disk", round: slow::round, effects: &["slow_syncs", "slow_answers"], never: &[] },
];

/// Runs all kinds.
pub fn run(faults: &Faults) -> Figures {
    let left_out = Mutex::new(BTreeSet::new());
    let (next, found) = (AtomicU64::new(0), Mutex::new(Figures::begin("faults", faults.seed)));
    let rounds = faults.count * KINDS.len() as u64;
    let done = on_threads(faults.jobs.min(rounds), |_| {
        loop {
            let round = next.fetch_add(1, Ordering::SeqCst);
            if round >= rounds {
                return Ok(());
            }
            one_round(
                faults,
                KINDS[(round % KINDS.len() as u64) as usize],
                round / KINDS.len() as u64,
                &found,
                &left_out,
            )?;
        }
    });
    let mut figures = found.into_inner();
    match done {
        Ok(()) => judge(&mut figures, faults, &left_out.into_inner()),
        Err(error) => figures.trouble(&error),
    }
    figures
}

/// A run in which a kind of fault never took effect is too weak, also where this machine does not allow it,
/// unless it may be left out.
fn judge(figures: &mut Figures, faults: &Faults, left_out: &BTreeSet<&'static str>) {
    for Kind { name, effects, never, .. } in KINDS {
        for what in never {
            match figures.number(&format!("{name}_{what}")) {
                0 => {}
                count => figures.violations.push(format!("{name}: {what} is {count}, and must not be")),
            }
        }
        if left_out.contains(name) && faults.without_mounts {
            eprintln!("NOT TESTED {name}: this machine does not allow it; the run says nothing about it");
            continue;
        }
        let ran = figures.number(name);
        if ran < faults.count {
            let why = if left_out.contains(name) {
                ", the others are left out (--without-mounts allows it)"
            } else {
                ""
            };
            figures.violations.push(format!("too weak: {name}: {ran} rounds of {}{why}", faults.count));
        }
        for effect in effects {
            if figures.number(&format!("{name}_{effect}")) == 0 {
                figures.violations.push(format!("too weak: {name}: {effect} is 0"));
            }
        }
    }
    figures.set("not_tested", json!(left_out));
}

/// Runs a round of a kind, and keeps its folder when something is wrong.
fn one_round(
    faults: &Faults,
    Kind { name, round, .. }: Kind,
    number: u64,
    found: &Mutex<Figures>,
    left_out: &Mutex<BTreeSet<&'static str>>,
) -> io::Result<()> {
    let home = faults.folder.join(format!("{name}-{number}"));
    std::fs::create_dir_all(&home)?;
    let dice = Dice(faults.seed.wrapping_mul(0x1_0000_0001) ^ (number << 8));
    let mut broken = Round::default();
    let came_to = or_violation(round(faults, &home, dice), |what| broken.violations.push(what))?;
    let came_to = came_to.unwrap_or(broken);
    if let Some(why) = &came_to.left_out {
        eprintln!("{name} {number} left out: {why}");
        left_out.lock().insert(name);
        return std::fs::remove_dir_all(&home);
    }
    let mut figures = found.lock();
    figures.add(name, 1);
    figures.add("rounds", 1);
    for (what, more) in came_to.sums {
        figures.add(&format!("{name}_{what}"), more);
    }
    for (what, more) in came_to.of_all {
        figures.add(what, more);
    }
    if came_to.violations.is_empty() {
        std::fs::remove_dir_all(&home)?;
    }
    let place = format!("{name} {number}, kept in {}", home.display());
    figures.violations.extend(came_to.violations.into_iter().map(|what| format!("{place}: {what}")));
    Ok(())
}

/// A story whose node sends to the downstream at `address`, which may stand in front of the real one.
fn story<'a>(
    faults: &Faults,
    home: &Path,
    mall: &'a mut Mall,
    address: std::net::SocketAddr,
    mut dice: Dice,
) -> io::Result<Story<'a>> {
    let rig = Rig::new(&faults.program, home.join("node"), 1, address, mall.keys, Pendants::Within)?;
    let traffic = Traffic::new("f".to_owned(), dice.below(u64::MAX));
    Story::begin(rig, mall, traffic, dice)
}

/// Compares in the end, and tells what a round came to. `attacked` gives the figures of its kind; what
/// the program did wrong on the way is a violation, and then there is nothing to compare.
fn round_of(mut story: Story<'_>, attacked: io::Result<Vec<(&str, u64)>>) -> io::Result<Round> {
    let sums = or_violation(attacked, |what| story.violated(what))?;
    if sums.is_some() {
        story.compare()?;
    }
    let of_all = [
        ("awards", story.traffic.acknowledged().len() as u64),
        ("duplicates", story.traffic.repeats),
        ("unknown_outcomes", story.unknown_outcomes),
        ("crashes", story.crashes),
    ];
    let of_reports = [("unanswered", story.unanswered), ("reported", story.reported)];
    let sums = sums.into_iter().flatten().chain(of_reports);
    let sums = sums.map(|(name, sum)| (name.to_owned(), sum)).collect();
    Ok(Round { sums, of_all: of_all.to_vec(), violations: story.violations, left_out: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(without_mounts: bool) -> Faults {
        let [program, preload, folder] = [PathBuf::new(), PathBuf::new(), PathBuf::new()];
        Faults { program, preload, folder, count: 2, seed: 1, jobs: 1, without_mounts }
    }

    /// Of two rounds of each kind, changed.
    fn judged(
        change: &dyn Fn(&mut Figures),
        left_out: &[&'static str],
        without_mounts: bool,
    ) -> (Vec<String>, Figures) {
        let mut figures = Figures::begin("faults", 1);
        for Kind { name, effects, .. } in KINDS {
            effects.iter().for_each(|effect| figures.add(&format!("{name}_{effect}"), 1));
            figures.add(name, 2);
        }
        change(&mut figures);
        judge(&mut figures, &faults(without_mounts), &left_out.iter().copied().collect());
        (std::mem::take(&mut figures.violations), figures)
    }

    #[test]
    fn rounds_that_did_not_happen_are_too_few_unless_they_may_be_left_out() {
        let unmounted = |figures: &mut Figures| {
            figures.set("full_disk", json!(0));
            figures.set("full_disk_refused_while_full", json!(0));
        };
        let (violations, figures) = judged(&unmounted, &["full_disk"], false);
        assert!(violations[0].contains("full_disk: 0 rounds of 2"), "{violations:?}");
        assert_eq!(figures.field("not_tested"), Some(&json!(["full_disk"])));
        assert!(judged(&unmounted, &["full_disk"], true).0.is_empty());
        // The flag is about what could not be mounted only.
        assert!(!judged(&unmounted, &[], true).0.is_empty());
        assert!(!judged(&|figures| figures.set("paused", json!(1)), &[], true).0.is_empty());
    }

    #[test]
    fn a_round_that_was_left_out_is_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults { folder: folder.path().to_owned(), ..faults(false) };
        let (found, left_out) = (Mutex::new(Figures::begin("faults", 1)), Mutex::default());
        let round = |_: &Faults, _: &Path, _: Dice| {
            Ok(Round { left_out: Some("nothing may be mounted".to_owned()), ..Round::default() })
        };
        let kind = Kind { name: "full_disk", round, effects: &[], never: &[] };
        one_round(&faults, kind, 0, &found, &left_out).unwrap();
        let kind = Kind { name: "paused", round: |_, _, _| Ok(Round::default()), effects: &[], never: &[] };
        one_round(&faults, kind, 0, &found, &left_out).unwrap();
        let figures = found.into_inner();
        let counted = ["full_disk", "paused", "rounds"].map(|name| figures.number(name));
        assert_eq!((counted, left_out.into_inner().len()), ([0, 1, 1], 1));
    }

    #[test]
    fn each_fault_takes_effect_and_a_full_disk_halts_nothing() {
        let violations = |change: &dyn Fn(&mut Figures)| judged(change, &[], false).0;
        assert!(violations(&|_| {}).is_empty());
        assert_eq!(violations(&|figures| figures.add("full_disk_halted", 2)).len(), 1);
        assert_eq!(violations(&|figures| figures.set("failed_sync_failed", json!(0))).len(), 1);
    }
}
