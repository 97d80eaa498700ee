//! Facts and intents go to the journal; intents become sendable when they are durable (rule 4). Where
//! others write too, see [`read_back`](super::read_back).
//!
//! An error of the log stops the partition that it is about, and no other (I26).

use std::time::Duration;

use hongbao_engine::log::{LogError, Position};
use hongbao_engine::mutant;
use hongbao_engine::records::Frame;

use super::Dispatcher;
use super::flight::Stage;
use super::lane::Lane;
use super::now::Now;
use super::open::JOURNAL;
use super::track::Phase;

/// A group of facts is closed when it has so many bytes, far below what the smallest segment of a
/// log takes. Facts of one step need not become durable together, only in order.
const GROUP_BYTES: usize = 1 << 20;

impl Dispatcher {
    /// Appends what was gathered, partition by partition. What a full log refuses waits.
    pub(super) fn flush(&mut self, now: Now) -> usize {
        let partitions = self.lanes.first().map_or(0, |lane| lane.tracks.len());
        (0..partitions).map(|track| self.flush_partition(track, now)).sum()
    }

    fn flush_partition(&mut self, track: usize, now: Now) -> usize {
        for lane in &mut self.lanes {
            let place = &mut lane.tracks[track];
            if !place.is_halted() && !place.facts.is_empty() {
                place.facts.write(&lane.name, now.wall_ms);
            }
        }
        let mut appended = 0;
        loop {
            let writers = self.next_group(track);
            let Some(first) = writers.first() else { return appended };
            appended += writers.len();
            match self.append_group(&writers, track) {
                Ok(()) => {}
                Err(LogError::Full(_)) => {
                    for lane in writers.iter().filter(|_| mutant!(M49)) {
                        self.lanes[*lane].tracks[track].facts.appended();
                    }
                    self.note_refused(&writers, track);
                    return appended - writers.len();
                }
                Err(error @ (LogError::Corrupt { .. } | LogError::Failed(_))) => {
                    self.halt_by_log(*first, track, error);
                }
                Err(error) => {
                    for lane in writers {
                        self.halt_by_log(lane, track, error.clone());
                    }
                }
            }
        }
    }

    /// The log had no space for these facts. While intents wait for it, others try whether the
    /// downstream is back.
    fn note_refused(&mut self, lanes: &[usize], track: usize) {
        for lane in lanes {
            let Lane { line, tracks, .. } = &mut self.lanes[*lane];
            tracks[track].is_refused = true;
            let sends = &mut self.lines[*line].sends;
            sends.probe.take_if(|probe| tracks[track].unflushed.contains(probe));
        }
    }

    /// The lanes whose first records that wait go into the next group.
    fn next_group(&self, track: usize) -> Vec<usize> {
        let (mut writers, mut bytes) = (Vec::new(), 0);
        for (index, lane) in self.lanes.iter().enumerate() {
            let Some(waiting) = lane.tracks[track].facts.waiting_bytes() else { continue };
            if writers.is_empty() || bytes + waiting <= GROUP_BYTES {
                writers.push(index);
                bytes += waiting;
            }
        }
        writers
    }

    fn append_group(&mut self, writers: &[usize], track: usize) -> Result<(), LogError> {
        let Some(first) = writers.first() else { return Ok(()) };
        let partition = self.lanes[*first].tracks[track].partition;
        let frame = |lane: &usize| {
            let lane = &self.lanes[*lane];
            let (envelope, records) = lane.tracks[track].facts.waiting(&lane.source)?;
            Some(Frame { topic: JOURNAL, envelope, records })
        };
        let frames: Vec<Frame<'_>> = writers.iter().filter_map(frame).collect();
        hongbao_engine::kill_point!("sink.facts.gathered");
        let appended = self.log.append(partition, &frames)?;
        hongbao_engine::kill_point!("sink.facts.written");
        for (index, offset) in writers.iter().zip(appended.first_offsets) {
            let place = &mut self.lanes[*index].tracks[track];
            place.facts.appended();
            place.is_refused = false;
            place.last_append = Some(appended.position);
            if place.phase == (Phase::Announced { offset: None }) {
                place.phase = Phase::Announced { offset: Some(offset) };
            }
            if place.facts.is_empty() {
                place.released.written(appended.position);
                self.mark_intended(*index, track, appended.position);
            }
        }
        Ok(())
    }

