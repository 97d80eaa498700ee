//! What all commands share: help, usage errors, variables, a server that is not there.

use std::collections::BTreeSet;
use std::net::TcpListener;

use crate::node::{Call, Files, Server, award, run};

/// Every verb with arguments that parse; those that ask a server.
const ASKING: [&[&str]; 8] = [
    &["wallet", "u1"],
    &["trace", "u1_rain_1_cash_1"],
    &["totals"],
    &["lanes"],
    &["top"],
    &["lag"],
    &["tap", "awards", "--from", "start"],
    &["rain", "--awards", "10"],
];

const OTHERS: [&str; 9] =
    ["up", "validate", "graph", "config", "produce", "downstream", "token", "check", "bench"];

#[test]
fn every_command_explains_itself() {
    let files = Files::new();
    let all = run(&files, &["--help"]).with_code(0).stdout;
    let listed: BTreeSet<&str> = all
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    let known: BTreeSet<&str> = ASKING.iter().map(|call| call[0]).chain(OTHERS).collect();
    assert_eq!(listed, known);
    for name in known {
        let ended = run(&files, &[name, "--help"]).with_code(0);
        let about = ended.stdout.lines().next().unwrap();
        assert!(about.len() > 15 && ended.stdout.contains("Usage: hongbao"), "{name}:\n{}", ended.stdout);
        assert!(ended.stdout.contains("Exit codes: 0 ok"), "{name} names no exit codes:\n{}", ended.stdout);
        assert!(ended.stderr.is_empty(), "{name}: {}", ended.stderr);
    }
    let version = run(&files, &["--version"]).with_code(0).stdout;
    assert_eq!(version.trim(), format!("hongbao {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_2() {
    let files = Files::new();
    let calls: [&[&str]; 28] = [
        &[],
        &["nonsense"],
        &["--nonsense"],
        &["wallet"],
        &["wallet", "u1", "u2"],
        &["trace"],
        &["tap"],
        &["tap", "awards", "--where", "act_id"],
        &["tap", "awards", "--partition", "many"],
        &["lag", "--max", "soon"],
        &["top", "--interval", "0"],
        &["lanes", "-o", "xml"],
        &["rain", "--rate", "0"],
        &["rain", "--profile", "drizzle"],
        &["produce", "--batch", "0"],
        &["produce", "--batch", "10001"],
        &["bench", "nothing"],
        &["graph", "--format", "png"],
        &["downstream", "--profile", "nobody"],
        &["up", "--seed", "3"],
        &["token"],
        &["token", "king"],
        &["wallet", ""],
        &["trace", ""],
        &["tap", "", "--from", "start"],
        &["totals", "--group-by", "person"],
        &["totals", "--group-by", "activity_id,"],
        &["downstream", "--listen", "here"],
    ];
    for call in calls {
        let ended = run(&files, call);
        assert_eq!(ended.code, 2, "{call:?}: {}", ended.stderr);
        assert!(!ended.stderr.is_empty() && ended.stdout.is_empty(), "{call:?}: {}", ended.stdout);
    }
}

#[test]
fn a_server_is_named_by_a_url_without_secrets() {
    let files = Files::new();
    for server in [
        "not a url",
        "127.0.0.1:8080",
        "",
        "ftp://127.0.0.1",
        "http://",
        "http://127.0.0.1:8080?x=1",
        "http://me:hunter2@127.0.0.1:8080",
        "ftp://me:hunter2@127.0.0.1",
        "me:hunter2@127.0.0.1",
    ] {
        for call in ASKING.into_iter().filter(|call| call[0] != "rain").chain([&["produce"][..]]) {
            let ended = run(&files, &[call, &["--server", server]].concat());
            assert_eq!(ended.code, 2, "{server:?} {call:?}: {}", ended.stderr);
            let says = ended.stderr.contains("--server") && ended.stderr.contains("http://127.0.0.1:8080");
            assert!(says && !ended.stderr.contains("hunter2"), "{server:?}: {}", ended.stderr);
        }
    }
    // Whoever asks no server needs none.
    run(&files, &["validate", "--server", "not a url"]).with_code(0);
}

#[test]
fn a_server_that_is_not_there_is_69() {
    let files = Files::new();
    let award = files.write("award.ndjson", award("u1_rain_1_cash_1").to_string());
    let award = award.display().to_string();
    // A port that is taken and not listened on by anybody.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = format!("http://{address}");
    let produce: &[&str] = &["produce", "--file", &award];
    for call in ASKING.into_iter().chain([produce]) {
        let ended = run(&files, &[call, &["--server", &server]].concat());
        assert_eq!(ended.code, 69, "{call:?}: {}", ended.stderr);
        // What was not sent is counted.
        let is_silent = ended.stdout.is_empty() || call[0] == "produce";
        assert!(ended.stderr.contains(&server) && is_silent, "{call:?}: {}", ended.stderr);
    }
}

/// Variables stand for options; options come first.
#[test]
fn variables_stand_for_options() {
    let files = Files::new();
    let config = files.write("elsewhere/topology.yaml", crate::node::TOPOLOGY).display().to_string();
    files.write("elsewhere/campaigns/spring.yaml", crate::node::CAMPAIGN);
    files.write("topology.yaml", "version: 1\n");
    let call = |arguments: &[&str], variables: &[(&str, &str)]| {
        Call { variables, ..Call::new(&files, arguments) }.run()
    };
    call(&["validate"], &[]).with_code(78);
    call(&["validate"], &[("HONGBAO_CONFIG", &config)]).with_code(0);
    call(&["validate", "-c", "topology.yaml"], &[("HONGBAO_CONFIG", &config)]).with_code(78);

    let files = Files::new();
    let server = Server::start(&files);
    let call = |arguments: &[&str], variables: &[(&str, &str)]| {
        Call { variables, ..Call::new(&files, arguments) }.run()
    };
    let here = ("HONGBAO_SERVER", server.api.base());
    call(&["lanes"], &[here]).with_code(0);
    call(&["lanes", "--server", "http://127.0.0.1:9"], &[here]).with_code(69);
    call(&["check"], &[("HONGBAO_DATA_DIR", &files.path("data"))]).with_code(1);
}
