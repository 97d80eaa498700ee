//! Plans that once broke something, kept as JSON with the invariant and a note. All are replayed by
//! a test; none may break anything any more.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// A plan and why it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regression {
    /// Id of the invariant that it broke.
    pub invariant: String,
    /// What was wrong.
    pub note: String,
    /// The plan.
    pub plan: Plan,
}

/// The folder of all regressions.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions")
}

/// Reads a regression, or a bare plan.
///
/// # Errors
/// What is wrong with the file.
pub fn read(path: &Path) -> Result<Regression, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let bare = |_| {
        let plan = serde_json::from_str::<Plan>(&text)?;
        Ok(Regression { invariant: String::new(), note: String::new(), plan })
    };
    let read = serde_json::from_str(&text).or_else(bare);
    read.map_err(|error: serde_json::Error| format!("{}: {error}", path.display()))
}

/// All regressions, by name.
///
/// # Errors
/// What is wrong with a file.
pub fn all() -> Result<Vec<(String, Regression)>, String> {
    let entries = std::fs::read_dir(folder()).map_err(|error| error.to_string())?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    let named = |path: PathBuf| {
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok((name, read(&path)?))
    };
    paths.into_iter().map(named).collect()
}
