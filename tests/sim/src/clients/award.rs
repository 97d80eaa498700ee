//! Awards and other bytes, from what a plan says about them.

use hongbao_engine::partition::partition_of;
use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::control::{Control, ControlKey, ControlKind};
use hongbao_schemas::ext::ExtBuf;

use crate::clock::START_MS;
use crate::plan::{AwardOp, Poison, Twist};

use super::Delivery;

/// The activity of all awards.
pub const ACTIVITY: &str = "spring";

const SCENES: [(&str, &str); 4] =
    [("rain", "cash"), ("film", "coupon"), ("gift", "pendant"), ("nowhere", "cash")];

/// Name of a scene.
#[must_use]
pub fn scene_id(scene: u8) -> &'static str {
    SCENES[usize::from(scene) % SCENES.len()].0
}

/// The record of an award.
#[must_use]
pub fn delivery(op: &AwardOp, partitions: u16) -> Delivery {
    let (scene, reward_type) = SCENES[usize::from(op.scene) % SCENES.len()];
    let act_id = format!("u{}", op.person);
    let owner =
        if op.twist == Twist::ForeignOrderNo { format!("u{}", op.person + 1) } else { act_id.clone() };
    let order_no = match op.twist {
        Twist::MalformedOrderNo => format!("{owner}_{scene}_{}", op.rain),
        _ => format!("{owner}_{scene}_{}_a_0", op.rain),
    };
    let home = partition_of(act_id.as_bytes(), partitions).0;
    let award = AwardBuf {
        order_no: order_no.clone(),
        act_id,
        activity_id: if op.twist == Twist::UnknownActivity { "autumn" } else { ACTIVITY }.to_owned(),
        scene_id: scene.to_owned(),
        reward_type: if op.twist == Twist::OtherType { "other" } else { reward_type }.to_owned(),
        reward_id: format!("r{}", op.reward),
        amount_minor: op.amount_minor,
        event_time_ms: START_MS + i64::from(op.rain),
        app: format!("app{}", op.app),
        ext: ExtBuf::new(),
    };
    let mut record = Vec::new();
    award.as_award().encode(&mut record);
    let partition = if op.twist == Twist::WrongPartition { (home + 1) % partitions } else { home };
    Delivery { partition, record, order_no: (op.twist == Twist::None).then_some(order_no) }
}

/// Bytes that are no award, or no valid control record.
#[must_use]
pub fn poison(kind: Poison, partition: u16, key: &ControlKey) -> Delivery {
    let forged = ControlKey::new([9; 32]);
    let sealed = |control: Control<'_>| {
        let mut record = Vec::new();
        control.encode(&mut record);
        record
    };
    let record = match kind {
        Poison::Empty => Vec::new(),
        Poison::Noise => (0..40).map(|at| (at * 37 + 11) as u8).collect(),
        Poison::CutAward => {
            let op = AwardOp {
                person: 1,
                scene: 0,
                rain: 0,
                amount_minor: 1,
                reward: 0,
                app: 0,
                twist: Twist::None,
            };
            let mut record = delivery(&op, 1).record;
            record.truncate(30);
            record
        }
        Poison::ForgedSettings => {
            sealed(Control::seal(ControlKind::Settings, partition, 1_000_000, START_MS, b"{}", &forged))
        }
        Poison::ForeignTick => {
            sealed(Control::seal(ControlKind::Tick, partition + 1, 1_000_000, START_MS, &[], key))
        }
        Poison::OldTick => {
            sealed(Control::seal(ControlKind::Tick, partition, 0, START_MS + 1_000_000_000, &[], key))
        }
    };
    Delivery { partition, record, order_no: None }
}
