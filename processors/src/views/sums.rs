//! Sums over partitions: totals (W12), lanes, reconciliation (W16).

use std::collections::BTreeMap;
use std::sync::Arc;

use hongbao_engine::mutant;

use super::Shared;
use super::entry::{Entry, Pointer};
use super::groups::{BUCKET_MS, Group, GroupNames, Sums, minute_end_ms};
use super::lanes::{Lane, LaneCounts};
use super::reader::{ReadError, ViewsReader};
use super::rows;
use super::state::State;
use super::wire::damaged;

/// What totals can be split by, beside the asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupBy {
    /// The parent activity.
    ActivityId,
    /// The scene.
    SceneId,
    /// The type of the reward.
    RewardType,
}

impl GroupBy {
    /// The column with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "activity_id" => Some(Self::ActivityId),
            "scene_id" => Some(Self::SceneId),
            "reward_type" => Some(Self::RewardType),
            _ => None,
        }
    }
}

/// Totals of everything ever accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Up to when they are complete, in milliseconds since the Unix epoch.
    pub as_of_ms: i64,
    /// One row a group and asset, in the order of these.
    pub rows: Vec<TotalsRow>,
}

/// Sums of one group; columns that were not asked for are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TotalsRow {
    /// Parent activity.
    pub activity_id: Option<String>,
    /// Scene.
    pub scene_id: Option<String>,
    /// Type of the reward.
    pub reward_type: Option<String>,
    /// Code and scale.
    pub asset: String,
    /// Orders accepted.
    pub accepted_count: u64,
    /// Their sum in minor units.
    pub accepted_minor: i128,
    /// Orders credited.
    pub credited_count: u64,
    /// Their sum in minor units.
    pub credited_minor: i128,
}

/// A lane, summed over partitions. All counts are folds, not counts since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneSummary {
    /// Name.
    pub lane: String,
    /// Orders accepted.
    pub accepted: u64,
    /// Items of all attempts, resends included.
    pub sent: u64,
    /// Orders credited.
    pub credited: u64,
    /// Orders refused downstream.
    pub refused: u64,
    /// Orders that need a person.
    pub reported: u64,
    /// Orders that are unknown now.
    pub unknown: u64,
    /// Accepted and not ended, in flight and unknown included.
    pub backlog: u64,
    /// Acceptance of the oldest order not ended, in milliseconds since the Unix epoch.
    pub oldest_open_at_ms: Option<i64>,
    /// Longest time that an order not ended has waited in its partition, in milliseconds.
    pub lag_ms: i64,
}

/// Accepted against ended orders of the scenes that are reconciled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// Up to when it is complete, in milliseconds since the Unix epoch.
    pub as_of_ms: i64,
    /// By lane, scene, reward type and asset, in the order of these.
    pub rows: Vec<ReconcileRow>,
}

/// One scene and reward type on one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReconcileRow {
    /// Lane.
    pub lane: String,
    /// Parent activity.
    pub activity_id: String,
    /// Scene.
    pub scene_id: String,
    /// Type of the reward.
    pub reward_type: String,
    /// Code and scale.
    pub asset: String,
    /// Orders accepted while the scene was reconciled.
    pub accepted_count: u64,
    /// Of these, ended: credited, refused or reported.
    pub ended_count: u64,
    /// Sum of those not ended, in minor units.
    pub open_minor: i128,
    /// Not ended and accepted longer ago than settings allow, to within a minute.
    pub overdue_count: u64,
    /// Their sum in minor units.
    pub overdue_minor: i128,
    /// When the minute began in which the oldest order not ended was accepted, in milliseconds since
    /// the Unix epoch.
    pub oldest_open_at_ms: Option<i64>,
}

/// The time up to which all partitions are complete; those that never saw a time have nothing.
fn earliest(times_ms: impl Iterator<Item = i64>) -> i64 {
    let times_ms = times_ms.filter(|time_ms| *time_ms != 0);
    if mutant!(M71) { times_ms.max() } else { times_ms.min() }.unwrap_or(0)
}

impl ViewsReader {
    fn all_open(&self) -> Result<Vec<Arc<Shared>>, ReadError> {
        (0..self.partitions()).map(|partition| self.open(partition)).collect()
    }

