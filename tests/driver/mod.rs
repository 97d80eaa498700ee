//! Plays a case: feeds its events to a world and compares what comes out.

mod case;
mod downstream;
mod expect;
mod world;
mod yaml;

pub use case::Case;
