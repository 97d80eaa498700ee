//! One damaged partition, or one store that is somebody else's, stops that partition and nothing else
//! (I26, I27), and is reported everywhere.

use std::path::{Path, PathBuf};

use hongbao_engine::partition::partition_of;
use serde_json::{Value, json};

use crate::node::{Client, Files, Server, award, run, until};

/// People of each of the two partitions.
fn people(partition: u16) -> Vec<String> {
    let people = (0..40).map(|number| format!("u{number}"));
    people.filter(|person| partition_of(person.as_bytes(), 2).0 == partition).collect()
}

fn cash(person: &str, stage: u32) -> Value {
    award(&format!("{person}_rain_1_cash_{stage}"))
}

/// A folder with awards of both partitions, credited.
fn written() -> Files {
    let files = Files::new();
    let server = Server::start(&files);
    let awards = [0, 1].map(people).concat();
    let awards: Vec<Value> = awards.iter().map(|person| cash(person, 1)).collect();
    assert_eq!(server.api.decide(&json!(awards)).json()["counts"]["accepted"], 40);
    server.until_credited(&["cash"]);
    server.stop();
    files
}

/// The largest file below a folder.
fn largest(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

/// Flips a byte of a record that was written long before the end.
fn flip(path: &Path, of: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(of.len()).position(|window| window == of.as_bytes()).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Starts over damage and waits until all that can be folded is.
fn start(files: &Files) -> Server {
    let server = Server::spawn(files, &[]);
    until("it says what has stopped", || {
        server.api.try_get("/readyz").ok()?.text().starts_with("halted:").then_some(())
    });
    server
}

/// What must go on: the whole way of an award in a partition.
fn works(api: &Client, person: &str, stage: u32) {
    let order = cash(person, stage);
    assert_eq!(api.decide(&order).json()["status"], "accepted");
    let path = format!("/v1/awards/{}", order["order_no"].as_str().unwrap());
    until(&format!("{path} is credited"), || (api.get(&path).json()["state"] == "credited").then_some(()));
    let wallet = api.get(&format!("/v1/wallets/{person}")).json();
    assert_eq!(wallet["balances"][0]["credited_minor"], 200, "{wallet}");
    assert_eq!(api.get(&format!("/v1/wallets/{person}/entries")).status, 200);
}

/// A problem that says to come back later.
fn refuses(api: &Client, path: &str, code: &str) {
    let answer = api.try_get(path).unwrap();
    assert_eq!((answer.status, answer.problem().as_str()), (503, code), "{path}");
}

#[test]
fn a_damaged_partition_of_the_log_stops_alone() {
    let files = written();
    let (good, bad) = (people(0), people(1));
    flip(&largest(&files.root().join("data/log/p-0001")), &format!("{}_rain_1_cash_1", bad[0]));
    let mut server = start(&files);
    let api = &server.api;
    let ready = api.try_get("/readyz").unwrap();
    assert_eq!(ready.status, 503);
    for task in ["intake/1: ", "views/1: "] {
        assert!(ready.text().contains(task), "{}", ready.text());
    }
    assert!(!ready.text().contains("/0: "), "{}", ready.text());
    assert!(ready.text().contains("damaged"), "{}", ready.text());
    works(api, &good[0], 2);

    let counts = api.get("/v1/counts").json();
    let answer =
        api.try_publish("application/json", cash(&bad[1], 2).to_string().into_bytes(), true).unwrap();
    assert_eq!((answer.status, answer.problem().as_str()), (503, "partition_halted"));
    // One of two: neither is taken, and it is said which one cannot be.
    let both = json!([cash(&good[1], 2), cash(&bad[1], 2)]).to_string().into_bytes();
    let answer = api.try_publish("application/json", both, true).unwrap();
    assert_eq!((answer.status, answer.problem().as_str()), (503, "partition_halted"));
    let named = answer.json()["errors"].as_array().unwrap().clone();
    assert_eq!((named.len(), &named[0]["pointer"]), (1, &json!("/1")));
    assert!(named[0]["message"].as_str().is_some_and(|why| why.contains("intake/1")), "{named:?}");
    assert_eq!(api.get("/v1/counts").json(), counts, "nothing was taken");
    // A producer notes it and goes on with the others.
    let lines = [&good[1], &bad[1], &good[2]].map(|person| cash(person, 3).to_string()).join("\n");
    files.write("awards.ndjson", lines);
    let produce = ["produce", "--server", server.api.base(), "--file", &files.path("awards.ndjson")];
    let produced = run(&files, &produce).with_code(4);
    assert!(
        produced.stdout.contains("accepted 2") && produced.stdout.contains("unanswered 1"),
        "{}",
        produced.stdout
    );
    refuses(api, &format!("/v1/wallets/{}", bad[0]), "partition_halted");
    refuses(api, &format!("/v1/wallets/{}/entries", bad[0]), "partition_halted");
    refuses(api, &format!("/v1/awards/{}_rain_1_cash_1", bad[0]), "partition_halted");
    // It may have been refused in the partition that nobody can read.
    refuses(api, &format!("/v1/awards/{}_rain_1_cash_9", good[0]), "partition_halted");
    refuses(api, "/v1/totals", "partition_halted");
    refuses(api, "/v1/topics/awards/records?partition=1", "partition_halted");
    assert_eq!(api.get("/v1/topics/awards/records?partition=0").status, 200);
    let lanes = api.get("/v1/lanes").json();
    assert_eq!((&lanes[0]["lane"], &lanes[0]["state"]), (&json!("cash"), &json!("degraded")));
    assert!(lanes[0]["detail"].as_str().is_some_and(|why| why.contains("damaged")), "{lanes}");
    let credited = || api.get("/v1/lanes").json()[0]["credited"].as_u64();
    until("all that can be read is credited", || (credited()? == good.len() as u64 + 3).then_some(()));
    let metrics = api.get("/metrics").text();
    for (task, halted) in [("intake/0", 0), ("intake/1", 1), ("views/0", 0), ("views/1", 1)] {
        let line = format!("hongbao_task_halted{{task=\"{task}\"}} {halted}");
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
    server.process.terminate();
    let ended = server.process.ended().with_code(1);
    assert!(ended.stderr.contains("intake/1"), "{}", ended.stderr);

    let (config, data) = (files.path("topology.yaml"), files.path("data"));
    let check = run(&files, &["check", "--config", &config, "--data-dir", &data]).with_code(3);
    assert!(check.stdout.contains("I26"), "{}", check.stdout);
}

#[test]
fn a_store_of_another_folder_is_refused_and_stops_alone() {
    let (files, other) = (written(), written());
    let (good, bad) = (people(0), people(1));
    // The same names, the same awards: only the log is another one (F6).
    for folder in ["state/intake-1", "state/views-1"] {
        let (own, foreign) = (files.path(&format!("data/{folder}")), other.path(&format!("data/{folder}")));
        std::fs::rename(&own, format!("{own}.kept")).unwrap();
        std::fs::rename(foreign, own).unwrap();
        let mut server = start(&files);
        let ready = server.api.try_get("/readyz").unwrap().text();
        assert!(ready.contains("it belongs to") && ready.contains("/1: "), "{ready}");
        refuses(&server.api, &format!("/v1/wallets/{}", bad[0]), "partition_halted");
        let publish = cash(&bad[1], 2).to_string().into_bytes();
        let answer = server.api.try_publish("application/json", publish, false).unwrap();
        // Views are thrown away and folded again; a verdict cannot be.
        assert_eq!(answer.status, if folder.contains("views") { 202 } else { 503 }, "{folder}");
        let stage = if folder.contains("views") { 3 } else { 2 };
        assert_eq!(server.api.decide(&cash(&good[0], stage)).json()["status"], "accepted");
        server.process.terminate();
        server.process.ended().with_code(1);
        let own = files.path(&format!("data/{folder}"));
        std::fs::remove_dir_all(&own).unwrap();
        std::fs::rename(format!("{own}.kept"), own).unwrap();
    }
    // With its own stores it goes on where it stood.
    let server = Server::start(&files);
    assert_eq!(server.api.decide(&cash(&bad[0], 1)).json()["status"], "duplicate");
    assert_eq!(server.api.decide(&cash(&bad[1], 2)).json()["status"], "duplicate");
    works(&server.api, &bad[0], 2);
    server.stop();
}

/// Without its book a ledger would credit again what it cannot see any more (I10, F6).
#[test]
fn a_ledger_whose_book_is_lost_is_not_begun_anew() {
    let files = written();
    let (own, away) = (files.path("data/ledger"), files.path("ledger.away"));
    std::fs::rename(&own, &away).unwrap();
    let refused = run(&files, &["up", "--listen", "127.0.0.1:0"]).with_code(1);
    assert!(refused.stderr.contains("the book of ledger bank is not in"), "{}", refused.stderr);
    assert!(!Path::new(&own).join("bank/book/p-0000").exists(), "nothing was begun");
    drop(std::fs::remove_dir_all(&own));
    std::fs::rename(away, own).unwrap();
    Server::start(&files).stop();
}
