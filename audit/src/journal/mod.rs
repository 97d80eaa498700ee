//! The fold of one partition's journal: every order with where it stands, wallets, totals and
//! lanes. What a wallet or a total must be is read off the list of orders; nothing is kept twice
//! but the sums whose every step is checked (I16, I18).

mod credit;
mod order;
mod reads;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::{Partition, partition_of};
use hongbao_engine::records::Offset;
use hongbao_schemas::journal::{Accepted, CreditStage, Fact, Opened};
use hongbao_schemas::settings::Settings;

use crate::report::{At, Invariant, Report};
use crate::stream::{Record, Stream};
use crate::verdicts::{INTAKE, JOURNAL};

use order::Acceptance;
pub use order::{GroupKey, Order};
pub use reads::{LaneSums, OpenSums, Step};

/// What sinks are called as writers: this and their lane.
const SINK_PREFIX: &str = "sink.";

/// Sums of one person and asset, in its minor unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Accepted.
    pub income_minor: i128,
    /// Of this, credited. The rest is pending, also what was refused or reported.
    pub credited_minor: i128,
}

/// One person.
#[derive(Clone, Debug)]
pub struct Person {
    /// The person's id.
    pub act_id: Arc<str>,
    /// By asset, in the order of first use.
    pub balances: Vec<(Arc<str>, Balance)>,
    /// The orders, in the order of acceptance: number of the lane and place in it.
    orders: Vec<(usize, usize)>,
}

/// Sums of the orders that share a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Orders accepted.
    pub accepted_count: u64,
    /// Their sum in minor units.
    pub accepted_minor: i128,
    /// Orders credited.
    pub credited_count: u64,
    /// Their sum in minor units.
    pub credited_minor: i128,
}

/// The orders of one lane, in the order of their sequence, which begins at 1.
#[derive(Debug)]
struct Lane {
    name: Arc<str>,
    orders: Vec<Order>,
    facts: Vec<CreditNote>,
}

/// What one credit fact said.
#[derive(Debug)]
struct CreditNote {
    offset: Offset,
    at_ms: i64,
    stage: CreditStage,
    reason: Arc<str>,
    /// First sequence of each range, and the first one behind it.
    ranges: Vec<(u64, u64)>,
}

/// The last refusal of an order number by intake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRefusal {
    /// Why.
    pub code: String,
    /// Offset of the fact.
    pub offset: Offset,
    /// The fact's time, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// Conflicts of an order number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conflicts {
    /// How many.
    pub count: u64,
    /// Offset of the last one's fact.
    pub offset: Offset,
    /// That fact's time, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// Who opened a source last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The writer.
    pub writer: [u8; 16],
    /// Its epoch.
    pub epoch: i64,
}

/// The journal of one partition, folded as far as it was told to.
#[derive(Debug)]
pub struct Journal {
    partition: Partition,
    partitions: u16,
    /// Time as intake stated it last, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// The settings in force.
    pub settings: Option<Settings>,
    /// Orders named by credit facts that could not follow what happened before.
    pub contradictions: u64,
    /// Last refusals by order number.
    pub refusals: HashMap<String, LastRefusal>,
    /// Conflicts by order number.
    pub conflicts: HashMap<String, Conflicts>,
    /// Who opened a source last, by its name.
    pub openings: BTreeMap<String, Opening>,
    lanes: Vec<Lane>,
    /// Number of the lane and place in it.
    numbers: HashMap<Arc<str>, (usize, usize)>,
    /// In the order of their first award.
    people: Vec<Person>,
    people_numbers: HashMap<Arc<str>, usize>,
    groups: Vec<(Arc<GroupKey>, Sums)>,
    /// By all names of the group, each with a zero byte behind it.
    group_numbers: HashMap<String, usize>,
    /// Texts that many orders share.
    texts: HashSet<Arc<str>>,
}

