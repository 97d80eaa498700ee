//! Operations and faults of a plan.

use std::sync::Arc;

use hongbao_engine::log::Log;
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_engine::records::{ReadBatch, crc};
use hongbao_engine::store::Store;
use hongbao_processors::intake::{AWARDS, JOURNAL, STAGE};

use crate::clients::{Delivery, delivery, poison};
use crate::operator::{self, control_key, read_again};
use crate::oracles::Violation;
use crate::plan::{Op, StoreName};
use crate::store::{Other, SimStore};

use super::{Doom, End, Place, Process, World};

impl World<'_, '_> {
    /// Everything of the plan that is due; whether there was anything.
    pub(super) fn due_steps(&mut self) -> Result<bool, Violation> {
        let mut any = false;
        while let Some(step) = self.plan.steps.get(self.next_step)
            && step.at_ms <= self.now_ms()
        {
            self.next_step += 1;
            any = true;
            self.stats.sometimes(step.op.name(), 1);
            self.note("op", [self.next_step as u64, 0], || format!("{:?}", step.op));
            self.happen(&step.op);
        }
        Ok(any)
    }

    fn happen(&mut self, op: &Op) {
        let now_ms = self.now_ms();
        match op {
            Op::Award(award) => {
                self.stats.awards += 1;
                self.clients.add(delivery(award, self.plan.options.partitions));
            }
            Op::Bytes { partition, kind } if *partition < self.plan.options.partitions => {
                self.clients.add(poison(*kind, *partition, &control_key()));
            }
            Op::Settings { .. } | Op::Replay { .. } | Op::Stop { .. } => self.deferred.push_back(op.clone()),
            Op::Crash { calls, keep_permille, down_ms, again, reads, audit } => {
                let end = End {
                    keep_permille: *keep_permille,
                    down_ms: *down_ms,
                    again: *again,
                    reads: *reads,
                    audit: *audit,
                };
                if self.process.is_some() {
                    self.estate.fuse.light(*calls);
                    self.end = Some(end);
                } else {
                    // The process that starts next ends soon.
                    self.end = Some(End { again: Some(*calls), ..end });
                }
            }
            Op::Zombie { is_opening: true, .. } => self.opening_zombie = Some(op.clone()),
            Op::Zombie { .. } => self.pause(op),
            Op::Jump { by_ms } => self.estate.clock.jump(*by_ms),
            Op::Freeze { for_ms } => {
                self.estate.clock.freeze(true);
                self.frozen_until_ms = self.frozen_until_ms.max(now_ms + for_ms);
            }
            Op::LogFull { log, partition, for_ms } => {
                let _none = self.estate.log_at(*log).map(|log| log.fill(*partition, now_ms + for_ms));
            }
            Op::SyncFails { log, partition } => {
                let _none = self.estate.log_at(*log).map(|log| log.fail_sync(*partition));
            }
            Op::SyncStalls { log, partition, for_ms } => {
                let _none = self.estate.log_at(*log).map(|log| log.stall(*partition, now_ms + for_ms));
            }
            Op::StoreFull { store, for_ms } => {
                let _none = self.store(*store).map(|store| store.fill(now_ms + for_ms));
            }
            Op::StoreFails { store } => {
                let _none = self.store(*store).map(|store| store.fail_commit());
            }
            Op::StoreOld { store } => {
                let _none = self.store(*store).map(|store| store.put_back_at_restart());
            }
            Op::Requests { downstream, fault, count } => {
                if let Some(Place::Partner(partner)) = self.estate.places.get(*downstream) {
                    partner.lock().plan(*fault, *count);
                }
            }
            Op::Outage { downstream, for_ms } => {
                if let Some(Place::Partner(partner)) = self.estate.places.get(*downstream) {
                    partner.lock().outage(now_ms + for_ms);
                }
            }
            _ => self.ruin(op),
        }
    }

