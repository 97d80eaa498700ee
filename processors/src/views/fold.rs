//! What each fact does to the state.

use hongbao_engine::mutant;
use hongbao_engine::processor::ProcessorError;
use hongbao_engine::records::Offset;
use hongbao_schemas::journal::{
    Accepted, Conflict, CreditFact, CreditStage, Fact, Opened, Rejected, SettingsChanged,
};
use hongbao_schemas::settings::Settings;

use super::entry::{Entry, Pointer};
use super::groups::{GroupKey, NOT_RECONCILED};
use super::history::{Batch, Conflicts, Exception, Opening, Refusal};
use super::lanes::{Standing, after};
use super::open::OpenOrder;
use super::pieces::Piece;
use super::plan::{Plan, ends_orders};
use super::rows::{BATCH_BUCKET_SHIFT, batch_bucket};
use super::state::State;
use super::users::Slot;

/// The input or the state contradicts an invariant: the partition stops.
pub(super) fn broken(invariant: &'static str, offset: Offset, what: impl Into<String>) -> ProcessorError {
    ProcessorError::Invariant { invariant, offset, what: what.into() }
}

/// Memory used again from fact to fact.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pieces: Vec<Piece<Standing>>,
    /// Bucket, first and last sequence.
    ranges: Vec<(u64, u64, u64)>,
}

/// One fact being applied.
pub(super) struct Fold<'a> {
    pub(super) state: &'a mut State,
    pub(super) plan: &'a Plan,
    pub(super) scratch: &'a mut Scratch,
    pub(super) offset: Offset,
}

