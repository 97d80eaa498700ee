//! `tap`: records of every topic, from a place to a place, filtered.

use serde_json::{Value, json};

use crate::node::{Call, Files, Process, Server, award, run, until, with};

struct Taps {
    files: Files,
    server: Server,
}

impl Taps {
    fn tap(&self, arguments: &[&str]) -> Vec<Value> {
        let all = [&["tap", "--server", self.server.api.base()], arguments].concat();
        let ended = run(&self.files, &all).with_code(0);
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn order_nos(records: &[Value]) -> Vec<&str> {
    records.iter().filter_map(|record| record["record"]["order_no"].as_str()).collect()
}

#[test]
fn topics_are_shown_decoded() {
    let files = Files::new();
    let server = Server::start(&files);
    let taps = Taps { files, server };
    let awards: Vec<Value> = (0..20).map(|stage| award(&format!("u1_rain_1_cash_{stage}"))).collect();
    let refused = with(&award("u1_rain_1_cash_x"), json!({"amount_minor": 0}));
    let answer = taps.server.api.decide(&json!([&awards[..], &[refused]].concat())).json();
    taps.server.until_credited(&["cash"]);
    let position = answer["items"][0]["position"].as_str().unwrap();
    let (partition, first) = position.strip_prefix("awards/").unwrap().split_once('@').unwrap();
    let first: u64 = first.parse().unwrap();

    // All partitions, with what surrounds each record.
    let all = taps.tap(&["awards", "--from", "start"]);
    assert_eq!(order_nos(&all).len(), 21);
    let shown = all.iter().find(|record| record["record"]["order_no"] == "u1_rain_1_cash_0").unwrap();
    assert_eq!(shown["topic"], "awards");
    assert_eq!((shown["partition"].to_string(), &shown["offset"]), (partition.to_owned(), &json!(first)));
    assert_eq!(shown["record"]["amount_minor"], 100);
    assert!(all.iter().any(|record| record["record"]["record_kind"] == "control"));

    let offset = |number: u64| format!("offset:{}", first + number);
    let cases: [(&[&str], Vec<usize>); 6] = [
        (&["--from", &offset(3), "--to", &offset(6)], vec![3, 4, 5]),
        (&["--from", &offset(0), "--limit", "2"], vec![0, 1]),
        (&["--to", &offset(1)], vec![0]),
        (&["--from", "start", "--where", "order_no=u1_rain_1_cash_7"], vec![7]),
        (&["--from", "start", "--where", "act_id=u1", "--where", &format!("offset={}", first + 9)], vec![9]),
        (&["--from", "start", "--where", "act_id=u2"], vec![]),
    ];
    for (arguments, expected) in cases {
        let found = taps.tap(&[&["awards", "--partition", partition], arguments].concat());
        let expected: Vec<String> =
            expected.into_iter().map(|stage| format!("u1_rain_1_cash_{stage}")).collect();
        assert_eq!(order_nos(&found), expected, "{arguments:?}");
    }
    let other = if partition == "0" { "1" } else { "0" };
    assert!(order_nos(&taps.tap(&["awards", "--partition", other, "--from", "start"])).is_empty());
    topics_of_the_outcome(&taps);
    times(&taps);
    fields(&taps);
}

/// A field that no record has is told, with those that there are.
fn fields(taps: &Taps) {
    let cases: [(&[&str], Option<&str>); 4] = [
        (&["awards", "--where", "order=1"], Some("no record had a field `order`; the fields were: ")),
        (&["awards", "--where", "act_id=nobody"], None),
        (&["awards", "--where", "offset=0"], None),
        (&["dlq.intake", "--where", "order=1"], None),
    ];
    for (arguments, hint) in cases {
        let all = [&["tap", "--from", "start", "--server", taps.server.api.base()], arguments].concat();
        let ended = run(&taps.files, &all).with_code(0);
        match hint {
            Some(hint) => {
                assert!(
                    ended.stderr.contains(hint) && ended.stderr.contains("order_no, "),
                    "{}",
                    ended.stderr
                );
            }
            None => assert!(!ended.stderr.contains("no record had"), "{arguments:?}: {}", ended.stderr),
        }
    }
}

fn topics_of_the_outcome(taps: &Taps) {
    let orders = taps.tap(&["orders.cash", "--from", "start"]);
    assert_eq!(order_nos(&orders).len(), 20);
    assert_eq!((&orders[0]["source"], &orders[0]["record"]["asset"]), (&json!("intake"), &json!("CNY/2")));
    for (kind, count) in [("accepted", 20), ("rejected", 1), ("settings_changed", 2)] {
        let facts = taps.tap(&["journal", "--from", "start", "--where", &format!("record_kind={kind}")]);
        assert_eq!(facts.len(), count, "{kind}");
    }
    let credited =
        taps.tap(&["journal", "--from", "start", "--where", "source=sink.cash", "--where", "stage=credited"]);
    let counts = credited.iter().flat_map(|fact| fact["record"]["ranges"].as_array().unwrap());
    assert_eq!(counts.map(|range| range["count"].as_u64().unwrap()).sum::<u64>(), 20, "{credited:?}");
    assert!(taps.tap(&["dlq.intake", "--from", "start"]).is_empty());
    for unknown in ["no-such-topic", "orders", "orders.none"] {
        let all = ["tap", unknown, "--from", "start", "--server", taps.server.api.base()];
        let ended = run(&taps.files, &all).with_code(1);
        let says = ended.stderr.contains("unknown_topic") && ended.stderr.contains(&format!("`{unknown}`"));
        assert!(says, "{unknown}: {}", ended.stderr);
    }
}

fn times(taps: &Taps) {
    for (from, count) in
        [("-15m", 21), ("2020-01-01T00:00:00Z", 21), ("2120-01-01T00:00:00+08:00", 0), ("end", 0)]
    {
        assert_eq!(order_nos(&taps.tap(&["awards", "--from", from])).len(), count, "{from}");
    }
    for wrong in ["yesterday", "offset:x", "2027-02-05T20:00:00"] {
        let all = ["tap", "awards", "--from", wrong, "--server", taps.server.api.base()];
        let ended = run(&taps.files, &all).with_code(1);
        assert!(ended.stderr.contains("bad_parameter"), "{wrong}: {}", ended.stderr);
    }
}

/// As in `hongbao tap awards | head -1`.
#[test]
fn a_tap_ends_when_nobody_reads_it_any_more() {
    let files = Files::new();
    let server = Server::start(&files);
    let mut tap = std::process::Command::new(env!("CARGO_BIN_EXE_hongbao"))
        .args(["tap", "orders.cash", "--server", server.api.base()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(tap.stdout.take());
    let mut stage = 0;
    let status = until("the tap ends", || {
        server.api.decide(&award(&format!("u1_rain_1_cash_{stage}")));
        stage += 1;
        tap.try_wait().unwrap()
    });
    assert_eq!(status.code(), Some(0));
}

#[test]
fn without_a_place_new_records_are_followed() {
    let files = Files::new();
    let server = Server::start(&files);
    assert_eq!(server.api.decide(&award("u1_rain_1_cash_1")).status, 200);
    let all = ["tap", "orders.cash", "--limit", "2", "--server", server.api.base()];
    let mut tap = Process::start(&Call::new(&files, &all));
    tap.until_says("[tap] orders.cash from end", "");
    // It says so before its first look at the end, so the first of these may come too early for it.
    let mut stage = 2;
    until("two new records are printed", || {
        server.api.decide(&award(&format!("u1_rain_1_cash_{stage}")));
        stage += 1;
        (!tap.runs()).then_some(())
    });
    let ended = tap.ended().with_code(0);
    let records: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found = order_nos(&records);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(!found.contains(&"u1_rain_1_cash_1"), "{found:?}");
}
