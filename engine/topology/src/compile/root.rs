//! `topology.yaml` as a whole: a draft whose parts are right or reported.

use super::campaigns::CampaignDraft;
use super::downstreams::{self, DownstreamDraft};
use super::flow::{self, LaneDraft, PoolDraft};
use super::{edges, open_root};
use crate::keys;
use crate::limits::PARTITIONS_MAX;
use crate::model::{Http, Lane, Segments, Topology, Views};
use crate::node::Node;
use crate::problem::{Problems, Reported};
use crate::text;
use crate::units::whole;
use crate::walk::between;

/// What could be read of the topology. Names are complete even where their contents are not, so
/// that a fault in one place is not reported again wherever it is referred to.
#[derive(Debug)]
pub(super) struct TopologyDraft {
    pub(super) name: Result<String, Reported>,
    pub(super) partitions: Result<u16, Reported>,
    pub(super) segments: Result<Segments, Reported>,
    pub(super) downstreams: Result<Vec<DownstreamDraft>, Reported>,
    pub(super) pools: Result<Vec<PoolDraft>, Reported>,
    pub(super) lanes: Result<Vec<LaneDraft>, Reported>,
    pub(super) views: Result<Views, Reported>,
    pub(super) http: Result<Http, Reported>,
}

/// Reads `topology.yaml`.
pub(super) fn read(problems: &mut Problems<'_>, root: &Node) -> Result<TopologyDraft, Reported> {
    let fields = open_root(problems, root, "the topology", &keys::ROOT)?;
    Ok(TopologyDraft {
        name: fields.required(problems, "name", text::name),
        partitions: fields
            .required_plain(problems, "partitions", between(whole, 1, PARTITIONS_MAX, |n| n.to_string()))
            .map(|count| u16::try_from(count).unwrap_or(u16::MAX)),
        segments: edges::log(problems, &fields),
        downstreams: downstreams::read(problems, &fields),
        pools: flow::pools(problems, &fields),
        lanes: flow::lanes(problems, &fields),
        views: edges::views(problems, &fields),
        http: edges::http(problems, &fields),
    })
}

impl TopologyDraft {
    /// The topology, if every part of it and of the campaigns is right.
    pub(super) fn finish(
        self,
        campaigns: Vec<Result<CampaignDraft, Reported>>,
    ) -> Result<Topology, Reported> {
        let pools: Vec<_> = self.pools?.into_iter().map(PoolDraft::finish).collect::<Result<_, _>>()?;
        let place_of = |lane: &str| {
            pools.iter().find_map(|pool: &crate::model::Pool| {
                let rank = pool.rank.iter().position(|ranked| ranked == lane)?;
                Some((pool.name.clone(), rank + 1))
            })
        };
        let lanes = self.lanes?.into_iter().map(|draft| {
            let lane = draft.finish()?;
            Ok(Lane { pool: place_of(&lane.name), ..lane })
        });
        let downstreams = self.downstreams?.into_iter().map(DownstreamDraft::finish);
        let campaigns = campaigns.into_iter().map(|draft| draft?.finish());
        Ok(Topology {
            name: self.name?,
            partitions: self.partitions?,
            segments: self.segments?,
            downstreams: downstreams.collect::<Result<_, _>>()?,
            lanes: lanes.collect::<Result<_, Reported>>()?,
            pools,
            views: self.views?,
            http: self.http?,
            campaigns: campaigns.collect::<Result<_, _>>()?,
        })
    }
}
