//! Starts that are refused, stops that are clean, and what a restart finds again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::node::{
    CAMPAIGN, Ended, Files, Process, Server, TOPOLOGY, award, elapsed, pause, run, until, with,
};

fn up(files: &Files, listen: &str) -> Ended {
    Process::up(files, listen, &[]).ended()
}

#[test]
fn configurations_that_are_invalid_are_refused_with_all_errors() {
    let files = Files::with(
        &TOPOLOGY.replace("rate: 1/s", "rate: 1").replace("downstream: partner", "downstream: nobody"),
        &CAMPAIGN.replace("max_minor: 20000", "max_minor: much"),
    );
    let ended = up(&files, "127.0.0.1:0").with_code(78);
    for place in ["topology.yaml:15:53", "topology.yaml:16:58", "campaigns/spring.yaml:4:42"] {
        assert!(ended.stderr.contains(place), "{place}: {}", ended.stderr);
    }
    assert!(ended.stderr.contains("3 errors"), "{}", ended.stderr);
    assert!(!files.root().join("data").exists());
    std::fs::remove_file(files.root().join("topology.yaml")).unwrap();
    assert!(up(&files, "127.0.0.1:0").with_code(78).stderr.contains("topology.yaml"));
}

#[test]
fn a_port_that_is_taken_fails() {
    let files = Files::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = up(&files, &address).with_code(1);
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
}

#[test]
fn a_data_folder_has_one_process_and_one_number_of_partitions() {
    let files = Files::new();
    let server = Server::start(&files);
    assert_eq!(server.api.decide(&award("u1_rain_1_cash_1")).status, 200);
    let second = up(&files, "127.0.0.1:0").with_code(1);
    assert!(second.stderr.contains("held by another process"), "{}", second.stderr);
    assert_eq!(server.api.get("/v1/counts").json()["accepted"], 1, "the first goes on");
    server.stop();

    files.write("topology.yaml", TOPOLOGY.replace("partitions: 2", "partitions: 4"));
    let other = up(&files, "127.0.0.1:0").with_code(1);
    assert!(other.stderr.contains("partitions: 2"), "{}", other.stderr);

    // What was there before was not touched.
    files.write("topology.yaml", TOPOLOGY);
    let server = Server::start(&files);
    assert_eq!(server.api.decide(&award("u1_rain_1_cash_1")).json()["status"], "duplicate");
    server.stop();
}

