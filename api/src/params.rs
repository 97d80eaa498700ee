//! What a path and its query give: the path's one parameter, and query parameters that are known
//! and stand once. A mistyped parameter must not be taken for one that was left out.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};

use crate::problem::{Fault, Problem};

/// Edits to a known name that may have been meant.
const EDITS_MAX: usize = 3;

/// The path's one parameter. What is not UTF-8 once decoded is answered with a problem.
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(rejection) => {
                let detail = rejection.body_text();
                Err(Problem::new(StatusCode::BAD_REQUEST, "bad_path", "Bad path", detail))
            }
        }
    }
}

/// Query parameters; [`check`] has seen them.
pub struct Params(pub BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(pairs(&parts.uri)?.into_iter().collect()))
    }
}

fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(pairs)| pairs).map_err(|rejection| {
        Problem::new(StatusCode::BAD_REQUEST, "bad_query", "Bad query", rejection.body_text())
    })
}

/// Query parameters that a route takes. Probes, metrics and what is no route take what comes.
fn known(route: &str) -> Option<&'static [&'static str]> {
    match route {
        "/v1/wallets/{act_id}" => Some(&["items_cursor"]),
        "/v1/wallets/{act_id}/entries" => Some(&["limit", "cursor"]),
        "/v1/totals" => Some(&["group_by"]),
        "/v1/topics/{topic}/records" => Some(&["partition", "from", "to", "limit"]),
        _ => route.starts_with("/v1/").then_some(&[]),
    }
}

/// Refuses query parameters that the route does not take, and those that stand twice.
pub fn check(route: &str, uri: &Uri) -> Result<(), Problem> {
    let (Some(known), Some(_)) = (known(route), uri.query()) else { return Ok(()) };
    let mut seen = BTreeSet::new();
    let faults: Vec<Fault> = pairs(uri)?
        .into_iter()
        .filter_map(|(name, _)| {
            let (code, message) = if !known.contains(&name.as_str()) {
                ("unknown_parameter", suggestion(&name, known))
            } else if !seen.insert(name.clone()) {
                ("repeated_parameter", "it stands here a second time".to_owned())
            } else {
                return None;
            };
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            Some(Fault { pointer, code: code.to_owned(), message })
        })
        .collect();
    let Some(first) = faults.first() else { return Ok(()) };
    let (code, title) = match first.code.as_str() {
        "unknown_parameter" => ("unknown_parameter", "Unknown query parameter"),
        _ => ("repeated_parameter", "Repeated query parameter"),
    };
    let detail = format!("query parameter `{}`: {}", first.pointer.trim_start_matches('/'), first.message);
    Err(Problem::new(StatusCode::BAD_REQUEST, code, title, detail).at(faults))
}

fn suggestion(name: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return "this path takes no query parameters".to_owned();
    }
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
    let meant = near.filter(|(edits, known)| *edits <= EDITS_MAX.min(known.len() / 2));
    let meant = meant.map_or(String::new(), |(_, known)| format!("did you mean `{known}`? "));
    format!("{meant}known here are: {}", known.join(", "))
}
