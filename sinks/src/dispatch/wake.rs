//! When something is due by time alone: permits, orders to try again or to ask about, the end of a
//! pause. Everything else (answers, durable intents, new orders) wakes the dispatcher by itself.

use std::time::Duration;

use super::breaker::Admission;
use super::gate::Gate;
use super::lane::Lane;
use super::now::Now;
use super::track::Track;
use super::{Confirm, Dispatcher};

/// Shortest and longest time that [`super::Step::Idle`] proposes to wait. What has no time of its
/// own, such as a full log, is looked at again after the longest.
const IDLE_MIN: Duration = Duration::from_millis(1);
const IDLE_MAX: Duration = Duration::from_millis(50);
/// How often it is looked whether the journal was read far enough: no view wakes anybody.
const READ_BACK_EVERY: Duration = Duration::from_millis(2);

impl Dispatcher {
    /// How long until something is due by time alone.
    pub(super) fn wake_in(&mut self, now: Now) -> Duration {
        if self.is_draining {
            return IDLE_MAX;
        }
        let is_reading_back = self.policy.confirm == Confirm::ByReading
            && self.lanes.iter().flat_map(|lane| &lane.tracks).any(Track::waits_for_view);
        let mut first = if is_reading_back { READ_BACK_EVERY } else { IDLE_MAX };
        for lane in 0..self.lanes.len() {
            let waits = [self.send_wait(lane, now), self.ask_wait(lane, now)];
            first = waits.into_iter().flatten().fold(first, Duration::min);
        }
        first.clamp(IDLE_MIN, IDLE_MAX)
    }

    /// Time until a lane can send or intend something; none when no time is known.
    fn send_wait(&mut self, index: usize, now: Now) -> Option<Duration> {
        let lane = &self.lanes[index];
        let line = &self.lines[lane.line];
        let barred = barred_for(&line.sends, now)?;
        if line.free_slots() == 0 {
            return None;
        }
        if let Some(ticket) = lane.sendable.front() {
            let count = self.flights.get(ticket).map_or(1, |flight| flight.len());
            return Some(barred.max(self.permits_wait(index, count, now)));
        }
        if lane.stock.orders > 0 {
            // Their intents become durable, which wakes.
            return None;
        }
        let most = lane.batch_max.min(lane.fresh_room(self.policy.held_orders_max));
        let delay = line.capabilities.batch_delay;
        let fresh = running(lane).filter(|track| most > 0 && track.ready.len() > 0);
        let fresh = fresh.map(|track| (track.ready_since + delay, track.ready.len().min(most) as u64));
        let held = running(lane).filter_map(|track| Some((track.held.next_send()?, 1)));
        let due: Vec<(Duration, u64)> = fresh.chain(held).collect();
        let saves_for = lane.saves_for;
        let waits = due.into_iter().map(|(at, count)| {
            // Intended as soon as its permits are near.
            let permits =
                self.permits_wait(index, count.max(saves_for), now).saturating_sub(self.policy.intent_ahead);
            at.saturating_sub(now.mono).max(permits)
        });
        Some(barred.max(waits.min()?))
    }

    /// Time until a lane and its pool have so many permits.
    pub(super) fn permits_wait(&mut self, index: usize, count: u64, now: Now) -> Duration {
        let lane = &mut self.lanes[index];
        let own = lane.limiter.as_mut().map_or(Some(Duration::ZERO), |own| own.wait_for(count, now.mono));
        let shared = lane
            .pool
            .map_or(Some(Duration::ZERO), |place| self.pools[place.pool].0.wait_for(count, now.mono));
        own.unwrap_or(IDLE_MAX).max(shared.unwrap_or(IDLE_MAX))
    }

    /// Time until a lane can ask about something; none when no time is known.
    fn ask_wait(&mut self, index: usize, now: Now) -> Option<Duration> {
        let lane = &self.lanes[index];
        let line = &self.lines[lane.line];
        if !line.capabilities.can_query || line.asks_in_flight >= line.capabilities.max_in_flight {
            return None;
        }
        let barred = barred_for(&line.asks, now)?;
        let due = running(lane).filter_map(|track| track.held.next_ask()).min()?;
        let queries = &mut self.lanes[index].queries;
        let permit = queries.as_mut().map_or(Some(Duration::ZERO), |queries| queries.wait_for(1, now.mono));
        Some(barred.max(due.saturating_sub(now.mono)).max(permit.unwrap_or(IDLE_MAX)))
    }
}

fn running(lane: &Lane) -> impl Iterator<Item = &Track> {
    lane.tracks.iter().filter(|track| track.is_running())
}

/// For how long nothing may go; none until a probe is answered.
fn barred_for(gate: &Gate, now: Now) -> Option<Duration> {
    match gate.admission(now.mono) {
        Admission::NotBefore(until) => Some(until.saturating_sub(now.mono)),
        Admission::Probe if gate.probe.is_some() => None,
        Admission::Probe | Admission::All => Some(Duration::ZERO),
    }
}