/// Folds one partition's journal, as far as it is told to.
pub struct JournalAudit<'a> {
    stream: Stream<'a>,
    folded: Offset,
    is_unfinished: bool,
    /// The plain model, as of [`Self::folded`].
    pub journal: Journal,
}

impl<'a> JournalAudit<'a> {
    /// Before the first fact.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(log: &'a dyn Log, partition: Partition) -> Result<Self, LogError> {
        let journal = Journal::new(partition, log.partitions());
        Ok(Self { stream: Stream::open(log, partition, JOURNAL)?, folded: 0, is_unfinished: false, journal })
    }

    /// Offset of the first fact not folded.
    #[must_use]
    pub fn folded(&self) -> Offset {
        self.folded
    }

    /// End of the journal.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn end(&self) -> Result<Offset, LogError> {
        self.stream.end()
    }

    /// Epoch and last sequence of each writer, as of [`Self::folded`].
    pub fn marks(&self) -> impl Iterator<Item = (&str, u32, u64)> {
        self.stream.marks()
    }

    /// The first fact that waits for a missing one where a fold has read up to `offset`. A store must
    /// not stand there: who goes on from it never sees that fact (rule 2, I6).
    #[must_use]
    pub fn waiting_at(&self, offset: Offset) -> Option<Offset> {
        self.stream.waiting_at(offset)
    }

    /// Folds up to an offset.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn advance(&mut self, to: Offset, report: &mut Report) -> Result<(), LogError> {
        while let Some(record) = self.stream.next(to, report)? {
            self.journal.take(&record, report);
        }
        self.folded = self.folded.max(to);
        Ok(())
    }

    /// For a broker's log after a crash: a gap in a dead writer's facts is closed when the next
    /// process goes on.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.is_unfinished = true;
        self
    }

    /// The model, with what can be told only of the whole journal.
    pub fn finish(self, report: &mut Report) -> Journal {
        if !self.is_unfinished {
            self.stream.finish(report);
        }
        self.journal.finish(report);
        self.journal
    }
}

impl Journal {
    /// Before the first fact.
    #[must_use]
    pub fn new(partition: Partition, partitions: u16) -> Self {
        Self {
            partition,
            partitions,
            now_ms: 0,
            settings: None,
            contradictions: 0,
            refusals: HashMap::new(),
            conflicts: HashMap::new(),
            openings: BTreeMap::new(),
            lanes: Vec::new(),
            numbers: HashMap::new(),
            people: Vec::new(),
            people_numbers: HashMap::new(),
            groups: Vec::new(),
            group_numbers: HashMap::new(),
            texts: HashSet::new(),
        }
    }

