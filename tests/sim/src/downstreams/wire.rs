//! The service's side of the wire: requests read, answers written, as JSON.

use serde::Deserialize;

/// One item of a request.
#[derive(Clone, Debug)]
pub struct Item {
    /// The idempotency key.
    pub key: String,
    /// The order number.
    pub order_no: String,
    /// All of it, in a form of its own.
    pub body: Vec<u8>,
}

/// As the adapter writes it; anything else is no item.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    idempotency_key: String,
    order_no: String,
    act_id: String,
    reward_type: String,
    reward_id: String,
    asset: String,
    amount_minor: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    items: Vec<Fields>,
}

/// What is said about an item.
#[derive(Clone, Debug)]
pub struct Said {
    key: String,
    result: &'static str,
    retry_after_ms: Option<u64>,
}

impl Said {
    /// This result.
    pub fn of(item: &Item, result: &'static str) -> Self {
        Self { key: item.key.clone(), result, retry_after_ms: None }
    }

    /// Whether it is about this item.
    pub fn is_about(&self, item: &Item) -> bool {
        self.key == item.key
    }

    /// What is said.
    pub fn result(&self) -> &'static str {
        self.result
    }

    /// Come back after so many milliseconds.
    pub fn throttled(item: &Item, after_ms: u64) -> Self {
        Self { retry_after_ms: Some(after_ms), ..Self::of(item, "throttled") }
    }

    /// Taken on.
    pub fn pending(item: &Item) -> Self {
        Self::of(item, "pending")
    }

    /// About an order that nobody has sent.
    pub fn foreign() -> Self {
        Self { key: "other/order".to_owned(), result: "rejected", retry_after_ms: None }
    }
}

/// Bodies of requests and answers.
pub struct Body;

impl Body {
    /// The items of a request; none if it is not one.
    pub fn items(body: &[u8], is_single: bool) -> Vec<Item> {
        if is_single {
            return serde_json::from_slice(body).map(item).into_iter().collect();
        }
        let batch = serde_json::from_slice::<Batch>(body);
        batch.map_or_else(|_| Vec::new(), |batch| batch.items.into_iter().map(item).collect())
    }

    /// The body of an answer.
    pub fn answer(said: &[Said], is_single: bool) -> Vec<u8> {
        let items: Vec<String> = said.iter().map(one).collect();
        if is_single {
            items.concat().into_bytes()
        } else {
            format!("{{\"items\":[{}]}}", items.join(",")).into_bytes()
        }
    }
}

fn item(fields: Fields) -> Item {
    let Fields { idempotency_key, order_no, act_id, reward_type, reward_id, asset, amount_minor } = fields;
    let body = format!("{order_no} {act_id} {reward_type} {reward_id:?} {asset} {amount_minor}");
    Item { key: idempotency_key, order_no, body: body.into_bytes() }
}

fn one(said: &Said) -> String {
    let Said { key, result, retry_after_ms } = said;
    let retry = retry_after_ms.map_or_else(String::new, |after_ms| format!(",\"retry_after_ms\":{after_ms}"));
    format!("{{\"idempotency_key\":\"{key}\",\"result\":\"{result}\"{retry}}}")
}
