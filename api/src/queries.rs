//! Reading: orders, wallets, statements, totals, lanes, counts, probes.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::model::{Counts, EntryView, LaneView, OrderView, Page, ReconcileRow, TotalsView, WalletView};
use crate::params::{Params, Segment};
use crate::problem::Problem;
use crate::reads::{Barrier, ReadError, Readiness};
use crate::routes::ApiState;

/// How long a look-up of an order waits for the fold.
const ORDER_WAIT: Duration = Duration::from_secs(2);
/// How often it looks.
const ORDER_POLL: Duration = Duration::from_millis(2);
const ENTRIES_DEFAULT: usize = 50;
const ENTRIES_MAX: usize = 1000;

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let detail = error.to_string();
        match error {
            ReadError::BadCursor => Self::new(StatusCode::BAD_REQUEST, "bad_cursor", "Bad cursor", detail),
            ReadError::BadGroup(_) => {
                Self::new(StatusCode::BAD_REQUEST, "bad_group_by", "Bad grouping", detail)
            }
            ReadError::Halted(_) => {
                let title = "Partition stopped";
                Self::passing(StatusCode::SERVICE_UNAVAILABLE, "partition_halted", title, detail, 30)
            }
            ReadError::Failed(_) => {
                tracing::error!(%detail, "a read failed");
                let shown = "a projection could not be read";
                Self::passing(StatusCode::SERVICE_UNAVAILABLE, "read_failed", "Read failed", shown, 5)
            }
        }
    }
}

/// Refuses reads that would not reflect what was acknowledged before the start.
fn recovered(state: &ApiState) -> Result<(), Problem> {
    match state.reads.readiness() {
        Readiness::Recovering(detail) => Err(Problem::passing(
            StatusCode::SERVICE_UNAVAILABLE,
            "recovering",
            "Recovering",
            format!("reads are not served yet: {detail}"),
            1,
        )),
        Readiness::Ready | Readiness::Halted(_) | Readiness::Draining => Ok(()),
    }
}

/// `GET /v1/awards/{order_no}`: 404 only when the folds of all partitions have passed what was in the
/// log, since a refused number is found where its award came in, whoever it names.
pub async fn order(
    State(state): State<Arc<ApiState>>,
    Segment(order_no): Segment,
) -> Result<Json<OrderView>, Problem> {
    recovered(&state)?;
    if let Some(found) = state.reads.order(&order_no)? {
        return Ok(Json(found));
    }
    let partitions = 0..state.log.partitions();
    let mut barriers: Vec<Barrier> =
        partitions.map(|partition| state.reads.barrier(partition)).collect::<Result<_, _>>()?;
    let deadline = state.clock.monotonic() + ORDER_WAIT;
    loop {
        // Before the look-up, so that a passed barrier speaks for what the look-up saw.
        let mut passed = true;
        for barrier in &mut barriers {
            passed &= state.reads.passed(barrier)?;
        }
        if let Some(found) = state.reads.order(&order_no)? {
            return Ok(Json(found));
        }
        if passed {
            let detail = format!("no award with order number {order_no} is in the log");
            return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_order", "Unknown order", detail));
        }
        if state.clock.monotonic() >= deadline {
            let detail = "the projection is behind the log; whether the order exists is not known yet";
            return Err(Problem::passing(StatusCode::SERVICE_UNAVAILABLE, "lagging", "Lagging", detail, 1));
        }
        tokio::time::sleep(ORDER_POLL).await;
    }
}

/// `GET /v1/wallets/{act_id}`.
pub async fn wallet(
    State(state): State<Arc<ApiState>>,
    Segment(act_id): Segment,
    Params(params): Params,
) -> Result<Json<WalletView>, Problem> {
    recovered(&state)?;
    let cursor = params.get("items_cursor").map(String::as_str);
    Ok(Json(state.reads.wallet(&act_id, cursor)?))
}

/// `GET /v1/wallets/{act_id}/entries`.
pub async fn entries(
    State(state): State<Arc<ApiState>>,
    Segment(act_id): Segment,
    Params(params): Params,
) -> Result<Json<Page<EntryView>>, Problem> {
    recovered(&state)?;
    let limit = match params.get("limit").map(|text| text.parse::<usize>()) {
        None => ENTRIES_DEFAULT,
        Some(Ok(limit @ 1..=ENTRIES_MAX)) => limit,
        Some(_) => {
            let detail = format!("`limit` is a whole number from 1 to {ENTRIES_MAX}");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_limit", "Bad limit", detail));
        }
    };
    Ok(Json(state.reads.entries(&act_id, limit, params.get("cursor").map(String::as_str))?))
}

/// `GET /v1/totals`.
pub async fn totals(
    State(state): State<Arc<ApiState>>,
    Params(params): Params,
) -> Result<Json<TotalsView>, Problem> {
    recovered(&state)?;
    let listed = params.get("group_by").map(String::as_str).unwrap_or_default();
    let columns: Vec<String> = listed.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok(Json(state.reads.totals(&columns)?))
}

/// `GET /v1/lanes`.
pub async fn lanes(State(state): State<Arc<ApiState>>) -> Result<Json<Vec<LaneView>>, Problem> {
    recovered(&state)?;
    Ok(Json(state.reads.lanes()))
}

/// `GET /v1/counts`.
pub async fn counts(State(state): State<Arc<ApiState>>) -> Result<Json<Counts>, Problem> {
    recovered(&state)?;
    Ok(Json(state.reads.counts()))
}

/// `GET /v1/reconcile`.
pub async fn reconcile(State(state): State<Arc<ApiState>>) -> Result<Json<Vec<ReconcileRow>>, Problem> {
    recovered(&state)?;
    Ok(Json(state.reads.reconcile()))
}

/// `GET /readyz`.
pub async fn readyz(State(state): State<Arc<ApiState>>) -> Response {
    let unready = |text: String| (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    match state.reads.readiness() {
        Readiness::Ready => "ready\n".into_response(),
        Readiness::Recovering(detail) => unready(format!("recovering: {detail}\n")),
        Readiness::Draining => unready("draining\n".to_owned()),
        Readiness::Halted(reasons) => unready(format!("halted:\n{}\n", reasons.join("\n"))),
    }
}

/// `GET /metrics`.
pub async fn metrics(State(state): State<Arc<ApiState>>) -> Response {
    match state.metrics.render(state.reads.samples()) {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
