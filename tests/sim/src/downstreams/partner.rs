//! A service outside: what it did, what it remembers, and what it answers.

use std::collections::{BTreeMap, VecDeque};

use crate::options::{Keys, PartnerOptions};
use crate::random::Random;

use super::Breach;
use super::fault::RequestFault;
use super::port::NAMESPACE;
use super::wire::{Body, Item, Said};
use super::words::{Word, Words, certain};

/// Status, `Retry-After` and body; no body if it is cut off.
pub type Answered = (u16, Option<String>, Option<Vec<u8>>);

/// One order as the service knows it.
#[derive(Debug, Default)]
pub struct Entry {
    /// What was asked for first.
    body: Vec<u8>,
    /// When it was done, each time.
    pub effects_ms: Vec<i64>,
    /// Status that is repeated for this key, and since when.
    cached: Option<(i64, u16)>,
    /// Attempts without a definite answer that somebody got: number and arrival.
    unresolved: Vec<(u64, Moment)>,
    /// It was sent too late, and no process could have known: its wall clock had stood still or gone
    /// back while none was running, by less than would show.
    is_excused: bool,
    /// What was said about it.
    words: Words,
}

/// When a request arrives, and what its sender knows of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// True time.
    pub now_ms: i64,
    /// The sender's wall clock.
    pub wall_ms: i64,
    /// Number of the sender's process.
    pub process: u64,
}

/// An order that arrives again when its key's life is over, or will be before the request has to be there,
/// from a process that knows of the first attempt by wall clocks alone.
#[derive(Clone, Debug)]
pub struct LateResend {
    /// Its key.
    pub key: String,
    /// Its number.
    pub order_no: String,
    /// Of this request.
    pub moment: Moment,
    /// True time since the first attempt.
    pub since_ms: i64,
    /// How long keys last.
    pub life_ms: i64,
}

/// What a request comes to.
#[derive(Debug)]
pub struct Reply {
    /// After so many milliseconds.
    pub after_ms: u64,
    /// None if no answer ever comes.
    pub answer: Option<Answered>,
    /// What it says for certain, by item.
    pub words: Vec<Option<Word>>,
    /// The connection was refused.
    pub is_refused: bool,
    /// Number of the attempt.
    pub attempt: u64,
}

/// The service. Lives longer than processes.
#[derive(Debug)]
pub struct Partner {
    pub(super) options: PartnerOptions,
    pub(super) random: Random,
    /// For what goes wrong with questions.
    pub(super) questions: Random,
    /// By idempotency key.
    book: BTreeMap<String, Entry>,
    pub(super) faults: VecDeque<RequestFault>,
    /// It is out until then, in true time.
    pub(super) out_until_ms: i64,
    pub(super) late: BTreeMap<(i64, u64), (String, Vec<u8>)>,
    attempts: u64,
    /// What the answer that is being made says, item by item.
    said: Vec<Said>,
    /// Sent again so late, by another process, that only wall clocks can have told it.
    pub late_resends: Vec<LateResend>,
    /// Found by itself.
    pub breaches: Vec<Breach>,
    /// Requests by what went wrong with them, and questions by what they were answered.
    pub met: BTreeMap<&'static str, u64>,
    /// Questions by what went wrong with them.
    pub asked: BTreeMap<&'static str, u64>,
}

