//! What a sink is about to do, or did. One record covers ranges of a lane's orders, so that the
//! facts of an order do not become as many records.

use crate::limits::{FACT_TEXT_BYTES_MAX, cut};
use crate::record::fingerprint;
use crate::wire::{self, DecodeError, HEADER_BYTES, Items, LONG_BYTES_MAX, Reader, put_long, put_str};

const HEADER: [u8; HEADER_BYTES] = wire::header(fingerprint::CREDIT);

/// How far an attempt to credit has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CreditStage {
    /// About to be sent: durable before the first byte leaves, and before each resend (I12).
    Started,
    /// The downstream has it, now or from before.
    Credited,
    /// This attempt is settled without effect: throttled, or nobody took it.
    Deferred,
    /// Refused for good; the order has ended.
    Refused,
    /// This attempt is unresolved.
    Unknown,
    /// Needs a person; the order has ended for the sink (I11).
    Reported,
    /// This attempt was given up before it was sent, and does not count as sent.
    Withdrawn,
}

impl CreditStage {
    /// Every stage; its place here is its number on the wire.
    pub const ALL: [Self; 7] = [
        Self::Started,
        Self::Credited,
        Self::Deferred,
        Self::Refused,
        Self::Unknown,
        Self::Reported,
        Self::Withdrawn,
    ];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Credited => "credited",
            Self::Deferred => "deferred",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Reported => "reported",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A fact about orders of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditFact<'a> {
    /// What happened.
    pub stage: CreditStage,
    /// The lane.
    pub lane: &'a str,
    /// The sink's time, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// To which orders, by their sequence in the lane and partition.
    pub ranges: Ranges<'a>,
    /// Why, where there is something to say; cut to 256 bytes when written.
    pub reason: &'a str,
}

impl<'a> CreditFact<'a> {
    /// Appends the record.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let reason = cut(self.reason, FACT_TEXT_BYTES_MAX);
        let ranges = self.ranges.bytes;
        out.reserve(HEADER_BYTES + 4 * LONG_BYTES_MAX + self.lane.len() + ranges.len() + reason.len());
        out.extend_from_slice(&HEADER);
        put_long(out, self.stage as i64);
        put_str(out, self.lane);
        put_long(out, self.at_ms);
        out.extend_from_slice(ranges);
        put_str(out, reason);
    }

    #[inline]
    pub(crate) fn decode_body(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            stage: wire::symbol(reader, &CreditStage::ALL)?,
            lane: reader.str()?,
            at_ms: reader.long()?,
            ranges: Ranges::decode(reader)?,
            reason: reader.str()?,
        })
    }
}

/// Consecutive lane sequences: `count` of them from `first`. Sequences start at 1, so both are
/// above zero, and the last one fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqRange {
    first: i64,
    count: i64,
}

impl SeqRange {
    /// A range, if there is one like that.
    #[inline]
    #[must_use]
    pub const fn new(first: i64, count: i64) -> Option<Self> {
        if first > 0 && count > 0 && first.checked_add(count).is_some() {
            Some(Self { first, count })
        } else {
            None
        }
    }

    /// The first sequence.
    #[inline]
    #[must_use]
    pub const fn first(self) -> i64 {
        self.first
    }

    /// How many there are.
    #[inline]
    #[must_use]
    pub const fn count(self) -> i64 {
        self.count
    }

    /// The first sequence behind the range.
    #[inline]
    #[must_use]
    pub const fn end(self) -> i64 {
        self.first + self.count
    }
}

/// Borrowed, checked ranges.
#[derive(Clone, Copy)]
pub struct Ranges<'a> {
    /// A whole Avro array, checked.
    bytes: &'a [u8],
}

impl<'a> Ranges<'a> {
    /// No range.
    pub const EMPTY: Self = Self { bytes: &[0] };

    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { bytes: reader.blocks(|item| read_range(item).map(drop))? })
    }

    /// The ranges in the order they were written.
    #[inline]
    #[must_use]
    pub fn iter(&self) -> RangesIter<'a> {
        RangesIter { items: Items::new(self.bytes) }
    }

    /// Sequences in all ranges together; `i64::MAX` if they are more.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.iter().fold(0, |total, range| total.saturating_add(range.count))
    }

    /// Whether there is no range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<'a> IntoIterator for Ranges<'a> {
    type Item = SeqRange;
    type IntoIter = RangesIter<'a>;

    fn into_iter(self) -> RangesIter<'a> {
        self.iter()
    }
}

impl PartialEq for Ranges<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Ranges<'_> {}

impl std::fmt::Debug for Ranges<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|range| range.first..range.end())).finish()
    }
}

#[inline]
fn read_range(reader: &mut Reader<'_>) -> Result<SeqRange, DecodeError> {
    SeqRange::new(reader.long()?, reader.long()?).ok_or(DecodeError::Undecodable)
}

/// Ranges of a [`Ranges`].
#[derive(Clone, Debug)]
pub struct RangesIter<'a> {
    items: Items<'a>,
}

impl Iterator for RangesIter<'_> {
    type Item = SeqRange;

    #[inline]
    fn next(&mut self) -> Option<SeqRange> {
        self.items.next(read_range)
    }
}

/// Collects ranges for a fact; reused from fact to fact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangesBuf {
    ranges: Vec<SeqRange>,
    /// The ranges as an Avro array; brought up to date by [`Self::as_ranges`].
    bytes: Vec<u8>,
}

impl RangesBuf {
    /// No range.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Drops all ranges and keeps the memory.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Adds a range; one that begins where the last one ends makes that longer.
    pub fn push(&mut self, range: SeqRange) {
        if let Some(last) = self.ranges.last_mut()
            && last.end() == range.first
            && let Some(longer) = SeqRange::new(last.first, last.count.saturating_add(range.count))
        {
            *last = longer;
        } else {
            self.ranges.push(range);
        }
    }

    /// Whether there is no range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Number of ranges.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The ranges, borrowed.
    pub fn as_ranges(&mut self) -> Ranges<'_> {
        self.bytes.clear();
        if !self.ranges.is_empty() {
            put_long(&mut self.bytes, self.ranges.len() as i64);
            for range in &self.ranges {
                put_long(&mut self.bytes, range.first);
                put_long(&mut self.bytes, range.count);
            }
        }
        self.bytes.push(0);
        Ranges { bytes: &self.bytes }
    }
}
