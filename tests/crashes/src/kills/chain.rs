//! One data folder: its node is killed some times, then everything is drained and compared.

use std::io;
use std::time::Duration;

use hongbao_engine::crash::When;
use parking_lot::Mutex;
use rustix::process::Signal;

use super::aim::{Aim, Ended, Target};
use crate::finding::or_violation;
use crate::http::Connection;
use crate::process::{End, Patience, Process, tail};
use crate::rig::{DEADLINE, Rig};
use crate::story::Story;
use crate::topology::Keys;
use crate::wait::pause;

/// A process that has not reached its place by then is killed where it is.
const REACH_WITHIN: Duration = Duration::from_millis(1_500);
/// The same for a place that was planned.
const REACH_PLANNED_WITHIN: Duration = Duration::from_secs(20);
/// Most places are reached by so many batches. Whoever has not been waits for something else, such as
/// a timeout: more awards would only have to be compared in the end.
const FAST_BATCHES: u32 = 60;
const SLOW_PACE: Duration = Duration::from_millis(25);
/// Tries at one step of a plan.
const TRIES: u32 = 3;
/// Awards sent before a node is asked to stop.
const BATCHES_BEFORE_STOP: u32 = 3;
/// One start in so many looks at once whether the newest acknowledged order is there.
const LOOK_ONE_IN: u64 = 4;

/// What a chain came to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Ends by SIGKILL.
    pub kills: u64,
    /// Lives that did not come by the place they were armed for.
    pub missed: u64,
    /// Of these: ended by themselves, in a graceful stop.
    pub stopped: u64,
    /// Second kills: before a start had recovered from the one before.
    pub in_recovery: u64,
    /// Awards that were acknowledged.
    pub awards: u64,
    /// Awards that were sent once more on purpose.
    pub duplicates: u64,
    /// Attempts that the journal says were unknown for a time.
    pub unknown_outcomes: u64,
    /// Orders that ended as reported.
    pub reported: u64,
    /// What a chain adds whose downstream knows no keys.
    pub without_keys: Keyless,
    /// What must not be, told.
    pub violations: Vec<String>,
}

/// What a chain came to whose downstream knows no keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keyless {
    /// Ends by SIGKILL.
    pub kills: u64,
    /// Attempts of which no answer was ever understood.
    pub unanswered: u64,
    /// Orders that ended as reported.
    pub reported: u64,
}

impl Tally {
    /// Notes a life; none when it ended as none should.
    fn note(&mut self, target: Target, ended: Option<Ended>) {
        self.kills += u64::from(matches!(ended, Some(Ended::AtPlace | Ended::AtMoment)));
        self.stopped += u64::from(ended == Some(Ended::ByItself));
        if let Target::Place { when, .. } = target {
            self.missed += u64::from(matches!(ended, Some(Ended::AtMoment | Ended::ByItself)));
            let is_recovery = matches!(when, When::Opening | When::Mending);
            self.in_recovery += u64::from(is_recovery && ended == Some(Ended::AtPlace));
        }
    }
}

/// A data folder under attack.
pub struct Chain<'a> {
    /// The folder, who sends to it, and who gets from it.
    pub story: Story<'a>,
    /// Where to kill next; shared with all other chains.
    pub aim: &'a Mutex<Aim>,
    /// What it came to so far.
    pub tally: Tally,
}

