//! The sections `log`, `views` and `http`. Each may be left out: then its defaults hold.

use crate::keys;
use crate::limits::{
    CONNECTIONS, LISTEN, OVERDUE_AFTER, REQUEST_TIMEOUT, SEGMENT_SIZE_BYTES, SYNC_MAX_BYTES, SYNC_MAX_DELAY,
};
use crate::model::{Http, Segments, Views};
use crate::problem::{Code, Fault, Problems, Reported};
use crate::text;
use crate::units::{duration, show_duration, show_size, size, whole};
use crate::walk::{Fields, between};
use std::time::Duration;

/// Reads `log`.
pub(super) fn log(problems: &mut Problems<'_>, root: &Fields<'_>) -> Result<Segments, Reported> {
    let mut segments = Segments {
        segment_size: SEGMENT_SIZE_BYTES.0,
        sync_max_delay: SYNC_MAX_DELAY.0,
        sync_max_bytes: SYNC_MAX_BYTES.0,
    };
    let Some((node, subject)) = root.get("log") else { return Ok(segments) };
    let fields = Fields::open(problems, node, subject, &keys::LOG)?;
    let (_, node, subject) = fields.kind(problems, &keys::LOG)?;
    let fields = Fields::open(problems, node, subject, &keys::SEGMENTS)?;
    let (_, least, most) = SEGMENT_SIZE_BYTES;
    let segment_size = fields.optional(problems, "segment_size", between(size, least, most, show_size));
    let sync = sync(problems, &fields);
    segments.segment_size = segment_size?.unwrap_or(segments.segment_size);
    let (max_delay, max_bytes) = sync?;
    segments.sync_max_delay = max_delay.unwrap_or(segments.sync_max_delay);
    segments.sync_max_bytes = max_bytes.unwrap_or(segments.sync_max_bytes);
    Ok(segments)
}

type Sync = (Option<Duration>, Option<u64>);

fn sync(problems: &mut Problems<'_>, segments: &Fields<'_>) -> Result<Sync, Reported> {
    let Some((node, subject)) = segments.get("sync") else { return Ok((None, None)) };
    let fields = Fields::open(problems, node, subject, &keys::SYNC)?;
    let (_, least, most) = SYNC_MAX_DELAY;
    let max_delay = fields.optional(problems, "max_delay", between(duration, least, most, show_duration));
    let (_, least, most) = SYNC_MAX_BYTES;
    let max_bytes = fields.optional(problems, "max_bytes", between(size, least, most, show_size));
    Ok((max_delay?, max_bytes?))
}

/// Reads `views`.
pub(super) fn views(problems: &mut Problems<'_>, root: &Fields<'_>) -> Result<Views, Reported> {
    let (default, least, most) = OVERDUE_AFTER;
    let mut views = Views { reconcile_overdue_after: default };
    let Some((node, subject)) = root.get("views") else { return Ok(views) };
    let fields = Fields::open(problems, node, subject, &keys::VIEWS)?;
    let mut plain = Ok(());
    for (key, section) in [("wallet", &keys::WALLET), ("totals", &keys::TOTALS)] {
        if let Some((node, subject)) = fields.get(key) {
            plain = Fields::open(problems, node, subject, section).map(|_| ()).and(plain);
        }
    }
    if let Some((node, subject)) = fields.get("reconcile") {
        let fields = Fields::open(problems, node, subject, &keys::RECONCILE)?;
        let after = fields.optional(problems, "overdue_after", between(duration, least, most, show_duration));
        views.reconcile_overdue_after = after?.unwrap_or(default);
    }
    plain.map(|()| views)
}

/// Reads `http`.
pub(super) fn http(problems: &mut Problems<'_>, root: &Fields<'_>) -> Result<Http, Reported> {
    let default_listen = text::listen(LISTEN).map_err(|fault| problems.report(root.place("http"), fault))?;
    let mut http = Http {
        listen: default_listen,
        tokens_file: None,
        max_connections: to_u32(CONNECTIONS.0),
        request_timeout: REQUEST_TIMEOUT.0,
    };
    let Some((node, subject)) = root.get("http") else { return Ok(http) };
    let fields = Fields::open(problems, node, subject, &keys::HTTP)?;
    let listen = fields.optional(problems, "listen", text::listen);
    let tokens_file = fields.optional(problems, "tokens_file", text::path);
    let (_, least, most) = CONNECTIONS;
    let connections = between(whole, least, most, |n| n.to_string());
    let max_connections = fields.optional_plain(problems, "max_connections", connections);
    let (_, least, most) = REQUEST_TIMEOUT;
    let timeout = between(duration, least, most, show_duration);
    let request_timeout = fields.optional(problems, "request_timeout", timeout);
    http.listen = listen?.unwrap_or(http.listen);
    http.tokens_file = tokens_file?;
    http.max_connections = max_connections?.map_or(http.max_connections, to_u32);
    http.request_timeout = request_timeout?.unwrap_or(http.request_timeout);
    if http.tokens_file.is_none() && !text::is_loopback(http.listen) {
        let message = format!("{} can be reached from other machines and there are no tokens", http.listen);
        let help = "set `tokens_file`, or listen on 127.0.0.1";
        let span = fields.get("listen").map_or_else(|| fields.place("listen"), |(node, _)| node.span);
        return Err(problems.report(span, Fault::new(Code::OpenListen, message, help)));
    }
    Ok(http)
}

fn to_u32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
