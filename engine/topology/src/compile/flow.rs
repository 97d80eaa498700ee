//! The sections `pools` and `lanes`.

use crate::keys;
use crate::limits::{BURST_DIVISOR, FLOOR_PERCENT_MAX, LANES_MAX, RATE_PER_SECOND};
use crate::model::{Lane, Pool};
use crate::problem::{Code, Fault, Problems, Reported};
use crate::source::Span;
use crate::text;
use crate::units::{percent, rate, show_rate, whole};
use crate::walk::{At, Fields, IdEntry, Ids, between, ids, list};

/// One pool: its name and whatever could be read of its rank.
#[derive(Debug)]
pub(super) struct PoolDraft {
    pub(super) name: String,
    pub(super) rank: Vec<At<String>>,
    limits: Result<(u64, u64, u8), Reported>,
}

impl PoolDraft {
    pub(super) fn finish(self) -> Result<Pool, Reported> {
        let (rate, burst, floor_percent) = self.limits?;
        let rank = self.rank.into_iter().map(|lane| lane.value).collect();
        Ok(Pool { name: self.name, rate, burst, rank, floor_percent })
    }
}

/// One lane: its name and whatever could be read of what it refers to.
#[derive(Debug)]
pub(super) struct LaneDraft {
    pub(super) name: String,
    pub(super) reward_types: Vec<At<String>>,
    /// Whether every reward type of it could be read.
    pub(super) types_read: bool,
    pub(super) downstream: Option<At<String>>,
    limits: Result<(u64, u64, u64), Reported>,
}

impl LaneDraft {
    pub(super) fn finish(self) -> Result<Lane, Reported> {
        let (rate, burst, query_rate) = self.limits?;
        let reward_types = self.reward_types.into_iter().map(|id| id.value).collect();
        // Without a downstream the limits hold the report of it.
        let downstream = self.downstream.map(|name| name.value).unwrap_or_default();
        Ok(Lane { name: self.name, reward_types, downstream, rate, burst, query_rate, pool: None })
    }
}

const POOLS: Ids = Ids { what: "pool", most: LANES_MAX, check: text::name };
const LANES: Ids = Ids { what: "lane", most: LANES_MAX, check: text::name };

/// Reads `pools`, which may be left out.
pub(super) fn pools(problems: &mut Problems<'_>, root: &Fields<'_>) -> Result<Vec<PoolDraft>, Reported> {
    let Some((node, subject)) = root.get("pools") else { return Ok(Vec::new()) };
    let entries = ids(problems, node, &subject, &POOLS)?;
    Ok(entries.into_iter().map(|entry| pool(problems, &entry)).collect())
}

fn pool(problems: &mut Problems<'_>, entry: &IdEntry<'_>) -> PoolDraft {
    let mut draft = PoolDraft { name: entry.id.to_owned(), rank: Vec::new(), limits: Ok((0, 0, 0)) };
    let fields = match Fields::open(problems, entry.node, entry.subject.clone(), &keys::POOL) {
        Ok(fields) => fields,
        Err(reported) => return PoolDraft { limits: Err(reported), ..draft },
    };
    let (rank, ranked) = read_list(problems, &fields, "rank", text::name);
    draft.rank = rank;
    let rates = rate_and_burst(problems, &fields);
    let floor = between(percent, 0, FLOOR_PERCENT_MAX, |n| format!("{n}%"));
    let floor = fields.optional(problems, "floor", floor);
    draft.limits = entry.checked.and(ranked).and_then(|()| {
        let (rate, burst) = rates?;
        Ok((rate, burst, u8::try_from(floor?.unwrap_or(0)).unwrap_or(u8::MAX)))
    });
    draft
}

/// Reads `lanes`.
pub(super) fn lanes(problems: &mut Problems<'_>, root: &Fields<'_>) -> Result<Vec<LaneDraft>, Reported> {
    let (node, subject) = root.need(problems, "lanes")?;
    let entries = ids(problems, node, &subject, &LANES)?;
    if entries.is_empty() {
        let help = "declare one: `cash: {reward_types: [cash], downstream: bank, rate: 1000/s}`";
        return Err(problems.report(subject.span, Fault::new(Code::Empty, "there are no lanes", help)));
    }
    Ok(entries.into_iter().map(|entry| lane(problems, &entry)).collect())
}

fn lane(problems: &mut Problems<'_>, entry: &IdEntry<'_>) -> LaneDraft {
    let mut draft = LaneDraft {
        name: entry.id.to_owned(),
        reward_types: Vec::new(),
        types_read: false,
        downstream: None,
        limits: Ok((0, 0, 0)),
    };
    let fields = match Fields::open(problems, entry.node, entry.subject.clone(), &keys::LANE) {
        Ok(fields) => fields,
        Err(reported) => return LaneDraft { limits: Err(reported), ..draft },
    };
    let (reward_types, listed) = read_list(problems, &fields, "reward_types", text::id);
    draft.reward_types = reward_types;
    draft.types_read = listed.is_ok();
    let downstream = fields.required(problems, "downstream", text::name);
    let rates = rate_and_burst(problems, &fields);
    let query_rate = fields.optional(problems, "query_rate", rate_in_bounds());
    draft.limits = entry.checked.and(listed).and_then(|()| {
        let (rate, burst) = rates?;
        Ok((rate, burst, query_rate?.unwrap_or(rate)))
    });
    match downstream {
        Ok(value) => draft.downstream = Some(At { value, span: value_place(&fields, "downstream") }),
        Err(reported) => draft.limits = Err(reported),
    }
    draft
}

fn read_list(
    problems: &mut Problems<'_>,
    fields: &Fields<'_>,
    key: &str,
    read: impl Fn(&str) -> Result<String, Fault>,
) -> (Vec<At<String>>, Result<(), Reported>) {
    match fields.need(problems, key) {
        Ok((node, subject)) => list(problems, node, &subject, read),
        Err(reported) => (Vec::new(), Err(reported)),
    }
}

/// The place of a value, or of its map when it is left out.
pub(super) fn value_place(fields: &Fields<'_>, key: &str) -> Span {
    fields.get(key).map_or_else(|| fields.place(key), |(node, _)| node.span)
}

fn rate_in_bounds() -> impl Fn(&str) -> Result<u64, Fault> {
    let (least, most) = RATE_PER_SECOND;
    between(rate, least, most, show_rate)
}

/// `rate` and `burst`, which bounds how many permits go at once and so never exceeds the rate.
fn rate_and_burst(problems: &mut Problems<'_>, fields: &Fields<'_>) -> Result<(u64, u64), Reported> {
    let rate = fields.required(problems, "rate", rate_in_bounds());
    let (least, most) = RATE_PER_SECOND;
    let burst = fields.optional_plain(problems, "burst", between(whole, least, most, |n| n.to_string()));
    let rate = rate?;
    let burst = burst?.unwrap_or_else(|| (rate / BURST_DIVISOR).max(1));
    if burst > rate {
        let message = format!("`burst` {burst} is above `rate` {}", show_rate(rate));
        let help = "the rate bounds every second, bursts included; leave `burst` out for a fiftieth of it";
        let span = value_place(fields, "burst");
        return Err(problems.report(span, Fault::new(Code::Contradiction, message, help)));
    }
    Ok((rate, burst))
}
