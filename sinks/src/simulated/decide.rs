//! What the simulated downstream does with a request, and what it says about it.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::downstream::KeyLife;
use crate::limits::rate::{Limiter, Rate};

use super::book::{Book, BookCounts, Digest};
use super::profile::Profile;

/// One order of a request.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The idempotency key.
    pub key: &'a str,
    /// The order number.
    pub order_no: &'a str,
    /// The person.
    pub act_id: &'a str,
    /// The reward type.
    pub reward_type: &'a str,
    /// The reward id.
    pub reward_id: &'a str,
    /// The asset.
    pub asset: &'a str,
    /// The amount.
    pub amount_minor: i64,
}

/// What a request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How long the answer takes.
    pub after: Duration,
    /// The answer.
    pub reply: Reply,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Every item was credited now; each to be answered as such.
    AllCredited,
    /// 200 with items, in an order of its own; some may be missing, repeated or unknown.
    Items(Vec<ItemReply>),
    /// Another status, with the time after which to come back.
    Status(u16, Option<Duration>),
    /// No answer ever comes.
    Lost,
    /// The connection is refused.
    Refused,
}

/// The answer about one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemReply {
    /// Index of the item; none for a key that was never sent.
    pub index: Option<usize>,
    /// What is said.
    pub result: ItemResult,
}

/// What is said about an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemResult {
    /// `credited`.
    Credited,
    /// `duplicate`.
    Duplicate,
    /// `throttled`, with the time after which to come back.
    Throttled(Duration),
    /// `rejected`.
    Rejected,
    /// `pending`.
    Pending,
}

/// What a query gets: how long it takes, and the answer; none if there never is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskDecision {
    /// How long the answer takes.
    pub after: Duration,
    /// `credited`, `rejected`, `pending` or `absent`.
    pub result: Option<&'static str>,
}

/// A simulated downstream. Time is given by the caller, in milliseconds since the Unix epoch, and
/// does not go back. Given the same seed and calls it does the same.
#[derive(Debug)]
pub struct Simulation {
    profile: Profile,
    rng: Pcg64Mcg,
    book: Book,
    cap: Option<Limiter>,
    began_ms: i64,
    /// Effects that come later, by their time.
    late: BTreeMap<(i64, u64), (Digest, Digest)>,
    late_count: u64,
}

/// Longest time after which a throttled item may come back.
const THROTTLE_MS_MAX: u64 = 200;

/// What happens to a whole request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    FailBefore,
    FailAfter,
    LoseAnswer,
    LateEffect,
    Partial,
    Throttle,
    Unavailable,
}

impl Simulation {
    /// A downstream with this book, starting now.
    #[must_use]
    pub fn new(profile: Profile, seed: u64, book: Book, now_ms: i64) -> Self {
        let cap = profile.rate_cap.and_then(Rate::per_second);
        let cap = cap.map(|rate| Limiter::new(rate, since(now_ms, now_ms)));
        let rng = Pcg64Mcg::seed_from_u64(seed);
        Self { profile, rng, book, cap, began_ms: now_ms, late: BTreeMap::new(), late_count: 0 }
    }

    /// Its behaviour.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Changes its behaviour; what it did and remembers stays.
    pub fn set_profile(&mut self, profile: Profile) {
        self.profile = profile;
    }

    /// The book's counts.
    #[must_use]
    pub fn counts(&self) -> BookCounts {
        self.book.counts()
    }

    /// How often the order with this key took effect.
    #[must_use]
    pub fn effects_of(&self, key: &str) -> u32 {
        self.book.entry(key_digest(key)).map_or(0, |entry| entry.effects)
    }

