//! The driver against a server that says exactly what a test wants, and the dispatcher against the
//! simulated downstream over real connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hongbao_engine::clock::SystemClock;
use hongbao_engine::partition::Partition;
use hongbao_schemas::order::Order;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::batch::Part;
use crate::downstream::Pause;
use crate::simulated::wire::{Action, HttpAnswer};
use crate::simulated::{Book, Profile, Simulation};

use super::*;

/// A request as a server reads it.
#[derive(Clone, Debug, Default)]
struct Got {
    head: String,
    body: Vec<u8>,
}

/// What a server does with a request: bytes to answer with, after which the connection closes.
type Handler = Arc<dyn Fn(&Got) -> Reaction + Send + Sync>;

enum Reaction {
    Answer(Vec<u8>),
    Hang,
}

struct Server {
    runtime: Runtime,
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    open_most: Arc<AtomicUsize>,
}

impl Server {
    fn start(handler: impl Fn(&Got) -> Reaction + Send + Sync + 'static) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (got, open_most) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (handler, seen, most) = (Arc::new(handler) as Handler, got.clone(), open_most.clone());
        let open = Arc::new(AtomicUsize::new(0));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, seen, most, open) = (handler.clone(), seen.clone(), most.clone(), open.clone());
                tokio::spawn(async move {
                    most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    serve(stream, &handler, &seen).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { runtime, url, got, open_most }
    }

    fn spec(&self, mode: Mode) -> HttpSpec {
        HttpSpec {
            url: format!("{}/grant", self.url),
            query_url: Some(format!("{}/query", self.url)),
            mode,
            max_items: 10,
            batch_delay: Duration::ZERO,
            max_in_flight: 8,
            timeout: Duration::from_millis(400),
            key_life: KeyLife::Forever,
            bearer_file: None,
            namespace: "ns".to_owned(),
        }
    }

    fn open(&self, spec: HttpSpec) -> HttpDownstream {
        let clock = Arc::new(SystemClock::new());
        HttpDownstream::open(spec, self.runtime.handle().clone(), clock, Arc::new(|| {})).unwrap()
    }
}

async fn serve(mut stream: TcpStream, handler: &Handler, seen: &Mutex<Vec<Got>>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap().to_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    while bytes.len() < head_end + length {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    let got = Got { head, body: bytes[head_end..].to_vec() };
    seen.lock().push(got.clone());
    match handler(&got) {
        Reaction::Answer(answer) => _ = stream.write_all(&answer).await,
        Reaction::Hang => tokio::time::sleep(Duration::from_secs(5)).await,
    }
}

fn http(status: u16, headers: &str, body: &str) -> Reaction {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    Reaction::Answer((head + body).into_bytes())
}

/// Nobody takes the connection: it is certain that nothing was sent, and found out long before the
/// whole timeout has passed.
#[test]
fn a_connection_that_does_not_come_about_was_certainly_not_sent() {
    let server = Server::start(|_| http(200, "", "{}"));
    let full = server.runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        // The queue of connections that nobody accepts is full from here on.
        let mut waiting = Vec::new();
        for _ in 0..8 {
            let connecting = TcpStream::connect(address);
            if let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), connecting).await {
                waiting.push(stream);
            }
        }
        (listener, waiting)
    });
    let url = format!("http://{}/grant", full.0.local_addr().unwrap());
    let spec = HttpSpec { url, timeout: Duration::from_secs(2), ..server.spec(Mode::Batch) };
    let mut downstream = server.open(spec);
    let (outcomes, pause) = send(&mut downstream, batch(2));
    assert!(matches!(outcomes, Outcomes::All(Outcome::NotSent(_))), "{outcomes:?}");
    assert_eq!(pause, None);
}

fn record(index: usize) -> Vec<u8> {
    let mut record = Vec::new();
    let order_no = format!("u_s_1_t_{index}");
    let (act_id, reward_type, reward_id, asset) = ("u", "cash", "", "CNY/2");
    let order = Order {
        order_no: &order_no,
        act_id,
        reward_type,
        reward_id,
        asset,
        amount_minor: 7,
        accepted_at_ms: 5,
    };
    order.encode(&mut record);
    record
}

fn batch(count: usize) -> Batch {
    let parts = (0..count).map(|index| Part::One { seq: index as u64 + 1, record: record(index).into() });
    Batch::new("cash".into(), Partition(0), parts.collect())
}