    /// What no system survives: the partition must halt and say so.
    fn ruin(&mut self, op: &Op) {
        match op {
            // What is lost already is known by how it was lost.
            Op::LogDamaged { partition } if self.doomed.contains_key(partition) => {}
            Op::LogDamaged { partition } => {
                self.estate.log.damage(*partition);
                self.forget_halts(*partition);
                self.doomed.insert(*partition, Doom::Damaged);
            }
            Op::LogLost { partition, groups } => self.losses.push((*partition, *groups)),
            Op::Trimmed { partition, is_journal, keep } => self.trim(*partition, *is_journal, *keep),
            Op::StoreForeign { store, of } => self.exchange(*store, *of),
            Op::StoreDamaged { store: StoreName::Accounts { .. } } => {}
            Op::StoreDamaged { store } => {
                // What is wrong already would be forgotten, such as a trim that an old store meets later.
                let is_doomed = self.doomed.contains_key(&store.partition());
                if let Some(found) = self.store(*store).filter(|_| !is_doomed) {
                    found.damage();
                    self.forget_halts(store.partition());
                    let is_intake = matches!(store, StoreName::Intake(_));
                    self.doomed.insert(
                        store.partition(),
                        Doom::Store { is_intake, must_halt: true, is_foreign: false },
                    );
                }
            }
            _ => {}
        }
    }

    fn store(&self, name: StoreName) -> Option<Arc<SimStore>> {
        let stores = match name {
            StoreName::Intake(_) => &self.estate.intakes,
            StoreName::Views(_) => &self.estate.views,
            StoreName::Accounts { downstream, .. } => match self.estate.places.get(downstream)? {
                Place::Ledger { stores, .. } => stores,
                Place::Partner(_) => return None,
            },
        };
        stores.get(usize::from(name.partition())).cloned()
    }

    /// The next start finds another partition's store, where the fold can tell.
    fn exchange(&mut self, name: StoreName, of: u16) {
        let other = match name {
            StoreName::Intake(_) => StoreName::Intake(of),
            StoreName::Views(_) => StoreName::Views(of),
            StoreName::Accounts { .. } => return,
        };
        let partition = name.partition();
        let (Some(store), Some(foreign)) = (self.store(name), self.store(other)) else { return };
        if partition == of || self.doomed.contains_key(&partition) {
            return;
        }
        let topic = if matches!(name, StoreName::Intake(_)) { AWARDS } else { JOURNAL };
        if self.is_told_apart(&foreign, partition, topic) && store.exchange_at_restart(&foreign).is_ok() {
            let is_intake = matches!(name, StoreName::Intake(_));
            self.forget_halts(partition);
            self.doomed.insert(partition, Doom::Store { is_intake, must_halt: true, is_foreign: true });
        }
    }

    /// Whether the record that a store applied last is not at its place in this partition.
    fn is_told_apart(&self, store: &SimStore, partition: u16, topic: &str) -> bool {
        let Ok(applied) = store.rows().applied() else { return false };
        let Some(last) = applied.offset.checked_sub(1) else { return false };
        let mut batch = ReadBatch::new();
        let log = self.estate.log.undisturbed();
        if log.read(Partition(partition), topic, last, 1, &mut batch).is_err() {
            // Behind the end for now; the log may have grown to it by the next start.
            return false;
        }
        batch.get(0).and_then(|frame| frame.get(0)).map(crc) != Some(applied.last_record_crc)
    }

