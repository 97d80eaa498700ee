//! Avro primitives over borrowed bytes. Strict: a length beyond the input, an overlong number or
//! invalid UTF-8 is [`DecodeError::Undecodable`], and nothing is allocated to find that out.

/// Why bytes are not a record. The codes go into dead letters (`schemas/avsc/dead_letter.avsc`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DecodeError {
    /// There are no bytes.
    #[error("the value is empty")]
    EmptyValue,
    /// The bytes do not begin with `C3 01` and a fingerprint.
    #[error("the value is not single-object encoded")]
    UnknownFraming,
    /// The fingerprint is of no schema that could stand here.
    #[error("the schema's fingerprint is unknown")]
    UnknownSchema,
    /// The body does not follow the schema, its MAC is wrong, or it is too large.
    #[error("the body does not follow its schema")]
    Undecodable,
    /// Bytes follow the body.
    #[error("bytes follow the body")]
    TrailingBytes,
}

impl DecodeError {
    /// The stable code, as in dead letters.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::EmptyValue => "empty_value",
            Self::UnknownFraming => "unknown_framing",
            Self::UnknownSchema => "unknown_schema",
            Self::Undecodable => "undecodable",
            Self::TrailingBytes => "trailing_bytes",
        }
    }
}

/// Size of the header: the marker and a fingerprint.
pub(crate) const HEADER_BYTES: usize = 10;
/// Most bytes of one encoded number.
pub(crate) const LONG_BYTES_MAX: usize = 10;

/// The header of records whose schema has this fingerprint.
pub(crate) const fn header(fingerprint: u64) -> [u8; HEADER_BYTES] {
    let f = fingerprint.to_le_bytes();
    [0xC3, 0x01, f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]]
}

/// Splits a record into the fingerprint of its schema and its body.
#[inline]
pub(crate) fn open(record: &[u8]) -> Result<(u64, Reader<'_>), DecodeError> {
    let Some((head, body)) = record.split_first_chunk::<HEADER_BYTES>() else {
        return Err(if record.is_empty() { DecodeError::EmptyValue } else { DecodeError::UnknownFraming });
    };
    let [0xC3, 0x01, fingerprint @ ..] = *head else {
        return Err(DecodeError::UnknownFraming);
    };
    Ok((u64::from_le_bytes(fingerprint), Reader { rest: body }))
}

/// Opens a record that must have this fingerprint.
#[inline]
pub(crate) fn open_as(record: &[u8], fingerprint: u64) -> Result<Reader<'_>, DecodeError> {
    let (found, reader) = open(record)?;
    if found == fingerprint { Ok(reader) } else { Err(DecodeError::UnknownSchema) }
}

/// Reads a body from front to back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// A zig-zag variable-length number of at most 64 bits.
    #[inline]
    pub(crate) fn long(&mut self) -> Result<i64, DecodeError> {
        // Lengths below 64, the most common numbers by far, take one byte.
        if let [first, rest @ ..] = self.rest
            && *first < 0x80
        {
            self.rest = rest;
            return Ok(unzigzag(u64::from(*first)));
        }
        self.long_of_many()
    }

    #[inline]
    fn long_of_many(&mut self) -> Result<i64, DecodeError> {
        if let Some(word) = self.rest.first_chunk::<8>() {
            let word = u64::from_le_bytes(*word);
            let ends = !word & 0x8080_8080_8080_8080;
            if ends != 0 {
                let len = (ends.trailing_zeros() as usize + 1) / 8;
                self.rest = self.rest.get(len..).unwrap_or(&[]);
                return Ok(unzigzag(join_sevens(word & (ends ^ (ends - 1)))));
            }
        }
        self.long_byte_by_byte()
    }

    /// Numbers of more than eight bytes, or too near the end to be read as a word.
    #[cold]
    fn long_byte_by_byte(&mut self) -> Result<i64, DecodeError> {
        let mut value = 0u64;
        let mut shift = 0u32;
        for (at, &byte) in self.rest.iter().take(LONG_BYTES_MAX).enumerate() {
            // The tenth byte holds the one bit that is left.
            if shift == 63 && byte > 1 {
                return Err(DecodeError::Undecodable);
            }
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                self.rest = self.rest.get(at + 1..).unwrap_or(&[]);
                return Ok(unzigzag(value));
            }
            shift += 7;
        }
        Err(DecodeError::Undecodable)
    }

    /// The next `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Undecodable)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A fixed of `N` bytes.
    #[inline]
    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Undecodable)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Bytes with their length in front.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let count = self.long()?;
        self.take(usize::try_from(count).map_err(|_| DecodeError::Undecodable)?)
    }

    /// A string: bytes that are UTF-8.
    #[inline]
    pub(crate) fn str(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::Undecodable)
    }

    /// `N` strings in a row.
    #[inline]
    pub(crate) fn strs<const N: usize>(&mut self) -> Result<[&'a str; N], DecodeError> {
        match self.short_strs() {
            Some(texts) => Ok(texts),
            None => self.any_strs(),
        }
    }

    /// Strings whose lengths take one byte each. Such a length is a character in itself, so all of
    /// it is UTF-8 exactly when each string is, and one look tells.
    #[inline]
    fn short_strs<const N: usize>(&mut self) -> Option<[&'a str; N]> {
        let mut places = [(0, 0); N];
        let mut end = 0;
        for place in &mut places {
            let length = *self.rest.get(end)?;
            if length & 0x81 != 0 {
                return None;
            }
            let start = end + 1;
            end = start + usize::from(length >> 1);
            *place = (start, end);
        }
        let (taken, rest) = self.rest.split_at_checked(end)?;
        let all = std::str::from_utf8(taken).ok()?;
        let mut texts = [""; N];
        for (text, (start, end)) in texts.iter_mut().zip(places) {
            *text = all.get(start..end)?;
        }
        self.rest = rest;
        Some(texts)
    }

    #[cold]
    fn any_strs<const N: usize>(&mut self) -> Result<[&'a str; N], DecodeError> {
        let mut texts = [""; N];
        for text in &mut texts {
            *text = self.str()?;
        }
        Ok(texts)
    }

    /// Reads the blocks of an array or map, `item` for each of its items, and returns the bytes
    /// read. A block that states its size must be of that size, because other readers skip by it.
    #[inline]
    pub(crate) fn blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<&'a [u8], DecodeError> {
        let whole = self.rest;
        loop {
            let count = self.long()?;
            if count == 0 {
                break;
            }
            let stated = if count < 0 { Some(self.long()?) } else { None };
            let before = self.rest.len();
            // An item takes a byte at least: a count beyond the input is refused before it is tried.
            if count.unsigned_abs() > before as u64 {
                return Err(DecodeError::Undecodable);
            }
            for _ in 0..count.unsigned_abs() {
                item(self)?;
            }
            let taken = before - self.rest.len();
            if stated.is_some_and(|stated| usize::try_from(stated) != Ok(taken)) {
                return Err(DecodeError::Undecodable);
            }
        }
        whole.get(..whole.len() - self.rest.len()).ok_or(DecodeError::Undecodable)
    }

    /// The end of the body must be the end of the bytes.
    #[inline]
    pub(crate) const fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }
}

