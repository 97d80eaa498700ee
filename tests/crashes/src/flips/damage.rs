//! One changed byte.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::wait::Dice;

/// Kinds of files. A book of a simulated downstream is not ours, and logs for people hold no state.
pub const KINDS: [&str; 9] =
    ["segment", "end", "table", "manifest", "current", "options", "meta", "identity", "folder"];
/// The last bytes written to a partition of a log, which may look like a torn write. Not a kind of file,
/// but a place that chance alone seldom meets.
const END: &str = "end";
const END_BYTES: u64 = 4 << 10;

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

/// Files of a kind; of segments the last one of each partition, where their ends are wanted.
fn of_kind(all: Vec<(PathBuf, u64)>, kind: &str) -> Vec<(PathBuf, u64)> {
    let file_kind = if kind == END { "segment" } else { kind };
    let mut files: Vec<_> = all.into_iter().filter(|(path, _)| kind_of(path) == Some(file_kind)).collect();
    if kind == END {
        // In order of their numbers.
        let next: Vec<_> = files.iter().skip(1).map(|(path, _)| path.parent().map(Path::to_owned)).collect();
        let mut index = 0;
        files.retain(|(path, _)| {
            let is_last = next.get(index).is_none_or(|next| next.as_deref() != path.parent());
            index += 1;
            is_last
        });
    }
    files
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
    let of_kind = of_kind(all, kind);
    let none = || io::Error::other(format!("there is no file of kind {kind}"));
    let index = dice.below(of_kind.len().max(1) as u64) as usize;
    let (path, len) = of_kind.get(index).cloned().ok_or_else(none)?;
    let mut bytes = fs::read(&path)?;
    // Space that was only reserved says little: most of the time something written is changed.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(len, |last| last as u64 + 1);
    let at = match dice.below(8) {
        _ if kind == END => used.saturating_sub(1 + dice.below(END_BYTES)),
        0 => dice.below(len),
        _ => dice.below(used),
    };
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
