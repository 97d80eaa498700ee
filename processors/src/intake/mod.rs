//! Intake: one verdict for every award (I1, I2, I3). It folds a partition of `awards` into
//! accepted orders; what it writes is a function of that partition alone (I4).
//!
//! | record | becomes | counts as |
//! | --- | --- | --- |
//! | award, first of its order number | `Accepted` in the journal, then the order in its lane | `accepted` |
//! | award, same payload as the order accepted | nothing | `duplicate` |
//! | award, other payload than the order accepted | `Conflict` in the journal; the first stands | `conflict` |
//! | award that fails a check, before any look-up | `Rejected` in the journal; the number is not used up | `rejected` |
//! | award of a person of another partition | dead letter `wrong_partition` | `undecodable` |
//! | bytes that are no award | dead letter with the reader's code | `undecodable` |
//! | tick with a higher number than the last | `Ticked` with the time after it | - |
//! | settings with a higher number than those in force | `SettingsChanged` | - |
//! | tick or settings with a lower or equal number | nothing: a repeat by the writer, or by somebody | - |
//! | control record with a bad MAC, or settings that cannot be in force | dead letter `undecodable` | `undecodable` |
//! | control record of another partition | dead letter `wrong_partition` | `undecodable` |
//!
//! Ticks and settings are numbered apart, from 1, by partition. A tick never moves time back, and
//! by at most five minutes unless it is the first. The number of settings stands in their control
//! record and in their body. Before the first settings every activity is unknown. A dead letter
//! holds the record's bytes, of one longer than any award may be its first [`AWARD_BYTES_MAX`].

mod batch;
mod board;
mod plan;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use hongbao_engine::mutant;
use hongbao_engine::partition::Partition;
use hongbao_engine::processor::{FrozenRows, OutputIndex, Outputs, Processor, ProcessorError};
use hongbao_engine::records::{FrameRef, Offset};
use hongbao_engine::seen::{SeenCounters, SeenIndex, SeenLimits};
use hongbao_engine::store::{Rows, Store, StoreError};
use hongbao_schemas::control::{Control, ControlKey, ControlKind};
use hongbao_schemas::dead_letter::DeadLetter;
use hongbao_schemas::journal::{Accepted, Conflict, Rejected, SettingsChanged, Ticked};
use hongbao_schemas::limits::AWARD_BYTES_MAX;
use hongbao_schemas::order::Order;

use batch::{Batch, Candidate, Content, Reader, Record};
use board::BatchVerdicts;
pub use board::{Answer, Counts, IntakeBoard, RECENT_VERDICTS, Verdict, Watch};
use plan::{Plan, SceneRule};
use state::{Fold, Saved};

/// The topic that intake reads.
pub const AWARDS: &str = "awards";
/// The topic of facts.
pub const JOURNAL: &str = "journal";
/// The topic of records that were not decided.
pub const DEAD_LETTERS: &str = "dlq.intake";
/// What the name of a lane's topic begins with.
pub const ORDERS_PREFIX: &str = "orders.";

/// Stage of intake's dead letters; also its name as a source.
pub const STAGE: &str = "intake";

/// Kind of the rows that map order numbers to digests of their payload.
const ORDER_NUMBERS: [u8; 2] = *b"on";

/// Records decoded, looked up and decided together. Enough for the store to answer many look-ups
/// at once; few enough that what the look-ups loaded is still in the core's cache when the records
/// are decided.
const SLICE_RECORDS_MAX: usize = 1_000;

const UNDECODABLE: &str = "undecodable";

/// What an intake is made for.
#[derive(Clone, Debug)]
pub struct IntakeSpec {
    /// The partition it folds.
    pub partition: Partition,
    /// How many there are, for the life of the data.
    pub partitions: u16,
    /// Seals control records.
    pub control_key: ControlKey,
    /// Memory for order numbers.
    pub seen: SeenLimits,
    /// Where counts and verdicts are shown; of this partition alone.
    pub board: Arc<IntakeBoard>,
}

/// The fold. See the [module](self).
pub struct Intake {
    reader: Reader,
    board: Arc<IntakeBoard>,
    seen: SeenIndex,
    plan: Plan,
    topics: Topics,
    fold: Fold,
    /// Settings that no freeze has set aside yet.
    new_settings: Option<Vec<u8>>,
    batch: Batch<'static>,
    verdicts: BatchVerdicts,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let partition = self.reader.partition;
        f.debug_struct("Intake")
            .field("partition", &partition)
            .field("fold", &self.fold)
            .finish_non_exhaustive()
    }
}

/// Registered output topics.
#[derive(Debug)]
struct Topics {
    journal: OutputIndex,
    dead_letters: OutputIndex,
    /// By index of the lane in the plan.
    lanes: Vec<OutputIndex>,
}

