//! Times as RFC 3339, to the millisecond.

use jiff::Timestamp;

/// A time as RFC 3339 in UTC with milliseconds; as a number when it is beyond the years 9999.
#[must_use]
pub fn rfc3339(at_ms: i64) -> serde_json::Value {
    match Timestamp::from_millisecond(at_ms) {
        Ok(at) if at_ms >= YEAR_ZERO_MS => format!("{at:.3}").into(),
        _ => at_ms.into(),
    }
}

/// RFC 3339 has no years before this: 0000-01-01T00:00:00Z.
const YEAR_ZERO_MS: i64 = -62_167_219_200_000;

/// Why a text is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeError {
    /// Not of the form, or not on the calendar.
    Invalid,
    /// A time of day somewhere, but not where.
    NoOffset,
}

/// Milliseconds since the Unix epoch; what is finer is cut off.
pub(super) fn parse_rfc3339(text: &str) -> Result<i64, TimeError> {
    check_form(text.as_bytes())?;
    let at: Timestamp = text.parse().map_err(|_| TimeError::Invalid)?;
    i64::try_from(at.as_nanosecond().div_euclid(1_000_000)).map_err(|_| TimeError::Invalid)
}

/// The calendar's parser takes more forms than RFC 3339 has.
fn check_form(text: &[u8]) -> Result<(), TimeError> {
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
        [b'Z' | b'z'] => Ok(()),
        [b'+' | b'-', offset @ ..] if expect(offset, b"00:00") == Some(&[]) => Ok(()),
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
    use super::{parse_rfc3339, rfc3339};

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
            ("0000-01-01T00:00:00Z", Ok(-62_167_219_200_000)),
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
            (-62_167_219_200_000, "\"0000-01-01T00:00:00.000Z\""),
            (-62_167_219_200_001, "-62167219200001"),
            (i64::MAX, "9223372036854775807"),
            (i64::MIN, "-9223372036854775808"),
        ] {
            let value = rfc3339(at_ms);
            assert_eq!(value.to_string(), expected);
            if let Some(text) = value.as_str() {
                assert_eq!(parse_rfc3339(text), Ok(at_ms));
            }
        }
    }
}
