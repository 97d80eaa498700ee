//! One module a kind of case.

mod agrees;
mod planted;
mod planted_intake;
mod planted_sinks;
mod planted_stores;
mod world;
