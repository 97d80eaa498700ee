//! Tokens and roles: 401 without, 403 with too little, probes for everybody.

use reqwest::Method;
use serde_json::json;

use crate::node::{CAMPAIGN, Files, Server, TOPOLOGY, award, run};

const ROLES: [&str; 3] = ["producer", "viewer", "operator"];

/// Files whose topology names a tokens file with one token a role, `ROLE-secret`.
fn with_tokens() -> Files {
    let files = Files::new();
    let path = files.path("tokens");
    files.write("topology.yaml", format!("{TOPOLOGY}http:\n  tokens_file: {path}\n"));
    let line = |role: &str| format!("{role} {} {role}-1\n", blake3::hash(secret(role).as_bytes()).to_hex());
    files.write("tokens", ROLES.map(line).concat());
    files
}

fn secret(role: &str) -> String {
    format!("{role}-secret")
}

#[test]
fn roles_decide_what_a_token_may_do() {
    let files = with_tokens();
    let server = Server::start(&files);
    let body = award("u1_rain_1_cash_1").to_string();
    // What a producer may do, then what takes a viewer; what takes nobody is asked without a token.
    let cases = [
        (Method::POST, "/v1/awards", [200, 200, 200], 401),
        (Method::GET, "/v1/awards/u1_rain_1_cash_1", [200, 200, 200], 401),
        (Method::GET, "/v1/wallets/u1", [403, 200, 200], 401),
        (Method::GET, "/v1/wallets/u1/entries", [403, 200, 200], 401),
        (Method::GET, "/v1/totals", [403, 200, 200], 401),
        (Method::GET, "/v1/lanes", [403, 200, 200], 401),
        (Method::GET, "/v1/counts", [403, 200, 200], 401),
        (Method::GET, "/v1/reconcile", [403, 200, 200], 401),
        (Method::GET, "/v1/topics/journal/records", [403, 200, 200], 401),
        (Method::GET, "/metrics", [403, 200, 200], 401),
        (Method::GET, "/v1/nothing", [403, 404, 404], 401),
        (Method::POST, "/v1/counts", [403, 403, 405], 401),
        (Method::GET, "/livez", [200, 200, 200], 200),
        (Method::GET, "/readyz", [200, 200, 200], 200),
        (Method::GET, "/v1/openapi.json", [200, 200, 200], 200),
    ];
    for (method, path, expected, without) in cases {
        let ask = |api: &crate::node::Client| {
            let request = api.request(method.clone(), path).header("prefer", "wait=20");
            let request = request.header("content-type", "application/json").body(body.clone());
            let answer = api.send(request).unwrap();
            match answer.status {
                401 => assert_eq!(answer.problem(), "unauthenticated"),
                403 => assert_eq!(answer.problem(), "forbidden"),
                _ => {}
            }
            answer.status
        };
        let found = ROLES.map(|role| ask(&server.api.with_token(&secret(role))));
        assert_eq!(found, expected, "{method} {path}");
        assert_eq!(ask(&server.api), without, "{method} {path} without a token");
        let wrong = ask(&server.api.with_token("viewer-secret-2"));
        assert_eq!(wrong, without, "{method} {path} with a token that nobody knows");
    }
    // What was refused had no effect.
    let counts = server.api.with_token(&secret("viewer")).get("/v1/counts").json();
    assert_eq!((&counts["read"], &counts["accepted"]), (&json!(3), &json!(1)));
    commands_send_tokens(&files, &server);
}

/// 77 without the right token.
fn commands_send_tokens(files: &Files, server: &Server) {
    let token = |role: &str| files.write(&format!("{role}.token"), secret(role) + "\n").display().to_string();
    for (arguments, code) in [
        (vec!["wallet".to_owned(), "u1".to_owned()], 77),
        (vec!["wallet".to_owned(), "u1".to_owned(), "--token-file".to_owned(), token("producer")], 77),
        (vec!["wallet".to_owned(), "u1".to_owned(), "--token-file".to_owned(), token("viewer")], 0),
        (
            vec![
                "trace".to_owned(),
                "u1_rain_1_cash_1".to_owned(),
                "--token-file".to_owned(),
                token("producer"),
            ],
            0,
        ),
    ] {
        let mut all: Vec<&str> = arguments.iter().map(String::as_str).collect();
        all.extend(["--server", server.api.base()]);
        let ended = run(files, &all);
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("secret"), "a token is shown: {}", ended.stderr);
    }
}

#[test]
fn beyond_loopback_tokens_must_be_configured() {
    let files = Files::new();
    let (config, data) = (files.path("topology.yaml"), files.path("data"));
    let up = |listen: &str| {
        run(&files, &["up", "--config", &config, "--data-dir", &data, "--listen", listen]).with_code(78)
    };
    for listen in ["0.0.0.0:0", "[::]:0", "203.0.113.7:80"] {
        let ended = up(listen);
        assert!(ended.stderr.contains("tokens_file"), "{listen}: {}", ended.stderr);
        // Before it listens, and before it touches the data.
        assert!(!ended.stderr.contains("/v1") && !files.root().join("data").exists(), "{}", ended.stderr);
    }
    // The same in the file is found by validation already.
    files.write("topology.yaml", format!("{TOPOLOGY}http:\n  listen: 0.0.0.0:8080\n"));
    let ended = run(&files, &["validate", "--config", &config]).with_code(78);
    assert!(ended.stderr.contains("E0141"), "{}", ended.stderr);
}

#[test]
fn bad_token_files_are_refused() {
    let files = with_tokens();
    let (config, data) = (files.path("topology.yaml"), files.path("data"));
    let up = || run(&files, &["up", "--config", &config, "--data-dir", &data, "--listen", "127.0.0.1:0"]);
    for (content, says) in [("", "no token"), ("viewer abc\n", "line 1"), ("root 00\n", "line 1")] {
        files.write("tokens", content);
        let ended = up().with_code(78);
        assert!(ended.stderr.contains(says), "{content:?}: {}", ended.stderr);
    }
    std::fs::remove_file(files.root().join("tokens")).unwrap();
    assert!(up().with_code(78).stderr.contains("tokens"));
    assert!(!files.root().join("data").exists());
    // Without tokens in the topology, loopback needs none.
    files.write("topology.yaml", TOPOLOGY);
    files.write("campaigns/spring.yaml", CAMPAIGN);
    assert_eq!(Server::start(&files).api.get("/v1/counts").status, 200);
}
