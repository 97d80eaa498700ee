//! `produce` and `rain`: awards to a server, counts back, failures in a file.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::node::{Call, Ended, Files, Process, Server, award, lines, run, with};

/// Good, repeated, conflicting, refused and malformed lines.
fn input() -> Vec<u8> {
    let first = award("u1_rain_1_cash_1");
    let awards = [
        first.clone(),
        award("u2_film_1_coupon_1"),
        first.clone(),
        with(&first, json!({"amount_minor": 5})),
        with(&award("u3_rain_1_cash_1"), json!({"amount_minor": 0})),
    ];
    [lines(&awards), b"\n{\"order_no\":1}\nnonsense\n".to_vec()].concat()
}

fn failures(files: &Files, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(files.root().join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn counted(read: u64, others: [u64; 5]) -> Value {
    let [accepted, duplicate, conflict, rejected, malformed] = others;
    json!({"read": read, "accepted": accepted, "duplicate": duplicate, "conflict": conflict,
        "rejected": rejected, "malformed": malformed, "queued": 0, "unanswered": 0, "resume_after": read})
}

/// The counts of a run that has one empty line among its lines.
fn counted_with_a_gap(read: u64, others: [u64; 5]) -> Value {
    with(&counted(read, others), json!({"resume_after": read + 1}))
}

#[test]
fn produce_counts_verdicts_and_keeps_failures() {
    let files = Files::new();
    let server = Server::start(&files);
    let input = files.write("awards.ndjson", input());
    let produce = |arguments: &[&str], stdin| -> Ended {
        let all = [&["produce", "--server", server.api.base(), "-o", "json"], arguments].concat();
        Call { stdin, ..Call::new(&files, &all) }.run()
    };
    let path = input.display().to_string();
    let ended = produce(&["--file", &path, "--batch", "2", "--errors", "failed.ndjson"], None).with_code(4);
    assert_eq!(ended.json(), counted_with_a_gap(7, [2, 1, 1, 1, 2]));
    assert!(ended.stderr.contains("failed.ndjson"), "{}", ended.stderr);
    let failed = failures(&files, "failed.ndjson");
    let mut told: Vec<(&str, &str)> = failed
        .iter()
        .map(|line| (line["status"].as_str().unwrap(), line["code"].as_str().unwrap_or("")))
        .collect();
    told.sort_unstable();
    let expected = [
        ("conflict", "order_conflict"),
        ("malformed", ""),
        ("malformed", ""),
        ("rejected", "amount_not_positive"),
    ];
    assert_eq!(told, expected);
    let malformed: Vec<(&Value, &Value)> = failed
        .iter()
        .filter(|line| line["status"] == "malformed")
        .map(|line| (&line["number"], &line["problem"]["code"]))
        .collect();
    assert_eq!(malformed, [(&json!(7), &json!("wrong_type")), (&json!(8), &json!("invalid_json"))]);
    let refused = failed.iter().find(|line| line["status"] == "rejected").unwrap();
    assert_eq!(refused["input"]["order_no"], "u3_rain_1_cash_1");

    // From stdin, again: everything known by now; the usual file takes the failures.
    let ended = produce(&[], Some(&input)).with_code(4);
    assert_eq!(ended.json(), counted_with_a_gap(7, [0, 3, 1, 1, 2]));
    assert_eq!(failures(&files, "produce-errors.ndjson").len(), 4);

    let good = files.write("good.ndjson", lines(&[award("u9_rain_1_cash_1")]));
    let ended = produce(&["--errors", "none.ndjson"], Some(&good)).with_code(0);
    assert_eq!(ended.json(), counted(1, [1, 0, 0, 0, 0]));
    assert!(!files.root().join("none.ndjson").exists(), "no failure, no file");
    assert_eq!(produce(&["--file", "nowhere.ndjson"], None).code, 1);
    let text = run(&files, &["produce", "--server", server.api.base(), "--file", "good.ndjson"]).with_code(0);
    assert!(text.stdout.starts_with("read 1  accepted 0  duplicate 1"), "{}", text.stdout);
}

/// A variable-length number of Avro.
fn long(value: usize) -> Vec<u8> {
    let mut zigzag = value * 2;
    let mut bytes = Vec::new();
    while zigzag >= 0x80 {
        bytes.push((zigzag & 0x7f) as u8 | 0x80);
        zigzag >>= 7;
    }
    bytes.push(zigzag as u8);
    bytes
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [long(bytes.len()), bytes.to_vec()].concat()
}

/// An object container file of awards, written by hand as the Avro specification has it.
fn container(awards: &[Value]) -> Vec<u8> {
    let schema = include_bytes!("../../schemas/award.avsc");
    let mark = [7; 16];
    let mut data = Vec::new();
    for award in awards {
        let award = hongbao_schemas::award_json::parse_award(award.to_string().as_bytes()).unwrap();
        let mut record = Vec::new();
        award.as_award().encode(&mut record);
        // Without the two marker bytes and the fingerprint.
        data.extend_from_slice(&record[10..]);
    }
    let meta = [long(2), text(b"avro.schema"), text(schema), text(b"avro.codec"), text(b"null"), long(0)];
    let block = [long(awards.len()), text(&data), mark.to_vec()];
    [b"Obj\x01".to_vec(), meta.concat(), mark.to_vec(), block.concat()].concat()
}

#[test]
fn produce_takes_avro_containers() {
    let files = Files::new();
    let server = Server::start(&files);
    let first = with(&award("u1_rain_1_cash_1"), json!({"app": "tv", "ext": {"a": "b"}}));
    let awards = [first.clone(), award("u2_film_1_coupon_1"), with(&first, json!({"amount_minor": 20_001}))];
    files.write("awards.avro", container(&awards));
    let produce =
        |file: &str| run(&files, &["produce", "--server", server.api.base(), "-o", "json", "--file", file]);
    assert_eq!(produce("awards.avro").with_code(4).json(), counted(3, [2, 0, 0, 1, 0]));
    // The same awards in JSON are the same payload.
    files.write("awards.ndjson", lines(&awards[..2]));
    assert_eq!(produce("awards.ndjson").with_code(0).json(), counted(2, [0, 2, 0, 0, 0]));
    files.write("damaged.avro", &container(&awards)[..40]);
    assert_eq!(produce("damaged.avro").code, 1);
    // Damage behind good blocks: what came before it is sent and counted.
    let damaged = [container(&awards[..2]), b"nonsense".to_vec()].concat();
    files.write("torn.avro", damaged);
    let torn = produce("torn.avro").with_code(1);
    assert_eq!(torn.json(), counted(2, [0, 2, 0, 0, 0]));
    assert!(torn.stderr.contains("award 3") && torn.stderr.contains("stopped early"), "{}", torn.stderr);
}

/// A line that is longer than any award is malformed, and what follows it is taken.
#[test]
fn produce_goes_on_behind_a_line_that_is_too_long() {
    let files = Files::new();
    let server = Server::start(&files);
    let long = vec![b'x'; 5 * 1024 * 1024];
    let large = with(&award("u3_rain_1_cash_1"), json!({"ext": {"k": "x".repeat(1_500_000)}}));
    let input = [
        lines(&[award("u1_rain_1_cash_1")]),
        long.clone(),
        b"\n".to_vec(),
        lines(&[large, award("u2_rain_1_cash_1")]),
        long,
    ];
    let input = files.write("long.ndjson", input.concat());
    let all = ["produce", "--server", server.api.base(), "-o", "json"];
    let ended = Call { stdin: Some(&input), ..Call::new(&files, &all) }.run().with_code(4);
    assert_eq!(ended.json(), counted(5, [2, 0, 0, 0, 3]));
    let failed = failures(&files, "produce-errors.ndjson");
    let told: Vec<(&Value, &Value)> =
        failed.iter().map(|line| (&line["number"], &line["problem"]["code"])).collect();
    let too_large = json!("too_large");
    assert_eq!(told, [(&json!(2), &too_large), (&json!(3), &too_large), (&json!(5), &too_large)]);
    assert!(failed[0]["input"].as_str().unwrap().len() < 200, "a long line is not kept whole");
}

/// Takes requests and answers the first `answered` of them: everything is accepted.
fn server_that_dies(answered: usize) -> (String, std::thread::JoinHandle<TcpListener>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serve = std::thread::spawn(move || {
        let mut left = answered;
        while left > 0 {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while left > 0
                && let Some(items) = request_items(&mut reader)
            {
                let items = vec![json!({"status": "accepted"}); items];
                let body = json!({"items": items}).to_string();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                (&stream).write_all((head + &body).as_bytes()).unwrap();
                left -= 1;
            }
        }
        listener
    });
    (address, serve)
}

/// Lines of the next request's body.
fn request_items(reader: &mut impl BufRead) -> Option<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body.iter().filter(|byte| **byte == b'\n').count())
}

