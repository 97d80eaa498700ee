//! The HTTP contract against a running server: every path, every rule, as tables.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod contract;
#[expect(dead_code, unused_imports, reason = "each test binary uses another part of the harness")]
mod node;
