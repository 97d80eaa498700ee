//! `POST /v1/awards`: awards into the log, and with `Prefer: wait` their verdicts out of it (R5).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hongbao_engine::log::{LogError, Position};
use hongbao_engine::mutant;
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::award_json::{self, Form, JsonProblem, ParseError, Parsed};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::body::{self, too_large};
use crate::problem::{Fault, Problem};
use crate::reads::{Readiness, Verdict};
use crate::routes::ApiState;

/// Topic that awards go to.
const TOPIC: &str = "awards";
const ITEMS_MAX: usize = 10_000;
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Above this a sync is overdue and the answer says so rather than wait on.
const DURABLE_WAIT: Duration = Duration::from_secs(10);

/// One item's answer.
#[derive(Debug, Serialize)]
struct ItemAnswer {
    order_no: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    position: String,
}

#[derive(Debug, Default, Serialize)]
struct ItemCounts {
    queued: u64,
    accepted: u64,
    duplicate: u64,
    conflict: u64,
    rejected: u64,
}

#[derive(Debug, Serialize)]
struct ManyAnswer {
    items: Vec<ItemAnswer>,
    counts: ItemCounts,
}

/// Where one award was appended.
#[derive(Clone, Copy, Debug)]
struct Queued {
    partition: u16,
    offset: u64,
}

/// One partition's share of a request.
#[derive(Clone, Copy, Debug)]
struct Group {
    partition: u16,
    first: u64,
    count: usize,
}

/// Where the awards of a request were appended.
#[derive(Debug, Default)]
struct Appended {
    /// In input order.
    queued: Vec<Queued>,
    groups: Vec<Group>,
}

/// Handles `POST /v1/awards`.
pub async fn publish(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    content: Body,
) -> Result<Response, Problem> {
    taking(&state)?;
    let started = state.clock.monotonic();
    let form = form_of(&headers)?;
    let wait = preferred_wait(&headers);
    let bytes = body::read(&headers, content).await?;
    let (awards, many) = parse(&bytes, form)?;
    // The body may have taken its time.
    taking(&state)?;
    let appended = append(&state, &awards, many).await?;
    let verdicts = match wait {
        Some(wait) => {
            // What is queued must be told before the request's own time is over.
            let left = state.options.request_timeout / 4 * 3;
            let left = left.saturating_sub(state.clock.monotonic().saturating_sub(started));
            verdicts(&state, &appended, wait.min(left)).await
        }
        None => vec![None; awards.len()],
    };
    hongbao_engine::kill_point!("api.publish.decided");
    let queued = appended.queued;
    if many { Ok(answer_many(awards, &queued, &verdicts)) } else { answer_one(&awards, &queued, &verdicts) }
}

/// Refuses awards once the server shuts down; nothing of the request is in the log then.
fn taking(state: &ApiState) -> Result<(), Problem> {
    if state.reads.readiness() != Readiness::Draining {
        return Ok(());
    }
    let detail = "the server is shutting down; nothing of this request was taken, send it again";
    Err(Problem::passing(StatusCode::SERVICE_UNAVAILABLE, "draining", "Draining", detail, 2))
}

/// The form that the media type names.
fn form_of(headers: &HeaderMap) -> Result<Form, Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_encoded = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).iter().any(is_encoded) {
        let (code, detail) =
            ("unsupported_content_encoding", "send the body as it is, without Content-Encoding");
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, code, "Unsupported content encoding", detail));
    }
    match media.as_str() {
        "application/json" => Ok(Form::Json),
        "application/x-ndjson" => Ok(Form::Ndjson),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Unsupported media type",
            "send application/json (an award or an array) or application/x-ndjson",
        )),
    }
}

/// The awards, and whether the answer is one for many.
fn parse(bytes: &[u8], form: Form) -> Result<(Vec<AwardBuf>, bool), Problem> {
    match award_json::parse_many(bytes, form, ITEMS_MAX) {
        Ok(Parsed::One(award)) => Ok((vec![award], false)),
        Ok(Parsed::Many(awards)) if awards.is_empty() => {
            let detail = "the request holds no award";
            Err(Problem::new(StatusCode::BAD_REQUEST, "no_awards", "No awards", detail))
        }
        Ok(Parsed::Many(awards)) => Ok((awards, true)),
        Err(ParseError::TooManyItems { .. }) => Err(too_large(format!("more than {ITEMS_MAX} items"))),
        Err(ParseError::Problems(problems)) => Err(malformed(problems)),
    }
}

fn malformed(problems: Vec<JsonProblem>) -> Problem {
    let faults = problems.into_iter().map(|problem| Fault {
        pointer: problem.pointer,
        code: problem.code.to_string(),
        message: problem.message,
    });
    let detail = "nothing of this request was taken; see `errors`";
    let faults: Vec<Fault> = faults.collect();
    if !faults.is_empty() && faults.iter().all(|fault| fault.code == "too_large") {
        return too_large(detail.to_owned()).at(faults);
    }
    Problem::new(StatusCode::BAD_REQUEST, "malformed_award", "Not an award", detail).at(faults)
}

