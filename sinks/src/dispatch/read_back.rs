//! Rule 4 where several processes can write the log: an intent counts when the journal was read past
//! it and nobody has replaced this process there.
//!
//! ```text
//! durable    the intent is in the journal
//! ask        where does the journal end now? from here on `send_within` counts
//! read       the view folds up to that end; who has won the lane there?
//! ```
//! So at the moment of asking nobody else had opened the lane. Whoever opens it later finds the intent
//! and takes the order for one in flight. A process that was paused in between is told at its next
//! look, or finds that `send_within` has passed.

use hongbao_engine::log::LogError;
use hongbao_engine::mutant;
use hongbao_engine::records::Offset;

use crate::journal_view::{ViewError, Winner};

use super::Dispatcher;
use super::open::JOURNAL;
use super::track::Look;

/// Why a track cannot go on.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    View(#[from] ViewError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("replaced by another process, which has opened epoch {0}")]
    Replaced(u32),
}

impl Dispatcher {
    /// Makes batches sendable whose intents were read back, and halts tracks that were replaced.
    pub(super) fn read_back(&mut self) -> usize {
        let mut worked = 0;
        for lane in 0..self.lanes.len() {
            for track in 0..self.lanes[lane].tracks.len() {
                if !self.lanes[lane].tracks[track].is_running() {
                    continue;
                }
                worked += match self.read_back_track(lane, track) {
                    Ok(count) => count,
                    Err(Stop::Log(error)) => {
                        self.halt_by_log(lane, track, error);
                        1
                    }
                    Err(stop) => {
                        self.halt(lane, track, stop.to_string());
                        1
                    }
                };
            }
        }
        worked
    }

    fn read_back_track(&mut self, lane: usize, track: usize) -> Result<usize, Stop> {
        let place = &self.lanes[lane].tracks[track];
        let is_late = place.is_read_late(self.policy.send_within);
        if place.look.is_none() && (!place.intended.is_empty() || is_late) {
            self.look(lane, track)?;
        }
        let folded = self.view.folded(self.lanes[lane].tracks[track].partition)?;
        self.check_replaced(lane, track, folded)?;
        let place = &mut self.lanes[lane].tracks[track];
        let Some(look) = place.look.take_if(|look| look.end <= folded) else { return Ok(0) };
        place.lag = self.clock.monotonic().saturating_sub(look.since);
        self.make_sendable(lane, track, look.batches, look.since);
        Ok(look.batches)
    }

    /// Asks where the journal ends, for intents that are durable, and with none to find out whether it
    /// is read in time again.
    fn look(&mut self, lane: usize, track: usize) -> Result<(), LogError> {
        let place = &mut self.lanes[lane].tracks[track];
        let durable = self.log.durable(place.partition)?;
        let batches = place.intended.iter().take_while(|(position, _)| *position <= durable).count();
        if batches > 0 || place.is_read_late(self.policy.send_within) {
            let since = self.clock.monotonic();
            let (_, end) = self.log.range(place.partition, JOURNAL)?;
            let end = if mutant!(M60) { 0 } else { end };
            place.look = Some(Look { end, since, batches });
        }
        Ok(())
    }

    /// Looks who has won the lane, when more of the journal was folded since.
    fn check_replaced(&mut self, lane: usize, track: usize, folded: Offset) -> Result<(), Stop> {
        let place = &self.lanes[lane].tracks[track];
        if folded == place.unreplaced || mutant!(M57) {
            return Ok(());
        }
        let opened = self.view.opened(place.partition, &self.lanes[lane].name)?;
        if !self.has_won(opened, place.facts.epoch()) {
            return Err(Stop::Replaced(opened.map_or(0, |Winner { epoch, .. }| epoch)));
        }
        self.lanes[lane].tracks[track].unreplaced = folded;
        Ok(())
    }
}
