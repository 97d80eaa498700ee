//! A bad network between the node and its downstream: whatever it does, no order takes effect twice,
//! and each one ends (I10, I11).

use std::io;
use std::path::Path;
use std::time::Duration;

use super::proxy::{NAMES, Proxy};
use super::{Faults, Round, round_of, story};
use crate::rig::Mall;
use crate::story::Story;
use crate::topology::Keys;
use crate::wait::{Dice, pause};

const BATCHES: u64 = 150;
const PACE: Duration = Duration::from_millis(8);

/// Some awards through a hostile proxy, then the comparison with the proxy healed.
pub fn round(faults: &Faults, home: &Path, dice: Dice) -> io::Result<Round> {
    round_with(faults, home, dice, "steady")
}

/// The same in front of a downstream on which a resend costs money.
pub fn round_without_keys(faults: &Faults, home: &Path, dice: Dice) -> io::Result<Round> {
    round_with(faults, home, dice, Keys::None.flaky())
}

fn round_with(faults: &Faults, home: &Path, mut dice: Dice, profile: &str) -> io::Result<Round> {
    let mut mall = Mall::start(&faults.program, home, profile, faults.seed)?;
    let proxy = Proxy::start(mall.address, dice.below(u64::MAX))?;
    let mut story = story(faults, home, &mut mall, proxy.address, dice)?;
    let attacked = attack(&mut story, &proxy);
    round_of(story, attacked)
}

fn attack(story: &mut Story<'_>, proxy: &Proxy) -> io::Result<Vec<(&'static str, u64)>> {
    let mut process = story.rig.start(&[])?;
    let mut api = story.rig.connect(&mut process)?;
    for _ in 0..BATCHES {
        let Some(open) = api.take() else {
            story.violated(format!("the node broke a connection; {}", process.tells()));
            break;
        };
        api = story.send(open);
        pause(PACE);
    }
    process.kill()?;
    story.crashes += 1;
    proxy.heal();
    Ok(NAMES.into_iter().zip(proxy.counts()).collect())
}
