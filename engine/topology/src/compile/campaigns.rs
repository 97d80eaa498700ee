//! One file of `campaigns/`.

use super::open_root;
use crate::keys;
use crate::limits::{MAX_MINOR, SCENES_MAX};
use crate::model::{Campaign, RewardType, Scene};
use crate::node::Node;
use crate::problem::{Code, Fault, Problems, Reported};
use crate::source::{FileId, Span};
use crate::text;
use crate::units::whole;
use crate::walk::{At, Fields, IdEntry, Ids, between, ids, truth};

/// What could be read of a campaign; ids are complete even where their contents are not.
#[derive(Debug)]
pub(super) struct CampaignDraft {
    pub(super) activity: Result<At<String>, Reported>,
    pub(super) reward_types: Result<Vec<RewardTypeDraft>, Reported>,
    pub(super) scenes: Result<Vec<SceneDraft>, Reported>,
    file: String,
}

/// A reward type by id.
#[derive(Debug)]
pub(super) struct RewardTypeDraft {
    pub(super) id: String,
    pub(super) span: Span,
    pub(super) body: Result<RewardType, Reported>,
}

/// A scene by id.
#[derive(Debug)]
pub(super) struct SceneDraft {
    pub(super) id: String,
    pub(super) span: Span,
    pub(super) reward_type: Option<At<String>>,
    body: Result<Scene, Reported>,
}

impl CampaignDraft {
    pub(super) fn finish(self) -> Result<Campaign, Reported> {
        Ok(Campaign {
            file: self.file,
            activity: self.activity?.value,
            reward_types: self.reward_types?.into_iter().map(|draft| draft.body).collect::<Result<_, _>>()?,
            scenes: self.scenes?.into_iter().map(|draft| draft.body).collect::<Result<_, _>>()?,
        })
    }
}

const REWARD_TYPES: Ids = Ids { what: "reward type", most: SCENES_MAX, check: text::id };
const SCENES: Ids = Ids { what: "scene", most: SCENES_MAX, check: text::scene_id };

/// Reads a campaign.
pub(super) fn read(
    problems: &mut Problems<'_>,
    file: FileId,
    root: &Node,
) -> Result<CampaignDraft, Reported> {
    let fields = open_root(problems, root, "the campaign", &keys::CAMPAIGN)?;
    let activity = fields.required(problems, "activity", text::id);
    let span = fields.get("activity").map_or_else(|| fields.place("activity"), |(node, _)| node.span);
    Ok(CampaignDraft {
        activity: activity.map(|value| At { value, span }),
        reward_types: reward_types(problems, &fields),
        scenes: scenes(problems, &fields),
        file: problems.name(file).to_owned(),
    })
}

fn reward_types(problems: &mut Problems<'_>, root: &Fields<'_>) -> Result<Vec<RewardTypeDraft>, Reported> {
    // May be left out: another campaign may declare what this one uses.
    let Some((node, subject)) = root.get("reward_types") else {
        let misspelt = root.is_misspelt("reward_types");
        return if misspelt { Err(problems.reported_elsewhere()) } else { Ok(Vec::new()) };
    };
    let entries = ids(problems, node, &subject, &REWARD_TYPES)?;
    Ok(entries.into_iter().map(|entry| reward_type(problems, &entry)).collect())
}

fn reward_type(problems: &mut Problems<'_>, entry: &IdEntry<'_>) -> RewardTypeDraft {
    let body =
        Fields::open(problems, entry.node, entry.subject.clone(), &keys::REWARD_TYPE).and_then(|fields| {
            let (least, most) = MAX_MINOR;
            let asset = fields.required(problems, "asset", text::asset);
            let max_minor = between(whole, least, most, |n| n.to_string());
            let max_minor = fields.required_plain(problems, "max_minor", max_minor)?;
            entry.checked?;
            let max_minor = i64::try_from(max_minor).unwrap_or(i64::MAX);
            Ok(RewardType { id: entry.id.to_owned(), asset: asset?, max_minor })
        });
    RewardTypeDraft { id: entry.id.to_owned(), span: entry.span, body }
}

fn scenes(problems: &mut Problems<'_>, root: &Fields<'_>) -> Result<Vec<SceneDraft>, Reported> {
    let (node, subject) = root.need(problems, "scenes")?;
    let entries = ids(problems, node, &subject, &SCENES)?;
    if entries.is_empty() {
        let help = "declare one: `rain-1: {reward_type: cash, text: \"Red packet rain\"}`";
        return Err(problems.report(subject.span, Fault::new(Code::Empty, "there are no scenes", help)));
    }
    Ok(entries.into_iter().map(|entry| scene(problems, &entry)).collect())
}

fn scene(problems: &mut Problems<'_>, entry: &IdEntry<'_>) -> SceneDraft {
    let mut reward_type_at = None;
    let body = Fields::open(problems, entry.node, entry.subject.clone(), &keys::SCENE).and_then(|fields| {
        let reward_type = fields.required(problems, "reward_type", text::id);
        if let (Ok(value), Some((node, _))) = (&reward_type, fields.get("reward_type")) {
            reward_type_at = Some(At { value: value.clone(), span: node.span });
        }
        let text = fields.optional(problems, "text", text::bill_text);
        let reconcile = fields.optional_plain(problems, "reconcile", truth);
        entry.checked?;
        Ok(Scene {
            id: entry.id.to_owned(),
            reward_type: reward_type?,
            text: text?.unwrap_or_default(),
            reconcile: reconcile?.unwrap_or(true),
        })
    });
    SceneDraft { id: entry.id.to_owned(), span: entry.span, reward_type: reward_type_at, body }
}
