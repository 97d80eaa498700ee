//! What stops: gracefully, as it should; or by itself, which the operator looks at.

use hongbao_sinks::dispatch::{LaneState, Step};

use crate::options::LogProfile;
use crate::oracles::Violation;

use super::{End, Place, Process, World};

/// Turns of a millisecond that a graceful stop may take.
const DRAIN_TURNS_MAX: u32 = 20_000;
/// The operator starts a process again this long after something in it stopped.
const OPERATOR_MS: i64 = 500;
/// Restarts after the faults have stopped that mean that something stops again and again.
const RESTARTS_MAX: u32 = 30;
/// So parts say that the process ended while they ran: no other panic is without a text.
const ENDED: &str = "panic: without a text";

impl World<'_, '_> {
    /// A graceful stop: no new sends, everything committed.
    pub(super) fn stop(&mut self, down_ms: i64) -> Result<(), Violation> {
        if self.process.is_none() {
            return Ok(());
        }
        self.stats.sometimes("stop.graceful", 1);
        let _through = self.within(|process| process.dispatcher.drain())?;
        // What was intended is read back by the views (rule 4).
        let reads_back = self.plan.options.log == LogProfile::Broker;
        let mut is_drained = false;
        for _ in 0..DRAIN_TURNS_MAX {
            if self.process.is_none() {
                return Ok(());
            }
            let drained = self.within(|process| {
                for views in process.views.iter_mut().filter(|_| reads_back) {
                    views.step();
                }
                for committer in &process.committers {
                    committer.run_ready();
                }
                process.failed.is_some() || process.dispatch() == Ok(Step::Drained)
            })?;
            self.observe()?;
            self.estate.pass_time();
            is_drained = drained == Some(true);
            if is_drained {
                break;
            }
            self.estate.clock.advance_to(self.now_ms() + 1);
        }
        if !is_drained && self.process.is_some() {
            let what = format!("not drained after {DRAIN_TURNS_MAX} ms");
            self.weigh(Err(Violation::new("V1", what)))?;
        }
        self.commit_all()?;
        if self.process.is_none() {
            return Ok(());
        }
        self.end_process(End::unplanned(1_000, down_ms))
    }

    /// Folds everything that is there and commits it.
    fn commit_all(&mut self) -> Result<(), Violation> {
        for _ in 0..200 {
            self.estate.pass_time();
            let idle = self.within(|process| {
                let mut worked = false;
                for intake in &mut process.intakes {
                    worked |= intake.step();
                }
                for views in &mut process.views {
                    worked |= views.step();
                }
                for committer in &process.committers {
                    worked |= committer.run_ready() > 0;
                }
                !worked
            })?;
            if idle.is_none() {
                return Ok(());
            }
            self.estate.clock.advance_to(self.now_ms() + 20);
        }
        Ok(())
    }

    /// Remembers the folds that have halted, and gives them by partition, name and reason.
    fn note_halts(&mut self) -> Vec<(u16, String, String)> {
        let Some(process) = &self.process else { return Vec::new() };
        let reasons = halts_of(process);
        self.halted_ever.extend(reasons.iter().map(|(_, name, _)| name.clone()));
        let lacks = reasons
            .iter()
            .filter(|(_, _, reason)| reason.contains("trimmed") || reason.contains("outside of"));
        let overdue = reasons.iter().filter(|(_, _, reason)| reason.contains("is missing in front of"));
        self.stats.sometimes("gap.timed_out", overdue.count() as u64);
        self.lacked_beginning.extend(lacks.map(|(_, name, _)| name.clone()));
        reasons
    }

    /// What has stopped in a process that need not have: as a whole, its folds, its lanes.
    fn stops(&mut self) -> Vec<String> {
        let reasons = self.note_halts();
        let Some(process) = &self.process else { return Vec::new() };
        let mut stops: Vec<String> =
            process.failed.clone().or_else(|| self.ledger_halted()).into_iter().collect();
        stops.extend(self.stops_of(process, reasons));
        stops
    }

