//! One order: where it stands and how it came there.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use hongbao_schemas::order_no::OrderNo;
use hongbao_schemas::order_state::OrderState;

use super::Shared;
use super::entry::{Entry, Pointer, take_pointer};
use super::history::{Batch, Conflicts, Refusal};
use super::outcome::Outcome;
use super::reader::{ReadError, ViewsReader};
use super::rows::{self, BATCH_BUCKET_SHIFT, batch_bucket};
use super::state::State;
use super::wire::{Take, damaged};

/// Entries looked at before the lock is given back, when a person has many that are not committed.
const WALK_STEPS: usize = 512;

/// An order, or an order number that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The order number.
    pub order_no: String,
    /// The person.
    pub act_id: String,
    /// Type of the reward.
    pub reward_type: String,
    /// Template or pendant; empty also for refused orders.
    pub reward_id: String,
    /// In the minor unit of the type's asset.
    pub amount_minor: i64,
    /// Where it stands.
    pub state: OrderState,
    /// What happened, in the order of the journal.
    pub timeline: Vec<TimelineStep>,
}

/// One step of an order's story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineStep {
    /// When, in milliseconds since the Unix epoch, as the writer of the fact saw it.
    pub at_ms: i64,
    /// `accepted`, `rejected`, `conflict`, or a [`hongbao_schemas::journal::CreditStage`].
    pub stage: &'static str,
    /// Where the fact is: `journal/{partition}@{offset}`.
    pub position: String,
    /// For people.
    pub detail: String,
}

impl ViewsReader {
    /// An order by its number. Looked for in the partition of its person; an order number that was
    /// refused because it is malformed, or not its person's, is found where its award came in, so
    /// `None` is certain only when all partitions have folded what is asked about.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::NotOpen`] when it is in no partition whose views are open.
    pub fn order(&self, order_no: &str) -> Result<Option<Order>, ReadError> {
        let mut home = None;
        if let Ok(parsed) = OrderNo::parse(order_no) {
            let shared = self.home(parsed.act_id())?;
            if let Some(at) = shared.find_order(&parsed)? {
                return shared.accepted_order(order_no, at).map(Some);
            }
            if let Some(order) = shared.refused_order(order_no)? {
                return Ok(Some(order));
            }
            home = Some(shared.partition);
        }
        let mut not_open = None;
        for partition in (0..self.partitions()).filter(|partition| Some(*partition) != home) {
            match self.open(partition) {
                Ok(shared) => {
                    if let Some(order) = shared.refused_order(order_no)? {
                        return Ok(Some(order));
                    }
                }
                Err(error) => not_open = Some(error),
            }
        }
        not_open.map_or(Ok(None), Err)
    }
}

/// Steps by journal offset.
type Steps = BTreeMap<u64, TimelineStep>;

/// What memory holds of an accepted order.
struct Unstored {
    outcome: Outcome,
    folded: u64,
    lane: String,
    entry: Option<Vec<u8>>,
    batches: Vec<(u64, Vec<u8>)>,
}

impl Shared {
    /// Where an accepted order stands: among the person's entries that are not in the store yet, or
    /// by its row there.
    fn find_order(&self, order_no: &OrderNo<'_>) -> Result<Option<Pointer>, ReadError> {
        if let Some(at) = self.find_unstored(order_no)? {
            return Ok(Some(at));
        }
        let mut key = Vec::new();
        rows::push_order_key(&mut key, order_no.as_str());
        let Some(row) = self.store().get(&key)? else { return Ok(None) };
        let at = take_pointer(&mut Take::new(&row)).flatten();
        Ok(Some(at.ok_or_else(|| damaged("an order's"))?))
    }

    fn find_unstored(&self, order_no: &OrderNo<'_>) -> Result<Option<Pointer>, ReadError> {
        let mut seen = None;
        // Damaged rows can make a circle of a person's entries. Whoever walks one comes back to the
        // mark, which is set anew at each power of two.
        let (mut mark, mut steps) = (None, 0_u64);
        loop {
            let state = self.state.read();
            let newest = || state.users.get(order_no.act_id().as_bytes())?.newest;
            let mut next = seen.or_else(newest);
            for _ in 0..WALK_STEPS {
                // From the first entry on that is in the store, all are.
                let unstored = next.and_then(|at| Some((at, state.unstored_entry(at)?)));
                let Some((at, row)) = unstored else { return Ok(None) };
                if mark == Some(at) {
                    return Err(damaged("a circle of entries").into());
                }
                steps += 1;
                if steps.is_power_of_two() {
                    mark = Some(at);
                }
                let entry = Entry::decode(row).ok_or_else(|| damaged("an entry"))?;
                if entry.order_no == order_no.as_str() {
                    return Ok(Some(at));
                }
                next = entry.previous;
            }
            if next.is_none() {
                return Ok(None);
            }
            seen = next;
        }
    }

