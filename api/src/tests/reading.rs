//! A server over reads that a test writes the script of.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use hongbao_engine::clock::{Clock, ManualClock};
use hongbao_engine::log::Log;
use hongbao_engine::memory::log::MemoryLog;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::Script;
use crate::model::OrderView;
use crate::{ApiOptions, Server};

/// A server and what tells it to stop.
struct Running {
    runtime: Runtime,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<()>,
}

fn serve(script: Script, connections_max: usize) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(0));
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(2, Arc::clone(&clock)));
    let options = ApiOptions { connections_max, ..ApiOptions::new(None) };
    let server = Server::new(log, Arc::new(script), clock, options).unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    let served = runtime.spawn(server.serve(listener, stopping));
    Running { runtime, address, stop, served }
}

/// An order number of partition 0.
fn order_no() -> String {
    let is_home = |person: &String| hongbao_engine::partition::partition_of(person.as_bytes(), 2).0 == 0;
    let person = (0..).map(|number| format!("u{number}")).find(is_home).unwrap();
    format!("{person}_rain_1_cash_1")
}

fn refused(order_no: &str) -> OrderView {
    OrderView {
        order_no: order_no.to_owned(),
        act_id: "somebody else".to_owned(),
        reward_type: "cash".to_owned(),
        amount_minor: 1,
        state: "rejected".to_owned(),
        timeline: Vec::new(),
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A refused number stands where its award came in, whoever it names: its own person's partition alone
/// cannot say that it is unknown.
#[test]
fn an_order_is_unknown_only_when_all_partitions_are_folded() {
    let number = order_no();
    for (order, expected) in [(Some(refused(&number)), "200"), (None, "404")] {
        let running = serve(Script { passes_at: 3, order, ..Script::default() }, 8);
        let answer = get(running.address, &format!("/v1/awards/{number}"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
    }
}

#[test]
fn reads_of_a_stopped_partition_say_which_and_why() {
    let running = serve(Script::default(), 8);
    let answer = get(running.address, "/v1/wallets/u1");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    for part in ["\"partition_halted\"", "views/1: damaged", "retry-after: 30"] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
}

#[test]
fn a_full_server_stops_listening_when_it_is_told_to() {
    let running = serve(Script::default(), 1);
    // The only place is taken by a request whose body is awaited.
    let mut slow = TcpStream::connect(running.address).unwrap();
    let head = "content-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n";
    write!(slow, "POST /v1/awards HTTP/1.1\r\nhost: test\r\n{head}\r\n").unwrap();
    let mut awaited = [0; 12];
    slow.read_exact(&mut awaited).unwrap();
    assert_eq!(&awaited, b"HTTP/1.1 100");
    // What comes behind it is in the listener's queue or not taken at all.
    drop(TcpStream::connect(running.address).unwrap());
    running.stop.send_replace(true);
    let closed = std::iter::repeat_with(|| {
        std::thread::park_timeout(std::time::Duration::from_millis(5));
        TcpStream::connect(running.address).is_err()
    });
    assert!(closed.take(1_000).any(|closed| closed), "it goes on listening");
    // The place was held all the time.
    slow.write_all(b"{}").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("HTTP/1.1 400"), "{answer}");
    running.runtime.block_on(running.served).unwrap();
}
