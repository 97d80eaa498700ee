//! The test of the tester: each planted bug of [`hongbao_engine`] in turn, and how many seeds it
//! takes until an oracle notices it. Only with the feature `mutants`.

#[cfg(feature = "mutants")]
pub mod money;
#[cfg(feature = "mutants")]
mod planting;

#[cfg(feature = "mutants")]
pub use planting::{command, plant_named, scenarios};

/// Which bugs to plant, and how long to look for each.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// Names; empty for all.
    pub names: Vec<String>,
    /// Seeds tried at most for one bug.
    pub seeds_max: u64,
    /// Stores the smallest plan of each as a scenario.
    pub keeps: bool,
    /// Names of those that tests of their own have caught, with commas between
    /// them; none where these were not run.
    pub in_tests: Option<String>,
    /// Looks for money that is doubled or lost, and for nothing else.
    pub is_money: bool,
    /// Then, seconds at most for one bug.
    pub for_s: u64,
}

/// Plants each bug, or those named, until it is caught; prints a table and a line of JSON. False
/// when one was not caught.
///
/// # Errors
/// Wrong use, or a build without the feature.
#[cfg(not(feature = "mutants"))]
pub fn command(_hunt: &Hunt) -> Result<bool, String> {
    Err("this needs the feature `mutants`: use ./scripts/sim mutants".to_owned())
}

/// Plays the stored scenarios, each as it is and with its bug planted. False when one breaks
/// something by itself, or does not break its invariant with the bug.
///
/// # Errors
/// A file that cannot be read, or a build without the feature.
#[cfg(not(feature = "mutants"))]
pub fn scenarios() -> Result<bool, String> {
    Err("this needs the feature `mutants`: use ./scripts/sim scenarios".to_owned())
}

/// Plants the bug of this name for the rest of the process.
///
/// # Errors
/// There is none, or the build lacks the feature.
#[cfg(not(feature = "mutants"))]
pub fn plant_named(name: &str) -> Result<(), String> {
    Err(format!("{name}: this needs the feature `mutants`"))
}
