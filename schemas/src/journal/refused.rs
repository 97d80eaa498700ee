//! The facts that an award was not taken. Strings of the award are cut to
//! [`FACT_TEXT_BYTES_MAX`] bytes when they are written.

use crate::award::Award;
use crate::limits::{FACT_TEXT_BYTES_MAX, cut};
use crate::record::fingerprint;
use crate::refusal::Refusal;
use crate::wire::{self, DecodeError, HEADER_BYTES, Reader, put_long, put_str};

const REJECTED: [u8; HEADER_BYTES] = wire::header(fingerprint::REJECTED);
const CONFLICT: [u8; HEADER_BYTES] = wire::header(fingerprint::CONFLICT);

/// An award was refused; its order number is not used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected<'a> {
    /// See [`Award::order_no`].
    pub order_no: &'a str,
    /// See [`Award::act_id`].
    pub act_id: &'a str,
    /// See [`Award::activity_id`].
    pub activity_id: &'a str,
    /// See [`Award::scene_id`].
    pub scene_id: &'a str,
    /// See [`Award::reward_type`].
    pub reward_type: &'a str,
    /// See [`Award::reward_id`].
    pub reward_id: &'a str,
    /// See [`Award::amount_minor`].
    pub amount_minor: i64,
    /// A [`Refusal::code`].
    pub code: &'a str,
    /// Offset of the award in `awards` of this partition.
    pub award_offset: i64,
    /// The fold's time, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

impl<'a> Rejected<'a> {
    /// The fact that `award` was refused.
    #[must_use]
    pub const fn of(award: &Award<'a>, refusal: Refusal, award_offset: i64, at_ms: i64) -> Self {
        Self {
            order_no: award.order_no,
            act_id: award.act_id,
            activity_id: award.activity_id,
            scene_id: award.scene_id,
            reward_type: award.reward_type,
            reward_id: award.reward_id,
            amount_minor: award.amount_minor,
            code: refusal.code(),
            award_offset,
            at_ms,
        }
    }

    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&REJECTED);
        put_cut(
            out,
            [self.order_no, self.act_id, self.activity_id, self.scene_id, self.reward_type, self.reward_id],
        );
        put_long(out, self.amount_minor);
        put_cut(out, [self.code]);
        put_long(out, self.award_offset);
        put_long(out, self.at_ms);
    }

    pub(crate) fn decode_body(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let [order_no, act_id, activity_id, scene_id, reward_type, reward_id] = reader.strs()?;
        Ok(Self {
            order_no,
            act_id,
            activity_id,
            scene_id,
            reward_type,
            reward_id,
            amount_minor: reader.long()?,
            code: reader.str()?,
            award_offset: reader.long()?,
            at_ms: reader.long()?,
        })
    }
}

/// An accepted order number came again with another payload, which stands here; the first one
/// stays in force (I3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict<'a> {
    /// See [`Award::order_no`].
    pub order_no: &'a str,
    /// See [`Award::act_id`].
    pub act_id: &'a str,
    /// See [`Award::activity_id`].
    pub activity_id: &'a str,
    /// See [`Award::scene_id`].
    pub scene_id: &'a str,
    /// See [`Award::reward_type`].
    pub reward_type: &'a str,
    /// See [`Award::reward_id`].
    pub reward_id: &'a str,
    /// See [`Award::amount_minor`].
    pub amount_minor: i64,
    /// Offset of the award in `awards` of this partition.
    pub award_offset: i64,
    /// The fold's time, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

impl<'a> Conflict<'a> {
    /// The fact that `award` is not what its order number stands for.
    #[must_use]
    pub const fn of(award: &Award<'a>, award_offset: i64, at_ms: i64) -> Self {
        Self {
            order_no: award.order_no,
            act_id: award.act_id,
            activity_id: award.activity_id,
            scene_id: award.scene_id,
            reward_type: award.reward_type,
            reward_id: award.reward_id,
            amount_minor: award.amount_minor,
            award_offset,
            at_ms,
        }
    }

    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&CONFLICT);
        put_cut(
            out,
            [self.order_no, self.act_id, self.activity_id, self.scene_id, self.reward_type, self.reward_id],
        );
        put_long(out, self.amount_minor);
        put_long(out, self.award_offset);
        put_long(out, self.at_ms);
    }

    pub(crate) fn decode_body(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let [order_no, act_id, activity_id, scene_id, reward_type, reward_id] = reader.strs()?;
        Ok(Self {
            order_no,
            act_id,
            activity_id,
            scene_id,
            reward_type,
            reward_id,
            amount_minor: reader.long()?,
            award_offset: reader.long()?,
            at_ms: reader.long()?,
        })
    }
}

fn put_cut<const N: usize>(out: &mut Vec<u8>, texts: [&str; N]) {
    for text in texts {
        put_str(out, cut(text, FACT_TEXT_BYTES_MAX));
    }
}
