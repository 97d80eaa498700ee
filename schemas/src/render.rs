//! Records as JSON for people: times as RFC 3339, bytes that are not JSON as hexadecimal. For
//! `tap`; nothing reads this form back but awards, which are in theirs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::award::Award;
use crate::award_json::{AwardOut, rfc3339};
use crate::control::Control;
use crate::dead_letter::DeadLetter;
use crate::journal::{Accepted, CreditFact, Fact, Rejected, SettingsChanged};
use crate::order::Order;
use crate::record::RecordKind;
use crate::wire::DecodeError;

/// Any record of ours: what it is, and as JSON. A control record's MAC is shown, not verified.
///
/// # Errors
/// [`DecodeError`].
pub fn record(bytes: &[u8]) -> Result<(RecordKind, Value), DecodeError> {
    let kind = RecordKind::of(bytes)?;
    let value = match kind {
        RecordKind::Award => award(&Award::decode(bytes)?),
        RecordKind::Control => control(&Control::decode(bytes)?),
        RecordKind::Order => order(&Order::decode(bytes)?),
        RecordKind::DeadLetter => dead_letter(&DeadLetter::decode(bytes)?),
        RecordKind::Accepted
        | RecordKind::Rejected
        | RecordKind::Conflict
        | RecordKind::Ticked
        | RecordKind::SettingsChanged
        | RecordKind::Opened
        | RecordKind::Credit => fact(&Fact::decode(bytes)?),
    };
    Ok((kind, value))
}

/// An award, in the form in which it can be given to the API.
#[must_use]
pub fn award(award: &Award<'_>) -> Value {
    // Strings and numbers under distinct names: there is nothing to fail.
    serde_json::to_value(AwardOut::of(award)).unwrap_or_default()
}

/// A control record.
#[must_use]
pub fn control(control: &Control<'_>) -> Value {
    json!({
        "kind": control.kind.as_str(),
        "partition": control.partition,
        "number": control.number,
        "at": rfc3339(control.at_ms),
        "body": body(control.body),
        "mac": hex(&control.mac),
    })
}

/// An order.
#[must_use]
pub fn order(order: &Order<'_>) -> Value {
    json!({
        "order_no": order.order_no,
        "act_id": order.act_id,
        "reward_type": order.reward_type,
        "reward_id": order.reward_id,
        "asset": order.asset,
        "amount_minor": order.amount_minor,
        "accepted_at": rfc3339(order.accepted_at_ms),
    })
}

/// A dead letter.
#[must_use]
pub fn dead_letter(letter: &DeadLetter<'_>) -> Value {
    json!({
        "stage": letter.stage,
        "code": letter.code,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "bytes": hex(letter.bytes),
    })
}

/// A fact of the journal.
#[must_use]
pub fn fact(fact: &Fact<'_>) -> Value {
    match fact {
        Fact::Accepted(fact) => accepted(fact),
        Fact::Rejected(fact) => rejected(fact),
        Fact::Conflict(fact) => json!({
            "order_no": fact.order_no,
            "act_id": fact.act_id,
            "activity_id": fact.activity_id,
            "scene_id": fact.scene_id,
            "reward_type": fact.reward_type,
            "reward_id": fact.reward_id,
            "amount_minor": fact.amount_minor,
            "award_offset": fact.award_offset,
            "at": rfc3339(fact.at_ms),
        }),
        Fact::Ticked(fact) => json!({
            "at": rfc3339(fact.at_ms),
            "award_offset": fact.award_offset,
        }),
        Fact::SettingsChanged(fact) => settings_changed(fact),
        Fact::Opened(fact) => json!({
            "source": fact.source,
            "writer": hex(&fact.writer),
            "epoch": fact.epoch,
            "at": rfc3339(fact.at_ms),
        }),
        Fact::Credit(fact) => credit(fact),
    }
}

fn accepted(fact: &Accepted<'_>) -> Value {
    let mut value = award(&fact.award);
    if let Value::Object(fields) = &mut value {
        let more = [
            ("asset", fact.asset.into()),
            ("lane", fact.lane.into()),
            ("lane_seq", fact.lane_seq.into()),
            ("award_offset", fact.award_offset.into()),
            ("at", rfc3339(fact.at_ms)),
        ];
        fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    value
}

fn rejected(fact: &Rejected<'_>) -> Value {
    json!({
        "order_no": fact.order_no,
        "act_id": fact.act_id,
        "activity_id": fact.activity_id,
        "scene_id": fact.scene_id,
        "reward_type": fact.reward_type,
        "reward_id": fact.reward_id,
        "amount_minor": fact.amount_minor,
        "code": fact.code,
        "award_offset": fact.award_offset,
        "at": rfc3339(fact.at_ms),
    })
}

fn settings_changed(fact: &SettingsChanged<'_>) -> Value {
    json!({
        "number": fact.number,
        "body": body(fact.body),
        "award_offset": fact.award_offset,
        "at": rfc3339(fact.at_ms),
    })
}

fn credit(fact: &CreditFact<'_>) -> Value {
    let ranges: Vec<Value> =
        fact.ranges.iter().map(|range| json!({"first": range.first(), "count": range.count()})).collect();
    let mut shown = json!({
        "stage": fact.stage.as_str(),
        "lane": fact.lane,
        "at": rfc3339(fact.at_ms),
        "reason": fact.reason,
    });
    // The macro would copy them.
    shown["ranges"] = Value::Array(ranges);
    shown
}

/// Settings as the JSON they are; anything else as hexadecimal.
fn body(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| hex(bytes).into())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a string does not fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}
