//! A sound data folder, and what a node makes of a damaged copy of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::Flips;
use super::damage::{self, Damage};
use super::part::Part;
use super::shown::{Shown, Sound};
use super::torn::may_lose;
use super::verdict::{Ran, Verdict, is_cut, refuses};
use crate::finding::{found, told};
use crate::http::Connection;
use crate::process::{End, Process};
use crate::rig::{DEADLINE, Mall, MallBook, Pendants, Rig, until};
use crate::story::{log_of, unknown_outcomes};
use crate::traffic::Traffic;
use crate::wait::{Dice, pause};

/// What earlier processes said is not for a copy.
const OWN_LOGS: [&str; 2] = ["node.log", "check.log"];
/// A node that breaks a connection has ended, or is about to.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const BATCHES: u32 = 60;
const BATCH_ITEMS: u64 = 15;

/// A data folder that was written by a node which stopped, or was killed.
pub struct Base {
    rig: Rig,
    mall: Mall,
    settled: MallBook,
    /// What the undamaged folder shows.
    sound: Option<Sound>,
    /// What every run counts, by name.
    pub figures: Vec<(&'static str, u64)>,
}

/// How a node stands.
enum Standing {
    Up(Shown),
    Ended(End),
}

impl Base {
    /// Makes a folder, and lets everything in it end once at its downstream.
    pub fn make(flips: &Flips, home: &Path, job: u64, is_stopped: bool) -> io::Result<Self> {
        let name = if is_stopped { "stopped" } else { "killed" };
        fs::create_dir_all(home)?;
        let mall = Mall::start(&flips.program, home, "steady", flips.seed ^ job)?;
        let rig = Rig::new(&flips.program, home.join(name), 2, mall.address, mall.keys, Pendants::Within)?;
        let mut traffic = Traffic::new(format!("j{job}"), flips.seed ^ job);
        let mut process = rig.start(&[])?;
        let mut api = listening(&rig, &mut process)?;
        for _ in 0..BATCHES {
            let batch = traffic.batch(BATCH_ITEMS);
            let answer = api.post("/v1/awards", &batch);
            let answer = answer.map_err(|error| told(&error, &process.tells()))?;
            match answer.status {
                200 | 202 => traffic.acknowledge(),
                status => return Err(found(format!("awards were answered with {status}"))),
            }
            pause(Duration::from_millis(2));
        }
        if is_stopped {
            rig.settled(&mut api)?;
            process.signal(Signal::TERM);
            if process.ends_within(DEADLINE)? != Some(End::Code(0)) {
                return Err(found(format!("a graceful stop: {}", process.tells())));
            }
        } else {
            process.kill()?;
        }
        let figures = vec![
            ("awards", traffic.acknowledged().len() as u64),
            ("duplicates", traffic.repeats),
            ("unknown_outcomes", unknown_outcomes(&log_of(&rig.data())?)?),
            ("crashes", u64::from(!is_stopped)),
        ];
        let mut base = Self { rig, mall, settled: MallBook::default(), sound: None, figures };
        // What the sound folder comes to: afterwards the downstream has nothing to learn from it.
        let whole = base.copy(&format!("whole-{name}"))?;
        let mut process = whole.start(&[])?;
        let mut api = listening(&whole, &mut process)?;
        whole.settled(&mut api)?;
        base.sound = Some(Sound::of(&mut api, &base.rig.data())?);
        base.settled = base.mall.book()?;
        Ok(base)
    }

    fn copy(&self, name: &str) -> io::Result<Rig> {
        let target = self.rig.folder.with_file_name(name);
        copy_all(&self.rig.folder, &target)?;
        Ok(self.rig.moved_to(target))
    }

    /// A copy with one changed byte.
    pub fn damaged(&self, number: u64, dice: &mut Dice) -> io::Result<(Rig, Damage)> {
        let trial = self.copy(&format!("flip-{number}"))?;
        let damage = damage::inflict(&trial.data(), number, dice)?;
        Ok((trial, damage))
    }

