//! `hongbao downstream`: a simulated downstream over HTTP, with a book of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_sinks::simulated::wire::{Action, HttpAnswer};
use hongbao_sinks::simulated::{Book, Profile, Simulation};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::DownstreamArgs;
use crate::exit::{Failure, OK, Outcome, USAGE};

const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Late effects happen although nobody asks.
const ADVANCE_EVERY: Duration = Duration::from_millis(20);

struct Server {
    simulation: Mutex<Simulation>,
    clock: SystemClock,
}

/// Serves until SIGTERM or Ctrl-C.
pub fn run(args: &DownstreamArgs) -> Outcome {
    let profile = Profile::named(&args.profile).ok_or_else(|| {
        let names = Profile::NAMES.join(", ");
        Failure::new(USAGE, anyhow!("there is no profile `{}`; there are {names}", args.profile))
    })?;
    let book = match &args.book {
        None => Book::new(),
        Some(path) => Book::open(path).with_context(|| format!("cannot open the book {}", path.display()))?,
    };
    let clock = SystemClock::new();
    let simulation = Simulation::new(profile, args.seed, book, clock.wall_ms());
    let server = Arc::new(Server { simulation: Mutex::new(simulation), clock });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(server, args)).map_err(Failure::from)?;
    Ok(OK)
}

async fn serve(server: Arc<Server>, args: &DownstreamArgs) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    eprintln!("simulated downstream `{}`, seed {}, on http://{address}", args.profile, args.seed);
    eprintln!("  POST /grant   GET /query?key=   GET /book");
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut advance = tokio::time::interval(ADVANCE_EVERY);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = advance.tick() => server.simulation.lock().advance(server.clock.wall_ms()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => drop(tokio::spawn(connection(Arc::clone(&server), stream))),
                Err(error) => {
                    eprintln!("a connection was not accepted: {error}");
                    tokio::time::sleep(ADVANCE_EVERY).await;
                }
            },
        }
    }
}

async fn connection(server: Arc<Server>, stream: TcpStream) {
    let service = service_fn(move |request| answer(Arc::clone(&server), request));
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    // An error is a client that went away, or an answer that was cut on purpose.
    drop(builder.serve_connection(TokioIo::new(stream), service).await);
}

/// An error closes the connection without an answer.
async fn answer(server: Arc<Server>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let now_ms = || server.clock.wall_ms();
    let decided = match (&parts.method, parts.uri.path()) {
        (&Method::POST, "/grant") => {
            let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
                return response(413, None, b"{}".to_vec());
            };
            let key = parts.headers.get("idempotency-key").and_then(|value| value.to_str().ok());
            server.simulation.lock().grant_http(&body.to_bytes(), key, now_ms())
        }
        (&Method::GET, "/query") => {
            let query = parts.uri.query().unwrap_or_default();
            let key = query.split('&').find_map(|pair| pair.strip_prefix("key="));
            let Some(key) = key.and_then(decoded) else {
                return response(400, None, br#"{"reason":"`key` is missing"}"#.to_vec());
            };
            server.simulation.lock().query_http(&key, now_ms())
        }
        (&Method::GET, "/book") => return response(200, None, server.simulation.lock().book_http()),
        (_, "/grant" | "/query" | "/book") => return response(405, None, b"{}".to_vec()),
        _ => return response(404, None, b"{}".to_vec()),
    };
    end(decided).await
}

async fn end(decided: HttpAnswer) -> io::Result<Response<Full<Bytes>>> {
    tokio::time::sleep(decided.after).await;
    match decided.action {
        Action::Answer { status, retry_after_s, body } => response(status, retry_after_s, body),
        Action::Hang => std::future::pending().await,
        Action::Cut => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

fn response(status: u16, retry_after_s: Option<u64>, body: Vec<u8>) -> io::Result<Response<Full<Bytes>>> {
    let mut response = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    if let Some(after_s) = retry_after_s {
        response = response.header(RETRY_AFTER, after_s);
    }
    response.body(Full::new(body.into())).map_err(io::Error::other)
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded() {
        for (text, key) in [
            ("spring%2Fu1_rain-1_1_cash_1", Some("spring/u1_rain-1_1_cash_1")),
            ("a+b", Some("a b")),
            ("%E6%98%A5", Some("春")),
            ("%2", None),
            ("%zz", None),
            ("%ff", None),
        ] {
            assert_eq!(decoded(text).as_deref(), key, "{text}");
        }
    }
}
