//! `hongbao produce`: awards from NDJSON or an Avro object container file to a server.

mod input;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, anyhow};
use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::award_json;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::sync::watch;

use self::input::{Input, Item};
use crate::cli::{Global, Output, ProduceArgs};
use crate::client::{Client, problem_text};
use crate::exit::{FAILED, Failure, INTERRUPTED, OK, Outcome, PARTIAL};
use crate::output::{grouped, print_json, print_lines};

/// Seconds that a request waits for the verdicts of its items.
const WAIT_S: u32 = 10;
/// Tries of one request before the command gives up.
const TRIES_MAX: u32 = 8;
/// Bytes of a request, unless one award alone has more.
const REQUEST_BYTES: usize = 2 * 1024 * 1024;
/// Bytes that a server takes at a time.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// `read` is the sum of the others.
#[derive(Debug, Default)]
struct Sums {
    read: u64,
    queued: u64,
    accepted: u64,
    duplicate: u64,
    conflict: u64,
    rejected: u64,
    malformed: u64,
    /// Of partitions that have stopped; not taken.
    halted: u64,
}

/// Writes what failed, one JSON object a line; the file is made at the first failure.
struct Failures<'a> {
    path: &'a std::path::Path,
    file: Option<BufWriter<File>>,
    count: u64,
}

impl Failures<'_> {
    fn add(&mut self, failure: &Value) -> Result<(), Failure> {
        if self.file.is_none() {
            let file = File::create(self.path)
                .with_context(|| format!("cannot write failures to {}", self.path.display()))?;
            self.file = Some(BufWriter::new(file));
        }
        if let Some(file) = &mut self.file {
            writeln!(file, "{failure}")?;
        }
        self.count += 1;
        Ok(())
    }
}

struct Producer<'a> {
    client: Client,
    sums: Sums,
    failures: Failures<'a>,
    lines: Vec<u8>,
    /// Read and not answered.
    pending: u64,
    batch: u64,
    bar: ProgressBar,
    stop: watch::Receiver<bool>,
    /// Numbers of what was taken last, and of the last that is pending.
    last: u64,
    last_pending: u64,
    /// Everything up to this number is answered or noted as malformed.
    done: u64,
}

/// How the reading and sending ended.
enum End {
    All,
    Interrupted,
}

/// Publishes everything; 4 when some items failed. However it ends, the counts are printed.
pub fn run(global: &Global, args: &ProduceArgs) -> Outcome {
    let bar = if std::io::stderr().is_terminal() && global.output == Output::Text {
        let style = ProgressStyle::with_template("{spinner} {human_pos} awards  {per_sec}  {elapsed}");
        ProgressBar::new_spinner().with_style(style.context("progress bar")?)
    } else {
        ProgressBar::hidden()
    };
    let client = Client::new(global)?;
    let input = input::open(args.file.as_deref())?;
    let mut producer = Producer {
        client,
        sums: Sums::default(),
        failures: Failures { path: &args.errors, file: None, count: 0 },
        lines: Vec::new(),
        pending: 0,
        batch: u64::from(args.batch),
        bar,
        stop: input.stop.clone(),
        last: 0,
        last_pending: 0,
        done: 0,
    };
    let end = producer.take_all(&input);
    producer.bar.finish_and_clear();
    producer.report(global.output, &end, input.unit)?;
    match end? {
        End::Interrupted => Ok(INTERRUPTED),
        End::All if producer.failures.count > 0 => Ok(PARTIAL),
        End::All => Ok(OK),
    }
}

