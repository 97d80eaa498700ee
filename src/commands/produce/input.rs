//! What `produce` reads: lines of NDJSON, or the awards of an Avro container, by a thread of its
//! own, so that a signal is seen while input is waited for.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context, anyhow};
use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::award_json::parse_award;
use hongbao_schemas::container::{self, ContainerError};
use hongbao_schemas::limits::{PROBLEM_TEXT_BYTES_MAX, cut};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Longest line, in bytes; twice what an award may have.
pub const LINE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Items that are read ahead.
const AHEAD_MAX: usize = 64;

/// One step of reading. Numbers count lines, or the awards of a container, from 1.
pub enum Item {
    Award(u64, AwardBuf),
    Malformed {
        number: u64,
        problem: Value,
        input: String,
    },
    /// Nothing more can be read.
    Failed(anyhow::Error),
    End,
    /// A signal came.
    Interrupted,
}

/// What is read, in order.
pub struct Input {
    pub items: Receiver<Item>,
    /// Turns true with the first signal.
    pub stop: watch::Receiver<bool>,
    /// What numbers count.
    pub unit: &'static str,
}

/// Opens a file, or stdin, and begins to read.
pub fn open(path: Option<&Path>) -> anyhow::Result<Input> {
    let mut input: Box<dyn BufRead + Send> = match path {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(BufReader::new(io::stdin())),
    };
    let (tell, items) = sync_channel(AHEAD_MAX);
    let stop = watch_signals(tell.clone())?;
    // Whatever the name says: a container file begins with these bytes, and no NDJSON does.
    let is_container = input.fill_buf().context("cannot read the input")?.starts_with(b"Obj\x01");
    let read = move || {
        let read = if is_container { read_container(input, &tell) } else { read_lines(input, &tell) };
        // Whoever does not listen any more needs no end.
        drop(read.and_then(|()| say(&tell, Item::End)));
    };
    std::thread::Builder::new().name("input".to_owned()).spawn(read)?;
    Ok(Input { items, stop, unit: if is_container { "award" } else { "line" } })
}

/// Tells of the first SIGINT or SIGTERM, and ends the process at the second.
fn watch_signals(tell: SyncSender<Item>) -> anyhow::Result<watch::Receiver<bool>> {
    let (stop, stopped) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = move || {
        runtime.block_on(async {
            let mut next = async || {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            };
            next().await;
            stop.send_replace(true);
            // Fails when there is more to be taken before, which is looked at again then.
            drop(tell.try_send(Item::Interrupted));
            next().await;
            std::process::exit(130);
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(stopped)
}

/// Nobody listens any more.
#[derive(Debug)]
struct Gone;

fn say(tell: &SyncSender<Item>, item: Item) -> Result<(), Gone> {
    tell.send(item).map_err(|_| Gone)
}

fn read_container(input: Box<dyn BufRead + Send>, tell: &SyncSender<Item>) -> Result<(), Gone> {
    let awards = match container::read(input) {
        Ok(awards) => awards,
        Err(error) => return say(tell, Item::Failed(error.into())),
    };
    for (number, award) in (1..).zip(awards) {
        let item = match award {
            Ok(award) => Item::Award(number, award),
            Err(error @ ContainerError::Damaged(_)) => {
                Item::Failed(anyhow!(error).context(format!("award {number}")))
            }
            Err(error) => {
                let problem = json!({"message": error.to_string()});
                Item::Malformed { number, problem, input: String::new() }
            }
        };
        say(tell, item)?;
    }
    Ok(())
}

fn read_lines(mut input: Box<dyn BufRead + Send>, tell: &SyncSender<Item>) -> Result<(), Gone> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let item = match read_line(&mut *input, &mut line) {
            Ok(Line::None) => return Ok(()),
            Ok(Line::Whole) if line.trim_ascii().is_empty() => continue,
            Ok(Line::Whole) => award(number, &line),
            Ok(Line::TooLong) => {
                let message = format!("the line is above {LINE_BYTES_MAX} bytes");
                let begin = line.get(..PROBLEM_TEXT_BYTES_MAX).unwrap_or_default();
                let text = String::from_utf8_lossy(begin);
                let input = format!("{}...", cut(&text, PROBLEM_TEXT_BYTES_MAX));
                let problem = json!({"pointer": "", "code": "too_large", "message": message});
                Item::Malformed { number, problem, input }
            }
            Err(error) => Item::Failed(anyhow!(error).context(format!("line {number} cannot be read"))),
        };
        let is_last = matches!(item, Item::Failed(_));
        say(tell, item)?;
        if is_last {
            return Ok(());
        }
    }
    Ok(())
}

fn award(number: u64, line: &[u8]) -> Item {
    match parse_award(line) {
        Ok(award) => Item::Award(number, award),
        Err(problem) => {
            let problem =
                json!({"pointer": problem.pointer, "code": problem.code, "message": problem.message});
            let input = String::from_utf8_lossy(line).trim_end().to_owned();
            Item::Malformed { number, problem, input }
        }
    }
}

enum Line {
    None,
    Whole,
    /// Only its beginning was kept; the rest is read over.
    TooLong,
}

fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    let mut bounded = (&mut *input).take(LINE_BYTES_MAX as u64 + 1);
    if bounded.read_until(b'\n', line)? == 0 {
        return Ok(Line::None);
    }
    if line.len() <= LINE_BYTES_MAX || line.last() == Some(&b'\n') {
        return Ok(Line::Whole);
    }
    loop {
        let rest = input.fill_buf()?;
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (is_over, bytes) = (end.is_some() || rest.is_empty(), end.map_or(rest.len(), |end| end + 1));
        input.consume(bytes);
        if is_over {
            return Ok(Line::TooLong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_read_over() {
        let long = vec![b'x'; LINE_BYTES_MAX];
        let text = [b"a\n".as_slice(), &long, b"\n", &long, b"x\n", &long, &long, b"\nb\n", &long, b"x"];
        let text = text.concat();
        let (tell, items) = sync_channel(AHEAD_MAX);
        read_lines(Box::new(io::Cursor::new(text)), &tell).unwrap();
        let codes = |item: &Item| match item {
            Item::Malformed { number, problem, input } => {
                assert!(problem["code"] != "too_large" || input.len() < 200);
                (*number, problem["code"].as_str().unwrap().to_owned())
            }
            _ => (0, String::new()),
        };
        let found: Vec<(u64, String)> = items.try_iter().map(|item| codes(&item)).collect();
        let expected = [
            (1, "invalid_json"),
            (2, "invalid_json"),
            (3, "too_large"),
            (4, "too_large"),
            (5, "invalid_json"),
            (6, "too_large"),
        ];
        assert_eq!(found, expected.map(|(number, code)| (number, code.to_owned())));
    }
}
