//! Every answer of the views of one partition, held against the model (I6, I15, I16, I18).

pub mod rebuild;
mod resume;

use std::collections::BTreeMap;
use std::sync::Arc;

use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::Offset;
use hongbao_engine::store::Store;
use hongbao_processors::views::{
    ENTRIES_MAX, GroupBy, Item, ReadError, StatementEntry, TotalsRow, Views, ViewsLimits, ViewsReader, Wallet,
};
use hongbao_schemas::money::Asset;

use crate::journal::{GroupKey, OpenSums, Order, Person, Sums};
use crate::{AuditError, Invariant, Journal, JournalAudit, Report};

const GROUP_BY: [GroupBy; 3] = [GroupBy::ActivityId, GroupBy::SceneId, GroupBy::RewardType];

/// The views keep nothing here: each person is asked for once.
const LIMITS: ViewsLimits = ViewsLimits { users_max: 1, recent_orders_max: 1, known_users_bytes: 1 << 10 };

/// The views of one partition beside the model.
struct Check<'a> {
    reader: &'a ViewsReader,
    journal: &'a Journal,
    partition: Partition,
    histories_max: usize,
}

/// Compares all answers over `store`, to which the model was folded, and returns the totals. The
/// whole history is compared of about `histories_max` orders, spread evenly.
///
/// # Errors
/// [`AuditError`].
pub fn check(
    store: Arc<dyn Store>,
    partitions: u16,
    partition: Partition,
    audit: &JournalAudit<'_>,
    histories_max: usize,
    report: &mut Report,
) -> Result<Vec<TotalsRow>, AuditError> {
    if let Some(first) = audit.waiting_at(audit.folded()) {
        let folded = audit.folded();
        report.find(
            Invariant::I6,
            format_args!(
                "views-{partition}: stands at {folded}, while the fact at {first} waits for a missing one"
            ),
        );
    }
    // Answers over all partitions are of this one alone, since the others are empty.
    let reader = ViewsReader::new(partitions);
    for other in 0..partitions {
        let state = if other == partition.0 { Arc::clone(&store) } else { Arc::new(MemoryStore::new()) };
        drop(Views::open(other, state, LIMITS, &reader)?);
    }
    let check = Check { reader: &reader, journal: &audit.journal, partition, histories_max };
    match check.run(audit.folded(), report) {
        Ok(totals) => Ok(totals),
        Err(ReadError::Store(error)) => Err(error.into()),
        Err(error) => {
            report.find(Invariant::I6, format_args!("views-{partition}: cannot be read: {error}"));
            Ok(Vec::new())
        }
    }
}