impl Partner {
    /// A service with an empty book.
    #[must_use]
    pub fn new(options: PartnerOptions, seed: u64, index: usize) -> Self {
        Self {
            options,
            random: Random::of(seed, &format!("partner-{index}")),
            questions: Random::of(seed, &format!("questions-{index}")),
            book: BTreeMap::new(),
            faults: VecDeque::new(),
            out_until_ms: 0,
            late: BTreeMap::new(),
            attempts: 0,
            said: Vec::new(),
            late_resends: Vec::new(),
            breaches: Vec::new(),
            met: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// How it behaves.
    #[must_use]
    pub fn options(&self) -> &PartnerOptions {
        &self.options
    }

    /// The next requests meet this.
    pub fn plan(&mut self, fault: RequestFault, requests: u32) {
        self.faults.extend(std::iter::repeat_n(fault, requests as usize));
    }

    /// It is out until then.
    pub fn outage(&mut self, until_ms: i64) {
        self.out_until_ms = until_ms;
    }

    /// Everything goes well from now on; what is on its way still arrives.
    pub fn heal(&mut self) {
        self.faults.clear();
        self.out_until_ms = 0;
    }

    /// How often an order took effect.
    #[must_use]
    pub fn times(&self, key: &str) -> u64 {
        self.book.get(key).map_or(0, |entry| match entry.is_excused {
            true => entry.effects_ms.len().min(1) as u64,
            false => entry.effects_ms.len() as u64,
        })
    }

    /// Orders that were sent too late since no process could know the time.
    #[must_use]
    pub fn excused(&self) -> u64 {
        self.book.values().filter(|entry| entry.is_excused).count() as u64
    }

    /// No process could have known that this order was sent too late.
    pub fn excuse(&mut self, key: &str) {
        self.book.entry(key.to_owned()).or_default().is_excused = true;
    }

    /// Whether that is known of an order.
    #[must_use]
    pub fn is_excused(&self, key: &str) -> bool {
        self.book.get(key).is_some_and(|entry| entry.is_excused)
    }

    /// When something that is on its way arrives.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<i64> {
        self.late.keys().next().map(|(at_ms, _)| *at_ms)
    }

    /// Takes what arrives now.
    pub fn advance(&mut self, now_ms: i64) {
        while let Some(first) = self.late.first_entry()
            && first.key().0 <= now_ms
        {
            let ((at_ms, _), (key, body)) = first.remove_entry();
            if !self.remembers(&key, at_ms) && !self.is_poison(&key) {
                self.take_effect(&key, &body, at_ms);
            }
        }
    }

    /// Takes a request.
    pub fn receive(&mut self, body: &[u8], is_single: bool, moment: Moment) -> Reply {
        let now_ms = moment.now_ms;
        self.advance(now_ms);
        self.attempts += 1;
        let attempt = self.attempts;
        let (least, most) = self.options.latency_ms;
        let mut after_ms = self.random.within(u64::from(least), u64::from(most));
        let lost_ms = u64::from(self.options.timeout_ms);
        let is_out = now_ms < self.out_until_ms;
        let fault = if is_out { Some(self.outage_fault()) } else { self.faults.pop_front() };
        self.count(fault, is_out);
        let items = Body::items(body, is_single);
        if fault == Some(RequestFault::Refuse) {
            return Reply { after_ms, answer: None, words: Vec::new(), is_refused: true, attempt };
        }
        for item in &items {
            self.arrive(item, attempt, moment);
        }
        if let Some(RequestFault::Slow(by_ms)) = fault {
            after_ms += by_ms;
        }
        let answer = match fault {
            Some(fault) => self.go_wrong(fault, &items, is_single, now_ms),
            None => Some(self.grant(&items, is_single, now_ms, |_| (true, true))),
        };
        if fault == Some(RequestFault::Nonsense) {
            self.said.clear();
        }
        match answer {
            Some(answer) if after_ms <= lost_ms => {
                let words = certain(&items, &answer, &self.said);
                Reply { after_ms, answer: Some(answer), words, is_refused: false, attempt }
            }
            _ => Reply { after_ms: lost_ms, answer: None, words: Vec::new(), is_refused: false, attempt },
        }
    }

    fn count(&mut self, fault: Option<RequestFault>, is_out: bool) {
        let name = match fault {
            None => return,
            Some(_) if is_out => "outage",
            Some(fault) => fault.name(),
        };
        *self.met.entry(name).or_default() += 1;
    }

    fn outage_fault(&mut self) -> RequestFault {
        *self.random.pick(&[RequestFault::Refuse, RequestFault::LoseRequest, RequestFault::Unavailable(None)])
    }

    /// A request has left its sender: it must be the same as ever (I13), and not too late (I14).
    fn arrive(&mut self, item: &Item, attempt: u64, moment: Moment) {
        let (keys, timeout_ms) = (self.options.keys, self.options.timeout_ms);
        let entry = self.book.entry(item.key.clone()).or_default();
        if item.key != format!("{NAMESPACE}/{}", item.order_no) {
            let (order_no, what) = (item.order_no.clone(), format!("sent with the key {}", item.key));
            self.breaches.push(Breach { invariant: "I13", order_no, what, may_follow_loss: false });
        }
        let mut breach = |invariant, what: String| {
            let order_no = item.order_no.clone();
            self.breaches.push(Breach { invariant, order_no, what, may_follow_loss: true });
        };
        if entry.body.is_empty() {
            entry.body.clone_from(&item.body);
        } else if entry.body != item.body {
            breach("I13", format!("sent as {:?} before, now as {:?}", text(&entry.body), text(&item.body)));
        }
        if let Some((_, first)) = entry.unresolved.first() {
            let since_ms = moment.now_ms - first.now_ms;
            match keys {
                Keys::Lasts(life_ms) if first.process != moment.process => {
                    // A request may take as long as its answer is waited for.
                    if since_ms.cast_unsigned() + u64::from(timeout_ms) >= life_ms {
                        let (key, order_no) = (item.key.clone(), item.order_no.clone());
                        let life_ms = life_ms.cast_signed();
                        self.late_resends.push(LateResend { key, order_no, moment, since_ms, life_ms });
                    }
                }
                Keys::None => breach("I14", format!("sent again after {since_ms} ms, there are no keys")),
                Keys::Lasts(life_ms) if since_ms.cast_unsigned() >= life_ms => {
                    breach("I14", format!("sent again after {since_ms} ms, keys last {life_ms} ms"));
                }
                Keys::Lasts(_) | Keys::Forever => {}
            }
        }
        entry.unresolved.push((attempt, moment));
        entry.words.sent(attempt, moment.process);
    }

    /// What is said about an order, to be added to when an answer has reached its process.
    pub fn words_mut(&mut self, key: &str) -> &mut Words {
        &mut self.book.entry(key.to_owned()).or_default().words
    }

    /// What was said about an order, if it ever was sent or asked about.
    #[must_use]
    pub fn words(&self, key: &str) -> Option<&Words> {
        self.book.get(key).map(|entry| &entry.words)
    }

    /// Somebody got a definite answer that an attempt has not had any effect.
    pub fn told(&mut self, key: &str, attempt: u64) {
        if let Some(entry) = self.book.get_mut(key) {
            entry.unresolved.retain(|(number, _)| *number != attempt);
        }
    }

    fn go_wrong(
        &mut self,
        fault: RequestFault,
        items: &[Item],
        is_single: bool,
        now_ms: i64,
    ) -> Option<Answered> {
        let all = |_: usize| (true, true);
        match fault {
            RequestFault::FailBefore => {
                self.cache(items, now_ms);
                empty(500, None)
            }
            RequestFault::FailAfter => {
                self.grant(items, is_single, now_ms, all);
                self.cache(items, now_ms);
                empty(500, None)
            }
            RequestFault::LoseRequest | RequestFault::Refuse => None,
            RequestFault::LoseAnswer => {
                self.grant(items, is_single, now_ms, all);
                None
            }
            RequestFault::Late(by_ms) => {
                self.postpone(items, now_ms + by_ms.cast_signed());
                None
            }
            RequestFault::Throttle(retry) => empty(429, retry),
            RequestFault::Unavailable(retry) => empty(503, retry),
            RequestFault::Unauthorized => empty(401, None),
            RequestFault::TooLarge if items.len() > 1 => empty(413, None),
            RequestFault::Partial => {
                Some(self.grant(items, is_single, now_ms, |at| (at % 2 == 0, at % 3 == 0)))
            }
            RequestFault::ThrottleItems => {
                let said = items.iter().enumerate().map(|(at, item)| match at % 2 {
                    0 => Said::throttled(item, 20),
                    _ => self.grant_one(item, now_ms),
                });
                let said = said.collect();
                Some(self.answer(said, is_single))
            }
            RequestFault::Pending(by_ms) => {
                let known: Vec<bool> = items.iter().map(|item| self.remembers(&item.key, now_ms)).collect();
                let fresh = items.iter().zip(&known).filter(|(_, known)| !**known).map(|(item, _)| item);
                let fresh: Vec<Item> = fresh.cloned().collect();
                self.postpone(&fresh, now_ms + by_ms.cast_signed());
                let said = items.iter().map(Said::pending).collect();
                Some(self.answer(said, is_single))
            }
            RequestFault::CutAnswer => {
                let (status, retry, _) = self.grant(items, is_single, now_ms, all);
                Some((status, retry, None))
            }
            RequestFault::Nonsense => {
                self.grant(items, is_single, now_ms, all);
                Some((200, None, Some(b"{\"ok\":tru".to_vec())))
            }
            RequestFault::Conflict => empty(409, None),
            RequestFault::Status(status) => empty(status, None),
            RequestFault::StatusAfter(status) => {
                self.grant(items, is_single, now_ms, all);
                empty(status, None)
            }
            RequestFault::RejectItems => {
                let said = items.iter().map(|item| match self.remembers(&item.key, now_ms) {
                    true => Said::of(item, "duplicate"),
                    false => Said::of(item, "rejected"),
                });
                let said = said.collect();
                Some(self.answer(said, is_single))
            }
            RequestFault::TooLarge | RequestFault::Slow(_) => Some(self.grant(items, is_single, now_ms, all)),
        }
    }

    fn cache(&mut self, items: &[Item], now_ms: i64) {
        if !self.options.caches_failures {
            return;
        }
        for item in items {
            if let Some(entry) = self.book.get_mut(&item.key) {
                entry.cached.get_or_insert((now_ms, 500));
            }
        }
    }

    fn postpone(&mut self, items: &[Item], at_ms: i64) {
        for item in items {
            let number = self.late.len() as u64 + self.attempts * 10_000;
            self.late.insert((at_ms, number), (item.key.clone(), item.body.clone()));
        }
    }

    /// Does the items that `which` says, and answers those that it says.
    fn grant(
        &mut self,
        items: &[Item],
        is_single: bool,
        now_ms: i64,
        which: impl Fn(usize) -> (bool, bool),
    ) -> Answered {
        let mut said = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            if let Some((since_ms, status)) = self.book.get(&item.key).and_then(|entry| entry.cached)
                && self.lasts(since_ms, now_ms)
            {
                *self.met.entry("cached_failure").or_default() += 1;
                if is_single {
                    return (status, None, Some(Vec::new()));
                }
                // In a batch the repeated failure of an item is an item without a result.
                continue;
            }
            let (is_done, is_told) = which(at);
            if is_done {
                let one = self.grant_one(item, now_ms);
                said.extend(is_told.then_some(one));
            }
        }
        self.answer(said, is_single)
    }