    fn accepted_order(&self, order_no: &str, at: Pointer) -> Result<Order, ReadError> {
        let unstored = self.unstored(at);
        let row = match unstored.entry {
            Some(row) => row,
            None => {
                let row = self.store().get(&rows::seq_key(rows::ENTRY, at))?;
                row.ok_or_else(|| damaged("an order without an entry"))?
            }
        };
        let entry = Entry::decode(&row).ok_or_else(|| damaged("an entry"))?;
        let mut steps = Steps::new();
        let place = at.seq() - (batch_bucket(at.seq()) << BATCH_BUCKET_SHIFT);
        for (offset, row) in &unstored.batches {
            self.add_batch(&mut steps, *offset, row, place)?;
        }
        self.add_stored_batches(&mut steps, at, place, unstored.folded)?;
        let detail = format!("{}, order {}", unstored.lane, at.seq());
        self.add(&mut steps, entry.journal_offset, entry.at_ms, "accepted", detail);
        if let Some(refusal) = self.refusal(order_no)? {
            self.add(&mut steps, refusal.journal_offset, refusal.at_ms, "rejected", refusal.code);
        }
        if let Some(conflicts) = self.conflicts(order_no)? {
            let detail = conflict_detail(&conflicts);
            self.add(&mut steps, conflicts.journal_offset, conflicts.at_ms, "conflict", detail);
        }
        let states = Outcome::resolve(self.store(), std::iter::once((at, unstored.outcome)))?;
        let reward_type = {
            let state = self.state.read();
            state.groups.get(entry.group).map(|group| group.names.reward_type.to_string())
        };
        Ok(Order {
            order_no: order_no.to_owned(),
            act_id: entry.act_id.to_owned(),
            reward_type: reward_type.ok_or_else(|| damaged("an entry of no group"))?,
            reward_id: entry.reward_id.to_owned(),
            amount_minor: entry.amount_minor,
            state: states.first().copied().unwrap_or(OrderState::Accepted),
            timeline: steps.into_values().collect(),
        })
    }

    fn unstored(&self, at: Pointer) -> Unstored {
        let state = self.state.read();
        let bucket = batch_bucket(at.seq());
        let range = (at.lane(), bucket, 0)..=(at.lane(), bucket, u64::MAX);
        let changes = state.frozen.as_deref().into_iter().chain(std::iter::once(&state.staged));
        let batches = changes
            .flat_map(|changes| changes.batches.range(range.clone()))
            .map(|((_, _, offset), row)| (*offset, row.clone()))
            .collect();
        Unstored {
            outcome: Outcome::of(&state, at),
            folded: state.folded,
            lane: state.lanes.of(at).map(|lane| lane.name.to_string()).unwrap_or_default(),
            entry: state.unstored_entry(at).map(<[u8]>::to_vec),
            batches,
        }
    }

    /// Adds the credit facts that the store has; later ones than the state was read with are left out.
    fn add_stored_batches(
        &self,
        steps: &mut Steps,
        at: Pointer,
        place: u64,
        folded: u64,
    ) -> Result<(), ReadError> {
        let bucket = batch_bucket(at.seq());
        let from = rows::batch_key(at.lane(), bucket, 0);
        let to = rows::batch_key(at.lane(), bucket, folded);
        let mut failed = None;
        self.store().scan(&from, &to, &mut |key, row| {
            let added = match rows::tail_u64(key) {
                Some(offset) => self.add_batch(steps, offset, row, place),
                None => Err(damaged("the key of a credit fact").into()),
            };
            match added {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn add_batch(&self, steps: &mut Steps, offset: u64, row: &[u8], place: u64) -> Result<(), ReadError> {
        let batch = Batch::decode(row).ok_or_else(|| damaged("a credit fact"))?;
        if batch.names(place) {
            self.add(steps, offset, batch.at_ms, batch.stage.as_str(), batch.reason.to_owned());
        }
        Ok(())
    }

    fn add(&self, steps: &mut Steps, offset: u64, at_ms: i64, stage: &'static str, detail: String) {
        let position = format!("journal/{}@{offset}", self.partition);
        steps.insert(offset, TimelineStep { at_ms, stage, position, detail });
    }

    /// An order number that was refused and never accepted.
    fn refused_order(&self, order_no: &str) -> Result<Option<Order>, ReadError> {
        let Some(refusal) = self.refusal(order_no)? else { return Ok(None) };
        let mut steps = Steps::new();
        self.add(&mut steps, refusal.journal_offset, refusal.at_ms, "rejected", refusal.code);
        Ok(Some(Order {
            order_no: order_no.to_owned(),
            act_id: refusal.act_id,
            reward_type: refusal.reward_type,
            reward_id: String::new(),
            amount_minor: refusal.amount_minor,
            state: OrderState::Rejected,
            timeline: steps.into_values().collect(),
        }))
    }

    fn refusal(&self, order_no: &str) -> Result<Option<Refusal>, ReadError> {
        let row = self.named_row(rows::REJECTED, order_no, |changes| &changes.refusals)?;
        let decode = |row: Vec<u8>| Refusal::decode(&row).ok_or_else(|| damaged("a refusal").into());
        row.map(decode).transpose()
    }

    fn conflicts(&self, order_no: &str) -> Result<Option<Conflicts>, ReadError> {
        let row = self.named_row(rows::CONFLICT, order_no, |changes| &changes.conflicts)?;
        let decode = |row: Vec<u8>| Conflicts::decode(&row).ok_or_else(|| damaged("a conflict").into());
        row.map(decode).transpose()
    }

    fn named_row(
        &self,
        kind: rows::Kind,
        name: &str,
        of: impl Fn(&super::changes::Changes) -> &BTreeMap<Box<str>, Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let unstored = {
            let state: &State = &self.state.read();
            let frozen = || of(state.frozen.as_deref()?).get(name);
            of(&state.staged).get(name).or_else(frozen).cloned()
        };
        match unstored {
            Some(row) => Ok(Some(row)),
            None => Ok(self.store().get(&rows::named_key(kind, name))?),
        }
    }
}

fn conflict_detail(conflicts: &Conflicts) -> String {
    let Conflicts { count, activity_id, scene_id, reward_type, reward_id, amount_minor, .. } = conflicts;
    let reward = if reward_id.is_empty() { String::new() } else { format!(" {reward_id}") };
    format!(
        "came {count} times with another payload, last: {activity_id} {scene_id} {reward_type}{reward} \
         {amount_minor}"
    )
}
