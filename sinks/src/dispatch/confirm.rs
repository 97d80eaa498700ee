//! Facts and intents go to the journal; intents become sendable when they are durable (rule 4).

use hongbao_engine::log::{LogError, Position};
use hongbao_engine::records::Frame;

use super::flight::Stage;
use super::now::Now;
use super::open::JOURNAL;
use super::track::{Phase, Track};
use super::{DispatchError, Dispatcher};

impl Dispatcher {
    /// Appends what was gathered, one group for each partition. What a full log refuses waits.
    pub(super) fn flush(&mut self, now: Now) -> Result<usize, DispatchError> {
        let partitions = self.lanes.first().map_or(0, |lane| lane.tracks.len());
        let mut appended = 0;
        for track in 0..partitions {
            appended += self.flush_partition(track, now)?;
        }
        Ok(appended)
    }

    fn flush_partition(&mut self, track: usize, now: Now) -> Result<usize, DispatchError> {
        let mut writers = Vec::new();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let place = &mut lane.tracks[track];
            if !place.is_halted() && !place.facts.is_empty() {
                place.facts.records(&lane.name, now.wall_ms);
                writers.push(index);
            }
        }
        let Some(first) = writers.first() else { return Ok(0) };
        let partition = self.lanes[*first].tracks[track].partition;
        let frames: Vec<Frame<'_>> = writers.iter().map(|index| self.frame(*index, track)).collect();
        hongbao_engine::kill_point!("sink.facts.gathered");
        let appended = match self.log.append(partition, &frames) {
            Ok(appended) => appended,
            Err(LogError::Full(_)) => return Ok(0),
            Err(LogError::Failed(what)) => return Err(LogError::Failed(what).into()),
            Err(error) => {
                for index in writers {
                    self.halt(index, track, error.to_string());
                }
                return Ok(1);
            }
        };
        hongbao_engine::kill_point!("sink.facts.written");
        for (index, offset) in writers.iter().zip(appended.first_offsets) {
            let place = &mut self.lanes[*index].tracks[track];
            place.facts.appended();
            place.last_append = Some(appended.position);
            if place.phase == (Phase::Announced { offset: None }) {
                place.phase = Phase::Announced { offset: Some(offset) };
            }
            self.mark_intended(*index, track, appended.position);
        }
        Ok(writers.len())
    }

    fn frame(&self, lane: usize, track: usize) -> Frame<'_> {
        let lane = &self.lanes[lane];
        let (envelope, records) = lane.tracks[track].facts.waiting(&lane.source);
        Frame { topic: JOURNAL, envelope, records }
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

    /// Makes batches sendable whose intents are durable.
    pub(super) fn confirm(&mut self) -> Result<usize, DispatchError> {
        let mut confirmed = 0;
        for index in 0..self.lanes.len() {
            for track in 0..self.lanes[index].tracks.len() {
                if !self.lanes[index].tracks[track].intended.is_empty() {
                    confirmed += self.confirm_track(index, track)?;
                }
            }
        }
        Ok(confirmed)
    }

    fn confirm_track(&mut self, lane: usize, track: usize) -> Result<usize, DispatchError> {
        let durable = match self.log.durable(self.lanes[lane].tracks[track].partition) {
            Ok(durable) => durable,
            Err(LogError::Failed(what)) => return Err(LogError::Failed(what).into()),
            Err(error) => {
                self.halt(lane, track, error.to_string());
                return Ok(0);
            }
        };
        let since = self.clock.monotonic();
        let lane = &mut self.lanes[lane];
        let intended = &mut lane.tracks[track].intended;
        let count = intended.iter().take_while(|(position, _)| *position <= durable).count();
        for (_, ticket) in intended.drain(..count) {
            if let Some(flight) = self.flights.get_mut(&ticket) {
                hongbao_engine::kill_point!("sink.intent.durable");
                flight.stage = Stage::Durable { since };
                lane.sendable.push_back(ticket);
            }
        }
        Ok(count)
    }

    /// Whether everything that a track has appended is durable.
    pub(super) fn is_durable(&self, track: &Track) -> Result<bool, LogError> {
        match track.last_append {
            Some(position) if !track.is_halted() => Ok(self.log.durable(track.partition)? >= position),
            _ => Ok(true),
        }
    }
}
