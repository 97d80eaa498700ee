//! What took effect without an answer is not sent again (I10). With the feature `mutants` the bug that takes
//! this away is planted, and must be caught: `cargo test --release -p hongbao-sinks --features mutants --test
//! planted`. The simulator does without connections and cannot see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hongbao_engine::clock::SystemClock;
#[cfg(feature = "mutants")]
use hongbao_engine::mutants::Below;
use hongbao_engine::partition::Partition;
use hongbao_schemas::order::Order;
use hongbao_sinks::batch::{Batch, Part};
use hongbao_sinks::downstream::{Completed, Downstream, KeyLife, Outcome, Outcomes, Ticket};
use hongbao_sinks::http::{HttpDownstream, HttpSpec, Mode};

/// Only a connection that breaks ends an exchange here, never the time.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Who takes what was sent for not sent sends it again, and again.
const SENDS_MAX: u64 = 3;
/// Ways in which an answer does not come, each as the bytes that do.
const ENDINGS: [&[u8]; 2] = [b"", b"HTTP/1.1 200 OK\r\ncontent-le"];

/// A downstream that knows no keys: each request takes effect, and is answered with these bytes alone.
fn downstream(ending: &'static [u8]) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, effects) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counted = effects.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            read_request(&stream);
            counted.fetch_add(1, Ordering::SeqCst);
            (&stream).write_all(ending).unwrap();
            stream.shutdown(Shutdown::Both).unwrap();
        }
    });
    (address, effects)
}

fn read_request(stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_lowercase();
        if let Some(stated) = line.strip_prefix("content-length: ") {
            length = stated.parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
}

fn batch() -> Batch {
    let mut record = Vec::new();
    let order = Order {
        order_no: "u_s_1_t_0",
        act_id: "u",
        reward_type: "cash",
        reward_id: "",
        asset: "CNY/2",
        amount_minor: 7,
        accepted_at_ms: 5,
    };
    order.encode(&mut record);
    Batch::new("cash".into(), Partition(0), vec![Part::One { seq: 1, record: record.into() }])
}

fn what_took_effect_without_an_answer_is_not_sent_again() {
    for ending in ENDINGS {
        let (address, effects) = downstream(ending);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let spec = HttpSpec {
            url: format!("http://{address}/grant"),
            query_url: None,
            mode: Mode::Batch,
            max_items: 10,
            batch_delay: Duration::ZERO,
            max_in_flight: 1,
            timeout: TIMEOUT,
            key_life: KeyLife::None,
            bearer_file: None,
            namespace: "ns".to_owned(),
        };
        let (told, wakes) = mpsc::channel();
        let wake = Arc::new(move || told.send(()).unwrap_or_default());
        let clock = Arc::new(SystemClock::new());
        let mut http = HttpDownstream::open(spec, runtime.handle().clone(), clock, wake).unwrap();
        for sends in 1..=SENDS_MAX {
            http.submit(Ticket(sends), batch());
            let mut done = Vec::new();
            while done.is_empty() {
                wakes.recv_timeout(2 * TIMEOUT).unwrap();
                http.poll(&mut done);
            }
            // As the dispatcher does: what was certainly not sent is sent again.
            let completed = &done[0].result;
            let not_sent = |outcomes: &Outcomes| matches!(outcomes, Outcomes::All(Outcome::NotSent(_)));
            if !matches!(completed, Completed::Sent { outcomes, .. } if not_sent(outcomes)) {
                let unknown = |outcomes: &Outcomes| matches!(outcomes, Outcomes::All(Outcome::Unknown(_)));
                assert!(
                    matches!(completed, Completed::Sent { outcomes, .. } if unknown(outcomes)),
                    "{completed:?}"
                );
                break;
            }
        }
        let effects = effects.load(Ordering::SeqCst);
        assert_eq!(effects, 1, "paid {effects} times behind an answer of {} bytes", ending.len());
    }
}

#[test]
fn an_unanswered_request_is_paid_once() {
    what_took_effect_without_an_answer_is_not_sent_again();
    #[cfg(feature = "mutants")]
    Below::HTTP.are_caught(|_| what_took_effect_without_an_answer_is_not_sent_again);
}
