//! Reading files from a folder: which ones count, and what is said when they cannot be read.

use super::support::{CAMPAIGN, TOPOLOGY};
use hongbao_topology::{Problem, load};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder for one test below the target folder, empty at the start.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    fs::create_dir_all(path.join("campaigns")).unwrap();
    path
}

fn codes(problems: &[Problem]) -> Vec<(&str, String)> {
    let name =
        |problem: &Problem| Path::new(problem.file()).file_name().unwrap().to_string_lossy().into_owned();
    problems.iter().map(|problem| (problem.code().as_str(), name(problem))).collect()
}

#[test]
fn campaigns_beside_the_topology_are_read() {
    let folder = folder("good");
    fs::write(folder.join("topology.yaml"), TOPOLOGY).unwrap();
    fs::write(folder.join("campaigns/base.yaml"), CAMPAIGN).unwrap();
    fs::write(folder.join("campaigns/README.md"), "no campaign").unwrap();
    fs::write(folder.join("campaigns/.hidden.yaml"), "[").unwrap();
    fs::create_dir(folder.join("campaigns/old.yaml")).unwrap();
    let topology = load(&folder.join("topology.yaml"), &|_| None).unwrap();
    assert_eq!(topology.campaigns().len(), 1);
    assert!(topology.campaigns()[0].file().ends_with("campaigns/base.yaml"));
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = folder("bad");
    let path = folder.join("topology.yaml");
    assert_eq!(codes(&load(&path, &|_| None).unwrap_err()), [("E0100", "topology.yaml".to_owned())]);

    fs::write(&path, TOPOLOGY).unwrap();
    assert_eq!(codes(&load(&path, &|_| None).unwrap_err()), [("E0142", "topology.yaml".to_owned())]);

    fs::write(folder.join("campaigns/base.yaml"), CAMPAIGN).unwrap();
    fs::write(folder.join("campaigns/more.yml"), CAMPAIGN).unwrap();
    assert_eq!(codes(&load(&path, &|_| None).unwrap_err()), [("E0143", "more.yml".to_owned())]);
    fs::remove_file(folder.join("campaigns/more.yml")).unwrap();

    fs::write(folder.join("campaigns/latin.yaml"), b"version: 1\nactivity: caf\xe9\n").unwrap();
    let problems = load(&path, &|_| None).unwrap_err();
    assert_eq!(codes(&problems), [("E0100", "latin.yaml".to_owned())]);
    assert_eq!(problems[0].message(), "the file is not UTF-8: see line 2");

    fs::write(folder.join("campaigns/latin.yaml"), "#".repeat(2 << 20)).unwrap();
    let problems = load(&path, &|_| None).unwrap_err();
    assert_eq!(problems[0].message(), "the file has more than 1048576 bytes");
}
