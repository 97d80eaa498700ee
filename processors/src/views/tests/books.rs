//! Compares every answer with the model.

use std::collections::BTreeMap;

use hongbao_schemas::order_state::OrderState;

use super::model::{Model, ModelOrder};
use crate::views::{GroupBy, ReconcileRow, TotalsRow, ViewsReader};

/// Every answer of `reader`, which has one partition, is the model's. `act_ids` and `lanes` are all
/// that may occur, and some that do not.
pub(super) fn agree(reader: &ViewsReader, model: &Model, act_ids: &[&str], lanes: &[&str]) {
    assert_eq!(reader.as_of_ms(0).unwrap(), model.now_ms);
    assert_eq!(reader.contradictions().unwrap(), model.contradictions, "contradictions");
    for act_id in act_ids {
        wallet_agrees(reader, model, act_id);
        statement_agrees(reader, model, act_id);
    }
    for order in &model.orders {
        order_agrees(reader, model, order);
    }
    refusals_agree(reader, model);
    totals_agree(reader, model);
    for lane in lanes {
        lane_agrees(reader, model, lane);
        resume_agrees(reader, model, lane);
    }
    reconcile_agrees(reader, model);
}

fn of<'a>(model: &'a Model, act_id: &'a str) -> impl DoubleEndedIterator<Item = &'a ModelOrder> {
    model.orders.iter().filter(move |order| order.act_id == act_id)
}

fn wallet_agrees(reader: &ViewsReader, model: &Model, act_id: &str) {
    let wallet = reader.wallet(act_id, None).unwrap();
    let mut expected: BTreeMap<&str, (i128, i128)> = BTreeMap::new();
    for order in of(model, act_id) {
        let (credited, pending) = expected.entry(&order.asset).or_default();
        let is_credited = order.state() == OrderState::Credited;
        *(if is_credited { credited } else { pending }) += order.amount_minor;
    }
    let found: BTreeMap<&str, (i128, i128)> = wallet
        .balances
        .iter()
        .map(|balance| (&*balance.asset, (balance.credited_minor, balance.pending_minor)))
        .collect();
    assert_eq!(found, expected, "{act_id}");
    for balance in &wallet.balances {
        let (credited, pending) = expected[&*balance.asset];
        assert_eq!(balance.income_minor(), credited + pending, "I15");
        assert_eq!(balance.balance_minor(), credited + pending, "I15");
        assert!(balance.available_minor() == credited && credited >= 0 && pending >= 0, "I16");
    }
    let items: Vec<_> =
        wallet.items.iter().map(|item| (&*item.order_no, &*item.reward_id, item.state)).collect();
    let expected: Vec<_> = of(model, act_id)
        .rev()
        .filter(|order| order.asset.ends_with("/0"))
        .map(|order| (&*order.order_no, &*order.reward_id, order.state()))
        .collect();
    assert_eq!(items, expected, "{act_id}");
    assert_eq!(wallet.items_next_cursor, None);
}