/// Seconds of `Prefer: wait=N` (RFC 7240), if stated.
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let wait = values.flat_map(|value| value.split(',')).find_map(|part| {
        // Parameters of a preference follow a semicolon.
        let (name, value) = part.split(';').next()?.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("wait")
            .then(|| value.trim().trim_matches('"').parse::<u64>().ok())?
    })?;
    Some(Duration::from_secs(wait).min(WAIT_MAX))
}

/// Appends all awards, each partition's share as one group, and waits until they are durable (I25).
async fn append(state: &ApiState, awards: &[AwardBuf], many: bool) -> Result<Appended, Problem> {
    let partitions = state.log.partitions();
    let mut shares: BTreeMap<u16, RecordBuf> = BTreeMap::new();
    let mut appended = Appended::default();
    for award in awards {
        let award = award.as_award();
        let partition = partition_of(award.act_id.as_bytes(), partitions).0;
        let share = shares.entry(partition).or_default();
        appended.queued.push(Queued { partition, offset: share.len() as u64 });
        share.push_with(|bytes| award.encode(bytes));
    }
    refuse_halted(state, &appended.queued, shares.keys(), many)?;
    let mut positions: Vec<(Partition, Position)> = Vec::new();
    for (partition, records) in &shares {
        let frame = Frame { topic: TOPIC, envelope: Envelope::PRODUCER, records };
        let group = state.log.append(Partition(*partition), &[frame]).map_err(unavailable)?;
        let first = group.first_offsets.first().copied().unwrap_or_default();
        appended.groups.push(Group { partition: *partition, first, count: records.len() });
        positions.push((Partition(*partition), group.position));
        for queued in appended.queued.iter_mut().filter(|queued| queued.partition == *partition) {
            queued.offset += first;
        }
    }
    hongbao_engine::kill_point!("api.publish.appended");
    if !mutant!(M101) {
        wait_durable(state, &positions).await?;
    }
    hongbao_engine::kill_point!("api.publish.durable");
    Ok(appended)
}

/// Refuses the whole request before anything of it is appended when some of its awards belong to a
/// partition that has stopped, and names them: the others can be sent without them (I26).
fn refuse_halted<'a>(
    state: &ApiState,
    queued: &[Queued],
    partitions: impl Iterator<Item = &'a u16>,
    many: bool,
) -> Result<(), Problem> {
    let halted: BTreeMap<u16, String> = partitions
        .filter_map(|partition| Some((*partition, state.reads.intake_halted(*partition)?)))
        .collect();
    if halted.is_empty() {
        return Ok(());
    }
    let fault = |(index, queued): (usize, &Queued)| {
        let message = halted.get(&queued.partition)?.clone();
        let pointer = if many { format!("/{index}") } else { String::new() };
        Some(Fault { pointer, code: "partition_halted".to_owned(), message })
    };
    let faults: Vec<Fault> = queued.iter().enumerate().filter_map(fault).collect();
    let which = if faults.len() == 1 { "1 award".to_owned() } else { format!("{} awards", faults.len()) };
    let detail =
        format!("nothing of this request was taken: {which} of it belong to a partition that has stopped");
    let (status, code) = (StatusCode::SERVICE_UNAVAILABLE, "partition_halted");
    Err(Problem::passing(status, code, "Partition halted", detail, 10).at(faults))
}

fn unavailable(error: LogError) -> Problem {
    tracing::error!(%error, "awards could not be appended");
    match error {
        LogError::GroupTooLarge { .. } => too_large(error.to_string()),
        LogError::Full(_) => {
            let detail = "the log has no space left";
            Problem::passing(StatusCode::SERVICE_UNAVAILABLE, "log_full", "Log full", detail, 10)
        }
        LogError::Corrupt { .. }
        | LogError::OutOfRange { .. }
        | LogError::Invalid(_)
        | LogError::Failed(_) => {
            let detail = "the log does not take awards; what was sent may be in it, send it again later";
            Problem::passing(StatusCode::SERVICE_UNAVAILABLE, "log_failed", "Log failed", detail, 10)
        }
    }
}

