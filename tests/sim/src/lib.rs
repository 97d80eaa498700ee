//! The deterministic simulator: the real intake, views, dispatcher and embedded ledger, in one
//! thread, in virtual time, through histories that are hostile in every way the ports allow.
//!
//! ```text
//! seed ─> options ─> plan ─> world ─────────────────────> trace hash, numbers
//!         sizes,     list    process over an estate:       violation, if there is one
//!         knobs,     of ops  SimLog, SimStore,               │
//!         limits     and     downstreams with true books     ├─> shrink: the smallest plan
//!                    faults  clients, operator, clocks       └─> timeline of the order
//!                                 │
//!                              oracles: invariants at every event; at the end the reference
//!                                       model of `hongbao check` over everything durable
//! ```
//! * A run is a function of its plan: time, the order in which parts of the process get a step,
//!   latencies and every fault come from it. The plan is an explicit list, so that a failure can be
//!   cut down and kept as JSON.
//! * The process can end at any call that changes something outside of it, before or after the
//!   effect ([`fuse`]); what survives is decided by the log ([`log`]) and the stores ([`store`]).
//! * What a downstream says and what it did are two things ([`downstreams`]); double effects, late
//!   resends and changed payloads are found by its own book.
//! * Where a fault is beyond what the system promises to survive, the expected result is that the
//!   partition halts, not that the check is left out.

pub mod clients;
pub mod clock;
pub mod downstreams;
pub mod fuse;
pub mod log;
pub mod mutants;
pub mod operator;
pub mod options;
pub mod oracles;
pub mod plan;
pub mod random;
pub mod report;
pub mod shrink;
pub mod store;
pub mod stored;
pub mod trace;
pub mod world;
