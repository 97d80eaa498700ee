//! What a node shows over its API: the wallet of everybody and the counts, against those of the undamaged
//! folder. A partition that has halted shows no wallets; all others must come to what they were.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_schemas::award::Award;
use serde_json::{Value, json};

use super::part::{Part, halted_folds};
use crate::finding::found;
use crate::http::{Answer, Connection};
use crate::story::{each_record_of, log_of};

/// Counts that depend on the awards of a partition; the others are 0.
const COUNTED: [&str; 3] = ["read", "accepted", "duplicate"];
/// Of a wallet, what changes from look to look.
const PASSING: [&str; 2] = ["as_of", "lag_ms"];
/// Of a balance and an item, what depends on how far the lanes are.
const OF_LANES: [&str; 4] = ["credited_minor", "pending_minor", "available_minor", "state"];

/// What the undamaged folder shows.
pub struct Sound {
    pub counts: Value,
    /// Counts of each partition, from its awards alone.
    shares: Vec<[u64; 3]>,
    /// Wallets by partition and person.
    wallets: BTreeMap<(u16, String), Value>,
}

/// What a node shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What `/readyz` says, if something has halted.
    pub halted: Option<String>,
    pub counts: Value,
    /// What is not as it was, with its partition.
    pub wrong: Vec<(u16, String)>,
}

/// How a wallet stands against the one of the undamaged folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Equal,
    /// The folds are behind.
    Behind,
    /// Income is equal, the lanes are not done.
    Open,
    Different,
}

impl Sound {
    /// What a node shows in which all orders have ended. `data` has the same awards.
    ///
    /// # Errors
    /// The node does not answer, or its counts are not those of its awards.
    pub fn of(api: &mut Connection, data: &Path) -> io::Result<Self> {
        let log = log_of(data)?;
        let (mut shares, mut people) = (Vec::new(), BTreeSet::new());
        for partition in (0..log.partitions()).map(Partition) {
            let (mut read, mut accepted) = (0, BTreeSet::new());
            each_record_of(&log, partition, "awards", |record| {
                if let Ok(award) = Award::decode(record) {
                    read += 1;
                    accepted.insert(award.order_no.to_owned());
                    people.insert((partition.0, award.act_id.to_owned()));
                }
            })?;
            let accepted = accepted.len() as u64;
            shares.push([read, accepted, read - accepted]);
        }
        let counts = api.get("/v1/counts")?.json();
        let mut sound = Self { counts, shares, wallets: BTreeMap::new() };
        let all = sound.share(|_| true);
        if COUNTED.map(|field| sound.counts[field].as_u64()) != all.map(Some) {
            return Err(found(format!("the log has {all:?} of {COUNTED:?}, counts are {}", sound.counts)));
        }
        for (partition, person) in people {
            let wallet = lasting(&api.get(&format!("/v1/wallets/{person}"))?.json());
            if wallet["balances"].as_array().is_none_or(Vec::is_empty) {
                return Err(found(format!("{person} has awards, and the wallet {wallet}")));
            }
            sound.wallets.insert((partition, person), wallet);
        }
        Ok(sound)
    }

    /// Counts of some partitions together.
    fn share(&self, is_in: impl Fn(u16) -> bool) -> [u64; 3] {
        let mut sum = [0; 3];
        for (_, share) in (0..).zip(&self.shares).filter(|(partition, _)| is_in(*partition)) {
            sum.iter_mut().zip(share).for_each(|(sum, more)| *sum += more);
        }
        sum
    }

    /// What a node shows, once all has been folded and sent that should be; none until then. What was cut off
    /// (`is_cut`) of the log is missing in its partition.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn look(&self, api: &mut Connection, part: &Part, is_cut: bool) -> io::Result<Option<Shown>> {
        let standing = api.get("/readyz")?;
        let said = String::from_utf8_lossy(&standing.body).into_owned();
        let halted = said.starts_with("halted").then(|| said.clone());
        if halted.is_none() && standing.status != 200 {
            return Ok(None);
        }
        let reasons = halted.as_deref().unwrap_or_default();
        let closed = halted_folds(reasons, &["intake", "views"]);
        let mut wrong = Vec::new();
        for ((partition, person), sound) in &self.wallets {
            let answer = api.get(&format!("/v1/wallets/{person}"))?;
            if closed.contains(partition) {
                if !is_refused(&answer) {
                    wrong.push((*partition, format!("{person} is shown though it has halted: {answer:?}")));
                }
                continue;
            }
            let is_damaged = part.partition == Some(*partition);
            let shown = answer.json();
            match standing_of(sound, &answer) {
                Standing::Equal => {}
                Standing::Behind => return Ok(None),
                // Only the lanes of the damaged part may have stopped.
                Standing::Open if is_damaged && (halted.is_some() || is_cut) => {}
                Standing::Open => return Ok(None),
                Standing::Different => wrong.push((*partition, format!("{person} was {sound}, is {shown}"))),
            }
        }
        let counts = api.get("/v1/counts")?.json();
        let stopped = halted_folds(reasons, &["intake"]);
        let is_free = |partition| {
            stopped.contains(&partition) || (is_cut && part.is_log() && part.partition == Some(partition))
        };
        if halted.is_some() {
            match self.counted(&counts, is_free) {
                Some(true) => {}
                Some(false) => wrong.extend(self.miscounted(&counts, part)),
                None => return Ok(None),
            }
        }
        // Whoever opens may still halt.
        let lanes = api.get("/v1/lanes")?.json();
        let is_opening = lanes.as_array().into_iter().flatten().any(|lane| lane["state"] == "opening");
        let is_same = api.get("/readyz")?.body == standing.body;
        Ok((is_same && !is_opening).then_some(Shown { halted, counts, wrong }))
    }

    /// Whether counts are those of all partitions, of which those that are free may have come to anything
    /// up to theirs; none while they are behind.
    fn counted(&self, counts: &Value, is_free: impl Fn(u16) -> bool) -> Option<bool> {
        let (least, most) = (self.share(|partition| !is_free(partition)), self.share(|_| true));
        let shown = COUNTED.map(|field| counts[field].as_u64().unwrap_or(u64::MAX));
        let mut rest = counts.clone();
        for field in COUNTED {
            rest[field] = self.counts[field].clone();
        }
        if rest != self.counts || shown.iter().zip(most).any(|(shown, most)| *shown > most) {
            return Some(false);
        }
        let is_behind = shown.iter().zip(least).any(|(shown, least)| *shown < least);
        (!is_behind).then_some(true)
    }

    fn miscounted(&self, counts: &Value, part: &Part) -> Option<(u16, String)> {
        let other = (0..).find(|partition| part.partition != Some(*partition))?;
        Some((other, format!("counts are {counts}, were {} of {:?}", self.counts, self.shares)))
    }
}

