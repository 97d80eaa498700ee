//! `GET /v1/topics/{topic}/records`: a page of decoded records, for `hongbao tap`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Offset, ReadBatch};
use hongbao_schemas::award_json::rfc3339_cut;
use hongbao_schemas::render;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::params::{Params, Segment};
use crate::problem::Problem;
use crate::routes::ApiState;

const LIMIT_DEFAULT: usize = 1000;
const LIMIT_MAX: usize = 10_000;
const READ_BYTES: usize = 1 << 20;
/// Bytes of records on a page, above which it ends.
const PAGE_BYTES: usize = 3 << 20;

/// One record of a topic.
#[derive(Debug, Serialize)]
struct RecordView {
    topic: String,
    partition: u16,
    offset: Offset,
    at: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    source: String,
    record: Value,
}

/// A page of records and where things stand.
#[derive(Debug, Serialize)]
pub struct RecordsView {
    records: Vec<RecordView>,
    /// First offset that this page was asked for, after resolving a time.
    from: Offset,
    /// Where the next page begins.
    next: Offset,
    /// End of what is readable now.
    end: Offset,
    partitions: u16,
}

/// A place in a topic, as users write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    End,
    Offset(Offset),
    Time(Timestamp),
}

impl Place {
    fn parse(text: &str, now: Timestamp) -> Option<Self> {
        match text {
            "start" => return Some(Self::Start),
            "end" => return Some(Self::End),
            _ => {}
        }
        if let Some(offset) = text.strip_prefix("offset:") {
            return offset.parse().ok().map(Self::Offset);
        }
        if let Some(ago) = text.strip_prefix('-') {
            let ago: SignedDuration = ago.parse().ok()?;
            return now.checked_sub(ago).ok().map(Self::Time);
        }
        text.parse().ok().map(Self::Time)
    }
}

/// Serves one page of one partition.
pub async fn records(
    State(state): State<Arc<ApiState>>,
    Segment(topic): Segment,
    Params(params): Params,
) -> Result<Json<RecordsView>, Problem> {
    let partitions = state.log.partitions();
    known(&state, &topic)?;
    let partition = match params.get("partition").map(|text| text.parse::<u16>()) {
        None => 0,
        Some(Ok(partition)) if partition < partitions => partition,
        Some(_) => return Err(bad("partition", format!("a number below {partitions}"))),
    };
    let limit = match params.get("limit").map(|text| text.parse::<usize>()) {
        None => LIMIT_DEFAULT,
        Some(Ok(limit @ 1..=LIMIT_MAX)) => limit,
        Some(_) => return Err(bad("limit", format!("a number from 1 to {LIMIT_MAX}"))),
    };
    let now = Timestamp::from_millisecond(state.clock.wall_ms()).unwrap_or(Timestamp::UNIX_EPOCH);
    let place = |name: &str, default: Place| match params.get(name) {
        None => Ok(default),
        Some(text) => Place::parse(text, now).ok_or_else(|| {
            bad(
                name,
                "`start`, `end`, `offset:N`, an RFC 3339 time with offset, or an age such as `-15m`"
                    .to_owned(),
            )
        }),
    };
    let (from, to) = (place("from", Place::Start)?, place("to", Place::End)?);
    let log = Arc::clone(&state.log);
    let page =
        tokio::task::spawn_blocking(move || page(&*log, Partition(partition), &topic, from, to, limit));
    match page.await {
        Ok(page) => Ok(Json(page.map_err(failed)?)),
        Err(error) => Err(failed(LogError::Failed(error.to_string()))),
    }
}

/// Refuses a topic that there cannot be, rather than show it as empty.
fn known(state: &ApiState, topic: &str) -> Result<(), Problem> {
    let lanes: Vec<String> =
        state.reads.lanes().into_iter().map(|lane| format!("orders.{}", lane.lane)).collect();
    if ["awards", "journal", "dlq.intake"].contains(&topic) || lanes.iter().any(|lane| lane == topic) {
        return Ok(());
    }
    let detail =
        format!("there is no topic `{topic}`; there are awards, journal, dlq.intake, {}", lanes.join(", "));
    Err(Problem::new(StatusCode::NOT_FOUND, "unknown_topic", "No such topic", detail))
}

