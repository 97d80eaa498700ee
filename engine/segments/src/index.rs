//! Where the frames of one segment are, by topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use hongbao_engine::records::Offset;

use crate::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::wire::{NUMBER_MAX, Take, put_name};

/// Encoded size of an [`Entry`], which is also its size in memory.
pub(crate) const ENTRY_BYTES: usize = 32;

/// Where one frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) first_offset: Offset,
    /// Place in the file.
    pub(crate) at: u64,
    pub(crate) appended_at_ms: i64,
    pub(crate) record_count: u32,
    /// Bytes without padding.
    pub(crate) len: u32,
}

impl Entry {
    pub(crate) fn new(header: &FrameHeader, at: u64) -> Self {
        Self {
            first_offset: header.first_offset,
            at,
            appended_at_ms: header.appended_at_ms,
            record_count: header.record_count,
            len: header.len() as u32,
        }
    }

    /// First offset after this frame.
    pub(crate) fn end_offset(&self) -> Offset {
        self.first_offset + u64::from(self.record_count)
    }

    pub(crate) fn head_len(&self) -> usize {
        FRAME_HEADER_BYTES + 4 * self.record_count as usize
    }

    /// Bytes of the records alone.
    pub(crate) fn record_bytes(&self) -> usize {
        (self.len as usize).saturating_sub(self.head_len())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.first_offset.to_le_bytes());
        out.extend_from_slice(&self.at.to_le_bytes());
        out.extend_from_slice(&self.appended_at_ms.to_le_bytes());
        out.extend_from_slice(&self.record_count.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
    }

    fn decode(take: &mut Take<'_>) -> Option<Self> {
        Some(Self {
            first_offset: take.u64().filter(|offset| *offset < NUMBER_MAX)?,
            at: take.u64()?,
            appended_at_ms: take.u64()?.cast_signed(),
            record_count: take.u32()?,
            len: take.u32()?,
        })
    }
}

/// The frames of one segment by topic, each topic's in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameIndex {
    topics: BTreeMap<Arc<str>, Vec<Entry>>,
    encoded_len: usize,
}

impl FrameIndex {
    pub(crate) fn push(&mut self, topic: &str, entry: Entry) {
        match self.topics.get_mut(topic) {
            Some(entries) => entries.push(entry),
            None => {
                self.topics.insert(topic.into(), vec![entry]);
                self.encoded_len += 5 + topic.len();
            }
        }
        self.encoded_len += ENTRY_BYTES;
    }

    pub(crate) fn entries(&self, topic: &str) -> &[Entry] {
        self.topics.get(topic).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = (&Arc<str>, &[Entry])> {
        self.topics.iter().map(|(topic, entries)| (topic, entries.as_slice()))
    }

    /// Size of [`FrameIndex::encode`]; about the size in memory as well.
    pub(crate) fn encoded_len(&self) -> usize {
        4 + self.encoded_len
    }

    /// Most that a group of `frames` adds to [`FrameIndex::encoded_len`].
    pub(crate) fn growth_max(frames: usize) -> usize {
        frames * (ENTRY_BYTES + 5 + hongbao_engine::log::NAME_BYTES_MAX)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.extend_from_slice(&(self.topics.len() as u32).to_le_bytes());
        for (topic, entries) in &self.topics {
            put_name(&mut out, topic);
            out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
            for entry in entries {
                entry.encode(&mut out);
            }
        }
        out
    }

    /// Whether all frames lie before `end` in the file, and are as long as what they say they hold.
    pub(crate) fn lies_before(&self, end: u64) -> bool {
        let fits = |entry: &Entry| {
            let frame_end = entry.at.checked_add(u64::from(entry.len));
            entry.head_len() <= entry.len as usize && frame_end.is_some_and(|frame_end| frame_end <= end)
        };
        self.topics.values().flatten().all(fits)
    }

    /// `None` when the bytes are not an index as a whole.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        let mut index = Self::default();
        for _ in 0..take.u32()? {
            let topic: Arc<str> = take.name()?.into();
            let count = take.u32()? as usize;
            // Bounds the allocation by what is there.
            let mut entries = Take(take.bytes(count.checked_mul(ENTRY_BYTES)?)?);
            let list = (0..count).map(|_| Entry::decode(&mut entries)).collect::<Option<Vec<_>>>()?;
            index.encoded_len += 5 + topic.len() + count * ENTRY_BYTES;
            index.topics.insert(topic, list);
        }
        (take.0.is_empty() && index.encoded_len() == bytes.len()).then_some(index)
    }

