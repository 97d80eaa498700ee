//! One data folder: its node is killed some times, then everything is drained and compared.

use std::io;
use std::time::Duration;

use hongbao_engine::crash::When;
use parking_lot::Mutex;
use rustix::process::Signal;

use super::aim::{Aim, Target};
use crate::http::Connection;
use crate::process::{End, Process, tail};
use crate::rig::{DEADLINE, Rig};
use crate::story::Story;
use crate::wait::{elapsed, pause};

/// A process that has not reached its place by then is killed where it is.
const REACH_WITHIN: Duration = Duration::from_millis(1_500);
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
    pub story: Story<'a>,
    pub aim: &'a Mutex<Aim>,
    pub tally: Tally,
}

impl Chain<'_> {
    /// Kills so many times, then compares.
    ///
    /// # Errors
    /// The harness itself cannot go on.
    pub fn run(mut self, kills: u64) -> io::Result<(Rig, Tally)> {
        let mut last: Option<&'static str> = None;
        while self.tally.kills < kills && self.story.violations.is_empty() {
            // Only in an empty folder is anything made; a kill there leaves some of it to be made.
            let is_first = self.tally.kills == 0 || (self.tally.kills == 1 && self.is_unmade());
            let target = self.aim.lock().next(is_first, last, &mut self.story.dice);
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
        if self.story.violations.is_empty() {
            self.story.compare()?;
        }
        let Self { story, mut tally, .. } = self;
        tally.awards = story.traffic.acknowledged().len() as u64;
        tally.duplicates = story.traffic.repeats;
        tally.unknown_outcomes = story.unknown_outcomes;
        tally.violations = story.violations;
        Ok((story.rig, tally))
    }

    fn is_unmade(&self) -> bool {
        !self.story.rig.data().join("lanes.json").exists()
    }

    /// One life of the node. Returns whether it ended where it should have.
    fn cycle(&mut self, target: Target) -> io::Result<bool> {
        let armed = match target {
            Target::Place { name, count, .. } => format!("{name}:{count}"),
            Target::Moment { .. } => String::new(),
        };
        let variables: &[(&str, &str)] =
            if armed.is_empty() { &[] } else { &[("HONGBAO_KILL_AT", armed.as_str())] };
        let mut process = self.story.rig.start(variables)?;
        let started = elapsed();
        let give_up = match target {
            Target::Moment { after_ms } => Duration::from_millis(after_ms),
            Target::Place { .. } => REACH_WITHIN,
        };
        let is_stopping = matches!(target, Target::Place { when: When::Stopping, .. });
        let mut sent = 0;
        let mut connection = None;
        let is_looking = self.story.dice.below(LOOK_ONE_IN) == 0;
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
                Some(connection) => self.story.send(connection).inspect(|_| sent += 1),
                None => Connection::open(self.story.rig.address)
                    .ok()
                    .and_then(|api| self.story.look(api, is_looking)),
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
                self.story
                    .violated(format!("the node ended with {end:?} at {target:?}:\n{}", tail(&says, 12)));
                false
            }
        }
    }
}
