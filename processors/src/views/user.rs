//! One person's sums and the newest of their entries: what a wallet is read from (W7).

use hongbao_engine::mutant;

use super::entry::{Pointer, put_pointer, take_pointer};
use super::wire::{Take, put_i128, put_u64};

/// Number of an asset's name, given out in the order of first use.
pub(super) type AssetId = u16;

/// Marks an account that is not in use; one less than all numbers can be given out.
pub(super) const NO_ASSET: AssetId = AssetId::MAX;

/// How many sums a row holds for an asset. Rows say so, for later folds to add some.
const SUMS: u64 = 2;

/// One person's sums of one asset. 128 bits: no order may stop a partition because a sum of many
/// 64-bit amounts does not fit (I8, I27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) credited_minor: i128,
    /// Accepted and not credited; also what was refused or reported, until somebody decides.
    pub(super) pending_minor: i128,
    pub(super) asset: AssetId,
}

const UNUSED: Account = Account { credited_minor: 0, pending_minor: 0, asset: NO_ASSET };

/// A credit of what is not pending: a sum would become negative (I16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotPending;

/// A person's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UserRow {
    /// Journal offset after the fact that changed the row last; 0 for a person without awards.
    pub(super) version: u64,
    /// Newest entry.
    pub(super) newest: Option<Pointer>,
    /// Newest entry that is an item.
    pub(super) newest_item: Option<Pointer>,
    // Most people have one asset.
    first: Account,
    more: Option<Box<More>>,
}

/// A further account. A chain takes less of a row than a vector does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct More {
    account: Account,
    next: Option<Box<More>>,
}

impl Default for UserRow {
    fn default() -> Self {
        Self { version: 0, newest: None, newest_item: None, first: UNUSED, more: None }
    }
}

impl UserRow {
    /// The accounts in use, in the order of first use.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &Account> {
        let more = std::iter::successors(self.more.as_deref(), |more| more.next.as_deref());
        let first = (self.first.asset != NO_ASSET).then_some(&self.first);
        first.into_iter().chain(more.map(|more| &more.account))
    }

    /// Adds an accepted amount.
    #[inline]
    pub(super) fn accept(&mut self, asset: AssetId, amount_minor: i64) {
        let account = self.account(asset);
        if mutant!(M82) {
            account.credited_minor += i128::from(amount_minor);
            return;
        }
        account.pending_minor += i128::from(amount_minor);
        if mutant!(M75) {
            account.pending_minor = i128::from(account.pending_minor as i64);
        }
    }

    /// Moves an amount from pending to credited.
    #[inline]
    pub(super) fn credit(&mut self, asset: AssetId, amount_minor: i64) -> Result<(), NotPending> {
        let account = self.account(asset);
        let amount = i128::from(amount_minor);
        if mutant!(M82) {
            return Ok(());
        }
        if account.pending_minor < amount {
            return Err(NotPending);
        }
        account.pending_minor -= amount;
        account.credited_minor += amount;
        Ok(())
    }

    #[inline]
    fn account(&mut self, asset: AssetId) -> &mut Account {
        if self.first.asset == asset {
            return &mut self.first;
        }
        self.other_account(asset)
    }

    fn other_account(&mut self, asset: AssetId) -> &mut Account {
        if self.first.asset == NO_ASSET {
            self.first.asset = asset;
            return &mut self.first;
        }
        let mut end = &mut self.more;
        while end.as_ref().is_some_and(|more| more.account.asset != asset) {
            end = match end {
                Some(more) => &mut more.next,
                None => break,
            };
        }
        let new = || Box::new(More { account: Account { asset, ..UNUSED }, next: None });
        &mut end.get_or_insert_with(new).account
    }

    /// Appends the row.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.version);
        put_pointer(out, self.newest);
        put_pointer(out, self.newest_item);
        put_u64(out, self.accounts().count() as u64);
        for account in self.accounts() {
            put_u64(out, u64::from(account.asset));
            put_u64(out, SUMS);
            put_i128(out, account.credited_minor);
            put_i128(out, account.pending_minor);
        }
    }

    /// Reads a row; `None` when it is damaged.
    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let mut take = Take::new(row);
        let mut user = Self {
            version: take.u64()?,
            newest: take_pointer(&mut take)?,
            newest_item: take_pointer(&mut take)?,
            ..Self::default()
        };
        for _ in 0..take.u64()? {
            let asset = take.u16().filter(|asset| *asset != NO_ASSET)?;
            if take.u64()? != SUMS {
                return None;
            }
            let account = user.account(asset);
            account.credited_minor = take.i128()?;
            account.pending_minor = take.i128()?;
        }
        take.end()?;
        Some(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(row: &UserRow) -> Vec<(AssetId, i128, i128)> {
        row.accounts().map(|account| (account.asset, account.credited_minor, account.pending_minor)).collect()
    }

    #[test]
    fn sums_by_asset_read_back() {
        let mut row = UserRow { version: 9, newest: Pointer::new(1, 2), ..UserRow::default() };
        for (asset, amount) in [(4, 10), (0, 1), (4, i64::MAX), (2, 3), (0, 1)] {
            row.accept(asset, amount);
        }
        assert_eq!(row.credit(4, 10), Ok(()));
        assert_eq!(row.credit(0, 2), Ok(()));
        assert_eq!(row.credit(2, 4), Err(NotPending), "only 3 are pending");
        assert_eq!(row.credit(7, 1), Err(NotPending), "nothing is pending");
        let max = i128::from(i64::MAX);
        assert_eq!(sums(&row), [(4, 10, max), (0, 2, 0), (2, 0, 3), (7, 0, 0)]);
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        assert_eq!(UserRow::decode(&bytes), Some(row));
        for cut in 0..bytes.len() {
            assert_eq!(UserRow::decode(&bytes[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn sums_beyond_64_bits_are_exact() {
        let mut row = UserRow::default();
        for _ in 0..3 {
            row.accept(0, i64::MAX);
        }
        assert_eq!(sums(&row), [(0, 0, 3 * i128::from(i64::MAX))]);
    }
}
