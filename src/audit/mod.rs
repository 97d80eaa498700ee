//! placeholder
use crate::cli::Global;
use crate::exit::Outcome;
pub fn run(_global: &Global) -> Outcome { Ok(crate::exit::OK) }
