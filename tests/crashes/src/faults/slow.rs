//! Syncs that take long: nothing is acknowledged earlier than a sync takes, nobody takes the node for
//! dead or halted, and whatever waits for the disk ends (F35, I25).

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::{Faults, Round, round_of, story};
use crate::finding::found;
use crate::images::trace::{Event, Trace};
use crate::process::End;
use crate::rig::{DEADLINE, Mall};
use crate::story::Story;
use crate::wait::{Dice, elapsed};

/// Time of each sync: from, and how much more at most. Commits are 10 ms apart.
const SYNC_MS: (u64, u64) = (15, 60);
const BATCHES: u64 = 25;

/// Some awards on a slow disk, a graceful stop or a kill there, then the comparison on a fast one.
pub fn round(faults: &Faults, home: &Path, dice: Dice) -> io::Result<Round> {
    let mut mall = Mall::start(&faults.program, home, "flaky", faults.seed)?;
    let address = mall.address;
    let mut story = story(faults, home, &mut mall, address, dice)?;
    let attacked = attack(faults, &mut story);
    round_of(story, attacked)
}

fn attack(faults: &Faults, story: &mut Story<'_>) -> io::Result<Vec<(&'static str, u64)>> {
    let (root, record) = (story.rig.path("data"), story.rig.path("trace"));
    let preload = faults.preload.to_string_lossy().into_owned();
    let sync_ms = SYNC_MS.0 + story.dice.below(SYNC_MS.1);
    let mut process = story.rig.start(&[
        ("LD_PRELOAD", preload.as_str()),
        ("HONGBAO_TRACE_ROOT", root.as_str()),
        ("HONGBAO_TRACE", record.as_str()),
        ("HONGBAO_SYNC_MS", sync_ms.to_string().as_str()),
    ])?;
    let mut api = story.rig.connect(&mut process)?;
    let (mut slow, mut fast) = (0, 0);
    for _ in 0..BATCHES {
        let Some(mut open) = api.take() else {
            return Err(found(format!("F35: the node broke a connection; {}", process.tells())));
        };
        let standing = open.get("/readyz")?.body;
        if standing.starts_with(b"halted") {
            let standing = String::from_utf8_lossy(&standing).into_owned();
            return Err(found(format!("F35: with syncs of {sync_ms} ms: {standing}")));
        }
        let began = elapsed();
        api = story.send(open);
        let is_late = elapsed().saturating_sub(began) >= Duration::from_millis(sync_ms);
        if !story.traffic.is_open() {
            *(if is_late { &mut slow } else { &mut fast }) += 1;
        }
    }
    if fast > 0 {
        story.violated(format!("I25: {fast} answers came before a sync of {sync_ms} ms can have ended"));
    }
    if story.dice.below(2) == 0 {
        process.signal(Signal::TERM);
        let end = process.ends_within(DEADLINE)?;
        if end != Some(End::Code(0)) {
            story.violated(format!("F35: a graceful stop ended with {end:?}; {}", process.tells()));
        }
    } else {
        process.kill()?;
        story.crashes += 1;
    }
    let trace = Trace::read(record.as_ref())?;
    let syncs = trace.events.iter().filter(|event| matches!(event, Event::Sync { .. })).count() as u64;
    Ok(vec![("slow_syncs", syncs), ("slow_answers", slow)])
}
