//! What is given: activities, reward types, scenes (W2, R11).

use hongbao_schemas::money::Asset;

/// One campaign file: an activity, its reward types and its scenes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    pub(crate) file: String,
    pub(crate) activity: String,
    pub(crate) reward_types: Vec<RewardType>,
    pub(crate) scenes: Vec<Scene>,
}

impl Campaign {
    /// The file's name as it was given, such as `campaigns/spring-2027.yaml`.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The activity's id, which awards carry.
    #[must_use]
    pub fn activity(&self) -> &str {
        &self.activity
    }

    /// The reward types that this file declares, as declared.
    #[must_use]
    pub fn reward_types(&self) -> &[RewardType] {
        &self.reward_types
    }

    /// The scenes, as declared.
    #[must_use]
    pub fn scenes(&self) -> &[Scene] {
        &self.scenes
    }
}

/// A kind of reward: data, never code (R11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewardType {
    pub(crate) id: String,
    pub(crate) asset: Asset,
    pub(crate) max_minor: i64,
}

impl RewardType {
    /// Its id, such as `coupon.film`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it is counted in.
    #[must_use]
    pub fn asset(&self) -> &Asset {
        &self.asset
    }

    /// The most that one award may give, in the asset's minor unit, at least 1 (W4).
    #[must_use]
    pub fn max_minor(&self) -> i64 {
        self.max_minor
    }
}

/// A scene: where in a campaign an award is won. It fixes one reward type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    pub(crate) id: String,
    pub(crate) reward_type: String,
    pub(crate) text: String,
    pub(crate) reconcile: bool,
}

impl Scene {
    /// Its id, the second part of order numbers; unique across all campaigns.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The reward type of everything won in it.
    #[must_use]
    pub fn reward_type(&self) -> &str {
        &self.reward_type
    }

    /// What the bill says; may be empty.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether its orders are reconciled (W16).
    #[must_use]
    pub fn reconcile(&self) -> bool {
        self.reconcile
    }
}
