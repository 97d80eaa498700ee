//! The body of a request. Equal orders make equal bytes (I13).

use hongbao_engine::mutant;
use hongbao_schemas::order::Order;
use serde::Serialize;

use crate::batch::Batch;

#[derive(Serialize)]
struct ItemJson<'a> {
    idempotency_key: &'a str,
    order_no: &'a str,
    act_id: &'a str,
    reward_type: &'a str,
    reward_id: &'a str,
    asset: &'a str,
    amount_minor: i64,
}

#[derive(Serialize)]
struct BatchJson<'a> {
    items: Vec<ItemJson<'a>>,
}

/// A request's keys, in the order of its items, and its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Idempotency keys.
    pub keys: Vec<String>,
    /// JSON.
    pub body: Vec<u8>,
}

/// The idempotency key of an encoded `Order` record; none if that cannot be decoded.
pub fn key_of(namespace: &str, record: &[u8]) -> Option<String> {
    Order::decode(record).ok().map(|order| key(namespace, order.order_no))
}

/// The request for a batch; none if a record cannot be decoded.
pub fn request(namespace: &str, batch: &Batch, is_single: bool) -> Option<Request> {
    let orders: Option<Vec<Order<'_>>> = batch.records().map(|record| Order::decode(record).ok()).collect();
    let orders = orders?;
    let keys: Vec<String> = orders.iter().map(|order| key(namespace, order.order_no)).collect();
    let items: Vec<ItemJson<'_>> = orders.iter().zip(&keys).map(|(order, key)| item(order, key)).collect();
    let body = match items.first() {
        Some(first) if is_single => serde_json::to_vec(first),
        _ => serde_json::to_vec(&BatchJson { items }),
    };
    Some(Request { keys, body: body.ok()? })
}

fn key(namespace: &str, order_no: &str) -> String {
    match mutant!(M44) {
        true => format!("{namespace}/{order_no}/{}", hongbao_engine::stray()),
        false => format!("{namespace}/{order_no}"),
    }
}

fn item<'a>(order: &Order<'a>, key: &'a str) -> ItemJson<'a> {
    ItemJson {
        idempotency_key: key,
        order_no: order.order_no,
        act_id: order.act_id,
        reward_type: order.reward_type,
        reward_id: order.reward_id,
        asset: order.asset,
        amount_minor: if mutant!(M55) {
            1 + hongbao_engine::stray().cast_signed()
        } else {
            order.amount_minor
        },
    }
}

#[cfg(test)]
mod tests {
    use hongbao_engine::partition::Partition;

    use crate::batch::Part;

    use super::*;

    fn batch(amounts: &[i64]) -> Batch {
        let parts = amounts.iter().enumerate().map(|(index, amount_minor)| {
            let order = Order {
                order_no: &format!("u_s_1_t_{index}"),
                act_id: "u",
                reward_type: "cash",
                reward_id: "",
                asset: "CNY/2",
                amount_minor: *amount_minor,
                accepted_at_ms: 5,
            };
            let mut record = Vec::new();
            order.encode(&mut record);
            Part::One { seq: index as u64 + 1, record: record.into() }
        });
        Batch::new("cash".into(), Partition(0), parts.collect())
    }

    #[test]
    fn bodies_are_as_agreed() {
        let first = r#"{"idempotency_key":"n/u_s_1_t_0","order_no":"u_s_1_t_0","act_id":"u","reward_type":"cash","reward_id":"","asset":"CNY/2","amount_minor":7}"#;
        let second = first.replace("t_0", "t_1").replace(":7}", ":8}");
        let single = request("n", &batch(&[7]), true).unwrap();
        assert_eq!(String::from_utf8(single.body).unwrap(), first);
        let both = request("n", &batch(&[7, 8]), false).unwrap();
        assert_eq!(both.keys, ["n/u_s_1_t_0", "n/u_s_1_t_1"]);
        assert_eq!(String::from_utf8(both.body).unwrap(), format!(r#"{{"items":[{first},{second}]}}"#));
        let one = request("n", &batch(&[7]), false).unwrap();
        assert_eq!(String::from_utf8(one.body).unwrap(), format!(r#"{{"items":[{first}]}}"#));
    }

    #[test]
    fn what_cannot_be_decoded_makes_no_request() {
        let parts = vec![Part::One { seq: 1, record: b"order".as_slice().into() }];
        assert_eq!(request("n", &Batch::new("cash".into(), Partition(0), parts), false), None);
        assert_eq!(key_of("n", b"order"), None);
    }
}
