//! SIGSTOP past every timeout, then SIGCONT: of the node, which then acts on what it remembers, and of
//! the downstream, whose effects come after the node has given up waiting (F15, F19).

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::{Faults, Round, round_of, story};
use crate::process::End;
use crate::rig::{DEADLINE, Mall};
use crate::story::Story;
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
    let attacked = attack(&mut story);
    round_of(story, attacked)
}

fn attack(story: &mut Story<'_>) -> io::Result<Vec<(&'static str, u64)>> {
    let mut process = story.rig.start(&[])?;
    let mut api = story.rig.connect(&mut process)?;
    let (mut stopped_ms, mut seen) = (0, [0, 0]);
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
        let pid = if is_node { process.pid() } else { story.mall.pid() };
        seen[usize::from(!is_node)] += u64::from(is_stopped(pid)?);
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
    Ok(vec![
        ("pauses", PAUSES),
        ("stopped_ms", stopped_ms),
        ("node_seen_stopped", seen[0]),
        ("downstream_seen_stopped", seen[1]),
    ])
}

/// Whether the system says that a process is stopped.
fn is_stopped(pid: Pid) -> io::Result<bool> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    Ok(stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T')))
}