impl Topics {
    /// Registers what is new: the journal first (its facts are readable before the orders), then
    /// lanes by name.
    fn register(outputs: &mut Outputs, plan: &Plan) -> Self {
        Self {
            journal: outputs.topic(JOURNAL),
            dead_letters: outputs.topic(DEAD_LETTERS),
            lanes: plan.lanes().iter().map(|lane| outputs.topic(&format!("{ORDERS_PREFIX}{lane}"))).collect(),
        }
    }
}

impl Intake {
    /// The fold as `store` holds it. Registers its topics with `outputs`, which must be the ones
    /// that [`Processor::apply`] gets, and shows the stored counts on the board.
    ///
    /// # Errors
    /// [`ProcessorError::Store`], also when the stored state cannot be read.
    pub fn open(
        spec: IntakeSpec,
        store: Arc<dyn Store>,
        outputs: &mut Outputs,
    ) -> Result<Self, ProcessorError> {
        let Saved { fold, settings } = Saved::load(&*store)?;
        let damaged = |what| StoreError::Corrupt(format!("intake's stored settings: {what}"));
        let plan = match settings {
            Some(json) => Plan::compile(&json, fold.settings_number).map_err(damaged)?,
            None => Plan::default(),
        };
        spec.board.restore(fold.counts, store.applied()?.offset);
        let IntakeSpec { partition, partitions, control_key, seen, board } = spec;
        Ok(Self {
            reader: Reader { partition, partitions, control_key },
            board,
            seen: SeenIndex::open(ORDER_NUMBERS, seen, store)?,
            topics: Topics::register(outputs, &plan),
            plan,
            fold,
            new_settings: None,
            batch: Batch::default(),
            verdicts: BatchVerdicts::default(),
        })
    }

    /// Number of the settings in force; 0 before the first.
    #[must_use]
    pub fn settings_number(&self) -> i64 {
        self.fold.settings_number
    }

    /// How order numbers were looked up; goes on counting while the fold lives.
    #[must_use]
    pub fn seen_counters(&self) -> Arc<SeenCounters> {
        self.seen.counters()
    }

    fn decide_all(&mut self, batch: &Batch<'_>, outputs: &mut Outputs) -> Result<(), ProcessorError> {
        for record in batch.records.iter().filter(|_| mutant!(M78)) {
            if let Content::Control(control) = &record.content
                && let Ok(plan) = Plan::compile(control.body, control.number)
            {
                (self.topics, self.plan) = (Topics::register(outputs, &plan), plan);
            }
        }
        self.seen.prefetch(batch.keys())?;
        let mut next_offset = None;
        for record in &batch.records {
            if next_offset != Some(record.offset) {
                self.verdicts.start_run(record.offset);
            }
            next_offset = Some(record.offset + 1);
            let verdict = match &record.content {
                Content::Award(candidate) => self.decide(record.offset, candidate, outputs)?,
                Content::Control(control) => self.follow(record, control, outputs),
                Content::Dead(code) => self.put_aside(record, code, outputs),
            };
            self.fold.counts.count(verdict);
            self.verdicts.push(verdict);
        }
        Ok(())
    }

