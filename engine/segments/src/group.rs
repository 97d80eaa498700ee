//! A group of frames on its way into a segment.

use std::io::IoSlice;
use std::ops::Range;

use hongbao_engine::records::{Frame, Offset};

use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, Identity, Name, payload_crc};
use crate::index::Entry;
use crate::wire::{ALIGNMENT, aligned};

/// Where a group is put.
pub(crate) struct Place<'a> {
    pub(crate) identity: Identity,
    /// In the file.
    pub(crate) at: u64,
    /// In the stream.
    pub(crate) position: u64,
    pub(crate) durable: u64,
    /// Header CRC of the frame before.
    pub(crate) previous: u32,
    pub(crate) appended_at_ms: i64,
    /// Of each frame.
    pub(crate) first_offsets: &'a [Offset],
}

/// A group whose payloads are checked and whose headers wait for its place. Made before the
/// partition is locked: the checksums are most of the work.
pub(crate) struct Draft<'a> {
    group: &'a [Frame<'a>],
    /// Header and record ends of each frame.
    heads: Vec<u8>,
    parts: Vec<Part>,
}

struct Part {
    head: Range<usize>,
    payload_crc: u32,
    /// From the start of the group.
    at: u64,
    len: u64,
}

fn frame_len(frame: &Frame<'_>) -> u64 {
    (FRAME_HEADER_BYTES + 4 * frame.records.len() + frame.records.byte_len()) as u64
}

/// Bytes a group takes in a segment.
pub(crate) fn group_len(group: &[Frame<'_>]) -> u64 {
    group.iter().map(|frame| aligned(frame_len(frame))).sum()
}

impl<'a> Draft<'a> {
    /// The group must have been checked, and be below 4 GiB.
    pub(crate) fn new(group: &'a [Frame<'a>]) -> Self {
        let heads_len = group.iter().map(|frame| FRAME_HEADER_BYTES + 4 * frame.records.len()).sum();
        let mut heads = Vec::with_capacity(heads_len);
        let mut parts = Vec::with_capacity(group.len());
        let mut at = 0;
        for frame in group {
            let start = heads.len();
            heads.resize(start + FRAME_HEADER_BYTES, 0);
            for end in frame.records.ends() {
                heads.extend_from_slice(&end.to_le_bytes());
            }
            let payload_crc = payload_crc(&heads[start + FRAME_HEADER_BYTES..], frame.records.bytes());
            let len = frame_len(frame);
            parts.push(Part { head: start..heads.len(), payload_crc, at, len });
            at += aligned(len);
        }
        Self { group, heads, parts }
    }

    /// Writes the headers. Returns where each frame will be, and the header CRC of the last.
    pub(crate) fn place(&mut self, place: &Place<'_>) -> (Vec<Entry>, u32) {
        let mut previous = place.previous;
        let mut entries = Vec::with_capacity(self.parts.len());
        let count = self.parts.len();
        for (index, (frame, part)) in self.group.iter().zip(&self.parts).enumerate() {
            let header = FrameHeader {
                identity: place.identity,
                previous,
                payload_crc: part.payload_crc,
                frames_after: (count - 1 - index) as u32,
                position: place.position + part.at,
                durable: place.durable,
                first_offset: place.first_offsets[index],
                first_seq: frame.envelope.first_seq,
                appended_at_ms: place.appended_at_ms,
                epoch: frame.envelope.epoch,
                record_count: frame.records.len() as u32,
                bytes_len: frame.records.byte_len() as u32,
                topic: Name::new(frame.topic),
                source: Name::new(frame.envelope.source),
            };
            previous = header.encode(&mut self.heads[part.head.clone()]);
            entries.push(Entry::new(&header, place.at + part.at));
        }
        (entries, previous)
    }

    /// The bytes to write, in order.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        static ZEROS: [u8; ALIGNMENT as usize] = [0; ALIGNMENT as usize];
        let mut slices = Vec::with_capacity(3 * self.parts.len());
        for (frame, part) in self.group.iter().zip(&self.parts) {
            let padding = (aligned(part.len) - part.len) as usize;
            slices.push(IoSlice::new(&self.heads[part.head.clone()]));
            slices.push(IoSlice::new(frame.records.bytes()));
            slices.push(IoSlice::new(&ZEROS[..padding]));
        }
        slices
    }
}

/// The frame that a clean close leaves: it holds nothing and says that all before it is durable,
/// so that damage to the last groups is told from a torn write.
pub(crate) fn closing_frame(place: &Place<'_>) -> (Vec<u8>, u32) {
    let header = FrameHeader {
        identity: place.identity,
        previous: place.previous,
        payload_crc: payload_crc(&[], &[]),
        frames_after: 0,
        position: place.position,
        durable: place.position,
        first_offset: 0,
        first_seq: 0,
        appended_at_ms: place.appended_at_ms,
        epoch: 0,
        record_count: 0,
        bytes_len: 0,
        topic: Name::new(""),
        source: Name::new(""),
    };
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    let crc = header.encode(&mut bytes);
    (bytes, crc)
}
