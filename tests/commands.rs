//! The command line as scripts use it: what is printed where, and every exit code.

#[expect(dead_code, unused_imports, reason = "each test binary uses another part of the harness")]
mod node;
mod verbs;
