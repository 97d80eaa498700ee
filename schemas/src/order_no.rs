//! Order numbers: the idempotency key of an award, for ever (R3, I2).

use crate::limits::ORDER_NO_BYTES_MAX;

/// A well-formed order number, `{act_id}_{scene_id}_{rain_id}_{award_type}_{stage}`: five
/// non-empty parts split from the right at `_`, so only `act_id` may hold `_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderNo<'a> {
    text: &'a str,
    /// Places of the four `_` that split the parts.
    cuts: [u8; 4],
}

/// Why a text is not an order number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderNoError {
    /// Empty, or longer than [`ORDER_NO_BYTES_MAX`].
    #[error("an order number has 1 to {ORDER_NO_BYTES_MAX} bytes, this has {bytes}")]
    Length {
        /// Bytes found.
        bytes: usize,
    },
    /// A character outside of `[A-Za-z0-9_.:-]`.
    #[error("an order number holds only letters, digits and _ . : -")]
    Character,
    /// Fewer than five parts, or an empty one.
    #[error("an order number has five non-empty parts: act_id, scene_id, rain_id, award_type, stage")]
    Parts,
}

/// Zero for the bytes that an order number may hold.
const REFUSED: [u8; 256] = {
    let mut refused = [1u8; 256];
    let mut byte = 0;
    while byte < 128 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-') {
            refused[byte] = 0;
        }
        byte += 1;
    }
    refused
};

impl<'a> OrderNo<'a> {
    /// Reads an order number.
    ///
    /// # Errors
    /// The first rule that `text` breaks, of length, characters and parts.
    #[inline]
    pub fn parse(text: &'a str) -> Result<Self, OrderNoError> {
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes.len() > ORDER_NO_BYTES_MAX {
            return Err(OrderNoError::Length { bytes: bytes.len() });
        }
        let mut refused = 0;
        let mut count = 0u32;
        let mut last_four = 0u32; // places of the last four '_', one byte each: they fit in 128
        for (place, &byte) in bytes.iter().enumerate() {
            refused |= REFUSED[usize::from(byte)];
            if byte == b'_' {
                last_four = (last_four << 8) | place as u32;
                count += 1;
            }
        }
        if refused != 0 {
            return Err(OrderNoError::Character);
        }
        let cuts = last_four.to_be_bytes();
        let [first, second, third, fourth] = cuts.map(usize::from);
        let non_empty = first > 0
            && second > first + 1
            && third > second + 1
            && fourth > third + 1
            && bytes.len() > fourth + 1;
        if count < 4 || !non_empty {
            return Err(OrderNoError::Parts);
        }
        Ok(Self { text, cuts })
    }

    /// Puts an order number together (R1).
    ///
    /// # Errors
    /// [`OrderNoError`] when the parts do not make an order number that splits into them again.
    pub fn join(
        act_id: &str,
        scene_id: &str,
        rain_id: &str,
        award_type: &str,
        stage: &str,
    ) -> Result<String, OrderNoError> {
        let text = [act_id, scene_id, rain_id, award_type, stage].join("_");
        let parts = OrderNo::parse(&text)?;
        let same = parts.act_id() == act_id
            && parts.scene_id() == scene_id
            && parts.rain_id() == rain_id
            && parts.award_type() == award_type;
        if same { Ok(text) } else { Err(OrderNoError::Parts) }
    }

    /// The whole.
    #[inline]
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// The person.
    #[inline]
    #[must_use]
    pub fn act_id(&self) -> &'a str {
        &self.text[..usize::from(self.cuts[0])]
    }

    /// The scene.
    #[inline]
    #[must_use]
    pub fn scene_id(&self) -> &'a str {
        self.part(0)
    }

    /// The round within the scene.
    #[inline]
    #[must_use]
    pub fn rain_id(&self) -> &'a str {
        self.part(1)
    }

    /// Free text; not compared with the reward type.
    #[inline]
    #[must_use]
    pub fn award_type(&self) -> &'a str {
        self.part(2)
    }

    /// Tells the issues of one award apart: a re-issue has a new stage (W17).
    #[inline]
    #[must_use]
    pub fn stage(&self) -> &'a str {
        &self.text[usize::from(self.cuts[3]) + 1..]
    }

    #[inline]
    fn part(&self, cut: usize) -> &'a str {
        &self.text[usize::from(self.cuts[cut]) + 1..usize::from(self.cuts[cut + 1])]
    }

    /// Appends the order number's key in a store, `scene \0 act \0 rain \0 type \0 stage`: the
    /// orders of a finished scene are one range. One to one, because no part holds a zero byte.
    #[inline]
    pub fn store_key(&self, out: &mut Vec<u8>) {
        out.reserve(self.text.len());
        out.extend_from_slice(self.scene_id().as_bytes());
        for part in [self.act_id(), self.rain_id(), self.award_type(), self.stage()] {
            out.push(0);
            out.extend_from_slice(part.as_bytes());
        }
    }
}

