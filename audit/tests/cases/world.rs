//! A small world to be audited: two partitions in memory, of which the first has a history, a
//! ledger, and the stores of both. Everything in it can be changed behind everybody's back.

use std::collections::BTreeMap;
use std::sync::Arc;

use hongbao_audit::verdicts::{AWARDS, INTAKE, JOURNAL};
use hongbao_audit::{
    AuditError, Evidence, IntakeAudit, Invariant, Journal, JournalAudit, Lanes, LedgerAudit, Report,
    Verdicts, applied_offset, check_decided, check_effects, check_intake_store,
};
use hongbao_engine::clock::ManualClock;
use hongbao_engine::log::Log;
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, ReadBatch, RecordBuf, crc};
use hongbao_engine::store::{Applied, Rows, Store};
use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::control::{Control, ControlKey, ControlKind};
use hongbao_schemas::ext::ExtBuf;
use hongbao_schemas::journal::{
    Accepted, Conflict, CreditFact, CreditStage, Fact, Opened, RangesBuf, Rejected, SeqRange, SettingsChanged,
};
use hongbao_schemas::order::Order;

/// Act ids `a` and `a_1` are of this partition of two, `d` is of the other.
pub const HOME: Partition = Partition(0);
pub const START_MS: i64 = 1_800_000_000_000;

pub fn control_key() -> ControlKey {
    ControlKey::new([7; 32])
}

/// Settings with this number: activity `spring` with scenes `rain` (cash) and `film` (coupons).
pub fn settings(number: u64) -> String {
    format!(
        r#"{{"number": {number}, "name": "test",
        "reward_types": {{
            "cash": {{"asset": "CNY/2", "max_minor": 200, "lane": "cash"}},
            "film": {{"asset": "COUPON/0", "max_minor": 1, "lane": "coupon"}}}},
        "activities": {{"spring": {{"scenes": {{
            "rain": {{"reward_type": "cash", "text": "rain", "reconcile": true}},
            "film": {{"reward_type": "film", "text": "film", "reconcile": false}}}}}}}},
        "reconcile_overdue_after_ms": 900000}}"#
    )
}

pub fn control(kind: ControlKind, number: i64, at_ms: i64, body: &str) -> Vec<u8> {
    let mut record = Vec::new();
    Control::seal(kind, HOME.0, number, at_ms, body.as_bytes(), &control_key()).encode(&mut record);
    record
}

/// A valid award to a person of `HOME`.
pub fn award(act_id: &str, scene_id: &str, rain: u32, amount_minor: i64) -> AwardBuf {
    let reward_type = if scene_id == "rain" { "cash" } else { "film" };
    AwardBuf {
        order_no: format!("{act_id}_{scene_id}_r{rain}_{reward_type}_1"),
        act_id: act_id.to_owned(),
        activity_id: "spring".to_owned(),
        scene_id: scene_id.to_owned(),
        reward_type: reward_type.to_owned(),
        reward_id: String::new(),
        amount_minor,
        event_time_ms: START_MS,
        app: "douyin".to_owned(),
        ext: ExtBuf::from_iter([("k", "v")]),
    }
}

pub fn encoded(award: &AwardBuf) -> Vec<u8> {
    let mut record = Vec::new();
    award.as_award().encode(&mut record);
    record
}

/// Not the real hash, which the audit is given too.
fn order_value(record: &[u8]) -> [u8; 16] {
    let mut value = [0; 16];
    value[..4].copy_from_slice(&crc(record).to_le_bytes());
    value
}

/// Rows of a store, to be changed before it is made.
pub type StoreRows = BTreeMap<Vec<u8>, Vec<u8>>;

