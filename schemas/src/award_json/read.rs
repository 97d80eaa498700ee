//! Reads awards out of JSON value by value. What is wrong is noted and read over, so that one
//! look tells everything; only what is not JSON ends the reading.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Parsed;
use super::problem::Problems;
use super::time::{TimeError, parse_rfc3339};
use crate::award::AwardBuf;
use crate::ext::ExtBuf;
use crate::limits::{AWARD_BYTES_MAX, PROBLEM_TEXT_BYTES_MAX, cut};

/// The names of an award's fields, in order, and whether they may be missing.
const FIELDS: [(&str, bool); 10] = [
    ("order_no", false),
    ("act_id", false),
    ("activity_id", false),
    ("scene_id", false),
    ("reward_type", false),
    ("reward_id", true),
    ("amount_minor", false),
    ("event_time", false),
    ("app", true),
    ("ext", true),
];

/// Any JSON value, looked at no deeper than its type.
enum Found<'de> {
    Text(Cow<'de, str>),
    Long(i64),
    /// An integer, but beyond 64 bits.
    BeyondLong,
    /// Written with a fraction or an exponent.
    Fraction,
    Other(&'static str),
}

impl Found<'_> {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Long(_) | Self::BeyondLong | Self::Fraction => "a number",
            Self::Other(kind) => kind,
        }
    }
}

struct FoundSeed;

impl<'de> DeserializeSeed<'de> for FoundSeed {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FoundSeed {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Found<'de>, E> {
        Ok(Found::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Found<'de>, E> {
        Ok(Found::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Found<'de>, E> {
        Ok(Found::Long(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Found<'de>, E> {
        Ok(i64::try_from(value).map_or(Found::BeyondLong, Found::Long))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Found<'de>, E> {
        // Integers come as a float only when no 64-bit integer holds them.
        Ok(if value.abs() >= i64::MAX as f64 { Found::BeyondLong } else { Found::Fraction })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found<'de>, E> {
        Ok(Found::Other("a boolean"))
    }

    fn visit_unit<E>(self) -> Result<Found<'de>, E> {
        Ok(Found::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Found<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Found::Other("an object"))
    }
}

/// Reads an object with `read`, and anything else over, with a problem.
struct ObjectSeed<'p, R> {
    problems: &'p mut Problems,
    read: R,
}

/// What to do with an object.
trait ReadObject<'de> {
    type Value;

    fn read<A: MapAccess<'de>>(self, map: A, problems: &mut Problems) -> Result<Self::Value, A::Error>;
}

impl<'de, R: ReadObject<'de>> DeserializeSeed<'de> for ObjectSeed<'_, R> {
    type Value = Option<R::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<R> ObjectSeed<'_, R> {
    fn refuse<T>(self, found: &Found<'_>) -> Option<T> {
        self.problems.add("wrong_type", format!("expected an object, found {}", found.kind()));
        None
    }
}

impl<'de, R: ReadObject<'de>> Visitor<'de> for ObjectSeed<'_, R> {
    type Value = Option<R::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        self.read.read(map, self.problems).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        let found = FoundSeed.visit_seq(seq)?;
        Ok(self.refuse(&found))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let found = FoundSeed.visit_str(text)?;
        Ok(self.refuse(&found))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        let found = FoundSeed.visit_i64(value)?;
        Ok(self.refuse(&found))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        let found = FoundSeed.visit_u64(value)?;
        Ok(self.refuse(&found))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        let found = FoundSeed.visit_f64(value)?;
        Ok(self.refuse(&found))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        let found = FoundSeed.visit_bool(value)?;
        Ok(self.refuse(&found))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        let found = FoundSeed.visit_unit()?;
        Ok(self.refuse(&found))
    }
}

/// Reads one award; `None` when there were problems.
pub(super) struct ItemSeed<'p> {
    pub(super) problems: &'p mut Problems,
}

impl<'de> DeserializeSeed<'de> for ItemSeed<'_> {
    type Value = Option<AwardBuf>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let seed = ObjectSeed { problems: self.problems, read: ReadAward };
        Ok(seed.deserialize(deserializer)?.flatten())
    }
}

struct ReadAward;

impl<'de> ReadObject<'de> for ReadAward {
    type Value = Option<AwardBuf>;

    fn read<A: MapAccess<'de>>(self, mut map: A, problems: &mut Problems) -> Result<Self::Value, A::Error> {
        let before = problems.count();
        let mut award = empty_award();
        let mut seen = [false; FIELDS.len()];
        while let Some(name) = map.next_key_seed(NameSeed)? {
            problems.enter(&name);
            let place = FIELDS.iter().position(|(field, _)| *field == name);
            match place.and_then(|place| seen.get_mut(place)) {
                None => {
                    let shown = cut(&name, PROBLEM_TEXT_BYTES_MAX);
                    problems.add("unknown_field", format!("an award has no field {shown:?}"));
                    map.next_value::<IgnoredAny>()?;
                }
                Some(seen) if *seen => {
                    problems.add("duplicate_key", format!("{name} is there twice"));
                    map.next_value::<IgnoredAny>()?;
                }
                Some(seen) => {
                    *seen = true;
                    read_field(&name, &mut map, &mut award, problems)?;
                }
            }
            problems.leave();
            if problems.stopped() {
                return Err(Error::custom("too many problems"));
            }
        }
        for ((field, optional), seen) in FIELDS.into_iter().zip(seen) {
            if !seen && !optional {
                problems.add_at(field, "missing_field", format!("{field} is missing"));
            }
        }
        if award.as_award().encoded_bytes_max() > AWARD_BYTES_MAX {
            problems.add("too_large", format!("an award has at most {AWARD_BYTES_MAX} bytes"));
        }
        Ok((problems.count() == before).then_some(award))
    }
}

