//! Notes the commit that the binary is built from, for what `hongbao bench` prints. Runs again only
//! when another commit is checked out.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let commit = commit();
    println!("cargo::rustc-env=HONGBAO_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The commit of this repository; nothing without one, as in an archive of the sources.
fn commit() -> Option<String> {
    // A repository around the sources is not theirs.
    let root = Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    if root != Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().ok()? {
        return None;
    }
    // The log of HEAD grows with every commit and checkout. A path that is not there would have
    // this run each time, so what stands in for it is watched only where there is no such log.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_default();
    let watched =
        if Path::new(&log).is_file() { vec!["logs/HEAD"] } else { vec!["HEAD", "packed-refs", &branch] };
    for name in watched {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).is_file() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
