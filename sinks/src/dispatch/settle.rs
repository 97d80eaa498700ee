//! Answers to sends become facts, and orders to try again.

use std::time::Duration;

use hongbao_engine::mutant;
use hongbao_schemas::journal::CreditStage;

use crate::downstream::{Outcome, Outcomes, Pause, Reason, Ticket};

use super::Dispatcher;
use super::flight::{Flight, Stage};
use super::held::{HeldOrder, Wait};
use super::line::Ending;
use super::now::Now;
use super::verdict::{Standing, Then, Verdict};

/// Which order.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Index of the lane.
    pub lane: usize,
    /// Index of the partition.
    pub track: usize,
    /// Lane sequence.
    pub seq: u64,
}

/// What a whole submission says about each attempt in it.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// Whether an unknown outcome counts against the order itself: the downstream is well and this
    /// order stood out (an outage counts no attempt).
    counts_unknown: bool,
    /// Largest batch that orders which are tried again may be in.
    batch_max: u32,
    /// Random, the same for all orders so that they stay together.
    jitter: u64,
}

impl Dispatcher {
    /// A submission ended.
    pub(super) fn settle(&mut self, ticket: Ticket, outcomes: Outcomes, pause: Option<Pause>, now: Now) {
        let Some(flight) = self.flights.remove(&ticket) else { return };
        let Stage::Sent { at } = flight.stage else {
            self.flights.insert(ticket, flight);
            return;
        };
        hongbao_engine::kill_point!("sink.answered");
        let ending = self.note_ending(&flight, ticket, &outcomes, pause.as_ref(), at, now);
        if !flight.is_held {
            self.lanes[flight.lane].tracks[flight.track].release_fresh(flight.batch.len());
        }
        if self.lanes[flight.lane].tracks[flight.track].is_halted() {
            return;
        }
        let is_well = self.lines[self.lanes[flight.lane].line].sends.breaker.is_closed();
        let len = flight.batch.len() as u32;
        let is_split = matches!(outcomes, Outcomes::Split(_));
        let has_failed_whole = is_well && ending.unknown > 0 && ending.definite == 0;
        let batch_max = if is_split || has_failed_whole { (len / 2).max(1) } else { u32::MAX };
        let counts_unknown = is_well && (len == 1 || ending.definite > 0);
        let attempt = Attempt { counts_unknown, batch_max, jitter: self.random() };
        match outcomes {
            Outcomes::All(outcome) => self.settle_all(&flight, &outcome, attempt, now),
            Outcomes::Split(reason) if len <= 1 => {
                self.settle_all(&flight, &Outcome::Rejected(reason), attempt, now);
            }
            Outcomes::Split(reason) => {
                let why = Outcome::NotSent(format!("split: {reason}").into());
                self.settle_all(&flight, &why, attempt, now);
            }
            Outcomes::Each(each) => {
                let missing = Outcome::Unknown(Reason::Borrowed("no answer"));
                let answers = each.iter().chain(std::iter::repeat(&missing));
                for ((seq, record), outcome) in flight.batch.orders().zip(answers) {
                    self.settle_one(&flight, seq, record, outcome, attempt, now);
                }
            }
        }
        hongbao_engine::kill_point!("sink.settled");
    }

    fn settle_all(&mut self, flight: &Flight, outcome: &Outcome, attempt: Attempt, now: Now) {
        if !flight.is_held && *outcome == Outcome::Credited {
            let lane = &mut self.lanes[flight.lane];
            lane.counts.credited += flight.len();
            for (first, count) in flight.batch.ranges() {
                let facts = &mut lane.tracks[flight.track].facts;
                facts.add(CreditStage::Credited, &Reason::Borrowed(""), first, count);
            }
            return;
        }
        for (seq, record) in flight.batch.orders() {
            self.settle_one(flight, seq, record, outcome, attempt, now);
        }
    }

