//! Once faults have stopped, orders that fail by themselves delay no others (I27).

use hongbao_audit::JournalAudit;
use hongbao_sinks::dispatch::{LaneState, StatusBoard};

use crate::operator::LANES;
use crate::options::Options;

use super::Violation;

/// Orders that were never tried wait at most so long for the next of them to be tried, after the
/// faults. Pauses, breakers and limits of worlds are seconds; the lives of keys, which orders that
/// fail by themselves may take, are minutes.
const WAITS_MAX_MS: i64 = 120_000;

/// How long lanes have tried none of the orders that were never tried.
#[derive(Debug, Default)]
pub struct Fresh {
    lanes: [Option<Since>; LANES.len()],
}

#[derive(Clone, Copy, Debug)]
struct Since {
    untried: usize,
    /// Orders of lanes above, with which it shares a downstream or a pool, that have not ended.
    open_above: usize,
    at_ms: i64,
}

impl Fresh {
    /// Looks at all lanes. One that may take on no more orders (I29), or has halted, owes nothing, and one
    /// below lanes whose orders end waits for these.
    ///
    /// # Errors
    /// The violation.
    pub fn look(
        &mut self,
        journals: &[JournalAudit<'_>],
        lanes: &StatusBoard,
        options: &Options,
        now_ms: i64,
    ) -> Result<(), Violation> {
        let board = lanes.lanes();
        let held_orders_max = options.dispatch.held_orders_max as u64;
        let orders =
            |lane: usize| journals.iter().flat_map(move |audit| audit.journal.orders_of_lane(LANES[lane]));
        let open = |lane: usize| orders(lane).filter(|order| !order.is_ended()).count();
        let shares = |one: usize, other: usize| {
            options.pool.is_some() || options.lanes[one].downstream == options.lanes[other].downstream
        };
        for (index, name) in LANES.iter().enumerate() {
            let goes_on = board.iter().any(|lane| {
                *lane.lane == **name
                    && matches!(lane.state, LaneState::Running | LaneState::Out)
                    && lane.held < held_orders_max
            });
            let untried = orders(index).filter(|order| order.intents == 0 && !order.is_ended()).count();
            let open_above = (0..index).filter(|above| shares(*above, index)).map(open).sum();
            let last = &mut self.lanes[index];
            let is_stuck = last.is_some_and(|last| last.untried <= untried && last.open_above <= open_above);
            if untried == 0 || !goes_on || !is_stuck {
                *last = (untried > 0 && goes_on).then_some(Since { untried, open_above, at_ms: now_ms });
                continue;
            }
            let waits_ms = last.map_or(0, |last| now_ms - last.at_ms);
            if waits_ms > WAITS_MAX_MS {
                let what =
                    format!("{untried} orders of {name} wait for {waits_ms} ms, none of them was tried");
                return Err(Violation::new("I27", what));
            }
        }
        Ok(())
    }
}
