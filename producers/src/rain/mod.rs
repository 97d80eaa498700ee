//! The load generator: waves of awards as on the evening of the festival, with repeated, late,
//! conflicting and malformed deliveries. The bytes are a function of profile, settings, seed and
//! total; no clock is read, [`Schedule`] says when to send.

mod catalog;
mod draw;
mod malformed;
mod profile;
mod schedule;

use std::ops::Range;

use hongbao_schemas::award::Award;
use hongbao_schemas::ext::{Ext, ExtBuf};
use hongbao_schemas::refusal::Refusal;
use hongbao_schemas::settings::Settings;

use catalog::{Catalog, Gift};
use draw::{Draw, Draws};
use malformed::Malformed;
use profile::MILLION;
pub use profile::{Profile, ProfileError};
use schedule::Timeline;
pub use schedule::{Schedule, TOTAL_MAX};

/// A letter and the user's number.
const ACT_ID_BYTES: usize = 10;
/// A letter and the wave's number.
const RAIN_ID_BYTES_MAX: usize = 5;
/// The award's index.
const STAGE_BYTES_MAX: usize = 13;

/// Small amounts are the usual ones.
const AMOUNT_SKEW: u32 = 4;

/// Why there is no rain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RainError {
    /// More awards than an index can name.
    #[error("a rain has at most {TOTAL_MAX} awards, not {0}")]
    TooMany(u64),
    /// No scene of the settings can be used.
    #[error("the settings have no scene that a rain could give")]
    NothingToGive,
}

/// What intake makes of a delivery, if all of a rain reaches it in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// First of its order number, perhaps late.
    Accepted,
    /// The same bytes were delivered before.
    Duplicate,
    /// An earlier order number with another payload.
    Conflict,
    /// A value out of bounds, or one that the settings do not know.
    Rejected(Refusal),
    /// Bytes that are no award.
    Undecodable,
}

/// Deliveries by what intake makes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// [`Expected::Accepted`]
    pub accepted: u64,
    /// [`Expected::Duplicate`]
    pub duplicate: u64,
    /// [`Expected::Conflict`]
    pub conflict: u64,
    /// [`Expected::Rejected`]
    pub rejected: u64,
    /// [`Expected::Undecodable`]
    pub undecodable: u64,
}

impl Tally {
    /// Counts one delivery.
    #[inline]
    pub fn count(&mut self, expected: Expected) {
        let counter = match expected {
            Expected::Accepted => &mut self.accepted,
            Expected::Duplicate => &mut self.duplicate,
            Expected::Conflict => &mut self.conflict,
            Expected::Rejected(_) => &mut self.rejected,
            Expected::Undecodable => &mut self.undecodable,
        };
        *counter += 1;
    }
}

/// One delivery; borrows the generator's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// Key of the record; decides its partition.
    pub act_id: &'a str,
    /// The encoded award.
    pub award: &'a [u8],
    /// What intake makes of it.
    pub expected: Expected,
}

/// A generator of deliveries.
#[derive(Clone, Debug)]
pub struct Rain {
    source: Source,
    left: Range<u64>,
    text: Text,
    award: Vec<u8>,
}

/// Everything that deliveries are a function of.
#[derive(Clone, Debug)]
struct Source {
    draws: Draws,
    timeline: Timeline,
    catalog: Catalog,
    profile: Profile,
    exts: Vec<ExtBuf>,
}

/// Reused texts of the award being made.
#[derive(Clone, Debug, Default)]
struct Text {
    act_id: String,
    order_no: String,
}

/// What the delivery at an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// An award of its own.
    First,
    Repeat {
        of: u64,
    },
    Conflict {
        with: u64,
    },
    Malformed(Malformed),
}

