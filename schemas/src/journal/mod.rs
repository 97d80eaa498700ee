//! Facts: the one story per partition of everything that changes what its users have.

mod accepted;
mod credit;
mod refused;
mod system;

pub use accepted::Accepted;
pub use credit::{CreditFact, CreditStage, Ranges, RangesBuf, RangesIter, SeqRange};
pub use refused::{Conflict, Rejected};
pub use system::{Opened, SettingsChanged, Ticked};

use crate::record::fingerprint;
use crate::wire::{self, DecodeError};

/// A record of the topic `journal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<'a> {
    /// An award became an order.
    Accepted(Accepted<'a>),
    /// An award was refused.
    Rejected(Rejected<'a>),
    /// An accepted order number came again with another payload (I3).
    Conflict(Conflict<'a>),
    /// The fold's time moved.
    Ticked(Ticked),
    /// Settings took effect (I30).
    SettingsChanged(SettingsChanged<'a>),
    /// A sink took over (I24).
    Opened(Opened<'a>),
    /// What a sink is about to do, or did (I12).
    Credit(CreditFact<'a>),
}

impl<'a> Fact<'a> {
    /// Reads a record.
    ///
    /// # Errors
    /// [`DecodeError`].
    #[inline]
    pub fn decode(record: &'a [u8]) -> Result<Self, DecodeError> {
        let (fingerprint, mut reader) = wire::open(record)?;
        let fact = match fingerprint {
            fingerprint::ACCEPTED => Self::Accepted(Accepted::decode_body(&mut reader)?),
            fingerprint::CREDIT => Self::Credit(CreditFact::decode_body(&mut reader)?),
            fingerprint::REJECTED => Self::Rejected(Rejected::decode_body(&mut reader)?),
            fingerprint::CONFLICT => Self::Conflict(Conflict::decode_body(&mut reader)?),
            fingerprint::TICKED => Self::Ticked(Ticked::decode_body(&mut reader)?),
            fingerprint::SETTINGS_CHANGED => {
                Self::SettingsChanged(SettingsChanged::decode_body(&mut reader)?)
            }
            fingerprint::OPENED => Self::Opened(Opened::decode_body(&mut reader)?),
            _ => return Err(DecodeError::UnknownSchema),
        };
        reader.finish()?;
        Ok(fact)
    }

    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Accepted(fact) => fact.encode(out),
            Self::Rejected(fact) => fact.encode(out),
            Self::Conflict(fact) => fact.encode(out),
            Self::Ticked(fact) => fact.encode(out),
            Self::SettingsChanged(fact) => fact.encode(out),
            Self::Opened(fact) => fact.encode(out),
            Self::Credit(fact) => fact.encode(out),
        }
    }

    /// The time the fact bears, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn at_ms(&self) -> i64 {
        match self {
            Self::Accepted(fact) => fact.at_ms,
            Self::Rejected(fact) => fact.at_ms,
            Self::Conflict(fact) => fact.at_ms,
            Self::Ticked(fact) => fact.at_ms,
            Self::SettingsChanged(fact) => fact.at_ms,
            Self::Opened(fact) => fact.at_ms,
            Self::Credit(fact) => fact.at_ms,
        }
    }
}
