//! Every limit of this crate, and how they relate.

/// Longest order number, in bytes (R3).
pub const ORDER_NO_BYTES_MAX: usize = 128;

/// Strings of a refused or conflicting award are cut to this many bytes in its fact: what was
/// refused may be anything, and the journal is kept for ever.
pub const FACT_TEXT_BYTES_MAX: usize = 256;

/// Largest encoded award or control record, in bytes, header included. The other kinds are written
/// here alone and are as large as what they carry.
pub const AWARD_BYTES_MAX: usize = 1024 * 1024;

/// Longest code of an asset, in bytes.
pub const ASSET_CODE_BYTES_MAX: usize = 16;

/// Most digits after the point of an asset.
pub const ASSET_SCALE_MAX: u8 = 6;

/// Most problems reported about one request.
pub const JSON_PROBLEMS_MAX: usize = 100;

/// Longest text of the input that a problem repeats, in bytes.
pub const PROBLEM_TEXT_BYTES_MAX: usize = 128;

/// Deepest nesting of a record written with a foreign schema.
pub const WRITER_DEPTH_MAX: usize = 64;

const _: () = assert!(ORDER_NO_BYTES_MAX <= FACT_TEXT_BYTES_MAX, "an order number is never cut");

/// The longest prefix of `text` of at most `bytes_max` bytes that ends between characters.
#[inline]
#[must_use]
pub fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn cuts_between_characters() {
        for (text, bytes_max, expected) in [
            ("", 0, ""),
            ("abc", 3, "abc"),
            ("abc", 9, "abc"),
            ("abc", 2, "ab"),
            ("aé", 2, "a"),
            ("aé", 3, "aé"),
            ("红包", 5, "红"),
            ("红包", 2, ""),
        ] {
            assert_eq!(cut(text, bytes_max), expected, "{text:?} at {bytes_max}");
        }
    }
}
