//! The fact that an award became an order: the journal's most frequent record.

use crate::award::Award;
use crate::record::fingerprint;
use crate::wire::{self, DecodeError, HEADER_BYTES, LONG_BYTES_MAX, Reader, put_long, put_str};

const HEADER: [u8; HEADER_BYTES] = wire::header(fingerprint::ACCEPTED);

/// An award became an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted<'a> {
    /// The award as it came.
    pub award: Award<'a>,
    /// The reward type's asset, such as `CNY/2`.
    pub asset: &'a str,
    /// The lane that credits it.
    pub lane: &'a str,
    /// Sequence of the order in `orders.<lane>` of this partition, from 1.
    pub lane_seq: i64,
    /// Offset of the award in `awards` of this partition.
    pub award_offset: i64,
    /// The fold's time at acceptance, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

impl<'a> Accepted<'a> {
    /// Appends the record.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.award.encoded_bytes_max() + 5 * LONG_BYTES_MAX + self.asset.len() + self.lane.len());
        out.extend_from_slice(&HEADER);
        self.award.encode_body(out);
        put_str(out, self.asset);
        put_str(out, self.lane);
        put_long(out, self.lane_seq);
        put_long(out, self.award_offset);
        put_long(out, self.at_ms);
    }

    #[inline]
    pub(crate) fn decode_body(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let award = Award::decode_body(reader)?;
        let [asset, lane] = reader.strs()?;
        Ok(Self {
            award,
            asset,
            lane,
            lane_seq: reader.long()?,
            award_offset: reader.long()?,
            at_ms: reader.long()?,
        })
    }
}