impl Chain<'_> {
    /// Kills so many times, then compares.
    ///
    /// # Errors
    /// The harness itself cannot go on.
    pub fn run(mut self, kills: u64) -> io::Result<(Rig, Tally)> {
        let done = self.attack(kills);
        self.end(done)
    }

    fn attack(&mut self, kills: u64) -> io::Result<()> {
        let mut last: Option<&'static str> = None;
        let mut lives = 0;
        // A life that ends by itself is no kill: there is another one for it.
        while self.tally.kills < kills && self.story.violations.is_empty() {
            // Only in an empty folder is anything made; a kill there leaves some of it to be made.
            let is_first = lives == 0 || (lives == 1 && self.is_unmade());
            lives += 1;
            let target = self.aim.lock().next(is_first, last, &mut self.story.dice);
            let is_hit = self.kill_at(target, REACH_WITHIN)?;
            last = match target {
                Target::Place { name, .. } if is_hit => Some(name),
                _ => None,
            };
        }
        Ok(())
    }

    /// Kills as planned, each step until it was hit or some tries are over, then compares.
    ///
    /// # Errors
    /// The harness itself cannot go on.
    pub fn follow(mut self, steps: &[Vec<Target>]) -> io::Result<(Rig, Tally)> {
        let done = self.attack_as_planned(steps);
        self.end(done)
    }

    fn attack_as_planned(&mut self, steps: &[Vec<Target>]) -> io::Result<()> {
        for targets in steps {
            for _ in 0..TRIES {
                let mut is_hit = false;
                for target in targets {
                    if !self.story.violations.is_empty() {
                        return Ok(());
                    }
                    is_hit = self.kill_at(*target, REACH_PLANNED_WITHIN)?;
                }
                if is_hit {
                    break;
                }
            }
        }
        Ok(())
    }

    /// One life of the node, noted. Returns whether it ended at its place.
    fn kill_at(&mut self, target: Target, reach_within: Duration) -> io::Result<bool> {
        let ended = self.cycle(target, reach_within)?;
        self.aim.lock().note(target, ended);
        self.tally.note(target, ended);
        Ok(ended == Some(Ended::AtPlace))
    }

    /// Compares, unless something was wrong already, and tells what it came to.
    fn end(mut self, attacked: io::Result<()>) -> io::Result<(Rig, Tally)> {
        or_violation(attacked, |what| self.story.violated(what))?;
        if self.story.violations.is_empty() {
            self.story.compare()?;
        }
        let Self { story, mut tally, .. } = self;
        tally.awards = story.traffic.acknowledged().len() as u64;
        tally.duplicates = story.traffic.repeats;
        tally.unknown_outcomes = story.unknown_outcomes;
        tally.reported = story.reported;
        if story.mall.keys == Keys::None {
            let (unanswered, reported) = (story.unanswered, story.reported);
            tally.without_keys = Keyless { kills: tally.kills, unanswered, reported };
        }
        tally.violations = story.violations;
        Ok((story.rig, tally))
    }

    fn is_unmade(&self) -> bool {
        !self.story.rig.data().join("lanes.json").exists()
    }

    /// One life of the node, and how it ended; none where that is a violation.
    fn cycle(&mut self, target: Target, reach_within: Duration) -> io::Result<Option<Ended>> {
        let armed = match target {
            Target::Place { name, count, .. } => format!("{name}:{count}"),
            Target::Moment { .. } => String::new(),
        };
        let variables: &[(&str, &str)] =
            if armed.is_empty() { &[] } else { &[("HONGBAO_KILL_AT", armed.as_str())] };
        let mut process = self.story.rig.start(variables)?;
        let give_up = match target {
            Target::Moment { after_ms } => Duration::from_millis(after_ms),
            Target::Place { .. } => reach_within,
        };
        let mut patience = Patience::of(give_up);
        let is_stopping = matches!(target, Target::Place { when: When::Stopping, .. });
        let mut sent = 0;
        let mut connection = None;
        let is_looking = self.story.dice.below(LOOK_ONE_IN) == 0;
        loop {
            if let Some(end) = process.ended()? {
                return Ok(self.judge(ended(end, target), end, target, &process));
            }
            if patience.is_over() {
                let end = process.kill()?;
                let how = if end == End::Killed { Some(Ended::AtMoment) } else { ended(end, target) };
                return Ok(self.judge(how, end, target, &process));
            }
            if is_stopping && sent >= BATCHES_BEFORE_STOP {
                process.signal(Signal::TERM);
                let end = process.ends_within(DEADLINE)?.unwrap_or(End::Code(-1));
                return Ok(self.judge(ended(end, target), end, target, &process));
            }
            if sent > FAST_BATCHES {
                pause(SLOW_PACE);
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

    /// Notes an end as none should be.
    fn judge(&mut self, how: Option<Ended>, end: End, target: Target, process: &Process) -> Option<Ended> {
        if how.is_none() {
            let says = process.says();
            self.story.violated(format!("the node ended with {end:?} at {target:?}:\n{}", tail(&says, 12)));
        }
        how
    }
}

/// What an end without our doing is; none if it should not be.
fn ended(end: End, target: Target) -> Option<Ended> {
    match (end, target) {
        (End::Killed, Target::Place { .. }) => Some(Ended::AtPlace),
        (End::Code(0), Target::Place { when: When::Stopping, .. }) => Some(Ended::ByItself),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Target = Target::Moment { after_ms: 1 };

    fn at(when: When) -> Target {
        Target::Place { name: "a.place", when, count: 1 }
    }

    #[test]
    fn only_a_graceful_stop_may_end_by_itself() {
        assert_eq!(ended(End::Killed, at(When::Running)), Some(Ended::AtPlace));
        assert_eq!(ended(End::Code(0), at(When::Stopping)), Some(Ended::ByItself));
        for (end, target) in [
            (End::Code(0), at(When::Running)),
            (End::Code(1), at(When::Stopping)),
            (End::Code(-1), at(When::Stopping)),
            (End::Signal(6), at(When::Opening)),
            (End::Killed, MOMENT),
        ] {
            assert_eq!(ended(end, target), None, "{end:?} at {target:?}");
        }
    }

    #[test]
    fn lives_that_end_by_themselves_are_no_kills() {
        let mut tally = Tally::default();
        let figures = |tally: &Tally| (tally.kills, tally.missed, tally.stopped, tally.in_recovery);
        tally.note(at(When::Stopping), Some(Ended::ByItself));
        assert_eq!(figures(&tally), (0, 1, 1, 0));
        tally.note(at(When::Running), None);
        assert_eq!(figures(&tally), (0, 1, 1, 0));
        tally.note(at(When::Opening), Some(Ended::AtMoment));
        assert_eq!(figures(&tally), (1, 2, 1, 0));
        tally.note(at(When::Opening), Some(Ended::AtPlace));
        tally.note(MOMENT, Some(Ended::AtMoment));
        assert_eq!(figures(&tally), (3, 2, 1, 1));
    }
}
