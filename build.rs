//! Notes the commit that the binary is built from, for what `hongbao bench` prints. Runs again only
//! when another commit is checked out.
//!
//! Clones that share a target folder share this program too, so the folder is asked for when it runs,
//! and not when it is compiled.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let commit = std::env::var_os("CARGO_MANIFEST_DIR").and_then(|folder| commit(&PathBuf::from(folder)));
    println!("cargo::rustc-env=HONGBAO_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The commit of this repository; nothing without one, as in an archive of the sources.
fn commit(folder: &Path) -> Option<String> {
    // A repository around the sources is not theirs.
    let root = Path::new(&git(folder, &["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    if root != folder.canonicalize().ok()? {
        return None;
    }
    // The log of HEAD grows with every commit and checkout. A path that is not there would have
    // this run each time, so what stands in for it is watched only where there is no such log.
    let log = git(folder, &["rev-parse", "--git-path", "logs/HEAD"])?;
    let branch = git(folder, &["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_default();
    let watched =
        if folder.join(&log).is_file() { vec!["logs/HEAD"] } else { vec!["HEAD", "packed-refs", &branch] };
    for name in watched {
        let path = git(folder, &["rev-parse", "--git-path", name])?;
        if folder.join(&path).is_file() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(folder, &["rev-parse", "--short", "HEAD"])
}

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(folder).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
