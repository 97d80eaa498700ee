//! Every input in the corpora, which hold seeds and all that was ever found, keeps the rules.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use hongbao_hostile::{TARGETS, remove_files};

fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_keeps_the_rules() {
    for target in &TARGETS {
        let files = corpus(target.name);
        assert!(files.len() >= 3, "{} has {} inputs", target.name, files.len());
        for file in files {
            println!("{}", file.display());
            (target.check)(&fs::read(&file).unwrap());
        }
    }
    remove_files();
}

/// A run whose folder cannot be written has tried nothing, and must not end as if it had.
#[test]
fn inputs_that_cannot_be_written_are_no_success() {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "every_input_keeps_the_rules"]).env("HONGBAO_HOSTILE_DIR", "/nonexistent");
    let ended = again.output().unwrap();
    let told = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    assert!(!ended.status.success() && told.contains("no input was tried: /nonexistent"), "{told}");
}