#[test]
fn folders_of_others_are_left_alone() {
    let files = Files::new();
    files.write("data/thesis.tex", "years of work");
    let ended = up(&files, "127.0.0.1:0").with_code(1);
    assert!(ended.stderr.contains("thesis.tex"), "{}", ended.stderr);
    let names: Vec<_> = std::fs::read_dir(files.root().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(names.iter().all(|name| name == "thesis.tex" || name == "LOCK"), "{names:?}");
}

/// Everything that can be asked, but for times and what a lane is doing.
fn seen(server: &Server) -> Vec<(&'static str, Value)> {
    let paths = [
        "/v1/counts",
        "/v1/wallets/u1",
        "/v1/wallets/u1/entries",
        "/v1/wallets/u2",
        "/v1/totals?group_by=activity_id,scene_id,reward_type",
        "/v1/lanes",
        "/v1/reconcile",
        "/v1/awards/u1_rain_1_cash_1",
        "/v1/awards/u2_film_1_coupon_1",
        "/v1/awards/u1_rain_1_cash_8",
        "/v1/awards/u1_rain_1_cash_9",
    ];
    let answers = paths.map(|path| {
        let mut answer = server.api.get(path).json();
        if let Some(fields) = answer.as_object_mut() {
            fields.remove("as_of");
            fields.remove("lag_ms");
            fields.remove("request_id");
        }
        for lane in answer.as_array_mut().into_iter().flatten() {
            lane.as_object_mut().unwrap().remove("state");
        }
        (path, answer)
    });
    answers.into()
}

#[test]
fn a_restart_finds_everything_again_and_the_first_signal_drains() {
    let files = Files::new();
    let mut before = None;
    for signal in [Signal::TERM, Signal::INT, Signal::KILL, Signal::TERM] {
        let mut server = Server::start(&files);
        if before.is_none() {
            let refused = with(&award("u1_rain_1_cash_8"), json!({"amount_minor": 0}));
            let awards = json!([award("u1_rain_1_cash_1"), award("u2_film_1_coupon_1"), refused]);
            assert_eq!(server.api.decide(&awards).status, 200);
            server.until_credited(&["cash", "coupon"]);
        }
        let now = seen(&server);
        for (then, now) in before.get_or_insert_with(|| now.clone()).iter().zip(&now) {
            assert_eq!(then, now, "before {signal:?}");
        }
        server.process.signal(signal);
        let ended = server.process.ended();
        assert_eq!(ended.code, if signal == Signal::KILL { -1 } else { 0 }, "{signal:?}: {}", ended.stderr);
    }
    let (config, data) = (files.path("topology.yaml"), files.path("data"));
    run(&files, &["check", "--config", &config, "--data-dir", &data]).with_code(0);
}

/// A request that is under way when the server begins to drain is answered, and takes nothing in.
#[test]
fn while_draining_awards_are_turned_away() {
    let files = Files::new();
    let mut server = Server::start(&files);
    let address = server.api.base().strip_prefix("http://").unwrap().to_owned();
    let body = award("u1_rain_1_cash_1").to_string();
    let mut stream = TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST /v1/awards HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    answer.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100 "), "the request is being served: {line}");
    server.process.terminate();
    until("the server listens no more", || TcpStream::connect(&address).is_err().then_some(()));
    stream.write_all(body.as_bytes()).unwrap();
    let mut rest = String::new();
    answer.read_to_string(&mut rest).unwrap();
    let rest = rest.trim_start().to_ascii_lowercase();
    assert!(rest.starts_with("http/1.1 503 "), "{rest}");
    for piece in
        ["\r\nretry-after: ", "application/problem+json", "\"code\":\"draining\"", "\"retryable\":true"]
    {
        assert!(rest.contains(piece), "{piece}: {rest}");
    }
    server.process.ended().with_code(0);
    let server = Server::start(&files);
    assert_eq!(server.api.get("/v1/counts").json()["read"], 0, "nothing of it was taken");
    server.stop();
}

/// Order numbers are unique for ever, across restarts and changes of what is given; settings are in
/// force from one point of the log on (I30).
#[test]
fn campaigns_change_at_a_restart() {
    let files = Files::new();
    let server = Server::start(&files);
    let snow = json!([award("u1_rain_1_cash_1"), award("u1_snow_1_cash_1")]);
    let statuses = |answer: Value| {
        let items = answer["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(statuses(server.api.decide(&snow).json()), ["accepted", "rejected"]);
    server.stop();
    files.write("campaigns/spring.yaml", format!("{CAMPAIGN}  snow: {{reward_type: cash}}\n"));
    let server = Server::start(&files);
    assert_eq!(statuses(server.api.decide(&snow).json()), ["duplicate", "accepted"]);
    server.stop();
    // Refusal comes before any other verdict, also of what was accepted once: the answer must not
    // say that the number is free.
    files.write("campaigns/spring.yaml", CAMPAIGN);
    let server = Server::start(&files);
    let again = server.api.decide(&award("u1_snow_1_cash_1"));
    assert_eq!((again.status, again.problem()), (422, "unknown_scene".to_owned()));
    let text = again.text();
    assert!(text.contains("an earlier award with this number") && !text.contains("used up"), "{text}");
    let is_credited = || server.api.get("/v1/awards/u1_snow_1_cash_1").json()["state"] == "credited";
    until("what was accepted before stands", || is_credited().then_some(()));
    server.stop();
    // What is in force is known without the file that counts the changes.
    files.write("campaigns/spring.yaml", format!("{CAMPAIGN}  snow: {{reward_type: cash}}\n"));
    std::fs::remove_file(files.root().join("data/settings.json")).unwrap();
    let server = Server::start(&files);
    let snow = json!([award("u1_rain_2_cash_1"), award("u1_snow_2_cash_1")]);
    assert_eq!(statuses(server.api.decide(&snow).json()), ["accepted", "accepted"]);
    server.stop();
}

/// A downstream that takes requests and never answers keeps a drain waiting.
#[test]
fn a_second_signal_stops_at_once() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let mall = format!("http: {{url: \"http://{address}/grant\", key_life: 24h, timeout: 5m}}");
    let files = Files::new();
    files.write("topology.yaml", TOPOLOGY.replace("simulated: {profile: steady, seed: 7}", &mall));
    let mut server = Server::start(&files);
    assert_eq!(server.api.decide(&award("u1_film_1_coupon_1")).status, 200);
    until("it is sent", || (server.api.get("/v1/lanes").json()[1]["sent"] == 1).then_some(()));
    server.process.terminate();
    // The same wish twice, as supervisors send it, still drains.
    let sent = elapsed();
    server.process.terminate();
    let is_one_wish = elapsed() - sent < Duration::from_millis(900);
    server.process.until_says("draining", "");
    pause(Duration::from_millis(300));
    assert!(server.process.runs() || !is_one_wish, "it stopped at the second of two signals at once");
    until("a later one stops it", || {
        server.process.terminate();
        pause(Duration::from_millis(100));
        server.process.says().contains("stopped at once").then_some(())
    });
    assert_ne!(server.process.ended().code, 0, "it did not end well");
    let server = Server::start(&files);
    let order = server.api.get("/v1/awards/u1_film_1_coupon_1").json();
    assert!(order["state"] == "unknown" || order["state"] == "crediting", "{order}");
    drop(server);
    // Another downstream cannot know what became of it, and must not be sent it (I10).
    files.write("topology.yaml", TOPOLOGY);
    let server = Server::spawn(&files, &[]);
    until("the lane says why it stands", || {
        server.api.get("/readyz").text().contains("unresolved at").then_some(())
    });
    assert_eq!(server.api.get("/v1/lanes").json()[1]["state"], "degraded", "one of two partitions");
    assert_eq!(server.api.decide(&award("u1_rain_1_cash_1")).json()["status"], "accepted");
}
