//! `up --demo`, `downstream`, `check`, `bench`: processes of their own.

use reqwest::Method;
use serde_json::{Value, json};

use crate::node::{CAMPAIGN, Call, Client, Files, Process, Server, TOPOLOGY, award, run, until};

#[test]
fn the_demo_rains_by_itself() {
    let files = Files::new();
    let data = files.path("demo");
    let all = [
        "up",
        "--demo",
        "--data-dir",
        &data,
        "--listen",
        "127.0.0.1:0",
        "--rain-rate",
        "4000",
        "--rain-awards",
        "3000",
    ];
    let mut process = Process::start(&Call::new(&files, &all));
    let address = process.until_says("http://", "/v1");
    let server = Server { process, api: Client::new(&format!("http://{address}")) };
    server.until_ready();
    let counts = until("the rain is over", || {
        let counts = server.api.get("/v1/counts").json();
        (counts["read"] == 3000).then_some(counts)
    });
    let sum = ["accepted", "duplicate", "conflict", "rejected", "parked", "undecodable"];
    let sum: u64 = sum.iter().map(|name| counts[name].as_u64().unwrap()).sum();
    assert_eq!(counts["read"], sum);
    let lanes = server.api.get("/v1/lanes").json();
    let names: Vec<&str> =
        lanes.as_array().unwrap().iter().map(|lane| lane["lane"].as_str().unwrap()).collect();
    assert_eq!(names, ["cash", "coupon", "other"]);
    until("cash is credited", || {
        let lanes = server.api.get("/v1/lanes").json();
        (lanes[0]["credited"].as_u64() > Some(0)).then_some(())
    });
    let Server { mut process, .. } = server;
    let first = until("it prints a line", || process.prints().lines().next().map(str::to_owned));
    assert!(first.starts_with("offered ") && !first.starts_with("offered 0/s"), "{first}");
    process.terminate();
    process.ended().with_code(0);
}

fn grant(api: &Client, body: &Value, key: Option<&str>) -> (u16, Value) {
    let mut request = api.request(Method::POST, "/grant").body(body.to_string());
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let answer = api.send(request).unwrap();
    (answer.status, answer.json())
}

/// The wire of `docs/DOWNSTREAM.md`, and a book that survives a kill.
#[test]
fn the_downstream_remembers_what_it_gave() {
    let files = Files::new();
    let book = files.path("book");
    let item = |user: u32, amount: u64| {
        json!({"idempotency_key": format!("n/u{user}_rain_1_cash_1"), "order_no": format!("u{user}_rain_1_cash_1"),
            "act_id": format!("u{user}"), "reward_type": "cash", "reward_id": "", "asset": "CNY/2", "amount_minor": amount})
    };
    let start = || {
        let all = ["downstream", "--listen", "127.0.0.1:0", "--profile", "steady", "--book", &book];
        let mut process = Process::start(&Call::new(&files, &all));
        let address = process.until_says("http://", "");
        (process, Client::new(&format!("http://{address}")))
    };
    let (mut process, api) = start();
    let key = "n/u1_rain_1_cash_1";
    let result = |word: &str| json!({"idempotency_key": key, "result": word});
    assert_eq!(grant(&api, &item(1, 5), Some(key)), (200, result("credited")));
    assert_eq!(grant(&api, &item(1, 5), Some(key)), (200, result("duplicate")));
    let (status, batch) = grant(&api, &json!({"items": [item(1, 5), item(2, 5)]}), None);
    let words: Vec<&str> =
        batch["items"].as_array().unwrap().iter().map(|one| one["result"].as_str().unwrap()).collect();
    assert_eq!((status, words), (200, vec!["duplicate", "credited"]));
    assert_eq!(grant(&api, &item(1, 5), Some("another")).0, 400);
    let query = |api: &Client, key: &str| api.get(&format!("/query?key={key}")).json()["result"].clone();
    assert_eq!(
        (query(&api, "n%2Fu2_rain_1_cash_1"), query(&api, "n%2Fx")),
        (json!("credited"), json!("absent"))
    );
    let counted = |api: &Client| {
        let mut book = api.get("/book").json();
        book.as_object_mut().unwrap().remove("busiest_second").unwrap();
        book
    };
    assert_eq!(counted(&api), json!({"effects": 2, "double_effects": 0, "payload_mismatches": 0}));
    process.kill();
    let (mut process, api) = start();
    assert_eq!(counted(&api)["effects"], 2);
    assert_eq!(grant(&api, &item(1, 5), Some(key)), (200, result("duplicate")));
    assert_eq!(grant(&api, &item(2, 6), Some("n/u2_rain_1_cash_1")).0, 200);
    assert_eq!(counted(&api)["payload_mismatches"], 1);
    process.terminate();
    process.ended().with_code(0);
}

