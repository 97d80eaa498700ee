//! What the API reads, answered by the folds and the dispatcher.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hongbao_api::Sample;
use hongbao_api::model::{
    BalanceView, Counts, EntryView, ItemView, LaneView, OrderView, Page, ReconcileRow, TimelineEvent,
    TotalRow, TotalsView, WalletView,
};
use hongbao_api::reads::{Answer, Barrier, ReadError, Readiness, Reads, Verdict, Watch};
use hongbao_engine::clock::Clock;
use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_engine::task::{TaskStatus, WaitsFor};
use hongbao_processors::intake::{self, AWARDS, JOURNAL};
use hongbao_processors::views::{self, GroupBy, ViewsReader};
use hongbao_schemas::award_json::rfc3339_cut;
use hongbao_schemas::order_no::OrderNo;
use hongbao_sinks::dispatch::{LaneState, LaneStatus};
use hongbao_topology::Topology;
use parking_lot::Mutex;

use super::samples;
use super::sinks::SinksStatus;
use super::tasks::PartitionStatus;

/// Everything that reads look at.
pub struct NodeReads {
    pub log: Arc<dyn Log>,
    pub clock: Arc<dyn Clock>,
    pub topology: Arc<Topology>,
    pub reader: Arc<ViewsReader>,
    pub partitions: Vec<PartitionStatus>,
    pub sinks: SinksStatus,
    pub draining: AtomicBool,
    /// Ends of `awards` at the start, until the views have passed them.
    starting: Mutex<Vec<Barrier>>,
}

impl NodeReads {
    /// Reads that are ready once everything in the log now is folded.
    pub fn new(
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        topology: Arc<Topology>,
        reader: Arc<ViewsReader>,
        partitions: Vec<PartitionStatus>,
        sinks: SinksStatus,
    ) -> Self {
        let draining = AtomicBool::new(false);
        let starting = Mutex::default();
        let reads = Self { log, clock, topology, reader, partitions, sinks, draining, starting };
        let barrier = |partition| {
            // A damaged partition never passes; it counts as halted.
            let never = Barrier { partition, awards_end: u64::MAX, ..Barrier::default() };
            reads.barrier(partition).unwrap_or(never)
        };
        *reads.starting.lock() = (0..reads.log.partitions()).map(barrier).collect();
        reads
    }

    fn status(&self, partition: u16) -> Result<&PartitionStatus, ReadError> {
        let missing = || ReadError::Failed(format!("there is no partition {partition}"));
        self.partitions.get(usize::from(partition)).ok_or_else(missing)
    }

    fn home(&self, act_id: &str) -> u16 {
        partition_of(act_id.as_bytes(), self.log.partitions()).0
    }

    /// Refuses to read what a stopped fold left behind: it may be old, and would not say so.
    fn check(&self, partition: u16) -> Result<(), ReadError> {
        let status = self.status(partition)?;
        let halted = [&status.intake, &status.views].into_iter().find_map(|task| halted(task));
        halted.map_or(Ok(()), |reason| Err(ReadError::Halted(reason)))
    }

    /// Folds that have stopped, and why.
    fn stopped_folds(&self) -> impl Iterator<Item = String> {
        self.folds().filter_map(|task| halted(task))
    }

    /// Folds that get no further until there is space or what is missing has come.
    fn stuck_folds(&self) -> impl Iterator<Item = String> {
        let stuck = |task: &Arc<TaskStatus>| match task.waits_for() {
            WaitsFor::Nothing | WaitsFor::Commit => None,
            what => Some(format!("{} waits for {}", task.name(), what.as_str())),
        };
        self.folds().filter_map(stuck)
    }

    fn folds(&self) -> impl Iterator<Item = &Arc<TaskStatus>> {
        self.partitions.iter().flat_map(|partition| [&partition.intake, &partition.views])
    }

    fn halted(&self) -> Vec<String> {
        let mut halted: Vec<String> = self.stopped_folds().collect();
        halted.extend(self.sinks.halted());
        for summary in self.reader.lanes().unwrap_or_default() {
            if summary.backlog > 0 && self.topology.lane(&summary.lane).is_none() {
                halted.push(format!(
                    "lane {}: it is not in the topology and {} orders wait in it; put it back",
                    summary.lane, summary.backlog
                ));
            }
        }
        halted
    }

