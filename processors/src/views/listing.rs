//! Wallets and statements: a person's sums, and their entries from the newest back (W7, W10).

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hongbao_engine::mutant;
use hongbao_schemas::order_state::OrderState;
use hongbao_schemas::settings::Settings;

use super::Shared;
use super::entry::{Entry, Pointer};
use super::groups::GroupNames;
use super::outcome::Outcome;
use super::reader::{ReadError, ViewsReader};
use super::rows;
use super::state::State;
use super::user::UserRow;
use super::wire::damaged;

/// Items of one wallet.
pub const WALLET_ITEMS_MAX: usize = 200;

/// Entries of one page.
pub const ENTRIES_MAX: usize = 1000;

/// A person's sums of one asset, in its minor unit (I15). None is negative (I16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetBalance {
    /// Code and scale, such as `CNY/2`.
    pub asset: Arc<str>,
    /// Credited downstream.
    pub credited_minor: i128,
    /// Accepted and not credited; what was refused or reported stays here.
    pub pending_minor: i128,
    /// Paid out.
    pub withdrawn_minor: i128,
    /// Given up by an operator.
    pub written_off_minor: i128,
    /// Held for withdrawals under way.
    pub reserved_minor: i128,
}

impl AssetBalance {
    /// Everything won: credited and pending.
    #[must_use]
    pub const fn income_minor(&self) -> i128 {
        self.credited_minor + self.pending_minor
    }

    /// What is left of the income.
    #[must_use]
    pub const fn balance_minor(&self) -> i128 {
        self.income_minor() - self.withdrawn_minor
    }

    /// What may be withdrawn now.
    #[must_use]
    pub const fn available_minor(&self) -> i128 {
        self.credited_minor - self.withdrawn_minor - self.reserved_minor
    }
}

/// A person's wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wallet {
    /// The person.
    pub act_id: String,
    /// See [`ViewsReader::as_of_ms`].
    pub as_of_ms: i64,
    /// Offset of the first journal record not reflected.
    pub folded: u64,
    /// One row for each asset the person ever got, in the order of first use.
    pub balances: Vec<AssetBalance>,
    /// Single coupons and pendants, newest first, at most [`WALLET_ITEMS_MAX`].
    pub items: Vec<Item>,
    /// Where older items go on, if there are any.
    pub items_next_cursor: Option<String>,
}

/// A coupon or pendant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Order number.
    pub order_no: String,
    /// Type of the reward.
    pub reward_type: String,
    /// Template or pendant; may be empty.
    pub reward_id: String,
    /// Pieces.
    pub amount_minor: i64,
    /// Where the order stands.
    pub state: OrderState,
}

/// A page of a person's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// See [`ViewsReader::as_of_ms`].
    pub as_of_ms: i64,
    /// Newest first.
    pub entries: Vec<StatementEntry>,
    /// Where older entries go on, if there are any.
    pub next_cursor: Option<String>,
}

/// A line of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementEntry {
    /// Names the entry for ever.
    pub entry_id: String,
    /// What kind of line it is: `award`.
    pub kind: &'static str,
    /// Order number.
    pub order_no: String,
    /// Parent activity.
    pub activity_id: String,
    /// Scene.
    pub scene_id: String,
    /// Type of the reward.
    pub reward_type: String,
    /// Template or pendant; may be empty.
    pub reward_id: String,
    /// Code and scale.
    pub asset: Arc<str>,
    /// In the asset's minor unit.
    pub amount_minor: i64,
    /// When it was won, in milliseconds since the Unix epoch.
    pub event_time_ms: i64,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub accepted_at_ms: i64,
    /// Which app; may be empty.
    pub app: String,
    /// Where the order stands.
    pub state: OrderState,
    /// What the bill says of the scene by the settings in force; may be empty.
    pub text: String,
}

impl ViewsReader {
    /// A person's wallet with the newest items, or with those that `items_cursor` points at. Empty
    /// for a person without awards. Sums and states of items are of the same point of the journal.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn wallet(&self, act_id: &str, items_cursor: Option<&str>) -> Result<Wallet, ReadError> {
        let shared = self.home(act_id)?;
        let listing = Walk::new(&shared, act_id, List::Items, WALLET_ITEMS_MAX, items_cursor)?.run()?;
        let mut items = Vec::with_capacity(listing.lines.len());
        for line in &listing.lines {
            let entry = line.entry()?;
            items.push(Item {
                order_no: entry.order_no.to_owned(),
                reward_type: line.names.reward_type.to_string(),
                reward_id: entry.reward_id.to_owned(),
                amount_minor: entry.amount_minor,
                state: line.state,
            });
        }
        Ok(Wallet {
            act_id: act_id.to_owned(),
            as_of_ms: listing.as_of_ms,
            folded: listing.folded,
            balances: listing.balances,
            items,
            items_next_cursor: listing.next.map(|at| List::Items.cursor(shared.partition, at)),
        })
    }

    /// A page of a person's statement: the newest entries, or those that `cursor` points at. `limit`
    /// is brought into 1 to [`ENTRIES_MAX`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entries(&self, act_id: &str, limit: usize, cursor: Option<&str>) -> Result<Statement, ReadError> {
        let shared = self.home(act_id)?;
        let limit = limit.clamp(1, ENTRIES_MAX);
        let listing = Walk::new(&shared, act_id, List::All, limit, cursor)?.run()?;
        let mut entries = Vec::with_capacity(listing.lines.len());
        for line in &listing.lines {
            entries.push(line.statement_entry(shared.partition, listing.settings.as_deref())?);
        }
        let next_cursor = listing.next.map(|at| List::All.cursor(shared.partition, at));
        Ok(Statement { as_of_ms: listing.as_of_ms, entries, next_cursor })
    }
}