/// Reads the value of the field `name` into `award`.
fn read_field<'de, A: MapAccess<'de>>(
    name: &str,
    map: &mut A,
    award: &mut AwardBuf,
    problems: &mut Problems,
) -> Result<(), A::Error> {
    if name == "ext" {
        let seed = ObjectSeed { problems, read: ReadExt };
        award.ext = map.next_value_seed(seed)?.unwrap_or_default();
        return Ok(());
    }
    let found = map.next_value_seed(FoundSeed)?;
    match name {
        "amount_minor" => award.amount_minor = long(&found, problems),
        "event_time" => award.event_time_ms = time(&found, problems),
        "order_no" => award.order_no = text(found, problems),
        "act_id" => award.act_id = text(found, problems),
        "activity_id" => award.activity_id = text(found, problems),
        "scene_id" => award.scene_id = text(found, problems),
        "reward_type" => award.reward_type = text(found, problems),
        "reward_id" => award.reward_id = text(found, problems),
        _ => award.app = text(found, problems),
    }
    Ok(())
}

fn empty_award() -> AwardBuf {
    AwardBuf {
        order_no: String::new(),
        act_id: String::new(),
        activity_id: String::new(),
        scene_id: String::new(),
        reward_type: String::new(),
        reward_id: String::new(),
        amount_minor: 0,
        event_time_ms: 0,
        app: String::new(),
        ext: ExtBuf::new(),
    }
}

fn text(found: Found<'_>, problems: &mut Problems) -> String {
    match found {
        Found::Text(text) => text.into_owned(),
        found => {
            problems.add("wrong_type", format!("expected a string, found {}", found.kind()));
            String::new()
        }
    }
}

fn long(found: &Found<'_>, problems: &mut Problems) -> i64 {
    match found {
        Found::Long(value) => return *value,
        Found::BeyondLong => problems.add("number_out_of_range", "beyond 64 bits".to_owned()),
        Found::Fraction => {
            problems.add("not_an_integer", "a whole number has no fraction and no exponent".to_owned());
        }
        found => problems.add("wrong_type", format!("expected an integer, found {}", found.kind())),
    }
    0
}

fn time(found: &Found<'_>, problems: &mut Problems) -> i64 {
    let Found::Text(text) = found else {
        problems.add("wrong_type", format!("expected a time as a string, found {}", found.kind()));
        return 0;
    };
    match parse_rfc3339(text) {
        Ok(at_ms) => return at_ms,
        Err(TimeError::NoOffset) => problems
            .add("time_without_offset", "a time needs an offset, as in 2027-02-06T20:00:00+08:00".to_owned()),
        Err(TimeError::Invalid) => problems
            .add("invalid_time", "expected a time of RFC 3339, as 2027-02-06T20:00:00+08:00".to_owned()),
    }
    0
}

struct ReadExt;

impl<'de> ReadObject<'de> for ReadExt {
    type Value = ExtBuf;

    fn read<A: MapAccess<'de>>(self, mut map: A, problems: &mut Problems) -> Result<ExtBuf, A::Error> {
        let mut pairs: BTreeMap<Cow<'de, str>, String> = BTreeMap::new();
        while let Some(key) = map.next_key_seed(NameSeed)? {
            problems.enter(&key);
            let value = text(map.next_value_seed(FoundSeed)?, problems);
            if pairs.contains_key(&key) {
                problems.add("duplicate_key", "this key is there twice".to_owned());
            }
            problems.leave();
            pairs.insert(key, value);
            if problems.stopped() {
                return Err(Error::custom("too many problems"));
            }
        }
        Ok(ExtBuf::from_map(&pairs))
    }
}

/// The name of a member.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Reads one award, or an array of them.
pub(super) struct BodySeed<'p> {
    pub(super) problems: &'p mut Problems,
    pub(super) items_max: usize,
}

impl<'de> DeserializeSeed<'de> for BodySeed<'_> {
    type Value = Option<Parsed>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_> {
    type Value = Option<Parsed>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an award, or an array of awards")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(ReadAward.read(map, self.problems)?.map(Parsed::One))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut awards = Vec::new();
        let mut index = 0;
        loop {
            self.problems.enter_item(index);
            let Some(award) = seq.next_element_seed(ItemSeed { problems: &mut *self.problems })? else {
                break;
            };
            if index >= self.items_max {
                self.problems.stop_for_items();
            }
            if self.problems.stopped() {
                return Err(Error::custom("too much"));
            }
            awards.extend(award);
            index += 1;
        }
        self.problems.leave_items();
        Ok(Some(Parsed::Many(awards)))
    }
}
