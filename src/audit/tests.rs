//! The real views and the plain model tell the same of any journal, and rows changed behind their
//! back are found.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hongbao_audit::views::{self, rebuild};
use hongbao_audit::{Invariant, JournalAudit, Report};
use hongbao_engine::clock::ManualClock;
use hongbao_engine::log::Log;
use hongbao_engine::memory::log::MemoryLog;
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_engine::store::{Rows, Store};
use hongbao_processors::intake::JOURNAL;
use hongbao_processors::views::ViewsLimits;
use hongbao_schemas::award::Award;
use hongbao_schemas::ext::Ext;
use hongbao_schemas::journal::{
    Accepted, Conflict, CreditFact, CreditStage, Fact, Opened, RangesBuf, Rejected, SeqRange,
    SettingsChanged, Ticked,
};

/// Act ids `a` and `a_1` are of this partition of two.
const HOME: Partition = Partition(0);
const START_MS: i64 = 1_800_000_000_000;
const SETTINGS: &str = r#"{"number": 1, "name": "test",
    "reward_types": {
        "cash": {"asset": "CNY/2", "max_minor": 200, "lane": "cash"},
        "film": {"asset": "COUPON/0", "max_minor": 1, "lane": "coupon"}},
    "activities": {"spring": {"scenes": {
        "rain": {"reward_type": "cash", "text": "rain", "reconcile": true},
        "film": {"reward_type": "film", "text": "film", "reconcile": false}}}},
    "reconcile_overdue_after_ms": 90000}"#;

/// What the model cannot agree with if the views are wrong. Sinks that contradict themselves, as
/// they do here, break others.
const OF_VIEWS: [Invariant; 5] =
    [Invariant::I6, Invariant::I15, Invariant::I16, Invariant::I18, Invariant::I19];

/// Writes a journal, at random but always the same from the same seed.
struct Writer {
    log: MemoryLog,
    random: u64,
    seqs: [u64; 3],
    accepted: [i64; 2],
    awards: i64,
    now_ms: i64,
}

impl Writer {
    fn new(seed: u64) -> Self {
        let log = MemoryLog::new(2, Arc::new(ManualClock::at(START_MS)));
        let mut writer =
            Self { log, random: seed, seqs: [0; 3], accepted: [0; 2], awards: 0, now_ms: START_MS };
        let body = SETTINGS.as_bytes();
        let settings = SettingsChanged { number: 1, body, award_offset: 0, at_ms: START_MS };
        writer.intake(&Fact::SettingsChanged(settings));
        for lane in [0, 1] {
            writer.opened(lane);
        }
        writer
    }

    /// SplitMix64.
    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    fn append(&mut self, source: usize, fact: &Fact<'_>) {
        let mut records = RecordBuf::new();
        records.push_with(|out| fact.encode(out));
        self.seqs[source] += 1;
        let name = ["sink.cash", "sink.coupon", "intake"][source];
        let envelope = Envelope { source: name, epoch: u32::from(source < 2), first_seq: self.seqs[source] };
        self.log.append(HOME, &[Frame { topic: JOURNAL, envelope, records: &records }]).unwrap();
    }

    fn intake(&mut self, fact: &Fact<'_>) {
        self.awards += 1;
        self.append(2, fact);
    }

    fn opened(&mut self, lane: usize) {
        let source = ["sink.cash", "sink.coupon"][lane];
        self.append(lane, &Fact::Opened(Opened { source, writer: [7; 16], epoch: 1, at_ms: self.now_ms }));
    }

    fn write(&mut self) {
        match self.below(10) {
            0..=3 => self.accept(),
            4..=7 => self.credit(),
            8 => self.refuse(),
            _ => {
                self.now_ms += 20_000;
                self.intake(&Fact::Ticked(Ticked { at_ms: self.now_ms, award_offset: self.awards }));
            }
        }
    }