impl Rain {
    /// A rain of `total` deliveries. The scenes of `settings` are the ones it gives; they must be
    /// in force when the first delivery is decided.
    ///
    /// # Errors
    /// [`RainError`].
    pub fn new(profile: &Profile, settings: &Settings, seed: u64, total: u64) -> Result<Self, RainError> {
        if total > TOTAL_MAX {
            return Err(RainError::TooMany(total));
        }
        let catalog = Catalog::new(profile, settings);
        if catalog.is_empty() {
            return Err(RainError::NothingToGive);
        }
        let source = Source {
            draws: Draws::new(seed),
            timeline: Timeline::new(profile, total),
            catalog,
            profile: profile.clone(),
            exts: exts(),
        };
        Ok(Self { source, left: 0..total, text: Text::default(), award: Vec::new() })
    }

    /// The deliveries of this rain whose indices lie in `part`, with the bytes they have in the
    /// whole: parts can be made by several threads.
    #[must_use]
    pub fn part(&self, part: Range<u64>) -> Self {
        let left = part.start.max(self.left.start)..part.end.min(self.left.end);
        Self { left, ..self.clone() }
    }

    /// How many deliveries are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left.end.saturating_sub(self.left.start)
    }

    /// The next delivery; `None` at the end. It must be sent before the next one is made.
    #[inline]
    pub fn next_delivery(&mut self) -> Option<Delivery<'_>> {
        let index = self.left.next()?;
        self.award.clear();
        let expected = self.source.write(index, &mut self.text, &mut self.award)?;
        Some(Delivery { act_id: &self.text.act_id, award: &self.award, expected })
    }
}

/// A few extension maps to pick from.
fn exts() -> Vec<ExtBuf> {
    let maps: [&[(&str, &str)]; 3] = [
        &[("device", "phone")],
        &[("channel", "gala"), ("device", "tablet")],
        &[("channel", "live"), ("room", "2022"), ("题", "红包雨")],
    ];
    maps.iter().map(|pairs| pairs.iter().copied().collect()).collect()
}

impl Source {
    /// Writes the delivery at `index`. `None` only if there is nothing to give, which
    /// [`Rain::new`] refused.
    fn write(&self, index: u64, text: &mut Text, out: &mut Vec<u8>) -> Option<Expected> {
        match self.role(index) {
            Role::First => {
                self.award(index, text)?.encode(out);
                Some(Expected::Accepted)
            }
            Role::Repeat { of } => {
                self.award(of, text)?.encode(out);
                Some(Expected::Duplicate)
            }
            Role::Conflict { with } => {
                let max_minor = self.gift(with)?.max_minor;
                let award = self.award(with, text)?;
                let other = match max_minor {
                    1 => Award { reward_id: "t2", ..award },
                    // Another amount within the bounds.
                    _ => Award { amount_minor: award.amount_minor % max_minor + 1, ..award },
                };
                other.encode(out);
                Some(Expected::Conflict)
            }
            Role::Malformed(malformed) => {
                let max_minor = self.gift(index)?.max_minor;
                let award = self.award(index, text)?;
                Some(malformed.write(&award, max_minor, out))
            }
        }
    }

    #[inline]
    fn role(&self, index: u64) -> Role {
        let profile = &self.profile.file;
        let mut draw = self.draws.at(index);
        let mut roll = draw.below(u64::from(MILLION)) as u32;
        if index == 0 {
            return Role::First;
        }
        let mut falls_in = |share_ppm: u32| {
            let hit = roll < share_ppm;
            roll = roll.wrapping_sub(share_ppm);
            hit
        };
        if falls_in(profile.repeats_recent_ppm) {
            let back = 1 + draw.below(profile.recent_span.min(index));
            Role::Repeat { of: self.own_at_or_before(index - back) }
        } else if falls_in(profile.repeats_any_age_ppm) {
            Role::Repeat { of: self.own_at_or_before(draw.below(index)) }
        } else if falls_in(profile.conflicts_ppm) {
            Role::Conflict { with: self.own_at_or_before(draw.below(index)) }
        } else if falls_in(profile.malformed_ppm) {
            Role::Malformed(Malformed::pick(draw.bits()))
        } else {
            Role::First
        }
    }

