//! Requests, one after the other.

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::wait::until;

/// Seconds that an award's verdict is waited for.
const WAIT: &str = "wait=20";

/// A client of one server.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, which must be JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// A header, empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of a problem, whose fields must be in order.
    pub fn problem(&self) -> String {
        let text = self.text();
        assert_eq!(self.header("content-type"), "application/problem+json", "{} {text}", self.status);
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{text}");
        assert!(!self.header("x-request-id").is_empty(), "{text}");
        assert_eq!(problem["request_id"], self.header("x-request-id"), "{text}");
        assert!(problem["retryable"].is_boolean(), "{text}");
        assert_eq!(problem["retryable"] == true, !self.header("retry-after").is_empty(), "{text}");
        for field in ["type", "title", "detail", "code"] {
            assert!(problem[field].as_str().is_some_and(|found| !found.is_empty()), "{field}: {text}");
        }
        problem["code"].as_str().unwrap().to_owned()
    }

    /// The places that a problem names, with their codes.
    pub fn faults(&self) -> Vec<(String, String)> {
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        let text = |fault: &Value, field: &str| fault[field].as_str().unwrap().to_owned();
        errors
            .iter()
            .map(|fault| {
                assert!(!text(fault, "message").is_empty());
                (text(fault, "pointer"), text(fault, "code"))
            })
            .collect()
    }
}

impl Client {
    /// A client of the server at an address such as `http://127.0.0.1:8080`.
    pub fn new(base: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(60)).build().unwrap();
        Self { runtime, http, base: base.to_owned(), token: None }
    }

    /// The same with a token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..Self::new(&self.base) }
    }

    /// The server's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request to be completed and sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends; an error when there is no whole answer.
    pub fn send(&self, request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        self.runtime.block_on(async {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
        })
    }

    /// `GET`, which may find nobody.
    pub fn try_get(&self, path: &str) -> Result<Answer, reqwest::Error> {
        self.send(self.request(Method::GET, path))
    }

    /// `GET`; again as long as the answer is that the folds lag, which only says to ask again.
    pub fn get(&self, path: &str) -> Answer {
        until(&format!("the folds reach {path}"), || {
            let answer = self.try_get(path).unwrap();
            let lags = answer.status == 503 && answer.text().contains("\"lagging\"");
            (!lags).then_some(answer)
        })
    }

    /// `POST` of awards; with `wait` for their verdicts.
    pub fn try_publish(&self, media: &str, body: Vec<u8>, wait: bool) -> Result<Answer, reqwest::Error> {
        let mut request = self.request(Method::POST, "/v1/awards").body(body);
        if !media.is_empty() {
            request = request.header("content-type", media);
        }
        if wait {
            request = request.header("prefer", WAIT);
        }
        self.send(request)
    }

    /// `POST` of a JSON value: an award, or an array of them; waits for verdicts.
    pub fn decide(&self, awards: &Value) -> Answer {
        self.try_publish("application/json", awards.to_string().into_bytes(), true).unwrap()
    }

    /// `POST` of a JSON value without waiting for verdicts.
    pub fn queue(&self, awards: &Value) -> Answer {
        self.try_publish("application/json", awards.to_string().into_bytes(), false).unwrap()
    }
}
