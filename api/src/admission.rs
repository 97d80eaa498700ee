//! What every request passes: an id, checks of its token and query, bounds on requests in flight
//! and on time, and a line in the metrics.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::auth::{Role, Tokens};
use crate::in_flight::{ClientKey, Refused};
use crate::params;
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

/// Address of the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The outermost layer.
pub async fn admit(State(state): State<Arc<ApiState>>, request: Request, next: Next) -> Response {
    let id = state.request_ids.next();
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let started = state.clock.monotonic();
    let mut response = REQUEST_ID
        .scope(id.clone(), async {
            match check(&state, &request, &route) {
                Ok(client) => bounded(&state, client, request, next).await,
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

async fn bounded(state: &ApiState, client: ClientKey, request: Request, next: Next) -> Response {
    // Probes and figures must answer when everything else is full.
    if !request.uri().path().starts_with("/v1/") {
        return next.run(request).await;
    }
    let _place = match state.in_flight.enter(client) {
        Ok(place) => place,
        Err(refused) => return shed(state, refused).into_response(),
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

/// 429 when it is this client that asks too much at a time, 503 when all clients together do.
fn shed(state: &ApiState, refused: Refused) -> Problem {
    match refused {
        Refused::Client => {
            state.metrics.shed("client_in_flight");
            let most = state.options.client_in_flight_max;
            let detail = format!("more than {most} requests of this client are being served");
            let status = StatusCode::TOO_MANY_REQUESTS;
            Problem::passing(status, "too_many_requests", "Too many requests", detail, 1)
        }
        Refused::All => {
            state.metrics.shed("in_flight");
            let detail = "too many requests are being served";
            Problem::passing(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded", detail, 1)
        }
    }
}

/// The role that a route needs; none for probes.
fn needed(method: &Method, route: &str) -> Option<Role> {
    match route {
        "/livez" | "/readyz" | "/v1/openapi.json" => None,
        "/v1/awards" | "/v1/awards/{order_no}" => Some(Role::Producer),
        _ if *method == Method::GET || *method == Method::HEAD => Some(Role::Viewer),
        _ => Some(Role::Operator),
    }
}

/// Token, role and query parameters; whom the request is counted for.
fn check(state: &ApiState, request: &Request, route: &str) -> Result<ClientKey, Problem> {
    let peer = request.extensions().get::<Peer>().map_or_else(|| IpAddr::from([0; 4]), |peer| peer.0);
    let mut client = ClientKey::Address(peer);
    if let (Some(tokens), Some(needed)) = (&state.options.tokens, needed(request.method(), route)) {
        client = ClientKey::Token(permitted(tokens, needed, request)?);
    }
    params::check(route, request.uri())?;
    Ok(client)
}

/// The hash of the request's token, if that may do what is asked.
fn permitted(tokens: &Tokens, needed: Role, request: &Request) -> Result<[u8; 32], Problem> {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.split_once(' '));
    let token = token.and_then(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer").then_some(token));
    match token.and_then(|token| tokens.known(token.trim())) {
        Some((hash, role)) if role >= needed => Ok(hash),
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
