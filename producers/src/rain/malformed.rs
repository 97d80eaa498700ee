//! Deliveries that intake must refuse or put aside: one of each refusal, and cut bytes.

use hongbao_schemas::award::Award;
use hongbao_schemas::refusal::Refusal;

use super::Expected;
use super::draw::scaled;

/// What is wrong with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The second half of the bytes is missing.
    Cut,
    Refused(Refusal),
}

impl Malformed {
    /// Every kind equally often.
    pub(super) fn pick(roll: u64) -> Self {
        let place = scaled(roll, Refusal::ALL.len() as u64 + 1) as usize;
        Refusal::ALL.get(place).map_or(Self::Cut, |refusal| Self::Refused(*refusal))
    }

    /// Writes `award`, of a scene with the given cap, spoilt in this way.
    pub(super) fn write(self, award: &Award<'_>, max_minor: i64, out: &mut Vec<u8>) -> Expected {
        match self {
            Self::Cut => {
                award.encode(out);
                out.truncate(out.len() / 2);
                Expected::Undecodable
            }
            Self::Refused(refusal) => {
                let refusal = match (refusal, max_minor.checked_add(1)) {
                    (Refusal::AmountAboveCap, None) => Refusal::AmountNotPositive,
                    _ => refusal,
                };
                let unknown_scene = format!("{}_no-such-scene_r1_x_1", award.act_id);
                spoil(award, refusal, max_minor, &unknown_scene).encode(out);
                Expected::Rejected(refusal)
            }
        }
    }
}

/// The award changed so that `refusal` is the first that applies.
fn spoil<'a>(award: &Award<'a>, refusal: Refusal, max_minor: i64, unknown_scene: &'a str) -> Award<'a> {
    match refusal {
        Refusal::MalformedOrderNo => Award { order_no: award.act_id, ..*award },
        Refusal::OrderNoActIdMismatch => Award { order_no: "nobody_rain-1_r1_cash_1", ..*award },
        Refusal::OrderNoSceneMismatch => Award { scene_id: "no-such-scene", ..*award },
        Refusal::UnknownActivity => Award { activity_id: "no-such-activity", ..*award },
        Refusal::UnknownScene => Award { scene_id: "no-such-scene", order_no: unknown_scene, ..*award },
        Refusal::RewardTypeMismatch => Award { reward_type: "no-such-type", ..*award },
        Refusal::AmountNotPositive => Award { amount_minor: 0, ..*award },
        Refusal::AmountAboveCap => Award { amount_minor: max_minor.saturating_add(1), ..*award },
    }
}
