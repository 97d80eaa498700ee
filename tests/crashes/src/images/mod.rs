//! `images`: the calls of a real run that change files are recorded with their data; then the folder
//! is rebuilt as a loss of power behind each of them may have left it, opened and checked (F2, F42).

mod disk;
mod prefix;
mod record;
pub mod trace;
mod verify;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::json;

use crate::figures::Figures;
use crate::finding::or_violation;
use crate::jobs::{on_threads, prepared};
use crate::process::free_address;
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
    /// Threads that rebuild folders.
    pub jobs: u64,
    /// The disk forgets what was synced: a test of the test, which must find losses.
    pub is_lying: bool,
}

/// Images of one recording, unless it has more calls: there is at least one behind each call.
const RECORDING_IMAGES: u64 = 4_000;
/// Calls behind which there was an image.
const COVERED: &str = "calls_with_image";
/// Records of images compared with what was written.
const COMPARED: &str = "records_compared";
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

/// Runs until there were enough images, and one behind each call of every recording.
pub fn run(images: &Images) -> Figures {
    let mut figures = Figures::begin("images", images.seed);
    let (begun, found) = (AtomicU64::new(0), Mutex::new(Found::default()));
    let recorders = images.count.div_ceil(RECORDING_IMAGES).min(images.jobs).max(1);
    let done = on_threads(recorders, |recorder| {
        let mut round = 0;
        loop {
            let before = begun.fetch_add(RECORDING_IMAGES, Ordering::SeqCst);
            if before >= images.count {
                return Ok(());
            }
            let dice = Dice(images.seed.wrapping_mul(0x1_0000_0001) ^ (before << 8));
            let home = images.folder.join(format!("recording-{recorder}-{round}"));
            let wanted = RECORDING_IMAGES.min(images.count - before);
            let workers = images.jobs.div_ceil(recorders);
            let violations = one_recording(images, &home, wanted, workers, dice, &found);
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
    report(&mut figures, found.into_inner());
    figures
}

fn report(figures: &mut Figures, Found { mut sums, violations }: Found) {
    let covered = sums.remove(COVERED).unwrap_or_default();
    for (name, sum) in &sums {
        figures.set(name, json!(sum));
    }
    let uncovered = figures.number("calls") - covered;
    figures.set("cuts_without_image", json!(uncovered));
    figures.violations.extend(violations);
    // A run that has found something ends at once.
    if !figures.is_whole() || !figures.violations.is_empty() {
        return;
    }
    for mode in Mode::ALL.into_iter().filter(|mode| !sums.contains_key(mode.name())) {
        figures.violations.push(format!("too weak: no image of mode {}", mode.name()));
    }
    if !sums.contains_key(COMPARED) {
        figures.violations.push("too weak: no record was compared with what was written".to_owned());
    }
    if uncovered > 0 {
        figures.violations.push(format!("too weak: {uncovered} calls without an image"));
    }
}

/// Records a run and takes so many images of it, or one behind each call where that is more. Returns how
/// many were wrong.
fn one_recording(
    images: &Images,
    home: &Path,
    wanted: u64,
    workers: u64,
    mut dice: Dice,
    found: &Mutex<Found>,
) -> io::Result<u64> {
    let recording = prepared(home, || Recording::make(images, home, &mut dice))?;
    {
        let mut found = found.lock();
        found.add("recordings", 1);
        found.add("calls", recording.trace.events.len() as u64);
        for (name, more) in &recording.counts {
            found.add(name, *more);
        }
    }
    let verifier = Verifier::new(&recording)?;
    let (seed, wrong) = (dice.below(u64::MAX), AtomicU64::new(0));
    let work = Work {
        images,
        home,
        wanted,
        workers,
        seed,
        recording: &recording,
        verifier: &verifier,
        found,
        wrong,
    };
    on_threads(workers, |worker| {
        let done = work.images(worker);
        done.inspect_err(|_| {
            work.wrong.fetch_add(1, Ordering::SeqCst);
        })
    })?;
    let mut wrong = work.wrong.into_inner();
    let book = recording.mall.book()?;
    let strange = recording.mall.wrong(&recording.mall.effects()?, &BTreeMap::new());
    let mut found = found.lock();
    found.add("stores_seen_before", verifier.shared());
    if verifier.compared() > 0 {
        found.add(COMPARED, verifier.compared());
    }
    if book.double_effects + book.mismatches > 0 {
        wrong += 1;
        found.violations.push(format!("I10, I13: the downstream has {book:?}"));
    }
    wrong += strange.len() as u64;
    found.violations.extend(strange);
    Ok(wrong)
}

/// Images of one recording.
struct Work<'a> {
    images: &'a Images,
    home: &'a Path,
    wanted: u64,
    workers: u64,
    seed: u64,
    recording: &'a Recording,
    verifier: &'a Verifier<'a>,
    found: &'a Mutex<Found>,
    /// How many were wrong: all end then.
    wrong: AtomicU64,
}

/// Images behind a call: one at least, and all together as many as are wanted.
fn due(place: u64, calls: u64, wanted: u64) -> u64 {
    let images = wanted.max(calls);
    (place + 1) * images / calls - place * images / calls
}

impl Work<'_> {
    /// Goes through all calls, and takes the images behind those that are this worker's.
    fn images(&self, worker: u64) -> io::Result<()> {
        let (trace, is_lying) = (&self.recording.trace, self.images.is_lying);
        let (mut disk, mut promises) = (Disk::default(), Promises::default());
        let (address, calls) = (free_address()?, trace.events.len() as u64);
        for (place, event) in (0_u64..).zip(&trace.events) {
            take(&mut disk, &mut promises, event, trace, is_lying);
            if place % self.workers != worker {
                continue;
            }
            let mut dice = Dice(self.seed ^ (place << 20));
            for number in 0..due(place, calls, self.wanted) {
                if self.wrong.load(Ordering::SeqCst) > 0 {
                    return Ok(());
                }
                self.one_image(place, address, &disk, &promises, &mut dice)?;
                if number == 0 {
                    self.found.lock().add(COVERED, 1);
                }
            }
        }
        if worker == 0 {
            let mut found = self.found.lock();
            found.add("answers", promises.answered as u64);
            found.add("sent_orders", promises.sent.len() as u64);
        }
        Ok(())
    }

    fn one_image(
        &self,
        place: u64,
        address: SocketAddr,
        disk: &Disk,
        promises: &Promises,
        dice: &mut Dice,
    ) -> io::Result<()> {
        let mode = Mode::ALL[dice.below(Mode::ALL.len() as u64) as usize];
        let target = self.home.join(format!("image-{place}"));
        let mut rig = image(&self.recording.rig, disk, &self.recording.trace, mode, dice, &target)?;
        rig.address = address;
        let is_started = dice.below(START_ONE_IN) == 0;
        let started = if is_started { self.verifier.start(&rig)? } else { Ok(()) };
        let checked = started.and_then(|()| self.verifier.open(&rig.data(), promises, is_started));
        let mut found = self.found.lock();
        found.add("images", 1);
        found.add("crashes", 1);
        found.add("started", u64::from(is_started));
        found.add(mode.name(), 1);
        match checked {
            Ok(()) => fs::remove_dir_all(&target)?,
            Err(what) => {
                self.wrong.fetch_add(1, Ordering::SeqCst);
                let kept = target.display();
                found.violations.push(format!("call {place} {}, kept in {kept}: {what}", mode.name()));
            }
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_image_behind_each_call() {
        for (calls, wanted) in [(1, 1), (7, 1), (7, 7), (7, 23), (2_776, 400), (2_776, 4_000)] {
            let all: Vec<u64> = (0..calls).map(|place| due(place, calls, wanted)).collect();
            assert!(all.iter().all(|images| *images > 0), "{calls} calls, {wanted} images");
            assert_eq!(all.iter().sum::<u64>(), wanted.max(calls));
        }
    }

    #[test]
    fn a_run_that_leaves_out_a_call_or_a_mode_is_too_weak() {
        let weak = |covered, modes: &[Mode], compared: &[&'static str]| {
            let (mut figures, mut found) = (Figures::begin("images", 1), Found::default());
            found.add("calls", 9);
            found.add(COVERED, covered);
            modes.iter().for_each(|mode| found.add(mode.name(), 1));
            compared.iter().for_each(|name| found.add(name, 1));
            report(&mut figures, found);
            assert_eq!(figures.number("cuts_without_image"), 9 - covered);
            !figures.violations.is_empty()
        };
        let all = &Mode::ALL;
        assert!(!weak(9, all, &[COMPARED]) && weak(9, all, &[]));
        assert!(weak(8, all, &[COMPARED]) && weak(9, &all[1..], &[COMPARED]));
    }
}
