//! Errors that say something about the program under test. All others are of the harness itself: it
//! cannot start a process, or there is no disk.

use std::fmt;
use std::io;

/// What the program under test did, or did not do.
#[derive(Debug)]
struct Finding(String);

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Finding {}

/// What the program under test did wrong.
pub fn found(what: impl Into<String>) -> io::Error {
    io::Error::other(Finding(what.into()))
}

/// An error that the program under test caused; its kind stays.
pub fn caused(error: io::Error) -> io::Error {
    if is_finding(&error) { error } else { io::Error::new(error.kind(), Finding(error.to_string())) }
}

/// The same error with more said about it.
pub fn told(error: &io::Error, more: &str) -> io::Error {
    let text = format!("{error}; {more}");
    if is_finding(error) {
        caused(io::Error::new(error.kind(), text))
    } else {
        io::Error::new(error.kind(), text)
    }
}

/// Whether the program under test caused an error.
pub fn is_finding(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Finding>())
}

/// Notes what the program under test did wrong, and goes on; a trouble of the harness itself is passed
/// on.
///
/// # Errors
/// Of the harness itself.
pub fn or_violation<T>(done: io::Result<T>, violated: impl FnOnce(String)) -> io::Result<Option<T>> {
    match done {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_finding(&error) => {
            violated(error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_did_is_told_from_troubles_of_the_harness() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        assert!(!is_finding(&full()));
        assert!(!is_finding(&told(&full(), "it said")));
        let broken = told(&caused(io::ErrorKind::ConnectionReset.into()), "it said");
        assert!(is_finding(&broken) && broken.kind() == io::ErrorKind::ConnectionReset);
        let mut noted = Vec::new();
        assert!(or_violation::<()>(Err(found("it hangs")), |what| noted.push(what)).is_ok());
        assert!(or_violation::<()>(Err(full()), |what| noted.push(what)).is_err());
        assert_eq!(noted, ["it hangs"]);
    }
}
