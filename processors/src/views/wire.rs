//! Numbers and texts inside rows: unsigned LEB128, zig-zag for signed ones, texts with their
//! length in front. Every value has exactly one encoding, so equal states give equal rows (I19).

use hongbao_engine::store::StoreError;

/// Appends a number.
#[inline]
pub(super) fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    if value < 0x80 {
        out.push(value as u8);
        return;
    }
    let mut buf = [0_u8; 10];
    let mut len = 0;
    for slot in &mut buf {
        len += 1;
        if value < 0x80 {
            *slot = value as u8;
            break;
        }
        *slot = value as u8 | 0x80;
        value >>= 7;
    }
    out.extend_from_slice(buf.get(..len).unwrap_or(&buf));
}

/// Appends a signed number.
#[inline]
pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends a signed sum.
#[inline]
pub(super) fn put_i128(out: &mut Vec<u8>, value: i128) {
    let mut rest = ((value << 1) ^ (value >> 127)).cast_unsigned();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a text.
#[inline]
pub(super) fn put_str(out: &mut Vec<u8>, text: &str) {
    put_u64(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Reads a row from front to back; `None` when the bytes are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Take<'a> {
    rest: &'a [u8],
}

impl<'a> Take<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            // The tenth byte holds the one bit that is left.
            if at == 9 && *byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.rest = self.rest.get(at + 1..)?;
                return Some(value);
            }
        }
        None
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.u64()?).ok()
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Option<u16> {
        u16::try_from(self.u64()?).ok()
    }

    #[inline]
    pub(super) fn i64(&mut self) -> Option<i64> {
        let zigzag = self.u64()?;
        Some((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()))
    }

    #[inline]
    pub(super) fn i128(&mut self) -> Option<i128> {
        let mut zigzag = 0_u128;
        for shift in (0..i128::BITS).step_by(7) {
            let byte = self.byte()?;
            zigzag |= u128::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()));
            }
        }
        None
    }

    #[inline]
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline]
    pub(super) fn str(&mut self) -> Option<&'a str> {
        let count = usize::try_from(self.u64()?).ok()?;
        std::str::from_utf8(self.bytes(count)?).ok()
    }

    /// `Some` only at the end of the row.
    #[inline]
    pub(super) const fn end(self) -> Option<()> {
        if self.rest.is_empty() { Some(()) } else { None }
    }
}

/// What to say about a row that cannot be read (I26).
pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(format!("a row of the views cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everything_reads_back(a: u64, b: i64, c: i128, text in ".{0,20}", small in 0_u64..300) {
            let mut bytes = Vec::new();
            put_u64(&mut bytes, a);
            put_i64(&mut bytes, b);
            put_i128(&mut bytes, c);
            put_str(&mut bytes, &text);
            put_u64(&mut bytes, small);
            let mut take = Take::new(&bytes);
            prop_assert_eq!(take.u64(), Some(a));
            prop_assert_eq!(take.i64(), Some(b));
            prop_assert_eq!(take.i128(), Some(c));
            prop_assert_eq!(take.str(), Some(text.as_str()));
            prop_assert_eq!(take.u64(), Some(small));
            prop_assert_eq!(take.end(), Some(()));
            for cut in 0..bytes.len() {
                let mut take = Take::new(&bytes[..cut]);
                let whole = (take.u64(), take.i64(), take.i128(), take.str().map(str::len), take.u64());
                prop_assert!(!matches!(whole, (Some(_), Some(_), Some(_), Some(_), Some(_))));
            }
        }
    }

    #[test]
    fn numbers_that_are_too_long_are_refused() {
        assert_eq!(Take::new(&[0xff; 10]).u64(), None);
        assert_eq!(Take::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).u64(), None);
        assert_eq!(Take::new(&[0xff; 20]).i128(), None);
        assert_eq!(Take::new(&[0x80, 0x80, 0x04]).u16(), None, "65536");
    }
}
