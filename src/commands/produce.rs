//! `hongbao produce`: awards from NDJSON or an Avro object container file to a server.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::time::Duration;

use anyhow::{Context, anyhow};
use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::award_json::{self, parse_award};
use hongbao_schemas::container;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::{Global, Output, ProduceArgs};
use crate::client::{Client, problem_text};
use crate::exit::{FAILED, Failure, OK, Outcome, PARTIAL};
use crate::output::{grouped, print_json, print_lines};

/// Seconds that a request waits for the verdicts of its items.
const WAIT_S: u32 = 10;
/// Tries of one request before the command gives up.
const TRIES_MAX: u32 = 8;
const LINE_BYTES_MAX: usize = 2 * 1024 * 1024;

#[derive(Debug, Default)]
struct Sums {
    read: u64,
    queued: u64,
    accepted: u64,
    duplicate: u64,
    conflict: u64,
    rejected: u64,
    malformed: u64,
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
    pending: u64,
    batch: u64,
    bar: ProgressBar,
}

/// Publishes everything; 4 when some items failed.
pub fn run(global: &Global, args: &ProduceArgs) -> Outcome {
    let bar = if std::io::stderr().is_terminal() && global.output == Output::Text {
        let style = ProgressStyle::with_template("{spinner} {human_pos} awards  {per_sec}  {elapsed}");
        ProgressBar::new_spinner().with_style(style.context("progress bar")?)
    } else {
        ProgressBar::hidden()
    };
    let mut producer = Producer {
        client: Client::new(global)?,
        sums: Sums::default(),
        failures: Failures { path: &args.errors, file: None, count: 0 },
        lines: Vec::new(),
        pending: 0,
        batch: u64::from(args.batch),
        bar,
    };
    let mut input: Box<dyn BufRead> = match &args.file {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(BufReader::new(std::io::stdin())),
    };
    // Whatever the name says: a container file begins with these bytes, and no NDJSON does.
    let is_container = input.fill_buf()?.starts_with(b"Obj\x01");
    if is_container {
        for (index, award) in container::read(&mut input).context("not an Avro container file")?.enumerate() {
            match award {
                Ok(award) => producer.take(&award)?,
                Err(error) => {
                    producer.malformed(index as u64 + 1, "", &json!({"message": error.to_string()}))?
                }
            }
        }
    } else {
        producer.take_lines(&mut *input)?;
    }
    producer.flush()?;
    producer.bar.finish_and_clear();
    producer.report(global.output)
}

impl Producer<'_> {
    fn take_lines(&mut self, input: &mut dyn BufRead) -> Result<(), Failure> {
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            line.clear();
            let mut bounded = (&mut *input).take(LINE_BYTES_MAX as u64);
            if bounded.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            number += 1;
            if line.len() >= LINE_BYTES_MAX && line.last() != Some(&b'\n') {
                return Err(Failure::new(FAILED, anyhow!("line {number} is above {LINE_BYTES_MAX} bytes")));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match parse_award(&line) {
                Ok(award) => self.take(&award)?,
                Err(problem) => {
                    let shown =
                        json!({"pointer": problem.pointer, "code": problem.code, "message": problem.message});
                    self.malformed(number, &String::from_utf8_lossy(&line), &shown)?;
                }
            }
        }
    }

    fn malformed(&mut self, number: u64, line: &str, problem: &Value) -> Result<(), Failure> {
        self.sums.read += 1;
        self.sums.malformed += 1;
        self.failures.add(&json!({
            "status": "malformed", "number": number, "problem": problem, "input": line.trim_end(),
        }))
    }

    fn take(&mut self, award: &AwardBuf) -> Result<(), Failure> {
        self.sums.read += 1;
        self.lines.extend_from_slice(award_json::to_json(&award.as_award()).as_bytes());
        self.lines.push(b'\n');
        self.pending += 1;
        if self.pending >= self.batch || self.lines.len() >= LINE_BYTES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what is pending. Sending again is harmless: the order number makes it a duplicate.
    fn flush(&mut self) -> Result<(), Failure> {
        if self.pending == 0 {
            return Ok(());
        }
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            let answer = self.client.publish(self.lines.clone(), WAIT_S)?;
            if answer.status.is_success() {
                break answer.body;
            }
            let passes = answer.status.as_u16() == 503 || answer.status.as_u16() == 429;
            if !passes || tries >= TRIES_MAX {
                let text = problem_text(&answer.body);
                let sent = self.sums.read - self.pending;
                return Err(Failure::new(FAILED, anyhow!("{text}; {sent} awards were taken before")));
            }
            std::thread::park_timeout(Duration::from_secs(answer.retry_after_s.unwrap_or(1).min(10)));
        };
        let lines = std::mem::take(&mut self.lines);
        let sent = lines.split(|byte| *byte == b'\n');
        for (item, line) in answer["items"].as_array().map_or(&[][..], Vec::as_slice).iter().zip(sent) {
            self.count(item, line)?;
        }
        self.bar.inc(self.pending);
        self.pending = 0;
        Ok(())
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

    fn report(mut self, output: Output) -> Outcome {
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
        ];
        if output == Output::Text {
            let shown = counts.iter().map(|(name, count)| format!("{name} {}", grouped(count)));
            print_lines(&[shown.collect::<Vec<_>>().join("  ")])?;
        } else {
            let fields = counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count)));
            print_json(&Value::Object(fields.collect()), output)?;
        }
        if self.failures.count == 0 {
            return Ok(OK);
        }
        eprintln!("details of the {} failures: {}", self.failures.count, self.failures.path.display());
        Ok(PARTIAL)
    }
}
