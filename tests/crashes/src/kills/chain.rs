//! One data folder: its node is killed some times, then everything is drained and compared.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::crash::When;
use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::ReadBatch;
use hongbao_schemas::award::Award;
use hongbao_segments::SegmentLog;
use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::Value;

use super::aim::{Aim, Target};
use crate::http::Connection;
use crate::process::{End, Process};
use crate::rig::{DEADLINE, Mall, MallBook, Rig};
use crate::traffic::Traffic;
use crate::wait::{Dice, elapsed, pause};

/// A process that has not reached its place by then is killed where it is.
const REACH_WITHIN: Duration = Duration::from_millis(1_500);
/// Time between two requests: the places shall be passed, not the machine be loaded.
const PACE: Duration = Duration::from_millis(2);
/// Awards sent before a node is asked to stop.
const BATCHES_BEFORE_STOP: u32 = 3;
/// One start in so many looks at once whether the newest acknowledged order is there.
const LOOK_ONE_IN: u64 = 4;

/// What a chain came to.
#[derive(Debug, Default)]
pub struct Tally {
    pub kills: u64,
    /// Second kills: before a start had recovered from the one before.
    pub in_recovery: u64,
    pub awards: u64,
    pub duplicates: u64,
    pub unknown_outcomes: u64,
    pub violations: Vec<String>,
}

/// A data folder under attack.
pub struct Chain<'a> {
    pub rig: Rig,
    pub mall: &'a mut Mall,
    pub aim: &'a Mutex<Aim>,
    pub traffic: Traffic,
    pub dice: Dice,
    pub tally: Tally,
}

