//! How far an audit is, on stderr: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use hongbao_engine::clock::{Clock, SystemClock};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::Output;
use crate::output::grouped;

use super::partition::Audited;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Time between two plain lines.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Shows how many records were folded.
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
    total: u64,
    done: AtomicU64,
}

impl Progress {
    /// Of an audit that folds `total` records.
    pub fn new(total: u64, output: Output) -> anyhow::Result<Self> {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal && output == Output::Text {
            let template = "{bar:30} {human_pos}/{human_len} records  {per_sec}  {eta}";
            ProgressBar::new(total)
                .with_style(ProgressStyle::with_template(template).context("progress bar")?)
        } else {
            ProgressBar::hidden()
        };
        Ok(Self { bar, plain: !terminal && output == Output::Text, total, done: AtomicU64::new(0) })
    }

    /// To be raised by what was folded.
    pub fn done(&self) -> &AtomicU64 {
        &self.done
    }

    /// Shows progress until all senders are gone, and returns what they sent.
    pub fn follow(&self, told: &Receiver<Audited>) -> Vec<Audited> {
        let clock = SystemClock::new();
        let (mut parts, mut reported) = (Vec::new(), Duration::ZERO);
        loop {
            match told.recv_timeout(LOOK_EVERY) {
                Ok(part) => parts.push(part),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let (done, elapsed) = (self.done.load(Ordering::Relaxed), clock.monotonic());
            self.bar.set_position(done);
            if self.plain && elapsed.saturating_sub(reported) >= REPORT_EVERY {
                reported = elapsed;
                let seconds = elapsed.as_secs();
                eprintln!("checked {} of {} records in {seconds} s", grouped(done), grouped(self.total));
            }
        }
        self.bar.finish_and_clear();
        parts
    }
}
