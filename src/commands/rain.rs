//! `hongbao rain`: the load generator, over HTTP like any other producer.

use std::io::{BufWriter, IsTerminal, Write};
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Context, anyhow};
use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_producers::rain::{Profile, Rain, Schedule};
use hongbao_schemas::award::Award;
use hongbao_schemas::award_json;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::offline;
use crate::cli::{Global, Output, RainArgs};
use crate::client::{Client, problem_text};
use crate::exit::{FAILED, Failure, OK, Outcome, USAGE};
use crate::output::{grouped, print_json, print_lines};

const BATCH_AWARDS: u64 = 5000;
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// Time between two plain progress lines where stderr is no terminal.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Generates and sends, or prints.
pub fn run(global: &Global, args: &RainArgs) -> Outcome {
    let topology = offline::load(&global.config)?;
    let profile = Profile::named(&args.profile).map_err(|error| Failure::new(USAGE, error))?;
    let mut rain = Rain::new(&profile, &topology.settings(1), args.seed, args.awards)
        .map_err(|error| Failure::new(FAILED, error))?;
    if args.print {
        return print(&mut rain);
    }
    let rate = args.rate.and_then(NonZeroU64::new);
    let schedule = rate.map(|rate| Schedule::new(&profile, args.awards, rate));
    send(global, args.awards, rain, schedule.as_ref())
}

/// Deliveries that are no awards have no JSON form and are printed as hexadecimal.
fn print(rain: &mut Rain) -> Outcome {
    let mut out = BufWriter::new(std::io::stdout().lock());
    while let Some(delivery) = rain.next_delivery() {
        let line = match Award::decode(delivery.award) {
            Ok(award) => award_json::to_json(&award),
            Err(_) => {
                let hex: String = delivery.award.iter().map(|byte| format!("{byte:02x}")).collect();
                json!({"undecodable_hex": hex}).to_string()
            }
        };
        if let Err(error) = writeln!(out, "{line}") {
            return if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(OK) } else { Err(error.into()) };
        }
    }
    out.flush()?;
    Ok(OK)
}

struct Progress {
    bar: ProgressBar,
    plain: bool,
    reported: Duration,
}

impl Progress {
    fn new(total: u64, output: Output) -> Result<Self, Failure> {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal && output == Output::Text {
            let template = "{bar:30} {human_pos}/{human_len} awards  {per_sec}  {eta}";
            ProgressBar::new(total)
                .with_style(ProgressStyle::with_template(template).context("progress bar")?)
        } else {
            ProgressBar::hidden()
        };
        Ok(Self { bar, plain: !terminal && output == Output::Text, reported: Duration::ZERO })
    }

    fn sent(&mut self, sent: u64, total: u64, elapsed: Duration) {
        self.bar.set_position(sent);
        if self.plain && elapsed.saturating_sub(self.reported) >= REPORT_EVERY {
            self.reported = elapsed;
            eprintln!(
                "sent {} of {} awards in {:.0} s",
                grouped(sent),
                grouped(total),
                elapsed.as_secs_f64()
            );
        }
    }
}

fn send(global: &Global, total: u64, mut rain: Rain, schedule: Option<&Schedule>) -> Outcome {
    let client = Client::new(global)?;
    let clock = SystemClock::new();
    let mut progress = Progress::new(total, global.output)?;
    let (mut taken, mut sent, mut not_json) = (0_u64, 0_u64, 0_u64);
    let mut lines = Vec::new();
    while taken < total {
        let due = schedule.map_or(total, |schedule| schedule.due(clock.monotonic())).min(total);
        if due <= taken {
            std::thread::park_timeout(Duration::from_millis(5));
            continue;
        }
        lines.clear();
        let end = due.min(taken + BATCH_AWARDS);
        let mut in_batch = 0;
        while taken < end && lines.len() < BATCH_BYTES {
            let Some(delivery) = rain.next_delivery() else { break };
            taken += 1;
            match Award::decode(delivery.award) {
                Ok(award) => {
                    lines.extend_from_slice(award_json::to_json(&award).as_bytes());
                    lines.push(b'\n');
                    in_batch += 1;
                }
                Err(_) => not_json += 1,
            }
        }
        if in_batch > 0 {
            if let Err(failure) = deliver(&client, &lines) {
                progress.bar.finish_and_clear();
                eprintln!("stopped early: {} awards were taken before", grouped(sent));
                return Err(failure);
            }
            sent += in_batch;
        }
        progress.sent(taken, total, clock.monotonic());
    }
    progress.bar.finish_and_clear();
    let seconds = clock.monotonic().as_secs_f64();
    let rate = sent as f64 / seconds.max(0.001);
    if global.output == Output::Text {
        print_lines(&[format!(
            "sent {} awards in {seconds:.1} s ({} a second); {not_json} deliveries were no awards and stayed out",
            grouped(sent),
            grouped(rate as u64),
        )])?;
    } else {
        let summary = json!({"sent": sent, "seconds": seconds, "per_second": rate, "not_awards": not_json});
        print_json(&summary, global.output)?;
    }
    Ok(OK)
}

/// Sends until taken; the server says how long to wait when it has too much to do.
fn deliver(client: &Client, lines: &[u8]) -> Result<(), Failure> {
    loop {
        let answer = client.publish(lines.to_vec())?;
        match answer.status.as_u16() {
            200 | 202 => return Ok(()),
            429 | 503 => {
                std::thread::park_timeout(Duration::from_secs(answer.retry_after_s.unwrap_or(1).min(10)));
            }
            _ => return Err(Failure::new(FAILED, anyhow!(problem_text(&answer.body)))),
        }
    }
}