    fn accept(&mut self) {
        let lane = self.below(2) as usize;
        self.accepted[lane] += 1;
        let (scene_id, reward_type, asset) = [("rain", "cash", "CNY/2"), ("film", "film", "COUPON/0")][lane];
        let act_id = ["a", "a_1"][self.below(2) as usize];
        let (award_offset, lane_seq) = (self.awards, self.accepted[lane]);
        let order_no = format!("{act_id}_{scene_id}_r{lane_seq}_{reward_type}_1");
        let award = Award {
            order_no: &order_no,
            act_id,
            activity_id: "spring",
            scene_id,
            reward_type,
            reward_id: ["", "t1"][self.below(2) as usize],
            amount_minor: 1 + self.below(200) as i64,
            event_time_ms: self.now_ms - 5,
            app: "douyin",
            ext: Ext::EMPTY,
        };
        let lane = ["cash", "coupon"][lane];
        self.intake(&Fact::Accepted(Accepted {
            award,
            asset,
            lane,
            lane_seq,
            award_offset,
            at_ms: self.now_ms,
        }));
    }

    fn credit(&mut self) {
        let lane = self.below(2) as usize;
        let stage = CreditStage::ALL[self.below(6) as usize];
        let mut ranges = RangesBuf::new();
        for _ in 0..=self.below(2) {
            let (first, count) = (1 + self.below(12) as i64, 1 + self.below(4) as i64);
            ranges.push(SeqRange::new(first, count).unwrap());
        }
        let name = ["cash", "coupon"][lane];
        let (at_ms, reason) = (self.now_ms + 3, ["", "timeout"][self.below(2) as usize]);
        self.append(
            lane,
            &Fact::Credit(CreditFact { stage, lane: name, at_ms, ranges: ranges.as_ranges(), reason }),
        );
    }

    fn refuse(&mut self) {
        let seq = 1 + self.below(9);
        let order_no = format!("a_rain_r{seq}_cash_1");
        let (award_offset, at_ms) = (self.awards, self.now_ms);
        let award = Award {
            order_no: &order_no,
            act_id: "a",
            activity_id: "spring",
            scene_id: "rain",
            reward_type: "cash",
            reward_id: "",
            amount_minor: 1000,
            event_time_ms: 0,
            app: "",
            ext: Ext::EMPTY,
        };
        let fact = match self.below(2) {
            0 => Fact::Conflict(Conflict::of(&award, award_offset, at_ms)),
            _ => Fact::Rejected(Rejected::of(
                &award,
                hongbao_schemas::refusal::Refusal::AmountAboveCap,
                award_offset,
                at_ms,
            )),
        };
        self.intake(&fact);
    }

    fn end(&self) -> u64 {
        self.log.range(HOME, JOURNAL).unwrap().1
    }
}

fn journal(seed: u64, facts: usize) -> Writer {
    let mut writer = Writer::new(seed);
    (0..facts).for_each(|_| writer.write());
    writer
}

fn rebuilt(writer: &Writer, to: u64) -> Arc<MemoryStore> {
    rebuild::rebuild(&writer.log, HOME, to, ViewsLimits::default(), &AtomicU64::new(0)).unwrap()
}

/// What is found of the views that `store` holds, at this offset.
fn findings(writer: &Writer, store: Arc<MemoryStore>, at: u64) -> Report {
    let mut report = Report::new();
    let mut audit = JournalAudit::open(&writer.log, HOME).unwrap();
    audit.advance(at, &mut report).unwrap();
    let expected = rebuilt(writer, at);
    rebuild::compare(&*store, &*expected, "views-0", &mut report).unwrap();
    let totals = views::check(store, 2, HOME, &audit, 500, &mut report).unwrap();
    audit.advance(writer.end(), &mut report).unwrap();
    let journal = audit.finish(&mut report);
    views::check_totals_grow(&totals, &journal, &mut report);
    report
}

