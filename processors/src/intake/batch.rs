//! A batch of input records, decoded: fields borrow from the frames, and what depends on neither
//! settings nor earlier records is settled.

use hongbao_engine::mutant;
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_engine::records::{FrameRef, Offset};
use hongbao_schemas::award::Award;
use hongbao_schemas::control::{Control, ControlKey, Input, decode_input};
use hongbao_schemas::order_no::OrderNo;
use hongbao_schemas::refusal::Refusal;

/// Code of a record that stands in another partition than its own.
const WRONG_PARTITION: &str = "wrong_partition";

/// One input record.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) offset: Offset,
    pub(super) bytes: &'a [u8],
    pub(super) content: Content<'a>,
}

/// What a record holds.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Award(Candidate<'a>),
    /// Sealed, and for this partition.
    Control(Control<'a>),
    /// Not to be decided, with the code that says why.
    Dead(&'static str),
}

/// An award of this partition.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) award: Award<'a>,
    /// The seat of its order number's key among the batch's keys, or what speaks against the order
    /// number, the first refusals in their order.
    pub(super) seat: Result<usize, Refusal>,
}

/// Who reads: what a record must fit to be decided.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) partition: Partition,
    pub(super) partitions: u16,
    pub(super) control_key: ControlKey,
}

/// Decoded records with the keys of their order numbers, one after the other.
#[derive(Debug, Default)]
pub(super) struct Batch<'a> {
    pub(super) records: Vec<Record<'a>>,
    keys: Keys,
}

/// Keys of order numbers, one after the other.
#[derive(Debug, Default)]
struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    /// Adds the key of an order number and returns its seat.
    #[inline]
    fn add(&mut self, order_no: &OrderNo<'_>) -> usize {
        let begins = self.bytes.len();
        order_no.store_key(&mut self.bytes);
        if mutant!(M80) {
            self.bytes.truncate(begins);
            let rest = [order_no.scene_id(), order_no.rain_id(), order_no.award_type(), order_no.stage()];
            self.bytes.extend(rest.join("_").bytes());
        }
        if mutant!(M81) {
            self.bytes.truncate(begins);
            self.bytes.extend([order_no.act_id(), order_no.scene_id()].join("_").bytes());
        }
        self.ends.push(self.bytes.len());
        self.ends.len() - 1
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

impl<'a> Batch<'a> {
    /// Adds the records of `frames`.
    pub(super) fn decode(&mut self, reader: &Reader, frames: &[FrameRef<'a>]) {
        self.records.reserve(frames.iter().map(FrameRef::len).sum());
        for frame in frames {
            for (offset, bytes) in frame.records() {
                let content = reader.read(bytes, &mut self.keys);
                self.records.push(Record { offset, bytes, content });
            }
        }
        if mutant!(M77) {
            self.records.sort_unstable_by_key(|record| hongbao_engine::records::crc(record.bytes));
        }
    }

    /// The keys that may have to be looked up, by seat.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.keys.ends.iter().copied());
        starts.zip(&self.keys.ends).map(|(start, end)| &self.keys.bytes[start..*end])
    }

    /// An empty batch with the memory of this one.
    pub(super) fn emptied(mut self) -> Batch<'static> {
        self.records.clear();
        self.keys.clear();
        // Collects nothing, in place: the same memory with another lifetime.
        let records = self.records.into_iter().map_while(|_| None).collect();
        Batch { records, keys: self.keys }
    }
}

impl Reader {
    #[inline]
    fn read<'a>(&self, bytes: &'a [u8], keys: &mut Keys) -> Content<'a> {
        match decode_input(bytes, &self.control_key) {
            Ok(Input::Award(award)) => self.candidate(award, keys),
            Ok(Input::Control(control)) if control.partition == self.partition.0 => Content::Control(control),
            Ok(Input::Control(_)) => Content::Dead(WRONG_PARTITION),
            Err(error) => Content::Dead(error.code()),
        }
    }

    #[inline]
    fn candidate<'a>(&self, award: Award<'a>, keys: &mut Keys) -> Content<'a> {
        if partition_of(award.act_id.as_bytes(), self.partitions) != self.partition && !mutant!(M24) {
            return Content::Dead(WRONG_PARTITION);
        }
        let seat = match OrderNo::parse(award.order_no) {
            Err(_) => Err(Refusal::MalformedOrderNo),
            Ok(order_no) if order_no.act_id() != award.act_id && !mutant!(M25) => {
                Err(Refusal::OrderNoActIdMismatch)
            }
            Ok(order_no) if order_no.scene_id() != award.scene_id => Err(Refusal::OrderNoSceneMismatch),
            Ok(order_no) => Ok(keys.add(&order_no)),
        };
        Content::Award(Candidate { award, seat })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_batch_keeps_its_memory() {
        let mut batch = Batch::default();
        for offset in 0..100 {
            batch.records.push(Record { offset, bytes: b"", content: Content::Dead("") });
        }
        batch.keys.bytes.resize(100, 0);
        let before = (batch.records.capacity(), batch.records.as_ptr().addr(), batch.keys.bytes.capacity());
        let emptied = batch.emptied();
        assert!(emptied.records.is_empty() && emptied.keys.bytes.is_empty());
        let after =
            (emptied.records.capacity(), emptied.records.as_ptr().addr(), emptied.keys.bytes.capacity());
        assert_eq!(after, before);
    }
}
