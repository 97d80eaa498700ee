//! The engine: ports ([`log`], [`store`], [`clock`]), the task loop that folds a log partition
//! into a store, and in-memory adapters. It moves bytes and knows nothing of awards or money.

pub mod aside;
pub mod clock;
pub mod commit;
pub mod crash;
pub mod inputs;
pub mod log;
pub mod memory;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod outputs;
pub mod panics;
pub mod partition;
pub mod processor;
pub mod progress;
pub mod ranges;
pub mod records;
pub mod seen;
pub mod store;
pub mod task;
pub mod worker;

/// Threads, for whoever starts them beside the engine: those of the system. `tests/interleavings`
/// builds with threads that its scheduler steps, and with a `parking_lot` of the same kind.
#[cfg(not(interleavings))]
pub use std::thread;

#[cfg(interleavings)]
pub use parking_lot::thread;
/// Whether a planted bug is active: `mutant!(M07)`. The constant `false` without the feature
/// `mutants`, which only the simulator's test of itself turns on.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutants::is_planted($crate::mutants::Mutant::$name)
    };
}

/// Whether a planted bug is active: `mutant!(M07)`. The constant `false` without the feature
/// `mutants`, which only the simulator's test of itself turns on.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

/// A number from outside of the log for a planted bug; 0 without the feature `mutants`.
#[must_use]
pub fn stray() -> u64 {
    #[cfg(feature = "mutants")]
    return mutants::stray();
    #[cfg(not(feature = "mutants"))]
    0
}
