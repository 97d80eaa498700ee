//! One accepted order as a line of its person's statement (W10). Written once and never again: what
//! became of the order is said by its lane ([`super::lanes`]), so a credit touches no entry.

use std::num::NonZeroU64;

use super::wire::{Take, put_i64, put_str, put_u64};

/// Bits of a pointer that hold the sequence.
const SEQ_BITS: u32 = 48;

/// Where an entry stands: its lane and its sequence there, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pointer(NonZeroU64);

impl Pointer {
    /// `None` for sequence 0 and beyond 2^48, which no lane reaches.
    #[inline]
    pub(super) const fn new(lane: u16, seq: u64) -> Option<Self> {
        if seq == 0 || seq >> SEQ_BITS != 0 {
            return None;
        }
        match NonZeroU64::new(((lane as u64) << SEQ_BITS) | seq) {
            Some(packed) => Some(Self(packed)),
            None => None,
        }
    }

    #[inline]
    pub(super) const fn lane(self) -> u16 {
        (self.0.get() >> SEQ_BITS) as u16
    }

    #[inline]
    pub(super) const fn seq(self) -> u64 {
        self.0.get() & ((1 << SEQ_BITS) - 1)
    }
}

/// Appends a pointer, or that there is none.
#[inline]
pub(super) fn put_pointer(out: &mut Vec<u8>, pointer: Option<Pointer>) {
    put_u64(out, pointer.map_or(0, Pointer::seq));
    if let Some(pointer) = pointer {
        put_u64(out, u64::from(pointer.lane()));
    }
}

/// Reads what [`put_pointer`] wrote.
#[inline]
pub(super) fn take_pointer(take: &mut Take<'_>) -> Option<Option<Pointer>> {
    match take.u64()? {
        0 => Some(None),
        seq => Pointer::new(take.u16()?, seq).map(Some),
    }
}

/// An entry's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// Its group: activity, scene, type, asset and lane.
    pub(super) group: u32,
    /// Counted among the orders that are reconciled (W16).
    pub(super) reconciled: bool,
    /// In the asset's minor unit.
    pub(super) amount_minor: i64,
    /// Fold time of the acceptance.
    pub(super) at_ms: i64,
    /// When the person won it.
    pub(super) event_time_ms: i64,
    /// Offset in `awards`.
    pub(super) award_offset: i64,
    /// Offset of the fact.
    pub(super) journal_offset: u64,
    /// The person's entry before this one.
    pub(super) previous: Option<Pointer>,
    /// The person's item before this one, if this is an item.
    pub(super) previous_item: Option<Pointer>,
    pub(super) act_id: &'a str,
    pub(super) order_no: &'a str,
    pub(super) reward_id: &'a str,
    pub(super) app: &'a str,
}

const RECONCILED: u8 = 1;
/// The person's id is the beginning of the order number and not written twice.
const ACT_ID_INSIDE: u8 = 2;

impl<'a> Entry<'a> {
    /// Appends the row.
    #[inline]
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let inside = self.order_no.as_bytes().starts_with(self.act_id.as_bytes());
        let flag = |set, flag| if set { flag } else { 0 };
        out.push(flag(self.reconciled, RECONCILED) | flag(inside, ACT_ID_INSIDE));
        put_u64(out, u64::from(self.group));
        put_i64(out, self.amount_minor);
        put_i64(out, self.at_ms);
        put_i64(out, self.event_time_ms.wrapping_sub(self.at_ms));
        put_i64(out, self.award_offset);
        put_u64(out, self.journal_offset);
        put_pointer(out, self.previous);
        put_pointer(out, self.previous_item);
        put_str(out, self.order_no);
        if inside {
            put_u64(out, self.act_id.len() as u64);
        } else {
            put_str(out, self.act_id);
        }
        put_str(out, self.reward_id);
        put_str(out, self.app);
    }

    /// Reads a row; `None` when it is damaged.
    #[inline]
    pub(super) fn decode(row: &'a [u8]) -> Option<Self> {
        let mut take = Take::new(row);
        let flags = take.byte()?;
        let group = take.u32()?;
        let amount_minor = take.i64()?;
        let at_ms = take.i64()?;
        let event_time_ms = at_ms.wrapping_add(take.i64()?);
        let award_offset = take.i64()?;
        let journal_offset = take.u64()?;
        let previous = take_pointer(&mut take)?;
        let previous_item = take_pointer(&mut take)?;
        let order_no = take.str()?;
        let act_id = if flags & ACT_ID_INSIDE != 0 {
            order_no.get(..usize::try_from(take.u64()?).ok()?)?
        } else {
            take.str()?
        };
        let reward_id = take.str()?;
        let app = take.str()?;
        take.end()?;
        Some(Self {
            group,
            reconciled: flags & RECONCILED != 0,
            amount_minor,
            at_ms,
            event_time_ms,
            award_offset,
            journal_offset,
            previous,
            previous_item,
            act_id,
            order_no,
            reward_id,
            app,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pointers_hold_lane_and_sequence() {
        let largest = (1 << SEQ_BITS) - 1;
        for (lane, seq) in [(0, 1), (0, largest), (7, 5), (u16::MAX, largest)] {
            let pointer = Pointer::new(lane, seq).unwrap();
            assert_eq!((pointer.lane(), pointer.seq()), (lane, seq));
        }
        assert_eq!(Pointer::new(3, 0), None);
        assert_eq!(Pointer::new(0, largest + 1), None);
    }

    fn pointer() -> impl Strategy<Value = Option<Pointer>> {
        (any::<u16>(), 0_u64..1 << 20).prop_map(|(lane, seq)| Pointer::new(lane, seq))
    }

    proptest! {
        #[test]
        fn rows_read_back(
            group: u32, reconciled: bool, amount_minor: i64, times: (i64, i64), offsets: (i64, u64),
            previous in pointer(), previous_item in pointer(),
            act_id in "[a-z_]{0,4}", rest in "[a-z_]{0,9}", apart: bool, reward_id in ".{0,3}", app in ".{0,3}",
        ) {
            let order_no = if apart { rest } else { format!("{act_id}{rest}") };
            let entry = Entry {
                group, reconciled, amount_minor, at_ms: times.0, event_time_ms: times.1,
                award_offset: offsets.0, journal_offset: offsets.1, previous, previous_item,
                act_id: &act_id, order_no: &order_no, reward_id: &reward_id, app: &app,
            };
            let mut row = Vec::new();
            entry.encode(&mut row);
            prop_assert_eq!(Entry::decode(&row), Some(entry));
            for cut in 0..row.len() {
                prop_assert_eq!(Entry::decode(&row[..cut]), None);
            }
        }
    }
}
