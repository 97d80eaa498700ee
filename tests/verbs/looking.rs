//! `wallet`, `trace`, `totals`, `lanes`, `top`, `lag`: the server's answers for people and scripts.

use serde_json::{Value, json};

use crate::node::{Ended, Files, Server, award, run, until, with};

struct Asking {
    files: Files,
    server: Server,
}

impl Asking {
    /// A server with something of everything, and orders that wait in `stuck`.
    fn start() -> Self {
        let files = Files::new();
        let server = Server::start(&files);
        let mut awards = vec![
            with(&award("u1_rain_1_cash_1"), json!({"amount_minor": 1888})),
            with(&award("u1_film_1_coupon_1"), json!({"reward_id": "t7"})),
            with(&award("u1_rain_1_cash_2"), json!({"amount_minor": 0})),
        ];
        awards.extend((0..400).map(|stage| award(&format!("u2_mine_1_gold_{stage}"))));
        assert_eq!(server.api.decide(&json!(awards)).status, 200);
        server.until_credited(&["cash", "coupon"]);
        Self { files, server }
    }

    fn ask(&self, arguments: &[&str]) -> Ended {
        run(&self.files, &[arguments, &["--server", self.server.api.base()]].concat())
    }

    fn text(&self, arguments: &[&str]) -> String {
        let ended = self.ask(arguments).with_code(0);
        assert!(ended.stderr.is_empty(), "{}", ended.stderr);
        ended.stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.ask(&[arguments, &["-o", "json"]].concat()).with_code(0).json()
    }
}

fn has(text: &str, pieces: &[&str]) {
    for piece in pieces {
        assert!(text.contains(piece), "no {piece:?} in\n{text}");
    }
}

fn without_time(mut value: Value) -> Value {
    for field in ["as_of", "lag_ms"] {
        value.as_object_mut().unwrap().remove(field).unwrap();
    }
    value
}

#[test]
fn looking_commands_show_what_the_api_answers() {
    let asking = Asking::start();
    let api = &asking.server.api;
    has(&asking.text(&["wallet", "u1"]), &["CNY 18.88", "COUPON 1", "coupon.film", "t7", "credited"]);
    assert_eq!(without_time(asking.json(&["wallet", "u1"])), without_time(api.get("/v1/wallets/u1").json()));
    has(&asking.text(&["wallet", "nobody"]), &["nobody has no awards"]);
    // Whatever a person is called, it stays one segment of the path.
    has(&asking.text(&["wallet", "../totals?x=1#"]), &["../totals?x=1# has no awards"]);

    has(&asking.text(&["trace", "u1_rain_1_cash_1"]), &["credited", "journal/", "accepted", "started"]);
    let path = "/v1/awards/u1_rain_1_cash_1";
    assert_eq!(asking.json(&["trace", "u1_rain_1_cash_1"]), api.get(path).json());
    has(&asking.text(&["trace", "u1_rain_1_cash_2"]), &["rejected", "amount_not_positive"]);
    for unknown in ["u1_rain_1_cash_3", "nothing"] {
        let ended = asking.ask(&["trace", unknown]).with_code(1);
        assert!(ended.stdout.is_empty() && ended.stderr.contains("unknown_order"), "{}", ended.stderr);
    }

    has(&asking.text(&["totals"]), &["spring", "cash", "CNY 18.88", "COUPON/0"]);
    has(&asking.text(&["totals", "--group-by", "scene_id"]), &["rain", "film", "SCENE_ID"]);
    let totals = asking.json(&["totals", "--group-by", "scene_id,reward_type"]);
    let mut groups: Vec<String> = totals["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {} {}", row["scene_id"], row["reward_type"], row["accepted_minor"]))
        .collect();
    groups.sort();
    assert_eq!(groups, ["\"film\" \"coupon.film\" 1", "\"mine\" \"gold\" 280000", "\"rain\" \"cash\" 1888"]);
    let lines = asking.text(&["totals", "-o", "ndjson", "--group-by", "scene_id"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let scenes: Vec<&str> = lines.iter().map(|row| row["scene_id"].as_str().unwrap()).collect();
    assert_eq!(scenes, ["film", "mine", "rain"]);
    assert!(lines.iter().all(|row| row["as_of"].is_string() && row["asset"].is_string()), "{lines:?}");
}

#[test]
fn lanes_are_watched_and_lag_is_told() {
    let asking = Asking::start();
    has(&asking.text(&["lanes"]), &["LANE", "cash", "coupon", "stuck", "running", "100,000/s", "1/s"]);
    let lanes = asking.json(&["lanes"]);
    let names: Vec<&str> =
        lanes.as_array().unwrap().iter().map(|lane| lane["lane"].as_str().unwrap()).collect();
    assert_eq!(names, ["cash", "coupon", "stuck"]);
    let lines = asking.text(&["lanes", "-o", "ndjson"]);
    assert_eq!(lines.lines().count(), 3);
    for line in lines.lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap()["lane"].is_string(), "{line}");
    }
    // Not a terminal: once, without escapes.
    let top = asking.text(&["top"]);
    has(&top, &["accepted 402", "rejected 1", "LANE", "stuck"]);
    assert!(!top.contains('\u{1b}'), "{top:?}");
    let top = asking.json(&["top"]);
    assert_eq!((&top["counts"]["read"], top["lanes"].as_array().unwrap().len()), (&json!(403), 3));

    has(&asking.text(&["lag"]), &["cash", "stuck", "orders"]);
    asking.ask(&["lag", "--max", "1h"]).with_code(0);
    // Orders behind hundreds of others at one a second grow old.
    let over = until("something is late", || {
        let ended = asking.ask(&["lag", "--max", "10ms", "-o", "json"]);
        assert!([0, 3].contains(&ended.code), "{}", ended.stderr);
        (ended.code == 3).then_some(ended)
    });
    let late = over.json();
    let above: Vec<&Value> =
        late.as_array().unwrap().iter().filter(|lane| lane["above_max"] == true).collect();
    assert_eq!(above.len(), 1, "{late}");
    assert_eq!(above[0]["lane"], "stuck");
    assert!(above[0]["lag_seconds"].as_f64().unwrap() > 0.01 && above[0]["backlog"].as_u64().unwrap() > 0);
}