    fn settle_one(
        &mut self,
        flight: &Flight,
        seq: u64,
        record: &[u8],
        outcome: &Outcome,
        attempt: Attempt,
        now: Now,
    ) {
        let rules = self.rules(flight.lane);
        let place = Place { lane: flight.lane, track: flight.track, seq };
        let held = &mut self.lanes[flight.lane].tracks[flight.track].held;
        let counted = u32::from(attempt.counts_unknown && matches!(outcome, Outcome::Unknown(_)));
        let known = held.get(seq);
        let first = known.and_then(|order| order.unresolved).unwrap_or(flight.intent);
        let standing = Standing {
            is_unresolved: known.is_some_and(|order| order.unresolved.is_some()),
            failures: known.map_or(0, |order| order.failures) + counted,
            elapsed: first.elapsed(now),
            held_for: known.map_or(Duration::ZERO, |order| order.held_for(now)),
        };
        let verdict = rules.after_send(outcome, &standing);
        if let Verdict::Hold(stage, ..) = &verdict {
            let was_unresolved = standing.is_unresolved && !mutant!(M50);
            let unresolved = (was_unresolved || *stage == CreditStage::Unknown).then_some(first);
            let tries = known.map_or(0, |order| order.tries);
            let since = known.map_or(now.mono, |order| order.since);
            let record = known.map_or_else(|| record.into(), |order| order.record.clone());
            let (failures, batch_max) = (standing.failures, attempt.batch_max);
            held.insert(seq, HeldOrder { record, unresolved, failures, tries, batch_max, since });
        }
        self.follow(place, verdict, false, attempt.jitter, now);
    }

    /// Writes a verdict's fact, unless it is recorded already, and schedules the order or lets it
    /// go. The order is held and not waiting, or it ends.
    pub(super) fn follow(
        &mut self,
        place: Place,
        verdict: Verdict,
        is_recorded: bool,
        jitter: u64,
        now: Now,
    ) {
        let Place { lane, track, seq } = place;
        let lane = &mut self.lanes[lane];
        let track = &mut lane.tracks[track];
        let then = match verdict {
            Verdict::End(stage, reason) => {
                lane.counts.ended(stage);
                track.facts.add(stage, &reason, seq, 1);
                track.released.add(usize::from(track.held.remove(seq).is_some()));
                return;
            }
            Verdict::Hold(stage, reason, then) => {
                if !is_recorded {
                    lane.counts.ended(stage);
                    track.facts.add(stage, &reason, seq, 1);
                }
                then
            }
            Verdict::Keep(then) => then,
        };
        let Some(order) = track.held.get_mut(seq) else { return };
        let backoff = self.policy.backoff(order.tries, jitter);
        order.tries = order.tries.saturating_add(1);
        let (wait, after) = match then {
            Then::Ask => (Wait::Ask, backoff),
            Then::Send { after: None } => (Wait::Send, backoff),
            Then::Send { after: Some(stated) } => {
                // A stated time of nothing, again and again, must not become a loop.
                let stated = stated.min(self.policy.pause_max) + self.policy.backoff(0, jitter);
                (Wait::Send, stated.max(backoff))
            }
        };
        track.held.schedule(seq, wait, now.mono + after);
    }

    /// Tells the downstream's health about the end of a submission.
    fn note_ending(
        &mut self,
        flight: &Flight,
        ticket: Ticket,
        outcomes: &Outcomes,
        pause: Option<&Pause>,
        sent_at: Duration,
        now: Now,
    ) -> Ending {
        let jitter = self.random();
        let line = &mut self.lines[self.lanes[flight.lane].line];
        let is_probe = line.sends.take_probe(ticket);
        let mut ending =
            Ending { sent_at, is_probe, definite: 0, unknown: 0, throttled: 0, all_throttled: None };
        match outcomes {
            Outcomes::All(outcome) => {
                ending.note(outcome);
                if let Outcome::Throttled { retry_after } = outcome {
                    ending.all_throttled = Some(*retry_after);
                }
            }
            Outcomes::Each(each) => {
                each.iter().for_each(|outcome| ending.note(outcome));
                ending.unknown += flight.batch.len().saturating_sub(each.len()) as u32;
            }
            Outcomes::Split(_) => ending.definite = 1,
        }
        let partition = flight.batch.partition();
        let halted = if ending.definite == 0 { line.port.halted(partition) } else { None };
        if let Some(reason) = halted {
            // Says nothing of other partitions, so it is no outage.
            line.closed(sent_at, now.mono);
            self.stopped.push((self.lanes[flight.lane].line, partition, reason));
            return ending;
        }
        let has_opened = line.ended(&ending, now.mono, &self.policy, jitter);
        if has_opened {
            let lane = &*self.lanes[flight.lane].name;
            tracing::warn!(lane, "downstream is out, its lanes pause");
        }
        if let Some(pause) = pause {
            line.sends.pause(pause, now.mono, self.policy.pause_max);
        }
        ending
    }
}
