//! The HTTP contract against a running server: every path, every rule, as tables.

mod contract;
mod node;
