//! An accepted order, as it waits in the topic of its lane.

use crate::record::fingerprint;
use crate::wire::{self, DecodeError, HEADER_BYTES, LONG_BYTES_MAX, put_long, put_str};

const HEADER: [u8; HEADER_BYTES] = wire::header(fingerprint::ORDER);

/// What a downstream needs to know of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order<'a> {
    /// The order number.
    pub order_no: &'a str,
    /// The person.
    pub act_id: &'a str,
    /// The reward type.
    pub reward_type: &'a str,
    /// Coupon template, pendant; may be empty.
    pub reward_id: &'a str,
    /// The reward type's asset at acceptance, such as `CNY/2`.
    pub asset: &'a str,
    /// In the asset's minor unit, above zero.
    pub amount_minor: i64,
    /// The fold's time at acceptance, in milliseconds since the Unix epoch.
    pub accepted_at_ms: i64,
}

impl<'a> Order<'a> {
    /// Appends the record.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(
            HEADER_BYTES
                + 7 * LONG_BYTES_MAX
                + self.order_no.len()
                + self.act_id.len()
                + self.reward_type.len()
                + self.reward_id.len()
                + self.asset.len(),
        );
        out.extend_from_slice(&HEADER);
        put_str(out, self.order_no);
        put_str(out, self.act_id);
        put_str(out, self.reward_type);
        put_str(out, self.reward_id);
        put_str(out, self.asset);
        put_long(out, self.amount_minor);
        put_long(out, self.accepted_at_ms);
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`DecodeError`].
    #[inline]
    pub fn decode(record: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = wire::open_as(record, fingerprint::ORDER)?;
        let [order_no, act_id, reward_type, reward_id, asset] = reader.strs()?;
        let order = Self {
            order_no,
            act_id,
            reward_type,
            reward_id,
            asset,
            amount_minor: reader.long()?,
            accepted_at_ms: reader.long()?,
        };
        reader.finish()?;
        Ok(order)
    }
}
