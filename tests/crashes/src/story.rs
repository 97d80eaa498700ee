//! One data folder from its first award to the comparison of all books at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::ReadBatch;
use hongbao_schemas::award::Award;
use hongbao_schemas::journal::{CreditStage, Fact};
use hongbao_segments::SegmentLog;
use rustix::process::Signal;
use serde_json::Value;

use crate::finding::{found, or_violation};
use crate::http::Connection;
use crate::process::{End, Patience, Process};
use crate::reports::{Allowed, Reports};
use crate::rig::{DEADLINE, KeyDigest, Mall, MallBook, Rig, key_digest};
use crate::traffic::{COUPON, PENDANT, Traffic};
use crate::wait::{Dice, pause};

/// Time between two requests: the places shall be passed, not the machine be loaded.
const PACE: Duration = Duration::from_millis(2);

/// A data folder, who sends to it, and who gets from it.
pub struct Story<'a> {
    /// Where the node stands.
    pub rig: Rig,
    /// Who gives the coupons; it may have served other folders before.
    pub mall: &'a mut Mall,
    /// Who sends awards, and what was acknowledged to them.
    pub traffic: Traffic,
    /// Chooses what is left to chance.
    pub dice: Dice,
    /// What the downstream had before.
    before: MallBook,
    /// Attempts that the journal says were unknown for a time.
    pub unknown_outcomes: u64,
    /// Orders of the downstream outside that ended as reported.
    pub reported: u64,
    /// Attempts there of which no answer was ever understood.
    pub unanswered: u64,
    /// Kills, and ends for other reasons before the comparison.
    pub crashes: u64,
    /// What must not be, told; nothing is compared any more once there is one.
    pub violations: Vec<String>,
}

impl<'a> Story<'a> {
    /// Begins.
    ///
    /// # Errors
    /// The downstream does not answer.
    pub fn begin(rig: Rig, mall: &'a mut Mall, traffic: Traffic, dice: Dice) -> io::Result<Self> {
        let before = mall.book()?;
        Ok(Self {
            rig,
            mall,
            traffic,
            dice,
            before,
            unknown_outcomes: 0,
            reported: 0,
            unanswered: 0,
            crashes: 0,
            violations: Vec::new(),
        })
    }