/// Whoever sends a long file must learn how far it came, and where to go on.
#[test]
fn produce_tells_how_far_it_came_when_the_server_dies() {
    let files = Files::new();
    let awards: Vec<Value> = (0..10).map(|user| award(&format!("u{user}_rain_1_cash_1"))).collect();
    let input = [lines(&awards[..4]), b"nonsense\n".to_vec(), lines(&awards[4..])].concat();
    files.write("awards.ndjson", input);
    for (output, answered) in [("json", 2), ("text", 0)] {
        let (address, serving) = server_that_dies(answered);
        let call = ["produce", "--file", "awards.ndjson", "--batch", "3", "-o", output, "--server", &address];
        if answered == 0 {
            drop(serving.join().unwrap());
            let ended = run(&files, &call).with_code(69);
            assert_eq!(
                ended.stdout.trim(),
                "read 3  accepted 0  duplicate 0  conflict 0  rejected 0  malformed 0  queued 0  unanswered 3"
            );
            assert!(ended.stderr.contains("up to line 0"), "{}", ended.stderr);
            continue;
        }
        let mut process = Process::start(&Call::new(&files, &call));
        // Dropping the listener and the connection is the death.
        drop(serving.join().unwrap());
        let ended = process.ended().with_code(69);
        // Of the third request nothing is known; line 5 was malformed.
        let expected = json!({"read": 10, "accepted": 6, "duplicate": 0, "conflict": 0, "rejected": 0,
            "malformed": 1, "queued": 0, "unanswered": 3, "resume_after": 7});
        assert_eq!(ended.json(), expected);
        assert!(ended.stderr.contains("up to line 7"), "{}", ended.stderr);
        assert_eq!(failures(&files, "produce-errors.ndjson").len(), 1);
    }
}

