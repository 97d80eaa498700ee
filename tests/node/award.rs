//! Awards as JSON.

use serde_json::{Value, json};

/// An award that the usual campaign takes; what it says follows from its order number.
pub fn award(order_no: &str) -> Value {
    // From the right, since only the person's part may hold the separator.
    let parts: Vec<&str> = order_no.rsplitn(5, '_').collect();
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    let (act_id, scene_id) = (part(4), part(3));
    let (reward_type, amount_minor) = match scene_id {
        "video" => ("cash.video", 50),
        "film" => ("coupon.film", 1),
        "mine" => ("gold", 700),
        _ => ("cash", 100),
    };
    json!({
        "order_no": order_no,
        "act_id": act_id,
        "activity_id": "spring",
        "scene_id": scene_id,
        "reward_type": reward_type,
        "amount_minor": amount_minor,
        "event_time": "2027-02-05T20:00:00.123+08:00",
    })
}

/// The same award with other fields.
pub fn with(award: &Value, fields: Value) -> Value {
    let mut changed = award.clone();
    for (name, value) in fields.as_object().unwrap() {
        changed[name] = value.clone();
    }
    changed
}

/// NDJSON.
pub fn lines(awards: &[Value]) -> Vec<u8> {
    awards.iter().map(|award| format!("{award}\n")).collect::<String>().into_bytes()
}
