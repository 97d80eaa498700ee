//! One changed byte.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::wait::Dice;

/// Kinds of files. A book of a simulated downstream is not ours, and logs for people hold no state.
pub const KINDS: [&str; 8] =
    ["segment", "table", "manifest", "current", "options", "meta", "identity", "folder"];

/// What was changed.
#[derive(Clone, Debug)]
pub struct Damage {
    pub kind: &'static str,
    pub path: PathBuf,
    pub at: u64,
    pub what: &'static str,
}

fn kind_of(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let suffix = path.extension().and_then(|suffix| suffix.to_str());
    Some(match (name, suffix) {
        (_, Some("seg")) => "segment",
        (_, Some("sst")) => "table",
        ("CURRENT", _) => "current",
        ("meta", _) => "meta",
        ("identity" | "IDENTITY", _) => "identity",
        ("hongbao.json" | "lanes.json" | "settings.json" | "control.key", _) => "folder",
        _ if name.starts_with("MANIFEST-") => "manifest",
        _ if name.starts_with("OPTIONS-") => "options",
        _ => return None,
    })
}

/// All files below a folder with something in them.
fn files(folder: &Path, found: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            files(&entry.path(), found)?;
        } else if meta.len() > 0 {
            found.push((entry.path(), meta.len()));
        }
    }
    Ok(())
}

/// Changes one byte of a file below the folder; kinds of files take turns.
///
/// # Errors
/// Of the file system.
pub fn inflict(folder: &Path, number: u64, dice: &mut Dice) -> io::Result<Damage> {
    let mut all = Vec::new();
    files(folder, &mut all)?;
    all.sort_unstable();
    let kind = KINDS[(number % KINDS.len() as u64) as usize];
    let of_kind: Vec<_> = all.into_iter().filter(|(path, _)| kind_of(path) == Some(kind)).collect();
    let none = || io::Error::other(format!("there is no file of kind {kind}"));
    let index = dice.below(of_kind.len().max(1) as u64) as usize;
    let (path, len) = of_kind.get(index).cloned().ok_or_else(none)?;
    let mut bytes = fs::read(&path)?;
    // Space that was only reserved says little: most of the time something written is changed.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(len, |last| last as u64 + 1);
    let at = if dice.below(8) == 0 { dice.below(len) } else { dice.below(used) };
    let byte = &mut bytes[at as usize];
    let what = match dice.below(5) {
        0 if *byte != 0 => {
            *byte = 0;
            "set to zero"
        }
        1 if *byte != 0xff => {
            *byte = 0xff;
            "set to ones"
        }
        2 => {
            bytes.truncate(at as usize);
            "cut off"
        }
        _ => {
            *byte ^= 1 << dice.below(8);
            "one bit flipped"
        }
    };
    fs::write(&path, bytes)?;
    let path = path.strip_prefix(folder).unwrap_or(&path).to_owned();
    Ok(Damage { kind, path, at, what })
}
