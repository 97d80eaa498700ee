//! Orders, wallets, statements, totals, lanes, counts: what is read is what was decided (W7, W10,
//! W12, W16, I15, I16).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::node::{Client, Files, Server, award, until, with};

/// Orders in front of `stuck`, which credits one a second.
const QUEUE: usize = 400;

/// Sends awards and waits until the views show them all.
fn accept(api: &Client, awards: &[Value]) {
    let answer = api.decide(&json!(awards));
    assert_eq!(answer.json()["counts"]["accepted"], awards.len(), "{}", answer.text());
    for award in awards {
        // 404 would mean that the fold has passed it and not seen it.
        assert_eq!(api.get(&format!("/v1/awards/{}", award["order_no"].as_str().unwrap())).status, 200);
    }
}

fn wallet(api: &Client, act_id: &str) -> Value {
    let answer = api.get(&format!("/v1/wallets/{act_id}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let wallet = answer.json();
    assert_eq!(wallet["act_id"], act_id);
    for row in wallet["balances"].as_array().unwrap() {
        let minor = |field: &str| row[field].as_i64().unwrap();
        let (credited, pending) = (minor("credited_minor"), minor("pending_minor"));
        assert_eq!(minor("income_minor"), credited + pending, "{row}");
        assert_eq!(minor("balance_minor"), minor("income_minor") - minor("withdrawn_minor"), "{row}");
        assert_eq!(minor("available_minor"), credited - minor("withdrawn_minor"), "{row}");
        assert!(minor("available_minor") >= 0 && pending >= 0, "{row}");
        assert_eq!(minor("written_off_minor"), 0, "{row}");
    }
    wallet
}

/// Credited and pending by asset.
fn sums(wallet: &Value) -> BTreeMap<String, (i64, i64)> {
    let rows = wallet["balances"].as_array().unwrap().iter();
    let minor = |row: &Value, field: &str| row[field].as_i64().unwrap();
    rows.map(|row| {
        let asset = row["asset"].as_str().unwrap().to_owned();
        (asset, (minor(row, "credited_minor"), minor(row, "pending_minor")))
    })
    .collect()
}

/// Fills `stuck` so that whatever comes behind stays pending.
fn queue_up(api: &Client) {
    let awards: Vec<Value> = (0..QUEUE).map(|stage| award(&format!("q_mine_1_gold_{stage}"))).collect();
    accept(api, &awards);
}

#[test]
fn wallets_show_what_was_accepted_at_once_and_credits_when_they_come() {
    let files = Files::new();
    let server = Server::start(&files);
    let api = &server.api;
    let empty = wallet(api, "nobody");
    assert_eq!((&empty["balances"], &empty["items"]), (&json!([]), &json!([])), "{empty}");
    assert!(empty["items_next_cursor"].is_null() && empty["lag_ms"].is_u64(), "{empty}");
    assert!(empty["as_of"].as_str().unwrap().ends_with('Z'), "{empty}");

    queue_up(api);
    accept(
        api,
        &[
            award("q_rain_1_cash_1"),
            with(&award("q_rain_1_cash_2"), json!({"amount_minor": 1})),
            award("q_video_1_cash_1"),
            with(&award("q_film_1_coupon_1"), json!({"reward_id": "t7", "amount_minor": 2})),
        ],
    );
    // Shown at once, credited or not.
    let early = sums(&wallet(api, "q"));
    let income: Vec<i64> = early.values().map(|(credited, pending)| credited + pending).collect();
    assert_eq!(early.keys().map(String::as_str).collect::<Vec<_>>(), ["CNY/2", "COUPON/0", "GOLD/2"]);
    assert_eq!(income, [151, 2, 700 * QUEUE as i64]);
    server.until_credited(&["cash", "coupon"]);
    let late = wallet(api, "q");
    assert_eq!(sums(&late)["CNY/2"], (151, 0));
    assert_eq!(sums(&late)["COUPON/0"], (2, 0));
    assert!(sums(&late)["GOLD/2"].1 > 0, "{late}");
    let item = json!({"order_no": "q_film_1_coupon_1", "reward_type": "coupon.film", "reward_id": "t7",
        "amount_minor": 2, "state": "credited"});
    assert_eq!(late["items"], json!([item]));
    assert_eq!(wallet(api, "nobody")["balances"], json!([]));
    server.stop();
}

#[test]
fn items_and_statements_come_in_pages_newest_first() {
    let files = Files::new();
    let server = Server::start(&files);
    let api = &server.api;
    let orders: Vec<String> = (0..450).map(|stage| format!("u_film_1_coupon_{stage}")).collect();
    let awards: Vec<Value> = orders.iter().map(|order_no| award(order_no)).collect();
    accept(api, &awards);
    let newest_first: Vec<&String> = orders.iter().rev().collect();

    let mut items = Vec::new();
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("/v1/wallets/u?items_cursor={cursor}").replace("?items_cursor=&", "?"));
        let page = if cursor.is_empty() { api.get("/v1/wallets/u") } else { page }.json();
        let found = page["items"].as_array().unwrap();
        pages.push(found.len());
        items.extend(found.iter().map(|item| item["order_no"].as_str().unwrap().to_owned()));
        match page["items_next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(pages, [200, 200, 50]);
    assert_eq!(items.iter().collect::<Vec<_>>(), newest_first);

    for (limit, pages) in [(7, 65), (450, 1), (449, 2), (1000, 1)] {
        let mut entries = Vec::new();
        let mut path = format!("/v1/wallets/u/entries?limit={limit}");
        for page_number in 1..=pages {
            let page = api.get(&path).json();
            let data = page["data"].as_array().unwrap();
            assert!(data.len() == limit.min(450 - entries.len()), "{limit}: {} entries", data.len());
            entries.extend(data.iter().map(|entry| entry["order_no"].as_str().unwrap().to_owned()));
            assert_eq!(page["has_more"], page_number < pages, "{limit}, page {page_number}");
            assert_eq!(page["next_cursor"].is_string(), page_number < pages, "{limit}, page {page_number}");
            let next = page["next_cursor"].as_str().unwrap_or_default();
            path = format!("/v1/wallets/u/entries?limit={limit}&cursor={next}");
        }
        assert_eq!(entries.iter().collect::<Vec<_>>(), newest_first, "{limit}");
    }
    assert_eq!(api.get("/v1/wallets/u/entries").json()["data"].as_array().unwrap().len(), 50);
    let nobody = json!({"data": [], "has_more": false, "next_cursor": null});
    assert_eq!(api.get("/v1/wallets/nobody/entries").json(), nobody);
    server.stop();
}

#[test]
fn entries_say_what_a_bill_says() {
    let files = Files::new();
    let server = Server::start(&files);
    let first = award("u_rain_1_cash_1");
    let second = with(&award("u_film_1_coupon_1"), json!({"event_time": "2027-02-05T12:00:00Z"}));
    accept(&server.api, &[first, second]);
    server.until_credited(&["cash", "coupon"]);
    let entries = server.api.get("/v1/wallets/u/entries").json();
    let mut entries = entries["data"].as_array().unwrap().clone();
    let mut ids = BTreeSet::new();
    for entry in &mut entries {
        assert!(ids.insert(entry["entry_id"].take().as_str().unwrap().to_owned()), "{entry}");
    }
    let expected = json!([
        {"entry_id": null, "kind": "award", "order_no": "u_film_1_coupon_1", "reward_type": "coupon.film",
         "asset": "COUPON/0", "amount_minor": 1, "at": "2027-02-05T12:00:00.000Z", "state": "credited",
         "text": "Film ticket"},
        {"entry_id": null, "kind": "award", "order_no": "u_rain_1_cash_1", "reward_type": "cash",
         "asset": "CNY/2", "amount_minor": 100, "at": "2027-02-05T12:00:00.123Z", "state": "credited",
         "text": "新年红包雨"},
    ]);
    assert_eq!(json!(entries), expected);
    server.stop();
}

#[test]
fn orders_tell_their_story() {
    let files = Files::new();
    let server = Server::start(&files);
    let api = &server.api;
    let first = award("u_rain_1_cash_1");
    accept(api, std::slice::from_ref(&first));
    api.decide(&with(&first, json!({"amount_minor": 3})));
    api.decide(&with(&award("u_rain_1_cash_2"), json!({"amount_minor": 0})));
    api.decide(&with(&award("u_rain_1_cash_3"), json!({"order_no": "a b"})));
    let order = |order_no: &str| api.get(&format!("/v1/awards/{order_no}"));
    let credited = until("it is credited and its conflict shown", || {
        let order = order("u_rain_1_cash_1").json();
        let stages = order["timeline"].as_array().unwrap().len();
        (order["state"] == "credited" && stages == 4).then_some(order)
    });
    assert_eq!(credited["act_id"], "u");
    assert_eq!((&credited["reward_type"], &credited["amount_minor"]), (&json!("cash"), &json!(100)));
    let timeline = credited["timeline"].as_array().unwrap();
    let stages: BTreeSet<&str> = timeline.iter().map(|step| step["stage"].as_str().unwrap()).collect();
    assert_eq!(stages.into_iter().collect::<Vec<_>>(), ["accepted", "conflict", "credited", "started"]);
    assert_eq!(timeline[0]["stage"], "accepted", "{credited}");
    for step in timeline {
        assert!(step["position"].as_str().unwrap().starts_with("journal/"), "{step}");
        assert!(step["at"].as_str().unwrap().ends_with('Z') && step["detail"].is_string(), "{step}");
    }
    for (order_no, code) in [("u_rain_1_cash_2", "amount_not_positive"), ("a%20b", "malformed_order_no")] {
        let answer = order(order_no);
        let refused = answer.json();
        assert_eq!((answer.status, &refused["state"]), (200, &json!("rejected")), "{order_no}");
        let step = &refused["timeline"][0];
        assert_eq!(step["stage"], "rejected", "{refused}");
        assert!(step["detail"].as_str().unwrap().contains(code), "{refused}");
    }
    for unknown in ["u_rain_1_cash_9", "nobody_rain_1_cash_1", "nothing", "%25"] {
        let answer = order(unknown);
        assert_eq!((answer.status, answer.problem()), (404, "unknown_order".to_owned()), "{unknown}");
    }
    server.stop();
}

/// Awards of three scenes, some sent twice, some wrong; and their sums by scene.
fn spread(api: &Client) -> BTreeMap<&'static str, (u64, i64)> {
    let mut awards = Vec::new();
    let mut sums = BTreeMap::from([("film", (0, 0)), ("mine", (0, 0)), ("rain", (0, 0)), ("video", (0, 0))]);
    for (scene, count) in [("rain", 30), ("video", 20), ("film", 10), ("mine", QUEUE)] {
        for number in 0..count {
            let award = award(&format!("u{number}_{scene}_1_x_1"));
            let sum = sums.get_mut(scene).unwrap();
            *sum = (sum.0 + 1, sum.1 + award["amount_minor"].as_i64().unwrap());
            awards.push(award);
        }
    }
    accept(api, &awards);
    let again = [&awards[..5], &[with(&awards[5], json!({"amount_minor": -1}))]].concat();
    assert_eq!(api.decide(&json!(again)).status, 200);
    sums
}

#[test]
fn totals_are_grouped_and_add_up() {
    let files = Files::new();
    let server = Server::start(&files);
    let sums = spread(&server.api);
    server.until_credited(&["cash", "coupon"]);
    let rows = |group_by: &str| {
        let totals = server.api.get(&format!("/v1/totals{group_by}")).json();
        assert!(totals["as_of"].as_str().unwrap().ends_with('Z'), "{totals}");
        totals["rows"].as_array().unwrap().clone()
    };
    let by_scene = rows("?group_by=scene_id");
    for row in &by_scene {
        let (count, minor) = sums[row["scene_id"].as_str().unwrap()];
        assert_eq!((&row["accepted_count"], &row["accepted_minor"]), (&json!(count), &json!(minor)), "{row}");
        let open = row["scene_id"] == "mine";
        assert_eq!(row["credited_count"] != json!(count), open, "{row}");
        assert_eq!(row["credited_minor"] != json!(minor), open, "{row}");
    }
    assert_eq!(by_scene.len(), 4);
    // Whatever it is split by, the rows have the asset and the sums stay.
    let all: u64 = sums.values().map(|(count, _)| count).sum();
    let cases = [
        ("", vec!["asset"], 3),
        ("?group_by=", vec!["asset"], 3),
        ("?group_by=activity_id", vec!["activity_id", "asset"], 3),
        ("?group_by=reward_type", vec!["asset", "reward_type"], 4),
        ("?group_by=reward_type,scene_id", vec!["asset", "reward_type", "scene_id"], 4),
        (
            "?group_by=activity_id,scene_id,reward_type",
            vec!["activity_id", "asset", "reward_type", "scene_id"],
            4,
        ),
    ];
    for (group_by, columns, groups) in cases {
        let rows = rows(group_by);
        assert_eq!(rows.len(), groups, "{group_by}");
        let figures = ["accepted_count", "accepted_minor", "credited_count", "credited_minor"];
        let mut fields: Vec<&str> = figures.into_iter().chain(columns).collect();
        fields.sort_unstable();
        for row in &rows {
            let found: Vec<&String> = row.as_object().unwrap().keys().collect();
            assert_eq!(found, fields, "{group_by}");
        }
        let count: u64 = rows.iter().map(|row| row["accepted_count"].as_u64().unwrap()).sum();
        assert_eq!(count, all, "{group_by}");
    }
    server.stop();
}

#[test]
fn lanes_and_counts_are_folds() {
    let files = Files::new();
    let server = Server::start(&files);
    let sums = spread(&server.api);
    server.until_credited(&["cash", "coupon"]);
    let lanes = server.api.get("/v1/lanes").json();
    let mut lanes = lanes.as_array().unwrap().clone();
    let stuck = lanes.pop().unwrap();
    let number = |field: &str| stuck[field].as_u64().unwrap();
    assert_eq!(number("credited") + number("backlog"), QUEUE as u64, "{stuck}");
    assert!(number("backlog") > 0 && stuck["lag_seconds"].as_f64().unwrap() >= 0.0, "{stuck}");
    assert_eq!((&stuck["lane"], &stuck["pool"]), (&json!("stuck"), &json!(null)));
    let lane = |lane: &str, types: Value, rank: u32, credited: u64| {
        json!({"lane": lane, "reward_types": types, "pool": "payment", "rank": rank, "state": "running",
            "limit_per_second": 100_000, "sent": credited, "credited": credited, "refused": 0, "reported": 0,
            "unknown": 0, "backlog": 0, "lag_seconds": 0.0})
    };
    let (cash, film) = (sums["rain"].0 + sums["video"].0, sums["film"].0);
    let expected = [
        lane("cash", json!(["cash", "cash.video"]), 1, cash),
        lane("coupon", json!(["coupon.film"]), 2, film),
    ];
    assert_eq!(lanes, expected);

    let accepted: u64 = sums.values().map(|(count, _)| count).sum();
    let counts = json!({"read": accepted + 6, "accepted": accepted, "duplicate": 5, "conflict": 0, "rejected": 1,
        "parked": 0, "undecodable": 0});
    assert_eq!(server.api.get("/v1/counts").json(), counts);
    let reconcile = server.api.get("/v1/reconcile").json();
    let accepted_of = |lane: &str| {
        let rows = reconcile.as_array().unwrap().iter();
        rows.filter(|row| row["lane"] == lane).map(|row| row["accepted_count"].as_u64().unwrap()).sum::<u64>()
    };
    // The film's scene is not reconciled.
    let found = ["cash", "coupon", "stuck"].map(accepted_of);
    assert_eq!(found, [cash, 0, QUEUE as u64], "{reconcile}");
    server.stop();
}

/// A mistyped parameter is not one that was left out, whatever the path.
#[test]
fn unknown_parameters_are_refused_everywhere() {
    let files = Files::new();
    let server = Server::start(&files);
    let none = "no query parameters";
    let cases = [
        ("/v1/awards/u_rain_1_cash_1?verbose=1", "unknown_parameter", none),
        ("/v1/wallets/u?item_cursor=1", "unknown_parameter", "`items_cursor`"),
        ("/v1/wallets/u/entries?limits=1", "unknown_parameter", "`limit`"),
        ("/v1/wallets/u/entries?limit=1&limit=2", "repeated_parameter", "second time"),
        ("/v1/totals?groupby=scene_id", "unknown_parameter", "`group_by`"),
        ("/v1/totals?xyz", "unknown_parameter", "group_by"),
        ("/v1/lanes?lane=cash", "unknown_parameter", none),
        ("/v1/counts?x=", "unknown_parameter", none),
        ("/v1/reconcile?lane=cash", "unknown_parameter", none),
        ("/v1/topics/awards/records?form=start", "unknown_parameter", "`from`"),
        ("/v1/openapi.json?x", "unknown_parameter", none),
    ];
    for (path, code, says) in cases {
        let answer = server.api.get(path);
        assert_eq!((answer.status, answer.problem()), (400, code.to_owned()), "{path}: {}", answer.text());
        let body = answer.json();
        let (pointer, fault) = answer.faults().remove(0);
        assert!(pointer.len() > 1 && fault == code, "{body}");
        for text in [&body["detail"], &body["errors"][0]["message"]] {
            assert!(text.as_str().unwrap().contains(says), "{path}: {text}");
        }
    }
    let request = server.api.request(reqwest::Method::POST, "/v1/awards?wait=2");
    let request =
        request.header("content-type", "application/json").body(award("u_rain_1_cash_1").to_string());
    assert_eq!(server.api.send(request).unwrap().status, 400);
    assert_eq!(server.api.get("/v1/counts").json()["read"], 0);
    for path in ["/v1/lanes?", "/livez?x=1", "/readyz?verbose", "/metrics?x"] {
        assert_eq!(server.api.get(path).status, 200, "{path}");
    }
    server.stop();
}

#[test]
fn bad_questions_are_refused() {
    let files = Files::new();
    let server = Server::start(&files);
    accept(&server.api, &[award("u_film_1_coupon_1")]);
    let cases = [
        ("/v1/wallets/u?items_cursor=zz", "bad_cursor"),
        ("/v1/wallets/u/entries?cursor=zz", "bad_cursor"),
        ("/v1/wallets/u?limit=1", "unknown_parameter"),
        ("/v1/wallets/u/entries?limit=0", "bad_limit"),
        ("/v1/wallets/u/entries?limit=1001", "bad_limit"),
        ("/v1/wallets/u/entries?limit=all", "bad_limit"),
        ("/v1/wallets/u/entries?offset=1", "unknown_parameter"),
        ("/v1/totals?group_by=person", "bad_group_by"),
        ("/v1/totals?group_by=scene_id,%20reward_type", "bad_group_by"),
        ("/v1/totals?by=scene_id", "unknown_parameter"),
        ("/v1/topics/awards/records?partition=2", "bad_parameter"),
        ("/v1/topics/awards/records?limit=0", "bad_parameter"),
        ("/v1/topics/awards/records?from=yesterday", "bad_parameter"),
        ("/v1/topics/awards/records?to=2027-02-05T20:00:00", "bad_parameter"),
        ("/v1/wallets/%FF", "bad_path"),
        ("/v1/wallets/%FF/entries", "bad_path"),
        ("/v1/awards/%FF", "bad_path"),
        ("/v1/topics/%FF/records", "bad_path"),
    ];
    for (path, code) in cases {
        let answer = server.api.get(path);
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert_eq!(answer.problem(), code, "{path}");
    }
    server.stop();
}
