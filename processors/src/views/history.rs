//! Rows that tell how an order came to where it stands: refusals, conflicts, credit facts, and how
//! orders ended that were not credited. Written for a person who looks one order up, not for folds.

use hongbao_schemas::journal::{Conflict, CreditStage, Opened, Rejected};

use super::wire::{Take, put_i64, put_str, put_u64};

/// Last refusal of an order number by intake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) act_id: String,
    pub(super) reward_type: String,
    pub(super) amount_minor: i64,
    pub(super) code: String,
    pub(super) award_offset: i64,
    pub(super) journal_offset: u64,
    pub(super) at_ms: i64,
}

impl Refusal {
    pub(super) fn encode(fact: &Rejected<'_>, journal_offset: u64) -> Vec<u8> {
        let mut row = Vec::new();
        put_str(&mut row, fact.act_id);
        put_str(&mut row, fact.reward_type);
        put_i64(&mut row, fact.amount_minor);
        put_str(&mut row, fact.code);
        put_i64(&mut row, fact.award_offset);
        put_u64(&mut row, journal_offset);
        put_i64(&mut row, fact.at_ms);
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let mut take = Take::new(row);
        let refusal = Self {
            act_id: take.str()?.to_owned(),
            reward_type: take.str()?.to_owned(),
            amount_minor: take.i64()?,
            code: take.str()?.to_owned(),
            award_offset: take.i64()?,
            journal_offset: take.u64()?,
            at_ms: take.i64()?,
        };
        take.end()?;
        Some(refusal)
    }
}

/// Conflicts of an order number: how many, and the last one's payload (I3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conflicts {
    pub(super) count: u64,
    pub(super) activity_id: String,
    pub(super) scene_id: String,
    pub(super) reward_type: String,
    pub(super) reward_id: String,
    pub(super) amount_minor: i64,
    pub(super) award_offset: i64,
    pub(super) journal_offset: u64,
    pub(super) at_ms: i64,
}

impl Conflicts {
    pub(super) fn encode(count: u64, fact: &Conflict<'_>, journal_offset: u64) -> Vec<u8> {
        let mut row = Vec::new();
        put_u64(&mut row, count);
        for text in [fact.activity_id, fact.scene_id, fact.reward_type, fact.reward_id] {
            put_str(&mut row, text);
        }
        put_i64(&mut row, fact.amount_minor);
        put_i64(&mut row, fact.award_offset);
        put_u64(&mut row, journal_offset);
        put_i64(&mut row, fact.at_ms);
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let mut take = Take::new(row);
        let conflicts = Self {
            count: take.u64()?,
            activity_id: take.str()?.to_owned(),
            scene_id: take.str()?.to_owned(),
            reward_type: take.str()?.to_owned(),
            reward_id: take.str()?.to_owned(),
            amount_minor: take.i64()?,
            award_offset: take.i64()?,
            journal_offset: take.u64()?,
            at_ms: take.i64()?,
        };
        take.end()?;
        Some(conflicts)
    }

    /// How often the order number came with another payload, as a row says.
    pub(super) fn count_of(row: &[u8]) -> Option<u64> {
        Take::new(row).u64()
    }
}

/// How an order ended that was not credited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exception {
    /// [`CreditStage::Refused`] or [`CreditStage::Reported`].
    pub(super) stage: CreditStage,
    pub(super) at_ms: i64,
    pub(super) journal_offset: u64,
    pub(super) reason: String,
}

impl Exception {
    pub(super) fn encode(stage: CreditStage, at_ms: i64, journal_offset: u64, reason: &str) -> Vec<u8> {
        let mut row = vec![stage as u8];
        put_i64(&mut row, at_ms);
        put_u64(&mut row, journal_offset);
        put_str(&mut row, reason);
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let mut take = Take::new(row);
        let stage = take_stage(&mut take)?;
        let (at_ms, journal_offset) = (take.i64()?, take.u64()?);
        let reason = take.str()?.to_owned();
        take.end()?;
        Some(Self { stage, at_ms, journal_offset, reason })
    }
}

/// What one credit fact said of some orders of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch<'a> {
    pub(super) stage: CreditStage,
    pub(super) at_ms: i64,
    pub(super) reason: &'a str,
    ranges: Take<'a>,
}

