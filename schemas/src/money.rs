//! Money: integers of minor units, checked (I8). What cannot be is not representable: an
//! [`Amount`] is above zero, a [`Sum`] is not below it (I16), and neither wraps around.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{ASSET_CODE_BYTES_MAX, ASSET_SCALE_MAX};

/// What is counted, and how finely: `CNY/2` counts fen, `COUPON/0` counts pieces.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Asset {
    text: Box<str>,
    scale: u8,
}

/// Why a text is not an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssetError {
    /// The code is not `[A-Z][A-Z0-9]{0,15}`.
    #[error("an asset's code is a capital letter and up to 15 capital letters or digits, as in CNY/2")]
    Code,
    /// The scale is missing or not one of 0 to 6.
    #[error("an asset's scale is a digit from 0 to {ASSET_SCALE_MAX} after a slash, as in CNY/2")]
    Scale,
}

impl Asset {
    /// Reads `CODE/SCALE`.
    ///
    /// # Errors
    /// [`AssetError`] says which half is wrong.
    pub fn parse(text: &str) -> Result<Self, AssetError> {
        let (code, scale) = text.split_once('/').ok_or(AssetError::Scale)?;
        let capital = |byte: &u8| byte.is_ascii_uppercase();
        let well_formed = code.len() <= ASSET_CODE_BYTES_MAX
            && code.as_bytes().first().is_some_and(capital)
            && code.bytes().all(|byte| capital(&byte) || byte.is_ascii_digit());
        if !well_formed {
            return Err(AssetError::Code);
        }
        match *scale.as_bytes() {
            [digit @ b'0'..=b'9'] if digit - b'0' <= ASSET_SCALE_MAX => {
                Ok(Self { text: text.into(), scale: digit - b'0' })
            }
            _ => Err(AssetError::Scale),
        }
    }

    /// Code and scale, as parsed.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The code alone.
    #[must_use]
    pub fn code(&self) -> &str {
        self.text.split('/').next().unwrap_or_default()
    }

    /// Digits after the point: 10 to this power minor units make one.
    #[must_use]
    pub const fn scale(&self) -> u8 {
        self.scale
    }

    /// Whether it is counted in whole pieces, as coupons and pendants are.
    #[must_use]
    pub const fn is_pieces(&self) -> bool {
        self.scale == 0
    }
}

impl FromStr for Asset {
    type Err = AssetError;

    fn from_str(text: &str) -> Result<Self, AssetError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Asset {
    type Error = AssetError;

    fn try_from(text: String) -> Result<Self, AssetError> {
        Self::parse(&text)
    }
}

impl From<Asset> for String {
    fn from(asset: Asset) -> Self {
        asset.text.into()
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asset({})", self.text)
    }
}

/// Why a calculation with money has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// An amount of zero or less.
    #[error("an amount must be above zero")]
    NotPositive,
    /// A sum below zero.
    #[error("a sum must not be below zero")]
    Negative,
    /// Beyond 63 bits.
    #[error("a sum is beyond 63 bits")]
    Overflow,
}

/// An amount in minor units, above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i64);

impl Amount {
    /// An amount of `minor` units.
    ///
    /// # Errors
    /// [`MoneyError::NotPositive`].
    #[inline]
    pub const fn new(minor: i64) -> Result<Self, MoneyError> {
        if minor > 0 { Ok(Self(minor)) } else { Err(MoneyError::NotPositive) }
    }

    /// In minor units.
    #[inline]
    #[must_use]
    pub const fn minor(self) -> i64 {
        self.0
    }
}

/// A sum in minor units, zero or above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sum(i64);

impl Sum {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// A sum of `minor` units.
    ///
    /// # Errors
    /// [`MoneyError::Negative`].
    #[inline]
    pub const fn new(minor: i64) -> Result<Self, MoneyError> {
        if minor >= 0 { Ok(Self(minor)) } else { Err(MoneyError::Negative) }
    }

    /// In minor units.
    #[inline]
    #[must_use]
    pub const fn minor(self) -> i64 {
        self.0
    }