impl Fold<'_> {
    /// Applies a fact; `slot` is the person's, if the fact needs one.
    #[inline]
    pub(super) fn apply(&mut self, fact: &Fact<'_>, slot: Slot) -> Result<(), ProcessorError> {
        match fact {
            Fact::Accepted(fact) => self.accepted(fact, slot),
            Fact::Credit(fact) => self.credit(fact),
            Fact::Rejected(fact) => {
                self.rejected(fact);
                Ok(())
            }
            Fact::Conflict(fact) => self.conflict(fact),
            Fact::Ticked(fact) => {
                self.see_time(fact.at_ms);
                Ok(())
            }
            Fact::SettingsChanged(fact) => self.settings_changed(fact),
            Fact::Opened(fact) => {
                self.opened(fact);
                Ok(())
            }
        }
    }

    /// Takes note of a time that intake stated; sinks' clocks are not to be trusted with it.
    #[inline]
    fn see_time(&mut self, at_ms: i64) {
        self.state.now_ms = self.state.now_ms.max(at_ms);
    }

    fn accepted(&mut self, fact: &Accepted<'_>, slot: Slot) -> Result<(), ProcessorError> {
        self.see_time(fact.at_ms);
        let (offset, award) = (self.offset, &fact.award);
        let State { lanes, groups, users, staged, settings, now_ms, .. } = &mut *self.state;
        let number = lanes.resolve(fact.lane).ok_or_else(|| broken("I29", offset, "too many lanes"))?;
        let lane = lanes.get_mut(number).ok_or_else(|| broken("I6", offset, "a lane is gone"))?;
        if u64::try_from(fact.lane_seq) != Ok(lane.next_seq) {
            let what = format!("order {} of {} came, not {}", fact.lane_seq, fact.lane, lane.next_seq);
            return Err(broken("I5", offset, what));
        }
        if award.amount_minor <= 0 {
            return Err(broken("I8", offset, format!("accepted {} minor units", award.amount_minor)));
        }
        let key = GroupKey {
            lane: number,
            activity_id: award.activity_id,
            scene_id: award.scene_id,
            reward_type: award.reward_type,
            asset: fact.asset,
        };
        let group_number = groups.resolve(key, settings.as_deref());
        let group_number = group_number.ok_or_else(|| broken("I29", offset, "too many assets"))?;
        let group = groups.get_mut(group_number).ok_or_else(|| broken("I6", offset, "a group is gone"))?;
        let at = Pointer::new(number, lane.accept())
            .ok_or_else(|| broken("I29", offset, "a lane has too many orders"))?;
        let minute = group.accept(award.amount_minor, *now_ms);
        let user = users.change(slot, offset + 1);
        let previous = user.newest.replace(at);
        let is_item = group.names.is_item;
        let previous_item = if is_item { user.newest_item.replace(at) } else { None };
        user.accept(group.asset, award.amount_minor);
        let entry = Entry {
            group: group_number,
            reconciled: minute != NOT_RECONCILED,
            amount_minor: award.amount_minor,
            at_ms: *now_ms,
            event_time_ms: award.event_time_ms,
            award_offset: fact.award_offset,
            journal_offset: offset,
            previous,
            previous_item,
            act_id: award.act_id,
            order_no: award.order_no,
            reward_id: award.reward_id,
            app: award.app,
        };
        if !staged.push_entry(at, |out| entry.encode(out)) {
            return Err(broken("I29", offset, "the entries of one commit are above 4 GiB"));
        }
        let generation = users.generation(slot);
        let amount_minor = award.amount_minor;
        lane.recent.push(OpenOrder { amount_minor, slot, generation, group: group_number, minute });
        Ok(())
    }

    fn credit(&mut self, fact: &CreditFact<'_>) -> Result<(), ProcessorError> {
        let Some(number) = self.state.lanes.find(fact.lane) else {
            self.contradicted(fact.ranges.total().cast_unsigned());
            return Ok(());
        };
        let reason = match fact.stage {
            CreditStage::Unknown => self.state.reason_id(fact.reason),
            _ => 0,
        };
        let mut pieces = std::mem::take(&mut self.scratch.pieces);
        self.scratch.ranges.clear();
        for range in fact.ranges {
            let Some(lane) = self.state.lanes.get(number) else { break };
            let (first, stated_last) = (range.first().cast_unsigned(), range.end().cast_unsigned() - 1);
            let last = stated_last.min(lane.next_seq - 1);
            lane.pieces(first, last, &mut pieces);
            let beyond = stated_last.saturating_sub(last.max(first - 1));
            self.contradicted(beyond);
            for piece in &pieces {
                let Ok(standing) = after(piece.value, fact.stage, fact.at_ms, reason) else {
                    self.contradicted(piece.count());
                    continue;
                };
                if ends_orders(fact.stage) {
                    self.end_orders(number, piece, fact)?;
                }
                if let Some(lane) = self.state.lanes.get_mut(number) {
                    lane.settle(piece, fact.stage, standing);
                }
            }
            if first <= last {
                self.note_range(first, last);
            }
        }
        self.scratch.pieces = pieces;
        self.note_batches(number, fact);
        let raised = self.state.lanes.get_mut(number).is_some_and(|lane| lane.raise_mark());
        if raised { Ok(()) } else { Err(broken("I29", self.offset, "too many orders are unresolved")) }
    }

    fn contradicted(&mut self, orders: u64) {
        self.state.contradictions = self.state.contradictions.saturating_add(orders);
    }

    /// Moves money and counts for orders that end here, none of which had ended.
    fn end_orders(
        &mut self,
        number: u16,
        piece: &Piece<Standing>,
        fact: &CreditFact<'_>,
    ) -> Result<(), ProcessorError> {
        let (offset, credited) = (self.offset, fact.stage == CreditStage::Credited);
        let pays = credited || mutant!(M83);
        let State { lanes, groups, users, staged, .. } = &mut *self.state;
        let lane = lanes.get(number).ok_or_else(|| broken("I6", offset, "a lane is gone"))?;
        for seq in piece.first..=piece.last {
            let at =
                Pointer::new(number, seq).ok_or_else(|| broken("I6", offset, "a sequence is too large"))?;
            let order = match lane.recent.get(seq) {
                Some(order) if !pays || users.is_current(order.slot, order.generation) => order,
                _ => self.plan.order(at).ok_or_else(|| broken("I6", offset, "an order has no entry"))?,
            };
            let group = groups.get_mut(order.group).ok_or_else(|| broken("I6", offset, "a group is gone"))?;
            if pays {
                let user = users.change(order.slot, offset + 1);
                user.credit(group.asset, if mutant!(M28) { 1 } else { order.amount_minor })
                    .map_err(|_| broken("I16", offset, "more was credited than was pending"))?;
            }
            if credited {
                group.credit(order.amount_minor);
            } else {
                let row = Exception::encode(fact.stage, fact.at_ms, offset, fact.reason);
                staged.count_row(row.len());
                staged.exceptions.insert(at, row);
            }
            group
                .end(order.amount_minor, order.minute)
                .map_err(|_| broken("I6", offset, "an order ended that was not open"))?;
        }
        Ok(())
    }

    /// Remembers which orders a fact named, split by bucket.
    fn note_range(&mut self, first: u64, last: u64) {
        for bucket in batch_bucket(first)..=batch_bucket(last) {
            let base = bucket << BATCH_BUCKET_SHIFT;
            let bucket_last = base + ((1 << BATCH_BUCKET_SHIFT) - 1);
            self.scratch.ranges.push((bucket, first.max(base), last.min(bucket_last)));
        }
    }

    /// Writes one row for each bucket that the fact named orders of.
    fn note_batches(&mut self, number: u16, fact: &CreditFact<'_>) {
        self.scratch.ranges.sort_unstable();
        for same_bucket in self.scratch.ranges.chunk_by(|left, right| left.0 == right.0) {
            let bucket = same_bucket[0].0;
            let base = bucket << BATCH_BUCKET_SHIFT;
            let ranges = same_bucket.iter().map(|(_, first, last)| (*first, *last));
            let row = Batch::encode(fact.stage, fact.at_ms, fact.reason, base, ranges);
            let staged = &mut self.state.staged;
            staged.count_row(row.len());
            staged.batches.insert((number, bucket, self.offset), row);
        }
    }

    fn rejected(&mut self, fact: &Rejected<'_>) {
        self.see_time(fact.at_ms);
        let row = Refusal::encode(fact, self.offset);
        let staged = &mut self.state.staged;
        staged.count_row(fact.order_no.len() + row.len());
        staged.refusals.insert(fact.order_no.into(), row);
    }

    fn conflict(&mut self, fact: &Conflict<'_>) -> Result<(), ProcessorError> {
        self.see_time(fact.at_ms);
        let State { staged, frozen, .. } = &mut *self.state;
        let frozen = frozen.as_ref().and_then(|frozen| frozen.conflicts.get(fact.order_no));
        let before = match staged.conflicts.get(fact.order_no).or(frozen) {
            Some(row) => Conflicts::count_of(row)
                .ok_or_else(|| broken("I6", self.offset, "a conflict's row cannot be read"))?,
            None => self.plan.stored_conflicts(fact.order_no),
        };
        let row = Conflicts::encode(before + 1, fact, self.offset);
        staged.count_row(fact.order_no.len() + row.len());
        staged.conflicts.insert(fact.order_no.into(), row);
        Ok(())
    }

    fn settings_changed(&mut self, fact: &SettingsChanged<'_>) -> Result<(), ProcessorError> {
        self.see_time(fact.at_ms);
        let settings = Settings::from_json(fact.body)
            .map_err(|error| broken("I30", self.offset, format!("settings {}: {error}", fact.number)))?;
        self.state.follow(settings, fact.body);
        Ok(())
    }

    fn opened(&mut self, fact: &Opened<'_>) {
        self.state.open(fact.source, Opening::of(fact, self.offset));
    }
}
