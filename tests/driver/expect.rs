//! What a case wants to see.

use std::collections::BTreeMap;

use hongbao_processors::views::{GroupBy, LaneSummary, WALLET_ITEMS_MAX};
use serde::Deserialize;

use super::world::World;

/// Expectations; each that is stated is compared whole.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct See {
    counts: Option<CountsRow>,
    /// State by order number; `none` for one that is not known.
    #[serde(default)]
    orders: BTreeMap<String, String>,
    /// Stages of an order's story, by order number.
    #[serde(default)]
    stories: BTreeMap<String, Vec<String>>,
    /// By person and asset; all assets of the person.
    #[serde(default)]
    wallets: BTreeMap<String, BTreeMap<String, Balance>>,
    /// Single pieces by person, newest first, as `ORDER STATE`.
    #[serde(default)]
    items: BTreeMap<String, Vec<String>>,
    /// All totals by `scene asset`.
    totals: Option<BTreeMap<String, Total>>,
    /// By lane.
    #[serde(default)]
    lanes: BTreeMap<String, LaneRow>,
    /// All sends by downstream, in order.
    #[serde(default)]
    sent: BTreeMap<String, Vec<String>>,
    /// All asks by downstream, in order.
    #[serde(default)]
    asked: BTreeMap<String, Vec<String>>,
}

/// What is left out is 0.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CountsRow {
    accepted: u64,
    duplicate: u64,
    conflict: u64,
    rejected: u64,
    undecodable: u64,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Balance {
    credited: i128,
    pending: i128,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Total {
    accepted: (u64, i128),
    credited: (u64, i128),
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LaneRow {
    sent: u64,
    credited: u64,
    refused: u64,
    reported: u64,
    unknown: u64,
    backlog: u64,
}

impl LaneRow {
    fn of(lane: &LaneSummary) -> Self {
        Self {
            sent: lane.sent,
            credited: lane.credited,
            refused: lane.refused,
            reported: lane.reported,
            unknown: lane.unknown,
            backlog: lane.backlog,
        }
    }
}

impl See {
    /// Compares; panics with what differs.
    pub fn check(&self, world: &World, context: &str) {
        if let Some(expected) = &self.counts {
            let counts = world.counts();
            let found = CountsRow {
                accepted: counts.accepted,
                duplicate: counts.duplicate,
                conflict: counts.conflict,
                rejected: counts.rejected,
                undecodable: counts.undecodable,
            };
            assert_eq!(&found, expected, "{context}: counts");
        }
        self.check_orders(world, context);
        self.check_people(world, context);
        self.check_sums(world, context);
        for (name, expected) in &self.sent {
            assert_eq!(&world.script(name).sent, expected, "{context}: sent to {name}");
        }
        for (name, expected) in &self.asked {
            assert_eq!(&world.script(name).asked, expected, "{context}: asked {name}");
        }
    }

    fn check_orders(&self, world: &World, context: &str) {
        for (order_no, expected) in &self.orders {
            let order = world.reader().order(order_no).unwrap();
            let state = order.as_ref().map_or("none", |order| order.state.as_str());
            assert_eq!(state, expected, "{context}: {order_no}: {order:#?}");
        }
        for (order_no, expected) in &self.stories {
            let order = world.reader().order(order_no).unwrap().unwrap();
            let stages: Vec<&str> = order.timeline.iter().map(|step| step.stage).collect();
            assert_eq!(&stages, expected, "{context}: {order:#?}");
        }
    }

    fn check_people(&self, world: &World, context: &str) {
        for (act_id, expected) in &self.wallets {
            let wallet = world.reader().wallet(act_id, None).unwrap();
            let rows = wallet.balances.iter().map(|row| {
                assert_eq!(row.income_minor(), row.credited_minor + row.pending_minor, "{context}: I15");
                assert!(row.available_minor() >= 0, "{context}: {row:?} (I16)");
                let balance = Balance { credited: row.credited_minor, pending: row.pending_minor };
                (row.asset.to_string(), balance)
            });
            assert_eq!(&rows.collect::<BTreeMap<_, _>>(), expected, "{context}: wallet of {act_id}");
        }
        for (act_id, expected) in &self.items {
            assert!(expected.len() < WALLET_ITEMS_MAX);
            let wallet = world.reader().wallet(act_id, None).unwrap();
            let items: Vec<String> =
                wallet.items.iter().map(|item| format!("{} {}", item.order_no, item.state)).collect();
            assert_eq!(&items, expected, "{context}: items of {act_id}");
        }
    }

    fn check_sums(&self, world: &World, context: &str) {
        if let Some(expected) = &self.totals {
            let totals = world.reader().totals(&[GroupBy::SceneId]).unwrap();
            let rows = totals.rows.iter().map(|row| {
                let total = Total {
                    accepted: (row.accepted_count, row.accepted_minor),
                    credited: (row.credited_count, row.credited_minor),
                };
                (format!("{} {}", row.scene_id.as_deref().unwrap(), row.asset), total)
            });
            assert_eq!(&rows.collect::<BTreeMap<_, _>>(), expected, "{context}: totals");
        }
        let lanes = world.reader().lanes().unwrap();
        for (name, expected) in &self.lanes {
            let lane = lanes.iter().find(|lane| lane.lane == *name).map(LaneRow::of);
            assert_eq!(&lane.unwrap_or_default(), expected, "{context}: lane {name}");
        }
    }
}
