//! SIGSTOP past every timeout, then SIGCONT: of the node, which then acts on what it remembers, and of
//! the downstream, whose effects come after the node has given up waiting (F15, F19).

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::{Faults, Round, round_of, story};
use crate::process::End;
use crate::rig::{DEADLINE, Mall};
use crate::wait::{Dice, pause};

const PAUSES: u64 = 6;
const BATCHES: u64 = 12;
/// The downstream's timeout is a fifth of a second.
const STOPPED_MS: (u64, u64) = (300, 1_200);

/// Some pauses, then the comparison.
pub fn round(faults: &Faults, home: &Path, dice: Dice) -> io::Result<Round> {
    let mut mall = Mall::start(&faults.program, home, "flaky", faults.seed)?;
    let address = mall.address;
    let mut story = story(faults, home, &mut mall, address, dice)?;
    let mut process = story.rig.start(&[])?;
    let mut api = story.rig.connect(&mut process)?;
    let mut stopped_ms = 0;
    for number in 0..PAUSES {
        for _ in 0..BATCHES {
            let Some(open) = api.take() else { break };
            api = story.send(open);
        }
        let time_ms = STOPPED_MS.0 + story.dice.below(STOPPED_MS.1);
        stopped_ms += time_ms;
        let is_node = number % 2 == 0;
        let signal = |signal| if is_node { process.signal(signal) } else { story.mall.signal(signal) };
        signal(Signal::STOP);
        pause(Duration::from_millis(time_ms));
        signal(Signal::CONT);
        if api.is_none() {
            api = story.rig.connect(&mut process)?;
        }
    }
    process.signal(Signal::TERM);
    let end = process.ends_within(DEADLINE)?;
    if end != Some(End::Code(0)) {
        story.violated(format!("a graceful stop ended with {end:?}; {}", process.tells()));
    }
    drop(process);
    story.compare()?;
    Ok(round_of(story, vec![("pauses".to_owned(), PAUSES), ("stopped_ms".to_owned(), stopped_ms)]))
}
