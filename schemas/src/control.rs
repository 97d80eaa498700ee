//! Control records: time and settings reach folds through the topic `awards` (I30). Producers in
//! other languages write there too, so a control record carries a MAC.

use crate::award::Award;
use crate::limits::AWARD_BYTES_MAX;
use crate::record::{fingerprint, is_award};
use crate::wire::{self, DecodeError, HEADER_BYTES, LONG_BYTES_MAX, Reader, put_bytes, put_long};

const HEADER: [u8; HEADER_BYTES] = wire::header(fingerprint::CONTROL);

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlKind {
    /// Time has come to `at_ms`.
    Tick,
    /// The settings in the body take effect.
    Settings,
}

impl ControlKind {
    /// Every kind; its place here is its number on the wire.
    pub const ALL: [Self; 2] = [Self::Tick, Self::Settings];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tick => "tick",
            Self::Settings => "settings",
        }
    }
}

/// The secret that control records are sealed with. Never printed.
#[derive(Clone)]
pub struct ControlKey([u8; 32]);

impl ControlKey {
    /// The key of these bytes, which must be random and secret.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for ControlKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ControlKey(..)")
    }
}

/// A control record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control<'a> {
    /// What it says.
    pub kind: ControlKind,
    /// The partition it was made for; it says nothing in another.
    pub partition: u16,
    /// Counts up within its kind and partition; for settings their number.
    pub number: i64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Settings as JSON; empty for a tick.
    pub body: &'a [u8],
    /// Keyed BLAKE3 over the record up to here, header included.
    pub mac: [u8; 32],
}

impl<'a> Control<'a> {
    /// A control record with its MAC.
    #[must_use]
    pub fn seal(
        kind: ControlKind,
        partition: u16,
        number: i64,
        at_ms: i64,
        body: &'a [u8],
        key: &ControlKey,
    ) -> Self {
        let mut control = Self { kind, partition, number, at_ms, body, mac: [0; 32] };
        control.mac = *control.expected_mac(key).as_bytes();
        control
    }

    /// Whether the MAC is the one that `key` makes. Takes the same time wherever they differ.
    #[must_use]
    pub fn verify(&self, key: &ControlKey) -> bool {
        self.expected_mac(key) == blake3::Hash::from_bytes(self.mac)
    }

    fn expected_mac(&self, key: &ControlKey) -> blake3::Hash {
        let mut sealed = Vec::new();
        self.encode_sealed(&mut sealed);
        blake3::keyed_hash(&key.0, &sealed)
    }

    fn encode_sealed(&self, out: &mut Vec<u8>) {
        out.reserve(HEADER_BYTES + 5 * LONG_BYTES_MAX + self.body.len() + self.mac.len());
        out.extend_from_slice(&HEADER);
        put_long(out, self.kind as i64);
        put_long(out, i64::from(self.partition));
        put_long(out, self.number);
        put_long(out, self.at_ms);
        put_bytes(out, self.body);
    }

    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_sealed(out);
        out.extend_from_slice(&self.mac);
    }

    /// Reads a record without looking at its MAC: to show it, not to follow it.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(record: &'a [u8]) -> Result<Self, DecodeError> {
        let reader = wire::open_as(record, fingerprint::CONTROL)?;
        Self::decode_last(record, reader)
    }

    fn decode_last(record: &[u8], mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        if record.len() > AWARD_BYTES_MAX {
            return Err(DecodeError::Undecodable);
        }
        let control = Self {
            kind: wire::symbol(&mut reader, &ControlKind::ALL)?,
            partition: u16::try_from(reader.long()?).map_err(|_| DecodeError::Undecodable)?,
            number: reader.long()?,
            at_ms: reader.long()?,
            body: reader.bytes()?,
            mac: reader.fixed()?,
        };
        reader.finish()?;
        Ok(control)
    }
}

/// A record of the topic `awards`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// An award to decide about.
    Award(Award<'a>),
    /// A control record whose MAC was verified.
    Control(Control<'a>),
}

/// Reads a record of the topic `awards`.
///
/// # Errors
/// [`DecodeError`]; a control record with a wrong MAC is [`DecodeError::Undecodable`].
/// [`DecodeError::UnknownSchema`] for awards of other versions, which
/// [`crate::writer_schemas::WriterSchemas`] may know.
#[inline]
pub fn decode_input<'a>(record: &'a [u8], key: &ControlKey) -> Result<Input<'a>, DecodeError> {
    let (fingerprint, reader) = wire::open(record)?;
    if is_award(fingerprint) {
        return Award::decode_last(record, reader).map(Input::Award);
    }
    decode_control(fingerprint, record, reader, key)
}

#[cold]
fn decode_control<'a>(
    fingerprint: u64,
    record: &'a [u8],
    reader: Reader<'a>,
    key: &ControlKey,
) -> Result<Input<'a>, DecodeError> {
    if fingerprint != fingerprint::CONTROL {
        return Err(DecodeError::UnknownSchema);
    }
    let control = Control::decode_last(record, reader)?;
    if control.verify(key) { Ok(Input::Control(control)) } else { Err(DecodeError::Undecodable) }
}