pub struct World {
    pub log: MemoryLog,
    pub books: Vec<(&'static str, MemoryLog)>,
    pub intake_rows: StoreRows,
    pub intake_applied: Applied,
    pub ledger_rows: StoreRows,
    pub ledger_applied: Applied,
    /// Nobody says which lanes the ledgers credit.
    pub lanes_are_unknown: bool,
    /// Sequence and epoch of each sink.
    sinks: BTreeMap<&'static str, (u64, u32)>,
}

impl World {
    pub fn empty() -> Self {
        let log = || MemoryLog::new(2, Arc::new(ManualClock::at(START_MS)));
        Self {
            log: log(),
            books: vec![("bank", log()), ("other", log())],
            intake_rows: StoreRows::new(),
            intake_applied: Applied::default(),
            ledger_rows: StoreRows::new(),
            ledger_applied: Applied::default(),
            lanes_are_unknown: false,
            sinks: BTreeMap::new(),
        }
    }

    /// A history with something of everything, and nothing wrong with it.
    ///
    /// ```text
    /// awards   0 settings  1 tick  2 cash  3 cash  4 again  5 conflict  6 film  7 refused
    ///          8 noise  9 other partition  10 cash  11 tick
    /// cash     1 credited  2 unknown, then credited  3 started, and posted
    /// coupon   1 refused
    /// ```
    pub fn clean() -> Self {
        let mut world = Self::empty();
        let mut conflict = award("a", "rain", 1, 100);
        conflict.amount_minor = 101;
        let mut refused = award("a", "rain", 9, 100);
        refused.activity_id = "autumn".to_owned();
        world.awards(&[
            control(ControlKind::Settings, 1, 0, &settings(1)),
            control(ControlKind::Tick, 1, START_MS, ""),
            encoded(&award("a", "rain", 1, 100)),
            encoded(&award("a_1", "rain", 1, 150)),
            encoded(&award("a", "rain", 1, 100)),
            encoded(&conflict),
            encoded(&award("a", "film", 1, 1)),
            encoded(&refused),
            b"noise".to_vec(),
            encoded(&award("d", "rain", 1, 100)),
        ]);
        world.decide();
        world.open("cash", 1);
        world.fact("cash", CreditStage::Started, 1, 2, "");
        world.fact("cash", CreditStage::Credited, 1, 1, "");
        world.fact("cash", CreditStage::Unknown, 2, 1, "timeout");
        world.awards(&[
            encoded(&award("a", "rain", 2, 7)),
            control(ControlKind::Tick, 2, START_MS + 1000, ""),
        ]);
        world.decide();
        world.open("cash", 2);
        world.fact("cash", CreditStage::Started, 2, 2, "");
        world.fact("cash", CreditStage::Credited, 2, 1, "asked");
        world.open("coupon", 1);
        world.fact("coupon", CreditStage::Started, 1, 1, "");
        world.fact("coupon", CreditStage::Refused, 1, 1, "frozen");
        for seq in 1..=3 {
            world.post("bank", &world.record("orders.cash", seq - 1));
        }
        world.store_all();
        world
    }

    pub fn awards(&self, records: &[Vec<u8>]) {
        self.append(AWARDS, Envelope::PRODUCER, records);
    }

    pub fn append(&self, topic: &str, envelope: Envelope<'_>, records: &[Vec<u8>]) {
        append(&self.log, topic, envelope, records);
    }

    /// Writes what intake has not written yet.
    pub fn decide(&self) {
        let mut verdicts = Verdicts::new(HOME, 2, control_key());
        let (mut out, mut batch) = (Vec::new(), ReadBatch::new());
        let (_, written) = self.log.range(HOME, JOURNAL).unwrap();
        let is_new = |seq: u64, topic: &str| {
            let (_, end) = self.log.range(HOME, topic).unwrap();
            let own = if topic == JOURNAL { self.intake_facts(written) } else { end };
            seq > own
        };
        self.log.read(HOME, AWARDS, 0, usize::MAX, &mut batch).unwrap();
        let mut fresh = Vec::new();
        for (offset, record) in batch.frames().flat_map(|frame| frame.records()) {
            verdicts.take(offset, record, &mut out);
            fresh.extend(out.drain(..).filter(|expected| is_new(expected.seq, &expected.topic)));
        }
        for expected in fresh {
            let envelope = Envelope { source: INTAKE, epoch: 0, first_seq: expected.seq };
            self.append(&expected.topic, envelope, &[expected.bytes]);
        }
    }

