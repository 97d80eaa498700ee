//! Facts about the system rather than one award: time, settings, and who writes.

use crate::record::fingerprint;
use crate::wire::{self, DecodeError, HEADER_BYTES, Reader, put_bytes, put_long, put_str};

const TICKED: [u8; HEADER_BYTES] = wire::header(fingerprint::TICKED);
const SETTINGS_CHANGED: [u8; HEADER_BYTES] = wire::header(fingerprint::SETTINGS_CHANGED);
const OPENED: [u8; HEADER_BYTES] = wire::header(fingerprint::OPENED);

/// The fold's time moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticked {
    /// To this, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Offset of the tick in `awards` of this partition.
    pub award_offset: i64,
}

impl Ticked {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&TICKED);
        put_long(out, self.at_ms);
        put_long(out, self.award_offset);
    }

    pub(crate) fn decode_body(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { at_ms: reader.long()?, award_offset: reader.long()? })
    }
}

/// Settings took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingsChanged<'a> {
    /// The settings' number.
    pub number: i64,
    /// [`crate::settings::Settings`] as JSON.
    pub body: &'a [u8],
    /// Offset of the control record in `awards` of this partition.
    pub award_offset: i64,
    /// The fold's time, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

impl<'a> SettingsChanged<'a> {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&SETTINGS_CHANGED);
        put_long(out, self.number);
        put_bytes(out, self.body);
        put_long(out, self.award_offset);
        put_long(out, self.at_ms);
    }

    pub(crate) fn decode_body(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            number: reader.long()?,
            body: reader.bytes()?,
            award_offset: reader.long()?,
            at_ms: reader.long()?,
        })
    }
}

/// A writer that is not a pure fold took over (rule of opening, I24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The writer's source name, such as `sink.cash`.
    pub source: &'a str,
    /// Random, to tell two writers of one epoch apart.
    pub writer: [u8; 16],
    /// Above every epoch before it.
    pub epoch: i64,
    /// The writer's time, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

impl<'a> Opened<'a> {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&OPENED);
        put_str(out, self.source);
        out.extend_from_slice(&self.writer);
        put_long(out, self.epoch);
        put_long(out, self.at_ms);
    }

    pub(crate) fn decode_body(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            source: reader.str()?,
            writer: reader.fixed()?,
            epoch: reader.long()?,
            at_ms: reader.long()?,
        })
    }
}
