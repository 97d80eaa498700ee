//! The crash test: a server is killed again and again at random moments while awards rain in and a
//! flaky downstream that is never killed gives rewards. In the end nothing acknowledged is missing,
//! nothing is there twice, and all books agree (R1, R3, I2, I4, I6, I10, I11, I13, I15, I18, I25).
//!
//! `HONGBAO_CRASH_KILLS=1000` for a long run, `HONGBAO_CRASH_SEED` for another one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[expect(dead_code, unused_imports, reason = "each test binary uses another part of the harness")]
mod node;
#[expect(dead_code, reason = "the crash harness uses more of it")]
#[path = "crashes/src/topology.rs"]
mod topology;
mod traffic;

use std::collections::BTreeMap;
use std::time::Duration;

use node::{Call, Client, Dice, Files, Process, Server, elapsed, pause, run, until, until_for};
use serde_json::{Value, json};
use topology::{CAMPAIGN, Keys, Shape, topology};
use traffic::{Sent, Traffic};

const KILLS: u64 = 12;
/// Longest time that the last orders may take, retries and late effects included.
const SETTLE_DEADLINE: Duration = Duration::from_secs(300);

/// The downstream outside: its process and what it says of itself.
struct Mall {
    process: Process,
    api: Client,
}

impl Mall {
    fn start(files: &Files, profile: &str, book: &str, seed: u64) -> Self {
        let seed = seed.to_string();
        let all =
            ["downstream", "--listen", "127.0.0.1:0", "--profile", profile, "--book", book, "--seed", &seed];
        let mut process = Process::start(&Call::new(files, &all));
        let address = process.until_says("http://", "");
        Self { process, api: Client::new(&format!("http://{address}")) }
    }

    fn book(&self) -> Value {
        self.api.get("/book").json()
    }
}

#[expect(clippy::disallowed_methods, reason = "a test takes its length and seed from the environment")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Kills servers until there were enough kills, and returns one that lives.
fn kill_again_and_again(files: &Files, traffic: &Traffic, kills: u64, dice: &mut Dice) -> Server {
    let mut accepted_before = 0;
    let mut in_recovery = 0;
    for kill in 1..=kills {
        let acknowledged = traffic.acknowledged();
        // A process that is young still recovers, and the third always is.
        if kill == 3 || dice.below(4) == 0 {
            let mut process = Process::up(files, "127.0.0.1:0", &[]);
            pause(Duration::from_millis(dice.below(400)));
            process.kill();
            in_recovery += 1;
            continue;
        }
        let mut server = Server::spawn(files, &[]);
        accepted_before = nothing_is_missing(&server, traffic, acknowledged, accepted_before);
        traffic.send_to(Some(server.api.base()));
        pause(Duration::from_millis(100 + dice.below(1400)));
        server.process.kill();
        traffic.send_to(None);
    }
    eprintln!("{kills} kills, {in_recovery} of them early; {} awards sent", traffic.acknowledged());
    let server = Server::spawn(files, &[]);
    nothing_is_missing(&server, traffic, traffic.acknowledged(), accepted_before);
    server
}

/// The first read that is answered shows everything that was acknowledged before the start, and
/// counts never go back (I18, I25).
fn nothing_is_missing(server: &Server, traffic: &Traffic, acknowledged: u64, accepted_before: u64) -> u64 {
    let counts = until("reads are answered", || {
        let answer = server.api.get("/v1/counts");
        if answer.status != 200 {
            assert_eq!((answer.status, answer.problem()), (503, "recovering".to_owned()));
        }
        (answer.status == 200).then(|| answer.json())
    });
    let accepted = counts["accepted"].as_u64().unwrap();
    assert!(accepted >= acknowledged, "{acknowledged} orders were acknowledged and {accepted} are there");
    assert!(accepted >= accepted_before, "{accepted_before} were shown before, now {accepted}");
    for order_no in traffic.newest_acknowledged() {
        let answer = server.api.get(&format!("/v1/awards/{order_no}"));
        assert_eq!(answer.status, 200, "{order_no} was acknowledged: {}", answer.text());
        assert_ne!(answer.json()["state"], "rejected", "{order_no}");
    }
    accepted
}

/// Waits until every order of every lane has ended, and returns the lanes by name.
fn settled(server: &Server) -> BTreeMap<String, Value> {
    server.until_folded();
    until_for(SETTLE_DEADLINE, "all orders end", || {
        let lanes = server.api.get("/v1/lanes").json();
        let lanes = lanes.as_array().unwrap();
        let waits = lanes.iter().any(|lane| lane["backlog"] != 0);
        let named = lanes.iter().map(|lane| (lane["lane"].as_str().unwrap().to_owned(), lane.clone()));
        (!waits).then(|| named.collect())
    })
}

fn count(lane: &Value, field: &str) -> u64 {
    lane[field].as_u64().unwrap()
}