    /// How far the views of a partition are behind the log; 0 when they hold everything.
    fn lag_ms(&self, partition: u16) -> Result<u64, ReadError> {
        let status = self.status(partition)?;
        let (_, awards_end) = self.log.range(Partition(partition), AWARDS).map_err(log_failed)?;
        // What was decided must be readable before the journal's end means anything.
        let is_decided = status.intake.applied() >= awards_end
            && self.log.durable(Partition(partition)).map_err(log_failed)?
                >= status.intake.outputs_position();
        let (_, journal_end) = self.log.range(Partition(partition), JOURNAL).map_err(log_failed)?;
        if is_decided && status.views.applied() >= journal_end {
            return Ok(0);
        }
        // Behind: at least as old as what was applied last.
        let applied_at_ms = status.views.applied_appended_at_ms();
        Ok(u64::try_from(self.clock.wall_ms().saturating_sub(applied_at_ms)).unwrap_or(0).max(1))
    }

    /// Time that a partition's views reflect: now when they hold everything.
    fn as_of(&self, partition: u16, lag_ms: u64) -> String {
        let stated_ms = self.reader.as_of_ms(partition).unwrap_or(0);
        let now_ms = self.clock.wall_ms();
        let behind_ms = now_ms.saturating_sub(i64::try_from(lag_ms).unwrap_or(i64::MAX));
        rfc3339_cut(if lag_ms == 0 { now_ms } else { stated_ms.max(behind_ms) })
    }
}

/// Which task has stopped and why, if it has.
fn halted(task: &TaskStatus) -> Option<String> {
    Some(format!("{}: {}", task.name(), task.halted()?))
}

/// What a lane is doing, in a word, and why where there is something to say. A lane goes through all
/// partitions: where one of their folds has stopped (I26), or is stuck, it is degraded at best.
fn state_of(status: Option<&LaneStatus>, stopped_fold: Option<String>) -> (String, String) {
    let (state, detail) =
        status.map_or((LaneState::Opening, ""), |status| (status.state, status.detail.as_str()));
    match stopped_fold {
        Some(reason) if state != LaneState::Halted => (LaneState::Degraded.as_str().to_owned(), reason),
        _ => (state.as_str().to_owned(), detail.to_owned()),
    }
}

fn log_failed(error: LogError) -> ReadError {
    ReadError::Failed(error.to_string())
}

fn view_failed(error: views::ReadError) -> ReadError {
    match error {
        views::ReadError::BadCursor => ReadError::BadCursor,
        views::ReadError::NotOpen(_) => ReadError::Halted(error.to_string()),
        error => ReadError::Failed(error.to_string()),
    }
}

fn verdict(of: intake::Verdict) -> Verdict {
    match of {
        intake::Verdict::Accepted => Verdict::Accepted,
        intake::Verdict::Duplicate => Verdict::Duplicate,
        intake::Verdict::Conflict => Verdict::Conflict,
        intake::Verdict::Rejected(refusal) => Verdict::Rejected(refusal.code()),
        intake::Verdict::Undecodable | intake::Verdict::Control => Verdict::Undecodable,
    }
}

impl Reads for NodeReads {
    fn readiness(&self) -> Readiness {
        if self.draining.load(Ordering::Acquire) {
            return Readiness::Draining;
        }
        let mut starting = self.starting.lock();
        starting.retain_mut(|barrier| !matches!(self.passed(barrier), Ok(true)));
        // A partition that has stopped will not catch up; the others must before anything is read.
        let still =
            |barrier: &&Barrier| self.status(barrier.partition).is_ok_and(|status| !status.is_halted());
        let recovering = starting.iter().filter(still).count();
        let halted = self.halted();
        if recovering == 0 && !halted.is_empty() {
            return Readiness::Halted(halted);
        }
        if starting.is_empty() {
            return Readiness::Ready;
        }
        Readiness::Recovering(format!(
            "{} of {} partitions are being folded",
            starting.len(),
            self.partitions.len()
        ))
    }

    fn intake_halted(&self, partition: u16) -> Option<String> {
        halted(&self.status(partition).ok()?.intake)
    }

