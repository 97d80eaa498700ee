//! Why something may stop in a partition that has lost nothing: a fault of the plan says so, in words
//! that we know. Whatever else stops stops for nothing (V2), however soon the operator starts it again.

use crate::oracles::Violation;
use crate::plan::Op;

use super::World;

/// A cause, and words of who stops for it.
type Cause = (&'static str, fn(&Op) -> bool);

const CAUSES: [Cause; 7] = [
    ("sync failed", |op| matches!(op, Op::SyncFails { .. })),
    ("input/output error", |op| matches!(op, Op::StoreFails { .. })),
    ("replaced by another process", |op| matches!(op, Op::Zombie { .. })),
    // The dispatcher as a whole tells of each partition that is damaged.
    ("of the log is damaged: ", |op| matches!(op, Op::LogDamaged { .. })),
    ("the store is damaged: ", |op| matches!(op, Op::StoreDamaged { .. })),
    ("but the log ends at ", |op| matches!(op, Op::LogLost { .. })),
    ("the log starts at ", |op| matches!(op, Op::Trimmed { .. })),
];

impl World<'_, '_> {
    /// Something has stopped for these reasons, with semicolons between them, each of a partition.
    ///
    /// # Errors
    /// The violation.
    pub(super) fn explain(&self, stopped: &str) -> Result<(), Violation> {
        let happened = &self.plan.steps[..self.next_step];
        let is_known = |reason: &str| {
            let mut causes = CAUSES.iter().filter(|(words, _)| reason.contains(words));
            causes.any(|(_, is_cause)| happened.iter().any(|step| is_cause(&step.op)))
        };
        let is_lost = |reason: &str| {
            let named = reason.split_once("partition ").and_then(|(_, rest)| rest.split_once(':'));
            let partition = named.and_then(|(number, _)| number.parse::<u16>().ok());
            partition.is_some_and(|partition| self.is_ruined(partition))
        };
        match stopped.split("; ").find(|reason| !is_known(reason) && !is_lost(reason)) {
            None => Ok(()),
            Some(reason) => Err(Violation::new("V2", format!("stops without a fault: {reason}"))),
        }
    }
}
