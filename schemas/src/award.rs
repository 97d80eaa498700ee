//! An award, as producers append it (`schemas/avsc/award.avsc`).

use crate::ext::{Ext, ExtBuf};
use crate::limits::AWARD_BYTES_MAX;
use crate::record::{fingerprint, is_award};
use crate::wire::{self, DecodeError, HEADER_BYTES, LONG_BYTES_MAX, Reader, put_long, put_str};

const HEADER: [u8; HEADER_BYTES] = wire::header(fingerprint::AWARD);

/// One award to one person. Borrowed from a record; nothing about it was checked but its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Award<'a> {
    /// The idempotency key, for ever; see [`crate::order_no::OrderNo`].
    pub order_no: &'a str,
    /// The person across apps.
    pub act_id: &'a str,
    /// The parent activity.
    pub activity_id: &'a str,
    /// Decides settings.
    pub scene_id: &'a str,
    /// The reward type.
    pub reward_type: &'a str,
    /// Coupon template, pendant; may be empty.
    pub reward_id: &'a str,
    /// In the minor unit of the reward type's asset.
    pub amount_minor: i64,
    /// When the user won it, in milliseconds since the Unix epoch.
    pub event_time_ms: i64,
    /// Which app; may be empty.
    pub app: &'a str,
    /// Free-form pairs.
    pub ext: Ext<'a>,
}

impl<'a> Award<'a> {
    /// Appends the record.
    ///
    /// Writers of other people's data must compare [`Self::encoded_bytes_max`] with
    /// [`AWARD_BYTES_MAX`] first: a larger record cannot be decoded.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_bytes_max());
        out.extend_from_slice(&HEADER);
        self.encode_body(out);
    }

    #[inline]
    pub(crate) fn encode_body(&self, out: &mut Vec<u8>) {
        put_str(out, self.order_no);
        put_str(out, self.act_id);
        put_str(out, self.activity_id);
        put_str(out, self.scene_id);
        put_str(out, self.reward_type);
        put_str(out, self.reward_id);
        put_long(out, self.amount_minor);
        put_long(out, self.event_time_ms);
        put_str(out, self.app);
        out.extend_from_slice(self.ext.as_bytes());
    }

    /// The most bytes that [`Self::encode`] appends; a few dozen above the truth.
    #[inline]
    #[must_use]
    pub const fn encoded_bytes_max(&self) -> usize {
        HEADER_BYTES
            + 9 * LONG_BYTES_MAX
            + self.order_no.len()
            + self.act_id.len()
            + self.activity_id.len()
            + self.scene_id.len()
            + self.reward_type.len()
            + self.reward_id.len()
            + self.app.len()
            + self.ext.as_bytes().len()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`DecodeError`]; [`DecodeError::UnknownSchema`] for awards of other versions, which
    /// [`crate::writer_schemas::WriterSchemas`] may know.
    #[inline]
    pub fn decode(record: &'a [u8]) -> Result<Self, DecodeError> {
        let (fingerprint, reader) = wire::open(record)?;
        if !is_award(fingerprint) {
            return Err(DecodeError::UnknownSchema);
        }
        Self::decode_last(record, reader)
    }

    /// Reads the body that ends `record`.
    #[inline]
    pub(crate) fn decode_last(record: &[u8], mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        if record.len() > AWARD_BYTES_MAX {
            return Err(DecodeError::Undecodable);
        }
        let award = Self::decode_body(&mut reader)?;
        reader.finish()?;
        Ok(award)
    }

    #[inline]
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
            event_time_ms: reader.long()?,
            app: reader.str()?,
            ext: Ext::decode(reader)?,
        })
    }

    /// A digest of what makes two awards of one order number the same: `activity_id`, `reward_type`,
    /// `reward_id` and `amount_minor`; `act_id` and `scene_id` are parts of the order number, and
    /// an award in which they differ from it is refused. The first 16 bytes of BLAKE3 over their
    /// Avro encoding, which puts its length before each string. Stored for ever (I3).
    #[inline]
    #[must_use]
    pub fn payload_digest(&self) -> [u8; 16] {
        let mut buf = DigestBuf { bytes: [0; DIGEST_BUF_BYTES], len: 0 };
        let fits = [self.activity_id, self.reward_type, self.reward_id]
            .into_iter()
            .all(|text| buf.put_short_str(text))
            && buf.put_long(self.amount_minor);
        let hash = if fits { blake3::hash(buf.filled()) } else { blake3::hash(&self.payload_bytes()) };
        let [digest @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *hash.as_bytes();
        digest
    }

    fn payload_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_bytes_max());
        for text in [self.activity_id, self.reward_type, self.reward_id] {
            put_str(&mut bytes, text);
        }
        put_long(&mut bytes, self.amount_minor);
        bytes
    }
}

