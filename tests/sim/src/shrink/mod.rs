//! From a plan that breaks an invariant to the smallest one found that breaks the same: steps are
//! left out in halves, quarters and so on (ddmin), then options and numbers are made simple.

use crate::options::LogProfile;
use crate::plan::{Op, Plan};
use crate::trace::Trace;
use crate::world::run;

/// What shrinking may cost.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Runs at most.
    pub runs_max: u32,
}

impl Default for Effort {
    fn default() -> Self {
        Self { runs_max: 3_000 }
    }
}

struct Shrinker<'a> {
    invariant: &'a str,
    runs_left: u32,
    best: Plan,
}

/// The smallest plan found that breaks this invariant, which `plan` does.
#[must_use]
pub fn shrink(plan: &Plan, invariant: &str, effort: Effort) -> Plan {
    let mut shrinker = Shrinker { invariant, runs_left: effort.runs_max, best: plan.clone() };
    loop {
        let before = shrinker.best.steps.len();
        shrinker.leave_out();
        shrinker.simplify();
        if shrinker.best.steps.len() == before || shrinker.runs_left == 0 {
            return shrinker.best;
        }
    }
}

impl Shrinker<'_> {
    /// Keeps a candidate if it breaks the same invariant.
    fn accept(&mut self, candidate: Plan) -> bool {
        if self.runs_left == 0 || candidate == self.best {
            return false;
        }
        self.runs_left -= 1;
        let violation = run(&candidate, Trace::default()).violation;
        let is_same = violation.is_some_and(|violation| violation.invariant == self.invariant);
        if is_same {
            self.best = candidate;
        }
        is_same
    }

    fn leave_out(&mut self) {
        let mut size = self.best.steps.len().div_ceil(2);
        while size > 0 && self.runs_left > 0 {
            let mut start = 0;
            while start < self.best.steps.len() && self.runs_left > 0 {
                let mut candidate = self.best.clone();
                let end = (start + size).min(candidate.steps.len());
                candidate.steps.drain(start..end);
                if !self.accept(candidate) {
                    start += size;
                }
            }
            if size == 1 {
                break;
            }
            size = size.div_ceil(2);
        }
    }

    fn simplify(&mut self) {
        let changes: [fn(&mut Plan); 7] = [
            |plan| plan.options.laziness = 0,
            |plan| plan.options.pool = None,
            |plan| plan.options.log = LogProfile::Segments,
            |plan| plan.options.sync_ms = (1, 1),
            |plan| plan.options.lanes.iter_mut().for_each(|lane| (lane.rate, lane.query_rate) = (None, None)),
            |plan| plan.options.window_keys = 1_000,
            |plan| plan.options.cash_max_minor = 20_000,
        ];
        for change in changes {
            let mut candidate = self.best.clone();
            change(&mut candidate);
            self.accept(candidate);
        }
        for index in 0..self.best.steps.len() {
            for milder in milder(&self.best.steps[index].op) {
                let mut candidate = self.best.clone();
                candidate.steps[index].op = milder;
                self.accept(candidate);
            }
        }
    }
}

/// Simpler forms of an operation.
fn milder(op: &Op) -> Vec<Op> {
    match op {
        Op::Crash { calls, keep_permille, down_ms, again: Some(_), audit, reads: _ } => vec![Op::Crash {
            calls: *calls,
            keep_permille: *keep_permille,
            down_ms: *down_ms,
            again: None,
            reads: false,
            audit: *audit,
        }],
        Op::Requests { downstream, fault, count } if *count > 1 => {
            vec![Op::Requests { downstream: *downstream, fault: *fault, count: 1 }]
        }
        Op::Award(award) if award.amount_minor > 1 => {
            let mut simple = *award;
            simple.amount_minor = 1;
            vec![Op::Award(simple)]
        }
        _ => Vec::new(),
    }
}