/// Which of a person's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    All,
    Items,
}

impl List {
    const fn tag(self) -> char {
        match self {
            Self::All => 'e',
            Self::Items => 'i',
        }
    }

    /// Where a list goes on, as a text of which clients know nothing.
    fn cursor(self, partition: u16, at: Pointer) -> String {
        format!("{}{partition:04x}{:04x}{:012x}", self.tag(), at.lane(), at.seq())
    }

    /// The pointer of a cursor, if it is one of this list and partition.
    fn parse(self, partition: u16, cursor: &str) -> Option<Pointer> {
        let digits = cursor.strip_prefix(self.tag())?;
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() != 20 || !digits.bytes().all(lower_hex) {
            return None;
        }
        let of = u16::from_str_radix(digits.get(..4)?, 16).ok()?;
        let lane = u16::from_str_radix(digits.get(4..8)?, 16).ok()?;
        let seq = u64::from_str_radix(digits.get(8..)?, 16).ok()?;
        Pointer::new(lane, seq).filter(|_| of == partition)
    }

    const fn newest(self, user: &UserRow) -> Option<Pointer> {
        match self {
            Self::All => user.newest,
            Self::Items => user.newest_item,
        }
    }

    const fn before(self, entry: &Entry<'_>) -> Option<Pointer> {
        match self {
            Self::All => entry.previous,
            Self::Items => entry.previous_item,
        }
    }
}

/// One entry with what its row does not hold.
struct Line {
    at: Pointer,
    row: Vec<u8>,
    names: Arc<GroupNames>,
    state: OrderState,
}

impl Line {
    fn entry(&self) -> Result<Entry<'_>, ReadError> {
        Ok(Entry::decode(&self.row).ok_or_else(|| damaged("an entry"))?)
    }

    fn statement_entry(
        &self,
        partition: u16,
        settings: Option<&Settings>,
    ) -> Result<StatementEntry, ReadError> {
        let (entry, names) = (self.entry()?, &self.names);
        let scene = settings
            .and_then(|settings| settings.activities.get(&*names.activity_id)?.scenes.get(&*names.scene_id));
        Ok(StatementEntry {
            entry_id: format!("{partition}-{}-{}", self.at.lane(), self.at.seq()),
            kind: "award",
            order_no: entry.order_no.to_owned(),
            activity_id: names.activity_id.to_string(),
            scene_id: names.scene_id.to_string(),
            reward_type: names.reward_type.to_string(),
            reward_id: entry.reward_id.to_owned(),
            asset: Arc::clone(&names.asset),
            amount_minor: entry.amount_minor,
            event_time_ms: entry.event_time_ms,
            accepted_at_ms: entry.at_ms,
            app: entry.app.to_owned(),
            state: self.state,
            text: scene.map(|scene| scene.text.clone()).unwrap_or_default(),
        })
    }
}

struct Listing {
    as_of_ms: i64,
    folded: u64,
    settings: Option<Arc<Settings>>,
    balances: Vec<AssetBalance>,
    lines: Vec<Line>,
    next: Option<Pointer>,
}

/// What an attempt lacked.
enum Lack {
    /// The person's row; commits so far.
    User(u32),
    /// The entry there and up to so many before it.
    Entries(Pointer, usize),
}

/// A walk along one list of a person. What memory does not hold is read from the store outside of
/// the lock, then the walk starts again: so its result is of one point of the journal. Entries never
/// change, so what was read stays good.
struct Walk<'a> {
    shared: &'a Shared,
    act_id: &'a str,
    list: List,
    limit: usize,
    from: Option<Pointer>,
    /// The store's row, and how many commits there had been.
    stored_user: Option<(u32, UserRow)>,
    entries: HashMap<Pointer, Vec<u8>, RandomState>,
}

/// What a walk found under the lock.
struct Found {
    listing: Listing,
    at: Vec<(Pointer, Outcome, Arc<GroupNames>)>,
}

