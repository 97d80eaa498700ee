//! The HTTP client of the looking and publishing commands.

use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde_json::Value;
use tokio::sync::watch;

use crate::cli::Global;
use crate::exit::{FAILED, FORBIDDEN, Failure, UNREACHABLE, USAGE};

/// Longest body of an answer that is read, in bytes: far more than any answer of the API, and no more
/// than a machine can spare for one that is sent by something else.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why there is no answer to a request.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    /// No whole answer arrived.
    #[error(transparent)]
    Broken(#[from] reqwest::Error),
    /// The answer is longer than it may be; the rest was not read.
    #[error("the answer is longer than {most} bytes: is this a hongbao server?")]
    TooLong {
        /// What it may have.
        most: usize,
    },
}

/// A server's answer that is not a connection failure.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// The JSON body, null if it is none.
    pub body: Value,
    /// The server's advice on when to try again.
    pub retry_after_s: Option<u64>,
}

/// A client of one server, with a small runtime of its own.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
    server: String,
    token: Option<String>,
}

impl Client {
    /// A client as the global options say.
    pub fn new(global: &Global) -> Result<Self, Failure> {
        let server = address(&global.server)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(60))
            .build()
            .context("cannot make an HTTP client")?;
        let token = match &global.token_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the token file {}", path.display()))?;
                Some(text.trim().to_owned())
            }
        };
        Ok(Self { runtime, http, server, token })
    }

    /// The server's address.
    pub fn server(&self) -> &str {
        &self.server
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.server));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn send(&self, request: RequestBuilder) -> Result<Answer, Failure> {
        self.checked(self.runtime.block_on(exchange(request)))
    }

    fn checked(&self, sent: Result<Answer, ExchangeError>) -> Result<Answer, Failure> {
        let answer = sent.map_err(|error| match error {
            ExchangeError::Broken(error) => {
                let hint = format!("cannot reach the server at {} (is `hongbao up` running?)", self.server);
                Failure::new(UNREACHABLE, anyhow!(error).context(hint))
            }
            long @ ExchangeError::TooLong { .. } => {
                Failure::new(FAILED, anyhow!(long).context(format!("{} answers too much", self.server)))
            }
        })?;
        if answer.status == StatusCode::UNAUTHORIZED || answer.status == StatusCode::FORBIDDEN {
            let error = anyhow!("{}; give --token-file", problem_text(&answer.body));
            return Err(Failure::new(FORBIDDEN, error));
        }
        Ok(answer)
    }

    /// `GET path`, whatever the status.
    pub fn try_get(&self, path: &str) -> Result<Answer, Failure> {
        self.send(self.request(Method::GET, path))
    }

    /// `GET path`, where anything but 200 is a failure.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        let answer = self.try_get(path)?;
        if answer.status != StatusCode::OK {
            let error = anyhow!("{} (HTTP {})", problem_text(&answer.body), answer.status.as_u16());
            return Err(Failure::new(FAILED, error));
        }
        Ok(answer.body)
    }

    /// Publishes NDJSON without waiting for verdicts.
    pub fn publish(&self, lines: Vec<u8>) -> Result<Answer, Failure> {
        self.send(self.awards(lines, 0))
    }

    /// Publishes NDJSON, waiting up to `wait_s` seconds for verdicts. Nothing when `stop` turned
    /// true first; whether the awards were taken is not known then.
    pub fn publish_unless(
        &self,
        stop: &mut watch::Receiver<bool>,
        lines: Vec<u8>,
        wait_s: u32,
    ) -> Result<Option<Answer>, Failure> {
        let request = self.awards(lines, wait_s);
        let sent = self.runtime.block_on(async {
            tokio::select! {
                sent = exchange(request) => Some(sent),
                () = stopped(stop) => None,
            }
        });
        sent.map(|sent| self.checked(sent)).transpose()
    }

    /// Waits; false when `stop` turned true first.
    pub fn pause_unless(&self, stop: &mut watch::Receiver<bool>, pause: Duration) -> bool {
        self.runtime.block_on(async {
            tokio::select! {
                () = tokio::time::sleep(pause) => true,
                () = stopped(stop) => false,
            }
        })
    }

    fn awards(&self, lines: Vec<u8>, wait_s: u32) -> RequestBuilder {
        let mut request = self
            .request(Method::POST, "/v1/awards")
            .header("content-type", "application/x-ndjson")
            .body(lines);
        if wait_s > 0 {
            request = request.header("prefer", format!("wait={wait_s}"));
        }
        request
    }
}

async fn exchange(request: RequestBuilder) -> Result<Answer, ExchangeError> {
    let mut response = request.send().await?;
    let status = response.status();
    let header = response.headers().get(reqwest::header::RETRY_AFTER);
    let retry_after_s = header.and_then(|value| value.to_str().ok()?.parse().ok());
    let bytes = body_of(&mut response, ANSWER_BYTES_MAX).await?;
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok(Answer { status, body, retry_after_s })
}

/// The body of an answer, of at most so many bytes: no more than that is ever held (I29).
async fn body_of(response: &mut reqwest::Response, most: usize) -> Result<Vec<u8>, ExchangeError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if piece.len() > most - body.len() {
            return Err(ExchangeError::TooLong { most });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Returns when `stop` turns true; never, when nobody is left to turn it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A server's address: `http` or `https`, a host, and maybe a path to put before every other.
fn address(text: &str) -> Result<String, Failure> {
    let wrong = |why: &str| {
        // What is no URL may hold a password anywhere.
        let shown = if text.contains('@') { "--server".to_owned() } else { format!("--server `{text}`") };
        Failure::new(USAGE, anyhow!("{shown}: {why}; write it as `http://127.0.0.1:8080`"))
    };
    let url = Url::parse(text).map_err(|error| wrong(&format!("not a URL ({error})")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a user name or password is not sent, give --token-file"));
    }
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err(wrong("not an http or https URL"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("a query or fragment has no place here"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The text of a problem body.
pub fn problem_text(body: &Value) -> String {
    match (body["detail"].as_str(), body["code"].as_str()) {
        (Some(detail), Some(code)) => format!("{detail} [{code}]"),
        _ => "the server's answer was not understood".to_owned(),
    }
}

/// A path segment with everything but unreserved characters encoded.
pub fn segment(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            write!(encoded, "%{byte:02X}").unwrap_or_default();
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that answers one request with so many bytes, without saying how many.
    fn answered(bytes: usize, most: usize) -> Result<Vec<u8>, ExchangeError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
            // Whoever has read enough closes the connection.
            drop(stream.write_all(&[&head[..], &vec![b' '; bytes]].concat()));
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let body = runtime.block_on(async {
            let mut response = reqwest::get(format!("http://{address}/")).await?;
            body_of(&mut response, most).await
        });
        // Closes the connection, at which a server that still writes gives up.
        drop(runtime);
        server.join().unwrap();
        body
    }

    #[test]
    fn an_answer_is_read_up_to_a_limit() {
        assert_eq!(answered(1_000, 1_000).unwrap().len(), 1_000);
        assert_eq!(answered(0, 0).unwrap().len(), 0);
        for (bytes, most) in [(1_001, 1_000), (8 << 20, 1_000), (1, 0)] {
            let refused = answered(bytes, most);
            assert!(matches!(refused, Err(ExchangeError::TooLong { .. })), "{bytes}: {:?}", refused.err());
        }
    }

    #[test]
    fn an_answer_without_end_is_named() {
        let told = ExchangeError::TooLong { most: ANSWER_BYTES_MAX }.to_string();
        assert_eq!(told, "the answer is longer than 67108864 bytes: is this a hongbao server?");
    }
}