    /// The frames of a topic to read: from the one that holds `from`, all of them below `end`, up
    /// to about `max_bytes` of records and at least one.
    pub(crate) fn select(&self, topic: &str, from: Offset, end: Offset, max_bytes: usize) -> Vec<Entry> {
        let entries = self.entries(topic);
        let first = entries.partition_point(|entry| entry.end_offset() <= from);
        let mut bytes = 0;
        let mut selected = Vec::new();
        for entry in &entries[first..] {
            bytes += entry.record_bytes();
            if entry.end_offset() > end || (!selected.is_empty() && bytes > max_bytes) {
                break;
            }
            selected.push(*entry);
        }
        selected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> FrameIndex {
        let mut index = FrameIndex::default();
        for number in 0..10_u64 {
            let len = (FRAME_HEADER_BYTES + 8 + 100) as u32;
            let entry =
                Entry { first_offset: number * 2, at: number, appended_at_ms: -1, record_count: 2, len };
            index.push(if number < 7 { "journal" } else { "orders.cash" }, entry);
        }
        index
    }

    #[test]
    fn is_read_as_written_or_not_at_all() {
        for index in [index(), FrameIndex::default()] {
            let bytes = index.encode();
            assert_eq!(bytes.len(), index.encoded_len());
            assert_eq!(FrameIndex::decode(&bytes), Some(index));
            for len in 0..bytes.len() {
                assert_eq!(FrameIndex::decode(&bytes[..len]), None, "{len} bytes");
            }
            assert_eq!(FrameIndex::decode(&[bytes, vec![0]].concat()), None);
        }
        assert_eq!(FrameIndex::decode(&[0xff; 40]), None, "counts beyond what is there");
    }

    #[test]
    fn frames_beyond_the_end_or_shorter_than_their_head_are_seen() {
        let good = Entry { first_offset: 0, at: 64, appended_at_ms: 0, record_count: 2, len: 300 };
        let cases = [
            (good, 364, true),
            (good, 363, false),
            (Entry { at: u64::MAX, ..good }, 364, false),
            (Entry { record_count: u32::MAX, ..good }, 364, false),
            (Entry { len: u32::MAX, ..good }, 364, false),
        ];
        for (entry, end, expected) in cases {
            let mut index = FrameIndex::default();
            index.push("journal", entry);
            assert_eq!(index.lies_before(end), expected, "{entry:?} before {end}");
        }
        let mut index = FrameIndex::default();
        index.push("journal", Entry { first_offset: NUMBER_MAX, ..good });
        assert_eq!(FrameIndex::decode(&index.encode()), None, "offsets beyond all bounds");
    }

    #[test]
    fn selects_whole_frames_below_the_end() {
        let cases = [
            ((0, 14, usize::MAX), 0..7),
            ((0, 14, 0), 0..1),
            ((0, 14, 200), 0..2),
            ((0, 14, 299), 0..2),
            ((3, 14, 300), 1..4),
            ((4, 10, usize::MAX), 2..5),
            ((4, 11, usize::MAX), 2..5),
            ((14, 14, usize::MAX), 0..0),
            ((0, 0, usize::MAX), 0..0),
        ];
        for ((from, end, max_bytes), expected) in cases {
            let found: Vec<u64> =
                index().select("journal", from, end, max_bytes).iter().map(|entry| entry.at).collect();
            assert_eq!(found, expected.collect::<Vec<_>>(), "from {from}, end {end}, {max_bytes} bytes");
        }
        assert!(index().select("unknown", 0, 100, 100).is_empty());
    }
}