    /// A place in this journal, to be printed.
    #[must_use]
    pub fn at(&self, offset: Offset) -> At<'static> {
        At(JOURNAL, self.partition, offset)
    }

    /// Takes the next fact that counts.
    pub fn take(&mut self, record: &Record<'_>, report: &mut Report) {
        let at = self.at(record.offset);
        let fact = match Fact::decode(record.bytes) {
            Ok(fact) => fact,
            Err(error) => return report.find(Invariant::I26, format_args!("{at}: no fact: {error}")),
        };
        self.check_writer(record, &fact, report);
        if !matches!(fact, Fact::Credit(_) | Fact::Opened(_)) {
            self.now_ms = self.now_ms.max(fact.at_ms());
        }
        match &fact {
            Fact::Accepted(fact) => self.accepted(record.offset, fact, report),
            Fact::Credit(fact) => self.credit((record.offset, record.epoch), fact, report),
            Fact::Rejected(fact) => {
                let (code, at_ms) = (fact.code.to_owned(), fact.at_ms);
                let refusal = LastRefusal { code, offset: record.offset, at_ms };
                self.refusals.insert(fact.order_no.to_owned(), refusal);
            }
            Fact::Conflict(fact) => {
                let conflicts = self.conflicts.entry(fact.order_no.to_owned()).or_default();
                let (count, at_ms) = (conflicts.count + 1, fact.at_ms);
                *conflicts = Conflicts { count, offset: record.offset, at_ms };
            }
            Fact::Ticked(_) => {}
            Fact::SettingsChanged(fact) => match Settings::from_json(fact.body) {
                Ok(settings) => self.settings = Some(settings),
                Err(error) => report.find(Invariant::I30, format_args!("{at}: no settings: {error}")),
            },
            Fact::Opened(fact) => self.opened(fact),
        }
    }

    /// Facts of intake come from intake, and facts about a lane from its sink, which opens each of
    /// its epochs first.
    fn check_writer(&self, record: &Record<'_>, fact: &Fact<'_>, report: &mut Report) {
        let (at, source) = (self.at(record.offset), record.source);
        let lane = source.strip_prefix(SINK_PREFIX);
        let may = match fact {
            Fact::Credit(fact) => lane == Some(fact.lane),
            Fact::Opened(fact) => {
                lane.is_some() && fact.source == source && fact.epoch == i64::from(record.epoch)
            }
            _ => source == INTAKE && record.epoch == 0,
        };
        report.expect(Invariant::I24, may, format_args!("{at}: {source:?} may not write this"));
        let opens = record.epoch > 0 && record.seq == 1;
        report.expect(
            Invariant::I24,
            opens == matches!(fact, Fact::Opened(_)),
            format_args!("{at}: epoch {} of {source:?} does not begin with its opening", record.epoch),
        );
    }

    fn accepted(&mut self, offset: Offset, fact: &Accepted<'_>, report: &mut Report) {
        let (at, award) = (self.at(offset), &fact.award);
        let order_no: Arc<str> = award.order_no.into();
        if partition_of(award.act_id.as_bytes(), self.partitions) != self.partition {
            report.find(Invariant::I2, format_args!("{at} order {order_no}: is of another partition"));
        }
        let amount_minor = award.amount_minor;
        report.expect(
            Invariant::I8,
            amount_minor > 0,
            format_args!("{at} order {order_no}: {amount_minor} minor units"),
        );
        let lane = self.lane_number(fact.lane);
        let place = self.lanes[lane].orders.len();
        if u64::try_from(fact.lane_seq) != Ok(place as u64 + 1) {
            let (seq, next, lane) = (fact.lane_seq, place + 1, fact.lane);
            report.find(Invariant::I5, format_args!("{at} order {order_no}: is {seq} of {lane}, not {next}"));
        }
        if self.numbers.contains_key(&order_no) {
            report.find(Invariant::I2, format_args!("{at} order {order_no}: accepted before"));
        } else {
            self.numbers.insert(Arc::clone(&order_no), (lane, place));
        }
        let (person_number, group_number) = (self.person_number(award.act_id), self.group_number(fact));
        let group = self.count_accepted(person_number, group_number, (lane, place), amount_minor);
        let order = Order::new(Acceptance {
            order_no,
            act_id: Arc::clone(&self.people[person_number].act_id),
            person_number,
            reconciled: self.is_reconciled(&group),
            group,
            group_number,
            reward_id: self.text(award.reward_id),
            app: self.text(award.app),
            amount_minor,
            event_time_ms: award.event_time_ms,
            accepted_at_ms: self.now_ms,
            award_offset: fact.award_offset,
            journal_offset: offset,
        });
        self.lanes[lane].orders.push(order);
    }

    /// Adds an accepted amount to the person and to the totals.
    fn count_accepted(
        &mut self,
        person: usize,
        group: usize,
        place: (usize, usize),
        amount_minor: i64,
    ) -> Arc<GroupKey> {
        let (group, sums) = &mut self.groups[group];
        let amount = i128::from(amount_minor);
        sums.accepted_count += 1;
        sums.accepted_minor += amount;
        let person = &mut self.people[person];
        person.orders.push(place);
        person.balance(&group.asset).income_minor += amount;
        Arc::clone(group)
    }

    fn person_number(&mut self, act_id: &str) -> usize {
        if let Some(number) = self.people_numbers.get(act_id) {
            return *number;
        }
        let act_id: Arc<str> = act_id.into();
        self.people_numbers.insert(Arc::clone(&act_id), self.people.len());
        self.people.push(Person { act_id, balances: Vec::new(), orders: Vec::new() });
        self.people.len() - 1
    }

    fn group_number(&mut self, fact: &Accepted<'_>) -> usize {
        let award = &fact.award;
        let names = [award.activity_id, award.scene_id, award.reward_type, fact.asset, fact.lane];
        let names: String = names.iter().flat_map(|name| [*name, "\0"]).collect();
        if let Some(number) = self.group_numbers.get(&names) {
            return *number;
        }
        let group = GroupKey {
            activity_id: self.text(award.activity_id),
            scene_id: self.text(award.scene_id),
            reward_type: self.text(award.reward_type),
            asset: self.text(fact.asset),
            lane: self.text(fact.lane),
        };
        self.group_numbers.insert(names, self.groups.len());
        self.groups.push((Arc::new(group), Sums::default()));
        self.groups.len() - 1
    }

    /// Scenes are reconciled unless the settings in force say otherwise.
    fn is_reconciled(&self, group: &GroupKey) -> bool {
        let scene = || {
            let activity = self.settings.as_ref()?.activities.get(&*group.activity_id)?;
            activity.scenes.get(&*group.scene_id)
        };
        scene().is_none_or(|scene| scene.reconcile)
    }

    fn opened(&mut self, fact: &Opened<'_>) {
        let opening = Opening { writer: fact.writer, epoch: fact.epoch };
        if self.openings.get(fact.source).is_none_or(|last| last.epoch < opening.epoch) {
            self.openings.insert(fact.source.to_owned(), opening);
        }
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }

    fn find_lane(&self, name: &str) -> Option<usize> {
        self.lanes.iter().position(|lane| &*lane.name == name)
    }

    fn lane_number(&mut self, name: &str) -> usize {
        self.find_lane(name).unwrap_or_else(|| {
            let name = name.into();
            self.lanes.push(Lane { name, orders: Vec::new(), facts: Vec::new() });
            self.lanes.len() - 1
        })
    }

    /// What can be told only of all facts: counts, and that wallets and totals are the same money
    /// (I11, I15).
    fn finish(&self, report: &mut Report) {
        report.checked(Invariant::I2, "order numbers", self.numbers.len() as u64);
        report.checked(Invariant::I8, "amounts", self.orders().count() as u64);
        for (what, state) in [
            ("credited", CreditStage::Credited),
            ("refused", CreditStage::Refused),
            ("reported", CreditStage::Reported),
        ] {
            let count = self.orders().filter(|order| order.ended == Some(state)).count();
            report.checked(Invariant::I11, what, count as u64);
        }
        report.checked(
            Invariant::I11,
            "open",
            self.orders().filter(|order| !order.is_ended()).count() as u64,
        );
        report.checked(Invariant::I15, "wallets", self.people.len() as u64);
        report.checked(
            Invariant::I16,
            "balances",
            self.people.iter().map(|person| person.balances.len() as u64).sum(),
        );
        let intents = self.orders().map(|order| u64::from(order.intents)).sum();
        report.checked(Invariant::I12, "intents", intents);
        self.check_sums(report);
    }
}

impl Person {
    fn balance(&mut self, asset: &Arc<str>) -> &mut Balance {
        let place = match self.balances.iter().position(|(known, _)| known == asset) {
            Some(place) => place,
            None => {
                self.balances.push((Arc::clone(asset), Balance::default()));
                self.balances.len() - 1
            }
        };
        &mut self.balances[place].1
    }
}
