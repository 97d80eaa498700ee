//! Exit codes, the same for every command.

use std::process::ExitCode;

/// What a command tells its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(u8);

/// Done.
pub const OK: Exit = Exit(0);
/// Failed.
pub const FAILED: Exit = Exit(1);
/// Called wrongly.
pub const USAGE: Exit = Exit(2);
/// Ran, and found something.
pub const FOUND: Exit = Exit(3);
/// Some items failed.
pub const PARTIAL: Exit = Exit(4);
/// The server cannot be reached.
pub const UNREACHABLE: Exit = Exit(69);
/// Not permitted.
pub const FORBIDDEN: Exit = Exit(77);
/// The configuration is invalid.
pub const CONFIGURATION: Exit = Exit(78);
/// Ended by a signal before it was done.
pub const INTERRUPTED: Exit = Exit(130);

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// An error with the code that the process ends with.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub code: Exit,
    /// What went wrong, with its causes.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure with a code of its own.
    pub fn new(code: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: FAILED, error }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { code: FAILED, error: error.into() }
    }
}

/// What a command returns.
pub type Outcome = Result<Exit, Failure>;
