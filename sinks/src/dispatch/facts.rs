//! Facts of one lane and partition on their way to the journal: gathered by stage and reason,
//! written as records that cover ranges, numbered by epoch (rule 3).

use std::collections::BTreeMap;

use hongbao_engine::records::{Envelope, RecordBuf};
use hongbao_schemas::journal::{CreditFact, CreditStage, Opened, RangesBuf, SeqRange};
use hongbao_schemas::limits::cut;

use crate::downstream::{REASON_BYTES_MAX, Reason};

/// Most ranges in one record.
const RANGES_MAX: usize = 4096;

/// The order in which facts of one step are written. An order has at most one of each kind in a
/// step: what became of an attempt, how it ended, the next intent.
const fn rank(stage: CreditStage) -> u8 {
    match stage {
        CreditStage::Unknown => 0,
        CreditStage::Deferred => 1,
        CreditStage::Credited => 2,
        CreditStage::Refused => 3,
        CreditStage::Reported => 4,
        CreditStage::Started => 5,
    }
}

/// Facts not yet appended. Kept when the log is full.
#[derive(Debug, Default)]
pub struct Facts {
    epoch: u32,
    next_seq: u64,
    gathered: BTreeMap<(u8, Reason), Gathered>,
    records: RecordBuf,
    ranges: RangesBuf,
}

#[derive(Debug)]
struct Gathered {
    stage: CreditStage,
    ranges: Vec<(u64, u64)>,
}

impl Facts {
    /// Starts a new epoch with its `Opened`; whatever was gathered is dropped.
    pub fn open(&mut self, source: &str, writer: [u8; 16], epoch: u32, at_ms: i64) {
        self.gathered.clear();
        self.records.clear();
        (self.epoch, self.next_seq) = (epoch, 1);
        let opened = Opened { source, writer, epoch: i64::from(epoch), at_ms };
        self.records.push_with(|out| opened.encode(out));
    }

    /// The current epoch.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Gathers `count` orders from `first` on.
    pub fn add(&mut self, stage: CreditStage, reason: &Reason, first: u64, count: u64) {
        let key = (rank(stage), reason.clone());
        let gathered = self.gathered.entry(key).or_insert_with(|| Gathered { stage, ranges: Vec::new() });
        match gathered.ranges.last_mut() {
            Some(last) if last.0 + last.1 == first => last.1 += count,
            _ => gathered.ranges.push((first, count)),
        }
    }

    /// Whether there is nothing to append.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.records.is_empty()
    }

    /// Writes what was gathered as records behind those that wait already, and returns them all.
    pub fn records(&mut self, lane: &str, at_ms: i64) -> &RecordBuf {
        for ((_, reason), mut gathered) in std::mem::take(&mut self.gathered) {
            let reason = cut(&reason, REASON_BYTES_MAX);
            gathered.ranges.sort_unstable();
            for ranges in gathered.ranges.chunks(RANGES_MAX) {
                self.ranges.clear();
                for (first, count) in ranges {
                    if let Some(range) = SeqRange::new(*first as i64, *count as i64) {
                        self.ranges.push(range);
                    }
                }
                let ranges = self.ranges.as_ranges();
                let fact = CreditFact { stage: gathered.stage, lane, at_ms, ranges, reason };
                self.records.push_with(|out| fact.encode(out));
            }
        }
        &self.records
    }

    /// The records that wait and their envelope.
    #[must_use]
    pub fn waiting<'a>(&'a self, source: &'a str) -> (Envelope<'a>, &'a RecordBuf) {
        (Envelope { source, epoch: self.epoch, first_seq: self.next_seq }, &self.records)
    }

    /// The records were appended.
    pub fn appended(&mut self) {
        self.next_seq += self.records.len() as u64;
        self.records.clear();
    }
}

#[cfg(test)]
mod tests {
    use hongbao_schemas::journal::Fact;

    use super::*;

    fn written(facts: &mut Facts) -> Vec<String> {
        let records = facts.records("cash", 7);
        let lines = (0..records.len()).map(|index| match Fact::decode(records.get(index).unwrap()) {
            Ok(Fact::Credit(fact)) => {
                format!("{} {:?} {} {}", fact.stage.as_str(), fact.ranges, fact.reason, fact.at_ms)
            }
            Ok(Fact::Opened(opened)) => format!("opened {} {}", opened.source, opened.epoch),
            other => format!("{other:?}"),
        });
        lines.collect()
    }

    #[test]
    fn facts_cover_sorted_ranges_by_stage_and_reason_intents_last() {
        let mut facts = Facts::default();
        facts.add(CreditStage::Started, &"".into(), 30, 5);
        facts.add(CreditStage::Reported, &"gone".into(), 9, 1);
        facts.add(CreditStage::Credited, &"".into(), 20, 2);
        facts.add(CreditStage::Credited, &"".into(), 22, 1);
        facts.add(CreditStage::Credited, &"".into(), 10, 10);
        facts.add(CreditStage::Unknown, &"timeout".into(), 9, 1);
        facts.add(CreditStage::Unknown, &"cut".into(), 8, 1);
        let expected = [
            "unknown [8..9] cut 7",
            "unknown [9..10] timeout 7",
            "credited [10..23]  7",
            "reported [9..10] gone 7",
            "started [30..35]  7",
        ];
        assert_eq!(written(&mut facts), expected);
    }

    #[test]
    fn an_epoch_begins_with_its_opened_and_numbers_go_on_when_appended() {
        let mut facts = Facts::default();
        facts.add(CreditStage::Credited, &"".into(), 1, 1);
        facts.open("sink.cash", [7; 16], 3, 5);
        assert_eq!(written(&mut facts), ["opened sink.cash 3"]);
        assert_eq!(facts.waiting("sink.cash").0, Envelope { source: "sink.cash", epoch: 3, first_seq: 1 });
        facts.appended();
        facts.add(CreditStage::Started, &"".into(), 1, 1);
        assert_eq!(written(&mut facts).len(), 1);
        facts.add(CreditStage::Credited, &"".into(), 1, 1);
        assert_eq!(written(&mut facts).len(), 2, "what an append refused stays in front");
        assert_eq!(facts.waiting("sink.cash").0.first_seq, 2);
        facts.appended();
        assert_eq!(facts.waiting("sink.cash").0.first_seq, 4);
        assert!(facts.is_empty());
    }
}
