//! Settings: what is given, compiled from `topology.yaml` and `campaigns/*.yaml` and carried to
//! the folds in control records (I30).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::money::Asset;

/// Everything that decides about an award, in force from one offset of the log to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Counts up with each change.
    pub number: u64,
    /// Name of the topology.
    pub name: String,
    /// Reward types by id.
    pub reward_types: BTreeMap<String, RewardType>,
    /// Activities by id.
    pub activities: BTreeMap<String, Activity>,
    /// An order not credited for this long is overdue, in milliseconds.
    pub reconcile_overdue_after_ms: i64,
}

/// A reward type (R11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardType {
    /// What its amounts count.
    pub asset: Asset,
    /// Most of one award, in the asset's minor unit; at least 1 (W4).
    pub max_minor: i64,
    /// The lane that credits it.
    pub lane: String,
}

/// An activity and its scenes (W2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activity {
    /// Scenes by id.
    pub scenes: BTreeMap<String, Scene>,
}

/// A scene, which fixes one reward type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    /// Id of its reward type.
    pub reward_type: String,
    /// What the bill says.
    pub text: String,
    /// Whether its orders are reconciled.
    pub reconcile: bool,
}

/// Why bytes are not settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not the JSON of settings.
    #[error("not settings: {0}")]
    Json(#[from] serde_json::Error),
    /// A cap that would refuse every award.
    #[error("reward type {reward_type}: max_minor is {max_minor}, not above zero")]
    Cap {
        /// The reward type.
        reward_type: String,
        /// Its cap.
        max_minor: i64,
    },
    /// A scene of a reward type that is not there.
    #[error("scene {scene} of activity {activity}: no reward type {reward_type}")]
    NoRewardType {
        /// The activity.
        activity: String,
        /// The scene.
        scene: String,
        /// The reward type it names.
        reward_type: String,
    },
}

impl Settings {
    /// The settings as JSON: equal settings are equal bytes.
    ///
    /// # Errors
    /// [`SettingsError::Cap`] and [`SettingsError::NoRewardType`], as when read.
    pub fn to_json(&self) -> Result<Vec<u8>, SettingsError> {
        self.check()?;
        Ok(serde_json::to_vec(self)?)
    }

    /// Reads settings, refusing unknown and missing fields and what does not fit together.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn from_json(json: &[u8]) -> Result<Self, SettingsError> {
        let settings: Self = serde_json::from_slice(json)?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), SettingsError> {
        for (id, reward_type) in &self.reward_types {
            if reward_type.max_minor <= 0 {
                let max_minor = reward_type.max_minor;
                return Err(SettingsError::Cap { reward_type: id.clone(), max_minor });
            }
        }
        for (activity_id, activity) in &self.activities {
            for (scene_id, scene) in &activity.scenes {
                if !self.reward_types.contains_key(&scene.reward_type) {
                    return Err(SettingsError::NoRewardType {
                        activity: activity_id.clone(),
                        scene: scene_id.clone(),
                        reward_type: scene.reward_type.clone(),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Settings, SettingsError};

    const JSON: &str = include_str!("../golden/v1/settings.json");

    #[test]
    fn reads_only_what_it_knows() {
        let settings = Settings::from_json(JSON.as_bytes()).unwrap();
        assert_eq!(settings.activities["spring-2027"].scenes["rain-1"].reward_type, "cash");
        for (part, by) in [
            ("\"number\":12,", ""),
            ("\"number\":12", "\"number\":-1"),
            ("\"number\":12", "\"number\":12,\"more\":0"),
            ("\"lane\":\"cash\"", "\"lane\":\"cash\",\"more\":0"),
            ("\"scenes\":", "\"more\":0,\"scenes\":"),
            (",\"reconcile\":true", ""),
            (",\"reconcile\":true", ",\"reconcile\":true,\"more\":0"),
            ("CNY/2", "CNY"),
            ("20000", "20000.5"),
            ("20000", "1e99"),
            ("}}", "}"),
        ] {
            assert!(JSON.contains(part), "{part}");
            let read = Settings::from_json(JSON.replacen(part, by, 1).as_bytes());
            assert!(matches!(read, Err(SettingsError::Json(_))), "{part} -> {by}: {read:?}");
        }
    }

    #[test]
    fn reads_and_writes_only_what_fits_together() {
        let mut settings = Settings::from_json(JSON.as_bytes()).unwrap();
        for cap in ["0", "-1"] {
            let read = Settings::from_json(JSON.replacen("20000", cap, 1).as_bytes());
            assert!(matches!(read, Err(SettingsError::Cap { .. })), "{cap}: {read:?}");
        }
        let removed = settings.reward_types.remove("cash");
        let written = settings.to_json();
        assert!(matches!(written, Err(SettingsError::NoRewardType { .. })), "{written:?}");
        settings.reward_types.extend(removed.map(|mut reward_type| {
            reward_type.max_minor = 0;
            ("cash".to_owned(), reward_type)
        }));
        let written = settings.to_json();
        assert!(matches!(written, Err(SettingsError::Cap { .. })), "{written:?}");
    }
}