    /// The partitions whose views are open, at least one; a damaged one hides nothing of the others
    /// (I26).
    pub(super) fn those_open(&self) -> Result<Vec<Arc<Shared>>, ReadError> {
        let open: Vec<_> = (0..self.partitions()).filter_map(|partition| self.open(partition).ok()).collect();
        if open.is_empty() { Err(ReadError::NotOpen(0)) } else { Ok(open) }
    }

    /// Exact totals, split by the given columns and by asset. They never go back: an answer that was
    /// begun after another had been given holds at least as much (I18). So there are none while the
    /// views of a partition are not open.
    ///
    /// # Errors
    /// [`ReadError::NotOpen`].
    pub fn totals(&self, group_by: &[GroupBy]) -> Result<Totals, ReadError> {
        let partitions = self.all_open()?;
        let turn = self.totals_turn.lock();
        let mut times_ms = Vec::with_capacity(partitions.len());
        let mut sums: Vec<(Arc<GroupNames>, Sums)> = Vec::new();
        for shared in &partitions {
            let state = shared.state.read();
            times_ms.push(state.now_ms);
            let groups = state.groups.iter().filter(|group| !mutant!(M85) || group.is_changed());
            sums.extend(groups.map(|group| (Arc::clone(&group.names), group.sums)));
        }
        drop(turn);
        let mut rows = BTreeMap::new();
        for (names, sums) in &sums {
            let column = |by, name| group_by.contains(&by).then_some(name);
            let key = (
                column(GroupBy::ActivityId, &*names.activity_id),
                column(GroupBy::SceneId, &*names.scene_id),
                column(GroupBy::RewardType, &*names.reward_type),
                &*names.asset,
            );
            let row: &mut TotalsRow = rows.entry(key).or_default();
            row.accepted_count += sums.accepted_count;
            row.accepted_minor += sums.accepted_minor;
            row.credited_count += sums.credited_count;
            row.credited_minor += sums.credited_minor;
        }
        let named = rows.into_iter().map(|((activity_id, scene_id, reward_type, asset), row)| TotalsRow {
            activity_id: activity_id.map(str::to_owned),
            scene_id: scene_id.map(str::to_owned),
            reward_type: reward_type.map(str::to_owned),
            asset: asset.to_owned(),
            ..row
        });
        Ok(Totals { as_of_ms: earliest(times_ms.into_iter()), rows: named.collect() })
    }

    /// All lanes that ever had an order, by name; without partitions whose views are not open.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::NotOpen`] when none is.
    pub fn lanes(&self) -> Result<Vec<LaneSummary>, ReadError> {
        let mut summaries: BTreeMap<String, LaneSummary> = BTreeMap::new();
        for shared in self.those_open()? {
            for seen in shared.see_lanes() {
                let oldest_ms = seen.oldest_ms(&shared)?;
                let summary =
                    summaries.entry(seen.lane.clone()).or_insert_with(|| LaneSummary::empty(seen.lane));
                let LaneCounts { sent, credited, refused, reported, unknown } = seen.counts;
                summary.accepted += seen.accepted;
                summary.sent += sent;
                summary.credited += credited;
                summary.refused += refused;
                summary.reported += reported;
                summary.unknown += unknown;
                summary.backlog += seen.backlog;
                if let Some(at_ms) = oldest_ms {
                    let before_ms = summary.oldest_open_at_ms.unwrap_or(at_ms);
                    summary.oldest_open_at_ms = Some(at_ms.min(before_ms));
                    summary.lag_ms = summary.lag_ms.max(seen.now_ms.saturating_sub(at_ms));
                }
            }
        }
        Ok(summaries.into_values().collect())
    }