impl Chain<'_> {
    /// Kills so many times, then compares.
    ///
    /// # Errors
    /// The harness itself cannot go on.
    pub fn run(mut self, kills: u64) -> io::Result<(Rig, Tally)> {
        let before = self.mall.book()?;
        let mut last: Option<&'static str> = None;
        while self.tally.kills < kills && self.tally.violations.is_empty() {
            // Only in an empty folder is anything made; a kill there leaves some of it to be made.
            let is_first = self.tally.kills == 0 || (self.tally.kills == 1 && self.is_unmade());
            let target = self.aim.lock().next(is_first, last, &mut self.dice);
            let is_hit = self.cycle(target)?;
            self.aim.lock().note(target, is_hit);
            last = match target {
                Target::Place { name, .. } if is_hit => Some(name),
                _ => None,
            };
            self.tally.kills += 1;
            let in_recovery =
                matches!(target, Target::Place { when: When::Opening | When::Mending, .. }) && is_hit;
            self.tally.in_recovery += u64::from(in_recovery);
        }
        if self.tally.violations.is_empty() {
            self.compare(before)?;
        }
        self.tally.awards = self.traffic.acknowledged().len() as u64;
        self.tally.duplicates = self.traffic.repeats;
        Ok((self.rig, self.tally))
    }

    fn is_unmade(&self) -> bool {
        !self.rig.data().join("lanes.json").exists()
    }

    fn violated(&mut self, what: impl Into<String>) {
        self.tally.violations.push(what.into());
    }

    /// One life of the node. Returns whether it ended where it should have.
    fn cycle(&mut self, target: Target) -> io::Result<bool> {
        let armed = match target {
            Target::Place { name, count, .. } => format!("{name}:{count}"),
            Target::Moment { .. } => String::new(),
        };
        let variables: &[(&str, &str)] =
            if armed.is_empty() { &[] } else { &[("HONGBAO_KILL_AT", armed.as_str())] };
        let mut process = self.rig.start(variables)?;
        let started = elapsed();
        let give_up = match target {
            Target::Moment { after_ms } => Duration::from_millis(after_ms),
            Target::Place { .. } => REACH_WITHIN,
        };
        let is_stopping = matches!(target, Target::Place { when: When::Stopping, .. });
        let mut sent = 0;
        let mut connection = None;
        let is_looking = self.dice.below(LOOK_ONE_IN) == 0;
        loop {
            if let Some(end) = process.ended()? {
                return Ok(self.judge(end, target, &process));
            }
            if elapsed().saturating_sub(started) >= give_up {
                process.kill()?;
                return Ok(false);
            }
            if is_stopping && sent >= BATCHES_BEFORE_STOP {
                process.signal(Signal::TERM);
                let end = process.ends_within(DEADLINE)?.unwrap_or(End::Code(-1));
                return Ok(self.judge(end, target, &process));
            }
            connection = match connection.take() {
                Some(connection) => self.send(connection).inspect(|_| sent += 1),
                None => Connection::open(self.rig.address).ok().and_then(|api| self.look(api, is_looking)),
            };
            if connection.is_none() {
                pause(Duration::from_millis(1));
            }
        }
    }

    /// What an end without our doing says.
    fn judge(&mut self, end: End, target: Target, process: &Process) -> bool {
        match (end, target) {
            (End::Killed, Target::Place { .. }) => true,
            (End::Code(0), Target::Place { when: When::Stopping, .. }) => false,
            _ => {
                let says = process.says();
                self.violated(format!("the node ended with {end:?} at {target:?}:\n{}", tail(&says, 12)));
                false
            }
        }
    }

    /// Sends one batch. The connection is gone when there was no answer.
    fn send(&mut self, mut api: Connection) -> Option<Connection> {
        pause(PACE);
        let items = 2 + self.dice.below(20);
        let batch = self.traffic.batch(items);
        match api.post("/v1/awards", &batch).ok()?.status {
            200 | 202 => self.traffic.acknowledge(),
            503 => {}
            status => self.violated(format!("awards were answered with {status}")),
        }
        Some(api)
    }

    /// The newest acknowledged order must be there as soon as anything is shown (I25).
    fn look(&mut self, mut api: Connection, is_looking: bool) -> Option<Connection> {
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

    /// Lets everything end, and compares all books.
    fn compare(&mut self, before: MallBook) -> io::Result<()> {
        let mut process = self.rig.start(&[])?;
        let Some(mut api) = self.rig.connect(&mut process)? else {
            self.violated(format!("the node does not start:\n{}", tail(&process.says(), 12)));
            return Ok(());
        };
        while self.traffic.is_open() {
            match self.send(api) {
                Some(same) => api = same,
                None => return Err(io::Error::other(format!("no answer:\n{}", tail(&process.says(), 12)))),
            }
        }
        let lanes = match self.rig.settled(&mut api) {
            Ok(lanes) => lanes,
            Err(error) => {
                let lanes = api.get("/v1/lanes").map(|answer| answer.json());
                self.violated(format!("{error}: {lanes:?}\n{}", tail(&process.says(), 12)));
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
            self.violated(format!("a graceful stop ended with {end:?}:\n{}", tail(&process.says(), 12)));
        }
        let (end, printed) = self.rig.check()?;
        if end != End::Code(0) {
            self.violated(format!("check ended with {end:?}:\n{printed}"));
        }
        self.log_holds_everything()?;
        self.mall_agrees(before, &lanes)
    }

    /// Every lane has ended what was acknowledged for it (I11).
    fn lanes_end(&mut self, lanes: &[Value]) {
        for (name, reward_type) in [("cash", "cash"), ("coupon", "coupon.film"), ("other", "pendant")] {
            let orders = self.traffic.acknowledged().values();
            let expected = orders.filter(|order| order.reward_type == reward_type).count() as u64;
            let lane = lanes.iter().find(|lane| lane["lane"] == name);
            let count = |field: &str| lane.and_then(|lane| lane[field].as_u64()).unwrap_or_default();
            let ended = count("credited") + count("refused") + count("reported");
            if ended != expected || count("refused") > 0 {
                self.violated(format!("I11: lane {name} ended {ended} of {expected} orders: {lane:?}"));
            }
            self.tally.unknown_outcomes += count("asked");
        }
    }

    /// What was acknowledged is in the log (I25), read by the log's own code.
    fn log_holds_everything(&mut self) -> io::Result<()> {
        let (log, _) = SegmentLog::open_read_only(&self.rig.data().join("log")).map_err(io::Error::other)?;
        let found = order_numbers(&Arc::new(log))?;
        let numbers = self.traffic.acknowledged().keys();
        let lost: Vec<String> = numbers.filter(|number| !found.contains(*number)).cloned().collect();
        if !lost.is_empty() {
            self.violated(format!("I25: {} acknowledged awards are not in the log: {lost:?}", lost.len()));
        }
        Ok(())
    }

    /// What really happened downstream (I9, I10, I13).
    fn mall_agrees(&mut self, before: MallBook, lanes: &[Value]) -> io::Result<()> {
        let after = self.mall.book()?;
        let lane = lanes.iter().find(|lane| lane["lane"] == "coupon");
        let count = |field: &str| lane.and_then(|lane| lane[field].as_u64()).unwrap_or_default();
        let (credited, reported) = (count("credited"), count("reported"));
        let effects = after.effects - before.effects;
        if after.double_effects != before.double_effects || after.mismatches != before.mismatches {
            self.violated(format!("I10, I13: {before:?} before, {after:?} now"));
        }
        if effects < credited || effects > credited + reported {
            self.violated(format!(
                "I9: {effects} effects downstream, {credited} credited, {reported} reported"
            ));
        }
        if !self.mall.runs()? {
            return Err(io::Error::other("the downstream has ended"));
        }
        Ok(())
    }
}

/// Order numbers of all awards in a log.
fn order_numbers(log: &Arc<SegmentLog>) -> io::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut batch = ReadBatch::new();
    for partition in (0..log.partitions()).map(Partition) {
        let (mut from, end) = log.range(partition, "awards").map_err(io::Error::other)?;
        while from < end {
            log.read(partition, "awards", from, 1 << 20, &mut batch).map_err(io::Error::other)?;
            for (offset, record) in batch.frames().flat_map(|frame| frame.records()) {
                from = offset + 1;
                if let Ok(award) = Award::decode(record) {
                    found.insert(award.order_no.to_owned());
                }
            }
        }
    }
    Ok(found)
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