impl<'a> Walk<'a> {
    fn new(
        shared: &'a Shared,
        act_id: &'a str,
        list: List,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Self, ReadError> {
        let parse = |cursor| list.parse(shared.partition, cursor).ok_or(ReadError::BadCursor);
        let from = cursor.map(parse).transpose()?;
        Ok(Self { shared, act_id, list, limit, from, stored_user: None, entries: HashMap::default() })
    }

    fn run(mut self) -> Result<Listing, ReadError> {
        let mut found = loop {
            match self.attempt()? {
                Ok(found) => break found,
                Err(Lack::User(commits)) => self.read_user(commits)?,
                Err(Lack::Entries(from, count)) => self.read_entries(from, count)?,
            }
        };
        let outcomes = found.at.iter().map(|(at, outcome, _)| (*at, *outcome));
        let states = Outcome::resolve(self.shared.store(), outcomes)?;
        for ((at, _, names), state) in found.at.into_iter().zip(states) {
            let row = self.entries.remove(&at).unwrap_or_default();
            found.listing.lines.push(Line { at, row, names, state });
        }
        Ok(found.listing)
    }

    fn attempt(&mut self) -> Result<Result<Found, Lack>, ReadError> {
        let state = self.shared.state.read();
        let commits = state.users.commits();
        let in_memory = state.users.get(self.act_id.as_bytes()).filter(|_| !mutant!(M72));
        let user = match (in_memory, &self.stored_user) {
            (Some(user), _) => user,
            (None, Some((then, user))) if *then == commits => user,
            _ => return Ok(Err(Lack::User(commits))),
        };
        let mut at = Vec::new();
        let mut next = self.from.or_else(|| self.list.newest(user));
        while let Some(here) = next
            && at.len() < self.limit
        {
            if let Some(row) = state.unstored_entry(here) {
                self.entries.insert(here, row.to_vec());
            }
            let Some(row) = self.entries.get(&here) else {
                return Ok(Err(Lack::Entries(here, self.limit - at.len())));
            };
            let entry = Entry::decode(row).ok_or_else(|| damaged("an entry"))?;
            let group = state.groups.get(entry.group).ok_or_else(|| damaged("an entry of no group"))?;
            let on_list = self.list == List::All || group.names.is_item;
            if entry.act_id != self.act_id || !on_list {
                return Err(ReadError::BadCursor);
            }
            at.push((here, Outcome::of(&state, here), Arc::clone(&group.names)));
            next = self.list.before(&entry);
        }
        let listing = Listing {
            as_of_ms: state.now_ms,
            folded: state.folded,
            settings: state.settings.clone(),
            balances: balances(&state, user),
            lines: Vec::new(),
            next,
        };
        Ok(Ok(Found { listing, at }))
    }

    fn read_user(&mut self, commits: u32) -> Result<(), ReadError> {
        let row = self.shared.store().get(&rows::named_key(rows::USER, self.act_id))?;
        let user = match row {
            Some(row) => UserRow::decode(&row).ok_or_else(|| damaged("a person's"))?,
            None => UserRow::default(),
        };
        self.stored_user = Some((commits, user));
        Ok(())
    }

    fn read_entries(&mut self, from: Pointer, count: usize) -> Result<(), ReadError> {
        let mut next = Some(from);
        for _ in 0..count {
            let Some(at) = next.filter(|at| !self.entries.contains_key(at)) else { return Ok(()) };
            let Some(row) = self.shared.store().get(&rows::seq_key(rows::ENTRY, at))? else {
                let made_up = self.from == Some(at);
                return Err(if made_up { ReadError::BadCursor } else { damaged("an entry is gone").into() });
            };
            next = Entry::decode(&row).and_then(|entry| self.list.before(&entry));
            self.entries.insert(at, row);
        }
        Ok(())
    }
}

fn balances(state: &State, user: &UserRow) -> Vec<AssetBalance> {
    let balance = |account: &super::user::Account| {
        Some(AssetBalance {
            asset: Arc::clone(state.groups.asset(account.asset)?),
            credited_minor: account.credited_minor,
            pending_minor: account.pending_minor,
            // No fact moves these yet.
            withdrawn_minor: 0,
            written_off_minor: 0,
            reserved_minor: if mutant!(M88) { account.pending_minor } else { 0 },
        })
    };
    user.accounts().filter_map(balance).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_of_one_list_and_partition() {
        let at = Pointer::new(258, 1 << 40).unwrap();
        let cursor = List::Items.cursor(7, at);
        assert_eq!(List::Items.parse(7, &cursor), Some(at));
        assert_eq!(List::All.parse(7, &cursor), None, "another list");
        assert_eq!(List::Items.parse(8, &cursor), None, "another partition");
        for made_up in [
            "",
            "i",
            "i0007",
            &cursor[..20],
            &format!("{cursor}0"),
            &cursor.to_uppercase(),
            "i+007010200100000000",
        ] {
            assert_eq!(List::Items.parse(7, made_up), None, "{made_up}");
        }
        assert_eq!(List::Items.parse(7, "i00070102000000000000"), None, "no sequence");
    }
}
