//! What a credit needs to know of an order: whose it is and how much. The latest orders of a lane
//! are kept in memory; older ones are read from their entries, so a backlog of any size takes no
//! memory (I29).

use std::collections::VecDeque;

use super::users::Slot;

/// An accepted order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenOrder {
    pub(super) amount_minor: i64,
    /// Whose it is, while the generation is that of the slot.
    pub(super) slot: Slot,
    pub(super) generation: u32,
    pub(super) group: u32,
    /// The bucket it is counted in, or [`super::groups::NOT_RECONCILED`].
    pub(super) minute: u32,
}

/// The latest orders of a lane, without a gap.
#[derive(Debug, Default)]
pub(super) struct RecentOrders {
    /// Sequence of the oldest one held.
    first: u64,
    orders: VecDeque<OpenOrder>,
}

impl RecentOrders {
    /// Nothing yet; the next order has the sequence `next`.
    pub(super) const fn starting_at(next: u64) -> Self {
        Self { first: next, orders: VecDeque::new() }
    }

    #[inline]
    pub(super) fn get(&self, seq: u64) -> Option<&OpenOrder> {
        self.orders.get(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    /// Adds the order that follows the last one.
    #[inline]
    pub(super) fn push(&mut self, order: OpenOrder) {
        self.orders.push_back(order);
    }

    /// Drops the oldest beyond `max`, and all below `ended_below`.
    pub(super) fn trim(&mut self, max: usize, ended_below: u64) {
        let ended = usize::try_from(ended_below.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let count = ended.min(self.orders.len()).max(self.orders.len().saturating_sub(max));
        self.orders.drain(..count);
        self.first += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_latest_orders() {
        let order = |amount_minor| OpenOrder { amount_minor, slot: 0, generation: 0, group: 0, minute: 0 };
        let mut recent = RecentOrders::starting_at(5);
        (5..15).for_each(|amount| recent.push(order(amount)));
        // (at most, ended below, oldest left)
        for (max, ended_below, oldest) in [(100, 0, 5), (100, 6, 6), (7, 6, 8), (7, 1, 8), (0, 99, 15)] {
            recent.trim(max, ended_below);
            let held: Vec<u64> = (0..20).filter(|seq| recent.get(*seq).is_some()).collect();
            assert_eq!(held, (oldest..15).collect::<Vec<_>>(), "{max} {ended_below}");
            assert!(held.iter().all(|seq| recent.get(*seq) == Some(&order(seq.cast_signed()))));
        }
    }
}