    #[inline]
    fn decide(
        &mut self,
        offset: Offset,
        candidate: &Candidate<'_>,
        outputs: &mut Outputs,
    ) -> Result<Verdict, StoreError> {
        let award = &candidate.award;
        let (award_offset, at_ms) = (offset.cast_signed(), self.fold.now_ms);
        let admitted = candidate.seat.and_then(|seat| Ok((seat, self.plan.admit(award)?)));
        let (seat, rule) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let fact = Rejected::of(award, refusal, award_offset, at_ms);
                outputs.push_with(self.topics.journal, |out| fact.encode(out));
                if let (true, Ok(seat)) = (mutant!(M18), candidate.seat) {
                    self.seen.insert_seated(seat, award.payload_digest());
                }
                return Ok(Verdict::Rejected(refusal));
            }
        };
        let digest = award.payload_digest();
        match self.seen.get_seated(seat)? {
            None => {
                self.seen.insert_seated(seat, digest);
                self.accept(rule, candidate, award_offset, outputs);
                Ok(Verdict::Accepted)
            }
            Some(accepted) if accepted == digest && !mutant!(M17) => Ok(Verdict::Duplicate),
            Some(_) if mutant!(M16) => Ok(Verdict::Duplicate),
            Some(_) if mutant!(M17) => {
                self.accept(rule, candidate, award_offset, outputs);
                Ok(Verdict::Accepted)
            }
            Some(_) => {
                let mut fact = Conflict::of(award, award_offset, at_ms);
                if mutant!(M86) {
                    fact.amount_minor = 0;
                }
                outputs.push_with(self.topics.journal, |out| fact.encode(out));
                Ok(Verdict::Conflict)
            }
        }
    }

    #[inline]
    fn accept(&self, rule: &SceneRule, candidate: &Candidate<'_>, award_offset: i64, outputs: &mut Outputs) {
        let award = candidate.award;
        let stray = if mutant!(M21) { hongbao_engine::stray() % 2 } else { 0 };
        let at_ms = self.fold.now_ms + stray.cast_signed();
        let lane_topic = self.topics.lanes[rule.lane];
        let fact = Accepted {
            award,
            asset: &rule.asset,
            lane: self.plan.lane_name(rule),
            lane_seq: outputs
                .next_seq(if mutant!(M87) { self.topics.lanes[0] } else { lane_topic })
                .cast_signed(),
            award_offset,
            at_ms,
        };
        outputs.push_with(self.topics.journal, |out| fact.encode(out));
        let order = Order {
            order_no: award.order_no,
            act_id: award.act_id,
            reward_type: award.reward_type,
            reward_id: award.reward_id,
            asset: &rule.asset,
            amount_minor: award.amount_minor,
            accepted_at_ms: at_ms,
        };
        outputs.push_with(lane_topic, |out| order.encode(out));
    }

    fn follow(&mut self, record: &Record<'_>, control: &Control<'_>, outputs: &mut Outputs) -> Verdict {
        let award_offset = record.offset.cast_signed();
        match control.kind {
            ControlKind::Tick => {
                if control.number > self.fold.tick_number {
                    self.fold.tick(control.number, control.at_ms);
                    let fact = Ticked { at_ms: self.fold.now_ms, award_offset };
                    outputs.push_with(self.topics.journal, |out| fact.encode(out));
                }
                Verdict::Control
            }
            ControlKind::Settings => {
                if control.number > self.fold.settings_number || mutant!(M22) {
                    let Ok(plan) = Plan::compile(control.body, control.number) else {
                        return self.put_aside(record, UNDECODABLE, outputs);
                    };
                    self.change_settings(control, plan, award_offset, outputs);
                }
                Verdict::Control
            }
        }
    }

    fn change_settings(
        &mut self,
        control: &Control<'_>,
        plan: Plan,
        award_offset: i64,
        outputs: &mut Outputs,
    ) {
        self.topics = Topics::register(outputs, &plan);
        self.plan = plan;
        self.fold.settings_number = control.number;
        self.new_settings = Some(control.body.to_vec());
        let Control { number, body, .. } = *control;
        let fact = SettingsChanged { number, body, award_offset, at_ms: self.fold.now_ms };
        outputs.push_with(self.topics.journal, |out| fact.encode(out));
    }

    #[cold]
    fn put_aside(&self, record: &Record<'_>, code: &str, outputs: &mut Outputs) -> Verdict {
        let letter = DeadLetter {
            stage: STAGE,
            code,
            topic: AWARDS,
            partition: i64::from(self.reader.partition.0),
            offset: record.offset.cast_signed(),
            bytes: record.bytes.get(..AWARD_BYTES_MAX).unwrap_or(record.bytes),
        };
        outputs.push_with(self.topics.dead_letters, |out| letter.encode(out));
        Verdict::Undecodable
    }
}

/// How many of `frames` to decode at once: at least one.
fn slice_frames(frames: &[FrameRef<'_>]) -> usize {
    let mut records = 0;
    let fits = |frame: &&FrameRef<'_>| {
        records += frame.len();
        records <= SLICE_RECORDS_MAX
    };
    frames.iter().take_while(fits).count().max(1)
}

impl Processor for Intake {
    fn apply(&mut self, frames: &[FrameRef<'_>], outputs: &mut Outputs) -> Result<(), ProcessorError> {
        self.verdicts.clear();
        let mut rest = frames;
        while !rest.is_empty() {
            let (slice, after) = rest.split_at(slice_frames(rest));
            let mut batch: Batch<'_> = std::mem::take(&mut self.batch);
            batch.decode(&self.reader, slice);
            self.decide_all(&batch, outputs)?;
            self.batch = batch.emptied();
            rest = after;
        }
        self.board.publish(self.fold.counts, &self.verdicts);
        Ok(())
    }

    fn freeze(&mut self) -> Result<FrozenRows, ProcessorError> {
        let mut own = Rows::new();
        state::put_fold(&mut own, &self.fold);
        if let Some(settings) = self.new_settings.take().filter(|_| !mutant!(M26)) {
            state::put_settings(&mut own, &settings);
        }
        let order_numbers = self.seen.freeze();
        // `in` rows come before `on` rows, and among themselves in this order.
        Ok(Box::new(move || {
            let order_numbers = order_numbers.into_rows();
            Ok(if mutant!(M14) { vec![own] } else { vec![own, order_numbers] })
        }))
    }

    fn committed(&mut self) {
        self.seen.committed();
    }

    fn staged_bytes(&self) -> usize {
        self.seen.staged_bytes()
    }
}
