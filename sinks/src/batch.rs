//! Orders as they travel to a downstream: raw `Order` records in shared memory, so that a batch of
//! a thousand orders costs one small allocation.

use std::sync::Arc;

use hongbao_engine::mutant;
use hongbao_engine::partition::Partition;

/// Consecutive orders of one lane and partition, as read from the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderChunk {
    first_seq: u64,
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl OrderChunk {
    /// An empty chunk whose first order will have lane sequence `first_seq`.
    #[must_use]
    pub fn starting_at(first_seq: u64) -> Self {
        Self { first_seq, bytes: Vec::new(), ends: Vec::new() }
    }

    /// Appends the next order's record.
    #[inline]
    pub fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len() as u32);
    }

    /// Makes room for `records` more records of `bytes` together.
    pub fn reserve(&mut self, records: usize, bytes: usize) {
        self.ends.reserve(records);
        self.bytes.reserve(bytes);
    }

    /// Lane sequence of the first order.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Number of orders.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no order.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The record at `index`, if there is one.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.bytes.get(start..end)
    }
}

/// A part of a [`Batch`].
#[derive(Clone, Debug)]
pub enum Part {
    /// Orders `from..to` of a chunk.
    Run {
        /// Where the records are.
        chunk: Arc<OrderChunk>,
        /// Index of the first order taken.
        from: u32,
        /// Index after the last order taken.
        to: u32,
    },
    /// One order kept on its own since an attempt of it did not end well.
    One {
        /// Its lane sequence.
        seq: u64,
        /// Its record.
        record: Arc<[u8]>,
    },
}

impl Part {
    /// Number of orders.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Run { from, to, .. } => (to - from) as usize,
            Self::One { .. } => 1,
        }
    }

    /// Whether there is no order.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lane sequence of the first order.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        match self {
            Self::Run { chunk, from, .. } => chunk.first_seq() + u64::from(*from),
            Self::One { seq, .. } => *seq,
        }
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        match self {
            Self::Run { chunk, from, to } => {
                let at = *from as usize + if mutant!(M98) { 0 } else { index };
                (at < *to as usize).then(|| chunk.get(at)).flatten()
            }
            Self::One { record, .. } => (index == 0).then_some(record),
        }
    }
}

/// Orders of one lane and partition that are sent together. Cheap to clone; the bytes are shared
/// and never change, so every attempt of an order sends the same bytes (I13).
#[derive(Clone, Debug)]
pub struct Batch(Arc<BatchInner>);

#[derive(Debug)]
struct BatchInner {
    lane: Arc<str>,
    partition: Partition,
    parts: Vec<Part>,
    len: usize,
}

impl Batch {
    /// A batch of `parts`, in this order.
    #[must_use]
    pub fn new(lane: Arc<str>, partition: Partition, parts: Vec<Part>) -> Self {
        let len = parts.iter().map(Part::len).sum();
        Self(Arc::new(BatchInner { lane, partition, parts, len }))
    }

    /// The lane.
    #[must_use]
    pub fn lane(&self) -> &str {
        &self.0.lane
    }

    /// The partition that all orders belong to.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.0.partition
    }

    /// Number of orders.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there is no order.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The parts, in order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0.parts
    }

    /// The encoded `Order` records, in order.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.0.parts.iter().flat_map(|part| (0..part.len()).filter_map(move |index| part.get(index)))
    }

    /// Lane sequence and record of each order, in order.
    pub fn orders(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.0.parts.iter().flat_map(|part| {
            let first = part.first_seq();
            (0..part.len()).filter_map(move |index| Some((first + index as u64, part.get(index)?)))
        })
    }

    /// The lane sequences as `(first, count)`, neighbours merged.
    #[must_use]
    pub fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::with_capacity(1);
        for part in &self.0.parts {
            let (first, count) = (part.first_seq(), part.len() as u64);
            match ranges.last_mut() {
                Some(last) if last.0 + last.1 == first => last.1 += count,
                _ => ranges.push((first, count)),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(first_seq: u64, records: &[&str]) -> Arc<OrderChunk> {
        let mut chunk = OrderChunk::starting_at(first_seq);
        for record in records {
            chunk.push(record.as_bytes());
        }
        Arc::new(chunk)
    }

    #[test]
    fn a_batch_shows_its_orders_in_order_with_their_sequences() {
        let parts = vec![
            Part::Run { chunk: chunk(10, &["a", "bb", "", "d"]), from: 1, to: 4 },
            Part::Run { chunk: chunk(14, &["e", "f"]), from: 0, to: 1 },
            Part::One { seq: 20, record: b"z".as_slice().into() },
        ];
        let batch = Batch::new("cash".into(), Partition(3), parts);

        assert_eq!(batch.len(), 5);
        let orders: Vec<(u64, &[u8])> = batch.orders().collect();
        assert_eq!(orders, [(11, &b"bb"[..]), (12, b""), (13, b"d"), (14, b"e"), (20, b"z")]);
        assert_eq!(batch.records().collect::<Vec<_>>(), [&b"bb"[..], b"", b"d", b"e", b"z"]);
        assert_eq!(batch.ranges(), [(11, 4), (20, 1)]);
    }
}
