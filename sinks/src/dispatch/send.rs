//! Gives out permits by rank and submits (I20, I21). Batches whose intent has grown old, or whose
//! downstream is left alone, are withdrawn instead (rule 4).

use hongbao_engine::log::LogError;
use hongbao_engine::mutant;
use hongbao_schemas::journal::CreditStage;

use crate::downstream::{Reason, Ticket};
use crate::limits::pool::Want;

use super::breaker::Admission;
use super::flight::{Flight, Stage};
use super::held::Wait;
use super::lane::Lane;
use super::now::Now;
use super::{Confirm, Dispatcher};

impl Dispatcher {
    /// Sends what may be sent. Returns how many batches were sent or withdrawn.
    pub(super) fn send(&mut self, now: Now) -> usize {
        let mut worked = self.withdraw_barred(now);
        for pool in 0..self.pools.len() {
            loop {
                let (wants, withdrawn) = self.wants(pool);
                worked += withdrawn;
                let now = self.clock.monotonic();
                let (permits, members) = &mut self.pools[pool];
                let Some(rank) = permits.grant(&wants, now) else { break };
                let lane = members[rank];
                worked += self.submit_front(lane);
            }
        }
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].pool.is_none() {
                worked += self.send_alone(lane);
            }
        }
        worked
    }

    /// Sends for a lane that shares its bound with nobody.
    fn send_alone(&mut self, lane: usize) -> usize {
        let mut worked = 0;
        loop {
            let (want, withdrawn) = self.want(lane);
            worked += withdrawn;
            match want.front {
                Some(count) if count <= want.own_available => worked += self.submit_front(lane),
                _ => return worked,
            }
        }
    }

    fn wants(&mut self, pool: usize) -> (Vec<Want>, usize) {
        let members = self.pools[pool].1.len();
        let mut wants = Vec::with_capacity(members);
        let mut withdrawn = 0;
        for rank in 0..members {
            let lane = self.pools[pool].1[rank];
            let (want, count) = self.want(lane);
            wants.push(want);
            withdrawn += count;
        }
        (wants, withdrawn)
    }

    /// What a lane would send now, and how many batches of it had to be withdrawn.
    fn want(&mut self, index: usize) -> (Want, usize) {
        let now = self.now();
        let lane = &self.lanes[index];
        let line = &self.lines[lane.line];
        let slots = line.free_slots();
        let admission = line.sends.admission(now.mono);
        if slots == 0 || matches!(admission, Admission::NotBefore(_)) || !lane.has_work() {
            return (Want::default(), 0);
        }
        let stale = lane.sendable.iter().take_while(|ticket| self.is_stale(**ticket, now)).count();
        let stale: Vec<Ticket> = self.lanes[index].sendable.drain(..stale).collect();
        let withdrawn = stale.len();
        // From the back, so that fresh orders return in their order.
        for ticket in stale.into_iter().rev() {
            self.withdraw(ticket, "not sent in time", now);
        }
        let lane = &mut self.lanes[index];
        let front = lane.sendable.front().and_then(|ticket| self.flights.get(ticket)).map(Flight::len);
        let demand = match admission {
            Admission::All => {
                (lane.backlog + lane.stock.orders).min(u64::from(slots) * lane.batch_max as u64)
            }
            _ => front.unwrap_or(0),
        };
        (Want { demand, own_available: lane.own_available(now.mono), front }, withdrawn)
    }

    /// Whether the intent is too old, or a key's life has ended meanwhile (I14).
    fn is_stale(&self, ticket: Ticket, now: Now) -> bool {
        let Some(flight) = self.flights.get(&ticket) else { return true };
        let Stage::Durable { since } = flight.stage else { return true };
        let waited = now.mono.saturating_sub(since);
        if waited > self.policy.send_within && !mutant!(M58) {
            return true;
        }
        let is_replaceable = self.policy.confirm == Confirm::ByReading;
        if !flight.is_held && !is_replaceable {
            return false;
        }
        let rules = self.rules(flight.lane);
        if is_replaceable && rules.may_outlive_key(waited) && !mutant!(M63) {
            return true;
        }
        if !flight.is_held {
            return false;
        }
        let held = &self.lanes[flight.lane].tracks[flight.track].held;
        flight.batch.orders().any(|(seq, _)| {
            let unresolved = held.get(seq).and_then(|order| order.unresolved);
            unresolved.is_some_and(|first| !rules.may_resend(first.elapsed(now)))
        })
    }

    /// Submits the first batch of a lane, whose pool has granted the permits.
    fn submit_front(&mut self, index: usize) -> usize {
        let lane = &mut self.lanes[index];
        let Some(ticket) = lane.sendable.pop_front() else { return 0 };
        let Some(flight) = self.flights.get_mut(&ticket) else { return 0 };
        let at = self.clock.monotonic();
        if let Some(limiter) = lane.limiter.as_mut().filter(|_| !mutant!(M40)) {
            limiter.take_all(flight.len(), at);
        }
        flight.stage = Stage::Sent { at };
        lane.stock.remove(flight.len());
        lane.tracks[flight.track].stock.remove(flight.len());
        lane.counts.sent += flight.len();
        lane.counts.batches += 1;
        let line = &mut self.lines[lane.line];
        line.opened();
        hongbao_engine::kill_point!("sink.submit.before");
        line.port.submit(ticket, flight.batch.clone());
        hongbao_engine::kill_point!("sink.submitted");
        1
    }

    /// Withdraws what must not be sent now: all while draining or while the downstream is left
    /// alone, all but the probe while it is tried.
    fn withdraw_barred(&mut self, now: Now) -> usize {
        let mut withdrawn = 0;
        for index in 0..self.lanes.len() {
            let line = &self.lines[self.lanes[index].line];
            let allowed = match line.sends.admission(now.mono) {
                _ if self.is_draining => None,
                Admission::All => continue,
                Admission::Probe => line.sends.probe,
                Admission::NotBefore(_) => None,
            };
            let lane = &mut self.lanes[index];
            let (kept, barred): (Vec<Ticket>, Vec<Ticket>) =
                lane.sendable.drain(..).partition(|ticket| Some(*ticket) == allowed);
            lane.sendable.extend(kept);
            withdrawn += barred.len();
            // From the back, so that fresh orders return in their order.
            for ticket in barred.into_iter().rev() {
                self.withdraw(ticket, "paused", now);
            }
        }
        withdrawn
    }

    /// Takes back a batch that was intended and not sent: the attempt is settled without effect,
    /// and the orders wait again.
    fn withdraw(&mut self, ticket: Ticket, why: &'static str, now: Now) {
        let Some(flight) = self.take_unsent(ticket) else { return };
        let lane = &mut self.lanes[flight.lane];
        lane.counts.deferred += flight.len();
        let track = &mut lane.tracks[flight.track];
        // They have not had their turn.
        let len = flight.len() as i64;
        track.fresh_lead += if flight.is_held { len } else { -len };
        for (first, count) in flight.batch.ranges() {
            track.facts.add(CreditStage::Withdrawn, &Reason::Borrowed(why), first, count);
        }
        if flight.is_held {
            for (seq, _) in flight.batch.orders() {
                track.held.schedule(seq, Wait::Send, now.mono);
            }
        } else if !mutant!(M48) {
            track.ready.put_back(flight.batch.parts());
        }
    }

    /// Removes a batch that was not sent from all counts.
    fn take_unsent(&mut self, ticket: Ticket) -> Option<Flight> {
        let flight = self.flights.remove(&ticket)?;
        let lane = &mut self.lanes[flight.lane];
        lane.stock.remove(flight.len());
        lane.tracks[flight.track].stock.remove(flight.len());
        if !flight.is_held {
            lane.tracks[flight.track].release_fresh(flight.batch.len());
        }
        self.lines[lane.line].sends.take_probe(ticket);
        Some(flight)
    }

    /// Stops a track because of its log: with it those of all lanes in the partition, where the
    /// partition itself is damaged or has failed (I26).
    pub(super) fn halt_by_log(&mut self, lane: usize, track: usize, error: LogError) {
        let is_partition = matches!(error, LogError::Corrupt { .. } | LogError::Failed(_));
        let lanes = if is_partition { 0..self.lanes.len() } else { lane..lane + 1 };
        for lane in lanes {
            self.halt(lane, track, error.to_string());
        }
        self.log_error = Some(error);
    }

    /// Stops what a downstream has stopped for, after its last answers were written.
    pub(super) fn halt_stopped(&mut self) {
        for (line, partition, reason) in std::mem::take(&mut self.stopped) {
            for lane in 0..self.lanes.len() {
                let tracks = if self.lanes[lane].line == line { self.lanes[lane].tracks.len() } else { 0 };
                for track in 0..tracks {
                    if self.lanes[lane].tracks[track].partition == partition {
                        self.halt(lane, track, format!("the downstream: {reason}"));
                    }
                }
            }
        }
    }

    /// Stops a track for good and lets go of everything it had: for its orders this is as if the
    /// process had ended, and whoever opens it next finds out about them (I11).
    pub(super) fn halt(&mut self, lane: usize, track: usize, reason: String) {
        let Lane { name, tracks, .. } = &mut self.lanes[lane];
        if !tracks[track].halt(name, reason) {
            return;
        }
        let unsent: Vec<Ticket> = self
            .flights
            .iter()
            .filter(|(_, flight)| (flight.lane, flight.track) == (lane, track) && !flight.is_sent())
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in unsent {
            self.take_unsent(ticket);
            self.lanes[lane].sendable.retain(|waiting| *waiting != ticket);
        }
    }
}
