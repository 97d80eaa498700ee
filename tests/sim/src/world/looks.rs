//! What the oracles are shown of stores, folds and answers.

use std::ops::ControlFlow;
use std::sync::Arc;

use hongbao_engine::log::Log;
use hongbao_engine::outputs::SEQUENCE_ROWS;
use hongbao_engine::partition::Partition;
use hongbao_engine::store::Store;
use hongbao_engine::task::{TaskStatus, WaitsFor};
use hongbao_processors::intake::{AWARDS, JOURNAL, STAGE};
use hongbao_sinks::ledger::BOOK_TOPIC;

use crate::downstreams::Breach;
use crate::downstreams::partner::{LateResend, Partner};
use crate::downstreams::port::NAMESPACE;
use crate::log::SimLog;
use crate::oracles::Violation;
use crate::store::SimStore;

use super::{Doom, Place, Process, World};

/// What one batch may stage beyond the bound, however small its bytes: a fact of a sink names many
/// orders.
const BATCH_STAGED_BYTES: usize = 32 << 10;
/// What a byte of a batch stages at most.
const STAGED_PER_BYTE: usize = 16;

impl World<'_, '_> {
    /// Shows the oracles where a next process would go on (I6).
    pub(super) fn look_at_stores(&mut self) -> Result<(), Violation> {
        let now_ms = self.now_ms();
        for partition in 0..self.plan.options.partitions {
            let doom = self.doomed.get(&partition);
            if matches!(doom, Some(Doom::Lost { .. })) {
                continue;
            }
            let is_sound = |of_intake: bool| !matches!(doom, Some(Doom::Store { is_intake, is_foreign: true, .. }) if *is_intake == of_intake);
            let (is_intake_sound, is_views_sound) = (is_sound(true), is_sound(false));
            let index = usize::from(partition);
            let stands = match is_views_sound {
                true => self.oracles.stands(partition, applied_of(&self.estate.views[index]), now_ms),
                false => self.oracles.advance(partition, now_ms),
            };
            self.weigh(stands)?;
            let stands_at = applied_of(&self.estate.intakes[index]);
            if is_intake_sound && self.intakes_stood[index] != stands_at {
                self.intakes_stood[index] = stands_at;
                let within = is_within(&self.estate.intakes[index], &self.estate.log, partition, AWARDS);
                self.weigh(within)?;
                let outputs = self.look_at_outputs(partition);
                self.weigh(outputs)?;
            }
        }
        let within = self.estate.places.iter().try_for_each(|place| {
            let Place::Ledger { book, stores, .. } = place else { return Ok(()) };
            let mut stores = (0_u16..).zip(stores);
            stores.try_for_each(|(partition, store)| is_within(store, book, partition, BOOK_TOPIC))
        });
        self.weigh(within)
    }

    /// What an intake's store says was written must be durable.
    fn look_at_outputs(&mut self, partition: u16) -> Result<(), Violation> {
        let written = self.written(partition);
        let durable = self.oracles.last_of(partition, STAGE);
        if written > durable {
            let what = format!("intake-{partition} has written {written} facts, {durable} are durable");
            return Err(Violation::new("I6", what));
        }
        Ok(())
    }

    /// The last fact that an intake's store says was written.
    pub(super) fn written(&self, partition: u16) -> u64 {
        self.written_to(partition, JOURNAL)
    }

    /// The last record of a topic that an intake's store says was written.
    pub(super) fn written_to(&self, partition: u16, topic: &str) -> u64 {
        let key = [&SEQUENCE_ROWS, topic.as_bytes()].concat();
        let row = self.estate.intakes[usize::from(partition)].rows().get(&key).ok().flatten();
        let next_seq = row.as_deref().and_then(<[u8]>::first_chunk::<8>);
        next_seq.map_or(0, |next_seq| u64::from_le_bytes(*next_seq).saturating_sub(1))
    }

    /// What a partner found, but for what its senders could not know: their wall clocks did not show that
    /// they had gone back, and told them less time since an order's first intent than its key lasts
    /// (limits in `docs/found-bugs.md`).
    pub(super) fn breaches_of(&self, partner: &mut Partner) -> Vec<Breach> {
        let mut breaches = Vec::new();
        for resend in std::mem::take(&mut partner.late_resends) {
            let LateResend { key, order_no, moment, since_ms, life_ms } = resend;
            let seemed_right = self.clock_seemed_right(moment.process, &order_no);
            let since_by_wall_ms =
                self.first_intent_ms(&order_no).map(|intent_ms| moment.wall_ms - intent_ms);
            if seemed_right && since_by_wall_ms.is_none_or(|since_ms| since_ms < life_ms) {
                partner.excuse(&key);
            } else if since_ms >= life_ms {
                let what = format!("sent again after {since_ms} ms, keys last {life_ms} ms");
                breaches.push(Breach { invariant: "I14", order_no, what, may_follow_loss: true });
            }
        }
        // What left too late is told first, then what came of it.
        breaches.append(&mut partner.breaches);
        breaches.retain(|breach| {
            breach.invariant != "I10" || !partner.is_excused(&format!("{NAMESPACE}/{}", breach.order_no))
        });
        breaches
    }