fn statement_agrees(reader: &ViewsReader, model: &Model, act_id: &str) {
    let mut entries = Vec::new();
    let mut cursor = None;
    loop {
        let page = reader.entries(act_id, 2, cursor.as_deref()).unwrap();
        assert!(page.entries.len() <= 2);
        entries.extend(page.entries);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let found: Vec<_> = entries
        .iter()
        .map(|e| {
            (&*e.order_no, &*e.scene_id, &*e.asset, i128::from(e.amount_minor), e.accepted_at_ms, e.state)
        })
        .collect();
    let expected: Vec<_> = of(model, act_id)
        .rev()
        .map(|o| (&*o.order_no, &*o.scene_id, &*o.asset, o.amount_minor, o.at_ms, o.state()))
        .collect();
    assert_eq!(found, expected, "{act_id}");
    for entry in &entries {
        let text = model.settings.as_ref().map(|_| format!("text of {}", entry.scene_id)).unwrap_or_default();
        assert_eq!(entry.text, text);
    }
}

fn order_agrees(reader: &ViewsReader, model: &Model, expected: &ModelOrder) {
    let order = reader.order(&expected.order_no).unwrap().unwrap();
    assert_eq!((&*order.act_id, &*order.reward_type), (&*expected.act_id, &*expected.reward_type));
    assert_eq!(
        (&*order.reward_id, i128::from(order.amount_minor)),
        (&*expected.reward_id, expected.amount_minor)
    );
    assert_eq!(order.state, expected.state(), "{}", order.order_no);
    let mut story = expected.story.clone();
    story.extend(model.refusals.get(&order.order_no).map(|(_, offset)| (*offset, "rejected")));
    story.extend(model.conflicts.get(&order.order_no).map(|(_, offset)| (*offset, "conflict")));
    story.sort_unstable();
    let story: Vec<_> = story.iter().map(|(offset, stage)| (format!("journal/0@{offset}"), *stage)).collect();
    let found: Vec<_> = order.timeline.iter().map(|step| (step.position.clone(), step.stage)).collect();
    assert_eq!(found, story, "{}", order.order_no);
}

fn refusals_agree(reader: &ViewsReader, model: &Model) {
    for (order_no, (code, offset)) in &model.refusals {
        let order = reader.order(order_no).unwrap().unwrap();
        let step = order.timeline.iter().find(|step| step.stage == "rejected").unwrap();
        assert_eq!((&step.detail, &step.position), (code, &format!("journal/0@{offset}")), "{order_no}");
        let accepted = model.orders.iter().any(|order| order.order_no == *order_no);
        assert_eq!(order.state == OrderState::Rejected, !accepted, "{order_no}");
    }
    for (order_no, (count, _)) in &model.conflicts {
        if let Some(order) = reader.order(order_no).unwrap() {
            let step = order.timeline.iter().find(|step| step.stage == "conflict");
            let begin = format!("came {count} times with another payload");
            assert!(step.is_none_or(|step| step.detail.starts_with(&begin)), "{order_no}: {step:?}");
        }
    }
    assert_eq!(reader.order("nobody_rain_r1_cash_1").unwrap(), None);
}

fn totals_agree(reader: &ViewsReader, model: &Model) {
    for group_by in [
        &[][..],
        &[GroupBy::ActivityId],
        &[GroupBy::SceneId, GroupBy::RewardType],
        &[GroupBy::ActivityId, GroupBy::SceneId, GroupBy::RewardType],
    ] {
        let mut expected: BTreeMap<_, TotalsRow> = BTreeMap::new();
        for order in &model.orders {
            let column = |by, name: &str| group_by.contains(&by).then(|| name.to_owned());
            let activity_id = column(GroupBy::ActivityId, &order.activity_id);
            let scene_id = column(GroupBy::SceneId, &order.scene_id);
            let reward_type = column(GroupBy::RewardType, &order.reward_type);
            let key = (activity_id.clone(), scene_id.clone(), reward_type.clone(), order.asset.clone());
            let row = expected.entry(key).or_default();
            (row.activity_id, row.scene_id, row.reward_type) = (activity_id, scene_id, reward_type);
            row.asset.clone_from(&order.asset);
            row.accepted_count += 1;
            row.accepted_minor += order.amount_minor;
            if order.state() == OrderState::Credited {
                row.credited_count += 1;
                row.credited_minor += order.amount_minor;
            }
        }
        let totals = reader.totals(group_by).unwrap();
        assert_eq!(totals.rows, expected.into_values().collect::<Vec<_>>(), "{group_by:?}");
    }
}

fn lane_agrees(reader: &ViewsReader, model: &Model, lane: &str) {
    let orders: Vec<&ModelOrder> = model.orders.iter().filter(|order| order.lane == lane).collect();
    let summaries = reader.lanes().unwrap();
    let found = summaries.iter().find(|summary| summary.lane == lane);
    assert_eq!(found.is_some(), !orders.is_empty(), "{lane}");
    let Some(found) = found else { return };
    let count = |state| orders.iter().filter(|order| order.state() == state).count() as u64;
    assert_eq!(found.accepted, orders.len() as u64, "{lane}");
    assert_eq!(found.sent, model.sent.get(lane).copied().unwrap_or(0), "{lane}");
    assert_eq!(found.credited, count(OrderState::Credited), "{lane}");
    assert_eq!(found.refused, count(OrderState::Refused), "{lane}");
    assert_eq!(found.reported, count(OrderState::Reported), "{lane}");
    assert_eq!(found.unknown, count(OrderState::Unknown), "{lane}");
    assert_eq!(found.backlog, orders.iter().filter(|order| order.is_open()).count() as u64, "{lane}");
    let oldest = orders.iter().find(|order| order.is_open()).map(|order| order.at_ms);
    assert_eq!(found.oldest_open_at_ms, oldest, "{lane}");
    assert_eq!(found.lag_ms, oldest.map_or(0, |at_ms| model.now_ms - at_ms), "{lane}");
}

fn resume_agrees(reader: &ViewsReader, model: &Model, lane: &str) {
    let state = reader.lane_state(0, lane).unwrap();
    let opened = model.opened.get(&format!("sink.{lane}")).copied();
    assert_eq!((state.epoch, state.writer), (opened.map_or(0, |o| o.0), opened.map(|o| o.1)), "{lane}");
    let orders: Vec<&ModelOrder> = model.orders.iter().filter(|order| order.lane == lane).collect();
    assert_eq!(state.next_seq, orders.len() as u64 + 1, "{lane}");
    let first_open = orders.iter().find(|order| order.is_open()).map_or(state.next_seq, |order| order.seq);
    assert_eq!(state.low_water, first_open, "{lane}");
    let ended: Vec<u64> = state.ended.iter().flat_map(|(first, count)| *first..first + count).collect();
    let expected: Vec<u64> =
        orders.iter().filter(|o| !o.is_open() && o.seq > first_open).map(|o| o.seq).collect();
    assert_eq!(ended, expected, "{lane}");
    let mut sent = Vec::new();
    for range in &state.sent {
        for seq in range.first..range.first + range.count {
            let unknown = range.unknown.as_ref().map(ToString::to_string);
            sent.push((seq, (range.first_intent_at_ms, range.in_flight, unknown)));
        }
    }
    let expected: Vec<_> = orders.iter().filter_map(|order| Some((order.seq, order.sent()?))).collect();
    assert_eq!(sent, expected, "{lane}");
}

fn reconcile_agrees(reader: &ViewsReader, model: &Model) {
    let mut expected: BTreeMap<_, ReconcileRow> = BTreeMap::new();
    let overdue_after_ms = model.settings.as_ref().map(|settings| settings.reconcile_overdue_after_ms);
    for order in model.orders.iter().filter(|order| order.reconciled) {
        let key = (&order.lane, &order.activity_id, &order.scene_id, &order.reward_type, &order.asset);
        let row = expected.entry(key).or_default();
        row.lane.clone_from(&order.lane);
        row.activity_id.clone_from(&order.activity_id);
        row.scene_id.clone_from(&order.scene_id);
        row.reward_type.clone_from(&order.reward_type);
        row.asset.clone_from(&order.asset);
        row.accepted_count += 1;
        if !order.is_open() {
            row.ended_count += 1;
            continue;
        }
        row.open_minor += order.amount_minor;
        let minute_ms = order.at_ms - order.at_ms % 60_000;
        row.oldest_open_at_ms = Some(row.oldest_open_at_ms.unwrap_or(minute_ms).min(minute_ms));
        if overdue_after_ms.is_some_and(|after_ms| minute_ms + 60_000 + after_ms <= model.now_ms) {
            row.overdue_count += 1;
            row.overdue_minor += order.amount_minor;
        }
    }
    let found = reader.reconcile().unwrap();
    assert_eq!(found.rows, expected.into_values().collect::<Vec<_>>());
}
