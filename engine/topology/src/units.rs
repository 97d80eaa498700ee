//! The grammar of values with units, and how they are written back: `5ms`, `256MiB`, `20000/s`,
//! `5%`, whole numbers. One parser for files, and its errors say the accepted forms.

use crate::problem::{Code, Fault, shown};
use std::time::Duration;

const DURATIONS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const THOUSANDS: &[(&str, u64)] = &[("M", 1_000_000), ("k", 1_000), ("", 1)];

/// A duration: a whole number and one of `ms s m h d`.
pub(crate) fn duration(text: &str) -> Result<Duration, Fault> {
    let (number, unit) = split(text);
    let help = "write a whole number and a unit (ms, s, m, h, d), such as `5ms`, `2s`, `15m`, `24h`, `30d`";
    let milliseconds = scaled(number, unit, DURATIONS);
    milliseconds.map(Duration::from_millis).ok_or_else(|| bad(text, "a duration", help))
}

/// A size in bytes: a whole number and one of `B KiB MiB GiB`.
pub(crate) fn size(text: &str) -> Result<u64, Fault> {
    let (number, unit) = split(text);
    let help = "write a whole number and a unit (B, KiB, MiB, GiB: powers of 1024), such as `256MiB`";
    scaled(number, unit, SIZES).ok_or_else(|| bad(text, "a size", help))
}

/// A rate per second: a whole number, optionally with `k` (thousand) or `M` (million), and `/s`.
pub(crate) fn rate(text: &str) -> Result<u64, Fault> {
    let fault = || {
        let help = "write a whole number per second, such as `20000/s`, `20k/s` or `2M/s`";
        bad(text, "a rate", help)
    };
    let (number, unit) = split(text.strip_suffix("/s").ok_or_else(fault)?);
    scaled(number, unit, THOUSANDS).ok_or_else(fault)
}

/// A whole percentage.
pub(crate) fn percent(text: &str) -> Result<u64, Fault> {
    let help = "write a whole percentage, such as `5%`";
    text.strip_suffix('%').and_then(digits).ok_or_else(|| bad(text, "a percentage", help))
}

/// A whole number without sign, unit or separators.
pub(crate) fn whole(text: &str) -> Result<u64, Fault> {
    let help = "write digits only, such as `200`";
    digits(text).ok_or_else(|| bad(text, "a whole number", help))
}

/// The number and the unit behind it.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn scaled(number: &str, unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits(number)?.checked_mul(*factor)
}

fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

fn bad(text: &str, what: &str, help: &str) -> Fault {
    Fault::new(Code::BadNumber, format!("{} is not {what}", shown(text)), help)
}

/// The shortest exact form, such as `15m` for 900 seconds.
pub(crate) fn show_duration(value: Duration) -> String {
    let milliseconds = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    if milliseconds == 0 { "0s".to_owned() } else { show(milliseconds, DURATIONS) }
}

/// The shortest exact form, such as `256MiB`.
pub(crate) fn show_size(bytes: u64) -> String {
    if bytes == 0 { "0B".to_owned() } else { show(bytes, SIZES) }
}

/// Such as `20000/s`; without suffixes, so that figures can be compared by eye.
pub(crate) fn show_rate(per_second: u64) -> String {
    format!("{per_second}/s")
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let exact = units.iter().find(|(_, factor)| value.is_multiple_of(*factor));
    exact.map_or_else(|| value.to_string(), |(unit, factor)| format!("{}{unit}", value / factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let cases = [("0s", 0), ("0ms", 0), ("5ms", 5), ("2s", 2_000), ("15m", 900_000), ("24h", 86_400_000)];
        for (text, expected) in cases {
            assert_eq!(duration(text).map(|d| d.as_millis()), Ok(expected), "{text}");
        }
        assert_eq!(duration("30d").map(|d| d.as_secs()), Ok(2_592_000));
        let bad = [
            "",
            "5",
            "ms",
            "-5ms",
            "+5ms",
            "5 ms",
            " 5ms",
            "5MS",
            "5us",
            "1.5s",
            "1h30m",
            "5w",
            "٥ms",
            "99999999999999999999ms",
            "9999999999999999d",
        ];
        for text in bad {
            assert_eq!(duration(text).map_err(|fault| fault.code), Err(Code::BadNumber), "{text}");
        }
    }

    #[test]
    fn sizes() {
        let cases =
            [("0B", 0), ("512B", 512), ("4KiB", 4096), ("256MiB", 256 << 20), ("2GiB", 2_147_483_648)];
        for (text, expected) in cases {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "256", "256MB", "256M", "256mib", "1.5GiB", "-1B", "1TiB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates() {
        let cases = [("1/s", 1), ("20000/s", 20_000), ("20k/s", 20_000), ("2M/s", 2_000_000), ("0/s", 0)];
        for (text, expected) in cases {
            assert_eq!(rate(text), Ok(expected), "{text}");
        }
        for text in ["", "/s", "20000", "1.8M/s", "20K/s", "20m/s", "5/m", "5 /s", "-5/s", "k/s", "5/s/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn percentages_and_whole_numbers() {
        assert_eq!((percent("0%"), percent("5%"), percent("100%")), (Ok(0), Ok(5), Ok(100)));
        for text in ["", "%", "5", "5 %", "2.5%", "-5%", "5%%"] {
            assert!(percent(text).is_err(), "{text}");
        }
        assert_eq!((whole("0"), whole("200"), whole("18446744073709551615")), (Ok(0), Ok(200), Ok(u64::MAX)));
        for text in ["", "1_000", "1e3", "0x10", "1.0", "-1", "+1", "18446744073709551616", " 1"] {
            assert!(whole(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(value in 0u64..=u64::MAX / 86_400_000) {
            prop_assert_eq!(duration(&show_duration(Duration::from_millis(value))), Ok(Duration::from_millis(value)));
            prop_assert_eq!(size(&show_size(value)), Ok(value));
            prop_assert_eq!(rate(&show_rate(value)), Ok(value));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,30}|[0-9]{0,25}(ms|s|%|/s|MiB)?") {
            let results = (duration(&text), size(&text), rate(&text), percent(&text), whole(&text));
            prop_assert!(results.0.is_ok() || results.0.is_err());
        }
    }
}