    /// Whether a process may not have seen that its wall clock was behind the journal that it found: the
    /// clock had come there when the process announced that it opens an order's lane.
    fn clock_seemed_right(&self, process: u64, order_no: &str) -> bool {
        let partition = self.home_of(order_no);
        let journal_ms = self.journal_ms_at_start.get(&process).map(|all| all[usize::from(partition)]);
        let Some(order) = self.oracles.journal(partition).order(order_no) else { return true };
        let source = format!("sink.{}", order.group.lane);
        self.estate.log.announced_ms(process, partition, source) >= journal_ms
    }

    /// When the first attempt was intended that may have had an effect, by the clock of its process; none
    /// if the journal could not be followed so far.
    fn first_intent_ms(&self, order_no: &str) -> Option<i64> {
        let journal = self.oracles.journal(self.home_of(order_no));
        let order = journal.order(order_no).filter(|order| order.intents > 0)?;
        Some(order.first_intent_at_ms)
    }

    /// How far an intake could read its outputs at its last commit.
    pub(super) fn readable_ends(&self, partition: u16) -> Vec<(String, u64)> {
        let rows = self.estate.intakes[usize::from(partition)].rows();
        let mut ends = Vec::new();
        let (from, to) = (SEQUENCE_ROWS, [SEQUENCE_ROWS[0], SEQUENCE_ROWS[1] + 1]);
        let _of_memory = rows.scan(&from, &to, &mut |key, value| {
            if let Some(end) = value.last_chunk::<8>() {
                ends.push((String::from_utf8_lossy(&key[2..]).into_owned(), u64::from_le_bytes(*end)));
            }
            ControlFlow::Continue(())
        });
        ends
    }

    /// Intakes that will write again what is there, and must compare it (rule 6).
    pub(super) fn look_at_replays(&mut self) {
        let partitions = (0..self.plan.options.partitions).filter(|at| !self.is_forgotten(*at));
        let behind = partitions.filter(|at| self.written(*at) < self.oracles.last_of(*at, STAGE));
        self.stats.sometimes("replay.compared", behind.count() as u64);
    }

    /// No fold stages more than it may and what one batch adds (I29).
    pub(super) fn look_at_fold(
        &mut self,
        status: impl FnOnce(&Process) -> Option<Arc<TaskStatus>>,
    ) -> Result<(), Violation> {
        let Some(status) = self.process.as_ref().and_then(status) else { return Ok(()) };
        if status.waits_for() == WaitsFor::MissingRecords {
            self.stats.sometimes("gap.held", 1);
        }
        let task = &self.plan.options.task;
        let batch_bytes = task.read_bytes_max.saturating_mul(STAGED_PER_BYTE);
        let most = task.staged_bytes_max.saturating_add(BATCH_STAGED_BYTES).saturating_add(batch_bytes);
        let staged = status.staged_bytes();
        if staged > most {
            let what = format!("{} has staged {staged} bytes, {most} allowed", status.name());
            return self.weigh(Err(Violation::new("I29", what)));
        }
        Ok(())
    }

    /// Shows the oracles what the views answer; sums over all partitions only while none has lost
    /// anything that was counted.
    pub(super) fn look_at_answers(&mut self) -> Result<(), Violation> {
        let Some(process) = &self.process else { return Ok(()) };
        let shrinks = |doom: &Doom| matches!(doom, Doom::Lost { .. } | Doom::Store { is_intake: false, .. });
        if process.is_recovered() && !self.doomed.values().any(shrinks) {
            let served = self.estate.fuse.look_on(|| self.oracles.serve(&process.reader));
            self.weigh(served)?;
        }
        let Some(process) = self.process.as_ref().filter(|_| !self.doomed.is_empty()) else { return Ok(()) };
        let served = (0_u16..).zip(&process.views).try_for_each(|(partition, views)| {
            let is_sound = !self.doomed.get(&partition).is_some_and(shrinks);
            if is_sound && views.status().is_some_and(|status| status.recovered()) {
                let oracles = &mut self.oracles;
                return self.estate.fuse.look_on(|| oracles.serve_of(partition, &process.reader));
            }
            Ok(())
        });
        self.weigh(served)
    }
}

fn applied_of(store: &SimStore) -> u64 {
    store.rows().applied().map_or(0, |applied| applied.offset)
}

/// A store has applied only what is durable.
fn is_within(store: &SimStore, log: &Arc<SimLog>, partition: u16, topic: &str) -> Result<(), Violation> {
    let end = log.undisturbed().range(Partition(partition), topic).map_or(0, |(_, end)| end);
    let applied = applied_of(store);
    if applied > end {
        let what = format!("{} has applied {topic} up to {applied}, durable is {end}", store.name());
        return Err(Violation::new("I6", what));
    }
    Ok(())
}
