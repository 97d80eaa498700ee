//! Facts of one lane and partition on their way to the journal: gathered by stage and reason,
//! written as records that cover ranges, numbered by epoch (rule 3).

use std::collections::{BTreeMap, VecDeque};

use hongbao_engine::records::{Envelope, RecordBuf};
use hongbao_schemas::journal::{CreditFact, CreditStage, Opened, RangesBuf, SeqRange};
use hongbao_schemas::limits::cut;

use crate::downstream::{REASON_BYTES_MAX, Reason};

/// Most ranges in one record, which so has at most about 80 KiB.
const RANGES_MAX: usize = 4096;
/// A chunk of records is closed when it has so many bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// The order in which facts of one step are written. An order has at most one of each kind in a
/// step: what became of an attempt, how it ended, the next intent.
const fn rank(stage: CreditStage) -> u8 {
    match stage {
        CreditStage::Unknown => 0,
        CreditStage::Deferred | CreditStage::Withdrawn => 1,
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
    /// Records in order, in chunks that are appended one by one, so that the facts of one step fit
    /// the log however many they are.
    chunks: VecDeque<RecordBuf>,
    spare: RecordBuf,
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
        self.chunks.clear();
        (self.epoch, self.next_seq) = (epoch, 1);
        let opened = Opened { source, writer, epoch: i64::from(epoch), at_ms };
        self.push_with(|out| opened.encode(out));
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
        self.gathered.is_empty() && self.chunks.is_empty()
    }

    /// Writes what was gathered as records behind those that wait already.
    pub fn write(&mut self, lane: &str, at_ms: i64) {
        for ((_, reason), mut gathered) in std::mem::take(&mut self.gathered) {
            let reason = cut(&reason, REASON_BYTES_MAX);
            gathered.ranges.sort_unstable();
            let mut buffer = std::mem::take(&mut self.ranges);
            for ranges in gathered.ranges.chunks(RANGES_MAX) {
                buffer.clear();
                for (first, count) in ranges {
                    if let Some(range) = SeqRange::new(*first as i64, *count as i64) {
                        buffer.push(range);
                    }
                }
                let ranges = buffer.as_ranges();
                let fact = CreditFact { stage: gathered.stage, lane, at_ms, ranges, reason };
                self.push_with(|out| fact.encode(out));
            }
            self.ranges = buffer;
        }
    }

    fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(chunk) = self.chunks.back_mut().filter(|chunk| chunk.byte_len() < CHUNK_BYTES) {
            return chunk.push_with(write);
        }
        let mut chunk = std::mem::take(&mut self.spare);
        chunk.push_with(write);
        self.chunks.push_back(chunk);
    }

    /// The first records that wait, and their envelope; none when everything that was written is
    /// appended.
    #[must_use]
    pub fn waiting<'a>(&'a self, source: &'a str) -> Option<(Envelope<'a>, &'a RecordBuf)> {
        let chunk = self.chunks.front()?;
        Some((Envelope { source, epoch: self.epoch, first_seq: self.next_seq }, chunk))
    }

    /// Bytes of the first records that wait; none as [`Facts::waiting`].
    #[must_use]
    pub fn waiting_bytes(&self) -> Option<usize> {
        Some(self.chunks.front()?.byte_len())
    }

    /// The records that [`Facts::waiting`] gave were appended.
    pub fn appended(&mut self) {
        let Some(mut chunk) = self.chunks.pop_front() else { return };
        self.next_seq += chunk.len() as u64;
        chunk.clear();
        self.spare = chunk;
    }
}

#[cfg(test)]
mod tests {
    use hongbao_schemas::journal::Fact;

    use super::*;

    fn written(facts: &mut Facts) -> Vec<String> {
        facts.write("cash", 7);
        let all = facts.chunks.iter().flat_map(|chunk| (0..chunk.len()).map(|index| chunk.get(index)));
        let lines = all.map(|record| match Fact::decode(record.unwrap()) {
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
        let first_seq = |facts: &Facts| facts.waiting("sink.cash").map(|(envelope, _)| envelope.first_seq);
        let envelope = Envelope { source: "sink.cash", epoch: 3, first_seq: 1 };
        assert_eq!(facts.waiting("sink.cash").unwrap().0, envelope);
        facts.appended();
        facts.add(CreditStage::Started, &"".into(), 1, 1);
        assert_eq!(written(&mut facts).len(), 1);
        facts.add(CreditStage::Credited, &"".into(), 1, 1);
        assert_eq!(written(&mut facts).len(), 2, "what an append refused stays in front");
        assert_eq!(first_seq(&facts), Some(2));
        facts.appended();
        assert!(facts.is_empty());
        facts.add(CreditStage::Credited, &"".into(), 2, 1);
        written(&mut facts);
        assert_eq!(first_seq(&facts), Some(4));
    }

    #[test]
    fn many_facts_wait_in_chunks_numbered_one_after_the_other() {
        let mut facts = Facts::default();
        facts.open("sink.cash", [7; 16], 1, 5);
        for seq in 0..10_000 {
            facts.add(CreditStage::Unknown, &format!("{seq:0100}").into(), seq, 1);
        }
        assert_eq!(written(&mut facts).len(), 10_001);
        let (mut next, mut chunks) = (1, 0);
        while let Some((envelope, records)) = facts.waiting("sink.cash") {
            assert_eq!(envelope.first_seq, next);
            assert!(records.byte_len() < CHUNK_BYTES + 1_000);
            next += records.len() as u64;
            chunks += 1;
            facts.appended();
        }
        assert_eq!((next, facts.is_empty()), (10_002, true));
        assert!(chunks > 4, "{chunks}");
    }
}
