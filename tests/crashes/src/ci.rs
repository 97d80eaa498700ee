//! `ci`: a small dose of every part, and the test of the test: a disk that lies must be found out.

use std::io;
use std::path::PathBuf;

use serde_json::json;

use crate::faults::{self, Faults};
use crate::figures::Figures;
use crate::flips::{self, Flips};
use crate::images::{self, Images};
use crate::kills::{self, Kills};

/// Enough for every named place; places that chance leaves out are planned.
const KILLS: u64 = 100;
/// One recording, which has more calls, and an image behind each.
const IMAGES: u64 = 400;
const FLIPS: u64 = 160;
/// Rounds of each kind of fault.
const ROUNDS: u64 = 2;

/// What to run.
#[derive(Clone, Debug)]
pub struct Dose {
    /// The binary, built with the feature `kill-points`.
    pub program: PathBuf,
    /// The recorder.
    pub preload: PathBuf,
    /// Where data folders go.
    pub folder: PathBuf,
    pub seed: u64,
    pub jobs: u64,
    /// Full disks may be left out where nothing may be mounted.
    pub without_mounts: bool,
}

/// Runs all parts, prints the figures of each, and sums them up.
pub fn run(dose: &Dose) -> Figures {
    let mut whole = Figures::begin("ci", dose.seed);
    if let Err(error) = parts(dose, &mut whole) {
        whole.trouble(&error);
    }
    whole
}

fn parts(dose: &Dose, whole: &mut Figures) -> io::Result<()> {
    let Dose { program, preload, seed, jobs, without_mounts, .. } = dose.clone();
    let kills = |folder| kills::run(&Kills { program: program.clone(), folder, count: KILLS, seed, jobs });
    take(whole, dose, "kills", "kills", kills)?;
    let images = |count, is_lying| {
        let (program, preload) = (program.clone(), preload.clone());
        move |folder| images::run(&Images { program, preload, folder, count, seed, jobs, is_lying })
    };
    take(whole, dose, "images", "images", images(IMAGES, false))?;
    let folder = folder_of(dose, "lying")?;
    let lies = images(IMAGES, true)(folder.clone());
    if !lies.is_whole() {
        return Err(io::Error::other("the run on a disk that lies did not come to its end"));
    }
    whole.set("lies_found", json!(lies.violations.len()));
    if lies.violations.is_empty() {
        whole.violations.push("a disk that forgets what was synced was not noticed".to_owned());
    }
    std::fs::remove_dir_all(folder)?;
    let flips = |folder| flips::run(&Flips { program: program.clone(), folder, count: FLIPS, seed, jobs });
    take(whole, dose, "flips", "flips", flips)?;
    let (program, preload) = (program.clone(), preload.clone());
    let faults =
        |folder| faults::run(&Faults { program, preload, folder, count: ROUNDS, seed, jobs, without_mounts });
    take(whole, dose, "faults", "rounds", faults)
}

/// Runs a part and adds it to the whole, with what it says by the name `done` that it did, unless the harness
/// could not go on before.
fn take(
    whole: &mut Figures,
    dose: &Dose,
    name: &str,
    done: &str,
    part: impl FnOnce(PathBuf) -> Figures,
) -> io::Result<()> {
    if !whole.is_whole() {
        return Ok(());
    }
    let figures = part(folder_of(dose, name)?);
    println!("{}", figures.line());
    // What ran, not what should have: a part that ends early has less.
    whole.set(name, json!(figures.number(done)));
    if let Some(not_tested) = figures.field("not_tested") {
        whole.set("not_tested", not_tested.clone());
    }
    whole.absorb(figures);
    Ok(())
}

fn folder_of(dose: &Dose, part: &str) -> io::Result<PathBuf> {
    let folder = dose.folder.join(part);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_counts_for_what_it_did() {
        let folder = tempfile::tempdir().unwrap();
        let (program, preload) = (PathBuf::new(), PathBuf::new());
        let dose = Dose {
            program,
            preload,
            folder: folder.path().to_owned(),
            seed: 1,
            jobs: 1,
            without_mounts: true,
        };
        let mut whole = Figures::begin("ci", 1);
        let faults = |_| {
            let mut figures = Figures::begin("faults", 1);
            figures.set("rounds", json!(7));
            figures.set("not_tested", json!(["full_disk"]));
            figures
        };
        take(&mut whole, &dose, "faults", "rounds", faults).unwrap();
        assert_eq!(whole.field("not_tested"), Some(&json!(["full_disk"])));
        let kills = |_| {
            let mut figures = Figures::begin("kills", 1);
            figures.set("kills", json!(3));
            figures.trouble(&io::ErrorKind::StorageFull.into());
            figures
        };
        take(&mut whole, &dose, "kills", "kills", kills).unwrap();
        take(&mut whole, &dose, "flips", "flips", |_| panic!("nothing runs behind a trouble")).unwrap();
        assert_eq!(["kills", "flips", "faults"].map(|name| whole.number(name)), [3, 0, 7]);
        assert!(!whole.is_whole());
    }
}
