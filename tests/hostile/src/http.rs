//! Requests to the API, from the request line to the body, without a network.

use std::cell::RefCell;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use hongbao_api::model::{
    Counts, EntryView, LaneView, OrderView, Page, ReconcileRow, TotalsView, WalletView,
};
use hongbao_api::reads::{Answer, Barrier, ReadError, Readiness, Reads, Verdict, Watch};
use hongbao_api::{ApiOptions, Sample, Server};
use hongbao_engine::clock::ManualClock;
use hongbao_engine::memory::log::MemoryLog;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use crate::meter::{Bound, bounded};

/// The framework's own buffers, and awards in their three forms.
const REQUEST: Bound = Bound { factor: 64, base: 512 << 10 };
/// Requests after which the API is made anew, because its log keeps what it gets.
const REQUESTS_MAX: usize = 200;
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Projections without anything in them.
struct Empty;

impl Reads for Empty {
    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }
    fn counts(&self) -> Counts {
        Counts::default()
    }
    fn watch(&self, _: u16, _: u64, count: usize, answer: Answer) -> Watch {
        answer((0..count).map(|index| (index % 3 > 0).then_some(Verdict::Accepted)).collect());
        Box::new(())
    }
    fn barrier(&self, _: u16) -> Result<Barrier, ReadError> {
        Ok(Barrier::default())
    }
    fn passed(&self, _: &mut Barrier) -> Result<bool, ReadError> {
        Ok(true)
    }
    fn order(&self, _: &str) -> Result<Option<OrderView>, ReadError> {
        Ok(None)
    }
    fn wallet(&self, _: &str, _: Option<&str>) -> Result<WalletView, ReadError> {
        Err(ReadError::BadCursor)
    }
    fn entries(&self, _: &str, _: usize, _: Option<&str>) -> Result<Page<EntryView>, ReadError> {
        Ok(Page { data: Vec::new(), has_more: false, next_cursor: None })
    }
    fn totals(&self, group_by: &[String]) -> Result<TotalsView, ReadError> {
        match group_by.iter().find(|name| *name != "scene_id") {
            Some(name) => Err(ReadError::BadGroup(name.clone())),
            None => Ok(TotalsView { as_of: String::new(), rows: Vec::new() }),
        }
    }
    fn lanes(&self) -> Vec<LaneView> {
        Vec::new()
    }
    fn reconcile(&self) -> Vec<ReconcileRow> {
        Vec::new()
    }
    fn samples(&self) -> Vec<Sample> {
        Vec::new()
    }
}

struct Api {
    runtime: Runtime,
    routes: Router,
    requests_left: usize,
}

impl Api {
    fn new() -> Option<Self> {
        let clock = Arc::new(ManualClock::at(1_801_915_260_000));
        let log = Arc::new(MemoryLog::new(2, clock.clone()));
        let server = Server::new(log, Arc::new(Empty), clock, ApiOptions::new(None)).ok()?;
        let runtime = Builder::new_current_thread().enable_time().build().ok()?;
        Some(Self { runtime, routes: server.routes(), requests_left: REQUESTS_MAX })
    }
}

thread_local! {
    static API: RefCell<Option<Api>> = const { RefCell::new(None) };
}

/// A method and a target in the first line, headers in those up to an empty one, then the body.
fn parse(bytes: &[u8]) -> Option<Request<Body>> {
    let mut rest = bytes;
    let mut line = || {
        let at = rest.iter().position(|byte| *byte == b'\n')?;
        let (line, after) = rest.split_at(at);
        rest = after.get(1..)?;
        Some(line)
    };
    let first = line()?;
    let space = first.iter().position(|byte| *byte == b' ')?;
    let (method, target) = (first.get(..space)?, first.get(space + 1..)?);
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method).ok()?;
    *request.uri_mut() = Uri::try_from(target).ok()?;
    while let Some(header) = line().filter(|header| !header.is_empty()) {
        let colon = header.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(header.get(..colon)?).ok()?;
        let value = HeaderValue::from_bytes(header.get(colon + 1..)?.trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request.map(|()| Body::from(rest.to_vec())))
}

pub(crate) fn request(bytes: &[u8]) {
    let Some(request) = parse(bytes) else { return };
    API.with_borrow_mut(|api| {
        let spent = api.as_ref().is_none_or(|api| api.requests_left == 0);
        if spent {
            *api = Api::new();
        }
        let Some(api) = api else { return };
        api.requests_left -= 1;
        let routes = api.routes.clone();
        let head = *request.method() == Method::HEAD;
        let (status, json, body) = bounded(REQUEST, bytes.len(), || {
            api.runtime.block_on(async {
                let Ok(response) = routes.oneshot(request).await;
                let status = response.status();
                let kind = response.headers().get("content-type").cloned();
                let json = kind.is_some_and(|kind| kind.as_bytes().ends_with(b"json"));
                (status, json, to_bytes(response.into_body(), ANSWER_BYTES_MAX).await.unwrap_or_default())
            })
        });
        assert!(status != StatusCode::INTERNAL_SERVER_ERROR, "violation: {status}");
        assert!(!status.is_success() || status.as_u16() < 300, "violation: {status}");
        if status.is_client_error() && !head {
            assert!(json, "violation: {status} without a problem");
        }
        if json && !head {
            let read = serde_json::from_slice::<serde_json::Value>(&body);
            assert!(read.is_ok(), "violation: {status} with {read:?}");
        }
    });
}