    /// Notes what must not be.
    pub fn violated(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// The next request. The downstream's book may hold its orders from now on: whoever gets no
    /// acknowledgement does not know whether they are in the log, and will be paid.
    pub fn batch(&mut self, items: u64) -> Vec<u8> {
        let batch = self.traffic.batch(items);
        self.mall.may_get(self.traffic.open().filter(|order| order.reward_type == COUPON));
        batch
    }

    /// Sends one batch. The connection is gone when there was no answer.
    pub fn send(&mut self, mut api: Connection) -> Option<Connection> {
        pause(PACE);
        let items = 2 + self.dice.below(20);
        let batch = self.batch(items);
        match api.post("/v1/awards", &batch).ok()?.status {
            200 | 202 => self.traffic.acknowledge(),
            503 => {}
            status => self.violated(format!("awards were answered with {status}")),
        }
        Some(api)
    }

    /// The newest acknowledged order must be there as soon as anything is shown (I25).
    pub fn look(&mut self, mut api: Connection, is_looking: bool) -> Option<Connection> {
        let newest = self.traffic.acknowledged().values().next_back().map(|order| order.order_no.clone());
        let Some(order_no) = newest.filter(|_| is_looking) else { return Some(api) };
        let answer = api.get(&format!("/v1/awards/{order_no}")).ok()?;
        match answer.status {
            200 if answer.json()["state"] == "rejected" => {
                self.violated(format!("{order_no} was acknowledged and is rejected"));
            }
            200 | 503 => {}
            status => self.violated(format!("{order_no} was acknowledged and is answered with {status}")),
        }
        Some(api)
    }

    /// Lets everything end, and compares all books. A node that dies or does not answer on the way is a
    /// violation.
    ///
    /// # Errors
    /// The harness itself cannot go on.
    pub fn compare(&mut self) -> io::Result<()> {
        let mut process = self.rig.start(&[])?;
        let done = self.compare_all(&mut process);
        or_violation(done, |what| {
            self.violated(format!("during the comparison: {what}; {}", process.tells()));
        })?;
        Ok(())
    }

    fn compare_all(&mut self, process: &mut Process) -> io::Result<()> {
        let Some(mut api) = self.rig.connect(process)? else {
            self.violated(format!("the node does not start; {}", process.tells()));
            return Ok(());
        };
        let mut patience = Patience::of(DEADLINE);
        while self.traffic.is_open() {
            if patience.is_over() {
                self.violated(format!("not in time: awards are taken again; {}", process.tells()));
                return Ok(());
            }
            match self.send(api) {
                Some(same) => api = same,
                None => return Err(found("awards are not answered")),
            }
        }
        let lanes = match self.rig.settled(&mut api) {
            Ok(lanes) => lanes,
            Err(error) => {
                let lanes = api.get("/v1/lanes").map(|answer| answer.json());
                self.violated(format!("{error}: {lanes:?}; {}", process.tells()));
                return Ok(());
            }
        };
        let counts = api.get("/v1/counts")?.json();
        let expected = self.traffic.acknowledged().len();
        if counts["accepted"].as_u64() != Some(expected as u64) {
            self.violated(format!("I2, I25: {expected} orders were acknowledged, counts are {counts}"));
        }
        self.lanes_end(&lanes);
        process.signal(Signal::TERM);
        let end = process.ends_within(DEADLINE)?;
        if end != Some(End::Code(0)) {
            self.violated(format!("a graceful stop ended with {end:?}; {}", process.tells()));
        }
        let (end, printed) = self.rig.check()?;
        if end != End::Code(0) {
            self.violated(format!("check ended with {end:?}:\n{printed}"));
        }
        let log = log_of(&self.rig.data())?;
        self.log_holds_everything(&log)?;
        self.reports_are_due(&log, &lanes)?;
        if process.says().contains("panicked") {
            self.violated(format!("a panic:\n{}", process.says()));
        }
        self.mall_agrees(&lanes)
    }

    /// Every lane has ended what was acknowledged for it (I11).
    fn lanes_end(&mut self, lanes: &[Value]) {
        for (name, reward_type) in [("cash", "cash"), ("coupon", COUPON), ("other", PENDANT)] {
            let orders = self.traffic.acknowledged().values();
            let expected = orders.filter(|order| order.reward_type == reward_type).count() as u64;
            let lane = lanes.iter().find(|lane| lane["lane"] == name);
            let count = |field: &str| lane.and_then(|lane| lane[field].as_u64()).unwrap_or_default();
            let ended = count("credited") + count("refused") + count("reported");
            if ended != expected || count("refused") > 0 {
                self.violated(format!("I11: lane {name} ended {ended} of {expected} orders: {lane:?}"));
            }
        }
    }

    /// What was acknowledged is in the log (I25), read by the log's own code.
    fn log_holds_everything(&mut self, log: &SegmentLog) -> io::Result<()> {
        let mut held = BTreeSet::new();
        each_record(log, "awards", |record| {
            if let Ok(award) = Award::decode(record) {
                held.insert(award.order_no.to_owned());
            }
        })?;
        self.unknown_outcomes = unknown_outcomes(log)?;
        let numbers = self.traffic.acknowledged().keys();
        let lost: Vec<String> = numbers.filter(|number| !held.contains(*number)).cloned().collect();
        if !lost.is_empty() {
            self.violated(format!("I25: {} acknowledged awards are not in the log: {lost:?}", lost.len()));
        }
        Ok(())
    }

    /// Only what cannot be known is reported (I11).
    fn reports_are_due(&mut self, log: &SegmentLog, lanes: &[Value]) -> io::Result<()> {
        let reports = Reports::of(log)?;
        let (outside, effects) = (Allowed::Outside(self.mall.keys), self.mall.effects()?);
        for (name, allowed) in [("cash", Allowed::Nothing), ("coupon", outside), ("other", Allowed::Nothing)]
        {
            if let Some(wrong) = reports.wrong(name, allowed) {
                self.violated(wrong);
            }
            let known = reports.known_downstream(name, &effects);
            known.into_iter().for_each(|what| self.violated(what));
            let shown = lanes.iter().find(|lane| lane["lane"] == name).map(|lane| lane["reported"].clone());
            let told = reports.reported(name);
            if shown.as_ref().and_then(Value::as_u64) != Some(told) {
                self.violated(format!(
                    "I18: {told} orders of {name} are reported in the journal, {shown:?} shown"
                ));
            }
        }
        self.reported = reports.reported("coupon");
        self.unanswered = reports.unanswered("coupon");
        Ok(())
    }

    /// What really happened downstream (I9, I10, I13).
    fn mall_agrees(&mut self, lanes: &[Value]) -> io::Result<()> {
        let (before, after) = (self.before, self.mall.book()?);
        let lane = lanes.iter().find(|lane| lane["lane"] == "coupon");
        let count = |field: &str| lane.and_then(|lane| lane[field].as_u64()).unwrap_or_default();
        let (credited, reported) = (count("credited"), count("reported"));
        // A late effect of an order of another folder may come at any time, so that those of this one count.
        let all = self.mall.effects()?;
        let own = self.traffic.sent().filter(|order| order.reward_type == COUPON);
        let own: BTreeMap<KeyDigest, String> =
            own.map(|order| (key_digest(&order.order_no), order.order_no.clone())).collect();
        let effects: u64 = own.keys().filter_map(|key| all.get(key)).map(|known| known.count).sum();
        for wrong in self.mall.wrong(&all, &own) {
            self.violated(wrong);
        }
        if after.double_effects != before.double_effects || after.mismatches != before.mismatches {
            self.violated(format!("I10, I13: {before:?} before, {after:?} now"));
        }
        if effects < credited || effects > credited + reported {
            self.violated(format!(
                "I9: {effects} effects downstream, {credited} credited, {reported} reported"
            ));
        }
        if !self.mall.runs()? {
            return Err(found("the downstream has ended"));
        }
        Ok(())
    }
}

/// Outcomes that a log says were unknown for a time.
///
/// # Errors
/// The log cannot be read.
pub fn unknown_outcomes(log: &SegmentLog) -> io::Result<u64> {
    let mut unknown = 0;
    each_record(log, "journal", |record| {
        if let Ok(Fact::Credit(fact)) = Fact::decode(record)
            && fact.stage == CreditStage::Unknown
        {
            unknown += fact.ranges.total().unsigned_abs();
        }
    })?;
    Ok(unknown)
}

/// Opens the log of a data folder as it stands.
///
/// # Errors
/// It cannot be opened.
pub fn log_of(data: &Path) -> io::Result<SegmentLog> {
    let opened = SegmentLog::open_read_only(&data.join("log"));
    opened.map(|(log, _)| log).map_err(|error| found(error.to_string()))
}

/// Gives all records of a topic.
fn each_record(log: &SegmentLog, topic: &str, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut partitions = (0..log.partitions()).map(Partition);
    partitions.try_for_each(|partition| each_record_of(log, partition, topic, &mut each))
}

/// Gives all records of a topic in a partition.
///
/// # Errors
/// They cannot be read.
pub fn each_record_of(
    log: &SegmentLog,
    partition: Partition,
    topic: &str,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let unreadable = |error: LogError| found(format!("{topic}: {error}"));
    let mut batch = ReadBatch::new();
    let (mut from, end) = log.range(partition, topic).map_err(unreadable)?;
    while from < end {
        log.read(partition, topic, from, 1 << 20, &mut batch).map_err(unreadable)?;
        for (offset, record) in batch.frames().flat_map(|frame| frame.records()) {
            from = offset + 1;
            each(record);
        }
    }
    Ok(())
}