/// Whether a wallet is refused because its partition has stopped.
fn is_refused(answer: &Answer) -> bool {
    answer.status == 503 && answer.json()["code"] == "partition_halted"
}

fn standing_of(sound: &Value, answer: &Answer) -> Standing {
    let shown = answer.json();
    match answer.status {
        200 if lasting(&shown) == *sound => Standing::Equal,
        200 if shown["lag_ms"] != json!(0) => Standing::Behind,
        200 if without(&shown, &OF_LANES) == without(sound, &OF_LANES) => Standing::Open,
        _ => Standing::Different,
    }
}

/// What of a wallet lasts.
fn lasting(wallet: &Value) -> Value {
    without(wallet, &PASSING)
}

/// The same without some fields, at any depth.
fn without(value: &Value, fields: &[&str]) -> Value {
    match value {
        Value::Object(all) => {
            let kept = all
                .iter()
                .filter(|(name, _)| !fields.contains(&name.as_str()) && !PASSING.contains(&name.as_str()));
            kept.map(|(name, value)| (name.clone(), without(value, fields))).collect()
        }
        Value::Array(all) => all.iter().map(|value| without(value, fields)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wallet(credited: i64, pending: i64, lag_ms: u64) -> Value {
        json!({"act_id": "p1", "as_of": format!("at {lag_ms}"), "lag_ms": lag_ms,
            "balances": [{"asset": "CNY/2", "income_minor": credited + pending, "credited_minor": credited,
                "pending_minor": pending, "available_minor": credited}],
            "items": [{"order_no": "a", "state": if pending > 0 { "pending" } else { "credited" }}]})
    }

    fn answer(status: u16, body: &Value) -> Answer {
        Answer { status, body: body.to_string().into_bytes() }
    }

    #[test]
    fn wallets_are_equal_behind_open_or_different() {
        let sound = lasting(&wallet(7, 0, 0));
        let standing = |shown: &Value| standing_of(&sound, &answer(200, shown));
        assert_eq!(standing(&wallet(7, 0, 0)), Standing::Equal);
        assert_eq!(standing(&wallet(5, 0, 3)), Standing::Behind);
        assert_eq!(standing(&wallet(5, 2, 0)), Standing::Open);
        assert_eq!(standing(&wallet(5, 0, 0)), Standing::Different);
        assert_eq!(
            standing(&json!({"act_id": "p1", "lag_ms": 0, "balances": [], "items": []})),
            Standing::Different
        );
        let halted = json!({"code": "partition_halted"});
        assert_eq!(standing_of(&sound, &answer(503, &halted)), Standing::Different);
        assert!(is_refused(&answer(503, &halted)) && !is_refused(&answer(200, &wallet(7, 0, 0))));
    }

    #[test]
    fn counts_of_a_halted_partition_may_be_missing_and_no_others() {
        let counts = |read: u64, conflict: u64| json!({"read": read, "accepted": read - 1, "duplicate": 1, "conflict": conflict});
        let shares = vec![[4, 4, 0], [6, 5, 1]];
        let sound = Sound { counts: counts(10, 0), shares, wallets: BTreeMap::new() };
        assert_eq!(sound.counted(&counts(10, 0), |_| false), Some(true));
        assert_eq!(sound.counted(&counts(6, 0), |partition| partition == 0), Some(true));
        assert_eq!(sound.counted(&counts(6, 0), |_| false), None);
        assert_eq!(sound.counted(&counts(3, 0), |partition| partition == 1), None);
        assert_eq!(sound.counted(&counts(11, 0), |_| true), Some(false));
        assert_eq!(sound.counted(&counts(10, 1), |_| true), Some(false));
    }
}
