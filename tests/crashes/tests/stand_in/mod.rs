//! A script of `scripts/` over stand-ins for cargo and the simulator, in a folder of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Builds end with the first number, tests say something and end with the second.
const CARGO: &str = r#"#!/usr/bin/env bash
case " $* " in *" --no-run "* | " build "*) exit "$BUILD_ENDS" ;; esac
[ "$BUILD_ENDS" -eq 0 ] || exit "$BUILD_ENDS"
printf '%b' "$TESTS_SAY"
exit "$TESTS_END"
"#;
/// Nothing is installed for a test.
const DPKG: &str = "#!/usr/bin/env bash\necho ok installed\n";
/// Says what it was asked for.
const SIMULATOR: &str = "#!/usr/bin/env bash\necho \"$*\"\n";

/// Runs a script, given with its arguments, while builds end with `build_ends`, and tests say `tests_say` and
/// end with `tests_end`. Returns its exit code and what it printed on stdout.
pub fn run(script: &[&str], build_ends: u8, tests_say: &str, tests_end: u8) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("release")).unwrap();
    for (name, text) in [("cargo", CARGO), ("dpkg-query", DPKG), ("release/hongbao-sim", SIMULATOR)] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let here = folder.path().to_string_lossy();
    let done = Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(script[0]))
        .args(&script[1..])
        .env("PATH", format!("{here}:/usr/local/bin:/usr/bin:/bin"))
        .env("CARGO_TARGET_DIR", &*here)
        .env("BUILD_ENDS", build_ends.to_string())
        .env("TESTS_SAY", tests_say)
        .env("TESTS_END", tests_end.to_string())
        .output()
        .unwrap();
    (done.status.code(), String::from_utf8(done.stdout).unwrap())
}
