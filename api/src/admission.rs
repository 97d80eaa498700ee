//! What every request passes: an id, a token check, a bound on requests in flight and on time,
//! and a line in the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::auth::Role;
use crate::problem::{Problem, REQUEST_ID, RequestId};
use crate::routes::ApiState;

static REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Makes ids that do not repeat between processes or within one.
pub struct RequestIds {
    prefix: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids that begin with the given random number.
    pub fn new(prefix: u64) -> Self {
        Self { prefix, next: AtomicU64::new(1) }
    }

    fn next(&self) -> RequestId {
        RequestId(format!("req_{:012x}_{:x}", self.prefix >> 16, self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

/// The outermost layer.
pub async fn admit(State(state): State<Arc<ApiState>>, request: Request, next: Next) -> Response {
    let id = state.request_ids.next();
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let started = state.clock.monotonic();
    let mut response = REQUEST_ID
        .scope(id.clone(), async {
            match check(&state, &request, &route) {
                Ok(()) => bounded(&state, request, next).await,
                Err(problem) => problem.into_response(),
            }
        })
        .await;
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(&REQUEST_ID_HEADER, value);
    }
    let took = state.clock.monotonic().saturating_sub(started);
    state.metrics.answered(&route, response.status().as_u16(), took);
    response
}

async fn bounded(state: &ApiState, request: Request, next: Next) -> Response {
    // Probes and figures must answer when everything else is full.
    if !request.uri().path().starts_with("/v1/") {
        return next.run(request).await;
    }
    let Ok(_permit) = state.in_flight.try_acquire() else {
        state.metrics.shed("in_flight");
        let detail = "too many requests are being served";
        return Problem::passing(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded", detail, 1)
            .into_response();
    };
    match tokio::time::timeout(state.options.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => {
            let detail = "the request took too long; it may have had its effect, send it again";
            Problem::passing(StatusCode::SERVICE_UNAVAILABLE, "timeout", "Timed out", detail, 1)
                .into_response()
        }
    }
}

/// The role that a route needs; none for probes.
fn needed(method: &Method, route: &str) -> Option<Role> {
    match route {
        "/livez" | "/readyz" | "/v1/openapi.json" => None,
        "/v1/awards" | "/v1/awards/{order_no}" => Some(Role::Producer),
        _ if *method == Method::GET => Some(Role::Viewer),
        _ => Some(Role::Operator),
    }
}

fn check(state: &ApiState, request: &Request, route: &str) -> Result<(), Problem> {
    let (Some(tokens), Some(needed)) = (&state.options.tokens, needed(request.method(), route)) else {
        return Ok(());
    };
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.split_once(' '));
    let token = token.and_then(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer").then_some(token));
    match token.and_then(|token| tokens.role(token.trim())) {
        Some(role) if role >= needed => Ok(()),
        Some(_) => {
            let detail = "this token may not do that";
            Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not permitted", detail))
        }
        None => {
            let detail = "send a token that this server knows: `Authorization: Bearer ...`";
            Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "No valid token", detail))
        }
    }
}
