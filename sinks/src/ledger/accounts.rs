//! Accounts: what the postings of a batch add to each, summed in memory and written in bulk.

use std::sync::Arc;

use hashbrown::HashMap;
use hongbao_engine::mutant;
use hongbao_engine::store::{Rows, Store, StoreError};
use parking_lot::Mutex;

/// Kind of account rows: `ac` + person + `\0` + asset → balance, 16 bytes little endian.
pub const ACCOUNT_KIND: [u8; 2] = *b"ac";
/// Kind of issuance rows: `is` + asset → sum issued, 16 bytes little endian.
pub const ISSUED_KIND: [u8; 2] = *b"is";

/// Committed balances kept in memory, so that a commit need not look them up.
const CACHED_BALANCES_MAX: usize = 200_000;
/// A staged account in memory, roughly: key, sum and table.
const STAGED_ACCOUNT_BYTES: usize = 96;

type Sums = HashMap<Box<[u8]>, i128, foldhash::quality::RandomState>;

/// Key of a person's account.
#[must_use]
pub fn account_key(act_id: &str, asset: &str) -> Vec<u8> {
    let mut key = Vec::new();
    write_account_key(&mut key, act_id, asset);
    key
}

/// Key of the issuance account of an asset.
#[must_use]
pub fn issued_key(asset: &str) -> Vec<u8> {
    [&ISSUED_KIND, asset.as_bytes()].concat()
}

/// The balance that an account's row holds.
#[must_use]
pub fn balance_of(row: &[u8]) -> Option<i128> {
    Some(i128::from_le_bytes(row.try_into().ok()?))
}

fn write_account_key(key: &mut Vec<u8>, act_id: &str, asset: &str) {
    key.clear();
    key.extend_from_slice(&ACCOUNT_KIND);
    key.extend_from_slice(act_id.as_bytes());
    key.push(0);
    key.extend_from_slice(asset.as_bytes());
}

/// Sums not yet committed, and what the background needs to turn them into balances.
#[derive(Default)]
pub struct Accounts {
    staged: Sums,
    key: Vec<u8>,
    cache: Arc<Mutex<Sums>>,
}

impl Accounts {
    /// Moves an amount from the issuance of the asset to the person. An i128 holds more postings
    /// of the largest amount than there can be, so the sum is exact (I8).
    pub fn post(&mut self, act_id: &str, asset: &str, amount_minor: i64) {
        let amount = i128::from(amount_minor);
        write_account_key(&mut self.key, act_id, asset);
        add(&mut self.staged, &self.key, amount);
        self.key.clear();
        self.key.extend_from_slice(&ISSUED_KIND);
        self.key.extend_from_slice(asset.as_bytes());
        add(&mut self.staged, &self.key, amount);
    }

    /// Memory held by sums that are not committed.
    pub fn staged_bytes(&self) -> usize {
        self.staged.len() * STAGED_ACCOUNT_BYTES
    }

    /// Sets the sums aside for a commit.
    pub fn freeze(&mut self) -> FrozenAccounts {
        FrozenAccounts { sums: std::mem::take(&mut self.staged), cache: Arc::clone(&self.cache) }
    }
}

fn add(sums: &mut Sums, key: &[u8], amount: i128) {
    match sums.get_mut(key) {
        Some(sum) if mutant!(M74) => *sum = (*sum as f64 + amount as f64) as i128,
        Some(sum) => *sum = sum.saturating_add(amount),
        None => drop(sums.insert(key.into(), amount)),
    }
}

/// Sums of one commit.
pub struct FrozenAccounts {
    sums: Sums,
    cache: Arc<Mutex<Sums>>,
}

impl FrozenAccounts {
    /// Adds the sums to the committed balances, for a background thread. Commits of one ledger
    /// follow each other, so the balances are those of the commit before. The first rows are
    /// accounts, the second issuance.
    ///
    /// # Errors
    /// [`StoreError`] of the look-up, or for a row that is not a balance.
    pub fn into_rows(self, store: &dyn Store) -> Result<[Rows; 2], StoreError> {
        let mut sums: Vec<(Box<[u8]>, i128)> = self.sums.into_iter().collect();
        sums.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        let mut cache = self.cache.lock();
        let missing: Vec<&[u8]> =
            sums.iter().map(|(key, _)| &**key).filter(|key| !cache.contains_key(*key)).collect();
        for (key, row) in missing.iter().zip(store.multi_get(&missing)?) {
            let balance = match row {
                None => 0,
                Some(row) => balance_of(&row)
                    .ok_or_else(|| StoreError::Corrupt("a balance is malformed".to_owned()))?,
            };
            cache.insert((*key).into(), balance);
        }
        let mut rows = [Rows::new(), Rows::new()];
        for (key, sum) in &sums {
            let Some(balance) = cache.get_mut(key) else { continue };
            *balance = balance.saturating_add(*sum);
            if mutant!(M76) {
                *balance = i128::from(*balance as i64);
            }
            let kind = usize::from(key.starts_with(&ISSUED_KIND));
            rows[kind].put(key, &balance.to_le_bytes());
        }
        if cache.len() > CACHED_BALANCES_MAX {
            cache.clear();
        }
        Ok(rows)
    }
}
