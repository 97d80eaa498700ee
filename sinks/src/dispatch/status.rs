//! What other threads may see of the dispatcher, published once a step under one short lock.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Dispatcher;
use super::breaker::Admission;
use super::lane::{Lane, LaneCounts};
use super::line::Line;
use super::now::Now;
use super::track::Phase;

/// Halted partitions of a lane whose reasons are told.
const REASONS_MAX: usize = 4;

/// Where the lanes stand, in declared order.
#[derive(Debug)]
pub struct StatusBoard {
    lanes: Mutex<Vec<LaneStatus>>,
}

/// Where a lane stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// Its name.
    pub lane: Arc<str>,
    /// In one word.
    pub state: LaneState,
    /// Why, where there is something to say.
    pub detail: String,
    /// Partitions that have stopped for good, ascending (I26); the others go on.
    pub halted: Vec<u16>,
    /// Submissions open at its downstream, of all lanes.
    pub in_flight: u32,
    /// Submissions that may be open there at once.
    pub in_flight_max: u32,
    /// Orders read and not yet intended.
    pub ready: u64,
    /// Orders with an intent, waiting for permits.
    pub waiting: u64,
    /// Orders kept one by one because an attempt did not end well.
    pub held: u64,
    /// What it did since the start of the process.
    pub counts: LaneCounts,
}

/// A lane's state in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LaneState {
    /// Not all partitions are open yet.
    #[default]
    Opening,
    /// Sends.
    Running,
    /// The downstream asked to be left alone.
    Paused,
    /// The downstream refuses us; a person has to change something.
    Misconfigured,
    /// The downstream does not answer.
    Out,
    /// Too many orders are unresolved to take new ones.
    Full,
    /// Goes on, but not wholly: a partition has stopped for good (I26), or its downstream cannot be
    /// asked.
    Degraded,
    /// All partitions have stopped for good.
    Halted,
    /// Takes no new work.
    Draining,
}

impl LaneState {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Misconfigured => "misconfigured",
            Self::Out => "out",
            Self::Full => "full",
            Self::Degraded => "degraded",
            Self::Halted => "halted",
            Self::Draining => "draining",
        }
    }
}

impl StatusBoard {
    /// A board of lanes that have not opened.
    #[must_use]
    pub fn new(lanes: impl Iterator<Item = String>) -> Self {
        let lanes = lanes.map(|lane| LaneStatus { lane: lane.into(), ..LaneStatus::default() });
        Self { lanes: Mutex::new(lanes.collect()) }
    }

    /// A copy of what was published last.
    #[must_use]
    pub fn lanes(&self) -> Vec<LaneStatus> {
        self.lanes.lock().clone()
    }
}

impl Dispatcher {
    pub(super) fn publish_status(&self, now: Now) {
        let mut board = self.status.lanes.lock();
        for (status, lane) in board.iter_mut().zip(&self.lanes) {
            let line = &self.lines[lane.line];
            status.state = self.lane_state(lane, line, now, &mut status.detail);
            status.halted.clear();
            let halted = lane.tracks.iter().filter(|track| track.is_halted());
            status.halted.extend(halted.map(|track| track.partition.0));
            status.in_flight = line.in_flight;
            status.in_flight_max = line.limit();
            status.ready = lane.tracks.iter().map(|track| track.ready.len() as u64).sum();
            status.waiting = lane.stock.orders;
            status.held = lane.held() as u64;
            status.counts = lane.counts;
        }
    }

    fn lane_state(&self, lane: &Lane, line: &Line, now: Now, detail: &mut String) -> LaneState {
        detail.clear();
        if let Some(state) = halted_state(lane, detail) {
            return state;
        }
        if self.is_draining {
            return LaneState::Draining;
        }
        if lane.tracks.iter().any(|track| !track.is_running()) {
            return LaneState::Opening;
        }
        if let Some(pause) = line.sends.misconfigured() {
            detail.push_str(&pause.reason);
            return LaneState::Misconfigured;
        }
        if let Some(pause) = line.sends.paused(now.mono) {
            detail.push_str(&pause.reason);
            return LaneState::Paused;
        }
        match line.sends.admission(now.mono) {
            Admission::All if lane.fresh_room(self.policy.held_orders_max) == 0 => LaneState::Full,
            Admission::All => match line.asks.misconfigured() {
                Some(pause) => {
                    detail.push_str(&pause.reason);
                    LaneState::Degraded
                }
                None => LaneState::Running,
            },
            Admission::Probe | Admission::NotBefore(_) => LaneState::Out,
        }
    }
}

/// Halted partitions are more urgent than anything else; why is said of the first few.
fn halted_state(lane: &Lane, detail: &mut String) -> Option<LaneState> {
    let mut count = 0;
    for track in &lane.tracks {
        let Phase::Halted(reason) = &track.phase else { continue };
        count += 1;
        if count <= REASONS_MAX {
            let separator = if count > 1 { "; " } else { "" };
            detail.push_str(&format!("{separator}partition {}: {reason}", track.partition));
        }
    }
    if count > REASONS_MAX {
        detail.push_str(&format!("; and {} more partitions", count - REASONS_MAX));
    }
    let state = if count < lane.tracks.len() { LaneState::Degraded } else { LaneState::Halted };
    (count > 0).then_some(state)
}
