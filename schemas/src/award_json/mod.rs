//! Awards as JSON (schema `Award` of `api/openapi.json`). What cannot be an award is told with a
//! place, a code and a sentence; whether an award is a good one is intake's to decide.
//!
//! Codes: `invalid_utf8 invalid_json wrong_type missing_field unknown_field duplicate_key
//! not_an_integer number_out_of_range invalid_time time_without_offset too_large`.

mod problem;
mod read;
mod time;

pub use problem::JsonProblem;
pub use time::{rfc3339, rfc3339_cut};

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeSeed;

use crate::award::{Award, AwardBuf};
use crate::ext::Ext;
use problem::Problems;
use read::{BodySeed, ItemSeed};

/// How a request's body holds awards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One object, or an array of them.
    Json,
    /// An object in each line; lines of white space are skipped and not counted.
    Ndjson,
}

/// What a request's body held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// One object by itself.
    One(AwardBuf),
    /// An array or lines, in order; maybe none.
    Many(Vec<AwardBuf>),
}

/// Why a request's body was not taken; nothing of it may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// More items than allowed.
    #[error("more than {items_max} items")]
    TooManyItems {
        /// The limit.
        items_max: usize,
    },
    /// What is wrong, in the order it was found: of each item everything that can be told, up to
    /// [`crate::limits::JSON_PROBLEMS_MAX`] in all. What is not JSON hides whatever follows it.
    #[error("{} problems, the first: {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Problems(Vec<JsonProblem>),
}

/// Reads one award.
///
/// # Errors
/// The first problem. Its pointer is relative to the award.
pub fn parse_award(json: &[u8]) -> Result<AwardBuf, JsonProblem> {
    let mut problems = Problems::new();
    let award = read_text(json, &mut problems, |text, problems| {
        read_one(text, |deserializer| ItemSeed { problems: &mut *problems }.deserialize(deserializer))
    });
    match (problems.into_first(), award.flatten()) {
        (None, Some(award)) => Ok(award),
        (Some(problem), _) => Err(problem),
        (None, None) => Err(JsonProblem::not_json("no award")),
    }
}

/// Reads the body of a request: all of its awards, or none. Where there are many, pointers begin
/// with the item's index from 0, as in `/3/amount_minor`, in lines too.
///
/// # Errors
/// [`ParseError`].
pub fn parse_many(body: &[u8], form: Form, items_max: usize) -> Result<Parsed, ParseError> {
    let mut problems = Problems::new();
    let parsed = match form {
        Form::Json => read_text(body, &mut problems, |text, problems| {
            read_one(text, |deserializer| {
                BodySeed { problems: &mut *problems, items_max }.deserialize(deserializer)
            })
        })
        .flatten(),
        Form::Ndjson => Some(read_lines(body, items_max, &mut problems)),
    };
    if problems.too_many_items() {
        return Err(ParseError::TooManyItems { items_max });
    }
    let problems = problems.into_list();
    match parsed {
        Some(parsed) if problems.is_empty() => Ok(parsed),
        _ => Err(ParseError::Problems(problems)),
    }
}

fn read_lines(body: &[u8], items_max: usize, problems: &mut Problems) -> Parsed {
    let mut awards = Vec::new();
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    for (index, line) in lines.enumerate() {
        if index >= items_max {
            problems.stop_for_items();
        }
        if problems.stopped() {
            break;
        }
        problems.enter_item(index);
        let award = read_text(line, problems, |text, problems| {
            read_one(text, |deserializer| ItemSeed { problems: &mut *problems }.deserialize(deserializer))
        });
        awards.extend(award.flatten());
    }
    Parsed::Many(awards)
}

/// Runs `read` over the text that `json` is, and notes why it is none.
fn read_text<T>(
    json: &[u8],
    problems: &mut Problems,
    read: impl FnOnce(&str, &mut Problems) -> Result<T, serde_json::Error>,
) -> Option<T> {
    let Ok(text) = std::str::from_utf8(json) else {
        problems.add("invalid_utf8", "not UTF-8".to_owned());
        return None;
    };
    match read(text, problems) {
        Ok(value) => Some(value),
        Err(error) => {
            problems.add_json_error(&error);
            None
        }
    }
}

/// One value and nothing behind it.
fn read_one<'t, T>(
    text: &'t str,
    read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'t>>) -> Result<T, serde_json::Error>,
) -> Result<T, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = read(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// An award as JSON, in one line, its fields in the order of `schemas/avsc/award.avsc`. An
/// `event_time` beyond the years of RFC 3339, which only a binary record can have, is written as
/// milliseconds.
#[must_use]
pub fn to_json(award: &Award<'_>) -> String {
    // The writer is memory and the keys are strings, so there is nothing to fail.
    serde_json::to_string(&AwardOut::of(award)).unwrap_or_default()
}

/// An award as it is written in JSON.
#[derive(Serialize)]
pub(crate) struct AwardOut<'a> {
    order_no: &'a str,
    act_id: &'a str,
    activity_id: &'a str,
    scene_id: &'a str,
    reward_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reward_id: &'a str,
    amount_minor: i64,
    event_time: serde_json::Value,
    #[serde(skip_serializing_if = "str::is_empty")]
    app: &'a str,
    #[serde(skip_serializing_if = "Ext::is_empty", serialize_with = "write_ext")]
    ext: Ext<'a>,
}

impl<'a> AwardOut<'a> {
    pub(crate) fn of(award: &Award<'a>) -> Self {
        Self {
            order_no: award.order_no,
            act_id: award.act_id,
            activity_id: award.activity_id,
            scene_id: award.scene_id,
            reward_type: award.reward_type,
            reward_id: award.reward_id,
            amount_minor: award.amount_minor,
            event_time: rfc3339(award.event_time_ms),
            app: award.app,
            ext: award.ext,
        }
    }
}

fn write_ext<S: serde::Serializer>(ext: &Ext<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    // A foreign writer may have written a key twice: JSON must not.
    serializer.collect_map(ext.iter().collect::<BTreeMap<_, _>>())
}