impl std::fmt::Display for OrderNo<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ORDER_NO_BYTES_MAX, OrderNo, OrderNoError};

    fn parts(text: &str) -> Result<[&str; 5], OrderNoError> {
        let n = OrderNo::parse(text)?;
        Ok([n.act_id(), n.scene_id(), n.rain_id(), n.award_type(), n.stage()])
    }

    #[test]
    fn splits_from_the_right() {
        for (text, expected) in [
            ("a_s_r_t_1", ["a", "s", "r", "t", "1"]),
            ("a_b_s_r_t_1", ["a_b", "s", "r", "t", "1"]),
            ("_a_s_r_t_1", ["_a", "s", "r", "t", "1"]),
            ("a__s_r_t_1", ["a_", "s", "r", "t", "1"]),
            ("___s_r_t_1", ["__", "s", "r", "t", "1"]),
            (
                "A.b:c-9_rain-1_2027.01:01_cash.video_0",
                ["A.b:c-9", "rain-1", "2027.01:01", "cash.video", "0"],
            ),
        ] {
            assert_eq!(parts(text), Ok(expected), "{text}");
            assert_eq!(OrderNo::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses() {
        use OrderNoError::{Character, Length, Parts};
        let long = |bytes: usize| format!("{}_s_r_t_1", "a".repeat(bytes - "_s_r_t_1".len()));
        for (text, expected) in [
            (String::new(), Length { bytes: 0 }),
            (long(129), Length { bytes: 129 }),
            ("a".repeat(1 << 20), Length { bytes: 1 << 20 }),
            ("a_s_r_t".to_owned(), Parts),
            ("a".to_owned(), Parts),
            ("____".to_owned(), Parts),
            ("_s_r_t_1".to_owned(), Parts),
            ("a__r_t_1".to_owned(), Parts),
            ("a_s__t_1".to_owned(), Parts),
            ("a_s_r__1".to_owned(), Parts),
            ("a_s_r_t_".to_owned(), Parts),
            ("b_a_s_r_t_".to_owned(), Parts),
            ("红_s_r_t_1".to_owned(), Character),
            ("a_s_r_t_1é".to_owned(), Character),
            ("a_s_r_t_1 ".to_owned(), Character),
            ("a_s_r_t_1\0".to_owned(), Character),
            ("a_s_r_t_1/2".to_owned(), Character),
            ("a_s_r_t_1\n".to_owned(), Character),
        ] {
            assert_eq!(OrderNo::parse(&text).map(|n| n.to_string()), Err(expected), "{text:.40}");
        }
        for bytes in [9, 127, ORDER_NO_BYTES_MAX] {
            assert_eq!(parts(&long(bytes)).unwrap()[1..], ["s", "r", "t", "1"], "{bytes}");
        }
    }

    #[test]
    fn every_byte_is_allowed_or_refused() {
        let allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-";
        for byte in 0..128u8 {
            let text = format!("a{}_s_r_t_1", char::from(byte));
            assert_eq!(OrderNo::parse(&text).is_ok(), allowed.contains(char::from(byte)), "{byte}");
        }
    }

    #[test]
    fn join_is_the_inverse_of_split() {
        for (parts, expected) in [
            (["a_b", "s", "r", "t", "1"], Ok("a_b_s_r_t_1")),
            (["a", "s_x", "r", "t", "1"], Err(OrderNoError::Parts)),
            (["a", "s", "r", "t", "1_1"], Err(OrderNoError::Parts)),
            (["a", "s", "", "t", "1"], Err(OrderNoError::Parts)),
            (["", "s", "r", "t", "1"], Err(OrderNoError::Parts)),
            (["a", "s", "r", "t", "#"], Err(OrderNoError::Character)),
        ] {
            let [a, s, r, t, g] = parts;
            assert_eq!(
                OrderNo::join(a, s, r, t, g).as_deref(),
                expected.as_ref().map(|text| *text),
                "{parts:?}"
            );
        }
    }

    #[test]
    fn store_key_puts_the_scene_first() {
        let mut key = b"on".to_vec();
        OrderNo::parse("a_b_s_r_t_1").unwrap().store_key(&mut key);
        assert_eq!(key, b"ons\0a_b\0r\0t\x001");
    }

    proptest! {
        #[test]
        fn what_parses_is_made_of_its_parts(text in "[a-b_._]{0,40}") {
            let splits: Vec<&str> = text.rsplitn(5, '_').collect();
            let expected = splits.len() == 5 && splits.iter().all(|part| !part.is_empty());
            let parsed = OrderNo::parse(&text);
            prop_assert_eq!(parsed.is_ok(), expected);
            if let Ok(n) = parsed {
                prop_assert_eq!(vec![n.stage(), n.award_type(), n.rain_id(), n.scene_id(), n.act_id()], splits);
                let joined = OrderNo::join(n.act_id(), n.scene_id(), n.rain_id(), n.award_type(), n.stage());
                prop_assert_eq!(joined.as_deref(), Ok(text.as_str()));
            }
        }
    }
}
