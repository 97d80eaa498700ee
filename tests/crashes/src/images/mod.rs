//! `images`: the calls of a real run that change files are recorded with their data; then the folder
//! is rebuilt as a loss of power between any two of them may have left it, opened and checked (F2, F42).

mod disk;
mod record;
pub mod trace;
mod verify;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::json;

use crate::figures::Figures;
use crate::finding::or_violation;
use crate::jobs::{on_threads, prepared};
use crate::rig::Rig;
use crate::wait::Dice;
use disk::{Disk, Mode};
use record::{Promises, Recording};
use trace::{Event, Trace};
use verify::Verifier;

/// What to run.
#[derive(Clone, Debug)]
pub struct Images {
    /// The binary.
    pub program: PathBuf,
    /// The recorder.
    pub preload: PathBuf,
    /// Where data folders go.
    pub folder: PathBuf,
    pub count: u64,
    pub seed: u64,
    /// Recordings at a time.
    pub jobs: u64,
    /// The disk forgets what was synced: a test of the test, which must find losses.
    pub is_lying: bool,
}

/// Images of one recording at most.
const RECORDING_IMAGES: u64 = 2_000;
/// One image in so many is also recovered by the node itself and audited.
const START_ONE_IN: u64 = 16;

#[derive(Default)]
struct Found {
    sums: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
}

impl Found {
    fn add(&mut self, name: &'static str, more: u64) {
        *self.sums.entry(name).or_default() += more;
    }
}

/// Runs until there were enough images.
pub fn run(images: &Images) -> Figures {
    let mut figures = Figures::begin("images", images.seed);
    let (begun, found) = (AtomicU64::new(0), Mutex::new(Found::default()));
    let share = (images.count / images.jobs.max(1)).clamp(1, RECORDING_IMAGES);
    let done = on_threads(images.jobs, |job| {
        let mut round = 0;
        loop {
            let before = begun.fetch_add(share, Ordering::SeqCst);
            if before >= images.count {
                return Ok(());
            }
            let dice = Dice(images.seed.wrapping_mul(0x1_0000_0001) ^ (before << 8));
            let home = images.folder.join(format!("job-{job}-{round}"));
            let violations = one_recording(images, &home, share.min(images.count - before), dice, &found);
            let violations = or_violation(violations, |what| {
                found.lock().violations.push(format!("kept in {}: {what}", home.display()));
            })?;
            if violations != Some(0) {
                begun.fetch_add(images.count, Ordering::SeqCst);
            } else {
                fs::remove_dir_all(home)?;
            }
            round += 1;
        }
    });
    if let Err(error) = done {
        figures.trouble(&error);
    }
    let Found { sums, violations } = found.into_inner();
    for (name, sum) in &sums {
        figures.set(name, json!(sum));
    }
    for mode in Mode::ALL {
        if !sums.contains_key(mode.name()) && figures.is_whole() {
            figures.violations.push(format!("too weak: no image of mode {}", mode.name()));
        }
    }
    figures.violations.extend(violations);
    figures
}

/// Records a run and takes so many images of it, spread over its calls. Returns how many were wrong.
fn one_recording(
    images: &Images,
    home: &Path,
    count: u64,
    mut dice: Dice,
    found: &Mutex<Found>,
) -> io::Result<u64> {
    let recording = prepared(home, || Recording::make(images, home, &mut dice))?;
    let trace = &recording.trace;
    let mut verifier = Verifier::new(&recording)?;
    let (mut disk, mut promises) = (Disk::default(), Promises::default());
    let mut wrong = 0;
    let total = trace.events.len() as u64;
    found.lock().add("recordings", 1);
    found.lock().add("calls", total);
    for (name, more) in &recording.counts {
        found.lock().add(name, *more);
    }
    for (place, event) in (0_u64..).zip(&trace.events) {
        take(&mut disk, &mut promises, event, trace, images.is_lying);
        // As many images behind each call as make up the count at the end.
        let due = (place + 1) * count / total - place * count / total;
        for _ in 0..due {
            let mode = Mode::ALL[dice.below(Mode::ALL.len() as u64) as usize];
            let target = home.join(format!("image-{place}"));
            let rig = image(&recording.rig, &disk, trace, mode, &mut dice, &target)?;
            let is_started = dice.below(START_ONE_IN) == 0;
            let started = if is_started { verifier.start(&rig)? } else { Ok(()) };
            let checked = started.and_then(|()| verifier.open(&rig.data(), &promises, is_started));
            let mut found = found.lock();
            found.add("images", 1);
            found.add("crashes", 1);
            found.add("started", u64::from(is_started));
            found.add(mode.name(), 1);
            match checked {
                Ok(()) => fs::remove_dir_all(&target)?,
                Err(what) => {
                    wrong += 1;
                    let kept = target.display();
                    let violation = format!("call {place} {}, kept in {kept}: {what}", mode.name());
                    found.violations.push(violation);
                    return Ok(wrong);
                }
            }
        }
    }
    found.lock().add("stores_seen_before", verifier.shared);
    let book = recording.mall.book()?;
    if book.double_effects + book.mismatches > 0 {
        wrong += 1;
        found.lock().violations.push(format!("I10, I13: the downstream has {book:?}"));
    }
    found.lock().add("answers", promises.answered as u64);
    found.lock().add("sent_orders", promises.sent.len() as u64);
    Ok(wrong)
}

fn take(disk: &mut Disk, promises: &mut Promises, event: &Event, trace: &Trace, is_lying: bool) {
    disk.take(event);
    if let Event::Sync { inode } = event
        && !is_lying
    {
        disk.sync(*inode, trace);
    }
    promises.take(event, trace);
}

/// A folder as it may have been left.
fn image(
    recorded: &Rig,
    disk: &Disk,
    trace: &Trace,
    mode: Mode,
    dice: &mut Dice,
    target: &Path,
) -> io::Result<Rig> {
    fs::create_dir_all(target.join("campaigns"))?;
    for name in ["topology.yaml", "campaigns/spring.yaml"] {
        fs::copy(recorded.folder.join(name), target.join(name))?;
    }
    fs::create_dir_all(target.join("data"))?;
    disk.leave(trace, mode, dice, &target.join("data"))?;
    Ok(recorded.moved_to(target.to_owned()))
}
