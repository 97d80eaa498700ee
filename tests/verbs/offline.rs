//! `validate`, `graph`, `config show`, `rain --print`: without a server.

use std::collections::BTreeSet;

use serde_json::json;

use crate::node::{CAMPAIGN, Call, Files, TOPOLOGY, run};

#[test]
fn validate_names_every_error_with_its_place() {
    let files = Files::new();
    let ended = run(&files, &["validate"]).with_code(0);
    assert!(ended.stdout.contains("ok") && ended.stderr.is_empty(), "{} {}", ended.stdout, ended.stderr);
    let found = run(&files, &["validate", "-o", "json"]).with_code(0).json();
    assert_eq!(found, json!({"valid": true, "lanes": 3, "campaigns": 1, "scenes": 4}));

    files.write(
        "topology.yaml",
        TOPOLOGY.replace("rate: 1/s", "rate: one").replace("rank: [cash,", "rank: [cahs,"),
    );
    files.write("campaigns/spring.yaml", CAMPAIGN.replace("asset: GOLD/2", "asset: gold"));
    files
        .write("campaigns/more.yaml", "version: 1\nactivity: spring\nscenes:\n  rain: {reward_type: cash}\n");
    let ended = run(&files, &["validate"]).with_code(78);
    assert!(ended.stdout.is_empty(), "{}", ended.stdout);
    let places = [
        ("E0131", "topology.yaml:12:36"),
        ("E0114", "topology.yaml:16:58"),
        ("E0117", "campaigns/spring.yaml:7:24"),
        ("E0138", "campaigns/spring.yaml:2:11"),
        ("E0136", "campaigns/spring.yaml:9:3"),
    ];
    for (code, place) in places {
        assert!(ended.stderr.contains(code), "{code}: {}", ended.stderr);
        assert!(ended.stderr.contains(place), "{place}: {}", ended.stderr);
    }
    let told = run(&files, &["validate", "-o", "json"]).with_code(78).json();
    let told_places = told["errors"].as_array().unwrap().iter().map(|error| {
        assert!(error["message"].is_string() && error["help"].is_string(), "{error}");
        let file = error["file"].as_str().unwrap();
        (error["code"].as_str().unwrap().to_owned(), format!("{file}:{}:{}", error["line"], error["column"]))
    });
    let told_places: Vec<(String, String)> = told_places.collect();
    for (code, place) in places {
        let found = told_places.iter().any(|(told, at)| told == code && at.ends_with(place));
        assert!(found, "{code} {place}: {told_places:?}");
    }
    assert!(ended.stderr.contains("did you mean"), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    let sums = ["5 errors", "topology.yaml: 2 errors", "spring.yaml: 3 errors"];
    assert!(sums.iter().all(|sum| last.contains(sum)), "{last}");
    for call in [&["graph"][..], &["config", "show"], &["rain", "--print"]] {
        assert_eq!(run(&files, call).code, 78, "{call:?}");
    }
    // Whoever reads the last line alone must not look in the wrong file.
    files.write("topology.yaml", TOPOLOGY);
    std::fs::remove_file(files.root().join("campaigns/more.yaml")).unwrap();
    let ended = run(&files, &["validate"]).with_code(78);
    assert!(
        ended.stderr.lines().last().unwrap().ends_with("campaigns/spring.yaml: 1 error"),
        "{}",
        ended.stderr
    );
    for missing in ["nowhere.yaml", "."] {
        let ended = run(&files, &["validate", "-c", missing]).with_code(78);
        assert!(ended.stderr.contains(missing), "{}", ended.stderr);
    }
}

#[test]
fn the_graph_is_drawn_in_four_forms() {
    let files = Files::new();
    let forms = [("mermaid", "flowchart "), ("dot", "digraph "), ("json", "{"), ("text", "test: ")];
    for (format, begins) in forms {
        let drawn = run(&files, &["graph", "--format", format]).with_code(0).stdout;
        assert!(drawn.starts_with(begins), "{format}:\n{drawn}");
        for name in ["awards", "intake", "journal", "orders.cash", "sink.coupon", "bank", "wallet"] {
            assert!(drawn.contains(name), "{format} shows no {name}:\n{drawn}");
        }
    }
    assert!(run(&files, &["graph"]).with_code(0).stdout.starts_with("test: "));
    let graph = run(&files, &["graph", "--format", "json"]).with_code(0).json();
    assert_eq!(run(&files, &["graph", "-o", "json"]).with_code(0).json(), graph);
    let nodes: BTreeSet<&str> =
        graph["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    for edge in graph["edges"].as_array().unwrap() {
        for end in ["from", "to"] {
            assert!(nodes.contains(edge[end].as_str().unwrap()), "{edge}");
        }
    }
}

/// What is shown means the same as what was written, and needs no defaults or variables any more.
#[test]
fn config_show_has_defaults_and_means_the_same() {
    let files = Files::new();
    let shown = run(&files, &["config", "show"]).with_code(0).stdout;
    for line in
        ["    burst: 4000", "    segment_size: 16MiB", "    overdue_after: 15m", "  max_connections: 1024"]
    {
        assert!(shown.lines().any(|found| found == line), "{line:?} in\n{shown}");
    }
    let (topology, campaign) = shown.split_once("\n---\n").unwrap();
    let again = Files::with(topology, campaign);
    let shown_again = run(&again, &["config", "show"]).with_code(0).stdout;
    assert_eq!(shown_again, shown);
}

/// Variables are replaced; files that hold secrets are named and not shown.
#[test]
fn config_show_has_variables_and_no_secrets() {
    let files = Files::new();
    let topology = TOPOLOGY.replace("name: test", "name: ${HONGBAO_NAME:-unnamed}");
    let tokens = files.write("tokens", "viewer s3cret\n");
    files.write("topology.yaml", format!("{topology}http:\n  tokens_file: {}\n", tokens.display()));
    for (variables, name) in [(&[][..], "name: unnamed"), (&[("HONGBAO_NAME", "spring")], "name: spring")] {
        let shown = Call { variables, ..Call::new(&files, &["config", "show"]) }.run().with_code(0).stdout;
        assert!(shown.lines().any(|line| line == name), "{name:?} in\n{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    files.write("topology.yaml", topology.replace(":-unnamed", ":?say who you are"));
    let ended = run(&files, &["config", "show"]).with_code(78);
    assert!(ended.stderr.contains("say who you are") && ended.stderr.contains("E0105"), "{}", ended.stderr);
}

#[test]
fn the_same_seed_rains_the_same_bytes() {
    let files = Files::new();
    let rain = |more: &[&str]| {
        let arguments = [&["rain", "--print", "--awards", "3000"], more].concat();
        run(&files, &arguments).with_code(0).stdout
    };
    let first = rain(&["--seed", "7"]);
    assert_eq!(first.lines().count(), 3000);
    assert_eq!(rain(&["--seed", "7"]), first);
    assert_eq!(rain(&["--seed", "7", "--profile", "spring-2022"]), first);
    assert_ne!(rain(&["--seed", "8"]), first);
    assert_ne!(rain(&["--seed", "7", "--profile", "steady"]), first);
    let mut types = BTreeSet::new();
    for line in first.lines() {
        let award: serde_json::Value = serde_json::from_str(line).unwrap();
        types.extend(award["reward_type"].as_str().map(str::to_owned));
    }
    for reward_type in ["cash", "cash.video", "coupon.film", "gold"] {
        assert!(types.contains(reward_type), "{types:?}");
    }
}
