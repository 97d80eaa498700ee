//! The simulated downstream over HTTP: requests in, answers out, as bytes. Whoever listens only
//! moves them: `POST /grant`, `GET /query?key=`, `GET /book`.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decide::{Item, ItemReply, ItemResult, Reply, Simulation};

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Wait this long first.
    pub after: Duration,
    /// Then do this.
    pub action: Action,
}

/// How to end a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Answer.
    Answer {
        /// Status.
        status: u16,
        /// `Retry-After`, in whole seconds.
        retry_after_s: Option<u64>,
        /// JSON.
        body: Vec<u8>,
    },
    /// Never answer, and keep the connection until the client gives up.
    Hang,
    /// Close the connection without an answer.
    Cut,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Request<'a> {
    #[serde(borrow)]
    Batch(BatchRequest<'a>),
    #[serde(borrow)]
    Single(WireItem<'a>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchRequest<'a> {
    #[serde(borrow)]
    items: Vec<WireItem<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireItem<'a> {
    #[serde(borrow)]
    idempotency_key: Cow<'a, str>,
    #[serde(borrow)]
    order_no: Cow<'a, str>,
    #[serde(borrow)]
    act_id: Cow<'a, str>,
    #[serde(borrow)]
    reward_type: Cow<'a, str>,
    #[serde(borrow)]
    reward_id: Cow<'a, str>,
    #[serde(borrow)]
    asset: Cow<'a, str>,
    amount_minor: i64,
}

#[derive(Serialize)]
struct WireReply<'a> {
    idempotency_key: &'a str,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

#[derive(Serialize)]
struct BatchReply<'a> {
    items: Vec<WireReply<'a>>,
}

impl HttpAnswer {
    fn at_once(status: u16, body: Vec<u8>) -> Self {
        let action = Action::Answer { status, retry_after_s: None, body };
        Self { after: Duration::ZERO, action }
    }
}

impl Simulation {
    /// `POST /grant`: one item or `{"items":[...]}`. `header_key` is the `Idempotency-Key` header,
    /// which a single item must repeat.
    pub fn grant_http(&mut self, body: &[u8], header_key: Option<&str>, now_ms: i64) -> HttpAnswer {
        let refused = |why: &str| HttpAnswer::at_once(400, problem(why));
        let (wire, is_single) = match serde_json::from_slice::<Request<'_>>(body) {
            Ok(Request::Batch(batch)) => (batch.items, false),
            Ok(Request::Single(item)) => (vec![item], true),
            Err(error) => return refused(&error.to_string()),
        };
        if wire.is_empty() {
            return refused("there are no items");
        }
        if wire.len() > self.profile().max_items as usize {
            return HttpAnswer::at_once(413, problem("too many items"));
        }
        if is_single && header_key != wire.first().map(|item| &*item.idempotency_key) {
            return refused("Idempotency-Key differs from idempotency_key");
        }
        let items: Vec<Item<'_>> = wire.iter().map(WireItem::as_item).collect();
        let decision = self.decide(&items, now_ms);
        HttpAnswer { after: decision.after, action: action(&decision.reply, &items, is_single) }
    }

    /// `GET /query?key=`.
    pub fn query_http(&mut self, key: &str, now_ms: i64) -> HttpAnswer {
        let decision = self.ask(key, now_ms);
        let action = match decision.result {
            None => Action::Hang,
            Some(result) => {
                let body = json(&serde_json::json!({ "result": result }));
                Action::Answer { status: 200, retry_after_s: None, body }
            }
        };
        HttpAnswer { after: decision.after, action }
    }

    /// `GET /book`.
    #[must_use]
    pub fn book_http(&self) -> Vec<u8> {
        json(&self.counts())
    }
}

impl WireItem<'_> {
    fn as_item(&self) -> Item<'_> {
        Item {
            key: &self.idempotency_key,
            order_no: &self.order_no,
            act_id: &self.act_id,
            reward_type: &self.reward_type,
            reward_id: &self.reward_id,
            asset: &self.asset,
            amount_minor: self.amount_minor,
        }
    }
}

fn action(reply: &Reply, items: &[Item<'_>], is_single: bool) -> Action {
    let replies: Vec<WireReply<'_>> = match reply {
        Reply::Lost => return Action::Hang,
        Reply::Refused => return Action::Cut,
        Reply::Status(status, after) => {
            let retry_after_s = after.map(|after| after.as_millis().div_ceil(1_000) as u64);
            let body = problem("simulated");
            return Action::Answer { status: *status, retry_after_s, body };
        }
        Reply::AllCredited => items.iter().map(|item| wire(item.key, ItemResult::Credited)).collect(),
        Reply::Items(replies) => replies.iter().map(|reply| wire_reply(reply, items)).collect(),
    };
    let body = match single(&replies, items, is_single) {
        Some(reply) => json(reply),
        None => json(&BatchReply { items: replies }),
    };
    Action::Answer { status: 200, retry_after_s: None, body }
}