async fn wait_durable(state: &ApiState, positions: &[(Partition, Position)]) -> Result<(), Problem> {
    let all_durable = || -> Result<bool, Problem> {
        for (partition, position) in positions {
            if state.log.durable(*partition).map_err(unavailable)? < *position {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let wait = async {
        loop {
            let changed = state.progress.notified();
            tokio::pin!(changed);
            // Registered before the look, so that no change between the two is missed.
            changed.as_mut().enable();
            if all_durable()? {
                return Ok(());
            }
            changed.await;
        }
    };
    tokio::time::timeout(DURABLE_WAIT, wait).await.unwrap_or_else(|_elapsed| {
        let detail = "the disk is slow; the awards may become durable yet, send them again";
        Err(Problem::passing(StatusCode::SERVICE_UNAVAILABLE, "not_durable", "Not durable yet", detail, 1))
    })
}

/// The verdicts that were decided in time; a verdict is a function of the durable log, so it holds
/// as soon as it is known.
async fn verdicts(state: &ApiState, appended: &Appended, wait: Duration) -> Vec<Option<Verdict>> {
    let deadline = tokio::time::Instant::now() + wait;
    let mut by_partition: BTreeMap<u16, Vec<Option<Verdict>>> = BTreeMap::new();
    let mut watches = Vec::new();
    for group in &appended.groups {
        let (tell, told) = oneshot::channel();
        let answer = Box::new(move |verdicts| drop(tell.send(verdicts)));
        let watch = state.reads.watch(group.partition, group.first, group.count, answer);
        watches.push((group, told, watch));
    }
    for (group, told, _watch) in watches {
        if let Ok(Ok(verdicts)) = tokio::time::timeout_at(deadline, told).await {
            by_partition.insert(group.partition, verdicts);
        }
    }
    let first_of = |partition| appended.groups.iter().find(|group| group.partition == partition);
    let verdict = |queued: &Queued| {
        let index = queued.offset.checked_sub(first_of(queued.partition)?.first)?;
        by_partition.get(&queued.partition)?.get(usize::try_from(index).ok()?).copied()?
    };
    appended.queued.iter().map(verdict).collect()
}

fn status_of(verdict: Option<Verdict>) -> (&'static str, Option<&'static str>) {
    match verdict {
        None => ("queued", None),
        Some(Verdict::Accepted) => ("accepted", None),
        Some(Verdict::Duplicate) => ("duplicate", None),
        Some(Verdict::Conflict) => ("conflict", Some("order_conflict")),
        Some(Verdict::Rejected(code)) => ("rejected", Some(code)),
        Some(Verdict::Undecodable) => ("rejected", Some("undecodable")),
    }
}

fn item(award: &AwardBuf, queued: Queued, verdict: Option<Verdict>) -> ItemAnswer {
    let (status, code) = status_of(verdict);
    let position = format!("{TOPIC}/{}@{}", queued.partition, queued.offset);
    ItemAnswer { order_no: award.as_award().order_no.to_owned(), status, code, position }
}

fn answer_many(awards: Vec<AwardBuf>, queued: &[Queued], verdicts: &[Option<Verdict>]) -> Response {
    let mut counts = ItemCounts::default();
    let mut items = Vec::with_capacity(awards.len());
    for ((award, queued), verdict) in awards.iter().zip(queued).zip(verdicts) {
        let answer = item(award, *queued, *verdict);
        match answer.status {
            "queued" => counts.queued += 1,
            "accepted" => counts.accepted += 1,
            "duplicate" => counts.duplicate += 1,
            "conflict" => counts.conflict += 1,
            _ => counts.rejected += 1,
        }
        items.push(answer);
    }
    let status = if counts.queued == 0 { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Json(ManyAnswer { items, counts })).into_response()
}

fn answer_one(
    awards: &[AwardBuf],
    queued: &[Queued],
    verdicts: &[Option<Verdict>],
) -> Result<Response, Problem> {
    let (Some(award), Some(queued), Some(verdict)) = (awards.first(), queued.first(), verdicts.first())
    else {
        let detail = "the request holds no award";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "no_awards", "No awards", detail));
    };
    let answer = item(award, *queued, *verdict);
    match verdict {
        None => Ok((StatusCode::ACCEPTED, Json(answer)).into_response()),
        Some(Verdict::Accepted) => Ok((StatusCode::OK, Json(answer)).into_response()),
        Some(Verdict::Duplicate) => {
            let mut response = (StatusCode::OK, Json(answer)).into_response();
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
            Ok(response)
        }
        Some(Verdict::Conflict) => {
            let detail = format!("{} stands with another payload; the first one holds", answer.order_no);
            let title = "Order number already used with a different payload";
            Err(Problem::new(StatusCode::CONFLICT, "order_conflict", title, detail))
        }
        Some(Verdict::Rejected(code)) => Err(refused(code, &answer)),
        Some(Verdict::Undecodable) => Err(refused("undecodable", &answer)),
    }
}

fn refused(code: &'static str, answer: &ItemAnswer) -> Problem {
    let pointer = match code {
        "malformed_order_no" => "/order_no",
        "order_no_act_id_mismatch" => "/act_id",
        "order_no_scene_mismatch" | "unknown_scene" => "/scene_id",
        "unknown_activity" => "/activity_id",
        "reward_type_mismatch" => "/reward_type",
        "amount_not_positive" | "amount_above_cap" => "/amount_minor",
        _ => "",
    };
    let detail = format!(
        "{} was refused: {}. Nothing was decided by this record; an earlier award with this number, if there \
         was one, stands",
        answer.order_no,
        code.replace('_', " ")
    );
    let message = code.replace('_', " ");
    let fault = Fault { pointer: pointer.to_owned(), code: code.to_owned(), message };
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, "Award refused", detail).at(vec![fault])
}
