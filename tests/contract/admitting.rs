//! Tokens and roles: 401 without, 403 with too little, probes for everybody.

use reqwest::Method;
use serde_json::json;

use crate::node::{CAMPAIGN, Files, Server, TOPOLOGY, award, run};

const ROLES: [&str; 3] = ["producer", "viewer", "operator"];

/// Files whose topology names a tokens file, and a token of each role that it knows.
fn with_tokens() -> (Files, [String; 3]) {
    let files = Files::new();
    let path = files.path("tokens");
    files.write("topology.yaml", format!("{TOPOLOGY}http:\n  tokens_file: {path}\n"));
    let mut known = "# who may do what\n\n".to_owned();
    let secrets = ROLES.map(|role| {
        let made = run(&files, &["token", role, "somebody"]).with_code(0);
        let line = made.stderr.lines().find(|line| line.starts_with(role)).unwrap();
        assert!(!line.contains(made.stdout.trim()), "the file must not hold the token: {line}");
        known.extend([line, " # of a test\n"]);
        made.stdout.trim().to_owned()
    });
    files.write("tokens", known);
    assert!(secrets[0] != secrets[1] && secrets[1] != secrets[2], "{secrets:?}");
    (files, secrets)
}

#[test]
fn roles_decide_what_a_token_may_do() {
    let (files, secrets) = with_tokens();
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
        (Method::HEAD, "/v1/counts", [403, 200, 200], 401),
        (Method::GET, "/v1/counts?x=1", [403, 400, 400], 401),
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
                401 | 403 if method == Method::HEAD => {}
                401 => {
                    assert_eq!(answer.problem(), "unauthenticated");
                    assert_eq!(answer.header("www-authenticate"), "Bearer");
                }
                403 => assert_eq!(answer.problem(), "forbidden"),
                _ => {}
            }
            answer.status
        };
        let found = secrets.each_ref().map(|secret| ask(&server.api.with_token(secret)));
        assert_eq!(found, expected, "{method} {path}");
        assert_eq!(ask(&server.api), without, "{method} {path} without a token");
        let wrong = ask(&server.api.with_token("hb_0000"));
        assert_eq!(wrong, without, "{method} {path} with a token that nobody knows");
    }
    // What was refused had no effect.
    let counts = server.api.with_token(&secrets[1]).get("/v1/counts").json();
    assert_eq!((&counts["read"], &counts["accepted"]), (&json!(3), &json!(1)));
    commands_send_tokens(&files, &server, &secrets);
}

/// 77 without the right token.
fn commands_send_tokens(files: &Files, server: &Server, secrets: &[String; 3]) {
    let [producer, viewer, _] = secrets.each_ref().map(|secret| {
        let path = files.write(&format!("{secret}.token"), format!("{secret}\n"));
        path.display().to_string()
    });
    let calls: [(&[&str], i32); 4] = [
        (&["wallet", "u1"], 77),
        (&["wallet", "u1", "--token-file", &producer], 77),
        (&["wallet", "u1", "--token-file", &viewer], 0),
        (&["trace", "u1_rain_1_cash_1", "--token-file", &producer], 0),
    ];
    for (call, code) in calls {
        let ended = run(files, &[call, &["--server", server.api.base()]].concat());
        assert_eq!(ended.code, code, "{call:?}: {}", ended.stderr);
        let shown =
            secrets.iter().any(|secret| ended.stderr.contains(secret) || ended.stdout.contains(secret));
        assert!(!shown, "a token is shown: {}", ended.stderr);
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
    let (files, _) = with_tokens();
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
