//! The free-form map that travels with an award (R7), as encoded bytes.

use std::collections::BTreeMap;

use crate::wire::{self, DecodeError, Items, Reader};

/// A borrowed, checked map of strings. Kept as the bytes it was written in, so that carrying it
/// along is a copy. Equal when the same pairs come in the same order.
#[derive(Clone, Copy)]
pub struct Ext<'a> {
    /// A whole Avro map, checked.
    bytes: &'a [u8],
}

impl<'a> Ext<'a> {
    /// A map without pairs.
    pub const EMPTY: Self = Self { bytes: &[0] };

    #[inline]
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let bytes = reader.blocks(|pair| {
            pair.str()?;
            pair.str()?;
            Ok(())
        })?;
        Ok(Self { bytes })
    }

    /// The map as encoded.
    #[inline]
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The pairs in the order they were written. A foreign writer may have written a key twice;
    /// the later one counts.
    pub fn iter(&self) -> ExtIter<'a> {
        ExtIter { items: Items::new(self.bytes) }
    }
}

impl<'a> IntoIterator for Ext<'a> {
    type Item = (&'a str, &'a str);
    type IntoIter = ExtIter<'a>;

    fn into_iter(self) -> ExtIter<'a> {
        self.iter()
    }
}

impl PartialEq for Ext<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes || self.iter().eq(other.iter())
    }
}

impl Eq for Ext<'_> {}

impl Default for Ext<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl std::fmt::Debug for Ext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Pairs of an [`Ext`].
#[derive(Clone, Debug)]
pub struct ExtIter<'a> {
    items: Items<'a>,
}

impl<'a> Iterator for ExtIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.items.next(|pair| Ok((pair.str()?, pair.str()?)))
    }
}

/// Owns the bytes of an [`Ext`]: one block, its keys ascending, whatever order they were given in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtBuf {
    bytes: Vec<u8>,
}

impl ExtBuf {
    /// A map without pairs.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: vec![0] }
    }

    /// The map of these pairs; for a key given twice the later one counts.
    #[must_use]
    pub fn from_map(pairs: &BTreeMap<impl AsRef<str> + Ord, impl AsRef<str>>) -> Self {
        Self::from_distinct(pairs.iter().map(|(key, value)| (key.as_ref(), value.as_ref())), pairs.len())
    }

    /// `count` pairs in the order of `pairs`, whose keys differ.
    pub(crate) fn from_distinct<'p>(pairs: impl Iterator<Item = (&'p str, &'p str)>, count: usize) -> Self {
        let mut bytes = Vec::new();
        if count > 0 {
            wire::put_long(&mut bytes, count as i64);
        }
        for (key, value) in pairs {
            wire::put_str(&mut bytes, key);
            wire::put_str(&mut bytes, value);
        }
        bytes.push(0);
        Self { bytes }
    }

    /// Sets one pair. Writes the map anew: to set many, collect them.
    pub fn insert(&mut self, key: &str, value: &str) {
        let mut pairs: BTreeMap<&str, &str> = self.as_ext().iter().collect();
        pairs.insert(key, value);
        *self = Self::from_map(&pairs);
    }

    /// The map, borrowed.
    #[inline]
    #[must_use]
    pub fn as_ext(&self) -> Ext<'_> {
        Ext { bytes: &self.bytes }
    }
}

impl Default for ExtBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for ExtBuf {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs: BTreeMap<String, String> =
            pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Self::from_map(&pairs)
    }
}

impl From<Ext<'_>> for ExtBuf {
    /// The same bytes, whatever blocks they are in.
    fn from(ext: Ext<'_>) -> Self {
        Self { bytes: ext.bytes.to_vec() }
    }
}
