//! The routes over a log in memory whose groups become durable when a test says so.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use hongbao_engine::clock::SystemClock;
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::partition::{Partition, partition_of};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::Script;
use crate::admission::Peer;
use crate::{ApiOptions, Server, body};

struct Api {
    log: Arc<MemoryLog>,
    reads: Arc<Script>,
    server: Server,
}

type Answering = Pin<Box<dyn Future<Output = Response<Body>>>>;

impl Api {
    fn new(change: impl FnOnce(&mut ApiOptions)) -> Self {
        let clock = Arc::new(SystemClock::new());
        let log = Arc::new(MemoryLog::manual(2, clock.clone()));
        let reads = Arc::new(Script::default());
        let mut options = ApiOptions::new(None);
        change(&mut options);
        let server = Server::new(log.clone(), reads.clone(), clock, options).unwrap();
        Self { log, reads, server }
    }

    /// A request of the client with this number, under way as soon as it is polled.
    fn ask(&self, client: u8, request: Request<Body>) -> Answering {
        let mut request = request;
        request.extensions_mut().insert(Peer(IpAddr::from([127, 0, 0, client])));
        let routes = self.server.routes();
        Box::pin(async move { routes.oneshot(request).await.unwrap() })
    }
}

/// Runs in a runtime, where time limits work.
fn within<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// Polls so often that whatever could go on has gone on.
async fn is_waiting(answering: &mut Answering) -> bool {
    for _ in 0..100 {
        let polled = poll_fn(|context| Poll::Ready(answering.as_mut().poll(context))).await;
        if polled.is_ready() {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}

async fn whole(answering: Answering) -> (StatusCode, HeaderMap, Value) {
    let (parts, content) = answering.await.into_parts();
    let bytes = body::read(&HeaderMap::new(), content).await.ok().unwrap();
    (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap())
}

fn award(user: u32) -> Value {
    json!({"order_no": format!("u{user}_rain_1_cash_1"), "act_id": format!("u{user}"), "activity_id": "spring",
        "scene_id": "rain", "reward_type": "cash", "amount_minor": 1, "event_time": "2027-02-05T20:00:00Z"})
}

fn post(media: &str, prefer: &str, content: String) -> Request<Body> {
    let request = Request::post("/v1/awards").header("content-type", media).header("prefer", prefer);
    request.body(Body::from(content)).unwrap()
}

/// No answer of success before a sync has covered every award of the request, verdicts or not (I25).
#[test]
fn awards_are_answered_when_they_are_durable_and_not_before() {
    let many: Vec<Value> = (0..20).map(award).collect();
    let lines: String = many.iter().map(|award| format!("{award}\n")).collect();
    let cases = [
        ("application/json", "", award(1).to_string(), 202),
        ("application/json", "wait=20", award(1).to_string(), 200),
        ("application/json", "", json!(many).to_string(), 202),
        ("application/x-ndjson", "wait=20", lines, 200),
    ];
    for (media, prefer, content, status) in cases {
        within(async {
            let api = Api::new(|_| {});
            let context = format!("{media} {prefer:?} {content}");
            let mut answering = api.ask(1, post(media, prefer, content));
            assert!(is_waiting(&mut answering).await, "nothing is durable: {context}");
            // Those of one award are in one partition, the others in both.
            let is_single = context.contains("u1_") && !context.contains("u2_");
            if !is_single {
                api.log.sync_groups(Partition(0), usize::MAX);
                assert!(is_waiting(&mut answering).await, "one partition is not durable: {context}");
            }
            api.log.sync();
            assert_eq!(whole(answering).await.0.as_u16(), status, "{context}");
        });
    }
}

/// The bug is planted for the whole process, in which no other test may run:
/// `cargo test --release -p hongbao-api --features mutants --lib planted`.
#[cfg(feature = "mutants")]
#[test]
fn each_planted_bug_is_caught() {
    use hongbao_engine::mutants::Below;

    Below::API.are_caught(|_| awards_are_answered_when_they_are_durable_and_not_before);
}

#[test]
fn a_log_that_fails_is_no_success() {
    within(async {
        let api = Api::new(|_| {});
        let mut answering = api.ask(1, post("application/json", "wait=20", award(1).to_string()));
        assert!(is_waiting(&mut answering).await);
        for partition in [0, 1] {
            api.log.fail(Partition(partition), "the disk is gone");
        }
        let (status, headers, problem) = whole(answering).await;
        assert_eq!((status.as_u16(), &problem["code"]), (503, &json!("log_failed")));
        assert!(headers.contains_key("retry-after") && problem["retryable"] == true, "{problem}");
    });
}

/// 429 for a client that asks too much at a time, 503 when all together do; then places are free.
#[test]
fn too_many_requests_at_a_time_are_turned_away() {
    within(async {
        let api = Api::new(|options| {
            options.client_in_flight_max = 2;
            options.in_flight_max = 3;
        });
        let publish = |client| api.ask(client, post("application/json", "", award(1).to_string()));
        let mut open = [publish(1), publish(1), publish(2)];
        for answering in &mut open {
            assert!(is_waiting(answering).await);
        }
        let counts = |client| api.ask(client, Request::get("/v1/counts").body(Body::empty()).unwrap());
        for (client, status, code) in
            [(1, 429, "too_many_requests"), (2, 503, "overloaded"), (3, 503, "overloaded")]
        {
            let (found, headers, problem) = whole(counts(client)).await;
            assert_eq!((found.as_u16(), &problem["code"]), (status, &json!(code)), "client {client}");
            assert!(headers.contains_key("retry-after") && problem["retryable"] == true, "{problem}");
        }
        // Probes are answered whatever is going on.
        let probe = Request::get("/readyz").body(Body::empty()).unwrap();
        assert_eq!(api.ask(1, probe).await.status(), 200);
        api.log.sync();
        for answering in open {
            assert_eq!(whole(answering).await.0.as_u16(), 202);
        }
        for client in [1, 2, 3] {
            assert_eq!(whole(counts(client)).await.0.as_u16(), 200);
        }
    });
}

/// A wait that is longer than the request may take ends with what is true: it is queued.
#[test]
fn a_wait_ends_before_the_request_times_out() {
    within(async {
        let api = Api::new(|options| options.request_timeout = Duration::from_millis(100));
        api.reads.is_silent.store(true, Ordering::SeqCst);
        let mut answering = api.ask(1, post("application/json", "wait=20", award(1).to_string()));
        assert!(is_waiting(&mut answering).await);
        api.log.sync();
        let (status, _, answer) = whole(answering).await;
        assert_eq!((status.as_u16(), &answer["status"]), (202, &json!("queued")));
    });
}

/// A page is bounded in bytes too, and the next one goes on where it ended.
#[test]
fn pages_of_large_records_are_cut() {
    within(async {
        let api = Api::new(|_| {});
        let mut large = award(1);
        large["ext"] = json!({"k": "x".repeat(1_000_000)});
        for _ in 0..10 {
            let mut answering = api.ask(1, post("application/json", "", json!([large, large]).to_string()));
            assert!(is_waiting(&mut answering).await);
            api.log.sync();
            assert_eq!(whole(answering).await.0.as_u16(), 202);
        }
        let (mut from, mut pages, mut found) = (0, 0, 0);
        let partition = partition_of(b"u1", 2).0;
        while found < 20 {
            let path =
                format!("/v1/topics/awards/records?partition={partition}&limit=10000&from=offset:{from}");
            let request = Request::get(path).body(Body::empty()).unwrap();
            let content = api.ask(1, request).await.into_body();
            let bytes = body::read(&HeaderMap::new(), content).await.ok().unwrap();
            let page: Value = serde_json::from_slice(&bytes).unwrap();
            let records = page["records"].as_array().unwrap().len() as u64;
            assert!(records > 0 && page["next"] == from + records, "{}", page["next"]);
            (from, pages, found) = (from + records, pages + 1, found + records);
        }
        assert!(pages > 3, "20 MB came in {pages} pages");
    });
}