    fn counts(&self) -> Counts {
        let sum: intake::Counts = self.partitions.iter().map(|partition| partition.board.counts()).sum();
        Counts {
            read: sum.read,
            accepted: sum.accepted,
            duplicate: sum.duplicate,
            conflict: sum.conflict,
            rejected: sum.rejected,
            parked: sum.parked,
            undecodable: sum.undecodable,
        }
    }

    fn watch(&self, partition: u16, first: u64, count: usize, answer: Answer) -> Watch {
        match self.status(partition) {
            Ok(status) => {
                let answer = move |verdicts: Vec<Option<intake::Verdict>>| {
                    answer(verdicts.into_iter().map(|one| one.map(verdict)).collect());
                };
                Box::new(status.board.watch(first, count, Box::new(answer)))
            }
            Err(_) => Box::new(()),
        }
    }

    fn barrier(&self, partition: u16) -> Result<Barrier, ReadError> {
        let (_, awards_end) = self.log.range(Partition(partition), AWARDS).map_err(log_failed)?;
        Ok(Barrier { partition, awards_end, ..Barrier::default() })
    }

    fn passed(&self, barrier: &mut Barrier) -> Result<bool, ReadError> {
        self.check(barrier.partition)?;
        let status = self.status(barrier.partition)?;
        if barrier.outputs_position.is_none() {
            if status.intake.applied() < barrier.awards_end {
                return Ok(false);
            }
            barrier.outputs_position = Some(status.intake.outputs_position().0);
        }
        let partition = Partition(barrier.partition);
        if barrier.journal_end.is_none() {
            let durable = self.log.durable(partition).map_err(log_failed)?;
            if Some(durable.0) < barrier.outputs_position {
                return Ok(false);
            }
            barrier.journal_end = Some(self.log.range(partition, JOURNAL).map_err(log_failed)?.1);
        }
        Ok(Some(status.views.applied()) >= barrier.journal_end)
    }

    fn order(&self, order_no: &str) -> Result<Option<OrderView>, ReadError> {
        if let Ok(parsed) = OrderNo::parse(order_no) {
            self.check(self.home(parsed.act_id()))?;
        }
        let found = self.reader.order(order_no).map_err(view_failed)?;
        Ok(found.map(|order| OrderView {
            order_no: order.order_no,
            act_id: order.act_id,
            reward_type: order.reward_type,
            amount_minor: order.amount_minor,
            state: order.state.as_str().to_owned(),
            timeline: order
                .timeline
                .into_iter()
                .map(|step| TimelineEvent {
                    at: rfc3339_cut(step.at_ms),
                    stage: step.stage.to_owned(),
                    position: step.position,
                    detail: step.detail,
                })
                .collect(),
        }))
    }

    fn wallet(&self, act_id: &str, items_cursor: Option<&str>) -> Result<WalletView, ReadError> {
        let partition = self.home(act_id);
        self.check(partition)?;
        // Before the look-up: what is read afterwards is at least as new.
        let lag_ms = self.lag_ms(partition)?;
        let as_of = self.as_of(partition, lag_ms);
        let wallet = self.reader.wallet(act_id, items_cursor).map_err(view_failed)?;
        let balance = |row: views::AssetBalance| BalanceView {
            balance_minor: row.balance_minor(),
            credited_minor: row.credited_minor,
            pending_minor: row.pending_minor,
            income_minor: row.income_minor(),
            withdrawn_minor: row.withdrawn_minor,
            written_off_minor: row.written_off_minor,
            available_minor: row.available_minor(),
            asset: row.asset.to_string(),
        };
        let item = |item: views::Item| ItemView {
            order_no: item.order_no,
            reward_type: item.reward_type,
            reward_id: item.reward_id,
            amount_minor: item.amount_minor,
            state: item.state.as_str().to_owned(),
        };
        Ok(WalletView {
            act_id: act_id.to_owned(),
            as_of,
            lag_ms,
            balances: wallet.balances.into_iter().map(balance).collect(),
            items: wallet.items.into_iter().map(item).collect(),
            items_next_cursor: wallet.items_next_cursor,
        })
    }

