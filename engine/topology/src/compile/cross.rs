//! Checks across sections and files: every reference leads somewhere, every reward type has one
//! lane (R6), every scene id is unique (R3). What could not be read is not counted as missing.

use super::campaigns::{CampaignDraft, RewardTypeDraft};
use super::flow::{LaneDraft, PoolDraft};
use super::root::TopologyDraft;
use crate::keys::nearest;
use crate::problem::{Code, Fault, Problems, Reported, shown};
use crate::source::Span;
use std::collections::BTreeMap;

type Drafts = [Result<CampaignDraft, Reported>];
type Places<'d> = BTreeMap<&'d str, Span>;

/// Reports everything that does not fit together.
pub(super) fn check(problems: &mut Problems<'_>, topology: &TopologyDraft, campaigns: &Drafts) {
    if let (Ok(downstreams), Ok(lanes)) = (&topology.downstreams, &topology.lanes) {
        let names: Vec<&str> = downstreams.iter().map(|draft| draft.name.as_str()).collect();
        lanes.iter().for_each(|lane| check_downstream(problems, lane, &names));
    }
    if let (Ok(pools), Ok(lanes)) = (&topology.pools, &topology.lanes) {
        check_ranks(problems, pools, lanes);
    }
    check_activities(problems, campaigns);
    check_scene_ids(problems, campaigns);
    let declared = declared(problems, campaigns);
    let complete = campaigns.iter().all(|draft| draft.as_ref().is_ok_and(|draft| draft.reward_types.is_ok()));
    if complete && !campaigns.is_empty() {
        check_scene_types(problems, campaigns, &declared);
    }
    if let Ok(lanes) = &topology.lanes {
        check_served(problems, lanes, &declared);
    }
}

fn check_downstream(problems: &mut Problems<'_>, lane: &LaneDraft, known: &[&str]) {
    let Some(wanted) = &lane.downstream else { return };
    if known.contains(&wanted.value.as_str()) {
        return;
    }
    let message = format!("there is no downstream {}", shown(&wanted.value));
    problems.report(
        wanted.span,
        Fault::new(Code::UnknownDownstream, message, meant(problems, known, &wanted.value)),
    );
}

fn check_ranks(problems: &mut Problems<'_>, pools: &[PoolDraft], lanes: &[LaneDraft]) {
    let names: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
    let mut seen: BTreeMap<&str, (Span, &str)> = BTreeMap::new();
    for pool in pools {
        for ranked in &pool.rank {
            let lane = ranked.value.as_str();
            if !names.contains(&lane) {
                let message = format!("there is no lane {}", shown(lane));
                problems.report(
                    ranked.span,
                    Fault::new(Code::UnknownLane, message, meant(problems, &names, lane)),
                );
            }
            let Some((first, other)) = seen.get(lane) else {
                seen.insert(lane, (ranked.span, &pool.name));
                continue;
            };
            let message = format!("lane {} has a rank already, in pool {}", shown(lane), shown(other));
            let help = "a lane is in at most one pool, once";
            problems.report_again(ranked.span, Fault::new(Code::LaneTwice, message, help), "first", *first);
        }
    }
}

fn check_activities(problems: &mut Problems<'_>, campaigns: &Drafts) {
    let mut seen = Places::new();
    for activity in campaigns.iter().flatten().filter_map(|draft| draft.activity.as_ref().ok()) {
        let Some(first) = seen.get(activity.value.as_str()) else {
            seen.insert(&activity.value, activity.span);
            continue;
        };
        let message = format!("activity {} is declared in another file already", shown(&activity.value));
        let fault = Fault::new(Code::ActivityTwice, message, "an activity is one file; choose another id");
        problems.report_again(activity.span, fault, "first", *first);
    }
}

fn check_scene_ids(problems: &mut Problems<'_>, campaigns: &Drafts) {
    let mut seen = Places::new();
    let scenes = campaigns.iter().flatten().filter_map(|draft| draft.scenes.as_ref().ok()).flatten();
    for scene in scenes {
        let Some(first) = seen.get(scene.id.as_str()) else {
            seen.insert(&scene.id, scene.span);
            continue;
        };
        let message = format!("scene {} is declared in another campaign already", shown(&scene.id));
        let help = "order numbers name only the scene, so its id is unique across all campaigns";
        problems.report_again(scene.span, Fault::new(Code::SceneTwice, message, help), "first", *first);
    }
}

