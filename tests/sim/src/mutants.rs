//! Planted bugs.
/// Runs them.
///
/// # Errors
/// Wrong use.
pub fn command(_arguments: &[String]) -> Result<bool, String> {
    Err("built without the feature `mutants`".to_owned())
}