impl<'a> Batch<'a> {
    /// `ranges` are first and last sequence, of which the bucket's first is `base`.
    pub(super) fn encode(
        stage: CreditStage,
        at_ms: i64,
        reason: &str,
        base: u64,
        ranges: impl Iterator<Item = (u64, u64)>,
    ) -> Vec<u8> {
        let mut row = vec![stage as u8];
        put_i64(&mut row, at_ms);
        put_str(&mut row, reason);
        for (first, last) in ranges {
            put_u64(&mut row, first - base);
            put_u64(&mut row, last - first);
        }
        row
    }

    pub(super) fn decode(row: &'a [u8]) -> Option<Self> {
        let mut take = Take::new(row);
        let stage = take_stage(&mut take)?;
        let (at_ms, reason) = (take.i64()?, take.str()?);
        Some(Self { stage, at_ms, reason, ranges: take })
    }

    /// Whether the fact named the order `place` places behind the first of the bucket.
    pub(super) fn names(&self, place: u64) -> bool {
        let mut ranges = self.ranges;
        while let (Some(first), Some(more)) = (ranges.u64(), ranges.u64()) {
            if place >= first && place - first <= more {
                return true;
            }
        }
        false
    }
}

/// Who opened a source last (I24).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) writer: [u8; 16],
    pub(super) epoch: i64,
    pub(super) at_ms: i64,
    pub(super) journal_offset: u64,
}

impl Opening {
    pub(super) fn of(fact: &Opened<'_>, journal_offset: u64) -> Self {
        Self { writer: fact.writer, epoch: fact.epoch, at_ms: fact.at_ms, journal_offset }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = self.writer.to_vec();
        put_i64(&mut row, self.epoch);
        put_i64(&mut row, self.at_ms);
        put_u64(&mut row, self.journal_offset);
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let mut take = Take::new(row);
        let writer = *take.bytes(16)?.first_chunk::<16>()?;
        let opening = Self { writer, epoch: take.i64()?, at_ms: take.i64()?, journal_offset: take.u64()? };
        take.end()?;
        Some(opening)
    }
}

fn take_stage(take: &mut Take<'_>) -> Option<CreditStage> {
    CreditStage::ALL.get(usize::from(take.byte()?)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_names_the_orders_of_its_ranges() {
        let row = Batch::encode(
            CreditStage::Unknown,
            -5,
            "no answer",
            4096,
            [(4096, 4097), (4100, 4100)].into_iter(),
        );
        let batch = Batch::decode(&row).unwrap();
        assert_eq!((batch.stage, batch.at_ms, batch.reason), (CreditStage::Unknown, -5, "no answer"));
        let named: Vec<u64> = (0..10).filter(|place| batch.names(*place)).collect();
        assert_eq!(named, [0, 1, 4]);
    }

    #[test]
    fn rows_read_back() {
        let rejected = Rejected {
            order_no: "o",
            act_id: "u",
            activity_id: "a",
            scene_id: "s",
            reward_type: "cash",
            reward_id: "r",
            amount_minor: -3,
            code: "amount_not_positive",
            award_offset: 7,
            at_ms: 9,
        };
        let refusal = Refusal {
            act_id: "u".to_owned(),
            reward_type: "cash".to_owned(),
            amount_minor: -3,
            code: "amount_not_positive".to_owned(),
            award_offset: 7,
            journal_offset: 8,
            at_ms: 9,
        };
        assert_eq!(Refusal::decode(&Refusal::encode(&rejected, 8)), Some(refusal));
        let conflict = Conflict {
            order_no: "o",
            act_id: "u",
            activity_id: "a",
            scene_id: "s",
            reward_type: "cash",
            reward_id: "r",
            amount_minor: 3,
            award_offset: 7,
            at_ms: 9,
        };
        let row = Conflicts::encode(2, &conflict, 8);
        let conflicts = Conflicts::decode(&row).unwrap();
        assert_eq!((Conflicts::count_of(&row), conflicts.count), (Some(2), 2));
        assert_eq!((&*conflicts.reward_id, conflicts.amount_minor, conflicts.journal_offset), ("r", 3, 8));
        let exception = Exception {
            stage: CreditStage::Refused,
            at_ms: 4,
            journal_offset: 5,
            reason: "frozen".to_owned(),
        };
        assert_eq!(
            Exception::decode(&Exception::encode(CreditStage::Refused, 4, 5, "frozen")),
            Some(exception)
        );
        let opening = Opening { writer: [7; 16], epoch: 3, at_ms: 4, journal_offset: 5 };
        assert_eq!(Opening::decode(&opening.encode()), Some(opening));
        let mut long = opening.encode();
        long.push(0);
        assert_eq!(Opening::decode(&long), None);
    }
}