impl Producer<'_> {
    fn take_all(&mut self, input: &Input) -> Result<End, Failure> {
        loop {
            let item = input.items.recv().unwrap_or(Item::End);
            if *self.stop.borrow() {
                return Ok(End::Interrupted);
            }
            let goes_on = match item {
                Item::Award(number, award) => {
                    self.last = number;
                    self.take(number, &award)?
                }
                Item::Malformed { number, problem, input } => {
                    self.last = number;
                    self.malformed(number, &input, &problem)?;
                    true
                }
                Item::Failed(error) => {
                    self.flush_all()?;
                    return Err(Failure::new(FAILED, error));
                }
                Item::End => return Ok(if self.flush_all()? { End::All } else { End::Interrupted }),
                Item::Interrupted => false,
            };
            if !goes_on {
                return Ok(End::Interrupted);
            }
            if self.pending == 0 {
                self.done = self.last;
            }
        }
    }

    fn malformed(&mut self, number: u64, input: &str, problem: &Value) -> Result<(), Failure> {
        self.sums.read += 1;
        self.sums.malformed += 1;
        self.failures.add(&json!({
            "status": "malformed", "number": number, "problem": problem, "input": input,
        }))
    }

    /// Takes an award, and sends once there are enough; false when interrupted.
    fn take(&mut self, number: u64, award: &AwardBuf) -> Result<bool, Failure> {
        let line = award_json::to_json(&award.as_award());
        if line.len() >= REQUEST_BYTES_MAX {
            let message = format!("as JSON this award is above the {REQUEST_BYTES_MAX} bytes of a request");
            self.malformed(number, "", &json!({"pointer": "", "code": "too_large", "message": message}))?;
            return Ok(true);
        }
        if self.lines.len() + line.len() >= REQUEST_BYTES && !self.flush()? {
            return Ok(false);
        }
        self.sums.read += 1;
        self.last_pending = number;
        self.lines.extend_from_slice(line.as_bytes());
        self.lines.push(b'\n');
        self.pending += 1;
        if self.pending >= self.batch { self.flush() } else { Ok(true) }
    }

    /// Sends what is pending. Sending again is harmless: the order number makes it a duplicate.
    /// False when a signal came before the answer.
    fn flush(&mut self) -> Result<bool, Failure> {
        if self.pending == 0 {
            return Ok(true);
        }
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            let Some(answer) = self.client.publish_unless(&mut self.stop, self.lines.clone(), WAIT_S)? else {
                return Ok(false);
            };
            if answer.status.is_success() {
                break answer.body;
            }
            if answer.body["code"] == "partition_halted" {
                self.set_aside(&answer.body)?;
                if self.pending == 0 {
                    self.done = self.last_pending;
                    return Ok(true);
                }
                continue;
            }
            let passes = answer.status.as_u16() == 503 || answer.status.as_u16() == 429;
            if !passes || tries >= TRIES_MAX {
                return Err(Failure::new(FAILED, anyhow!(problem_text(&answer.body))));
            }
            let pause = Duration::from_secs(answer.retry_after_s.unwrap_or(1).min(10));
            if !self.client.pause_unless(&mut self.stop, pause) {
                return Ok(false);
            }
        };
        let lines = std::mem::take(&mut self.lines);
        let sent = lines.split(|byte| *byte == b'\n');
        let items = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
        if items.len() as u64 != self.pending {
            let error = anyhow!("the server answered {} of {} awards", items.len(), self.pending);
            return Err(Failure::new(FAILED, error));
        }
        for (item, line) in items.iter().zip(sent) {
            self.count(item, line)?;
        }
        self.bar.inc(self.pending);
        self.pending = 0;
        self.done = self.last_pending;
        Ok(true)
    }

    /// Takes the awards that an answer names out of what is pending, and notes them as failures: their
    /// partition has stopped, and the others need not wait for it.
    fn set_aside(&mut self, problem: &Value) -> Result<(), Failure> {
        let named = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
        let index = |fault: &Value| fault["pointer"].as_str()?.strip_prefix('/')?.parse::<usize>().ok();
        let named: BTreeSet<usize> = named.iter().filter_map(index).collect();
        if named.is_empty() {
            return Err(Failure::new(FAILED, anyhow!(problem_text(problem))));
        }
        let lines = std::mem::take(&mut self.lines);
        for (index, line) in lines.split_inclusive(|byte| *byte == b'\n').enumerate() {
            if !named.contains(&index) {
                self.lines.extend_from_slice(line);
                continue;
            }
            let input: Value = serde_json::from_slice(line).unwrap_or_default();
            self.failures.add(&json!({"status": "halted", "code": problem["code"], "input": input}))?;
            self.pending -= 1;
            self.sums.halted += 1;
        }
        Ok(())
    }

    /// As [`Self::flush`], with nothing to follow.
    fn flush_all(&mut self) -> Result<bool, Failure> {
        let is_sent = self.flush()?;
        if is_sent {
            self.done = self.last;
        }
        Ok(is_sent)
    }

    fn count(&mut self, item: &Value, line: &[u8]) -> Result<(), Failure> {
        let status = item["status"].as_str().unwrap_or_default();
        match status {
            "queued" => self.sums.queued += 1,
            "accepted" => self.sums.accepted += 1,
            "duplicate" => self.sums.duplicate += 1,
            failed => {
                *if failed == "conflict" { &mut self.sums.conflict } else { &mut self.sums.rejected } += 1;
                let input: Value = serde_json::from_slice(line).unwrap_or_default();
                self.failures.add(&json!({"status": failed, "code": item["code"], "input": input}))?;
            }
        }
        Ok(())
    }

    /// Prints the counts, where failures are, and where to go on.
    fn report(&mut self, output: Output, end: &Result<End, Failure>, unit: &str) -> Result<(), Failure> {
        if let Some(file) = &mut self.failures.file {
            file.flush()?;
        }
        let sums = &self.sums;
        let counts = [
            ("read", sums.read),
            ("accepted", sums.accepted),
            ("duplicate", sums.duplicate),
            ("conflict", sums.conflict),
            ("rejected", sums.rejected),
            ("malformed", sums.malformed),
            ("queued", sums.queued),
            ("unanswered", self.pending + sums.halted),
        ];
        if output == Output::Text {
            let shown = counts.iter().map(|(name, count)| format!("{name} {}", grouped(count)));
            print_lines(&[shown.collect::<Vec<_>>().join("  ")])?;
        } else {
            let fields = counts.into_iter().chain([("resume_after", self.done)]);
            let fields = fields.map(|(name, count)| (name.to_owned(), json!(count)));
            print_json(&Value::Object(fields.collect()), output)?;
        }
        if self.failures.count > 0 {
            eprintln!("details of the {} failures: {}", self.failures.count, self.failures.path.display());
        }
        if !matches!(end, Ok(End::All)) {
            let done = self.done;
            eprintln!(
                "stopped early: everything up to {unit} {done} is answered; resume behind it (whatever is \
                 sent again is a duplicate and harms nothing)"
            );
        }
        Ok(())
    }
}
