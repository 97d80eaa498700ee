//! What a partner answers to questions, and what goes wrong with them. A status that is no success
//! says nothing about the order.

use super::partner::{Answered, Partner};

/// What a question comes to.
#[derive(Debug)]
pub struct Told {
    /// After so many milliseconds.
    pub after_ms: u64,
    /// None if no answer ever comes.
    pub answer: Option<Answered>,
    /// The answer says that the order is rejected, and can be read.
    pub is_rejected: bool,
}

/// What goes wrong with questions, each under its name.
const FAULTS: [(&str, u16); 12] = [
    ("ask.not_found", 404),
    ("ask.not_found", 410),
    ("ask.unauthorized", 401),
    ("ask.forbidden", 403),
    ("ask.not_allowed", 405),
    ("ask.throttle", 429),
    ("ask.unavailable", 503),
    ("ask.failed", 500),
    ("ask.failed", 502),
    ("ask.redirect", 302),
    ("ask.cut", 200),
    ("ask.nonsense", 200),
];

/// Bodies that are no answers, of a success.
const NONSENSE: [&str; 5] =
    ["", "{\"ok\":tru", "{}", "{\"result\":\"unheard_of\"}", "{\"items\":[{\"result\":\"rejected\"}]}"];

impl Partner {
    /// Answers what became of an order: `credited`, `rejected`, `pending` or `absent`.
    pub fn ask(&mut self, key: &str, now_ms: i64) -> Told {
        self.advance(now_ms);
        let (least, most) = self.options.latency_ms;
        let after_ms = self.random.within(u64::from(least), u64::from(most));
        let lost_ms = u64::from(self.options.timeout_ms);
        let has_faults = !self.faults.is_empty();
        let is_lost = now_ms < self.out_until_ms || (has_faults && self.random.chance(150));
        if is_lost || after_ms > lost_ms {
            *self.asked.entry("ask.lost").or_default() += 1;
            return Told { after_ms: lost_ms, answer: None, is_rejected: false };
        }
        let result = self.result_of(key);
        if has_faults && self.questions.chance(250) {
            return Told { after_ms, answer: Some(self.no_answer()), is_rejected: false };
        }
        *self.met.entry(result).or_default() += 1;
        Told { after_ms, answer: Some((200, None, Some(body(result)))), is_rejected: result == "rejected" }
    }

    fn result_of(&mut self, key: &str) -> &'static str {
        let is_coming = self.late.values().any(|(late, _)| late == key);
        match () {
            () if self.times(key) > 0 => "credited",
            () if self.is_poison(key) => "rejected",
            // It does not always know what is on its way.
            () if is_coming && self.random.chance(500) => "pending",
            () => "absent",
        }
    }

    /// An answer that must not be taken for one; some have the body of one all the same.
    fn no_answer(&mut self) -> Answered {
        let (name, status) = *self.questions.pick(&FAULTS);
        *self.asked.entry(name).or_default() += 1;
        let has_body = self.questions.chance(500);
        let retry_after = matches!(status, 429 | 503).then(|| self.questions.below(3).to_string());
        let body = match name {
            "ask.cut" => None,
            "ask.nonsense" => Some(self.questions.pick(&NONSENSE).as_bytes().to_vec()),
            _ if has_body => Some(body("rejected")),
            _ => Some(Vec::new()),
        };
        (status, retry_after.filter(|_| has_body), body)
    }
}

fn body(result: &str) -> Vec<u8> {
    format!("{{\"result\":\"{result}\"}}").into_bytes()
}
