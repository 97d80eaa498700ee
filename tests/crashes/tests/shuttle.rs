//! `scripts/shuttle` tells a test program that ended without a result from one whose tests have passed, and from one
//! that could not be built. A script stands in the place of cargo.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod stand_in;

use serde_json::Value;

const PASSED: &str = "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured\\n";
const FAILED: &str = "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured\\n";

/// Exit code, and what the last line says if there is one.
fn run(build_ends: u8, tests_say: &str, tests_end: u8) -> (Option<i32>, Option<Value>) {
    let (code, printed) = stand_in::run(&["shuttle", "7"], build_ends, tests_say, tests_end);
    (code, printed.lines().last().map(|line| serde_json::from_str(line).unwrap()))
}

/// Exit code, and violations in the last line if there is one.
fn violations(build_ends: u8, tests_say: &str, tests_end: u8) -> (Option<i32>, Option<u64>) {
    let (code, last) = run(build_ends, tests_say, tests_end);
    (code, last.and_then(|last| last["violations"].as_u64()))
}

#[test]
fn tests_that_pass_and_fail_are_counted() {
    assert_eq!(violations(0, PASSED, 0), (Some(0), Some(0)));
    assert_eq!(violations(0, FAILED, 101), (Some(3), Some(1)));
}

#[test]
fn only_what_has_passed_has_run_as_often_as_asked_for() {
    let seeds = |tests_say| run(0, tests_say, 0).1.unwrap()["seeds"].as_u64();
    assert_eq!([PASSED, FAILED].map(seeds), [Some(4 * 7), Some(3 * 7)]);
}

#[test]
fn a_test_program_that_ends_without_a_result_is_a_violation() {
    assert_eq!(violations(0, "running 4 tests\\n", 134), (Some(3), Some(1)));
    assert_eq!(violations(0, PASSED, 101), (Some(3), Some(1)));
    assert_eq!(violations(0, "", 0), (Some(3), Some(1)));
}

#[test]
fn what_cannot_be_built_says_nothing_about_the_product() {
    assert_eq!(violations(101, "", 0), (Some(1), None));
}
