//! Settings in force, compiled for look-up: what decides whether an award is refused, and which
//! lane an accepted one takes (R6, W2). A function of the log position (I30).

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hongbao_engine::mutant;
use hongbao_schemas::award::Award;
use hongbao_schemas::refusal::Refusal;
use hongbao_schemas::settings::{RewardType, Settings, SettingsError};

/// Longest name of a lane: `orders.` and it make a topic name of at most 64 bytes.
const LANE_NAME_BYTES_MAX: usize = 57;

/// Keys come from settings, which are sealed, so that nobody can choose them to collide.
type Map<V> = HashMap<Box<str>, V, FixedState>;

/// What a scene gives.
#[derive(Debug)]
pub(super) struct SceneRule {
    pub(super) reward_type: Box<str>,
    /// Written out, such as `CNY/2`.
    pub(super) asset: Box<str>,
    pub(super) max_minor: i64,
    /// Index in [`Plan::lanes`].
    pub(super) lane: usize,
}

/// Compiled settings; empty before the first arrived, so that every award is refused.
#[derive(Debug, Default)]
pub(super) struct Plan {
    activities: Map<Map<SceneRule>>,
    lanes: Vec<String>,
}

/// Settings that cannot be in force.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("{0:?} is no name of a lane")]
    LaneName(String),
    #[error("the settings have number {found}, their control record {expected}")]
    Number { found: u64, expected: i64 },
}

impl Plan {
    /// Compiles the JSON of settings, which must have this number.
    ///
    /// # Errors
    /// [`PlanError`].
    pub(super) fn compile(json: &[u8], number: i64) -> Result<Self, PlanError> {
        let settings = Settings::from_json(json)?;
        if i64::try_from(settings.number) != Ok(number) {
            return Err(PlanError::Number { found: settings.number, expected: number });
        }
        let lanes = lane_names(&settings)?;
        let mut activities = Map::default();
        for (activity_id, activity) in &settings.activities {
            let mut scenes = Map::default();
            for (scene_id, scene) in &activity.scenes {
                // `from_json` refused scenes without their reward type.
                if let Some(kind) = settings.reward_types.get(&scene.reward_type) {
                    scenes.insert(scene_id.as_str().into(), rule(&scene.reward_type, kind, &lanes)?);
                }
            }
            activities.insert(activity_id.as_str().into(), scenes);
        }
        Ok(Self { activities, lanes })
    }

    /// Names of the lanes, ascending.
    pub(super) fn lanes(&self) -> &[String] {
        &self.lanes
    }

    /// Name of a rule's lane.
    #[inline]
    pub(super) fn lane_name(&self, rule: &SceneRule) -> &str {
        &self.lanes[rule.lane]
    }

    /// The rule that an award falls under, or the first of the refusals that need settings. Those
    /// that concern the order number come before and are not looked at here.
    #[inline]
    pub(super) fn admit(&self, award: &Award<'_>) -> Result<&SceneRule, Refusal> {
        let scenes = self.activities.get(award.activity_id).ok_or(Refusal::UnknownActivity)?;
        let rule = scenes.get(award.scene_id).ok_or(Refusal::UnknownScene)?;
        if *rule.reward_type != *award.reward_type {
            return Err(Refusal::RewardTypeMismatch);
        }
        if award.amount_minor <= 0 && !mutant!(M20) {
            return Err(Refusal::AmountNotPositive);
        }
        if award.amount_minor > rule.max_minor && !mutant!(M19) {
            return Err(Refusal::AmountAboveCap);
        }
        Ok(rule)
    }
}

fn lane_names(settings: &Settings) -> Result<Vec<String>, PlanError> {
    let mut names: Vec<String> = settings.reward_types.values().map(|kind| kind.lane.clone()).collect();
    names.sort_unstable();
    names.dedup();
    match names.iter().find(|name| !is_lane_name(name)) {
        Some(name) => Err(PlanError::LaneName(name.clone())),
        None => Ok(names),
    }
}

fn is_lane_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    !name.is_empty() && name.len() <= LANE_NAME_BYTES_MAX && name.bytes().all(allowed)
}

fn rule(reward_type: &str, kind: &RewardType, lanes: &[String]) -> Result<SceneRule, PlanError> {
    let lane = lanes.binary_search(&kind.lane).map_err(|_| PlanError::LaneName(kind.lane.clone()))?;
    let asset = kind.asset.as_str().into();
    Ok(SceneRule { reward_type: reward_type.into(), asset, max_minor: kind.max_minor, lane })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lane_names_must_make_topic_names() {
        let longest = "l".repeat(LANE_NAME_BYTES_MAX);
        for (name, expected) in [
            ("cash", true),
            ("cash-2.x_y", true),
            (&longest, true),
            (&format!("{longest}l"), false),
            ("", false),
            ("Cash", false),
            ("ca sh", false),
            ("现金", false),
        ] {
            assert_eq!(is_lane_name(name), expected, "{name:?}");
        }
    }
}
