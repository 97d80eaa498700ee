//! Which path is served by whom, and what all handlers share.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use hongbao_engine::clock::Clock;
use hongbao_engine::log::Log;
use tokio::sync::Notify;

use crate::admission::{RequestIds, admit};
use crate::in_flight::InFlight;
use crate::metrics::HttpMetrics;
use crate::problem::Problem;
use crate::reads::Reads;
use crate::server::ApiOptions;
use crate::{awards, queries, topics};

/// The API's description, served as it is.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// What all handlers share.
pub struct ApiState {
    pub log: Arc<dyn Log>,
    pub reads: Arc<dyn Reads>,
    pub clock: Arc<dyn Clock>,
    pub metrics: HttpMetrics,
    pub options: ApiOptions,
    pub in_flight: InFlight,
    pub request_ids: RequestIds,
    /// Told after each step of the log's durability.
    pub progress: Arc<Notify>,
}

/// All routes with the admission layer around them.
pub fn router(state: Arc<ApiState>) -> Router {
    Router::new()
        .route("/v1/awards", post(awards::publish))
        .route("/v1/awards/{order_no}", get(queries::order))
        .route("/v1/wallets/{act_id}", get(queries::wallet))
        .route("/v1/wallets/{act_id}/entries", get(queries::entries))
        .route("/v1/totals", get(queries::totals))
        .route("/v1/lanes", get(queries::lanes))
        .route("/v1/counts", get(queries::counts))
        .route("/v1/reconcile", get(queries::reconcile))
        .route("/v1/topics/{topic}/records", get(topics::records))
        .route("/v1/openapi.json", get(openapi))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(queries::readyz))
        .route("/metrics", get(queries::metrics))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&state), admit))
        .with_state(state)
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn unknown_path(uri: Uri) -> Problem {
    let detail = format!("{} is not a path of this API; see /v1/openapi.json", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "unknown_path", "No such path", detail)
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}; see /v1/openapi.json", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Wrong method", detail)
}
