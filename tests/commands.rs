//! The command line as scripts use it: what is printed where, and every exit code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[expect(dead_code, unused_imports, reason = "each test binary uses another part of the harness")]
mod node;
mod verbs;