    /// Facts of intake among the first of the journal.
    pub fn intake_facts(&self, below: u64) -> u64 {
        let mut batch = ReadBatch::new();
        self.log.read(HOME, JOURNAL, 0, usize::MAX, &mut batch).unwrap();
        let own =
            batch.frames().filter(|frame| frame.envelope().source == INTAKE && frame.first_offset() < below);
        own.map(|frame| frame.len() as u64).sum()
    }

    pub fn open(&mut self, lane: &'static str, epoch: u32) {
        self.sinks.insert(lane, (1, epoch));
        let source = format!("sink.{lane}");
        let opened =
            Opened { source: &source, writer: [epoch as u8; 16], epoch: i64::from(epoch), at_ms: START_MS };
        self.sink(lane, &Fact::Opened(opened));
    }

    pub fn fact(&mut self, lane: &'static str, stage: CreditStage, first: i64, count: i64, reason: &str) {
        let record = credit(lane, stage, first, count, reason);
        self.sink_record(lane, record);
    }

    fn sink(&mut self, lane: &'static str, fact: &Fact<'_>) {
        let mut record = Vec::new();
        fact.encode(&mut record);
        self.sink_record(lane, record);
    }

    pub fn sink_record(&mut self, lane: &'static str, record: Vec<u8>) {
        let (seq, epoch) = self.sinks.get_mut(lane).unwrap();
        let envelope = Envelope { source: &format!("sink.{lane}"), epoch: *epoch, first_seq: *seq };
        *seq += 1;
        append(&self.log, JOURNAL, envelope, &[record]);
    }

    /// A record of the sink of cash with this sequence, whatever came before.
    pub fn sink_at(&self, epoch: u32, first_seq: u64, record: Vec<u8>) {
        self.append(JOURNAL, Envelope { source: "sink.cash", epoch, first_seq }, &[record]);
    }

    pub fn record(&self, topic: &str, offset: u64) -> Vec<u8> {
        let mut batch = ReadBatch::new();
        self.log.read(HOME, topic, offset, 1, &mut batch).unwrap();
        batch.get(0).unwrap().get(0).unwrap().to_vec()
    }

    /// Replaces a fact that `is_it` by what `change` makes of it.
    fn change(&self, is_it: impl Fn(&Fact<'_>) -> bool, change: impl Fn(&mut Fact<'_>)) {
        let (_, end) = self.log.range(HOME, JOURNAL).unwrap();
        for offset in 0..end {
            let bytes = self.record(JOURNAL, offset);
            let mut fact = Fact::decode(&bytes).unwrap();
            if is_it(&fact) {
                change(&mut fact);
                let mut changed = Vec::new();
                fact.encode(&mut changed);
                assert!(self.log.overwrite(HOME, JOURNAL, offset, &changed));
                return;
            }
        }
        panic!("there is no such fact");
    }

