//! Requests that are not taken: 400 with places, 413, 415. Nothing of them is appended or counted.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::node::{Answer, Client, Files, Server, award, lines, with};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// A malformed body and the places that must be named.
struct Case {
    name: &'static str,
    media: &'static str,
    body: Vec<u8>,
    faults: Vec<(&'static str, &'static str)>,
}

fn case(
    name: &'static str,
    media: &'static str,
    body: impl Into<Vec<u8>>,
    faults: &[(&'static str, &'static str)],
) -> Case {
    Case { name, media, body: body.into(), faults: faults.to_vec() }
}

fn good() -> Value {
    award("u1_rain_1_cash_1")
}

/// A good award as text with a piece of it replaced.
fn replaced(what: &str, by: &str) -> String {
    let text = good().to_string();
    assert!(text.contains(what), "{text}");
    text.replacen(what, by, 1)
}

fn without(field: &str) -> String {
    let mut award = good();
    award.as_object_mut().unwrap().remove(field).unwrap();
    award.to_string()
}

fn texts() -> Vec<Case> {
    vec![
        case("nothing", JSON, "", &[("", "invalid_json")]),
        case("not JSON", JSON, "{", &[("", "invalid_json")]),
        case("more behind it", JSON, format!("{} x", good()), &[("", "invalid_json")]),
        case("a number", JSON, "1", &[("", "wrong_type")]),
        case("not UTF-8", JSON, b"{\"order_no\":\"\xff\"}".to_vec(), &[("", "invalid_utf8")]),
        case("half a surrogate", JSON, replaced("\"u1\"", r#""\ud800""#), &[("/act_id", "invalid_json")]),
    ]
}

fn fields() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        ("order_no", "/order_no"),
        ("act_id", "/act_id"),
        ("activity_id", "/activity_id"),
        ("scene_id", "/scene_id"),
        ("reward_type", "/reward_type"),
        ("amount_minor", "/amount_minor"),
        ("event_time", "/event_time"),
    ]
    .into_iter()
    .map(|(field, pointer)| case("a field is missing", JSON, without(field), &[(pointer, "missing_field")]))
    .collect();
    let fields = [
        ("unknown field", json!({"colour": "red"}), ("/colour", "unknown_field")),
        ("a name to escape", json!({"a/b~c": "red"}), ("/a~1b~0c", "unknown_field")),
        ("text as a number", json!({"amount_minor": "100"}), ("/amount_minor", "wrong_type")),
        ("no amount", json!({"amount_minor": null}), ("/amount_minor", "wrong_type")),
        ("a truth as text", json!({"act_id": true}), ("/act_id", "wrong_type")),
        ("null for an optional field", json!({"app": null}), ("/app", "wrong_type")),
        ("a list as ext", json!({"ext": []}), ("/ext", "wrong_type")),
        ("a number in ext", json!({"ext": {"a": "b", "n": 1}}), ("/ext/n", "wrong_type")),
        ("an object in ext", json!({"ext": {"a": {}}}), ("/ext/a", "wrong_type")),
        ("a time as a number", json!({"event_time": 1}), ("/event_time", "wrong_type")),
        ("no offset", json!({"event_time": "2027-02-05T20:00:00"}), ("/event_time", "time_without_offset")),
        ("not a time", json!({"event_time": "tomorrow"}), ("/event_time", "invalid_time")),
        (
            "an offset of a day",
            json!({"event_time": "2027-02-05T20:00:00+25:00"}),
            ("/event_time", "invalid_time"),
        ),
        ("year 0", json!({"event_time": "0000-01-01T00:00:00Z"}), ("/event_time", "invalid_time")),
        ("beyond 9999", json!({"event_time": "9999-12-31T23:59:59-01:00"}), ("/event_time", "invalid_time")),
        ("no such day", json!({"event_time": "2027-02-30T20:00:00Z"}), ("/event_time", "invalid_time")),
    ];
    for (name, changed, fault) in fields {
        cases.push(case(name, JSON, with(&good(), changed).to_string(), &[fault]));
    }
    let amount = |text: &str| replaced("\"amount_minor\":100", &format!("\"amount_minor\":{text}"));
    let numbers = [
        ("100.5", "not_an_integer"),
        ("100.0", "not_an_integer"),
        ("1e2", "not_an_integer"),
        ("9223372036854775808", "number_out_of_range"),
        ("-9223372036854775809", "number_out_of_range"),
        ("123456789012345678901234567890", "number_out_of_range"),
        ("1e400", "number_out_of_range"),
    ];
    for (text, code) in numbers {
        cases.push(case("an amount", JSON, amount(text), &[("/amount_minor", code)]));
    }
    cases
}

