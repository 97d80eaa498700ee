//! What a valid configuration holds: private fields, made by the compiler only, so every value
//! that can be read here has been checked.

mod campaign;
mod flow;
mod log;

pub use campaign::{Campaign, RewardType, Scene};
pub use flow::{Delivery, Downstream, DownstreamKind, HttpDownstream, Lane, Pool, Simulated};
pub use log::{Http, Segments, Views};

pub(crate) use flow::HttpParts;

use hongbao_schemas::settings::{self, Settings};
use std::collections::BTreeMap;

/// A compiled topology with its campaigns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    pub(crate) name: String,
    pub(crate) partitions: u16,
    pub(crate) segments: Segments,
    pub(crate) downstreams: Vec<Downstream>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) views: Views,
    pub(crate) http: Http,
    pub(crate) campaigns: Vec<Campaign>,
}

impl Topology {
    /// The deployment's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many partitions every topic has, 1 to 1024. Fixed for the life of the data.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// How the embedded log keeps its records.
    #[must_use]
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The downstreams, as declared.
    #[must_use]
    pub fn downstreams(&self) -> &[Downstream] {
        &self.downstreams
    }

    /// The pools, as declared.
    #[must_use]
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// The lanes, as declared; this order is also that of the outputs of intake.
    #[must_use]
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// Settings of the views.
    #[must_use]
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// Settings of the HTTP API.
    #[must_use]
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The campaigns, by file name.
    #[must_use]
    pub fn campaigns(&self) -> &[Campaign] {
        &self.campaigns
    }

    /// A downstream by name.
    #[must_use]
    pub fn downstream(&self, name: &str) -> Option<&Downstream> {
        self.downstreams.iter().find(|downstream| downstream.name == name)
    }

    /// A lane by name.
    #[must_use]
    pub fn lane(&self, name: &str) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.name == name)
    }

    /// The lane that credits a reward type (R6). Every declared type has exactly one.
    #[must_use]
    pub fn lane_of(&self, reward_type: &str) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.reward_types.iter().any(|served| served == reward_type))
    }

    /// What the folds need, as it travels in a control record (W2, I30). Equal configurations
    /// give equal settings but for the number, which the caller counts up.
    #[must_use]
    pub fn settings(&self, number: u64) -> Settings {
        let served =
            self.lanes.iter().flat_map(|lane| lane.reward_types.iter().map(move |id| (id, &lane.name)));
        let lane_of: BTreeMap<&String, &String> = served.collect();
        let declared = self.campaigns.iter().flat_map(Campaign::reward_types);
        let reward_types = declared.filter_map(|declared| {
            let lane = (*lane_of.get(&declared.id)?).clone();
            let asset = declared.asset.clone();
            let max_minor = declared.max_minor;
            Some((declared.id.clone(), settings::RewardType { asset, max_minor, lane }))
        });
        let activities = self.campaigns.iter().map(|campaign| {
            let scenes = campaign.scenes.iter().map(|scene| {
                let scene_settings = settings::Scene {
                    reward_type: scene.reward_type.clone(),
                    text: scene.text.clone(),
                    reconcile: scene.reconcile,
                };
                (scene.id.clone(), scene_settings)
            });
            (campaign.activity.clone(), settings::Activity { scenes: scenes.collect() })
        });
        Settings {
            number,
            name: self.name.clone(),
            reward_types: reward_types.collect(),
            activities: activities.collect(),
            reconcile_overdue_after_ms: i64::try_from(self.views.reconcile_overdue_after.as_millis())
                .unwrap_or(i64::MAX),
        }
    }
}
