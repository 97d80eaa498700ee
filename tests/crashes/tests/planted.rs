//! `scripts/planted` takes a bug for caught only where a test says so, and `scripts/sim mutants` takes none
//! for missed because nothing could be built. Scripts stand in the places of cargo and the simulator.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod stand_in;

use stand_in::run;

/// What tests say when they catch these bugs.
fn caught(bugs: &[String]) -> String {
    bugs.iter().map(|bug| format!("running 1 test\\n{bug} caught: it is wrong\\n.")).collect()
}

/// All bugs that the script must hear of: what it tells when no test says anything.
fn bugs() -> Vec<String> {
    let (code, printed) = run(&["planted"], 0, "", 0);
    assert_eq!(code, Some(3), "no test has run: {printed}");
    let bug = |line: &str| line.split_once(" MISSED: ").unwrap().0.to_owned();
    printed.lines().map(bug).collect()
}

#[test]
fn a_bug_is_caught_when_a_test_says_so() {
    let bugs = bugs();
    // One of segment files, of stores, of connections and of the API each.
    for bug in ["M66", "M92", "M99", "M101"] {
        assert!(bugs.iter().any(|known| known == bug), "{bug} is not among {bugs:?}");
    }
    assert_eq!(run(&["planted"], 0, &caught(&bugs), 0).0, Some(0));
    assert_eq!(run(&["planted"], 0, &caught(&bugs), 101).0, Some(3), "a test failed all the same");
    assert_eq!(run(&["planted"], 0, &caught(&bugs[1..]), 0).0, Some(3), "{} was not planted", bugs[0]);
    let missed = format!("{}{} MISSED: it is wrong\\n", caught(&bugs[1..]), bugs[0]);
    assert_eq!(run(&["planted"], 0, &missed, 0).0, Some(3), "{} was missed", bugs[0]);
}

#[test]
fn what_does_not_build_has_missed_nothing() {
    let (code, printed) = run(&["planted"], 101, "", 0);
    assert_eq!((code, &*printed), (Some(1), ""));
    let (code, printed) = run(&["sim", "mutants"], 101, "", 0);
    assert_eq!((code, &*printed), (Some(1), ""));
}

#[test]
fn the_simulator_is_told_what_was_caught_below_it() {
    let bugs = bugs();
    for caught_of in [&bugs[..], &bugs[1..]] {
        let (code, printed) = run(&["sim", "mutants"], 0, &caught(caught_of), 0);
        assert_eq!(code, Some(0));
        let told = printed.trim().strip_prefix("mutants --in-tests ").unwrap();
        assert!(caught_of.iter().all(|bug| told.split(',').any(|name| name == bug)), "{told}");
        assert_eq!(told.split(',').any(|name| name == bugs[0]), caught_of.len() == bugs.len(), "{told}");
    }
}
