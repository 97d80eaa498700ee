//! Reading the files: the only module that touches the file system.

use crate::compile::{File, compile};
use crate::interpolate::Lookup;
use crate::limits::CAMPAIGNS_MAX;
use crate::model::Topology;
use crate::parse::FILE_BYTES_MAX;
use crate::problem::{Code, Problem};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Reads a topology and the `campaigns/*.yaml` beside it, and compiles them. In `campaigns/`,
/// folders, files whose names begin with a dot and files that are not YAML are left alone; a
/// `.yml` is a problem, because it would be ignored.
///
/// # Errors
/// All problems, as [`compile`] gives them, or why files cannot be read.
pub fn load(path: &Path, lookup: &Lookup<'_>) -> Result<Topology, Vec<Problem>> {
    let mut problems = Vec::new();
    let topology = read(path, &mut problems);
    let folder = path.with_file_name("campaigns");
    let campaigns: Vec<(String, String)> = campaign_paths(&folder, &mut problems)
        .iter()
        .filter_map(|path| Some((shown(path), read(path, &mut problems)?)))
        .collect();
    let files: Vec<File<'_>> = campaigns.iter().map(|(name, text)| File { name, text }).collect();
    let Some(text) = topology else { return Err(problems) };
    match compile(File { name: &shown(path), text: &text }, &files, lookup) {
        Ok(topology) if problems.is_empty() => Ok(topology),
        Ok(_) => Err(problems),
        // With an unreadable campaign, what it declares would be missed all over the place.
        Err(_) if problems.iter().any(|problem| problem.code() == Code::File) => Err(problems),
        Err(found) => {
            problems.extend(found);
            Err(problems)
        }
    }
}

fn campaign_paths(folder: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            problems.push(unreadable(folder, &error));
            return Vec::new();
        }
    };
    let mut paths = Vec::new();
    // One more than is allowed is enough for the compiler to say so.
    for entry in entries {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(error) => {
                problems.push(unreadable(folder, &error));
                continue;
            }
        };
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        if hidden || path.is_dir() || paths.len() > CAMPAIGNS_MAX {
            continue;
        }
        if extension == "yaml" {
            paths.push(path);
        } else if extension == "yml" || extension.eq_ignore_ascii_case("yaml") {
            let message = "only files that end in `.yaml` are campaigns".to_owned();
            problems.push(Problem::of_file(Code::FileName, &shown(&path), message, Some("rename it")));
        }
    }
    paths.sort();
    problems.sort_by(|a, b| a.file().cmp(b.file()));
    paths
}

fn read(path: &Path, problems: &mut Vec<Problem>) -> Option<String> {
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    let result = fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    if let Err(error) = result {
        problems.push(unreadable(path, &error));
        return None;
    }
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the file has more than {FILE_BYTES_MAX} bytes");
        problems.push(Problem::of_file(Code::File, &shown(path), message, Some("split the campaigns")));
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or(&[]);
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let message = format!("the file is not UTF-8: see line {line}");
            let help = Some("save it as UTF-8");
            problems.push(Problem::of_file(Code::File, &shown(path), message, help));
            None
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    let help = "give the topology with `--config`; campaigns are read from `campaigns/` beside it";
    Problem::of_file(Code::File, &shown(path), format!("cannot be read: {error}"), Some(help))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
