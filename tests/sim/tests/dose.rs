//! The dose of the simulator that runs with the tests: a few hundred seeds, all plans that once
//! broke something, and the same hashes from two processes.

use std::process::Command;
use std::time::Duration;

use hongbao_sim::plan::{Op, Twist};
use hongbao_sim::report::set::{SetSpec, play};
use hongbao_sim::stored;
use hongbao_sim::trace::Trace;
use hongbao_sim::world::run;

#[test]
fn seeds_break_nothing() {
    let result = play(SetSpec {
        first: 1,
        last: 600,
        threads: 2,
        deadline: Some(Duration::from_secs(60)),
        least: 0,
        violations_max: 1,
        tells: false,
    });
    assert!(result.violations.is_empty(), "{:#?}", result.violations);
    assert!(result.seeds > 0 && result.stats.crashes > 0 && result.stats.unknown_outcomes > 0);
}

#[test]
fn plans_that_once_broke_something_or_do_with_a_planted_bug_break_nothing() {
    for folder in ["regressions", "scenarios"] {
        let all = stored::all(folder).unwrap();
        assert!(!all.is_empty(), "{folder}");
        for (name, stored) in all {
            let violation = run(&stored.plan, Trace::default()).violation;
            assert_eq!(violation, None, "{folder}/{name}: {}", stored.note);
            assert_eq!(stored.mutant.is_some(), folder == "scenarios", "{folder}/{name}");
        }
    }
}

#[test]
fn a_panic_outside_of_a_process_is_a_violation_of_its_seed() {
    let mut plan = hongbao_sim::plan::generate(7);
    // The partition next to the right one, of none.
    plan.options.partitions = 0;
    for step in &mut plan.steps {
        if let Op::Award(award) = &mut step.op {
            award.twist = Twist::WrongPartition;
        }
    }
    let violation = run(&plan, Trace::default()).violation.unwrap();
    assert_eq!(violation.invariant, "panic", "{violation:?}");
}

#[test]
fn two_processes_play_the_same_seed_alike() {
    let hashes = || {
        let output = Command::new(env!("CARGO_BIN_EXE_hongbao-sim")).args(["hashes", "1", "40"]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let (first, second) = (hashes(), hashes());
    assert_eq!(first.lines().count(), 40);
    assert_eq!(first, second);
}

#[test]
fn stored_plans_read_back() {
    let plan = hongbao_sim::plan::generate(7);
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<hongbao_sim::plan::Plan>(&text).unwrap(), plan);
}
