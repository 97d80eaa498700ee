//! The HTTP client of the looking and publishing commands.

use anyhow::{Context, anyhow};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use crate::cli::Global;
use crate::exit::{FAILED, FORBIDDEN, Failure, UNREACHABLE};

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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(std::time::Duration::from_secs(5))
            .timeout(std::time::Duration::from_secs(60))
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
        Ok(Self { runtime, http, server: global.server.trim_end_matches('/').to_owned(), token })
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
        let sent = self.runtime.block_on(async {
            let response = request.send().await?;
            let status = response.status();
            let header = response.headers().get(reqwest::header::RETRY_AFTER);
            let retry_after_s = header.and_then(|value| value.to_str().ok()?.parse().ok());
            let bytes = response.bytes().await?;
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            Ok::<_, reqwest::Error>(Answer { status, body, retry_after_s })
        });
        let answer = sent.map_err(|error| {
            let hint = format!("cannot reach the server at {} (is `hongbao up` running?)", self.server);
            Failure::new(UNREACHABLE, anyhow!(error).context(hint))
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

    /// Publishes NDJSON, waiting up to `wait_s` seconds for verdicts.
    pub fn publish(&self, lines: Vec<u8>, wait_s: u32) -> Result<Answer, Failure> {
        let mut request = self
            .request(Method::POST, "/v1/awards")
            .header("content-type", "application/x-ndjson")
            .body(lines);
        if wait_s > 0 {
            request = request.header("prefer", format!("wait={wait_s}"));
        }
        self.send(request)
    }
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