    fn entries(
        &self,
        act_id: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<EntryView>, ReadError> {
        self.check(self.home(act_id))?;
        let statement = self.reader.entries(act_id, limit, cursor).map_err(view_failed)?;
        let entry = |entry: views::StatementEntry| EntryView {
            entry_id: entry.entry_id,
            kind: entry.kind.to_owned(),
            order_no: entry.order_no,
            reward_type: entry.reward_type,
            asset: entry.asset.to_string(),
            amount_minor: entry.amount_minor,
            at: rfc3339_cut(entry.event_time_ms),
            state: entry.state.as_str().to_owned(),
            text: entry.text,
        };
        Ok(Page {
            data: statement.entries.into_iter().map(entry).collect(),
            has_more: statement.next_cursor.is_some(),
            next_cursor: statement.next_cursor,
        })
    }

    fn totals(&self, group_by: &[String]) -> Result<TotalsView, ReadError> {
        let column =
            |name: &String| GroupBy::from_name(name).ok_or_else(|| ReadError::BadGroup(name.clone()));
        let columns: Vec<GroupBy> = group_by.iter().map(column).collect::<Result<_, _>>()?;
        let totals = self.reader.totals(&columns).map_err(view_failed)?;
        let row = |row: views::TotalsRow| TotalRow {
            activity_id: row.activity_id,
            scene_id: row.scene_id,
            reward_type: row.reward_type,
            asset: row.asset,
            accepted_count: row.accepted_count,
            accepted_minor: row.accepted_minor,
            credited_count: row.credited_count,
            credited_minor: row.credited_minor,
        };
        Ok(TotalsView {
            as_of: rfc3339_cut(totals.as_of_ms),
            rows: totals.rows.into_iter().map(row).collect(),
        })
    }

    fn lanes(&self) -> Vec<LaneView> {
        let mut summaries: BTreeMap<String, views::LaneSummary> = BTreeMap::new();
        for summary in self.reader.lanes().unwrap_or_default() {
            summaries.insert(summary.lane.clone(), summary);
        }
        let now_ms = self.clock.wall_ms();
        let board = self.sinks.lanes();
        let stopped = self.stopped_folds().chain(self.stuck_folds()).next();
        let view = |lane: &hongbao_topology::Lane| {
            let summary = summaries.get(lane.name());
            let count = |of: fn(&views::LaneSummary) -> u64| summary.map_or(0, of);
            let oldest = summary.and_then(|summary| summary.oldest_open_at_ms);
            let (state, detail) =
                state_of(board.iter().find(|status| &*status.lane == lane.name()), stopped.clone());
            LaneView {
                lane: lane.name().to_owned(),
                reward_types: lane.reward_types().to_vec(),
                pool: lane.pool().map(str::to_owned),
                rank: lane.rank().and_then(|rank| u32::try_from(rank).ok()).unwrap_or(1),
                state,
                detail,
                limit_per_second: lane.rate_per_second(),
                sent: count(|summary| summary.sent),
                credited: count(|summary| summary.credited),
                refused: count(|summary| summary.refused),
                reported: count(|summary| summary.reported),
                unknown: count(|summary| summary.unknown),
                backlog: count(|summary| summary.backlog),
                lag_seconds: oldest.map_or(0.0, |at_ms| (now_ms - at_ms).max(0) as f64 / 1000.0),
            }
        };
        self.topology.lanes().iter().map(view).collect()
    }

    fn reconcile(&self) -> Vec<ReconcileRow> {
        let mut lanes: BTreeMap<String, ReconcileRow> = BTreeMap::new();
        for row in self.reader.reconcile().map(|all| all.rows).unwrap_or_default() {
            let empty = || ReconcileRow {
                lane: row.lane.clone(),
                accepted_count: 0,
                ended_count: 0,
                overdue_count: 0,
                overdue_minor: 0,
            };
            let sum = lanes.entry(row.lane.clone()).or_insert_with(empty);
            sum.accepted_count += row.accepted_count;
            sum.ended_count += row.ended_count;
            sum.overdue_count += row.overdue_count;
            sum.overdue_minor += row.overdue_minor;
        }
        lanes.into_values().collect()
    }

    fn samples(&self) -> Vec<Sample> {
        samples::collect(self)
    }
}