    fn stops_of(&self, process: &Process, folds: Vec<(u16, String, String)>) -> Vec<String> {
        let is_doomed = |partition: &u16| self.is_given_up(*partition);
        // A partition goes on without its intake; it halts for good where that is all that is ruined.
        let is_lost = |partition: &u16, name: &str| {
            is_doomed(partition) || self.is_ruined(*partition) && name.starts_with("intake")
        };
        let folds = folds.into_iter().filter(|(partition, name, _)| !is_lost(partition, name));
        let lanes = process.lanes.lanes();
        let lanes = lanes.iter().filter(|lane| lane.halted.iter().any(|partition| !is_doomed(partition)));
        let folds = folds.map(|(_, name, reason)| format!("{name}: {reason}"));
        folds.chain(lanes.map(|lane| format!("lane {}: {}", lane.lane, lane.detail))).collect()
    }

    /// Whatever has stopped in the process has stopped for a reason (V2).
    ///
    /// # Errors
    /// The violation.
    pub(super) fn explain_stops(&mut self) -> Result<(), Violation> {
        let stops = self.stops();
        stops.iter().filter_map(|stopped| but_ended(stopped)).try_for_each(|stopped| self.explain(&stopped))
    }

    /// The same of a process that should be gone.
    ///
    /// # Errors
    /// The violation.
    pub(super) fn explain_stops_of(&self, process: &Process) -> Result<(), Violation> {
        let stops = self.stops_of(process, halts_of(process));
        let mut stops = process.failed.iter().chain(&stops).filter_map(|stopped| but_ended(stopped));
        stops.try_for_each(|stopped| self.explain(&stopped))
    }

    /// What the operator looks at before time passes: starts again what has stopped.
    pub(super) fn look(&mut self) -> Result<(), Violation> {
        let stops = self.stops();
        let Some(process) = &self.process else { return Ok(()) };
        let lanes = process.lanes.lanes();
        let (mut out, mut replaced) = (0, 0);
        for lane in &lanes {
            out += u64::from(lane.state == LaneState::Out);
            replaced += u64::from(lane.detail.contains("replaced by another process"));
        }
        self.stats.sometimes("breaker.opened", out);
        self.stats.sometimes("epoch.lost", replaced);
        for stopped in &stops {
            self.explain(stopped)?;
        }
        // Where every partition is lost the dispatcher has nothing left to do.
        let is_all_lost = (0..self.plan.options.partitions).all(|at| self.is_log_lost(at));
        let Some(reason) = stops.into_iter().next().filter(|_| !is_all_lost) else { return Ok(()) };
        self.note("operator", [0, 0], || format!("starts again: {reason}"));
        self.stats.sometimes("operator.restart", 1);
        if self.is_healed {
            self.restarts_without_reason += 1;
            if self.restarts_without_reason > RESTARTS_MAX {
                return Err(Violation::new("V2", format!("stops again and again: {reason}")));
            }
        }
        self.end_process(End::unplanned(500, OPERATOR_MS))
    }

    fn ledger_halted(&self) -> Option<String> {
        self.estate.places.iter().find_map(|place| match place {
            Place::Ledger { halted, .. } => halted.lock().clone(),
            Place::Partner(_) => None,
        })
    }
}

/// The folds of a process that have halted, by partition, name and reason.
fn halts_of(process: &Process) -> Vec<(u16, String, String)> {
    let mut halts = Vec::new();
    for (index, (intake, views)) in (0_u16..).zip(process.intakes.iter().zip(&process.views)) {
        for (name, halted) in [("intake", intake.halted()), ("views", views.halted())] {
            halts.extend(halted.map(|reason| (index, format!("{name}/{index}"), reason)));
        }
    }
    halts
}

/// Why something has stopped, if not only because the process ended.
fn but_ended(stopped: &str) -> Option<String> {
    let reasons: Vec<&str> = stopped.split("; ").filter(|reason| !reason.contains(ENDED)).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
