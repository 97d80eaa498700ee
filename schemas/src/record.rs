//! The kinds of records: their schemas and fingerprints.

use crate::wire::{self, DecodeError};

/// A kind of record on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// [`crate::award::Award`]
    Award,
    /// [`crate::control::Control`]
    Control,
    /// [`crate::order::Order`]
    Order,
    /// [`crate::journal::Accepted`]
    Accepted,
    /// [`crate::journal::Rejected`]
    Rejected,
    /// [`crate::journal::Conflict`]
    Conflict,
    /// [`crate::journal::Ticked`]
    Ticked,
    /// [`crate::journal::SettingsChanged`]
    SettingsChanged,
    /// [`crate::journal::Opened`]
    Opened,
    /// [`crate::journal::CreditFact`]
    Credit,
    /// [`crate::dead_letter::DeadLetter`]
    DeadLetter,
}

/// CRC-64-AVRO of each schema's parsing canonical form, as the specification and the Java and
/// Python libraries have it. Never changes: records with these numbers are on disk. A test
/// computes them again from the `.avsc` files.
pub(crate) mod fingerprint {
    pub(crate) const AWARD: u64 = 0xa75c_fdb2_c572_3ee5;
    /// What `apache-avro` for Rust makes of the same schema: it keeps `{"type":"long"}` where the
    /// specification has `"long"`, for types with a logical type. Read, never written.
    pub(crate) const AWARD_BY_RUST: u64 = 0x723d_1e06_47b6_0b62;
    pub(crate) const CONTROL: u64 = 0xf39d_5533_4598_19f8;
    pub(crate) const ORDER: u64 = 0x0db6_bead_8e0c_6a42;
    pub(crate) const ACCEPTED: u64 = 0xb92a_d03d_bf91_bf93;
    pub(crate) const REJECTED: u64 = 0x2936_aa76_8104_dfad;
    pub(crate) const CONFLICT: u64 = 0xdc8b_2e72_7aa2_0911;
    pub(crate) const TICKED: u64 = 0xa247_5e29_82b5_978f;
    pub(crate) const SETTINGS_CHANGED: u64 = 0x0f5f_f83d_4caf_b032;
    pub(crate) const OPENED: u64 = 0xa2ec_ec08_a82a_2f4e;
    pub(crate) const CREDIT: u64 = 0x9574_78cf_c402_ebd4;
    pub(crate) const DEAD_LETTER: u64 = 0x2929_7697_ee85_41fe;
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Award,
        Self::Control,
        Self::Order,
        Self::Accepted,
        Self::Rejected,
        Self::Conflict,
        Self::Ticked,
        Self::SettingsChanged,
        Self::Opened,
        Self::Credit,
        Self::DeadLetter,
    ];

    /// Name of the kind, and of its `.avsc` file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Award => "award",
            Self::Control => "control",
            Self::Order => "order",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Conflict => "conflict",
            Self::Ticked => "ticked",
            Self::SettingsChanged => "settings_changed",
            Self::Opened => "opened",
            Self::Credit => "credit",
            Self::DeadLetter => "dead_letter",
        }
    }

    /// The schema's text.
    #[must_use]
    pub const fn avsc(self) -> &'static str {
        match self {
            Self::Award => include_str!("../avsc/award.avsc"),
            Self::Control => include_str!("../avsc/control.avsc"),
            Self::Order => include_str!("../avsc/order.avsc"),
            Self::Accepted => include_str!("../avsc/accepted.avsc"),
            Self::Rejected => include_str!("../avsc/rejected.avsc"),
            Self::Conflict => include_str!("../avsc/conflict.avsc"),
            Self::Ticked => include_str!("../avsc/ticked.avsc"),
            Self::SettingsChanged => include_str!("../avsc/settings_changed.avsc"),
            Self::Opened => include_str!("../avsc/opened.avsc"),
            Self::Credit => include_str!("../avsc/credit.avsc"),
            Self::DeadLetter => include_str!("../avsc/dead_letter.avsc"),
        }
    }

    /// CRC-64-AVRO of the schema, the number in every record's header.
    #[must_use]
    pub const fn fingerprint(self) -> u64 {
        match self {
            Self::Award => fingerprint::AWARD,
            Self::Control => fingerprint::CONTROL,
            Self::Order => fingerprint::ORDER,
            Self::Accepted => fingerprint::ACCEPTED,
            Self::Rejected => fingerprint::REJECTED,
            Self::Conflict => fingerprint::CONFLICT,
            Self::Ticked => fingerprint::TICKED,
            Self::SettingsChanged => fingerprint::SETTINGS_CHANGED,
            Self::Opened => fingerprint::OPENED,
            Self::Credit => fingerprint::CREDIT,
            Self::DeadLetter => fingerprint::DEAD_LETTER,
        }
    }

    /// The kind whose schema has this fingerprint.
    #[must_use]
    pub fn from_fingerprint(fingerprint: u64) -> Option<Self> {
        if is_award(fingerprint) {
            return Some(Self::Award);
        }
        Self::ALL.into_iter().find(|kind| kind.fingerprint() == fingerprint)
    }

    /// The kind that a record's header names; its body is not looked at.
    ///
    /// # Errors
    /// [`DecodeError`] when the header names no kind of ours.
    pub fn of(record: &[u8]) -> Result<Self, DecodeError> {
        let (fingerprint, _) = wire::open(record)?;
        Self::from_fingerprint(fingerprint).ok_or(DecodeError::UnknownSchema)
    }
}

/// Whether a fingerprint is of our own version of an award, by either way to compute it.
#[inline]
pub(crate) const fn is_award(fingerprint: u64) -> bool {
    fingerprint == fingerprint::AWARD || fingerprint == fingerprint::AWARD_BY_RUST
}

#[cfg(test)]
mod tests {
    use apache_avro::Schema;
    use apache_avro::rabin::Rabin;

    use super::{RecordKind, fingerprint};
    use crate::writer_schemas::fingerprints;

    #[test]
    fn fingerprints_are_those_of_the_avsc_files() {
        for kind in RecordKind::ALL {
            let [specified, _] = fingerprints(kind.avsc()).expect("a schema");
            assert_eq!(kind.fingerprint(), specified, "{}: {specified:#018x}", kind.name());
            assert_eq!(RecordKind::from_fingerprint(specified), Some(kind));
        }
        let schema = Schema::parse_str(RecordKind::Award.avsc()).expect("award");
        let by_rust = schema.fingerprint::<Rabin>().bytes;
        assert_eq!(fingerprint::AWARD_BY_RUST.to_le_bytes().as_slice(), by_rust);
        assert_eq!(RecordKind::from_fingerprint(fingerprint::AWARD_BY_RUST), Some(RecordKind::Award));
    }
}