/// The reward types that campaigns declare, each with its first place. Declared twice is fine
/// when it is the same.
fn declared<'d>(problems: &mut Problems<'_>, campaigns: &'d Drafts) -> Places<'d> {
    let mut first_of: BTreeMap<&str, &RewardTypeDraft> = BTreeMap::new();
    let drafts = campaigns.iter().flatten().filter_map(|draft| draft.reward_types.as_ref().ok()).flatten();
    for draft in drafts {
        let first = *first_of.entry(draft.id.as_str()).or_insert(draft);
        if let (Ok(here), Ok(there)) = (&draft.body, &first.body)
            && here != there
        {
            let message =
                format!("reward type {} is declared differently in another campaign", shown(&draft.id));
            let help = format!("there it is `{{asset: {}, max_minor: {}}}`", there.asset, there.max_minor);
            let fault = Fault::new(Code::RewardTypeDiffers, message, help);
            problems.report_again(draft.span, fault, "first", first.span);
        }
    }
    first_of.into_iter().map(|(id, draft)| (id, draft.span)).collect()
}

fn check_scene_types(problems: &mut Problems<'_>, campaigns: &Drafts, declared: &Places<'_>) {
    let known: Vec<&str> = declared.keys().copied().collect();
    let scenes = campaigns.iter().flatten().filter_map(|draft| draft.scenes.as_ref().ok()).flatten();
    for wanted in scenes.filter_map(|scene| scene.reward_type.as_ref()) {
        if !declared.contains_key(wanted.value.as_str()) {
            let message = format!("no campaign declares the reward type {}", shown(&wanted.value));
            let help = meant(problems, &known, &wanted.value);
            problems.report(wanted.span, Fault::new(Code::SceneRewardType, message, help));
        }
    }
}

/// Every declared reward type is in exactly one lane (R6). A lane may name types that no campaign
/// declares yet: nothing can be given of them.
fn check_served(problems: &mut Problems<'_>, lanes: &[LaneDraft], declared: &Places<'_>) {
    let mut seen: BTreeMap<&str, (Span, &str)> = BTreeMap::new();
    for lane in lanes {
        for served in &lane.reward_types {
            let id = served.value.as_str();
            let Some((first, other)) = seen.get(id) else {
                seen.insert(id, (served.span, &lane.name));
                continue;
            };
            let message = format!("reward type {} is in lane {} already", shown(id), shown(other));
            let fault = Fault::new(Code::RewardTypeTwice, message, "a reward type belongs to one lane");
            problems.report_again(served.span, fault, "first", *first);
        }
    }
    if !lanes.iter().all(|lane| lane.types_read) {
        return;
    }
    let undeclared: Vec<&str> = seen.keys().filter(|id| !declared.contains_key(*id)).copied().collect();
    for (id, span) in declared.iter().filter(|(id, _)| !seen.contains_key(*id)) {
        let message = format!("reward type {} has no lane", shown(id));
        let near = if problems.is_full() { None } else { nearest(&undeclared, id) };
        let named = near.and_then(|near| Some((near, seen.get(near)?)));
        let Some((near, (place, lane))) = named else {
            let help = "add it to the `reward_types` of a lane in the topology";
            problems.report(*span, Fault::new(Code::RewardTypeUnserved, message, help));
            continue;
        };
        let help = format!("lane {} names {}, which is not declared: is it meant?", shown(lane), shown(near));
        problems.report_again(*span, Fault::new(Code::RewardTypeUnserved, message, help), "named", *place);
    }
}

/// Help for a reference that leads nowhere.
fn meant(problems: &Problems<'_>, known: &[&str], wanted: &str) -> String {
    /// How many names are listed at most.
    const LISTED_MAX: usize = 12;
    if problems.is_full() {
        return String::new();
    }
    if let Some(near) = nearest(known, wanted) {
        return format!("did you mean {}?", shown(near));
    }
    if known.is_empty() {
        return "none is declared".to_owned();
    }
    let names: Vec<String> = known.iter().take(LISTED_MAX).map(|name| shown(name)).collect();
    let more = if known.len() > LISTED_MAX { ", ..." } else { "" };
    format!("declared: {}{more}", names.join(", "))
}
