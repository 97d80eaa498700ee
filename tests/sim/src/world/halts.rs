//! Why something may stop in a partition that has lost nothing: a fault of the plan says so, in words
//! that we know. Whatever else stops stops for nothing (V2), however soon the operator starts it again.

use crate::oracles::Violation;
use crate::plan::Op;

use super::World;

/// What the world knows of who has stopped: the partition, if it is named.
type IsCause = fn(&World<'_, '_>, Option<u16>) -> bool;

/// Words of who stops, and whether there was a cause for them.
const CAUSES: [(&str, IsCause); 7] = [
    ("sync failed", |world, of| {
        let is_it =
            |op: &Op| matches!(op, Op::SyncFails { log, partition } if *log > 0 || is_of(of, *partition));
        world.has_happened(is_it)
    }),
    ("input/output error", |world, of| {
        world.has_happened(|op| matches!(op, Op::StoreFails { store } if is_of(of, store.partition())))
    }),
    ("replaced by another process", |world, _| world.owners.is_some()),
    // The dispatcher as a whole tells of each partition that is damaged.
    ("of the log is damaged: ", is_doomed),
    ("the store is damaged: ", is_doomed),
    ("but the log ends at ", is_doomed),
    ("the log starts at ", is_doomed),
];

fn is_of(named: Option<u16>, partition: u16) -> bool {
    named.is_none_or(|named| named == partition)
}

/// Whether something of that partition is lost for good; of any, if none is named.
fn is_doomed(world: &World<'_, '_>, named: Option<u16>) -> bool {
    world.doomed.keys().any(|partition| is_of(named, *partition))
}

/// The partition that a reason names: "intake/3: ..", "partition 3: ..".
fn named_in(reason: &str) -> Option<u16> {
    let of = |name: &str| {
        let (number, _) = reason.split_once(name)?.1.split_once(':')?;
        number.parse().ok()
    };
    of("partition ").or_else(|| of("intake/")).or_else(|| of("views/"))
}

impl World<'_, '_> {
    fn has_happened(&self, is_it: impl Fn(&Op) -> bool) -> bool {
        self.plan.steps[..self.next_step].iter().any(|step| is_it(&step.op))
    }

    /// Something has stopped for these reasons, with semicolons between them, each of a partition.
    ///
    /// # Errors
    /// The violation.
    pub(super) fn explain(&self, stopped: &str) -> Result<(), Violation> {
        let is_known = |reason: &str| {
            let named = named_in(reason);
            let is_lost = named.is_some_and(|partition| self.is_ruined(partition));
            is_lost || CAUSES.iter().any(|(words, is_cause)| reason.contains(words) && is_cause(self, named))
        };
        match stopped.split("; ").find(|reason| !is_known(reason)) {
            None => Ok(()),
            Some(reason) => Err(Violation::new("V2", format!("stops without a fault: {reason}"))),
        }
    }
}
