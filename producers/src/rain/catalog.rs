//! What a rain can give: the scenes of the settings, so that intake accepts its awards.

use hongbao_schemas::order_no::OrderNo;
use hongbao_schemas::settings::Settings;

use super::draw::scaled;
use super::profile::{MILLION, Profile};
use super::{ACT_ID_BYTES, RAIN_ID_BYTES_MAX, STAGE_BYTES_MAX};

/// One scene and what it gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gift {
    pub(super) activity_id: String,
    pub(super) scene_id: String,
    pub(super) reward_type: String,
    /// The reward type in a form that an order number may hold.
    pub(super) award_type: String,
    pub(super) reward_id: &'static str,
    pub(super) max_minor: i64,
}

/// Scenes by kind: money and pieces.
#[derive(Clone, Debug)]
pub(super) struct Catalog {
    money: Gifts,
    pieces: Gifts,
    money_ppm: u32,
}

#[derive(Clone, Debug, Default)]
struct Gifts {
    gifts: Vec<Gift>,
    /// For each gift the weights up to and with its own.
    weights_up_to: Vec<u64>,
}

impl Gifts {
    fn add(&mut self, gift: Gift, weight: u32) {
        let before = self.weights_up_to.last().copied().unwrap_or(0);
        if weight > 0 {
            self.weights_up_to.push(before + u64::from(weight));
            self.gifts.push(gift);
        }
    }

    fn pick(&self, roll: u64) -> Option<&Gift> {
        let total = self.weights_up_to.last()?;
        let place = scaled(roll, *total);
        self.gifts.get(self.weights_up_to.partition_point(|up_to| *up_to <= place))
    }
}

impl Catalog {
    /// The scenes that `profile` gives any weight and whose names fit an order number.
    pub(super) fn new(profile: &Profile, settings: &Settings) -> Self {
        let mut catalog =
            Self { money: Gifts::default(), pieces: Gifts::default(), money_ppm: profile.file.money_ppm };
        for (activity_id, activity) in &settings.activities {
            for (scene_id, scene) in &activity.scenes {
                let Some(kind) = settings.reward_types.get(&scene.reward_type) else { continue };
                let is_pieces = kind.asset.is_pieces();
                let gift = Gift {
                    activity_id: activity_id.clone(),
                    scene_id: scene_id.clone(),
                    reward_type: scene.reward_type.clone(),
                    award_type: as_part(&scene.reward_type),
                    reward_id: if is_pieces { "t1" } else { "" },
                    max_minor: kind.max_minor,
                };
                let weight = profile.file.weights.get(&gift.reward_type).copied().unwrap_or(1);
                if gift.is_usable() {
                    let gifts = if is_pieces { &mut catalog.pieces } else { &mut catalog.money };
                    gifts.add(gift, weight);
                }
            }
        }
        if catalog.money.gifts.is_empty() {
            catalog.money_ppm = 0;
        } else if catalog.pieces.gifts.is_empty() {
            catalog.money_ppm = MILLION;
        }
        catalog
    }

    /// The gift for two rolls: which kind, which of its kind. `None` when there is nothing to give.
    #[inline]
    pub(super) fn pick(&self, kind_roll: u64, gift_roll: u64) -> Option<&Gift> {
        let is_money = scaled(kind_roll, u64::from(MILLION)) < u64::from(self.money_ppm);
        let gifts = if is_money { &self.money } else { &self.pieces };
        gifts.pick(gift_roll)
    }

    /// Whether there is something to give.
    pub(super) fn is_empty(&self) -> bool {
        self.money.gifts.is_empty() && self.pieces.gifts.is_empty()
    }
}

impl Gift {
    fn is_usable(&self) -> bool {
        let longest = |bytes: usize| "0".repeat(bytes);
        let order_no = OrderNo::join(
            &longest(ACT_ID_BYTES),
            &self.scene_id,
            &longest(RAIN_ID_BYTES_MAX),
            &self.award_type,
            &longest(STAGE_BYTES_MAX),
        );
        order_no.is_ok() && self.max_minor > 0
    }
}

fn as_part(reward_type: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".:-".contains(c);
    reward_type.chars().map(|c| if allowed(c) { c } else { '-' }).collect()
}
