//! What an answer means: pure functions from status, headers and body, one row each of the table
//! of what an HTTP downstream gets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use hongbao_engine::mutant;
use serde::Deserialize;

use crate::downstream::{Outcome, Outcomes, Pause, Reason, Told};

use super::retry_after::{bounded, parse_retry_after};

/// How long a lane pauses for a fault of configuration before it tries again.
pub const CONFIGURATION_PAUSE: Duration = Duration::from_secs(10);

/// An answer as it came.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Status.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// Body; none when it was longer than allowed or was cut off.
    pub body: Option<&'a [u8]>,
    /// Wall clock when it came, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

#[derive(Deserialize)]
struct BatchBody<'a> {
    #[serde(borrow)]
    items: Vec<ItemBody<'a>>,
}

#[derive(Deserialize)]
struct ItemBody<'a> {
    #[serde(borrow, default)]
    idempotency_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    result: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

#[derive(Deserialize)]
struct QueryBody<'a> {
    #[serde(borrow)]
    result: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
}

/// What a POST with these keys came to. `is_single`: the body is one result, not `{"items":[...]}`.
#[must_use]
pub fn sent(keys: &[String], is_single: bool, answer: &Answer<'_>) -> (Outcomes, Option<Pause>) {
    let unknown = |why: Reason| Outcomes::All(Outcome::Unknown(why));
    let status = || Reason::Owned(format!("status {}", answer.status));
    match answer.status {
        200..=299 => (read_body(keys, is_single, answer), None),
        429 => (Outcomes::All(Outcome::Throttled { retry_after: answer.retry_after() }), None),
        503 => (unknown(status()), answer.retry_after().map(|for_time| pause(status(), for_time))),
        400 | 413 | 422 => (Outcomes::Split(status()), None),
        401 | 403 | 404 | 405 => (Outcomes::All(Outcome::NotSent(status())), Some(configuration(status()))),
        409 if mutant!(M43) => (Outcomes::All(Outcome::Credited), None),
        500 if mutant!(M42) => (Outcomes::All(Outcome::NotSent(status())), None),
        // Not followed, and somebody has to look at the address.
        300..=399 => (unknown(status()), Some(configuration(status()))),
        _ => (unknown(status()), None),
    }
}

/// What a query came to.
#[must_use]
pub fn asked(answer: &Answer<'_>) -> (Told, Option<Pause>) {
    let status = || Reason::Owned(format!("query status {}", answer.status));
    let pause = match answer.status {
        200..=299 => return (read_query(answer), None),
        503 => answer.retry_after().map(|for_time| pause(status(), for_time)),
        401 | 403 | 404 | 405 | 300..=399 => Some(configuration(status())),
        _ => None,
    };
    (Told::Unknown(status()), pause)
}

impl Answer<'_> {
    fn retry_after(&self) -> Option<Duration> {
        parse_retry_after(self.retry_after?, self.now_ms)
    }
}

fn pause(reason: Reason, for_time: Duration) -> Pause {
    Pause { reason, for_time, is_configuration: false }
}

fn configuration(reason: Reason) -> Pause {
    Pause { reason, for_time: CONFIGURATION_PAUSE, is_configuration: true }
}

fn read_body(keys: &[String], is_single: bool, answer: &Answer<'_>) -> Outcomes {
    let unknown = |why| Outcomes::All(Outcome::Unknown(Reason::Borrowed(why)));
    let Some(body) = answer.body else { return unknown("answer too long or cut off") };
    let items = if is_single {
        serde_json::from_slice::<ItemBody<'_>>(body).map(|item| vec![item])
    } else {
        serde_json::from_slice::<BatchBody<'_>>(body).map(|body| body.items)
    };
    let Ok(items) = items else { return unknown("answer not understood") };
    let mut said: BTreeMap<&str, Outcome> = BTreeMap::new();
    for item in &items {
        let key = match &item.idempotency_key {
            Some(key) => key.as_ref(),
            // One question, one answer: the key goes without saying.
            None if is_single => keys.first().map_or("", String::as_str),
            None => continue,
        };
        let outcome = read_item(item);
        let contradicts = said.get(key).is_some_and(|earlier| *earlier != outcome);
        let contradiction = || Outcome::Unknown(Reason::Borrowed("contradictory answers"));
        said.insert(key, if contradicts { contradiction() } else { outcome });
    }
    let missing = Outcome::Unknown(Reason::Borrowed("no answer"));
    let missing = if mutant!(M41) { Outcome::Credited } else { missing };
    let missing = if mutant!(M79) { Outcome::Rejected(Reason::Borrowed("no answer")) } else { missing };
    let each: Vec<Outcome> =
        keys.iter().map(|key| said.get(key.as_str()).unwrap_or(&missing).clone()).collect();
    match each.first() {
        Some(first) if each.iter().all(|outcome| outcome == first) => Outcomes::All(first.clone()),
        _ => Outcomes::Each(each),
    }
}

fn read_item(item: &ItemBody<'_>) -> Outcome {
    let reason = |otherwise| match &item.reason {
        Some(reason) => Reason::Owned(reason.to_string()),
        None => Reason::Borrowed(otherwise),
    };
    match &*item.result {
        "credited" => Outcome::Credited,
        "duplicate" => Outcome::AlreadyCredited,
        "throttled" => {
            Outcome::Throttled { retry_after: item.retry_after_ms.map(Duration::from_millis).map(bounded) }
        }
        "rejected" => Outcome::Rejected(reason("rejected")),
        "pending" => Outcome::Unknown(Reason::Borrowed("pending")),
        _ => Outcome::Unknown(Reason::Borrowed("result not understood")),
    }
}

fn read_query(answer: &Answer<'_>) -> Told {
    let unknown = |why| Told::Unknown(Reason::Borrowed(why));
    let Some(body) = answer.body else { return unknown("query answer too long or cut off") };
    let Ok(body) = serde_json::from_slice::<QueryBody<'_>>(body) else {
        return unknown("query answer not understood");
    };
    match &*body.result {
        "credited" => Told::Credited,
        "rejected" => {
            let reason = body.reason.map_or(Reason::Borrowed("rejected"), |why| Reason::Owned(why.into()));
            Told::Rejected(reason)
        }
        "pending" => Told::Pending,
        "absent" => Told::Absent,
        _ => unknown("query result not understood"),
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
