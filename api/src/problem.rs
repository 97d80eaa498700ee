//! Errors as RFC 9457 problems with a stable `code`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A place in the request and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// RFC 6901; begins with the item's index when there are many.
    pub pointer: String,
    /// Stable code.
    pub code: String,
    /// For people.
    pub message: String,
}

/// An error answer.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: String,
    title: &'static str,
    detail: String,
    retryable: bool,
    retry_after_s: Option<u32>,
    faults: Vec<Fault>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    request_id: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
}

/// Identifier of the request being served, set by the outermost layer.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

tokio::task_local! {
    /// The request being served.
    pub static REQUEST_ID: RequestId;
}

impl Problem {
    /// A problem that the same request would meet again.
    pub fn new(status: StatusCode, code: &str, title: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let code = code.to_owned();
        Self { status, code, title, detail, retryable: false, retry_after_s: None, faults: Vec::new() }
    }

    /// A problem that passes: try again after the given seconds.
    pub fn passing(
        status: StatusCode,
        code: &str,
        title: &'static str,
        detail: impl Into<String>,
        after_s: u32,
    ) -> Self {
        let problem = Self::new(status, code, title, detail);
        Self { retryable: true, retry_after_s: Some(after_s), ..problem }
    }

    /// The same with named places.
    pub fn at(mut self, faults: Vec<Fault>) -> Self {
        self.faults = faults;
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let request_id = REQUEST_ID.try_with(|id| id.0.clone()).unwrap_or_default();
        let body = Body {
            kind: format!("urn:hongbao:problem:{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            code: &self.code,
            detail: &self.detail,
            request_id: &request_id,
            retryable: self.retryable,
            errors: &self.faults,
        };
        let text = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after_s) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after_s));
        }
        response
    }
}
