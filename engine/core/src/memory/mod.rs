//! Adapters that keep everything in memory: for tests, simulation and measurements without a disk.

pub mod log;
pub mod store;
