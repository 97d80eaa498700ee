//! The process's end of a [`Partner`]: the HTTP adapter without its sockets. Requests and the
//! reading of answers are the adapter's own code.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::Clock;
use hongbao_sinks::batch::Batch;
use hongbao_sinks::downstream::{
    self, Capabilities, Completed, Completion, Downstream, KeyLife, Outcome, Outcomes, Ticket,
};
use hongbao_sinks::http::answer::{Answer, asked, sent};
use hongbao_sinks::http::request::{key_of, request};
use parking_lot::Mutex;

use crate::clock::SimClock;
use crate::options::Keys;

use super::partner::{Answered, Moment, Partner, Reply};
use super::question::Told;
use super::words::Word;

/// Namespace of all keys.
pub const NAMESPACE: &str = "sim";

/// Speaks to a partner. Dies with its process, and what is on its way to it with it.
pub struct PartnerPort {
    partner: Arc<Mutex<Partner>>,
    clock: Arc<SimClock>,
    /// Number of its process.
    process: u64,
    coming: BTreeMap<(i64, Ticket), Coming>,
}

struct Coming {
    result: Completed,
    /// Number of the attempt; 0 for asks.
    attempt: u64,
    /// Its keys in order.
    keys: Vec<String>,
    /// What the answer says for certain, by key.
    words: Vec<Option<Word>>,
}

impl PartnerPort {
    /// A port of a new process.
    #[must_use]
    pub fn new(partner: Arc<Mutex<Partner>>, clock: Arc<SimClock>, process: u64) -> Self {
        Self { partner, clock, process, coming: BTreeMap::new() }
    }

    fn is_single(&self) -> bool {
        self.partner.lock().options().max_items == 1
    }

    fn read(&self, keys: &[String], is_single: bool, reply: &Reply) -> Completed {
        let (outcomes, pause) = match &reply.answer {
            None if reply.is_refused => (Outcomes::All(Outcome::NotSent("connection refused".into())), None),
            None => (Outcomes::All(Outcome::Unknown("timeout".into())), None),
            Some(answer) => sent(keys, is_single, &self.answer(answer)),
        };
        Completed::Sent { outcomes, pause }
    }

    fn answer<'a>(&self, (status, retry_after, body): &'a Answered) -> Answer<'a> {
        let (retry_after, body) = (retry_after.as_deref(), body.as_deref());
        Answer { status: *status, retry_after, body, now_ms: self.clock.wall_ms() }
    }
}

impl Downstream for PartnerPort {
    fn capabilities(&self) -> Capabilities {
        let partner = self.partner.lock();
        let options = partner.options();
        Capabilities {
            max_items: options.max_items,
            max_in_flight: options.max_in_flight,
            key_life: match options.keys {
                Keys::Forever => KeyLife::Forever,
                Keys::Lasts(life_ms) => KeyLife::Lasts(Duration::from_millis(life_ms)),
                Keys::None => KeyLife::None,
            },
            can_query: options.can_query,
            batch_delay: Duration::ZERO,
            timeout: Duration::from_millis(u64::from(options.timeout_ms)),
        }
    }

    fn submit(&mut self, ticket: Ticket, batch: Batch) {
        let now_ms = self.clock.now_ms();
        let is_single = self.is_single();
        let Some(request) = request(NAMESPACE, &batch, is_single) else {
            let outcomes = Outcomes::Split("order cannot be decoded".into());
            let result = Completed::Sent { outcomes, pause: None };
            let coming = Coming { result, attempt: 0, keys: Vec::new(), words: Vec::new() };
            self.coming.insert((now_ms, ticket), coming);
            return;
        };
        let moment = Moment { now_ms, wall_ms: self.clock.wall_ms(), process: self.process };
        let reply = self.partner.lock().receive(&request.body, is_single, moment);
        let result = self.read(&request.keys, is_single, &reply);
        let at_ms = now_ms + reply.after_ms.cast_signed();
        let Reply { attempt, words, .. } = reply;
        self.coming.insert((at_ms, ticket), Coming { result, attempt, keys: request.keys, words });
    }

    fn ask(&mut self, ticket: Ticket, record: Arc<[u8]>) {
        let now_ms = self.clock.now_ms();
        let key = key_of(NAMESPACE, &record).unwrap_or_default();
        let Told { after_ms, answer, is_rejected } = self.partner.lock().ask(&key, now_ms);
        let (told, pause) = match &answer {
            None => (downstream::Told::Unknown("timeout".into()), None),
            Some(answer) => asked(&self.answer(answer)),
        };
        let result = Completed::Asked { told, pause };
        let words = vec![is_rejected.then_some(Word::Rejected)];
        let coming = Coming { result, attempt: 0, keys: vec![key], words };
        self.coming.insert((now_ms + after_ms.cast_signed(), ticket), coming);
    }

    fn poll(&mut self, done: &mut Vec<Completion>) {
        let now_ms = self.clock.now_ms();
        while let Some(first) = self.coming.first_entry()
            && first.key().0 <= now_ms
        {
            let ((_, ticket), coming) = first.remove_entry();
            if let Completed::Sent { outcomes, .. } = &coming.result {
                let mut partner = self.partner.lock();
                for (at, key) in coming.keys.iter().enumerate() {
                    if is_settled(outcomes, at) {
                        partner.told(key, coming.attempt);
                    }
                }
            }
            for (key, word) in coming.keys.iter().zip(&coming.words) {
                let Some(word) = *word else { continue };
                self.partner.lock().words_mut(key).heard(coming.attempt, word, self.process);
            }
            done.push(Completion { ticket, result: coming.result });
        }
    }
}

/// Whether the answer says for certain that this attempt of an item had no effect.
fn is_settled(outcomes: &Outcomes, at: usize) -> bool {
    let outcome = match outcomes {
        Outcomes::All(outcome) => Some(outcome),
        Outcomes::Each(each) => each.get(at),
        Outcomes::Split(_) => return true,
    };
    matches!(outcome, Some(Outcome::Throttled { .. } | Outcome::NotSent(_)))
}