const DIGEST_BUF_BYTES: usize = 128;

/// The usual payload is short: it is put together on the stack.
struct DigestBuf {
    bytes: [u8; DIGEST_BUF_BYTES],
    len: usize,
}

impl DigestBuf {
    /// Appends a string whose length takes one byte; `false` when it does not fit.
    #[inline]
    fn put_short_str(&mut self, text: &str) -> bool {
        let end = self.len + 1 + text.len();
        if text.len() >= 64 {
            return false;
        }
        let Some([length, place @ ..]) = self.bytes.get_mut(self.len..end) else {
            return false;
        };
        *length = (text.len() as u8) << 1;
        place.copy_from_slice(text.as_bytes());
        self.len = end;
        true
    }

    #[inline]
    fn put_long(&mut self, value: i64) -> bool {
        let (encoded, len) = wire::encode_long(value);
        let end = self.len + len;
        let (Some(place), Some(encoded)) = (self.bytes.get_mut(self.len..end), encoded.get(..len)) else {
            return false;
        };
        place.copy_from_slice(encoded);
        self.len = end;
        true
    }

    #[inline]
    fn filled(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// An award that owns its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwardBuf {
    /// See [`Award::order_no`].
    pub order_no: String,
    /// See [`Award::act_id`].
    pub act_id: String,
    /// See [`Award::activity_id`].
    pub activity_id: String,
    /// See [`Award::scene_id`].
    pub scene_id: String,
    /// See [`Award::reward_type`].
    pub reward_type: String,
    /// See [`Award::reward_id`].
    pub reward_id: String,
    /// See [`Award::amount_minor`].
    pub amount_minor: i64,
    /// See [`Award::event_time_ms`].
    pub event_time_ms: i64,
    /// See [`Award::app`].
    pub app: String,
    /// See [`Award::ext`].
    pub ext: ExtBuf,
}

impl AwardBuf {
    /// The award, borrowed.
    #[must_use]
    pub fn as_award(&self) -> Award<'_> {
        Award {
            order_no: &self.order_no,
            act_id: &self.act_id,
            activity_id: &self.activity_id,
            scene_id: &self.scene_id,
            reward_type: &self.reward_type,
            reward_id: &self.reward_id,
            amount_minor: self.amount_minor,
            event_time_ms: self.event_time_ms,
            app: &self.app,
            ext: self.ext.as_ext(),
        }
    }
}

impl From<Award<'_>> for AwardBuf {
    fn from(award: Award<'_>) -> Self {
        Self {
            order_no: award.order_no.to_owned(),
            act_id: award.act_id.to_owned(),
            activity_id: award.activity_id.to_owned(),
            scene_id: award.scene_id.to_owned(),
            reward_type: award.reward_type.to_owned(),
            reward_id: award.reward_id.to_owned(),
            amount_minor: award.amount_minor,
            event_time_ms: award.event_time_ms,
            app: award.app.to_owned(),
            ext: award.ext.into(),
        }
    }
}
