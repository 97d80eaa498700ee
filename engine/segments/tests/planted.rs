//! Bugs planted in the segment log, each with a scenario that holds without it and must break with
//! it. `cargo test --release -p hongbao-segments --features mutants --test planted`.

#![cfg(feature = "mutants")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use hongbao_engine::mutants::{Below, Mutant};
use support::scenarios::{
    a_sync_that_fails_once, damage_in_one_partition, power_losses, torn_over_an_old_group,
};

/// More than the planted bug needs: the first loses groups.
const POWER_SEEDS: u64 = 10;

fn scenario(mutant: Mutant) -> fn() {
    match mutant {
        Mutant::M66 => torn_over_an_old_group,
        Mutant::M67 => damage_in_one_partition,
        Mutant::M91 => a_sync_that_fails_once,
        Mutant::M68 => || (0..POWER_SEEDS).for_each(power_losses),
        _ => panic!("{mutant:?} has no scenario"),
    }
}

/// One test, since a bug is planted for the whole process.
#[test]
fn each_planted_bug_is_caught() {
    Below::SEGMENTS.are_caught(scenario);
}