    fn mark_intended(&mut self, lane: usize, track: usize, position: Position) {
        let place = &mut self.lanes[lane].tracks[track];
        for ticket in place.unflushed.drain(..) {
            if let Some(flight) = self.flights.get_mut(&ticket) {
                hongbao_engine::kill_point!("sink.intent.written");
                flight.stage = Stage::Intended(position);
                place.intended.push_back((position, ticket));
            }
        }
    }

    /// Makes room for as many orders as ended durably (I29). An error of the log is for those to tell
    /// who go on with it.
    pub(super) fn let_go(&mut self) {
        for track in self.lanes.iter_mut().flat_map(|lane| &mut lane.tracks) {
            if track.released.is_waiting()
                && let Ok(durable) = self.log.durable(track.partition)
            {
                track.released.durable(durable);
            }
        }
    }

    /// Makes batches sendable whose intents are durable.
    pub(super) fn confirm(&mut self) -> usize {
        let mut confirmed = 0;
        for index in 0..self.lanes.len() {
            for track in 0..self.lanes[index].tracks.len() {
                if !self.lanes[index].tracks[track].intended.is_empty() {
                    confirmed += self.confirm_track(index, track);
                }
            }
        }
        confirmed
    }

    fn confirm_track(&mut self, lane: usize, track: usize) -> usize {
        let durable = match self.log.durable(self.lanes[lane].tracks[track].partition) {
            Ok(durable) => durable,
            Err(error) => {
                self.halt_by_log(lane, track, error);
                return 1;
            }
        };
        let since = self.clock.monotonic();
        let intended = &self.lanes[lane].tracks[track].intended;
        let count = intended.iter().take_while(|(position, _)| *position <= durable || mutant!(M31)).count();
        self.make_sendable(lane, track, count, since);
        count
    }

    /// The first batches intended count since then.
    pub(super) fn make_sendable(&mut self, lane: usize, track: usize, count: usize, since: Duration) {
        let lane = &mut self.lanes[lane];
        for (_, ticket) in lane.tracks[track].intended.drain(..count) {
            if let Some(flight) = self.flights.get_mut(&ticket) {
                hongbao_engine::kill_point!("sink.intent.durable");
                flight.stage = Stage::Durable { since };
                lane.sendable.push_back(ticket);
            }
        }
    }

    /// Whether nothing is under way and every outcome is durable, in all partitions that have not
    /// halted: what a halted one had under way could not be recorded.
    pub(super) fn is_drained(&mut self) -> bool {
        let places = self.flights.values().map(|flight| (flight.lane, flight.track));
        let mut places = places.chain(self.asks.values().map(|ask| (ask.place.lane, ask.place.track)));
        if places.any(|(lane, track)| !self.lanes[lane].tracks[track].is_halted()) {
            return false;
        }
        for lane in 0..self.lanes.len() {
            for track in 0..self.lanes[lane].tracks.len() {
                if self.lanes[lane].tracks[track].is_running() && !self.is_written(lane, track) {
                    return false;
                }
            }
        }
        true
    }

    /// Whether all facts of a track are durable, or never will be.
    fn is_written(&mut self, lane: usize, track: usize) -> bool {
        let place = &self.lanes[lane].tracks[track];
        let Some(position) = place.last_append else { return place.facts.is_empty() };
        match self.log.durable(place.partition) {
            Ok(durable) => place.facts.is_empty() && durable >= position,
            Err(error) => {
                self.halt_by_log(lane, track, error);
                true
            }
        }
    }
}
