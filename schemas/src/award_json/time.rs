//! Times as RFC 3339, to the millisecond, in the years 0001 to 9999 of UTC: what is read can be
//! written again.

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};

/// 0001-01-01T00:00:00.000Z.
const FIRST_MS: i64 = -62_135_596_800_000;
/// 9999-12-31T23:59:59.999Z; the calendar's own time stamps end a day before.
const LAST_MS: i64 = 253_402_300_799_999;
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// A time as RFC 3339 in UTC with milliseconds; as a number when it is beyond the years 0001 to
/// 9999, which only a binary record can be.
#[must_use]
pub fn rfc3339(at_ms: i64) -> serde_json::Value {
    if (FIRST_MS..=LAST_MS).contains(&at_ms) { rfc3339_cut(at_ms).into() } else { at_ms.into() }
}

/// As [`rfc3339`], but what lies beyond these years is cut to their edge.
#[must_use]
pub fn rfc3339_cut(at_ms: i64) -> String {
    let since = SignedDuration::from_millis(at_ms.clamp(FIRST_MS, LAST_MS));
    format!("{:.3}Z", EPOCH.saturating_add(since))
}

/// Why a text is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeError {
    /// Not of the form, not on the calendar, or beyond its years.
    Invalid,
    /// A time of day somewhere, but not where.
    NoOffset,
}

/// Milliseconds since the Unix epoch; what is finer is cut off.
pub(super) fn parse_rfc3339(text: &str) -> Result<i64, TimeError> {
    let (local, offset) = split(text)?;
    let local: DateTime = local.parse().map_err(|_| TimeError::Invalid)?;
    let since = local.duration_since(EPOCH).checked_sub(offset).ok_or(TimeError::Invalid)?;
    let at_ms = i64::try_from(since.as_nanos().div_euclid(1_000_000)).map_err(|_| TimeError::Invalid)?;
    if (FIRST_MS..=LAST_MS).contains(&at_ms) { Ok(at_ms) } else { Err(TimeError::Invalid) }
}

/// The time of day and its distance to UTC. The calendar's parser takes more forms than RFC 3339
/// has, and offsets of more than a day.
fn split(text: &str) -> Result<(&str, SignedDuration), TimeError> {
    let offset = check_form(text.as_bytes())?;
    let local = text.strip_suffix(['Z', 'z']).or_else(|| text.get(..text.len().checked_sub(offset.len())?));
    let local = local.ok_or(TimeError::Invalid)?;
    let [sign, tens, hours, _, ten_minutes, minutes] = offset else {
        return Ok((local, SignedDuration::ZERO));
    };
    let number = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    let (hours, minutes) = (number(tens, hours), number(ten_minutes, minutes));
    if hours > 23 || minutes > 59 {
        return Err(TimeError::Invalid);
    }
    let ahead = SignedDuration::from_mins(hours * 60 + minutes);
    Ok((local, if *sign == b'-' { -ahead } else { ahead }))
}

/// The offset, `Z` or `+00:00`, of what has the form of RFC 3339.
fn check_form(text: &[u8]) -> Result<&[u8], TimeError> {
    let rest = expect(text, b"0000-00-00").ok_or(TimeError::Invalid)?;
    if rest.is_empty() {
        return Err(TimeError::NoOffset);
    }
    let rest = match rest {
        [b'T' | b't' | b' ', rest @ ..] => expect(rest, b"00:00:00").ok_or(TimeError::Invalid)?,
        _ => return Err(TimeError::Invalid),
    };
    let rest = match rest {
        [b'.', digits @ ..] => {
            let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if count == 0 {
                return Err(TimeError::Invalid);
            }
            digits.get(count..).unwrap_or_default()
        }
        _ => rest,
    };
    match rest {
        [] => Err(TimeError::NoOffset),
        [b'Z' | b'z'] => Ok(rest),
        [b'+' | b'-', offset @ ..] if expect(offset, b"00:00") == Some(&[]) => Ok(rest),
        _ => Err(TimeError::Invalid),
    }
}

