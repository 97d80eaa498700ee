//! How often a dispatcher tries an order. The harness does not depend on it: a test of the root package
//! (`tests/topology_cases.rs`) holds the number against the dispatcher's default policy.

/// Attempts after which an order is reported although its key still lives: the dispatcher's policy, which no
/// topology changes.
pub const ATTEMPTS_MAX: u64 = 16;