    /// This and `more`.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    #[inline]
    pub const fn plus(self, more: Self) -> Result<Self, MoneyError> {
        match self.0.checked_add(more.0) {
            Some(minor) => Ok(Self(minor)),
            None => Err(MoneyError::Overflow),
        }
    }

    /// This without `less`.
    ///
    /// # Errors
    /// [`MoneyError::Negative`] when there is not that much.
    #[inline]
    pub const fn minus(self, less: Self) -> Result<Self, MoneyError> {
        if less.0 <= self.0 { Ok(Self(self.0 - less.0)) } else { Err(MoneyError::Negative) }
    }

    /// This, `count` times.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    pub fn times(self, count: u64) -> Result<Self, MoneyError> {
        let count = i64::try_from(count).map_err(|_| MoneyError::Overflow)?;
        self.0.checked_mul(count).map(Self).ok_or(MoneyError::Overflow)
    }
}

impl From<Amount> for Sum {
    #[inline]
    fn from(amount: Amount) -> Self {
        Self(amount.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Amount, Asset, AssetError, MoneyError, Sum};

    #[test]
    fn assets() {
        for (text, code, scale) in [
            ("CNY/2", "CNY", 2),
            ("COUPON/0", "COUPON", 0),
            ("A/6", "A", 6),
            ("A234567890123456/1", "A234567890123456", 1),
        ] {
            let asset: Asset = text.parse().expect(text);
            assert_eq!((asset.as_str(), asset.code(), asset.scale()), (text, code, scale));
            assert_eq!(asset.is_pieces(), scale == 0);
            let json = serde_json::to_string(&asset).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Asset>(&json).unwrap(), asset);
        }
    }

    #[test]
    fn no_assets() {
        use AssetError::{Code, Scale};
        for (text, expected) in [
            ("", Scale),
            ("CNY", Scale),
            ("CNY/", Scale),
            ("CNY/7", Scale),
            ("CNY/02", Scale),
            ("CNY/-1", Scale),
            ("CNY/2/2", Scale),
            ("CNY/é", Scale),
            ("/2", Code),
            ("cny/2", Code),
            ("2NY/2", Code),
            ("CN Y/2", Code),
            ("CNÝ/2", Code),
            ("A2345678901234567/1", Code),
        ] {
            assert_eq!(Asset::parse(text), Err(expected), "{text}");
            assert!(serde_json::from_value::<Asset>(text.into()).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_are_above_zero() {
        for (minor, expected) in [
            (i64::MIN, Err(MoneyError::NotPositive)),
            (-1, Err(MoneyError::NotPositive)),
            (0, Err(MoneyError::NotPositive)),
            (1, Ok(1)),
            (i64::MAX, Ok(i64::MAX)),
        ] {
            assert_eq!(Amount::new(minor).map(Amount::minor), expected, "{minor}");
        }
    }

    #[test]
    fn sums_are_checked() {
        use MoneyError::{Negative, Overflow};
        let sum = |minor| Sum::new(minor).unwrap();
        const MAX: i64 = i64::MAX;
        assert_eq!(Sum::new(-1), Err(Negative));
        assert_eq!(Sum::from(Amount::new(7).unwrap()), sum(7));
        for (a, b, plus, minus) in [
            (0, 0, Ok(0), Ok(0)),
            (5, 3, Ok(8), Ok(2)),
            (3, 5, Ok(8), Err(Negative)),
            (MAX, 0, Ok(MAX), Ok(MAX)),
            (MAX, 1, Err(Overflow), Ok(MAX - 1)),
            (1, MAX, Err(Overflow), Err(Negative)),
        ] {
            assert_eq!(sum(a).plus(sum(b)).map(Sum::minor), plus, "{a} + {b}");
            assert_eq!(sum(a).minus(sum(b)).map(Sum::minor), minus, "{a} - {b}");
        }
        for (a, count, expected) in [
            (3, 4, Ok(12)),
            (MAX, 1, Ok(MAX)),
            (MAX, 2, Err(Overflow)),
            (1, u64::MAX, Err(Overflow)),
            (0, 9, Ok(0)),
        ] {
            assert_eq!(sum(a).times(count).map(Sum::minor), expected, "{a} * {count}");
        }
    }
}
