//! The listener: bounded in connections, header time, body size and request time.

use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_engine::log::Log;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use crate::admission::RequestIds;
use crate::auth::Tokens;
use crate::metrics::HttpMetrics;
use crate::reads::Reads;
use crate::routes::{ApiState, router};

/// Time that a client has to send its headers.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that open requests have to finish at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Bounds and tokens.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// Tokens that are accepted; none means that everybody is (loopback only).
    pub tokens: Option<Tokens>,
    /// Connections at a time; more wait in the listener's queue.
    pub connections_max: usize,
    /// Requests being served at a time; above it they are answered 503.
    pub in_flight_max: usize,
    /// Time to read and answer a request.
    pub request_timeout: Duration,
}

impl ApiOptions {
    /// The defaults, with the given tokens.
    #[must_use]
    pub fn new(tokens: Option<Tokens>) -> Self {
        Self { tokens, connections_max: 4096, in_flight_max: 512, request_timeout: Duration::from_secs(30) }
    }
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A metric is registered twice.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// No randomness for request ids.
    #[error("no randomness: {0}")]
    Random(String),
}

/// The API, ready to be served on a listener.
pub struct Server {
    state: Arc<ApiState>,
}

impl Server {
    /// Ties the API to a log and to the folds.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn new(
        log: Arc<dyn Log>,
        reads: Arc<dyn Reads>,
        clock: Arc<dyn Clock>,
        options: ApiOptions,
    ) -> Result<Self, ServeError> {
        let progress = Arc::new(Notify::new());
        let hook = Arc::clone(&progress);
        log.progress().on_bump(Arc::new(move || hook.notify_waiters()));
        let prefix = getrandom::u64().map_err(|error| ServeError::Random(error.to_string()))?;
        let in_flight = Semaphore::new(options.in_flight_max);
        let metrics = HttpMetrics::new()?;
        let request_ids = RequestIds::new(prefix);
        let state = ApiState { log, reads, clock, metrics, options, in_flight, request_ids, progress };
        Ok(Self { state: Arc::new(state) })
    }

    /// The routes alone, without the bounds that belong to connections: to serve in process.
    pub fn routes(&self) -> axum::Router {
        router(Arc::clone(&self.state))
    }

    /// Serves until `stop` turns true, then finishes open requests for a while.
    pub async fn serve(self, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let service = self.routes();
        let places = Arc::new(Semaphore::new(self.state.options.connections_max));
        let mut connections = JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut stop) => break,
            };
            let Ok((stream, _peer)) = accepted else {
                // Out of file descriptors, say: let some connections end first.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let service = TowerToHyperService::new(service.clone());
            let mut stop = stop.clone();
            connections.spawn(async move {
                let _place = place;
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_READ_TIMEOUT)
                    .max_buf_size(64 * 1024)
                    .serve_connection(TokioIo::new(stream), service);
                tokio::pin!(connection);
                // A client that goes away is no news, whichever way.
                tokio::select! {
                    ended = connection.as_mut() => drop(ended),
                    () = stopped(&mut stop) => {
                        connection.as_mut().graceful_shutdown();
                        drop(connection.await);
                    }
                }
            });
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
            tracing::warn!("connections were still open at shutdown and are cut");
        }
    }
}

/// Returns when told to stop, or when nobody is left to tell.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