#[expect(clippy::disallowed_methods, reason = "waits for real connections")]
fn wait(downstream: &mut HttpDownstream, count: usize) -> Vec<Completion> {
    let mut done = Vec::new();
    for _ in 0..1_000 {
        downstream.poll(&mut done);
        if done.len() >= count {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    done
}

fn send(downstream: &mut HttpDownstream, batch: Batch) -> (Outcomes, Option<Pause>) {
    downstream.submit(Ticket(1), batch);
    match wait(downstream, 1).pop().unwrap().result {
        Completed::Sent { outcomes, pause } => (outcomes, pause),
        other => panic!("{other:?}"),
    }
}

fn unknown(outcomes: &Outcomes) -> &str {
    match outcomes {
        Outcomes::All(Outcome::Unknown(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_single_order_carries_its_key_in_body_and_header() {
    let server =
        Server::start(|_| http(200, "", r#"{"idempotency_key":"ns/u_s_1_t_0","result":"credited"}"#));
    let mut downstream = server.open(server.spec(Mode::Single));
    assert_eq!(downstream.capabilities().max_items, 1);
    assert_eq!(send(&mut downstream, batch(1)).0, Outcomes::All(Outcome::Credited));
    let got = server.got.lock()[0].clone();
    assert!(got.head.starts_with("post /grant http/1.1"), "{}", got.head);
    assert!(got.head.contains("idempotency-key: ns/u_s_1_t_0\r\n"), "{}", got.head);
    assert!(got.head.contains("content-type: application/json\r\n"), "{}", got.head);
    assert!(
        String::from_utf8(got.body).unwrap().starts_with(r#"{"idempotency_key":"ns/u_s_1_t_0","order_no""#)
    );
}

#[test]
fn a_query_names_the_key_and_is_understood() {
    let server = Server::start(|_| http(200, "", r#"{"result":"absent"}"#));
    let mut downstream = server.open(server.spec(Mode::Batch));
    downstream.ask(Ticket(7), record(3).into());
    let done = wait(&mut downstream, 1);
    assert_eq!(
        done,
        [Completion { ticket: Ticket(7), result: Completed::Asked { told: Told::Absent, pause: None } }]
    );
    let got = server.got.lock()[0].clone();
    assert!(got.head.starts_with("get /query?key=ns%2fu_s_1_t_3 http/1.1"), "{}", got.head);
}

#[test]
fn what_breaks_after_the_connection_is_unknown() {
    let long = format!(r#"{{"items":[],"x":"{}"}}"#, "x".repeat(200_000));
    type React = Box<dyn Fn() -> Reaction + Send + Sync>;
    let table: [(&str, React, &str); 6] = [
        ("closed without an answer", Box::new(|| Reaction::Answer(Vec::new())), ""),
        ("half an answer", Box::new(|| Reaction::Answer(b"HTTP/1.1 200 OK\r\nconte".to_vec())), ""),
        (
            "half a body",
            Box::new(|| {
                Reaction::Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"items\"".to_vec())
            }),
            "answer too long or cut off",
        ),
        ("too long a body", Box::new(move || http(200, "", &long)), "answer too long or cut off"),
        ("not HTTP", Box::new(|| Reaction::Answer(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec())), ""),
        ("no answer", Box::new(|| Reaction::Hang), "timeout"),
    ];
    for (name, react, expected) in table {
        let server = Server::start(move |_| react());
        let mut downstream = server.open(server.spec(Mode::Batch));
        let (outcomes, pause) = send(&mut downstream, batch(2));
        let reason = unknown(&outcomes);
        assert!(reason.contains(expected) && !reason.contains("127.0.0.1"), "{name}: {reason}");
        assert_eq!(pause, None, "{name}");
        assert_eq!(server.got.lock().len(), 1, "{name}: sent once");
    }
}

#[test]
fn a_refused_connection_is_not_sent() {
    let server = Server::start(|_| http(200, "", ""));
    let mut spec = server.spec(Mode::Batch);
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    spec.url = format!("http://{free}/grant");
    let mut downstream = server.open(spec);
    let (outcomes, _) = send(&mut downstream, batch(2));
    assert!(matches!(&outcomes, Outcomes::All(Outcome::NotSent(_))), "{outcomes:?}");
}

#[test]
fn redirects_are_not_followed() {
    let server = Server::start(|_| http(307, "location: /elsewhere\r\n", ""));
    let mut downstream = server.open(server.spec(Mode::Batch));
    let (outcomes, pause) = send(&mut downstream, batch(1));
    assert_eq!(unknown(&outcomes), "status 307");
    assert!(pause.unwrap().is_configuration);
    assert_eq!(server.got.lock().len(), 1);
}

#[test]
fn the_retry_after_header_is_read() {
    let server = Server::start(|_| http(503, "retry-after: 9\r\n", "{}"));
    let mut downstream = server.open(server.spec(Mode::Batch));
    let pause = send(&mut downstream, batch(1)).1.unwrap();
    assert_eq!((pause.for_time, pause.is_configuration), (Duration::from_secs(9), false));
}

#[test]
fn a_token_is_sent_and_read_again_when_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let server = Server::start(|got| {
        let is_new = got.head.contains("authorization: bearer new\r\n");
        http(
            if is_new { 200 } else { 401 },
            "",
            r#"{"items":[{"idempotency_key":"ns/u_s_1_t_0","result":"credited"}]}"#,
        )
    });
    let spec = HttpSpec { bearer_file: Some(path.clone()), ..server.spec(Mode::Batch) };
    let open = |spec: HttpSpec| {
        let clock = Arc::new(SystemClock::new());
        HttpDownstream::open(spec, server.runtime.handle().clone(), clock, Arc::new(|| {}))
    };
    assert!(matches!(open(spec.clone()), Err(HttpError::Bearer { .. })), "no file");
    for (content, is_good) in [("\n", false), ("a\u{1}b", false), ("old\n", true)] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(open(spec.clone()).is_ok(), is_good, "{content:?}");
    }
    let mut downstream = open(spec).unwrap_or_else(|error| panic!("{error}"));
    assert!(send(&mut downstream, batch(1)).1.unwrap().is_configuration);
    assert!(server.got.lock()[0].head.contains("authorization: bearer old\r\n"));
    std::fs::write(&path, "new").unwrap();
    assert_eq!(send(&mut downstream, batch(1)).0, Outcomes::All(Outcome::Credited));
}

#[test]
fn addresses_are_checked() {
    let server = Server::start(|_| http(200, "", ""));
    for url in ["", "localhost:80", "ftp://x/", "http://", "/grant"] {
        let spec = HttpSpec { url: url.to_owned(), ..server.spec(Mode::Batch) };
        let clock = Arc::new(SystemClock::new());
        let opened = HttpDownstream::open(spec, server.runtime.handle().clone(), clock, Arc::new(|| {}));
        assert!(matches!(opened, Err(HttpError::Url(_))), "{url}");
    }
}

#[test]
fn no_more_requests_are_open_than_declared() {
    let server = Server::start(|_| Reaction::Hang);
    let mut downstream = server.open(HttpSpec { max_in_flight: 3, ..server.spec(Mode::Batch) });
    for ticket in 0..5 {
        downstream.submit(Ticket(ticket), batch(1));
    }
    let done = wait(&mut downstream, 5);
    let not_sent = |one: &&Completion| {
        matches!(&one.result, Completed::Sent { outcomes: Outcomes::All(Outcome::NotSent(_)), .. })
    };
    assert_eq!((done.len(), done.iter().filter(not_sent).count()), (5, 2));
    assert_eq!(server.open_most.load(Ordering::SeqCst), 3);
}

/// What the simulation wants to be done, as bytes. It does not wait: time here is real.
fn react(answer: &HttpAnswer) -> Reaction {
    match &answer.action {
        Action::Answer { status, retry_after_s, body } => {
            let retry = retry_after_s.map(|after| format!("retry-after: {after}\r\n")).unwrap_or_default();
            http(*status, &retry, std::str::from_utf8(body).unwrap())
        }
        Action::Hang => Reaction::Hang,
        Action::Cut => Reaction::Answer(Vec::new()),
    }
}

#[test]
fn driver_and_simulation_understand_each_other() {
    let profile = Profile {
        fail_after: 200,
        partial: 200,
        throttle_item: 100,
        scramble: 500,
        reject_item: 100,
        throttle: 100,
        ask_fails: 0,
        lose_answer: 0,
        late_effect: 0,
        max_items: 10,
        ..Profile::flaky()
    };
    let simulation = Arc::new(Mutex::new(Simulation::new(profile, 4, Book::new(), 0)));
    let served = simulation.clone();
    let server = Server::start(move |got| {
        let mut simulation = served.lock();
        if let Some(rest) = got.head.strip_prefix("get /query?key=") {
            let key = rest.split(' ').next().unwrap().replace("%2f", "/");
            return react(&simulation.query_http(&key, 0));
        }
        react(&simulation.grant_http(&got.body, None, 0))
    });
    let mut downstream = server.open(server.spec(Mode::Batch));
    let (mut credited, mut kinds) = (0, std::collections::BTreeSet::new());
    for round in 0..60 {
        let parts = (0..10)
            .map(|index| Part::One { seq: index + 1, record: record(round * 10 + index as usize).into() });
        let batch = Batch::new("cash".into(), Partition(0), parts.collect());
        let each = match send(&mut downstream, batch).0 {
            Outcomes::All(outcome) => vec![outcome; 10],
            Outcomes::Each(each) => each,
            Outcomes::Split(reason) => panic!("{reason}"),
        };
        for (index, outcome) in each.iter().enumerate() {
            let effects = simulation.lock().effects_of(&format!("ns/u_s_1_t_{}", round * 10 + index));
            match outcome {
                Outcome::Credited => assert_eq!(effects, 1),
                Outcome::Rejected(_) | Outcome::Throttled { .. } => assert_eq!(effects, 0),
                Outcome::Unknown(_) => {}
                other => panic!("{other:?}"),
            }
            credited += usize::from(*outcome == Outcome::Credited);
            kinds.insert(format!("{outcome:?}").chars().take(5).collect::<String>());
        }
    }
    assert!(credited > 200, "{credited}");
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["Credi", "Rejec", "Throt", "Unkno"]);
    assert_eq!(simulation.lock().counts().double_effects, 0);
}
