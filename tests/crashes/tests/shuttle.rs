//! `scripts/shuttle` tells a test program that ended without a result from one whose tests have passed, and from one
//! that could not be built. A script stands in the place of cargo.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Builds end with the first number, tests say something and end with the second.
const CARGO: &str = r#"#!/usr/bin/env bash
case " $* " in *" --no-run "*) exit "$BUILD_ENDS" ;; esac
[ "$BUILD_ENDS" -eq 0 ] || exit "$BUILD_ENDS"
printf '%b' "$TESTS_SAY"
exit "$TESTS_END"
"#;
/// Nothing is installed for a test.
const DPKG: &str = "#!/usr/bin/env bash\necho ok installed\n";
const PASSED: &str = "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured\\n";
const FAILED: &str = "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured\\n";

/// Exit code, and violations in the last line if there is one.
fn run(build_ends: u8, tests_say: &str, tests_end: u8) -> (Option<i32>, Option<u64>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("cargo", CARGO), ("dpkg-query", DPKG)] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let here = folder.path().to_string_lossy();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/shuttle");
    let done = Command::new("bash")
        .arg(script)
        .arg("7")
        .env("PATH", format!("{here}:/usr/local/bin:/usr/bin:/bin"))
        .env("CARGO_TARGET_DIR", &*here)
        .env("BUILD_ENDS", build_ends.to_string())
        .env("TESTS_SAY", tests_say)
        .env("TESTS_END", tests_end.to_string())
        .output()
        .unwrap();
    let printed = String::from_utf8(done.stdout).unwrap();
    let last = printed.lines().last().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (done.status.code(), last.and_then(|last| last["violations"].as_u64()))
}

#[test]
fn tests_that_pass_and_fail_are_counted() {
    assert_eq!(run(0, PASSED, 0), (Some(0), Some(0)));
    assert_eq!(run(0, FAILED, 101), (Some(3), Some(1)));
}

#[test]
fn a_test_program_that_ends_without_a_result_is_a_violation() {
    assert_eq!(run(0, "running 4 tests\\n", 134), (Some(3), Some(1)));
    assert_eq!(run(0, PASSED, 101), (Some(3), Some(1)));
    assert_eq!(run(0, "", 0), (Some(3), Some(1)));
}

#[test]
fn what_cannot_be_built_says_nothing_about_the_product() {
    assert_eq!(run(101, "", 0), (Some(1), None));
}
