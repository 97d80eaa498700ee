//! Asking what became of unresolved orders, within a limit and behind a gate of its own.

use hongbao_engine::mutant;

use crate::downstream::{Pause, Ticket, Told};

use super::Dispatcher;
use super::breaker::Admission;
use super::now::Now;
use super::settle::Place;

/// An ask on its way.
#[derive(Clone, Copy, Debug)]
pub struct OpenAsk {
    /// The order it is about.
    pub place: Place,
}

impl Dispatcher {
    /// Asks about orders that are due.
    pub(super) fn ask(&mut self, now: Now) -> usize {
        let mut asked = 0;
        for position in 0..self.by_rank.len() {
            let lane = self.by_rank[position];
            if !self.lines[self.lanes[lane].line].capabilities.can_query {
                continue;
            }
            while let Some(place) = self.next_ask(lane, now) {
                self.send_ask(place);
                asked += 1;
            }
        }
        asked
    }

    /// The next order to ask about, if the downstream and the limit allow one more.
    fn next_ask(&mut self, lane_index: usize, now: Now) -> Option<Place> {
        let lane = &mut self.lanes[lane_index];
        let line = &self.lines[lane.line];
        let is_admitted = match line.asks.admission(now.mono) {
            Admission::All => true,
            Admission::Probe => line.asks.probe.is_none(),
            Admission::NotBefore(_) => false,
        };
        // An ask from before an outage may still be open when the next one probes.
        let has_slot = line.asks_in_flight < line.capabilities.max_in_flight || mutant!(M54);
        let has_permit =
            lane.queries.as_mut().is_none_or(|queries| queries.available(now.mono) > 0) || mutant!(M70);
        if !is_admitted || !has_slot || !has_permit {
            return None;
        }
        for _ in 0..lane.tracks.len() {
            let track = lane.ask_cursor % lane.tracks.len();
            lane.ask_cursor = track + 1;
            if lane.tracks[track].is_running()
                && let Some(seq) = lane.tracks[track].held.pop_ask(now.mono)
            {
                if let Some(queries) = &mut lane.queries {
                    queries.take_up_to(1, now.mono);
                }
                return Some(Place { lane: lane_index, track, seq });
            }
        }
        None
    }

    fn send_ask(&mut self, place: Place) {
        let ticket = self.next_ticket();
        let lane = &mut self.lanes[place.lane];
        let Some(order) = lane.tracks[place.track].held.get(place.seq) else { return };
        let line = &mut self.lines[lane.line];
        if !line.asks.breaker.is_closed() {
            line.asks.probe = Some(ticket);
        }
        line.asks_in_flight += 1;
        lane.counts.asked += 1;
        line.port.ask(ticket, order.record.clone());
        self.asks.insert(ticket, OpenAsk { place });
        hongbao_engine::kill_point!("sink.asked");
    }

    /// An ask was answered.
    pub(super) fn settle_ask(&mut self, ticket: Ticket, told: &Told, pause: Option<Pause>, now: Now) {
        let Some(OpenAsk { place }) = self.asks.remove(&ticket) else { return };
        hongbao_engine::kill_point!("sink.told");
        let jitter = self.random();
        let line = &mut self.lines[self.lanes[place.lane].line];
        line.asks_in_flight = line.asks_in_flight.saturating_sub(1);
        let is_probe = line.asks.take_probe(ticket);
        let partition = self.lanes[place.lane].tracks[place.track].partition;
        let halted = if matches!(told, Told::Unknown(_)) { line.port.halted(partition) } else { None };
        if let Some(reason) = halted {
            self.stopped.push((self.lanes[place.lane].line, partition, reason));
            return;
        }
        match told {
            // While sends are answered, a question that is not is a matter of its order, which must
            // not hold up the questions about others (I27).
            Told::Unknown(_) if !is_probe && line.sends.breaker.is_closed() => {}
            Told::Unknown(_) => _ = line.asks.breaker.failed(is_probe, now.mono, jitter),
            _ => line.asks.breaker.succeeded(is_probe),
        }
        if let Some(pause) = pause {
            line.asks.pause(&pause, now.mono, self.policy.pause_max);
        }
        let rules = self.rules(place.lane);
        let track = &self.lanes[place.lane].tracks[place.track];
        let Some(order) = track.held.get(place.seq).filter(|_| !track.is_halted()) else { return };
        let verdict = rules.after_ask(told, &order.standing(now));
        self.follow(place, verdict, false, jitter, now);
    }
}