/// The first signal ends it, whether it waits for input or for an answer; the counts come first.
#[test]
fn produce_tells_how_far_it_came_when_interrupted() {
    let files = Files::new();
    files.write("awards.ndjson", lines(&[award("u1_rain_1_cash_1"), award("u2_rain_1_cash_1")]));
    for signal in [Signal::INT, Signal::TERM] {
        // Takes the request and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", silent.local_addr().unwrap());
        let call = ["produce", "--file", "awards.ndjson", "-o", "json", "--server", &server];
        let mut process = Process::start(&Call::new(&files, &call));
        let (stream, _) = silent.accept().unwrap();
        assert_eq!(request_items(&mut BufReader::new(stream.try_clone().unwrap())), Some(2));
        process.signal(signal);
        let ended = process.ended().with_code(130);
        let expected = with(&counted(2, [0; 5]), json!({"unanswered": 2, "resume_after": 0}));
        assert_eq!(ended.json(), expected, "{signal:?}");
        assert!(ended.stderr.contains("stopped early"), "{}", ended.stderr);
    }
}

#[test]
fn rain_sends_what_it_prints() {
    let files = Files::new();
    let server = Server::start(&files);
    let rain = |more: &[&str]| {
        let all =
            [&["rain", "--awards", "6000", "--seed", "3", "--server", server.api.base()], more].concat();
        run(&files, &all).with_code(0)
    };
    let printed = rain(&["--print"]).stdout;
    let awards: Vec<&str> = printed.lines().filter(|line| line.contains("\"order_no\"")).collect();
    let sent = rain(&["-o", "json"]).json();
    assert_eq!((&sent["sent"], &sent["not_awards"]), (&json!(awards.len()), &json!(6000 - awards.len())));
    let counts = crate::node::until("everything is decided", || {
        let counts = server.api.get("/v1/counts").json();
        (counts["read"] == awards.len()).then_some(counts)
    });
    let orders: std::collections::BTreeSet<String> = awards
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["order_no"].as_str().unwrap().to_owned())
        .collect();
    let accepted = counts["accepted"].as_u64().unwrap();
    assert!(
        accepted <= orders.len() as u64 && accepted > 5000 && counts["duplicate"].as_u64() > Some(300),
        "{counts}"
    );
    // Again: not one more.
    let text = rain(&["--rate", "50000/s"]).stdout;
    assert!(text.contains("awards in"), "{text}");
    let again = crate::node::until("everything is decided again", || {
        let counts = server.api.get("/v1/counts").json();
        (counts["read"] == 2 * awards.len()).then_some(counts)
    });
    assert_eq!(again["accepted"], accepted);
}