/// What follows `form`, in which `0` stands for any digit.
fn expect<'t>(text: &'t [u8], form: &[u8]) -> Option<&'t [u8]> {
    let (head, rest) = text.split_at_checked(form.len())?;
    let fits = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    head.iter().zip(form).all(fits).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::TimeError::{Invalid, NoOffset};
    use super::{FIRST_MS, LAST_MS, parse_rfc3339, rfc3339, rfc3339_cut};

    #[test]
    fn reads() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Ok(0)),
            ("1970-01-01t00:00:00z", Ok(0)),
            ("1970-01-01 00:00:00Z", Ok(0)),
            ("1970-01-01T08:00:00+08:00", Ok(0)),
            ("1969-12-31T16:00:00-08:00", Ok(0)),
            ("1970-01-01T00:00:00-00:00", Ok(0)),
            ("1970-01-01T00:00:00.1Z", Ok(100)),
            ("1970-01-01T00:00:00.001Z", Ok(1)),
            ("1970-01-01T00:00:00.0019Z", Ok(1)),
            ("1969-12-31T23:59:59.9999Z", Ok(-1)),
            ("2027-02-06T20:00:00.250+08:00", Ok(1_801_915_200_250)),
            ("0001-01-01T00:00:00Z", Ok(FIRST_MS)),
            ("0001-01-01T08:00:00+08:00", Ok(FIRST_MS)),
            ("9999-12-31T23:59:59.999Z", Ok(LAST_MS)),
            ("9999-12-31T23:59:59.9999Z", Ok(LAST_MS)),
            ("9999-12-31T00:00:00-23:59", Ok(LAST_MS - 59_999)),
            ("2027-02-06T20:00:00+23:59", Ok(1_801_857_660_000)),
            ("2016-12-31T23:59:60Z", Ok(1_483_228_799_000)),
            ("0000-01-01T00:00:00Z", Err(Invalid)),
            ("0000-12-31T23:59:59.999Z", Err(Invalid)),
            ("0001-01-01T00:00:00+00:01", Err(Invalid)),
            ("9999-12-31T23:59:59-00:01", Err(Invalid)),
            ("2027-02-06T20:00:00+24:00", Err(Invalid)),
            ("2027-02-06T20:00:00+25:00", Err(Invalid)),
            ("2027-02-06T20:00:00-23:60", Err(Invalid)),
            ("2027-02-06T20:00:00", Err(NoOffset)),
            ("2027-02-06T20:00:00.5", Err(NoOffset)),
            ("2027-02-06 20:00:00", Err(NoOffset)),
            ("2027-02-06", Err(NoOffset)),
            ("", Err(Invalid)),
            ("now", Err(Invalid)),
            ("1801915200250", Err(Invalid)),
            ("2027-02-30T20:00:00Z", Err(Invalid)),
            ("2027-02-06T25:00:00Z", Err(Invalid)),
            ("2027-02-06T20:00Z", Err(Invalid)),
            ("2027-02-06T20:00:00.Z", Err(Invalid)),
            ("2027-02-06T20:00:00,5Z", Err(Invalid)),
            ("2027-02-06T20:00:00+08", Err(Invalid)),
            ("2027-02-06T20:00:00+0800", Err(Invalid)),
            ("2027-02-06T20:00:00+08:00[Asia/Shanghai]", Err(Invalid)),
            ("2027-02-06T20:00:00Z ", Err(Invalid)),
            ("+002027-02-06T20:00:00Z", Err(Invalid)),
            ("20270206T200000Z", Err(Invalid)),
            ("２027-02-06T20:00:00Z", Err(Invalid)),
        ] {
            assert_eq!(parse_rfc3339(text), expected, "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for (at_ms, expected) in [
            (0, "\"1970-01-01T00:00:00.000Z\""),
            (-1, "\"1969-12-31T23:59:59.999Z\""),
            (1_801_915_200_250, "\"2027-02-06T12:00:00.250Z\""),
            (FIRST_MS, "\"0001-01-01T00:00:00.000Z\""),
            (FIRST_MS - 1, "-62135596800001"),
            (LAST_MS, "\"9999-12-31T23:59:59.999Z\""),
            (LAST_MS + 1, "253402300800000"),
            (i64::MAX, "9223372036854775807"),
            (i64::MIN, "-9223372036854775808"),
        ] {
            let value = rfc3339(at_ms);
            let edge = if at_ms < 0 { FIRST_MS } else { LAST_MS };
            let cut = if value.is_string() { value.clone() } else { rfc3339(edge) };
            assert_eq!(cut, rfc3339_cut(at_ms), "{at_ms}");
            assert_eq!(value.to_string(), expected);
            if let Some(text) = value.as_str() {
                assert_eq!(parse_rfc3339(text), Ok(at_ms));
            }
        }
    }
}