    /// A topic loses its beginning, while the folds run or between two processes.
    fn trim(&mut self, partition: u16, is_journal: bool, keep: u64) {
        let is_possible = partition < self.plan.options.partitions
            && !self.doomed.contains_key(&partition)
            && self.losses.iter().all(|(lost, _)| *lost != partition);
        if !is_possible {
            return;
        }
        let topic = if is_journal { JOURNAL } else { AWARDS };
        let Some(start) = self.estate.log.trim_to_last(partition, topic, keep) else { return };
        self.stats.sometimes("trimmed", 1);
        let index = usize::from(partition);
        let is_behind = |process: &Process| {
            let status = match is_journal {
                true => process.views[index].status(),
                false => process.intakes[index].status(),
            };
            status.is_none_or(|status| status.applied() < start)
        };
        // What starts from now on is looked at then.
        let may_halt = self.process.iter().chain(self.zombie_process()).any(is_behind);
        // A zombie has a store of its own, and compares what is behind it until it has caught up.
        let compares = self
            .zombie_process()
            .is_some_and(|process| process.intakes[index].status().is_none_or(|status| !status.recovered()));
        let lacks_outputs = is_journal && (compares || self.read_outputs(partition, JOURNAL) < start);
        self.forget_halts(partition);
        let must_halt = false;
        let doom = Doom::Trimmed { is_journal, start, may_halt, must_halt, lacks_outputs };
        self.doomed.insert(partition, doom);
    }

    /// How far the intake of a partition had read a topic of its outputs at its last commit.
    fn read_outputs(&self, partition: u16, topic: &str) -> u64 {
        let ends = self.readable_ends(partition);
        ends.into_iter().find(|(name, _)| name == topic).map_or(0, |(_, end)| end)
    }

    /// What a process finds trimmed at its start.
    pub(super) fn look_at_beginnings(&mut self) {
        for partition in 0..self.plan.options.partitions {
            let read = self.read_outputs(partition, JOURNAL);
            let Some(Doom::Trimmed { is_journal, start, may_halt, must_halt, lacks_outputs }) =
                self.doomed.get_mut(&partition)
            else {
                continue;
            };
            let stores = if *is_journal { &self.estate.views } else { &self.estate.intakes };
            let applied = stores[usize::from(partition)].rows().applied().map_or(0, |applied| applied.offset);
            // The last applied record must be there too (rule 5).
            *must_halt = applied <= *start;
            *may_halt |= *must_halt;
            // What it did not write again, taking it for trimmed, is missing for good.
            *lacks_outputs |= *is_journal && read < *start;
            self.stats.sometimes(if *must_halt { "trimmed.unread" } else { "trimmed.read" }, 1);
        }
    }

    /// Whether the journal lacks something that the intake will not write again, since its store says
    /// that it was written: what the intake writes next stands behind a gap, and the views must halt.
    /// What is still on its way counts as there.
    pub(super) fn has_gap(&self, partition: u16) -> bool {
        self.lacks_output(partition, JOURNAL)
    }

    /// The same of any topic that an intake writes to.
    pub(super) fn lacks_output(&self, partition: u16, topic: &str) -> bool {
        let there = self.estate.log.sequences(partition, topic, STAGE);
        (1..=self.written_to(partition, topic)).any(|seq| !there.contains(&seq))
    }

    /// Only a halt from now on says that what happens to the partition now was noticed.
    pub(super) fn forget_halts(&mut self, partition: u16) {
        for kind in ["intake", "views"] {
            self.halted_ever.remove(&format!("{kind}/{partition}"));
        }
    }

    /// Stores that were planned to be others are.
    pub(super) fn stores_change(&mut self) {
        for store in self.estate.stores() {
            if let Some(other) = store.restart() {
                let name = store.name().to_owned();
                self.estate.trace.note(self.now_ms(), "store.other", [0, 0], || name);
                self.stats.sometimes("store.other", 1);
                let kind = if other == Other::Old { "store_old" } else { "store_foreign" };
                self.stats.sometimes(kind, 1);
            }
        }
    }