    /// What is open and what is overdue in the scenes that are reconciled. "Now" is the journal's
    /// time, and what is overdue follows the settings in force there (I30). Without partitions whose
    /// views are not open.
    ///
    /// # Errors
    /// [`ReadError::NotOpen`] when none is.
    pub fn reconcile(&self) -> Result<Reconciliation, ReadError> {
        let mut rows: BTreeMap<_, ReconcileRow> = BTreeMap::new();
        let mut times_ms = Vec::new();
        for shared in self.those_open()? {
            let state = shared.state.read();
            times_ms.push(state.now_ms);
            for group in state.groups.iter().filter(|group| group.sums.reconciled_count > 0) {
                let lane = state.lanes.get(group.names.lane).map(|lane| lane.name.to_string());
                let names = Arc::clone(&group.names);
                let key = (
                    lane.unwrap_or_default(),
                    names.activity_id.clone(),
                    names.scene_id.clone(),
                    names.reward_type.clone(),
                    Arc::clone(&names.asset),
                );
                rows.entry(key).or_default().add(&state, group);
            }
        }
        let named =
            rows.into_iter().map(|((lane, activity_id, scene_id, reward_type, asset), row)| ReconcileRow {
                lane,
                activity_id: activity_id.into(),
                scene_id: scene_id.into(),
                reward_type: reward_type.into(),
                asset: asset.to_string(),
                ..row
            });
        Ok(Reconciliation { as_of_ms: earliest(times_ms.into_iter()), rows: named.collect() })
    }
}

impl ReconcileRow {
    fn add(&mut self, state: &State, group: &Group) {
        self.accepted_count += group.sums.reconciled_count;
        self.ended_count += group.sums.ended_count;
        let overdue_after_ms = state.settings.as_ref().map(|settings| settings.reconcile_overdue_after_ms);
        let overdue_before_ms = overdue_after_ms.map(|after_ms| state.now_ms.saturating_sub(after_ms));
        for bucket in group.buckets() {
            let began_ms = minute_end_ms(bucket.minute) - BUCKET_MS;
            let oldest_ms = self.oldest_open_at_ms.unwrap_or(began_ms);
            self.oldest_open_at_ms = Some(oldest_ms.min(began_ms));
            self.open_minor += bucket.open_minor;
            if overdue_before_ms.is_some_and(|before_ms| minute_end_ms(bucket.minute) <= before_ms) {
                self.overdue_count += bucket.open_count;
                self.overdue_minor += bucket.open_minor;
            }
        }
    }
}

impl LaneSummary {
    fn empty(lane: String) -> Self {
        Self {
            lane,
            accepted: 0,
            sent: 0,
            credited: 0,
            refused: 0,
            reported: 0,
            unknown: 0,
            backlog: 0,
            oldest_open_at_ms: None,
            lag_ms: 0,
        }
    }
}

/// A lane as one partition shows it under the lock.
struct SeenLane {
    lane: String,
    counts: LaneCounts,
    accepted: u64,
    backlog: u64,
    /// The oldest order not ended, and its time if memory holds it.
    oldest: Option<(Pointer, Option<i64>)>,
    now_ms: i64,
}

impl SeenLane {
    fn of(state: &State, number: u16, lane: &Lane) -> Self {
        let at_ms = |at| Some(Entry::decode(state.unstored_entry(at)?)?.at_ms);
        let open = lane.ended_below < lane.next_seq;
        let oldest = open.then(|| Pointer::new(number, lane.ended_below)).flatten();
        Self {
            lane: lane.name.to_string(),
            counts: lane.counts,
            accepted: lane.next_seq - 1,
            backlog: lane.backlog(),
            oldest: oldest.map(|at| (at, at_ms(at))),
            now_ms: state.now_ms,
        }
    }

    /// Acceptance of the oldest order not ended.
    fn oldest_ms(&self, shared: &Shared) -> Result<Option<i64>, ReadError> {
        match self.oldest {
            None => Ok(None),
            Some((_, Some(at_ms))) => Ok(Some(at_ms)),
            Some((at, None)) => {
                let row = shared.store().get(&rows::seq_key(rows::ENTRY, at))?;
                let entry = row.as_deref().and_then(Entry::decode);
                Ok(Some(entry.ok_or_else(|| damaged("an order without an entry"))?.at_ms))
            }
        }
    }
}

impl Shared {
    fn see_lanes(&self) -> Vec<SeenLane> {
        let state = self.state.read();
        state.lanes.iter().map(|(number, lane)| SeenLane::of(&state, number, lane)).collect()
    }
}
