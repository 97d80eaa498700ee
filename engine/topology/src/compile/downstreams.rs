//! The section `downstreams`: kind as the single key.

use super::flow::value_place;
use crate::keys;
use crate::limits::{
    BATCH_DELAY, BATCH_ITEMS, IN_FLIGHT, KEY_LIFE, KEY_LIFE_REQUESTS_MIN, LANES_MAX, SEED,
    SIMULATED_PROFILES, TIMEOUT,
};
use crate::model::{Delivery, Downstream, DownstreamKind, HttpDownstream, HttpParts, Simulated};
use crate::node::Node;
use crate::problem::{Code, Fault, Problems, Reported};
use crate::text;
use crate::units::{duration, show_duration, whole};
use crate::walk::{Fields, IdEntry, Ids, Subject, between, ids, one_of};
use std::time::Duration;

/// One downstream: its name always, its kind when it is right.
#[derive(Debug)]
pub(super) struct DownstreamDraft {
    pub(super) name: String,
    kind: Result<DownstreamKind, Reported>,
}

impl DownstreamDraft {
    pub(super) fn finish(self) -> Result<Downstream, Reported> {
        Ok(Downstream { name: self.name, kind: self.kind? })
    }
}

const DOWNSTREAMS: Ids = Ids { what: "downstream", most: LANES_MAX, check: text::name };

/// Reads `downstreams`.
pub(super) fn read(problems: &mut Problems<'_>, root: &Fields<'_>) -> Result<Vec<DownstreamDraft>, Reported> {
    let (node, subject) = root.need(problems, "downstreams")?;
    let entries = ids(problems, node, &subject, &DOWNSTREAMS)?;
    if entries.is_empty() {
        let fault =
            Fault::new(Code::Empty, "there are no downstreams", "declare one: `bank: {embedded: {}}`");
        return Err(problems.report(subject.span, fault));
    }
    Ok(entries.into_iter().map(|entry| downstream(problems, &entry)).collect())
}

fn downstream(problems: &mut Problems<'_>, entry: &IdEntry<'_>) -> DownstreamDraft {
    let kind = Fields::open(problems, entry.node, entry.subject.clone(), &keys::DOWNSTREAM)
        .and_then(|fields| fields.kind(problems, &keys::DOWNSTREAM))
        .and_then(|(kind, node, subject)| match kind {
            "http" => http(problems, node, subject),
            "simulated" => simulated(problems, node, subject),
            _ => Fields::open(problems, node, subject, &keys::EMBEDDED).map(|_| DownstreamKind::Embedded),
        });
    DownstreamDraft { name: entry.id.to_owned(), kind: entry.checked.and(kind) }
}

fn http(problems: &mut Problems<'_>, node: &Node, subject: Subject) -> Result<DownstreamKind, Reported> {
    let fields = Fields::open(problems, node, subject, &keys::HTTP_DOWNSTREAM)?;
    let url = fields.required(problems, "url", text::url);
    let query_url = fields.optional(problems, "query_url", text::query_url);
    let words = one_of("mode", &["batch", "single"], |index| match index {
        0 => Delivery::Batch,
        _ => Delivery::Single,
    });
    let delivery = fields.optional(problems, "mode", words);
    let batch = batch(problems, &fields);
    let (default_in_flight, least, most) = IN_FLIGHT;
    let in_flight = between(whole, least, most, |n| n.to_string());
    let in_flight_max = fields.optional_plain(problems, "max_in_flight", in_flight);
    let (default_timeout, least, most) = TIMEOUT;
    let timeout = fields.optional(problems, "timeout", between(duration, least, most, show_duration));
    let (least, most) = KEY_LIFE;
    let key_life = fields.required(problems, "key_life", between(duration, least, most, show_duration));
    let bearer_file = fields.optional(problems, "bearer_file", text::path);
    let (items, batch_delay_max) = batch?;
    let delivery = delivery?.unwrap_or(Delivery::Batch);
    let timeout = timeout?.unwrap_or(default_timeout);
    let batch_delay = if delivery == Delivery::Batch && items > 1 { batch_delay_max } else { Duration::ZERO };
    let key_life = long_enough(problems, &fields, key_life?, timeout + batch_delay)?;
    Ok(DownstreamKind::Http(HttpDownstream::new(HttpParts {
        url: url?,
        query_url: query_url?,
        delivery,
        batch_items_max: u32::try_from(items).unwrap_or(u32::MAX),
        batch_delay_max,
        in_flight_max: u32::try_from(in_flight_max?.unwrap_or(default_in_flight)).unwrap_or(u32::MAX),
        timeout,
        key_life,
        bearer_file: bearer_file?,
    })))
}

/// A key must live so long that something is left of its life after the safety distance that a
/// resend keeps (I14); `0s` says that none is remembered, and nothing is sent again.
fn long_enough(
    problems: &mut Problems<'_>,
    fields: &Fields<'_>,
    key_life: Duration,
    request: Duration,
) -> Result<Duration, Reported> {
    let least = request.saturating_mul(KEY_LIFE_REQUESTS_MIN);
    if key_life.is_zero() || key_life >= least {
        return Ok(key_life);
    }
    let message = format!(
        "`key_life` {} is below {KEY_LIFE_REQUESTS_MIN} times `timeout` and `batch.max_delay` together, {}",
        show_duration(key_life),
        show_duration(request)
    );
    let help = format!(
        "a request could arrive after its key was forgotten and be credited twice: state a life of \
         at least {}, lower `timeout`, or write `0s` so that nothing is ever sent again",
        show_duration(least)
    );
    let span = value_place(fields, "key_life");
    Err(problems.report(span, Fault::new(Code::ShortKeyLife, message, help)))
}

fn batch(problems: &mut Problems<'_>, http: &Fields<'_>) -> Result<(u64, Duration), Reported> {
    let Some((node, subject)) = http.get("batch") else { return Ok((BATCH_ITEMS.0, BATCH_DELAY.0)) };
    let fields = Fields::open(problems, node, subject, &keys::BATCH)?;
    let (default_items, least, most) = BATCH_ITEMS;
    let items = between(whole, least, most, |n| n.to_string());
    let items = fields.optional_plain(problems, "max_items", items);
    let (default_delay, least, most) = BATCH_DELAY;
    let delay = fields.optional(problems, "max_delay", between(duration, least, most, show_duration));
    Ok((items?.unwrap_or(default_items), delay?.unwrap_or(default_delay)))
}

fn simulated(problems: &mut Problems<'_>, node: &Node, subject: Subject) -> Result<DownstreamKind, Reported> {
    let fields = Fields::open(problems, node, subject, &keys::SIMULATED)?;
    let known = one_of("profile", SIMULATED_PROFILES, |index| SIMULATED_PROFILES.get(index).copied());
    let profile = fields.required(problems, "profile", known);
    let seed = fields.optional_plain(problems, "seed", whole);
    Ok(DownstreamKind::Simulated(Simulated {
        profile: profile?.unwrap_or_default().to_owned(),
        seed: seed?.unwrap_or(SEED),
    }))
}