/// Lanes over HTTP, in batches and one by one, give each order once.
#[test]
fn lanes_use_a_downstream_over_http() {
    let outside = Files::new();
    let all = ["downstream", "--listen", "127.0.0.1:0", "--profile", "steady"];
    let mut mall = Process::start(&Call::new(&outside, &all));
    let base = format!("http://{}", mall.until_says("http://", ""));
    let kind = |mode: &str| {
        format!("http: {{url: \"{base}/grant\", query_url: \"{base}/query\", mode: {mode}, key_life: 24h}}")
    };
    let topology = TOPOLOGY
        .replace("simulated: {profile: steady, seed: 7}", &kind("batch"))
        .replace("embedded: {}", &kind("single"));
    let files = Files::with(&topology, CAMPAIGN);
    let server = Server::start(&files);
    let awards =
        (0..40).flat_map(|user| ["rain", "film"].map(|scene| award(&format!("u{user}_{scene}_1_x_1"))));
    let awards: Vec<Value> = awards.collect();
    assert_eq!(server.api.decide(&json!(awards)).json()["counts"]["accepted"], 80);
    server.until_credited(&["cash", "coupon"]);
    let lanes = server.api.get("/v1/lanes").json();
    for lane in [&lanes[0], &lanes[1]] {
        assert_eq!(
            (&lane["credited"], &lane["reported"], &lane["unknown"]),
            (&json!(40), &json!(0), &json!(0))
        );
    }
    server.stop();
    let book = Client::new(&base).get("/book").json();
    assert_eq!((&book["effects"], &book["double_effects"]), (&json!(80), &json!(0)), "{book}");
    assert_eq!(book["payload_mismatches"], 0);
}

#[test]
fn check_audits_a_folder_that_nobody_holds() {
    let files = Files::new();
    let (config, data) = (files.path("topology.yaml"), files.path("data"));
    let check = |data: &str| run(&files, &["check", "--config", &config, "--data-dir", data]);
    check(&data).with_code(1);
    let server = Server::start(&files);
    let awards =
        (0..25).flat_map(|user| ["rain", "film"].map(|scene| award(&format!("u{user}_{scene}_1_x_1"))));
    assert_eq!(server.api.decide(&Value::Array(awards.collect())).status, 200);
    server.until_credited(&["cash", "coupon"]);
    let held = check(&data).with_code(1);
    assert!(held.stderr.contains("held by another process"), "{}", held.stderr);
    server.stop();
    let ended = check(&data).with_code(0);
    for invariant in ["I1 ", "I2 ", "I10", "I15", "I19"] {
        let line = ended.stdout.lines().find(|line| line.starts_with(invariant));
        assert!(line.is_some_and(|line| line.contains("ok")), "{invariant}:\n{}", ended.stdout);
    }
    // A downstream whose book lost what it gave.
    std::fs::remove_file(files.root().join("data/simulated/partner.book")).unwrap();
    let ended = check(&data).with_code(3);
    assert!(ended.stdout.contains("FAIL") && ended.stdout.contains("u0_film_1_x_1"), "{}", ended.stdout);
}

#[test]
fn a_benchmark_prints_one_object() {
    let files = Files::new();
    let bench = run(&files, &["bench", "codec", "--events", "1000000", "-o", "json"]).with_code(0).json();
    assert_eq!((&bench["name"], &bench["events"]), (&json!("codec"), &json!(1_000_000)));
    for field in ["wall_s", "cpu_s", "events_per_s", "cpu_s_per_million", "peak_rss_mb"] {
        assert!(bench[field].as_f64().is_some_and(|value| value > 0.0), "{field}: {bench}");
    }
    for field in ["params", "machine", "commit"] {
        assert!(!bench[field].is_null(), "{field}: {bench}");
    }
    // Of the sources that the binary was built from, not of the folder that it is called in.
    let sources = std::process::Command::new("git")
        .args(["rev-parse", "--quiet", "--verify", "HEAD"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let has_head = sources.is_ok_and(|output| output.status.success());
    let commit = bench["commit"].as_str().unwrap();
    let is_hash = commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert_eq!(is_hash, has_head, "{commit}");
}
