//! Moves a request and its answer, within the timeout and the bounds.

use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_engine::mutant;
use parking_lot::Mutex;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, Url};

use crate::batch::Batch;
use crate::downstream::{Outcome, Outcomes, Pause, Reason, Told};

use super::answer::{Answer, asked, sent};
use super::request::{key_of, request};
use super::{HttpError, HttpSpec, Mode};

/// Bytes of an answer that are read at least, ...
const ANSWER_BYTES_BASE: usize = 64 * 1024;
/// ... and for each item besides.
const ANSWER_BYTES_PER_ITEM: usize = 1024;
/// Longest `Retry-After` value looked at.
const HEADER_BYTES_MAX: usize = 64;

/// Longest time that a connection may take, however long the timeout is.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// A client with its addresses.
pub struct Transfer {
    client: Client,
    spec: HttpSpec,
    url: Url,
    query_url: Option<Url>,
    bearer: Mutex<Bearer>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Bearer {
    header: Option<HeaderValue>,
    is_stale: bool,
}

/// An answer, owned.
struct Received {
    status: u16,
    retry_after: Option<String>,
    body: Option<Vec<u8>>,
}

/// What became of a request that got no answer.
enum Failed {
    NotSent(Reason),
    Unknown(Reason),
}

impl Transfer {
    /// Checks addresses and token, and builds the client.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn open(spec: HttpSpec, clock: Arc<dyn Clock>) -> Result<Self, HttpError> {
        let url = parse_url("url", &spec.url)?;
        let query_url = spec.query_url.as_deref().map(|url| parse_url("query_url", url)).transpose()?;
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .http1_only()
            .timeout(spec.timeout)
            .connect_timeout(connect_timeout(spec.timeout))
            .pool_max_idle_per_host(spec.max_in_flight.max(1) as usize)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| HttpError::Client(describe(&error)))?;
        let bearer = Bearer { header: read_bearer(&spec)?, is_stale: false };
        Ok(Self { client, spec, url, query_url, bearer: Mutex::new(bearer), clock })
    }

    /// Monotonic.
    pub fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Posts a batch that was submitted at a monotonic time, from which the timeout counts: what
    /// had to wait for too long does not leave any more.
    pub async fn send(&self, batch: &Batch, submitted_at: Duration) -> (Outcomes, Option<Pause>) {
        let is_single = self.spec.mode == Mode::Single;
        let Some(request) = request(&self.spec.namespace, batch, is_single) else {
            // Nothing left, and nothing ever will: found out by splitting when there are many.
            return (Outcomes::Split(Reason::Borrowed("order cannot be decoded")), None);
        };
        let bytes_max = ANSWER_BYTES_BASE + request.keys.len() * ANSWER_BYTES_PER_ITEM;
        let mut post = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(key) = request.keys.first().filter(|_| is_single) {
            post = post.header("idempotency-key", key);
        }
        let waited = self.now().saturating_sub(submitted_at);
        let Some(left) = self.spec.timeout.checked_sub(waited).filter(|left| !left.is_zero()) else {
            return (Outcomes::All(Outcome::NotSent(Reason::Borrowed("not sent in time"))), None);
        };
        match self.exchange(post.timeout(left).body(request.body), bytes_max).await {
            Ok(received) => sent(&request.keys, is_single, &received.answer(&*self.clock)),
            Err(Failed::NotSent(why)) => (Outcomes::All(Outcome::NotSent(why)), None),
            Err(Failed::Unknown(why)) => (Outcomes::All(Outcome::Unknown(why)), None),
        }
    }

    /// Asks about an order.
    pub async fn ask(&self, record: &[u8]) -> (Told, Option<Pause>) {
        let Some(url) = &self.query_url else {
            return (Told::Unknown(Reason::Borrowed("there is no query_url")), None);
        };
        let Some(key) = key_of(&self.spec.namespace, record) else {
            return (Told::Unknown(Reason::Borrowed("order cannot be decoded")), None);
        };
        let get = self.client.get(url.clone()).query(&[("key", &key)]);
        match self.exchange(get, ANSWER_BYTES_BASE).await {
            Ok(received) => asked(&received.answer(&*self.clock)),
            Err(Failed::NotSent(why) | Failed::Unknown(why)) => (Told::Unknown(why), None),
        }
    }

    async fn exchange(&self, request: RequestBuilder, bytes_max: usize) -> Result<Received, Failed> {
        let mut request = request.header(ACCEPT, "application/json");
        if let Some(bearer) = self.bearer() {
            request = request.header(AUTHORIZATION, bearer);
        }
        hongbao_engine::kill_point!("http.request.before");
        let response = request.send().await.map_err(|error| {
            let why = Reason::Owned(describe(&error));
            // Only what failed before a connection was there has certainly not left.
            let is_not_sent = error.is_connect() || error.is_builder() || mutant!(M99);
            if is_not_sent { Failed::NotSent(why) } else { Failed::Unknown(why) }
        })?;
        hongbao_engine::kill_point!("http.answer.begun");
        let status = response.status().as_u16();
        if status == 401 {
            self.bearer.lock().is_stale = true;
        }
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.filter(|value| value.len() <= HEADER_BYTES_MAX).map(str::to_owned);
        let body = read_body(response, bytes_max).await;
        hongbao_engine::kill_point!("http.answer.read");
        Ok(Received { status, retry_after, body })
    }

    /// The token, read again if it was refused since.
    fn bearer(&self) -> Option<HeaderValue> {
        let mut bearer = self.bearer.lock();
        if bearer.is_stale {
            bearer.is_stale = false;
            match read_bearer(&self.spec) {
                Ok(header) => bearer.header = header,
                Err(error) => tracing::warn!(%error, "keeping the old token"),
            }
        }
        bearer.header.clone()
    }
}

impl Received {
    fn answer(&self, clock: &dyn Clock) -> Answer<'_> {
        Answer {
            status: self.status,
            retry_after: self.retry_after.as_deref(),
            body: self.body.as_deref(),
            now_ms: clock.wall_ms(),
        }
    }
}

/// The whole body; none when it is longer than `bytes_max` or breaks off.
async fn read_body(mut response: Response, bytes_max: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > bytes_max {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

/// How long a connection may take: less than the whole, so that a connection that does not come
/// about is known as such, for then nothing was sent.
fn connect_timeout(timeout: Duration) -> Duration {
    (timeout / 2).min(CONNECT_TIMEOUT_MAX)
}

fn parse_url(name: &'static str, text: &str) -> Result<Url, HttpError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or(HttpError::Url(name))
}

fn read_bearer(spec: &HttpSpec) -> Result<Option<HeaderValue>, HttpError> {
    let Some(path) = &spec.bearer_file else { return Ok(None) };
    let wrong = |what: String| HttpError::Bearer { path: path.clone(), what };
    let token = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let token = token.trim();
    if token.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| wrong("it holds characters that no token has".to_owned()))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

/// What went wrong, without the address, which may hold secrets.
fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timeout".to_owned();
    }
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    if std::ptr::eq(deepest, error as &dyn std::error::Error) {
        "request failed".to_owned()
    } else {
        deepest.to_string()
    }
}