/// The one answer to a single item.
fn single<'a>(
    replies: &'a [WireReply<'a>],
    items: &[Item<'_>],
    is_single: bool,
) -> Option<&'a WireReply<'a>> {
    let key = items.first().filter(|_| is_single)?.key;
    replies.iter().find(|reply| reply.idempotency_key == key)
}

fn wire_reply<'a>(reply: &ItemReply, items: &[Item<'a>]) -> WireReply<'a> {
    let key = reply.index.and_then(|index| items.get(index)).map_or("never-sent", |item| item.key);
    wire(key, reply.result)
}

fn wire(key: &str, result: ItemResult) -> WireReply<'_> {
    let mut reply = WireReply { idempotency_key: key, result: "", reason: None, retry_after_ms: None };
    match result {
        ItemResult::Credited => reply.result = "credited",
        ItemResult::Duplicate => reply.result = "duplicate",
        ItemResult::Rejected => (reply.result, reply.reason) = ("rejected", Some("not eligible")),
        ItemResult::Pending => reply.result = "pending",
        ItemResult::Throttled(after) => {
            reply.result = "throttled";
            reply.retry_after_ms = Some(after.as_millis() as u64);
        }
    }
    reply
}

fn problem(what: &str) -> Vec<u8> {
    json(&serde_json::json!({ "error": what }))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{Book, Profile};
    use super::*;

    const ITEM: &str = r#"{"idempotency_key":"n/u_s_1_t_0","order_no":"u_s_1_t_0","act_id":"u","reward_type":"cash","reward_id":"","asset":"CNY/2","amount_minor":5}"#;

    fn simulation() -> Simulation {
        Simulation::new(Profile::steady(), 1, Book::new(), 0)
    }

    fn answer(answer: &HttpAnswer) -> (u16, String) {
        match &answer.action {
            Action::Answer { status, body, .. } => (*status, String::from_utf8(body.clone()).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn grants_single_and_batch_and_knows_them_afterwards() {
        let mut simulation = simulation();
        let batch = format!(r#"{{"items":[{ITEM},{}]}}"#, ITEM.replace("u_s", "v_s"));
        let cases = [
            (ITEM, Some("n/u_s_1_t_0"), 200, r#"{"idempotency_key":"n/u_s_1_t_0","result":"credited"}"#),
            (ITEM, Some("n/u_s_1_t_0"), 200, r#"{"idempotency_key":"n/u_s_1_t_0","result":"duplicate"}"#),
            (
                &batch,
                None,
                200,
                r#"{"items":[{"idempotency_key":"n/u_s_1_t_0","result":"duplicate"},{"idempotency_key":"n/v_s_1_t_0","result":"credited"}]}"#,
            ),
            (ITEM, Some("n/other"), 400, r#"{"error":"Idempotency-Key differs from idempotency_key"}"#),
            (r#"{"items":[]}"#, None, 400, r#"{"error":"there are no items"}"#),
        ];
        for (body, header, status, expected) in cases {
            let got = answer(&simulation.grant_http(body.as_bytes(), header, 0));
            assert_eq!(got, (status, expected.to_owned()), "{body}");
        }
        assert_eq!(answer(&simulation.grant_http(b"[", None, 0)).0, 400);
        let asked = answer(&simulation.query_http("n/v_s_1_t_0", 0));
        assert_eq!(asked, (200, r#"{"result":"credited"}"#.to_owned()));
        assert_eq!(answer(&simulation.query_http("n/x", 0)).1, r#"{"result":"absent"}"#);
        let book = r#"{"effects":2,"double_effects":0,"payload_mismatches":0,"busiest_second":4}"#;
        assert_eq!(simulation.book_http(), book.as_bytes());
    }

    #[test]
    fn another_payload_for_a_key_is_counted() {
        let mut simulation = simulation();
        let key = Some("n/u_s_1_t_0");
        simulation.grant_http(ITEM.as_bytes(), key, 0);
        simulation.grant_http(ITEM.replace(":5", ":6").as_bytes(), key, 0);
        assert_eq!(simulation.counts().payload_mismatches, 1);
    }

    #[test]
    fn what_is_lost_hangs_and_what_is_unavailable_says_until_when() {
        let lost = Profile { lose_answer: 1_000, ..Profile::steady() };
        let mut simulation = Simulation::new(lost, 1, Book::new(), 0);
        let answer = simulation.grant_http(ITEM.as_bytes(), Some("n/u_s_1_t_0"), 0);
        assert_eq!(answer.action, Action::Hang);
        assert_eq!(simulation.effects_of("n/u_s_1_t_0"), 1, "it took effect all the same");
        simulation.set_profile(Profile { unavailable: 1_000, ..Profile::steady() });
        let answer = simulation.grant_http(ITEM.as_bytes(), Some("n/u_s_1_t_0"), 0);
        assert!(matches!(answer.action, Action::Answer { status: 503, retry_after_s: Some(1), .. }));
    }
}
