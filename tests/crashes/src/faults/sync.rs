//! A sync that fails once: the node must stop acknowledging and say so, and never sync that file
//! again as if nothing had been lost (F3, I25, I26).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::{Faults, Round, round_of, story};
use crate::images::trace::{Event, Trace};
use crate::process::Process;
use crate::rig::{Mall, Rig};
use crate::story::Story;
use crate::wait::Dice;

/// The sync that fails is one of the first so many.
const SYNCS: u64 = 260;
const BATCHES: u64 = 250;
/// An answer to what was durable before may still be on its way.
const ANSWERS_AFTER: usize = 1;

/// One failed sync, then a start with a sound disk and the comparison.
pub fn round(faults: &Faults, home: &Path, mut dice: Dice) -> io::Result<Round> {
    let mut mall = Mall::start(&faults.program, home, "steady", faults.seed)?;
    let address = mall.address;
    let failing = (1 + dice.below(SYNCS)).to_string();
    let mut story = story(faults, home, &mut mall, address, dice)?;
    let attacked = attack(faults, &mut story, &failing);
    round_of(story, attacked)
}

fn attack(faults: &Faults, story: &mut Story<'_>, failing: &str) -> io::Result<Vec<(&'static str, u64)>> {
    let (root, record) = (story.rig.path("data"), story.rig.path("trace"));
    let preload = faults.preload.to_string_lossy().into_owned();
    let mut process = story.rig.start(&[
        ("LD_PRELOAD", preload.as_str()),
        ("HONGBAO_TRACE_ROOT", root.as_str()),
        ("HONGBAO_TRACE", record.as_str()),
        ("HONGBAO_FAIL_SYNC", failing),
    ])?;
    let mut api = story.rig.connect(&mut process)?;
    for _ in 0..BATCHES {
        let Some(open) = api.take() else { break };
        api = story.send(open);
        if says_stopped(&story.rig, &mut process)? {
            break;
        }
    }
    let has_stopped = says_stopped(&story.rig, &mut process)?;
    process.kill()?;
    story.crashes += 1;
    let trace = Trace::read(record.as_ref())?;
    let place = trace.events.iter().position(|event| matches!(event, Event::FailedSync { .. }));
    let Some(place) = place else { return Ok(vec![("not_reached", 1)]) };
    let (path, is_synced_again, answers) = after_failure(&trace, place);
    if !has_stopped {
        story.violated(format!(
            "I26: sync {failing}, of {path}, failed, and the node goes on; {}",
            process.tells()
        ));
    }
    if is_synced_again {
        story.violated(format!("I25: {path} was synced again after a sync had failed"));
    }
    if path.starts_with("log/") && answers > ANSWERS_AFTER {
        story.violated(format!("I25: {answers} answers after sync {failing}, of {path}, had failed"));
    }
    let place = match path.split('/').next() {
        Some("log") => "failed_in_log",
        Some("ledger") => "failed_in_ledger",
        Some("state") => "failed_in_state",
        _ => "failed_elsewhere",
    };
    Ok(vec![("failed", 1), (place, 1)])
}

/// The file, whether it was synced again, and how many answers left behind the failure.
fn after_failure(trace: &Trace, place: usize) -> (String, bool, usize) {
    let Event::FailedSync { inode } = trace.events[place] else { return (String::new(), false, 0) };
    let mut names = BTreeMap::new();
    for event in &trace.events[..place] {
        if let Event::Create { inode, path } = event {
            names.insert(*inode, path.clone());
        }
    }
    let after = &trace.events[place + 1..];
    // A file that is begun anew holds nothing of what may be lost.
    let first = after.iter().find_map(|event| match event {
        Event::Sync { inode: other } if *other == inode => Some(true),
        Event::Truncate { inode: other, len: 0 } if *other == inode => Some(false),
        _ => None,
    });
    let is_synced_again = first == Some(true);
    let is_answer = |event: &&Event| matches!(event, Event::Send { part: 0, data, .. } if trace.data(data).starts_with(b"HTTP/1.1 202"));
    let answers = after.iter().filter(is_answer).count();
    (names.get(&inode).cloned().unwrap_or_default(), is_synced_again, answers)
}

/// Whether the node has ended or says that a part of it has halted.
fn says_stopped(rig: &Rig, process: &mut Process) -> io::Result<bool> {
    let Some(mut api) = rig.connect(process)? else { return Ok(true) };
    Ok(api.get("/readyz").is_ok_and(|answer| answer.body.starts_with(b"halted")))
}
