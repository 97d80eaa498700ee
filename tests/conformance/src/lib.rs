//! Conformance suites: what a port promises, as checks that run over any implementation of it.
//! A check panics with the reason when the promise is broken.

pub mod log;
pub mod store;
