//! Processes of the binary: started, watched, ended. What they say is shown when a test fails.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use super::files::Files;
use super::wait::until;

/// Lines of a failed process that are shown.
const SHOWN_LINES: usize = 40;

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; -1 after a signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// The same, which must have ended with this code.
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// How the binary is called.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Where it runs.
    pub folder: &'a Path,
    pub arguments: &'a [&'a str],
    /// All of its environment.
    pub variables: &'a [(&'a str, &'a str)],
    /// Nothing when left out.
    pub stdin: Option<&'a Path>,
}

impl<'a> Call<'a> {
    /// A call in the folder of the files.
    pub fn new(files: &'a Files, arguments: &'a [&'a str]) -> Self {
        Self { folder: files.root(), arguments, variables: &[], stdin: None }
    }

    /// Runs to the end.
    pub fn run(&self) -> Ended {
        Process::start(self).ended()
    }
}

/// A process of the binary; killed when dropped.
pub struct Process {
    child: Child,
    says: PathBuf,
    prints: PathBuf,
}

impl Process {
    /// `hongbao up` over the files.
    pub fn up(files: &Files, listen: &str, arguments: &[&str]) -> Self {
        let (config, data) = (files.path("topology.yaml"), files.path("data"));
        let mut all = vec!["up", "--config", &config, "--data-dir", &data, "--listen", listen];
        all.extend(arguments);
        Self::start(&Call::new(files, &all))
    }

    /// The binary in a folder that takes what it says and prints.
    pub fn start(call: &Call<'_>) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let says = call.folder.join(format!("stderr-{number}"));
        let prints = call.folder.join(format!("stdout-{number}"));
        let input = call.stdin.map_or_else(Stdio::null, |path| File::open(path).unwrap().into());
        // Nothing of the caller's surroundings may decide a test.
        let child = Command::new(env!("CARGO_BIN_EXE_hongbao"))
            .args(call.arguments)
            .current_dir(call.folder)
            .env_clear()
            .envs(call.variables.iter().copied())
            .stdin(input)
            .stdout(File::create(&prints).unwrap())
            .stderr(File::create(&says).unwrap())
            .spawn()
            .unwrap();
        Self { child, says, prints }
    }

    /// What it said so far.
    pub fn says(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.says).unwrap()).into_owned()
    }

    /// What it printed so far, whole lines.
    pub fn prints(&self) -> String {
        let text = String::from_utf8_lossy(&std::fs::read(&self.prints).unwrap()).into_owned();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[..whole].to_owned()
    }

    /// Waits until it says something in one line that stands between `before` and `after`, or the
    /// line's end. It must not end before.
    pub fn until_says(&mut self, before: &str, after: &str) -> String {
        until(&format!("the process says {before}...{after}"), || {
            let ended = self.child.try_wait().unwrap();
            let says = self.says();
            // Lines come in pieces; the last may not be whole.
            let mut lines = says.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            let found = lines.find_map(|line| {
                let rest = line.split_once(before)?.1;
                if after.is_empty() { Some(rest) } else { Some(rest.split_once(after)?.0) }
            });
            let found = found.map(str::to_owned);
            assert!(found.is_some() || ended.is_none(), "it ended, {ended:?}, and said:\n{says}");
            found
        })
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Any signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> Ended {
        let status = until("the process ends", || self.child.try_wait().unwrap());
        Ended {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8(std::fs::read(&self.prints).unwrap()).unwrap(),
            stderr: self.says(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let says = self.says();
            let lines: Vec<&str> = says.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!("--- the end of what process {} said\n{}\n---", self.child.id(), shown.join("\n"));
        }
    }
}

/// Runs the binary to its end in the folder of the files.
pub fn run(files: &Files, arguments: &[&str]) -> Ended {
    Call::new(files, arguments).run()
}
