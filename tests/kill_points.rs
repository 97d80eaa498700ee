//! The list of kill points and the sources name the same places, each once.

mod sources;

use std::collections::BTreeMap;

use sources::{read, with_extension};

/// What stands before a name in a source file, and in the list. In halves, so that this file has neither.
const IN_SOURCES: [&str; 2] = ["kill_point", "!(\""];
const IN_LIST: [&str; 2] = ["    (\"", "\", When::"];

#[test]
fn every_kill_point_is_listed_and_every_listed_one_is_there() {
    let list = read("engine/core/src/crash.rs".as_ref());
    let [before, after] = IN_LIST;
    let listed = list.lines().filter(|line| line.contains(after)).map(|line| {
        let name = line.strip_prefix(before).and_then(|rest| rest.split_once(after)).unwrap().0;
        (name.to_owned(), 1)
    });
    let listed: BTreeMap<String, usize> = listed.collect();
    assert!(listed.len() > 50, "the list was not found");
    let mut found = BTreeMap::<String, usize>::new();
    for path in with_extension("rs") {
        let text = read(&path);
        for rest in text.split(&IN_SOURCES.concat()).skip(1) {
            *found.entry(rest.split('"').next().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(found, listed);
}