/// Lanes, totals, wallets and counts against what was sent.
fn views_agree(server: &Server, lanes: &BTreeMap<String, Value>, sent: &Sent) {
    let counts = server.api.get("/v1/counts").json();
    assert_eq!(counts["accepted"], sent.orders(), "each accepted exactly once (I2): {counts}");
    assert_eq!((&counts["undecodable"], &counts["parked"]), (&json!(0), &json!(0)), "{counts}");
    for (name, least) in
        [("duplicate", sent.repeats), ("conflict", sent.conflicts), ("rejected", sent.refusals)]
    {
        // More, where a batch was sent again because its answer was lost.
        assert!(counts[name].as_u64().unwrap() >= least, "{name}: at least {least} were sent: {counts}");
    }
    let totals = server.api.get("/v1/totals?group_by=reward_type").json();
    let mut found = BTreeMap::new();
    for row in totals["rows"].as_array().unwrap() {
        let figure = |field: &str| row[field].as_i64().unwrap();
        let reward_type = row["reward_type"].as_str().unwrap().to_owned();
        found.insert(reward_type, (figure("accepted_count") as u64, figure("accepted_minor")));
    }
    assert_eq!(found, sent.by_type);
    for (lane, reward_type) in [("cash", "cash"), ("coupon", "coupon.film"), ("other", "pendant")] {
        let lane = &lanes[lane];
        let ended = count(lane, "credited") + count(lane, "refused") + count(lane, "reported");
        assert_eq!(ended, sent.by_type[reward_type].0, "{lane}");
        assert_eq!((count(lane, "unknown"), count(lane, "refused")), (0, 0), "{lane}");
    }
    for (act_id, sums) in sent.people.iter().take(200) {
        let wallet = server.api.get(&format!("/v1/wallets/{act_id}")).json();
        let rows = wallet["balances"].as_array().unwrap().iter();
        let income = rows
            .map(|row| (row["asset"].as_str().unwrap().to_owned(), row["income_minor"].as_i64().unwrap()));
        assert_eq!(&income.collect::<BTreeMap<_, _>>(), sums, "{act_id}: {wallet}");
    }
    let metrics = server.api.get("/metrics").text();
    assert!(metrics.lines().any(|line| line == "hongbao_contradictions_total 0"), "{metrics}");
}

/// What really happened downstream against what the lane says (I9, I10, I13).
fn book_agrees(name: &str, book: &Value, lane: &Value) {
    let (effects, credited, reported) =
        (count(book, "effects"), count(lane, "credited"), count(lane, "reported"));
    eprintln!("{name}: {credited} credited, {reported} reported, {} sent; {book}", count(lane, "sent"));
    assert_eq!((&book["double_effects"], &book["payload_mismatches"]), (&json!(0), &json!(0)), "{name}");
    assert!(effects >= credited, "{name}: credits without effect (I9)");
    assert!(effects <= credited + reported, "{name}: effects that nobody knows of");
}

#[test]
fn nothing_is_lost_and_nothing_is_doubled() {
    let (kills, seed) = (number("HONGBAO_CRASH_KILLS", KILLS), number("HONGBAO_CRASH_SEED", 1));
    eprintln!("HONGBAO_CRASH_SEED={seed} HONGBAO_CRASH_KILLS={kills}");
    let mut dice = Dice(seed);
    let outside = Files::new();
    let keys = Keys::ForADay;
    let mut mall = Mall::start(&outside, keys.flaky(), &outside.path("mall.book"), seed);
    // Pendants come from a simulation in the process, which dies with it and keeps its book.
    let partner = Some("flaky");
    let (mall_at, timeout_ms, batch_items) = (mall.api.base(), 500, 200);
    let shape = Shape { partitions: 2, mall: mall_at, timeout_ms, batch_items, keys, partner };
    let files = Files::with(&topology(&shape), CAMPAIGN);
    let traffic = Traffic::start(seed);
    let server = kill_again_and_again(&files, &traffic, kills, &mut dice);
    traffic.send_to(Some(server.api.base()));
    let sent = traffic.finish();
    assert!(sent.orders() > 1000 && sent.conflicts > 0 && sent.repeats > 0 && sent.refusals > 0, "{sent:?}");

    let lanes = settled(&server);
    views_agree(&server, &lanes, &sent);
    server.stop();
    let (config, data) = (files.path("topology.yaml"), files.path("data"));
    let checked = run(&files, &["check", "--config", &config, "--data-dir", &data]).with_code(0);
    assert!(mall.process.runs(), "the downstream was never killed");
    book_agrees("mall", &mall.book(), &lanes["coupon"]);
    let partner = Mall::start(&outside, "steady", &files.path("data/simulated/partner.book"), 1);
    book_agrees("partner", &partner.book(), &lanes["other"]);
    eprintln!("{}{} orders in {:.0} s", checked.stdout, sent.orders(), elapsed().as_secs_f64());
}
