//! Processes of the binary under test.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::finding::caused;
use crate::wait::{elapsed, pause};

const LOOK_EVERY: Duration = Duration::from_millis(1);
/// What one look may take of a deadline: more than the longest wait for an answer does.
const STEP_MAX: Duration = Duration::from_secs(40);
/// A process that was sent SIGKILL is gone by then, unless the system holds it.
const KILLED_WITHIN: Duration = Duration::from_secs(60);
const GONE_EVERY: Duration = Duration::from_micros(200);
/// Who has broken a connection by ending can be told from who goes on by then.
const ENDED_WITHIN: Duration = Duration::from_secs(2);
/// Lines shown of what a process said.
const LINES: usize = 12;

/// A process; killed when dropped.
pub struct Process {
    child: Child,
    says: PathBuf,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Code(i32),
    /// By SIGKILL.
    Killed,
    /// By another signal.
    Signal(i32),
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(9)) => Self::Killed,
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

impl Process {
    /// Starts a program whose whole environment is `variables`, and what it says goes into `says`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
        says: &Path,
    ) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(says)?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", program.display())))?;
        Ok(Self { child, says: says.to_owned() })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it and its predecessors in the same file said.
    #[must_use]
    pub fn says(&self) -> String {
        std::fs::read(&self.says)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// Of the system.
    pub fn ended(&mut self) -> io::Result<Option<End>> {
        Ok(self.child.try_wait()?.map(End::from))
    }

    /// Waits for its end for at most so long.
    ///
    /// # Errors
    /// Of the system.
    pub fn ends_within(&mut self, time: Duration) -> io::Result<Option<End>> {
        self.ends_within_looking(time, LOOK_EVERY)
    }

    fn ends_within_looking(&mut self, time: Duration, every: Duration) -> io::Result<Option<End>> {
        let mut patience = Patience::of(time);
        loop {
            let ended = self.ended()?;
            if ended.is_some() || patience.is_over() {
                return Ok(ended);
            }
            pause(every);
        }
    }

    /// How it stands and what it said last, for a message.
    #[must_use]
    pub fn tells(&mut self) -> String {
        let stands = match self.ends_within(ENDED_WITHIN) {
            Ok(Some(end)) => format!("it ended with {end:?}"),
            Ok(None) => format!("it goes on as process {}", self.pid().as_raw_nonzero()),
            Err(error) => format!("nobody knows how it stands: {error}"),
        };
        format!("{stands}; it said:\n{}", tail(&self.says(), LINES))
    }

    /// Sends a signal. One that has ended already does not mind.
    pub fn signal(&self, signal: Signal) {
        _ = kill_process(self.pid(), signal).is_err();
    }

    /// SIGKILL; returns when it is gone.
    ///
    /// # Errors
    /// Of the system, and when it does not go.
    pub fn kill(&mut self) -> io::Result<End> {
        if let Some(end) = self.ended()? {
            return Ok(end);
        }
        self.signal(Signal::KILL);
        let gone = self.ends_within_looking(KILLED_WITHIN, GONE_EVERY)?;
        gone.ok_or_else(|| too_slow(format!("process {} outlives SIGKILL", self.child.id())))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("left behind: {error}");
        }
    }
}

/// A deadline. Time in which the whole machine, or this harness, stood still counts little.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    left: Duration,
    looked: Duration,
}

impl Patience {
    /// So long from now.
    #[must_use]
    pub fn of(time: Duration) -> Self {
        Self { left: time, looked: elapsed() }
    }

    /// Whether it is over. To be asked again and again.
    pub fn is_over(&mut self) -> bool {
        let now = elapsed();
        self.left = self.left.saturating_sub(now.saturating_sub(self.looked).min(STEP_MAX));
        self.looked = now;
        self.left.is_zero()
    }
}

/// What did not happen in time.
pub fn too_slow(what: impl Into<String>) -> io::Error {
    caused(io::Error::new(io::ErrorKind::TimedOut, what.into()))
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Ports that the system never gives to clients: one that knocks at a port of those where nobody
/// listens may be connected to itself.
const PORTS: (u16, u16) = (12_000, 30_000);

/// An address on the loopback that nobody uses now.
///
/// # Errors
/// All are taken.
pub fn free_address() -> io::Result<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let span = u32::from(PORTS.1 - PORTS.0);
    // A node that is down for a moment holds no port, so that each harness has a host of its own.
    let [_, _, third, fourth] = std::process::id().to_be_bytes();
    for _ in 0..span {
        let drawn = NEXT.fetch_add(1, Ordering::Relaxed) % span;
        let address = SocketAddr::from(([127, 1, third, fourth], PORTS.0 + drawn as u16));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
