//! What the API answers, field for field. Amounts are integers in the asset's minor unit.

use serde::Serialize;

/// Verdicts of intake, for ever and exact; `read` is the sum of the others (I1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Award records read.
    pub read: u64,
    /// First of their order number.
    pub accepted: u64,
    /// Same order number, same payload.
    pub duplicate: u64,
    /// Same order number, other payload.
    pub conflict: u64,
    /// Refused for a stated reason.
    pub rejected: u64,
    /// Waiting for a budget.
    pub parked: u64,
    /// Not an award at all; kept in `dlq.intake`.
    pub undecodable: u64,
}

/// Where an order stands and how it came there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrderView {
    /// The order number.
    pub order_no: String,
    /// The person.
    pub act_id: String,
    /// Type of the reward.
    pub reward_type: String,
    /// In the minor unit of the type's asset.
    pub amount_minor: i64,
    /// `parked accepted crediting unknown credited rejected refused reported`.
    pub state: String,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEvent>,
}

/// One step in the life of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimelineEvent {
    /// RFC 3339.
    pub at: String,
    /// Name of the step.
    pub stage: String,
    /// `topic/partition@offset`.
    pub position: String,
    /// For people.
    pub detail: String,
}

/// A person's wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WalletView {
    /// The person.
    pub act_id: String,
    /// The wallet reflects everything up to this time, RFC 3339.
    pub as_of: String,
    /// How far the fold is behind the log, milliseconds; 0 when caught up.
    pub lag_ms: u64,
    /// One row an asset.
    pub balances: Vec<BalanceView>,
    /// Single coupons and pendants, newest first.
    pub items: Vec<ItemView>,
    /// Where the next items begin, if there are more.
    pub items_next_cursor: Option<String>,
}

/// Sums of one asset (I15).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BalanceView {
    /// Code and scale, such as `CNY/2`.
    pub asset: String,
    /// income − withdrawn.
    pub balance_minor: i128,
    /// Credited downstream.
    pub credited_minor: i128,
    /// Accepted and not yet credited.
    pub pending_minor: i128,
    /// credited + pending.
    pub income_minor: i128,
    /// Paid out.
    pub withdrawn_minor: i128,
    /// Given up by an operator.
    pub written_off_minor: i128,
    /// credited − withdrawn − reserved; never negative (I16).
    pub available_minor: i128,
}

/// One coupon or pendant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ItemView {
    /// Order number.
    pub order_no: String,
    /// Type of the reward.
    pub reward_type: String,
    /// Template or pendant.
    pub reward_id: String,
    /// Pieces.
    pub amount_minor: i64,
    /// As in [`OrderView::state`].
    pub state: String,
}

/// One line of a statement (W10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryView {
    /// Stable name of the entry.
    pub entry_id: String,
    /// `award`.
    pub kind: String,
    /// Order number.
    pub order_no: String,
    /// Type of the reward.
    pub reward_type: String,
    /// Code and scale.
    pub asset: String,
    /// In the asset's minor unit.
    pub amount_minor: i64,
    /// When it was won, RFC 3339.
    pub at: String,
    /// As in [`OrderView::state`].
    pub state: String,
    /// Bill text of the scene.
    pub text: String,
}

/// A page of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Whether another page follows.
    pub has_more: bool,
    /// Where it begins.
    pub next_cursor: Option<String>,
}

/// Live totals (W12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TotalsView {
    /// RFC 3339.
    pub as_of: String,
    /// One row a group and asset.
    pub rows: Vec<TotalRow>,
}

/// Sums of one group; group columns that were not asked for are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TotalRow {
    /// Parent activity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity_id: Option<String>,
    /// Scene.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scene_id: Option<String>,
    /// Type of the reward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_type: Option<String>,
    /// Code and scale.
    pub asset: String,
    /// Orders accepted.
    pub accepted_count: u64,
    /// Their sum.
    pub accepted_minor: i128,
    /// Orders credited.
    pub credited_count: u64,
    /// Their sum.
    pub credited_minor: i128,
}

/// One queue with its limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LaneView {
    /// Name.
    pub lane: String,
    /// Types of reward it carries.
    pub reward_types: Vec<String>,
    /// Pool whose permits it shares, if any.
    pub pool: Option<String>,
    /// Place in the pool, 1 is served first.
    pub rank: u32,
    /// What the lane is doing, in a word.
    pub state: String,
    /// Why, where there is something to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The cap.
    pub limit_per_second: u64,
    /// Items sent, resends included.
    pub sent: u64,
    /// Orders credited.
    pub credited: u64,
    /// Orders refused by the downstream.
    pub refused: u64,
    /// Orders that need a person.
    pub reported: u64,
    /// Orders whose last attempt is unresolved.
    pub unknown: u64,
    /// Accepted and not ended, in flight and unknown included.
    pub backlog: u64,
    /// Age of the oldest order not ended, seconds.
    pub lag_seconds: f64,
}

/// Accepted against credited, by lane (W16).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReconcileRow {
    /// Lane.
    pub lane: String,
    /// Orders accepted in scenes that are reconciled.
    pub accepted_count: u64,
    /// Of these, ended.
    pub ended_count: u64,
    /// Of these, open for longer than allowed.
    pub overdue_count: u64,
    /// Their sum in minor units, all assets of the lane.
    pub overdue_minor: i128,
}