    /// Changes the acceptance of an award.
    pub fn change_accepted(&self, award: i64, change: impl Fn(&mut Accepted<'_>)) {
        let is_it = |fact: &Fact<'_>| matches!(fact, Fact::Accepted(fact) if fact.award_offset == award);
        self.change(is_it, |fact| {
            if let Fact::Accepted(fact) = fact {
                change(fact);
            }
        });
    }

    /// Changes the first conflict.
    pub fn change_conflict(&self, change: impl Fn(&mut Conflict<'_>)) {
        self.change(
            |fact| matches!(fact, Fact::Conflict(_)),
            |fact| {
                if let Fact::Conflict(fact) = fact {
                    change(fact);
                }
            },
        );
    }

    /// Changes the first refusal by intake.
    pub fn change_rejected(&self, change: impl Fn(&mut Rejected<'_>)) {
        self.change(
            |fact| matches!(fact, Fact::Rejected(_)),
            |fact| {
                if let Fact::Rejected(fact) = fact {
                    change(fact);
                }
            },
        );
    }

    /// Changes the first settings.
    pub fn change_settings(&self, change: impl Fn(&mut SettingsChanged<'_>)) {
        self.change(
            |fact| matches!(fact, Fact::SettingsChanged(_)),
            |fact| {
                if let Fact::SettingsChanged(fact) = fact {
                    change(fact);
                }
            },
        );
    }

    /// Changes a row of intake's store, which is there.
    pub fn change_intake_row(&mut self, key: &[u8], place: usize, by: u8) {
        let row = self.intake_rows.get_mut(key).unwrap();
        row[place] = row[place].wrapping_add(by);
    }

    /// Changes a row of the ledger's store, which is there.
    pub fn change_ledger_row(&mut self, key: &[u8], place: usize, by: u8) {
        let row = self.ledger_rows.get_mut(key).unwrap();
        row[place] = row[place].wrapping_add(by);
    }

    /// Appends a posting.
    pub fn post(&self, ledger: &str, record: &[u8]) {
        let (_, book) = self.books.iter().find(|(name, _)| *name == ledger).unwrap();
        append(book, "book", Envelope::PRODUCER, &[record.to_vec()]);
    }

    /// Stores of both as of the ends of their logs.
    pub fn store_all(&mut self) {
        let verdicts = self.verdicts();
        self.intake_rows = intake_rows(&verdicts);
        self.intake_applied = applied(&self.log, AWARDS);
        self.ledger_rows.clear();
        let book = &self.books[0].1;
        let mut batch = ReadBatch::new();
        book.read(HOME, "book", 0, usize::MAX, &mut batch).unwrap();
        for (_, record) in batch.frames().flat_map(|frame| frame.records()) {
            let order = Order::decode(record).unwrap();
            self.ledger_rows
                .insert([b"od", order.order_no.as_bytes()].concat(), order_value(record).to_vec());
            for key in [account_key(order.act_id, order.asset), [b"is", order.asset.as_bytes()].concat()] {
                let row = self.ledger_rows.entry(key).or_insert_with(|| vec![0; 16]);
                let balance =
                    i128::from_le_bytes(row[..].try_into().unwrap()) + i128::from(order.amount_minor);
                *row = balance.to_le_bytes().to_vec();
            }
        }
        self.ledger_applied = applied(book, "book");
    }

    pub fn verdicts(&self) -> Verdicts {
        let mut verdicts = Verdicts::new(HOME, 2, control_key());
        let (mut batch, mut out) = (ReadBatch::new(), Vec::new());
        self.log.read(HOME, AWARDS, 0, usize::MAX, &mut batch).unwrap();
        for (offset, record) in batch.frames().flat_map(|frame| frame.records()) {
            verdicts.take(offset, record, &mut out);
        }
        verdicts
    }

    /// Everything that can be audited without views.
    pub fn audit(&self) -> Report {
        let mut report = Report::new();
        for partition in [HOME, Partition(1)] {
            let journal = self.audit_partition(partition, &mut report);
            report.expect(Invariant::I26, journal.is_ok(), format_args!("{:?}", journal.err()));
        }
        report
    }

    fn audit_partition(&self, partition: Partition, report: &mut Report) -> Result<Journal, AuditError> {
        let mut intake = IntakeAudit::open(&self.log, partition, control_key())?;
        let mut stands_at = 0;
        if partition == HOME {
            let store = store_of(&self.intake_rows, self.intake_applied);
            stands_at = applied_offset(&store, "intake-0", (&self.log, HOME, AWARDS), report)?;
            intake.advance(stands_at, report)?;
            check_intake_store(&store, "intake-0", &intake.verdicts, report)?;
        }
        intake.advance(intake.end()?, report)?;
        let (_, undecided) = intake.finish(report)?;
        check_decided("intake-0", stands_at, undecided, report);
        let mut journal = JournalAudit::open(&self.log, partition)?;
        journal.advance(journal.end()?, report)?;
        let journal = journal.finish(report);
        self.audit_ledgers(partition, &journal, report)?;
        Ok(journal)
    }

    fn audit_ledgers(
        &self,
        partition: Partition,
        journal: &Journal,
        report: &mut Report,
    ) -> Result<(), AuditError> {
        let mut ledgers = Vec::new();
        for (name, book) in &self.books {
            let mut ledger = LedgerAudit::open(name, book, partition, order_value)?;
            if partition == HOME && *name == "bank" {
                let store = store_of(&self.ledger_rows, self.ledger_applied);
                let stands_at = applied_offset(&store, "bank", (book, HOME, "book"), report)?;
                ledger.advance(stands_at, journal, report)?;
                ledger.check_store(&store, report)?;
            }
            ledger.advance(ledger.end()?, journal, report)?;
            ledger.finish(journal, report);
            ledgers.push(ledger);
        }
        let lanes = [vec!["cash".to_owned()], Vec::new()];
        let times: Vec<_> = ledgers
            .iter()
            .map(|ledger| |order: &hongbao_audit::journal::Order| ledger.times(&order.order_no))
            .collect();
        let mut evidence = Vec::new();
        for ((ledger, lanes), times) in ledgers.iter().zip(&lanes).zip(&times) {
            let lanes = if self.lanes_are_unknown { Lanes::Found } else { Lanes::Named(lanes) };
            evidence.push(Evidence { name: ledger.name(), lanes, times });
        }
        check_effects(journal, &evidence, report);
        Ok(())
    }
}

pub fn credit(lane: &str, stage: CreditStage, first: i64, count: i64, reason: &str) -> Vec<u8> {
    let mut ranges = RangesBuf::new();
    ranges.push(SeqRange::new(first, count).unwrap());
    let mut record = Vec::new();
    CreditFact { stage, lane, at_ms: START_MS, ranges: ranges.as_ranges(), reason }.encode(&mut record);
    record
}

pub fn account_key(act_id: &str, asset: &str) -> Vec<u8> {
    [b"ac", act_id.as_bytes(), b"\0", asset.as_bytes()].concat()
}

/// An order's record with another content.
pub fn changed_order(record: &[u8], change: impl Fn(&mut Order<'_>)) -> Vec<u8> {
    let mut order = Order::decode(record).unwrap();
    change(&mut order);
    let mut changed = Vec::new();
    order.encode(&mut changed);
    changed
}

fn append(log: &MemoryLog, topic: &str, envelope: Envelope<'_>, records: &[Vec<u8>]) {
    let mut buf = RecordBuf::new();
    records.iter().for_each(|record| buf.push(record));
    log.append(HOME, &[Frame { topic, envelope, records: &buf }]).unwrap();
}

fn applied(log: &MemoryLog, topic: &str) -> Applied {
    let (_, offset) = log.range(HOME, topic).unwrap();
    let mut batch = ReadBatch::new();
    log.read(HOME, topic, offset - 1, 1, &mut batch).unwrap();
    Applied { offset, last_record_crc: crc(batch.get(0).unwrap().get(0).unwrap()) }
}

pub fn store_of(rows: &StoreRows, applied: Applied) -> MemoryStore {
    let store = MemoryStore::new();
    let mut run = Rows::new();
    rows.iter().for_each(|(key, value)| run.put(key, value));
    store.commit(&[run], applied).unwrap();
    store
}

fn intake_rows(verdicts: &Verdicts) -> StoreRows {
    let counts = verdicts.counts;
    let fold = [
        verdicts.now_ms.cast_unsigned(),
        verdicts.tick_number.cast_unsigned(),
        verdicts.settings_number.cast_unsigned(),
        counts.read,
        counts.accepted,
        counts.duplicate,
        counts.conflict,
        counts.rejected,
        0,
        counts.undecodable,
    ];
    let mut rows = StoreRows::new();
    rows.insert(b"in\0fold".to_vec(), fold.map(u64::to_le_bytes).concat());
    rows.insert(b"in\0settings".to_vec(), verdicts.settings_json.clone().unwrap());
    for (order_no, first) in &verdicts.orders {
        let parts: Vec<&str> = order_no.rsplitn(5, '_').collect();
        let key = ["on", &[parts[3], parts[4], parts[2], parts[1], parts[0]].join("\0")].concat();
        rows.insert(key.into_bytes(), first.digest.to_vec());
    }
    for (topic, written) in &verdicts.written {
        let row = [(written + 1).to_le_bytes(), 0_u64.to_le_bytes()].concat();
        rows.insert(["~s", topic].concat().into_bytes(), row);
    }
    rows
}
