//! A downstream over HTTP: batches or single orders by POST with idempotency keys, status by GET.
//!
//! The driver only moves bytes: [`answer`] says what an answer means, the dispatcher what it leads
//! to. Redirects are not followed, nothing is retried here, and answers are read up to a bound.

pub mod answer;
pub mod request;
mod retry_after;
mod transfer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use hongbao_engine::clock::Clock;

use crate::batch::Batch;
use crate::downstream::{
    Capabilities, Completed, Completion, Downstream, KeyLife, Outcome, Outcomes, Reason, Ticket, Told,
};

use transfer::Transfer;

/// Settings of an HTTP downstream.
#[derive(Clone)]
pub struct HttpSpec {
    /// Where orders are posted.
    pub url: String,
    /// Where it is asked, if it can be.
    pub query_url: Option<String>,
    /// Batches or single orders.
    pub mode: Mode,
    /// Largest batch; 1 in single mode whatever is set.
    pub max_items: u32,
    /// How long to wait for more orders before a smaller batch is sent.
    pub batch_delay: Duration,
    /// Most requests at once, and as many queries.
    pub max_in_flight: u32,
    /// From the submission to the end of the answer. A connection gets half of it, at most 5 s.
    pub timeout: Duration,
    /// How long it remembers idempotency keys.
    pub key_life: KeyLife,
    /// A file with a bearer token; read again after a 401.
    pub bearer_file: Option<PathBuf>,
    /// First part of every idempotency key.
    pub namespace: String,
}

/// How orders are posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `{"items":[...]}`.
    Batch,
    /// One order as the body, with an `Idempotency-Key` header.
    Single,
}

/// Wakes whoever steps the dispatcher.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Why an HTTP downstream cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// An address is not one. It is not repeated: it may hold a secret.
    #[error("{0} is not an http or https address")]
    Url(&'static str),
    /// The file with the token cannot be read, or holds none.
    #[error("cannot read a token from {path}: {what}")]
    Bearer {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// The client cannot be built.
    #[error("cannot build the HTTP client: {0}")]
    Client(String),
}

/// See the [module](self).
pub struct HttpDownstream {
    transfer: Arc<Transfer>,
    runtime: tokio::runtime::Handle,
    capabilities: Capabilities,
    sender: Sender<Completion>,
    done: Receiver<Completion>,
    wake: Wake,
    in_flight: u32,
    asks_in_flight: u32,
}

impl HttpDownstream {
    /// Requests run on `runtime`; `wake` is called after each answer and must not block. `clock`
    /// tells how far away a `Retry-After` date is.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn open(
        spec: HttpSpec,
        runtime: tokio::runtime::Handle,
        clock: Arc<dyn Clock>,
        wake: Wake,
    ) -> Result<Self, HttpError> {
        let max_items = if spec.mode == Mode::Single { 1 } else { spec.max_items.max(1) };
        let capabilities = Capabilities {
            max_items,
            max_in_flight: spec.max_in_flight.max(1),
            key_life: spec.key_life,
            can_query: spec.query_url.is_some(),
            batch_delay: if max_items == 1 { Duration::ZERO } else { spec.batch_delay },
            timeout: spec.timeout,
        };
        let transfer = Arc::new(Transfer::open(spec, clock)?);
        let (sender, done) = unbounded();
        Ok(Self { transfer, runtime, capabilities, sender, done, wake, in_flight: 0, asks_in_flight: 0 })
    }
}

impl Downstream for HttpDownstream {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn submit(&mut self, ticket: Ticket, batch: Batch) {
        self.in_flight += 1;
        if self.in_flight > self.capabilities.max_in_flight {
            let outcomes = Outcomes::All(Outcome::NotSent(Reason::Borrowed("too many requests open")));
            finish(&self.sender, &self.wake, ticket, Completed::Sent { outcomes, pause: None });
            return;
        }
        let (transfer, sender, wake) = (self.transfer.clone(), self.sender.clone(), self.wake.clone());
        let outcomes = Outcomes::All(Outcome::Unknown(Reason::Borrowed("the request was dropped")));
        let answer = Answer::unless_told(sender, wake, ticket, Completed::Sent { outcomes, pause: None });
        let submitted_at = transfer.now();
        self.runtime.spawn(async move {
            let (outcomes, pause) = transfer.send(&batch, submitted_at).await;
            answer.tell(Completed::Sent { outcomes, pause });
        });
    }

    fn ask(&mut self, ticket: Ticket, record: Arc<[u8]>) {
        self.asks_in_flight += 1;
        if self.asks_in_flight > self.capabilities.max_in_flight {
            let told = Told::Unknown(Reason::Borrowed("too many queries open"));
            finish(&self.sender, &self.wake, ticket, Completed::Asked { told, pause: None });
            return;
        }
        let (transfer, sender, wake) = (self.transfer.clone(), self.sender.clone(), self.wake.clone());
        let told = Told::Unknown(Reason::Borrowed("the query was dropped"));
        let answer = Answer::unless_told(sender, wake, ticket, Completed::Asked { told, pause: None });
        self.runtime.spawn(async move {
            let (told, pause) = transfer.ask(&record).await;
            answer.tell(Completed::Asked { told, pause });
        });
    }

    fn poll(&mut self, done: &mut Vec<Completion>) {
        for completion in self.done.try_iter() {
            match completion.result {
                Completed::Sent { .. } => self.in_flight = self.in_flight.saturating_sub(1),
                Completed::Asked { .. } => self.asks_in_flight = self.asks_in_flight.saturating_sub(1),
            }
            done.push(completion);
        }
    }
}

/// The completion of one ticket. Dropped untold, by a panic or because the runtime ends, it tells
/// what was prepared: every ticket completes exactly once.
struct Answer {
    sender: Sender<Completion>,
    wake: Wake,
    ticket: Ticket,
    result: Option<Completed>,
}

impl Answer {
    fn unless_told(sender: Sender<Completion>, wake: Wake, ticket: Ticket, result: Completed) -> Self {
        Self { sender, wake, ticket, result: Some(result) }
    }

    fn tell(mut self, result: Completed) {
        self.result = Some(result);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(result) = self.result.take() {
            finish(&self.sender, &self.wake, self.ticket, result);
        }
    }
}

fn finish(sender: &Sender<Completion>, wake: &Wake, ticket: Ticket, result: Completed) {
    // Nobody listens any more when the dispatcher is gone.
    if sender.send(Completion { ticket, result }).is_ok() {
        wake();
    }
}

#[cfg(test)]
mod tests;