    /// Takes a request. Effects that happen are in the book, and in its file, when this returns.
    pub fn decide(&mut self, items: &[Item<'_>], now_ms: i64) -> Decision {
        self.advance(now_ms);
        if self.profile.is_out(since(self.began_ms, now_ms)) {
            let reply = if self.chance(500) { Reply::Refused } else { Reply::Lost };
            return Decision { after: self.latency(), reply };
        }
        self.book.received(items.len() as u64, now_ms);
        let after = self.latency();
        let mut reply = match self.fate(items.len()) {
            Fate::Fine => self.grant(items, now_ms, items.len()),
            Fate::FailBefore => Reply::Status(500, None),
            Fate::FailAfter => {
                self.grant(items, now_ms, items.len());
                Reply::Status(500, None)
            }
            Fate::LoseAnswer => {
                self.grant(items, now_ms, items.len());
                Reply::Lost
            }
            Fate::LateEffect => {
                self.grant_late(items, now_ms);
                Reply::Lost
            }
            Fate::Partial => {
                let applied = self.below(items.len() as u64 + 1) as usize;
                let reply = self.grant(items, now_ms, applied);
                self.drop_answers(reply, applied)
            }
            Fate::Throttle => Reply::Status(429, Some(self.throttle_time())),
            Fate::Unavailable => Reply::Status(503, Some(Duration::from_secs(1))),
        };
        if self.chance(self.profile.scramble) {
            reply = self.scramble(reply, items.len());
        }
        if self.book.flush().is_err() {
            // What may not be on disk must not be answered.
            reply = Reply::Lost;
        }
        Decision { after, reply }
    }

    /// Takes a query. What it says is credited is in the book's file.
    pub fn ask(&mut self, key: &str, now_ms: i64) -> AskDecision {
        self.advance(now_ms);
        let after = self.latency();
        let is_out = self.profile.is_out(since(self.began_ms, now_ms));
        // A late effect may just have come, and must not be told of before it is on disk.
        let is_unwritten = self.book.flush().is_err();
        if is_out || is_unwritten || self.chance(self.profile.ask_fails) {
            return AskDecision { after, result: None };
        }
        let digest = key_digest(key);
        let is_known = match self.profile.key_life {
            // Without keys it looks into its ledger.
            KeyLife::None => self.book.entry(digest).is_some(),
            _ => self.remembers(digest, now_ms),
        };
        let is_coming = self.late.values().any(|(late, _)| *late == digest);
        let result = match () {
            () if is_known => "credited",
            () if self.is_poison(digest) => "rejected",
            // It does not always know what is still on the way.
            () if is_coming && self.chance(500) => "pending",
            () => "absent",
        };
        AskDecision { after, result: Some(result) }
    }

    /// Lets effects happen that are due.
    pub fn advance(&mut self, now_ms: i64) {
        while let Some(((due_ms, _), _)) = self.late.first_key_value()
            && *due_ms <= now_ms
            && let Some(((due_ms, _), (key, payload))) = self.late.pop_first()
        {
            if !self.remembers(key, due_ms) && self.book.apply(key, payload, due_ms).is_err() {
                return;
            }
        }
    }

    /// Applies the first `applied` items, and says what became of all.
    fn grant(&mut self, items: &[Item<'_>], now_ms: i64, applied: usize) -> Reply {
        let admitted = match &mut self.cap {
            Some(cap) => cap.take_up_to(items.len() as u64, since(self.began_ms, now_ms)) as usize,
            None => items.len(),
        };
        let mut replies = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let result = if index >= admitted {
                ItemResult::Throttled(self.throttle_time())
            } else if index < applied {
                self.grant_one(item, now_ms)
            } else {
                continue;
            };
            // Say nothing item by item as long as everything goes well.
            if result != ItemResult::Credited && replies.is_empty() {
                replies.reserve(items.len());
                let before = (0..index.min(applied)).map(|at| reply(at, ItemResult::Credited));
                replies.extend(before);
                replies.push(reply(index, result));
            } else if !replies.is_empty() {
                replies.push(reply(index, result));
            }
        }
        if replies.is_empty() && applied < items.len() {
            replies.extend((0..applied).map(|at| reply(at, ItemResult::Credited)));
            return Reply::Items(replies);
        }
        if replies.is_empty() { Reply::AllCredited } else { Reply::Items(replies) }
    }

    fn grant_one(&mut self, item: &Item<'_>, now_ms: i64) -> ItemResult {
        let (key, payload) = (key_digest(item.key), payload_digest(item));
        if self.book.entry(key).is_some_and(|entry| entry.payload != payload) {
            self.book.mismatched();
        }
        if self.remembers(key, now_ms) {
            return ItemResult::Duplicate;
        }
        if self.is_poison(key) {
            return ItemResult::Rejected;
        }
        if self.chance(self.profile.throttle_item) {
            return ItemResult::Throttled(self.throttle_time());
        }
        if self.chance(self.profile.pending_item) {
            self.apply_late(key, payload, now_ms);
            return ItemResult::Pending;
        }
        match self.book.apply(key, payload, now_ms) {
            Ok(()) => ItemResult::Credited,
            Err(_) => ItemResult::Pending,
        }
    }

    fn grant_late(&mut self, items: &[Item<'_>], now_ms: i64) {
        for item in items {
            let (key, payload) = (key_digest(item.key), payload_digest(item));
            if !self.is_poison(key) {
                self.apply_late(key, payload, now_ms);
            }
        }
    }

    fn apply_late(&mut self, key: Digest, payload: Digest, now_ms: i64) {
        let late_ms = self.below(self.profile.late_by.as_millis() as u64 + 1);
        self.late_count += 1;
        self.late.insert((now_ms.saturating_add_unsigned(late_ms), self.late_count), (key, payload));
    }

    /// Whether a resend of this key would be recognised.
    fn remembers(&self, key: Digest, now_ms: i64) -> bool {
        let Some(entry) = self.book.entry(key) else { return false };
        match self.profile.key_life {
            KeyLife::Forever => true,
            KeyLife::None => false,
            KeyLife::Lasts(life) => since(entry.at_ms, now_ms) < life,
        }
    }

    fn is_poison(&self, key: Digest) -> bool {
        (key % 1_000) < u128::from(self.profile.reject_item)
    }

    fn drop_answers(&mut self, reply: Reply, applied: usize) -> Reply {
        let replies = match reply {
            Reply::Items(replies) => replies,
            _ => (0..applied).map(|at| self::reply(at, ItemResult::Credited)).collect(),
        };
        Reply::Items(replies.into_iter().filter(|_| self.chance(700)).collect())
    }

    fn scramble(&mut self, reply: Reply, items: usize) -> Reply {
        let mut replies = match reply {
            Reply::Items(replies) => replies,
            Reply::AllCredited => (0..items).map(|at| self::reply(at, ItemResult::Credited)).collect(),
            other => return other,
        };
        for index in (1..replies.len()).rev() {
            let other = self.below(index as u64 + 1) as usize;
            replies.swap(index, other);
        }
        if let Some(first) = replies.first().cloned() {
            replies.push(first);
        }
        replies.push(ItemReply { index: None, result: ItemResult::Credited });
        Reply::Items(replies)
    }

    fn fate(&mut self, items: usize) -> Fate {
        let profile = &self.profile;
        let fates = [
            (profile.fail_before, Fate::FailBefore),
            (profile.fail_after, Fate::FailAfter),
            (profile.lose_answer, Fate::LoseAnswer),
            (profile.late_effect, Fate::LateEffect),
            (if items > 1 { profile.partial } else { 0 }, Fate::Partial),
            (profile.throttle, Fate::Throttle),
            (profile.unavailable, Fate::Unavailable),
        ];
        let mut drawn = self.below(1_000) as u32;
        for (chance, fate) in fates {
            if drawn < chance {
                return fate;
            }
            drawn -= chance;
        }
        Fate::Fine
    }

    fn latency(&mut self) -> Duration {
        let (least, most) = self.profile.latency;
        let span_us = most.saturating_sub(least).as_micros() as u64;
        least + Duration::from_micros(self.below(span_us + 1))
    }

    fn throttle_time(&mut self) -> Duration {
        Duration::from_millis(1 + self.below(THROTTLE_MS_MAX))
    }

    fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.below(1_000) < u64::from(permille)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.rng.next_u64() % end.max(1)
    }
}

fn reply(index: usize, result: ItemResult) -> ItemReply {
    ItemReply { index: Some(index), result }
}

fn since(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0))
}

/// Digest of an idempotency key.
#[must_use]
pub fn key_digest(key: &str) -> Digest {
    digest(&blake3::hash(key.as_bytes()))
}

fn payload_digest(item: &Item<'_>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for text in [item.order_no, item.act_id, item.reward_type, item.reward_id, item.asset] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(&item.amount_minor.to_le_bytes());
    digest(&hasher.finalize())
}

fn digest(hash: &blake3::Hash) -> Digest {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
