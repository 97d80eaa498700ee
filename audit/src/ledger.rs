//! The embedded ledger of one partition: its book, held against the journal, and its store, held
//! against the book (I6, I10, I12, I13, I15, I16).

use std::collections::{BTreeMap, HashMap};

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::Offset;
use hongbao_engine::store::{Store, StoreError};
use hongbao_schemas::order::Order as Posting;
use hongbao_schemas::order_state::OrderState;

use crate::journal::{Journal, Order};
use crate::report::{At, Invariant, Report};
use crate::stores::rows_of;
use crate::stream::Stream;

/// The topic of a ledger's log: credited orders, byte for byte.
pub const BOOK: &str = "book";

/// What a ledger's store maps an order number to, computed from the posting.
pub type OrderValue = fn(&[u8]) -> [u8; 16];

/// Folds one partition of a ledger's book, as far as it is told to.
pub struct LedgerAudit<'a> {
    name: String,
    stream: Stream<'a>,
    partition: Partition,
    order_value: OrderValue,
    /// Postings by order number: what the store maps it to, and how many there are.
    postings: HashMap<Box<str>, ([u8; 16], u64)>,
    /// By person and asset, a zero byte between them.
    accounts: HashMap<String, i128>,
    issued: BTreeMap<Box<str>, i128>,
}

impl<'a> LedgerAudit<'a> {
    /// Before the first posting.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(
        name: &str,
        book: &'a dyn Log,
        partition: Partition,
        order_value: OrderValue,
    ) -> Result<Self, LogError> {
        Ok(Self {
            name: name.to_owned(),
            stream: Stream::open(book, partition, BOOK)?,
            partition,
            order_value,
            postings: HashMap::new(),
            accounts: HashMap::new(),
            issued: BTreeMap::new(),
        })
    }

    /// The ledger's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// End of the book.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn end(&self) -> Result<Offset, LogError> {
        self.stream.end()
    }

    /// How often an order was credited here.
    #[must_use]
    pub fn times(&self, order_no: &str) -> u64 {
        self.postings.get(order_no).map_or(0, |(_, count)| *count)
    }

    /// Folds up to an offset, holding each posting against its order in the whole journal.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn advance(&mut self, to: Offset, journal: &Journal, report: &mut Report) -> Result<(), LogError> {
        let topic = format!("{}.{BOOK}", self.name);
        while let Some(record) = self.stream.next(to, report)? {
            let at = At(&topic, self.partition, record.offset);
            let posting = match Posting::decode(record.bytes) {
                Ok(posting) => posting,
                Err(error) => {
                    report.find(Invariant::I26, format_args!("{at}: no posting: {error}"));
                    continue;
                }
            };
            report.checked(Invariant::I13, "postings", 1);
            check_posting(at, &posting, record.bytes, journal, report);
            let amount = i128::from(posting.amount_minor);
            let value = (self.order_value)(record.bytes);
            self.postings.entry(posting.order_no.into()).or_insert((value, 0)).1 += 1;
            *self.accounts.entry(account(posting.act_id, posting.asset)).or_default() += amount;
            match self.issued.get_mut(posting.asset) {
                Some(issued) => *issued += amount,
                None => drop(self.issued.insert(posting.asset.into(), amount)),
            }
        }
        Ok(())
    }

    /// Compares the ledger's store with the book, which was folded exactly as far as the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn check_store(&self, store: &dyn Store, report: &mut Report) -> Result<(), StoreError> {
        let name = format!("ledger {} of partition {}", self.name, self.partition);
        let mut known = 0;
        rows_of(store, *b"od", |key, row| {
            let posting = std::str::from_utf8(key).ok().and_then(|order_no| self.postings.get(order_no));
            known += usize::from(posting.is_some());
            if posting.is_none_or(|(value, _)| row != value) {
                let key = key.escape_ascii();
                report.find(Invariant::I6, format_args!("{name}: the row of order {key} is not the book's"));
            }
        })?;
        let postings = self.postings.len();
        report.expect(
            Invariant::I6,
            known == postings,
            format_args!("{name}: has {known} of {postings} order numbers"),
        );
        report.checked(Invariant::I6, "ledger orders", postings as u64);
        self.check_accounts(&name, store, report)
    }

    fn check_accounts(&self, name: &str, store: &dyn Store, report: &mut Report) -> Result<(), StoreError> {
        let (mut known, mut paid) = (0, BTreeMap::<Box<str>, i128>::new());
        rows_of(store, *b"ac", |key, row| {
            let account = std::str::from_utf8(key).unwrap_or_default();
            let (act_id, asset) = account.split_once('\0').unwrap_or_default();
            let expected = self.accounts.get(account);
            known += usize::from(expected.is_some());
            let found = balance_of(row);
            if found.is_none() || found != expected.copied() {
                report.find(
                    Invariant::I6,
                    format_args!("{name}: {act_id} has {found:?} of {asset}, the book says {expected:?}"),
                );
            }
            let balance = found.unwrap_or(0);
            report.expect(
                Invariant::I16,
                balance >= 0,
                format_args!("{name}: {act_id} has {balance} of {asset}"),
            );
            match paid.get_mut(asset) {
                Some(paid) => *paid += balance,
                None => drop(paid.insert(asset.into(), balance)),
            }
        })?;
        let accounts = self.accounts.len();
        report.expect(
            Invariant::I6,
            known == accounts,
            format_args!("{name}: has {known} of {accounts} accounts"),
        );
        report.checked(Invariant::I6, "accounts", accounts as u64);
        let mut issued = BTreeMap::new();
        rows_of(store, *b"is", |asset, row| {
            issued.insert(String::from_utf8_lossy(asset).into(), balance_of(row).unwrap_or(0));
        })?;
        let same = issued == self.issued;
        report.expect(
            Invariant::I6,
            same,
            format_args!("{name}: issued {issued:?}, the book says {:?}", self.issued),
        );
        report.expect(
            Invariant::I15,
            issued == paid,
            format_args!("{name}: issued {issued:?}, accounts hold {paid:?}"),
        );
        Ok(())
    }

    /// The whole book: what each account holds is what the journal says of the orders credited
    /// here (I15). Orders whose outcome is not in the journal yet are among them.
    pub fn finish(&self, journal: &Journal, report: &mut Report) {
        let (name, partition) = (&self.name, self.partition);
        let mut known = 0;
        for person in journal.people() {
            let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
            for order in journal.orders_of(person).filter(|order| self.times(&order.order_no) > 0) {
                *sums.entry(&order.group.asset).or_default() += i128::from(order.amount_minor);
            }
            for (asset, expected) in sums {
                let (act_id, found) = (&person.act_id, self.accounts.get(&account(&person.act_id, asset)));
                known += usize::from(found.is_some());
                let found = found.copied().unwrap_or(0);
                report.expect(
                    Invariant::I15,
                    found == expected,
                    format_args!("ledger {name} of partition {partition}: {act_id} has {found} of {asset}, orders say {expected}"),
                );
            }
        }
        let accounts = self.accounts.len();
        report.expect(
            Invariant::I15,
            known == accounts,
            format_args!(
                "ledger {name} of partition {partition}: {accounts} accounts, {known} of people with orders"
            ),
        );
        report.checked(Invariant::I15, "accounts", accounts as u64);
    }
}

