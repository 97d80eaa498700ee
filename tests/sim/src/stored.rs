//! Plans kept as JSON, each with the invariant that it breaks or broke.
//!
//! Those in `regressions/` once broke something, and may not any more. Those in `scenarios/` break
//! something only where a bug is planted: for each rule of the protocol what is lost or doubled
//! without it, as small as it could be made. All are replayed by a test.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// A plan and why it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredPlan {
    /// Id of the invariant.
    pub invariant: String,
    /// What was wrong.
    pub note: String,
    /// The planted bug with which it breaks the invariant; none if it did so by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutant: Option<String>,
    /// The plan.
    pub plan: Plan,
}

impl StoredPlan {
    /// Reads one, or a bare plan.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let bare = |_| {
            let plan = serde_json::from_str::<Plan>(&text)?;
            Ok(Self { invariant: String::new(), note: String::new(), mutant: None, plan })
        };
        let read = serde_json::from_str(&text).or_else(bare);
        read.map_err(|error: serde_json::Error| format!("{}: {error}", path.display()))
    }

    /// Writes it.
    ///
    /// # Errors
    /// What went wrong.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        std::fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// A folder of plans: `regressions` or `scenarios`.
#[must_use]
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// All plans of a [`folder`], by name.
///
/// # Errors
/// What is wrong with a file.
pub fn all(name: &str) -> Result<Vec<(String, StoredPlan)>, String> {
    let entries = std::fs::read_dir(folder(name)).map_err(|error| format!("{name}: {error}"))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    let named = |path: PathBuf| {
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok((name, StoredPlan::read(&path)?))
    };
    paths.into_iter().map(named).collect()
}
