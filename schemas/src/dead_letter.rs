//! A record that could not be processed, as it is kept in `dlq.<stage>` (I27).

use crate::record::fingerprint;
use crate::wire::{self, DecodeError, HEADER_BYTES, put_bytes, put_long, put_str};

const HEADER: [u8; HEADER_BYTES] = wire::header(fingerprint::DEAD_LETTER);

/// A record that could not be processed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// Who could not.
    pub stage: &'a str,
    /// Why: a [`DecodeError::code`], `key_missing`, `key_mismatch` or `wrong_partition`.
    pub code: &'a str,
    /// Where the record stands.
    pub topic: &'a str,
    /// Where the record stands.
    pub partition: i64,
    /// Where the record stands.
    pub offset: i64,
    /// The record's value as it was.
    pub bytes: &'a [u8],
}

impl<'a> DeadLetter<'a> {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&HEADER);
        put_str(out, self.stage);
        put_str(out, self.code);
        put_str(out, self.topic);
        put_long(out, self.partition);
        put_long(out, self.offset);
        put_bytes(out, self.bytes);
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(record: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = wire::open_as(record, fingerprint::DEAD_LETTER)?;
        let letter = Self {
            stage: reader.str()?,
            code: reader.str()?,
            topic: reader.str()?,
            partition: reader.long()?,
            offset: reader.long()?,
            bytes: reader.bytes()?,
        };
        reader.finish()?;
        Ok(letter)
    }
}
