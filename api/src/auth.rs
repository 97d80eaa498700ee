//! Bearer tokens and roles. Only hashes are kept, in memory and in the file.

use std::collections::BTreeMap;

/// What a token may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Publish awards and read orders.
    Producer,
    /// Read everything.
    Viewer,
    /// Act.
    Operator,
}

/// The tokens that are accepted.
///
/// The file has one token a line: `role hash-in-hex name`, where the hash is BLAKE3 of the token's
/// bytes (`printf %s TOKEN | b3sum`); `#` begins a comment.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    by_hash: BTreeMap<[u8; 32], Role>,
}

/// A line of the tokens file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TokenError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl Tokens {
    /// Parses a tokens file.
    ///
    /// # Errors
    /// The first bad line, or an empty file.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut tokens = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            let content = line.split('#').next().unwrap_or_default().trim();
            if content.is_empty() {
                continue;
            }
            let fault = |what| TokenError { line: line_number, what };
            let mut words = content.split_whitespace();
            let role = match words.next() {
                Some("producer") => Role::Producer,
                Some("viewer") => Role::Viewer,
                Some("operator") => Role::Operator,
                _ => return Err(fault("begins with none of producer, viewer, operator")),
            };
            let hash = words.next().and_then(|hex| blake3::Hash::from_hex(hex).ok());
            let hash = hash.ok_or_else(|| fault("has no BLAKE3 hash of 64 hexadecimal digits"))?;
            tokens.by_hash.insert(*hash.as_bytes(), role);
        }
        if tokens.by_hash.is_empty() {
            return Err(TokenError { line: 1, what: "the file holds no token" });
        }
        Ok(tokens)
    }

    /// The role of a token. Looking up by hash leaks nothing of use about other tokens.
    #[must_use]
    pub fn role(&self, token: &str) -> Option<Role> {
        self.known(token).map(|(_, role)| role)
    }

    /// Hash and role of a token.
    pub(crate) fn known(&self, token: &str) -> Option<([u8; 32], Role)> {
        let hash = *blake3::hash(token.as_bytes()).as_bytes();
        Some((hash, *self.by_hash.get(&hash)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_parsed_or_refused_with_the_line() {
        let hash = blake3::hash(b"secret").to_hex();
        let good = format!("# tokens\n\nviewer {hash} board\n");
        let tokens = Tokens::parse(&good).unwrap();
        assert_eq!(tokens.role("secret"), Some(Role::Viewer));
        assert_eq!(tokens.role("other"), None);

        for (text, line) in
            [("", 1), ("# only a comment\n", 1), ("root 00\n", 1), ("\nviewer abc\n", 2), ("viewer\n", 1)]
        {
            assert_eq!(Tokens::parse(text).unwrap_err().line, line, "{text:?}");
        }
    }

    #[test]
    fn roles_are_ordered() {
        assert!(Role::Producer < Role::Viewer && Role::Viewer < Role::Operator);
    }
}
