//! What a sink has to know of a lane before it sends anything.

use std::sync::Arc;

use hongbao_engine::mutant;
use hongbao_engine::records::Offset;

use super::history::Opening;
use super::lanes::{Earlier, Standing};
use super::reader::{ReadError, ViewsReader};

/// Reason of orders that were started again before the attempt before was settled.
const UNSETTLED: &str = "started again before it was settled";

/// Where the orders of one lane and partition stand, at one point of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneState {
    /// Offset of the first journal record not reflected.
    pub folded: Offset,
    /// Epoch of the last writer that opened `sink.<lane>`; 0 if none ever did.
    pub epoch: i64,
    /// That writer.
    pub writer: Option<[u8; 16]>,
    /// Sequence of the next order to be accepted, from 1.
    pub next_seq: u64,
    /// Every order below this has ended: credited, refused or reported.
    pub low_water: u64,
    /// First and count of ended orders above the mark, ascending.
    pub ended: Vec<(u64, u64)>,
    /// Orders that were sent, or were about to be, and have not ended, ascending. All others from
    /// the mark on were accepted and have no open attempt.
    pub sent: Vec<SentRange>,
}

/// Orders with the same past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentRange {
    /// First sequence.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Time of the first intent that may have had an effect, in milliseconds since the Unix epoch.
    pub first_intent_at_ms: i64,
    /// The last fact is an intent: an attempt is running, or was when its writer stopped.
    pub in_flight: bool,
    /// Why an earlier attempt is unresolved, if one is. Such an order is never refused (I10).
    pub unknown: Option<Arc<str>>,
}

impl ViewsReader {
    /// Sequence of the next order of a lane to be accepted, from 1: [`LaneState::next_seq`] alone.
    ///
    /// # Errors
    /// [`ReadError::NotOpen`].
    pub fn lane_next_seq(&self, partition: u16, lane: &str) -> Result<u64, ReadError> {
        let shared = self.open(partition)?;
        let state = shared.state.read();
        let lane = state.lanes.find(lane).and_then(|number| state.lanes.get(number));
        Ok(lane.map_or(1, |lane| lane.next_seq))
    }

    /// Where the orders of a lane stand; as at the very start for a lane without orders.
    ///
    /// # Errors
    /// [`ReadError::NotOpen`].
    pub fn lane_state(&self, partition: u16, lane: &str) -> Result<LaneState, ReadError> {
        let shared = self.open(partition)?;
        let state = shared.state.read();
        let opening: Option<&Opening> = state.opened.get(format!("sink.{lane}").as_str());
        let mut found = LaneState {
            folded: state.folded,
            epoch: opening.map_or(0, |opening| opening.epoch),
            writer: opening.map(|opening| opening.writer),
            next_seq: 1,
            low_water: 1,
            ended: Vec::new(),
            sent: Vec::new(),
        };
        let Some(lane) = state.lanes.find(lane).and_then(|number| state.lanes.get(number)) else {
            return Ok(found);
        };
        (found.next_seq, found.low_water) = (lane.next_seq, lane.ended_below);
        for piece in lane.ranges() {
            let (first, count) = (piece.first, piece.count());
            match piece.value {
                Some(Standing::Sent(attempt)) if mutant!(M29) && attempt.in_flight => {}
                Some(Standing::Sent(attempt)) => found.sent.push(SentRange {
                    first,
                    count,
                    first_intent_at_ms: attempt.first_intent_at_ms,
                    in_flight: attempt.in_flight,
                    unknown: match attempt.earlier {
                        Earlier::Settled => None,
                        Earlier::Unsettled => Some(UNSETTLED.into()),
                        Earlier::Unknown(reason) => Some(state.reason(reason)),
                    },
                }),
                _ => found.ended.push((first, count)),
            }
        }
        Ok(found)
    }
}