    /// What needed a process.
    pub(super) fn run_deferred(&mut self) -> Result<(), Violation> {
        for _ in 0..self.deferred.len() {
            if self.process.is_none() {
                break;
            }
            let Some(op) = self.deferred.pop_front() else { break };
            match op {
                Op::Settings { cash_max_minor, has_films } => self.change(cash_max_minor, has_films)?,
                Op::Replay { partition, from_permille, count } => {
                    self.replay(partition, from_permille, count)?
                }
                Op::Stop { down_ms } => self.stop(down_ms)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn change(&mut self, cash_max_minor: i64, has_films: bool) -> Result<(), Violation> {
        if (cash_max_minor, has_films) != (self.settings.1, self.settings.2) {
            self.settings = (self.settings.0 + 1, cash_max_minor, has_films);
        }
        let settings = self.settings_in_force();
        let (log, clock) = (Arc::clone(&self.estate.log), Arc::clone(&self.estate.clock));
        let mut is_complete = true;
        for partition in 0..self.plan.options.partitions {
            let published = self.within(|_| operator::publish(&*log, &*clock, partition, &settings))?;
            is_complete &= matches!(published, Some(Ok(()))) || self.is_ruined(partition);
        }
        if !is_complete && self.process.is_some() {
            // Without the number it would be another change: the same once more is none.
            self.deferred.push_back(Op::Settings { cash_max_minor, has_films });
        }
        Ok(())
    }

    fn replay(&mut self, partition: u16, from_permille: u32, count: u32) -> Result<(), Violation> {
        let log = self.estate.log.undisturbed();
        if partition >= self.plan.options.partitions || self.is_log_lost(partition) {
            return Ok(());
        }
        let records = read_again(&log, partition, from_permille, count).unwrap_or_default();
        self.stats.sometimes("replay.records", records.len() as u64);
        for record in records {
            self.clients.add(Delivery { partition, record, order_no: None });
        }
        Ok(())
    }

    /// Whether the partition need not take anything any more, since its log is not what it was.
    pub(super) fn is_log_lost(&self, partition: u16) -> bool {
        let doom = self.doomed.get(&partition).filter(|doom| !doom.is_harmless());
        matches!(doom, Some(Doom::Lost { .. } | Doom::Damaged | Doom::Trimmed { .. }))
    }

    /// The partition of an order.
    pub(super) fn home_of(&self, order_no: &str) -> u16 {
        let act_id = order_no.split('_').next().unwrap_or_default();
        partition_of(act_id.as_bytes(), self.plan.options.partitions).0
    }

    /// Whether a store of a partition was folded from other records than its log has, or had read more
    /// of an output than there is.
    pub(super) fn is_ahead(&self, partition: u16) -> bool {
        let index = usize::from(partition);
        let log = self.estate.log.undisturbed();
        let end = |topic: &str| log.range(Partition(partition), topic).map_or(0, |(_, end)| end);
        let stores = [(&self.estate.views[index], JOURNAL), (&self.estate.intakes[index], AWARDS)];
        let is_input_ahead = stores.into_iter().any(|(store, topic)| {
            let applied = store.rows().applied().map_or(0, |applied| applied.offset);
            applied > end(topic) || self.is_told_apart(store, partition, topic)
        });
        is_input_ahead || self.readable_ends(partition).into_iter().any(|(topic, read)| read > end(&topic))
    }

    /// Of what is lost for good by now, a process that starts must send nothing, where it can tell.
    pub(super) fn silence(&mut self) {
        for partition in 0..self.plan.options.partitions {
            let is_ahead = self.is_ahead(partition);
            match self.doomed.get_mut(&partition) {
                // What was lost may have been written once more, byte for byte, or the store is an
                // older one by now.
                Some(Doom::Lost { is_noticed, .. }) => *is_noticed &= is_ahead,
                // Its log may have come to a record that both partitions have. The program's stores say
                // whose they are; these can be told by that record alone.
                Some(Doom::Store { must_halt, is_foreign: true, .. }) => *must_halt &= is_ahead,
                _ => {}
            }
        }
        let silent = self.doomed.iter().filter(|(_, doom)| doom.is_silent());
        self.silenced = silent.map(|(partition, _)| *partition).collect();
        self.note_behind();
    }
}
