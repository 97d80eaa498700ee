//! For every invariant of which an oracle tells there is a stored scenario that breaks under its id.

use std::collections::BTreeSet;
use std::path::Path;

use hongbao_audit::Invariant;
use hongbao_sim::stored;

/// Ids that no stored scenario breaks: nothing is done long after the faults, and no order is open.
const WITHOUT: [&str; 1] = ["V1"];

/// The ids in quotes in a text, such as `"I9"` and `"V2"`.
fn ids_in(text: &str, ids: &mut BTreeSet<String>) {
    for word in text.split('"') {
        let number = word.strip_prefix('I').or_else(|| word.strip_prefix('V')).unwrap_or_default();
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            ids.insert(word.to_owned());
        }
    }
}

#[test]
fn every_id_of_an_oracle_has_a_scenario() {
    let mut told: BTreeSet<String> = Invariant::ALL.into_iter().map(Invariant::id).collect();
    // What oracles, worlds and downstreams tell by themselves.
    for folder in ["oracles", "world", "downstreams"] {
        let files =
            std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder)).unwrap();
        for file in files {
            ids_in(&std::fs::read_to_string(file.unwrap().path()).unwrap(), &mut told);
        }
    }
    assert!(told.contains("I14") && told.contains("I29") && told.contains("V2"), "{told:?}");
    let all = stored::all("scenarios").unwrap();
    // What money is judged by is no id of its own.
    let strict = all.into_iter().map(|(_, stored)| stored).filter(|stored| stored.plan.judge.is_strict());
    let stored: BTreeSet<String> = strict.map(|stored| stored.invariant).collect();
    let missing: Vec<&String> =
        told.iter().filter(|id| !stored.contains(*id) && !WITHOUT.contains(&id.as_str())).collect();
    assert!(missing.is_empty(), "no stored scenario breaks {missing:?}");
    let strange: Vec<&String> = stored.iter().filter(|id| !told.contains(*id)).collect();
    assert!(strange.is_empty(), "no oracle tells {strange:?}");
}