impl Check<'_> {
    fn run(&self, folded: Offset, report: &mut Report) -> Result<Vec<TotalsRow>, ReadError> {
        let (reader, journal, partition) = (self.reader, self.journal, self.partition);
        let found = (reader.folded(partition.0)?, reader.as_of_ms(partition.0)?, reader.contradictions()?);
        let expected = (folded, journal.now_ms, journal.contradictions);
        self.same("offset, time and contradictions", &found, &expected, report);
        let mut sums: BTreeMap<String, (i128, i128)> = BTreeMap::new();
        for person in journal.people() {
            self.wallet(person, &mut sums, report)?;
            self.statement(person, report)?;
        }
        report.checked(Invariant::I6, "wallets", journal.people().len() as u64);
        report.checked(Invariant::I6, "order states", journal.orders().count() as u64);
        let totals = reader.totals(&GROUP_BY)?.rows;
        self.totals(&totals, &sums, report);
        self.lanes(report)?;
        self.reconciled(report)?;
        self.histories(report)?;
        Ok(totals)
    }

    fn same<T: PartialEq + std::fmt::Debug>(&self, what: &str, found: &T, expected: &T, report: &mut Report) {
        if found != expected {
            let partition = self.partition;
            report
                .find(Invariant::I6, format_args!("views-{partition}, {what}: {found:?}, not {expected:?}"));
        }
    }

    fn wallet(
        &self,
        person: &Person,
        sums: &mut BTreeMap<String, (i128, i128)>,
        report: &mut Report,
    ) -> Result<(), ReadError> {
        let act_id = &*person.act_id;
        let wallet = self.reader.wallet(act_id, None)?;
        let found: Vec<_> = wallet
            .balances
            .iter()
            .map(|sum| {
                (
                    &*sum.asset,
                    sum.income_minor(),
                    sum.credited_minor,
                    sum.withdrawn_minor,
                    sum.written_off_minor,
                )
            })
            .collect();
        let expected: Vec<_> = person
            .balances
            .iter()
            .map(|(asset, sum)| (&**asset, sum.income_minor, sum.credited_minor, 0, 0))
            .collect();
        if found != expected {
            self.same(&format!("wallet of {act_id}"), &found, &expected, report);
        }
        for sum in &wallet.balances {
            let least =
                sum.pending_minor.min(sum.credited_minor).min(sum.available_minor()).min(sum.balance_minor());
            let (partition, asset) = (self.partition, &sum.asset);
            report.expect(
                Invariant::I16,
                least >= 0,
                format_args!("views-{partition}: {act_id} has {least} of {asset}"),
            );
            let all = match sums.get_mut(&*sum.asset) {
                Some(all) => all,
                None => sums.entry(sum.asset.to_string()).or_default(),
            };
            *all = (all.0 + sum.income_minor(), all.1 + sum.credited_minor);
        }
        self.items(person, wallet, report)
    }

    /// All single pieces, page by page.
    fn items(&self, person: &Person, first: Wallet, report: &mut Report) -> Result<(), ReadError> {
        let act_id = &*person.act_id;
        let is_item = |order: &&Order| Asset::parse(&order.group.asset).is_ok_and(|asset| asset.is_pieces());
        let mut expected = self.journal.orders_of(person).filter(is_item);
        let mut page = Some(first);
        while let Some(wallet) = page.take() {
            for item in &wallet.items {
                let order = expected.next();
                if !order.is_some_and(|order| is_same_item(item, order)) {
                    let expected = order.map(|order| (&*order.order_no, order.state()));
                    let found = Some((&*item.order_no, item.state));
                    self.same(&format!("items of {act_id}"), &found, &expected, report);
                }
            }
            if let Some(cursor) = &wallet.items_next_cursor {
                page = Some(self.reader.wallet(act_id, Some(cursor))?);
            }
        }
        self.same(&format!("further items of {act_id}"), &0, &expected.count(), report);
        Ok(())
    }

    /// All entries, page by page: every field of every order, and where it stands.
    fn statement(&self, person: &Person, report: &mut Report) -> Result<(), ReadError> {
        let act_id = &*person.act_id;
        let mut expected = self.journal.orders_of(person);
        let mut cursor = None;
        loop {
            let page = self.reader.entries(act_id, ENTRIES_MAX, cursor.as_deref())?;
            for entry in &page.entries {
                match expected.next() {
                    Some(order) if is_same_entry(entry, order) => {}
                    order => self.entry_differs(act_id, entry, order, report),
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        for order in expected {
            let (partition, order_no) = (self.partition, &order.order_no);
            report
                .find(Invariant::I6, format_args!("views-{partition}: {act_id} lacks the order {order_no}"));
        }
        Ok(())
    }

    fn entry_differs(
        &self,
        act_id: &str,
        entry: &StatementEntry,
        order: Option<&Order>,
        report: &mut Report,
    ) {
        let (partition, found) = (self.partition, (&entry.order_no, entry.amount_minor, entry.state));
        let expected =
            order.map(|order| (&order.order_no, order.amount_minor, order.state(), order.journal_offset));
        report.find(
            Invariant::I6,
            format_args!(
                "views-{partition}: {act_id} has the order {found:?} ({}), not {expected:?}",
                entry.entry_id
            ),
        );
    }

    fn totals(&self, found: &[TotalsRow], wallets: &BTreeMap<String, (i128, i128)>, report: &mut Report) {
        let expected = total_rows(self.journal);
        self.same("totals", &found, &&expected[..], report);
        report.checked(Invariant::I6, "totals", found.len() as u64);
        let mut sums: BTreeMap<String, (i128, i128)> = BTreeMap::new();
        for row in found {
            let sum = sums.entry(row.asset.clone()).or_default();
            *sum = (sum.0 + row.accepted_minor, sum.1 + row.credited_minor);
        }
        let partition = self.partition;
        report.expect(
            Invariant::I15,
            sums == *wallets,
            format_args!("views-{partition}: totals say {sums:?}, all wallets together {wallets:?}"),
        );
    }

    fn lanes(&self, report: &mut Report) -> Result<(), ReadError> {
        let found: BTreeMap<_, _> =
            self.reader.lanes()?.into_iter().map(|lane| (lane.lane.clone(), lane)).collect();
        let mut names: Vec<&str> = self.journal.lanes().collect();
        names.sort_unstable();
        self.same("lanes", &found.keys().map(String::as_str).collect(), &names, report);
        for lane in names {
            let Some(found) = found.get(lane) else { continue };
            let sums = self.journal.lane_sums(lane);
            let lag_ms = sums.oldest_open_at_ms.map_or(0, |at_ms| self.journal.now_ms.saturating_sub(at_ms));
            let found = (
                (found.accepted, found.sent, found.credited, found.refused),
                (found.reported, found.unknown, found.backlog),
                (found.oldest_open_at_ms, found.lag_ms),
            );
            let expected = (
                (sums.accepted, sums.sent, sums.credited, sums.refused),
                (sums.reported, sums.unknown, sums.backlog),
                (sums.oldest_open_at_ms, lag_ms),
            );
            self.same(&format!("lane {lane}"), &found, &expected, report);
            resume::check(self, lane, report)?;
        }
        report.checked(Invariant::I6, "lanes", self.journal.lanes().count() as u64);
        Ok(())
    }

    fn reconciled(&self, report: &mut Report) -> Result<(), ReadError> {
        let expected = self.journal.open_sums();
        let rows = self.reader.reconcile()?.rows;
        self.same("groups reconciled", &rows.len(), &expected.len(), report);
        for row in rows {
            let text = |text: &str| -> Arc<str> { text.into() };
            let group = GroupKey {
                activity_id: text(&row.activity_id),
                scene_id: text(&row.scene_id),
                reward_type: text(&row.reward_type),
                asset: text(&row.asset),
                lane: text(&row.lane),
            };
            let found = OpenSums {
                accepted_count: row.accepted_count,
                ended_count: row.ended_count,
                open_minor: row.open_minor,
                overdue_count: row.overdue_count,
                overdue_minor: row.overdue_minor,
            };
            let what = format!("open orders of {} {} {}", group.scene_id, group.reward_type, group.lane);
            self.same(&what, &found, &expected.get(&group).copied().unwrap_or_default(), report);
        }
        Ok(())
    }

    /// Whole histories of some orders, and all refusals of order numbers that were never accepted.
    fn histories(&self, report: &mut Report) -> Result<(), ReadError> {
        let step = self.journal.orders().count().div_ceil(self.histories_max.max(1)).max(1);
        let accepted = self.journal.orders().step_by(step).map(|order| &*order.order_no);
        let refused = self.journal.refusals.keys().map(String::as_str);
        let refused = refused.filter(|order_no| self.journal.order(order_no).is_none());
        let mut count = 0;
        for order_no in accepted.chain(refused) {
            count += 1;
            let order = self.reader.order(order_no)?;
            let state = order.as_ref().map(|order| order.state);
            self.same(&format!("state of {order_no}"), &state, &self.journal.state(order_no), report);
            let found: Vec<_> = order.iter().flat_map(|order| &order.timeline).collect();
            let found: Vec<_> =
                found.iter().map(|step| (step.position.clone(), step.at_ms, step.stage)).collect();
            let partition = self.partition;
            let history = self.journal.history(order_no);
            let expected: Vec<_> = history
                .iter()
                .map(|step| (format!("journal/{partition}@{}", step.offset), step.at_ms, step.stage))
                .collect();
            self.same(&format!("history of {order_no}"), &found, &expected, report);
        }
        report.checked(Invariant::I6, "histories", count);
        Ok(())
    }
}

fn is_same_item(item: &Item, order: &Order) -> bool {
    (&*item.order_no, &*item.reward_type, &*item.reward_id, item.amount_minor, item.state)
        == (&*order.order_no, &*order.group.reward_type, &*order.reward_id, order.amount_minor, order.state())
}

fn is_same_entry(entry: &StatementEntry, order: &Order) -> bool {
    let group = &order.group;
    (&*entry.order_no, &*entry.reward_id, &*entry.app) == (&*order.order_no, &*order.reward_id, &*order.app)
        && (&*entry.activity_id, &*entry.scene_id) == (&*group.activity_id, &*group.scene_id)
        && (&*entry.reward_type, &*entry.asset) == (&*group.reward_type, &*group.asset)
        && (entry.amount_minor, entry.state) == (order.amount_minor, order.state())
        && (entry.event_time_ms, entry.accepted_at_ms) == (order.event_time_ms, order.accepted_at_ms)
}

/// The model's totals, without lanes.
fn total_rows(journal: &Journal) -> Vec<TotalsRow> {
    type Names<'a> = [&'a Arc<str>; 4];
    let mut rows: BTreeMap<Names<'_>, Sums> = BTreeMap::new();
    for (group, sums) in journal.totals() {
        let row =
            rows.entry([&group.activity_id, &group.scene_id, &group.reward_type, &group.asset]).or_default();
        row.accepted_count += sums.accepted_count;
        row.accepted_minor += sums.accepted_minor;
        row.credited_count += sums.credited_count;
        row.credited_minor += sums.credited_minor;
    }
    let row = |([activity_id, scene_id, reward_type, asset], sums): (Names<'_>, Sums)| TotalsRow {
        activity_id: Some(activity_id.to_string()),
        scene_id: Some(scene_id.to_string()),
        reward_type: Some(reward_type.to_string()),
        asset: asset.to_string(),
        accepted_count: sums.accepted_count,
        accepted_minor: sums.accepted_minor,
        credited_count: sums.credited_count,
        credited_minor: sums.credited_minor,
    };
    rows.into_iter().map(row).collect()
}

/// Totals that were committed are at most those of the whole journal (I18).
pub fn check_totals_grow(committed: &[TotalsRow], journal: &Journal, report: &mut Report) {
    let later = total_rows(journal);
    for row in committed {
        let names = |row: &TotalsRow| {
            (row.activity_id.clone(), row.scene_id.clone(), row.reward_type.clone(), row.asset.clone())
        };
        let is_grown = later.iter().find(|later| names(later) == names(row)).is_some_and(|later| {
            row.accepted_count <= later.accepted_count
                && row.accepted_minor <= later.accepted_minor
                && row.credited_count <= later.credited_count
                && row.credited_minor <= later.credited_minor
        });
        report.expect(Invariant::I18, is_grown, format_args!("totals went back behind {row:?}"));
    }
    report.checked(Invariant::I18, "totals", committed.len() as u64);
}
