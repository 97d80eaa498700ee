//! Batches of records as they go into a log ([`RecordBuf`], [`Frame`]) and come out of it
//! ([`ReadBatch`], [`FrameRef`]). Records are opaque bytes.

/// Offset of a record within its topic and partition, from 0.
pub type Offset = u64;

/// CRC-32C of a record, as stored beside an applied offset.
#[must_use]
pub fn crc(record: &[u8]) -> u32 {
    crc32c::crc32c(record)
}

/// Who wrote a frame, and where its records stand in that writer's order for this topic and
/// partition. Records of one frame have consecutive sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The writer, such as `intake` or `sink.cash`, at most 64 bytes of `[a-z0-9_.-]`; empty for
    /// producers, which are not sequenced.
    pub source: &'a str,
    /// The writer's epoch; 0 for pure folds and producers.
    pub epoch: u32,
    /// Sequence of the first record, from 1; 0 for producers.
    pub first_seq: u64,
}

impl Envelope<'static> {
    /// The envelope of producers, which carry no sequence.
    pub const PRODUCER: Self = Self { source: "", epoch: 0, first_seq: 0 };
}

/// Records to append, packed: all bytes in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordBuf {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl RecordBuf {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one record that `write` puts at the end of the buffer it is given. `write` must
    /// only append.
    #[inline]
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len() as u32);
    }

    /// Appends one record.
    #[inline]
    pub fn push(&mut self, record: &[u8]) {
        self.push_with(|bytes| bytes.extend_from_slice(record));
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Size of all records together, in bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of all records, one after the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The end of each record within [`Self::bytes`].
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The record at `index`, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        slice_at(&self.bytes, &self.ends, index)
    }

    /// Drops all records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Drops the first `count` records.
    pub fn drop_front(&mut self, count: usize) {
        let Some(cut) = count.checked_sub(1).and_then(|last| self.ends.get(last).copied()) else {
            return;
        };
        self.bytes.drain(..cut as usize);
        self.ends.drain(..count);
        for end in &mut self.ends {
            *end -= cut;
        }
    }
}

fn slice_at<'a>(bytes: &'a [u8], ends: &[u32], index: usize) -> Option<&'a [u8]> {
    let end = *ends.get(index)? as usize;
    let start = match index.checked_sub(1) {
        Some(before) => *ends.get(before)? as usize,
        None => 0,
    };
    bytes.get(start..end)
}

/// Records of one topic to append, part of a group.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Topic name, 1 to 64 bytes of `[a-z0-9_.-]`.
    pub topic: &'a str,
    /// Writer and sequence.
    pub envelope: Envelope<'a>,
    /// The records, at least one.
    pub records: &'a RecordBuf,
}

/// Frames of one topic read from a log; reused from read to read.
#[derive(Debug, Default)]
pub struct ReadBatch {
    frames: Vec<OwnedFrame>,
    used: usize,
}

/// One frame's storage inside a [`ReadBatch`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedFrame {
    /// Writer, as in [`Envelope::source`].
    pub source: String,
    /// Writer's epoch.
    pub epoch: u32,
    /// Sequence of the first record; 0 when not sequenced.
    pub first_seq: u64,
    /// Offset of the first record.
    pub first_offset: Offset,
    /// When the frame was appended, in milliseconds since the Unix epoch by the log's clock.
    pub appended_at_ms: i64,
    /// The records' bytes, one after the other.
    pub bytes: Vec<u8>,
    /// End of each record within `bytes`.
    pub ends: Vec<u32>,
}

impl OwnedFrame {
    /// The frame as readers see it.
    #[must_use]
    pub fn view(&self) -> FrameRef<'_> {
        FrameRef { frame: self, skip: 0 }
    }
}

impl ReadBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Drops all frames and keeps the memory.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Adds an empty frame to fill, reusing memory. For log adapters.
    pub fn next_frame(&mut self) -> &mut OwnedFrame {
        if self.used == self.frames.len() {
            self.frames.push(OwnedFrame::default());
        }
        let frame = &mut self.frames[self.used];
        self.used += 1;
        frame.source.clear();
        frame.bytes.clear();
        frame.ends.clear();
        frame
    }

    /// The frames, by ascending offset.
    pub fn frames(&self) -> impl Iterator<Item = FrameRef<'_>> {
        self.frames[..self.used].iter().map(OwnedFrame::view)
    }

    /// Number of frames.
    #[must_use]
    pub fn frame_count(&self) -> usize {
        self.used
    }

    /// The frame at `index`, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<FrameRef<'_>> {
        self.frames[..self.used].get(index).map(OwnedFrame::view)
    }

    /// Number of records in all frames.
    #[must_use]
    pub fn record_count(&self) -> usize {
        self.frames[..self.used].iter().map(|frame| frame.ends.len()).sum()
    }

    /// Whether nothing was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Offset after the last record read, if any was.
    #[must_use]
    pub fn next_offset(&self) -> Option<Offset> {
        self.frames[..self.used].last().map(|frame| frame.first_offset + frame.ends.len() as u64)
    }
}

/// A frame, or its later part, as read.
#[derive(Clone, Copy, Debug)]
pub struct FrameRef<'a> {
    frame: &'a OwnedFrame,
    skip: usize,
}

impl<'a> FrameRef<'a> {
    /// Writer and sequence of the first record of this view.
    #[must_use]
    pub fn envelope(&self) -> Envelope<'a> {
        let sequenced = self.frame.first_seq > 0;
        Envelope {
            source: &self.frame.source,
            epoch: self.frame.epoch,
            first_seq: if sequenced { self.frame.first_seq + self.skip as u64 } else { 0 },
        }
    }

    /// Offset of the first record of this view.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        self.frame.first_offset + self.skip as u64
    }

    /// When the frame was appended, milliseconds since the Unix epoch.
    #[must_use]
    pub fn appended_at_ms(&self) -> i64 {
        self.frame.appended_at_ms
    }

    /// Number of records in this view.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frame.ends.len() - self.skip
    }

    /// Whether no record is left in this view.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same frame without its first `count` records.
    #[must_use]
    pub fn skipping(self, count: usize) -> Self {
        Self { frame: self.frame, skip: (self.skip + count).min(self.frame.ends.len()) }
    }

    /// A copy of the records of this view, to keep beyond the batch.
    #[must_use]
    pub fn to_owned_frame(self) -> OwnedFrame {
        let cut = match self.skip.checked_sub(1) {
            Some(last) => self.frame.ends[last],
            None => 0,
        };
        let envelope = self.envelope();
        OwnedFrame {
            source: envelope.source.to_owned(),
            epoch: envelope.epoch,
            first_seq: envelope.first_seq,
            first_offset: self.first_offset(),
            appended_at_ms: self.frame.appended_at_ms,
            bytes: self.frame.bytes[cut as usize..].to_vec(),
            ends: self.frame.ends[self.skip..].iter().map(|end| end - cut).collect(),
        }
    }

    /// The record at `index` of this view.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        slice_at(&self.frame.bytes, &self.frame.ends, index + self.skip)
    }

    /// The records with their offsets.
    pub fn records(self) -> impl Iterator<Item = (Offset, &'a [u8])> {
        let first = self.first_offset();
        (0..self.len()).filter_map(move |index| Some((first + index as u64, self.get(index)?)))
    }
}