    /// Starts a node over a damaged folder, looks at everything that it shows, and audits what it left.
    pub fn judge(&self, trial: &Rig, damage: &Damage) -> io::Result<Verdict> {
        let part = Part::of(damage);
        let mut process = trial.start(&[])?;
        let standing = match self.stands(trial, &mut process, damage, &part) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Ok(Verdict::Different(format!("hangs: {error}; {}", process.tells())));
            }
            standing => standing?,
        };
        if !matches!(standing, Standing::Ended(_)) {
            process.kill()?;
        }
        let says = process.says();
        if says.contains("panicked") {
            return Ok(Verdict::Different(format!("a panic:\n{says}")));
        }
        let (audit, printed) = trial.check()?;
        let printed = &*printed;
        let shown = match standing {
            Standing::Ended(End::Code(code)) if code > 0 => {
                return Ok(refuses(&says, damage, &part, audit, printed));
            }
            Standing::Ended(end) => return Ok(Verdict::Different(format!("ended with {end:?}:\n{says}"))),
            Standing::Up(shown) => shown,
        };
        let is_log = matches!(damage.kind, "segment" | "end");
        let may_lose = if is_log { may_lose(&self.rig.data(), damage)? } else { None };
        let (shown, sound, said) = (&shown, &self.sound()?.counts, &*says);
        Ok(Ran { damage, part: &part, shown, sound, said, audit, printed, may_lose }.verdict())
    }

    fn sound(&self) -> io::Result<&Sound> {
        self.sound.as_ref().ok_or_else(|| io::Error::other("nobody has looked at the undamaged folder"))
    }

    /// Waits until the node shows all that it can, or is gone. What could change the keys of orders gets time
    /// to send some.
    fn stands(
        &self,
        trial: &Rig,
        process: &mut Process,
        damage: &Damage,
        part: &Part,
    ) -> io::Result<Standing> {
        let Some(mut api) = trial.connect(process)? else {
            return Ok(Standing::Ended(process.ended()?.unwrap_or(End::Code(-1))));
        };
        let sound = self.sound()?;
        let may_resend = damage.kind == "folder";
        until("the node shows what is sound, has halted or is gone", || {
            let is_cut = is_cut(&process.says(), damage);
            let looked = sound.look(&mut api, part, is_cut).and_then(|shown| match shown {
                Some(shown) if may_resend && shown.halted.is_none() => {
                    Ok(Rig::are_settled(&mut api)?.map(|_| shown))
                }
                shown => Ok(shown),
            });
            match looked {
                Ok(shown) => Ok(shown.map(Standing::Up)),
                Err(_) => {
                    let end = process.ends_within(GONE_WITHIN)?;
                    // A harness that was held up for long finds its connection closed.
                    if end.is_none() {
                        match Connection::open(trial.address) {
                            Ok(opened) => api = opened,
                            Err(_) => return Ok(process.ended()?.map(Standing::Ended)),
                        }
                    }
                    Ok(end.map(Standing::Ended))
                }
            }
        })
    }

    /// Whether the downstream learned anything from damaged folders: an order under another key is
    /// an order paid twice (I10, I13).
    pub fn mall_changed(&self) -> io::Result<Option<String>> {
        let now = self.mall.book()?;
        let is_same = now.effects == self.settled.effects && now.double_effects == 0 && now.mismatches == 0;
        Ok((!is_same).then(|| format!("I10, I13: the downstream had {:?}, now {now:?}", self.settled)))
    }
}

/// A connection to a node that must come up.
fn listening(rig: &Rig, process: &mut Process) -> io::Result<Connection> {
    let connected = rig.connect(process)?;
    connected.ok_or_else(|| found(format!("the node does not start; {}", process.tells())))
}

fn copy_all(from: &Path, to: &PathBuf) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else if !OWN_LOGS.iter().any(|name| entry.file_name() == *name) {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