/// Puts the low seven bits of each byte next to each other: pairs, then fours, then all eight.
#[inline]
const fn join_sevens(word: u64) -> u64 {
    let pairs = (word & 0x007F_007F_007F_007F) | ((word & 0x7F00_7F00_7F00_7F00) >> 1);
    let fours = (pairs & 0x0000_3FFF_0000_3FFF) | ((pairs & 0x3FFF_0000_3FFF_0000) >> 2);
    (fours & 0x0FFF_FFFF) | ((fours & 0x0FFF_FFFF_0000_0000) >> 4)
}

#[inline]
const fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

/// Items of a checked array or map, block after block.
#[derive(Clone, Debug)]
pub(crate) struct Items<'a> {
    reader: Reader<'a>,
    left_in_block: u64,
}

impl<'a> Items<'a> {
    /// `checked` came from [`Reader::blocks`] or was written here.
    pub(crate) const fn new(checked: &'a [u8]) -> Self {
        Self { reader: Reader::new(checked), left_in_block: 0 }
    }

    /// The next item; `None` at the end.
    #[inline]
    pub(crate) fn next<T>(
        &mut self,
        item: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Option<T> {
        if self.left_in_block == 0 {
            let count = self.reader.long().ok()?;
            if count < 0 {
                self.reader.long().ok()?;
            }
            self.left_in_block = count.unsigned_abs();
        }
        self.left_in_block = self.left_in_block.checked_sub(1)?;
        item(&mut self.reader).ok()
    }
}

/// Appends a number.
#[inline]
pub(crate) fn put_long(out: &mut Vec<u8>, value: i64) {
    let zigzag = zigzag(value);
    if zigzag < 0x80 {
        out.push(zigzag as u8);
    } else {
        put_long_of_many(out, zigzag);
    }
}

#[inline]
fn put_long_of_many(out: &mut Vec<u8>, zigzag: u64) {
    let mut rest = zigzag;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A number as encoded, and how many bytes of the array it takes.
#[inline]
pub(crate) fn encode_long(value: i64) -> ([u8; LONG_BYTES_MAX], usize) {
    encode_varint(zigzag(value))
}

#[inline]
const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
fn encode_varint(mut rest: u64) -> ([u8; LONG_BYTES_MAX], usize) {
    let mut buf = [0u8; LONG_BYTES_MAX];
    let mut len = 0;
    for slot in &mut buf {
        len += 1;
        if rest < 0x80 {
            *slot = rest as u8;
            break;
        }
        *slot = rest as u8 | 0x80;
        rest >>= 7;
    }
    (buf, len)
}

/// Appends bytes with their length in front.
#[inline]
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// Appends a string.
#[inline]
pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// Reads an enum by its number; `symbols` in the order of the schema.
#[inline]
pub(crate) fn symbol<T: Copy>(reader: &mut Reader<'_>, symbols: &[T]) -> Result<T, DecodeError> {
    let number = usize::try_from(reader.long()?).map_err(|_| DecodeError::Undecodable)?;
    symbols.get(number).copied().ok_or(DecodeError::Undecodable)
}
