//! The log, the views and the API.

use std::net::SocketAddr;
use std::time::Duration;

/// The embedded log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    pub(crate) segment_size: u64,
    pub(crate) sync_max_delay: Duration,
    pub(crate) sync_max_bytes: u64,
}

impl Segments {
    /// The size of a segment file, in bytes.
    #[must_use]
    pub fn segment_size_bytes(&self) -> u64 {
        self.segment_size
    }

    /// How long an append may wait for others to share its sync to disk.
    #[must_use]
    pub fn sync_max_delay(&self) -> Duration {
        self.sync_max_delay
    }

    /// How many bytes may wait for a sync to disk.
    #[must_use]
    pub fn sync_max_bytes(&self) -> u64 {
        self.sync_max_bytes
    }
}

/// The views. All of them always run; this is what can be set about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Views {
    pub(crate) reconcile_overdue_after: Duration,
}

impl Views {
    /// An order that is not credited this long after it was accepted is overdue (W16).
    #[must_use]
    pub fn reconcile_overdue_after(&self) -> Duration {
        self.reconcile_overdue_after
    }
}

/// The HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    pub(crate) listen: SocketAddr,
    pub(crate) tokens_file: Option<String>,
    pub(crate) max_connections: u32,
    pub(crate) request_timeout: Duration,
}

impl Http {
    /// Where it listens. Not beyond loopback unless there is a file of tokens.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The file that holds the accepted tokens. The compiler does not open it.
    #[must_use]
    pub fn tokens_file(&self) -> Option<&str> {
        self.tokens_file.as_deref()
    }

    /// The most connections at once (I29).
    #[must_use]
    pub fn max_connections(&self) -> u32 {
        self.max_connections
    }

    /// The longest time that a request may take.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }
}