    /// The nearest award of its own: what is repeated must have been delivered once.
    fn own_at_or_before(&self, index: u64) -> u64 {
        let mut at = index;
        while at > 0 && !self.is_first(at) {
            at -= 1;
        }
        at
    }

    /// Whether [`Self::role`] is [`Role::First`], without following what is repeated.
    fn is_first(&self, index: u64) -> bool {
        let profile = &self.profile.file;
        let roll = self.draws.at(index).below(u64::from(MILLION)) as u32;
        let repeats_ppm = profile.repeats_recent_ppm + profile.repeats_any_age_ppm;
        roll >= repeats_ppm + profile.conflicts_ppm + profile.malformed_ppm
    }

    fn gift(&self, index: u64) -> Option<&Gift> {
        let mut draw = self.payload_draw(index);
        self.catalog.pick(draw.bits(), draw.bits())
    }

    /// Draws of the award at `index`, apart from those of its role.
    #[inline]
    fn payload_draw(&self, index: u64) -> Draw {
        self.draws.at(!index)
    }

    /// The award that belongs to `index`, whatever is delivered there.
    #[inline]
    fn award<'a>(&'a self, index: u64, text: &'a mut Text) -> Option<Award<'a>> {
        let profile = &self.profile.file;
        let mut draw = self.payload_draw(index);
        let gift = self.catalog.pick(draw.bits(), draw.bits())?;
        let user = draw.skewed_below(profile.users, profile.user_skew);
        let amount_minor = 1 + draw.skewed_below(gift.max_minor.cast_unsigned(), AMOUNT_SKEW).cast_signed();
        let (wave, won_at_ms) = self.timeline.at(index);
        let app = profile.apps.get(draw.below(profile.apps.len() as u64) as usize)?;
        text.name(user, gift, wave, index);
        Some(Award {
            order_no: &text.order_no,
            act_id: &text.act_id,
            activity_id: &gift.activity_id,
            scene_id: &gift.scene_id,
            reward_type: &gift.reward_type,
            reward_id: gift.reward_id,
            amount_minor,
            event_time_ms: won_at_ms - self.lateness_ms(&mut draw),
            app,
            ext: self.ext(&mut draw),
        })
    }

    fn lateness_ms(&self, draw: &mut Draw) -> i64 {
        if draw.falls_in(self.profile.file.late_ppm) {
            draw.below(self.profile.file.late_by_s_max * 1000).cast_signed()
        } else {
            0
        }
    }

    fn ext(&self, draw: &mut Draw) -> Ext<'_> {
        if draw.falls_in(self.profile.file.ext_ppm) {
            let place = draw.below(self.exts.len() as u64) as usize;
            self.exts.get(place).map_or(Ext::EMPTY, ExtBuf::as_ext)
        } else {
            Ext::EMPTY
        }
    }
}

impl Text {
    /// Sets act id and order number of the award at `index`; the index as stage makes it unique.
    #[inline]
    fn name(&mut self, user: u64, gift: &Gift, wave: usize, index: u64) {
        self.act_id.clear();
        self.act_id.push('a');
        push_digits(&mut self.act_id, user, ACT_ID_BYTES - 1);
        self.order_no.clear();
        self.order_no.push_str(&self.act_id);
        self.order_no.push('_');
        self.order_no.push_str(&gift.scene_id);
        self.order_no.push_str("_r");
        push_digits(&mut self.order_no, wave as u64 + 1, 1);
        self.order_no.push('_');
        self.order_no.push_str(&gift.award_type);
        self.order_no.push('_');
        push_digits(&mut self.order_no, index, 1);
    }
}

/// Appends a number with at least `width` digits.
#[inline]
fn push_digits(text: &mut String, number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    let mut rest = number;
    while rest > 0 || digits.len() - start < width {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text.push_str(std::str::from_utf8(&digits[start..]).unwrap_or_default());
}

#[cfg(test)]
mod tests;