    fn grant_one(&mut self, item: &Item, now_ms: i64) -> Said {
        if self.remembers(&item.key, now_ms) {
            return Said::of(item, "duplicate");
        }
        if self.is_poison(&item.key) {
            return Said::of(item, "rejected");
        }
        self.take_effect(&item.key, &item.body, now_ms);
        Said::of(item, "credited")
    }

    fn take_effect(&mut self, key: &str, body: &[u8], at_ms: i64) {
        let entry = self.book.entry(key.to_owned()).or_default();
        if entry.body.is_empty() {
            entry.body = body.to_vec();
        }
        entry.effects_ms.push(at_ms);
        if entry.effects_ms.len() > 1 && !entry.is_excused {
            let order_no = key.split_once('/').map_or(key, |(_, order_no)| order_no).to_owned();
            let what = format!("took effect at {:?}", entry.effects_ms);
            self.breaches.push(Breach { invariant: "I10", order_no, what, may_follow_loss: true });
        }
    }

    fn answer(&mut self, mut said: Vec<Said>, is_single: bool) -> Answered {
        self.said.clone_from(&said);
        if self.random.chance(u64::from(self.options.scramble_permille)) && !is_single {
            for index in (1..said.len()).rev() {
                let other = self.random.below(index as u64 + 1) as usize;
                said.swap(index, other);
            }
            said.extend(said.first().cloned());
            said.push(Said::foreign());
        }
        (200, None, Some(Body::answer(&said, is_single)))
    }

    fn lasts(&self, since_ms: i64, now_ms: i64) -> bool {
        match self.options.keys {
            Keys::Forever => true,
            Keys::None => false,
            Keys::Lasts(life_ms) => (now_ms - since_ms).cast_unsigned() < life_ms,
        }
    }

    fn remembers(&self, key: &str, now_ms: i64) -> bool {
        let last = self.book.get(key).and_then(|entry| entry.effects_ms.last());
        last.is_some_and(|at_ms| self.lasts(*at_ms, now_ms))
    }

    pub(super) fn is_poison(&self, key: &str) -> bool {
        let hash = key.bytes().fold(0, |sum, byte| crate::trace::mix(sum, u64::from(byte)));
        hash % 1_000 < u64::from(self.options.reject_permille)
    }
}

/// A status without a body.
fn empty(status: u16, retry: Option<u64>) -> Option<Answered> {
    Some((status, retry.map(|after| after.to_string()), Some(Vec::new())))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
