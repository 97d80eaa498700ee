//! Dependencies between crates point down only, and native or asynchronous libraries stay where
//! they belong. There are no exemptions; what tests alone may use beside that has a table of its own.
#![expect(clippy::unwrap_used, reason = "test code")]

mod sources;

use std::collections::BTreeMap;

use sources::{read, with_extension};

/// What each crate may use of the project's own; nothing else.
const EDGES: [(&str, &[&str]); 19] = [
    ("hongbao-schemas", &[]),
    ("hongbao-engine", &[]),
    ("hongbao-segments", &["hongbao-engine"]),
    ("hongbao-rocks", &["hongbao-engine"]),
    ("hongbao-conformance", &["hongbao-engine"]),
    (
        "hongbao-hostile",
        &[
            "hongbao-schemas",
            "hongbao-engine",
            "hongbao-segments",
            "hongbao-topology",
            "hongbao-processors",
            "hongbao-sinks",
            "hongbao-producers",
            "hongbao-api",
        ],
    ),
    ("hongbao-fuzz", &["hongbao-hostile"]),
    (
        "hongbao-interleavings",
        &["hongbao-schemas", "hongbao-engine", "hongbao-segments", "hongbao-processors"],
    ),
    // Stands in for the library of this name, for the interleavings alone.
    ("parking_lot", &[]),
    ("hongbao-topology", &["hongbao-schemas"]),
    ("hongbao-processors", &["hongbao-engine", "hongbao-schemas"]),
    ("hongbao-sinks", &["hongbao-engine", "hongbao-schemas"]),
    ("hongbao-resume", &["hongbao-engine", "hongbao-processors", "hongbao-sinks"]),
    ("hongbao-producers", &["hongbao-engine", "hongbao-schemas"]),
    ("hongbao-api", &["hongbao-engine", "hongbao-schemas"]),
    ("hongbao-crashes", &["hongbao-engine", "hongbao-rocks", "hongbao-schemas", "hongbao-segments"]),
    ("hongbao-audit", &["hongbao-engine", "hongbao-schemas", "hongbao-processors"]),
    (
        "hongbao-sim",
        &[
            "hongbao-engine",
            "hongbao-schemas",
            "hongbao-processors",
            "hongbao-sinks",
            "hongbao-resume",
            "hongbao-audit",
        ],
    ),
    (
        "hongbao",
        &[
            "hongbao-schemas",
            "hongbao-engine",
            "hongbao-segments",
            "hongbao-rocks",
            "hongbao-topology",
            "hongbao-processors",
            "hongbao-sinks",
            "hongbao-resume",
            "hongbao-producers",
            "hongbao-api",
            "hongbao-audit",
        ],
    ),
];

/// What the tests of a crate may use of the project's own beside that; nothing else.
const TEST_EDGES: [(&str, &[&str]); 4] = [
    ("hongbao-segments", &["hongbao-conformance"]),
    ("hongbao-rocks", &["hongbao-conformance"]),
    ("hongbao-processors", &["hongbao-producers"]),
    ("hongbao-resume", &["hongbao-schemas"]),
];

/// Libraries that only the named crates may use, tests included.
const RESTRICTED: [(&str, &[&str]); 6] = [
    ("rocksdb", &["hongbao-rocks"]),
    ("tokio", &["hongbao", "hongbao-api", "hongbao-sinks", "hongbao-hostile"]),
    ("axum", &["hongbao-api", "hongbao", "hongbao-hostile"]),
    ("reqwest", &["hongbao-sinks", "hongbao"]),
    ("anyhow", &["hongbao"]),
    ("clap", &["hongbao", "hongbao-crashes", "hongbao-sim"]),
];

fn manifests() -> BTreeMap<String, toml::Table> {
    with_extension("toml")
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name == "Cargo.toml"))
        .map(|path| read(path).parse::<toml::Table>().unwrap())
        .map(|manifest| (manifest["package"]["name"].as_str().unwrap().to_owned(), manifest))
        .collect()
}

fn names(manifest: &toml::Table, section: &str) -> Vec<String> {
    let table = manifest.get(section).and_then(toml::Value::as_table);
    table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn edges_point_down() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.into_iter().collect();
    let manifests = manifests();
    assert_eq!(manifests.len(), allowed.len(), "a crate is not in the table, or is gone");
    for (name, manifest) in &manifests {
        let may = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not in the table"));
        let in_tests =
            TEST_EDGES.into_iter().find(|(tested, _)| tested == name).map_or(&[][..], |(_, may)| may);
        let own = |section| names(manifest, section).into_iter().filter(|used| used.starts_with("hongbao"));
        for used in own("dependencies").chain(own("build-dependencies")) {
            assert!(may.contains(&used.as_str()), "{name} must not depend on {used}");
        }
        for used in own("dev-dependencies") {
            let may = may.contains(&used.as_str()) || in_tests.contains(&used.as_str());
            assert!(may, "tests of {name} must not depend on {used}");
        }
    }
}

#[test]
fn libraries_stay_where_they_belong() {
    for (name, manifest) in &manifests() {
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            for used in names(manifest, section) {
                let rule = RESTRICTED.iter().find(|(library, _)| *library == used);
                let fits = rule.is_none_or(|(_, crates)| crates.contains(&name.as_str()));
                assert!(fits, "{name} must not depend on {used}");
            }
        }
    }
}

#[test]
fn lints_are_inherited_everywhere() {
    for (name, manifest) in &manifests() {
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        assert_eq!(inherits.and_then(toml::Value::as_bool), Some(true), "{name}");
    }
}