fn of_views(report: &Report) -> Vec<Invariant> {
    report.broken().into_iter().filter(|invariant| OF_VIEWS.contains(invariant)).collect()
}

#[test]
fn views_and_model_agree() {
    for seed in 0..150 {
        let writer = journal(seed, 10 + seed as usize);
        for at in [writer.end(), writer.end() / 2, 0] {
            let report = findings(&writer, rebuilt(&writer, at), at);
            let broken = of_views(&report);
            let details: Vec<_> =
                broken.iter().flat_map(|invariant| report.line(*invariant).details).collect();
            assert_eq!(broken, [], "seed {seed} at {at}: {details:#?}");
        }
    }
}

/// A copy of a store with one row changed.
fn changed(store: &MemoryStore, kind: &[u8], change: impl Fn(&mut Vec<u8>)) -> Arc<MemoryStore> {
    let mut rows = Rows::new();
    let mut is_changed = false;
    let mut visit = |key: &[u8], row: &[u8]| {
        let mut row = row.to_vec();
        if !is_changed && key.starts_with(kind) {
            is_changed = true;
            change(&mut row);
        }
        if !row.is_empty() {
            rows.put(key, &row);
        }
        ControlFlow::Continue(())
    };
    store.scan(&[], &[0xff], &mut visit).unwrap();
    assert!(is_changed, "there is no row of {}", kind.escape_ascii());
    let copy = MemoryStore::new();
    copy.commit(&[rows], store.applied().unwrap()).unwrap();
    Arc::new(copy)
}

#[test]
fn changed_rows_are_found() {
    let writer = journal(5, 120);
    let (store, end) = (rebuilt(&writer, writer.end()), writer.end());
    type Change = fn(&mut Vec<u8>);
    let last: Change = |row| *row.last_mut().unwrap() ^= 2;
    let gone: Change = Vec::clear;
    let cases: [(&str, &[u8], Change, &[Invariant]); 8] = [
        ("a person's last sum", b"us", last, &[Invariant::I6, Invariant::I15, Invariant::I19]),
        ("a person who is gone", b"us", gone, &[Invariant::I6, Invariant::I15, Invariant::I19]),
        ("how many orders a group has", b"ag", |row| row[19] -= 1, &[Invariant::I6, Invariant::I19]),
        ("where a lane stands", b"cl", |row| row[5] ^= 1, &[Invariant::I6, Invariant::I19]),
        ("the app of an entry", b"en", last, &[Invariant::I6, Invariant::I19]),
        ("the time", b"ct", |row| row[0] ^= 2, &[Invariant::I6, Invariant::I19]),
        ("an order's pointer", b"or", gone, &[Invariant::I6, Invariant::I19]),
        ("the mark of a writer", b"~m", last, &[Invariant::I19]),
    ];
    for (name, kind, change, expected) in cases {
        let report = findings(&writer, changed(&store, kind, change), end);
        let broken = of_views(&report);
        let details: Vec<_> = broken.iter().flat_map(|invariant| report.line(*invariant).details).collect();
        assert_eq!(broken, expected, "{name}: {details:#?}");
        let detail = report.line(Invariant::I19).details.concat();
        assert!(detail.contains(&kind.escape_ascii().to_string()), "{name}: {detail}");
    }
}

#[test]
fn totals_that_went_back_are_found() {
    let writer = journal(7, 60);
    let (mut report, mut audit) = (Report::new(), JournalAudit::open(&writer.log, HOME).unwrap());
    audit.advance(writer.end(), &mut report).unwrap();
    let totals =
        views::check(rebuilt(&writer, writer.end()), 2, HOME, &audit, usize::MAX, &mut report).unwrap();
    let mut earlier = JournalAudit::open(&writer.log, HOME).unwrap();
    earlier.advance(writer.end() / 2, &mut report).unwrap();
    let mut report = Report::new();
    views::check_totals_grow(&totals, &earlier.journal, &mut report);
    assert_eq!(report.broken(), [Invariant::I18]);
}