fn keys_and_items() -> Vec<Case> {
    let wrong = with(&good(), json!({"amount_minor": "1", "size": 1}));
    let twice = replaced("\"act_id\":\"u1\"", "\"act_id\":\"u1\",\"act_id\":\"u1\"");
    let twice_in_ext = replaced("\"act_id\"", r#""ext":{"k":"1","k":"1"},"act_id""#);
    let escaped = replaced("\"act_id\":\"u1\"", "\"act_id\":\"u1\",\"act\\u005fid\":\"u1\"");
    let both = &[("/1/amount_minor", "wrong_type"), ("/1/size", "unknown_field")];
    let many = json!([good(), wrong]).to_string();
    let not_json = [lines(&[good()]), b"{]\n".to_vec()].concat();
    vec![
        case("a key twice", JSON, twice, &[("/act_id", "duplicate_key")]),
        case("a key twice, once in escapes", JSON, escaped, &[("/act_id", "duplicate_key")]),
        case("a key of ext twice", JSON, twice_in_ext, &[("/ext/k", "duplicate_key")]),
        case("all faults of an item", JSON, many, both),
        case("all faults of a line", NDJSON, lines(&[good(), wrong]), both),
        case("a line that is not JSON", NDJSON, not_json, &[("/1", "invalid_json")]),
        case("an array in a line", NDJSON, "[]", &[("/0", "wrong_type")]),
        case("a list in a list", JSON, json!([[good()]]).to_string(), &[("/0", "wrong_type")]),
        case("no award", JSON, "[]", &[]),
        case("no line", NDJSON, "\n\n", &[]),
    ]
}

fn nothing_was_taken(api: &Client) {
    let counts = api.get("/v1/counts").json();
    assert!(counts.as_object().unwrap().values().all(|count| *count == 0), "{counts}");
    for partition in 0..2 {
        let records = api.get(&format!("/v1/topics/awards/records?partition={partition}")).json();
        for record in records["records"].as_array().unwrap() {
            assert_eq!(record["record"]["record_kind"], "control", "{record}");
        }
    }
    assert_eq!(api.get("/v1/awards/u1_rain_1_cash_1").status, 404);
}

fn refuse(api: &Client, media: &str, body: Vec<u8>) -> Answer {
    api.try_publish(media, body, true).unwrap()
}

#[test]
fn what_cannot_be_an_award_is_refused_with_its_places() {
    let files = Files::new();
    let server = Server::start(&files);
    for case in texts().into_iter().chain(fields()).chain(keys_and_items()) {
        let context = format!("{}: {}", case.name, String::from_utf8_lossy(&case.body));
        let answer = refuse(&server.api, case.media, case.body);
        assert_eq!(answer.status, 400, "{context}");
        answer.problem();
        let expected: Vec<(String, String)> =
            case.faults.into_iter().map(|(pointer, code)| (pointer.to_owned(), code.to_owned())).collect();
        assert_eq!(answer.faults(), expected, "{context}: {}", answer.text());
    }
    nothing_was_taken(&server.api);
    let fine = server.api.decide(&good());
    assert_eq!((fine.status, fine.json()["status"].clone()), (200, json!("accepted")));
    server.stop();
}

#[test]
fn media_types_other_than_json_are_refused() {
    let files = Files::new();
    let server = Server::start(&files);
    for media in
        ["", "text/plain", "application/cbor", "application/json-seq", "application/x-www-form-urlencoded"]
    {
        let answer = refuse(&server.api, media, good().to_string().into_bytes());
        assert_eq!((answer.status, answer.problem()), (415, "unsupported_media_type".to_owned()), "{media}");
    }
    for (encoding, status) in [("gzip", 415), ("br, gzip", 415), ("Identity", 202)] {
        let request = server.api.request(reqwest::Method::POST, "/v1/awards").header("content-type", JSON);
        let request =
            request.header("content-encoding", encoding).body(award("u2_rain_1_cash_1").to_string());
        let answer = server.api.send(request).unwrap();
        assert_eq!(answer.status, status, "{encoding}");
        if status == 415 {
            assert_eq!(answer.problem(), "unsupported_content_encoding");
            nothing_was_taken(&server.api);
        }
    }
    server.stop();
}

/// Sends a body in chunks, so that its size is not known before, and returns the status line.
fn undeclared(api: &Client, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(api.base().strip_prefix("http://").unwrap()).unwrap();
    let head = "POST /v1/awards HTTP/1.1\r\nhost: test\r\ncontent-type: application/x-ndjson\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    for chunk in body.chunks(60_000) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).unwrap();
        stream.write_all(chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).unwrap();
    status
}

#[test]
fn requests_have_a_largest_size() {
    const ITEMS_MAX: usize = 10_000;
    const BYTES_MAX: usize = 4 * 1024 * 1024;
    let files = Files::new();
    let server = Server::start(&files);
    let awards: Vec<Value> =
        (0..=ITEMS_MAX).map(|number| award(&format!("u{number}_rain_1_cash_1"))).collect();
    // White space counts as bytes and not as items.
    let padded = |bytes: usize| {
        let mut body = lines(&awards[..2]);
        body.resize(bytes, b'\n');
        body
    };
    let too_many = Value::Array(awards.clone()).to_string().into_bytes();
    let refused = [(JSON, too_many), (NDJSON, lines(&awards)), (NDJSON, padded(BYTES_MAX + 1))];
    for (media, body) in refused {
        let bytes = body.len();
        let answer = refuse(&server.api, media, body);
        assert_eq!((answer.status, answer.problem()), (413, "too_large".to_owned()), "{bytes} bytes");
    }
    // An award alone, and one of many, above what a record may have.
    let large = with(&awards[0], json!({"ext": {"k": "x".repeat(1024 * 1024)}}));
    let many = json!([awards[1], large]);
    for (body, pointer) in [(large, ""), (many, "/1")] {
        let answer = refuse(&server.api, JSON, body.to_string().into_bytes());
        assert_eq!((answer.status, answer.problem()), (413, "too_large".to_owned()), "{pointer}");
        assert_eq!(answer.faults(), [(pointer.to_owned(), "too_large".to_owned())]);
    }
    let status = undeclared(&server.api, &padded(BYTES_MAX + 1));
    assert!(status.starts_with("HTTP/1.1 413 "), "without a declared length: {status}");
    nothing_was_taken(&server.api);
    let taken = [(lines(&awards[..ITEMS_MAX]), ITEMS_MAX), (padded(BYTES_MAX), 2)];
    for (body, items) in taken {
        let answer = server.api.try_publish(NDJSON, body, false).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(answer.json()["counts"]["queued"], items);
    }
    server.stop();
}