fn account(act_id: &str, asset: &str) -> String {
    [act_id, "\0", asset].concat()
}

fn check_posting(at: At<'_>, posting: &Posting<'_>, record: &[u8], journal: &Journal, report: &mut Report) {
    let (order_no, amount) = (posting.order_no, posting.amount_minor);
    report.expect(Invariant::I16, amount > 0, format_args!("{at} order {order_no}: {amount} minor units"));
    let Some(order) = journal.order(order_no) else {
        return report.find(Invariant::I9, format_args!("{at} order {order_no}: credited, never accepted"));
    };
    let same = (posting.act_id, posting.asset, posting.amount_minor, posting.reward_type, posting.reward_id)
        == (
            &order.act_id,
            &order.group.asset,
            order.amount_minor,
            &order.group.reward_type,
            &order.reward_id,
        );
    report.expect(Invariant::I9, same, format_args!("{at} order {order_no}: credited other than accepted"));
    let same = record == order.lane_record();
    report.expect(Invariant::I13, same, format_args!("{at} order {order_no}: not the bytes of its lane"));
}

fn balance_of(row: &[u8]) -> Option<i128> {
    Some(i128::from_le_bytes(row.try_into().ok()?))
}

/// The lanes that a downstream credits.
#[derive(Clone, Copy, Debug)]
pub enum Lanes<'a> {
    /// As the topology says.
    Named(&'a [String]),
    /// Those it has credited an order of.
    Found,
}

/// A downstream whose own records are at hand.
pub struct Evidence<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whom it credits.
    pub lanes: Lanes<'a>,
    /// How often an order took effect there.
    pub times: &'a dyn Fn(&Order) -> u64,
}

/// Holds what downstreams really did against the journal: at most once, over all of them (I10),
/// after an intent (I12), and whenever the journal says so (I15). Returns how many orders took
/// effect in each.
pub fn check_effects(journal: &Journal, evidence: &[Evidence<'_>], report: &mut Report) -> Vec<u64> {
    let served: Vec<Vec<String>> = evidence.iter().map(|one| lanes_of(journal, one)).collect();
    let mut effects = vec![0; evidence.len()];
    for order in journal.orders() {
        let (mut times, mut places) = (0, Vec::new());
        for (one, count) in evidence.iter().zip(&mut effects) {
            let here = (one.times)(order);
            if here > 0 {
                (times, *count) = (times + here, *count + 1);
                places.push(one.name);
            }
        }
        let (at, order_no, lane, state) =
            (journal.at(order.journal_offset), &order.order_no, &order.group.lane, order.state());
        let what = format_args!("{at} order {order_no} of lane {lane}");
        report.expect(
            Invariant::I10,
            times <= 1,
            format_args!("{what}: took effect {times} times, in {places:?}"),
        );
        let is_intended = times == 0 || order.intents > 0;
        report.expect(Invariant::I12, is_intended, format_args!("{what}: took effect without an intent"));
        let is_refused = times > 0 && state == OrderState::Refused;
        report.expect(
            Invariant::I15,
            !is_refused,
            format_args!("{what}: refused, and took effect in {places:?}"),
        );
        let is_served = || served.iter().any(|lanes| lanes.iter().any(|served| **served == **lane));
        if times == 0 && state == OrderState::Credited && is_served() {
            report.find(
                Invariant::I15,
                format_args!(
                    "{what}: credited in the journal, and nowhere else (did the lane go elsewhere then?)"
                ),
            );
        }
    }
    report.checked(Invariant::I9, "effects", effects.iter().sum());
    report.checked(Invariant::I10, "effects", effects.iter().sum());
    report.checked(Invariant::I12, "effects", effects.iter().sum());
    effects
}

fn lanes_of(journal: &Journal, evidence: &Evidence<'_>) -> Vec<String> {
    match evidence.lanes {
        Lanes::Named(lanes) => lanes.to_vec(),
        Lanes::Found => {
            let has_effect =
                |lane: &&str| journal.orders_of_lane(lane).iter().any(|order| (evidence.times)(order) > 0);
            journal.lanes().filter(has_effect).map(str::to_owned).collect()
        }
    }
}