fn bad(name: &str, expected: String) -> Problem {
    let detail = format!("`{name}` must be {expected}");
    Problem::new(StatusCode::BAD_REQUEST, "bad_parameter", "Bad query parameter", detail)
}

fn failed(error: LogError) -> Problem {
    if let LogError::Corrupt { .. } = error {
        let (code, title) = ("partition_halted", "Partition stopped");
        return Problem::passing(StatusCode::SERVICE_UNAVAILABLE, code, title, error.to_string(), 30);
    }
    tracing::error!(%error, "a topic could not be read");
    let detail = "the log could not be read";
    Problem::passing(StatusCode::SERVICE_UNAVAILABLE, "log_failed", "Log failed", detail, 5)
}

fn page(
    log: &dyn Log,
    partition: Partition,
    topic: &str,
    from: Place,
    to: Place,
    limit: usize,
) -> Result<RecordsView, LogError> {
    let (start, end) = log.range(partition, topic)?;
    let from = resolve(log, partition, topic, from, (start, end))?;
    let to = resolve(log, partition, topic, to, (start, end))?;
    let mut view = RecordsView { records: Vec::new(), from, next: from, end, partitions: log.partitions() };
    let mut batch = ReadBatch::new();
    let mut bytes_left = PAGE_BYTES;
    while view.next < to && view.records.len() < limit && bytes_left > 0 {
        log.read(partition, topic, view.next, READ_BYTES, &mut batch)?;
        if batch.is_empty() {
            break;
        }
        for frame in batch.frames() {
            let at = rfc3339_cut(frame.appended_at_ms());
            for (offset, bytes) in frame.records() {
                if offset >= to || view.records.len() >= limit || bytes_left == 0 {
                    return Ok(view);
                }
                view.records.push(RecordView {
                    topic: topic.to_owned(),
                    partition: partition.0,
                    offset,
                    at: at.clone(),
                    source: frame.envelope().source.to_owned(),
                    record: shown(bytes),
                });
                view.next = offset + 1;
                bytes_left = bytes_left.saturating_sub(bytes.len());
            }
        }
    }
    Ok(view)
}

/// A record as JSON, with its kind; bytes that are no record of ours in hexadecimal.
fn shown(bytes: &[u8]) -> Value {
    match render::record(bytes) {
        Ok((kind, Value::Object(mut fields))) => {
            fields.insert("record_kind".to_owned(), kind.name().into());
            Value::Object(fields)
        }
        Ok((_, value)) => value,
        Err(error) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            serde_json::json!({"record_kind": "undecodable", "code": error.code(), "bytes_hex": hex})
        }
    }
}

/// The offset of a place; a time means the first frame appended at it or later.
fn resolve(
    log: &dyn Log,
    partition: Partition,
    topic: &str,
    place: Place,
    (start, end): (Offset, Offset),
) -> Result<Offset, LogError> {
    let wanted_ms = match place {
        Place::Start => return Ok(start),
        Place::End => return Ok(end),
        Place::Offset(offset) => return Ok(offset.clamp(start, end)),
        Place::Time(time) => time.as_millisecond(),
    };
    let (mut low, mut high) = (start, end);
    let mut batch = ReadBatch::new();
    while low < high {
        let middle = low + (high - low) / 2;
        log.read(partition, topic, middle, 1, &mut batch)?;
        let Some(frame) = batch.frames().next() else { break };
        if frame.appended_at_ms() < wanted_ms {
            low = frame.first_offset() + frame.len() as u64;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_parsed() {
        let now: Timestamp = "2027-02-05T20:15:00Z".parse().unwrap();
        let time = |text: &str| Some(Place::Time(text.parse().unwrap()));
        let cases = [
            ("start", Some(Place::Start)),
            ("end", Some(Place::End)),
            ("offset:12", Some(Place::Offset(12))),
            ("-15m", time("2027-02-05T20:00:00Z")),
            ("-1h30m", time("2027-02-05T18:45:00Z")),
            ("2027-02-05T20:00:00+08:00", time("2027-02-05T12:00:00Z")),
            ("offset:", None),
            ("offset:-1", None),
            ("-", None),
            ("yesterday", None),
            ("2027-02-05T20:00:00", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Place::parse(text, now), expected, "{text:?}");
        }
    }
}
