//! `hongbao top`: lanes and verdicts, again and again on a terminal, once elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::cli::{Global, Output};
use crate::client::Client;
use crate::commands::look::lanes_table;
use crate::exit::{Failure, OK, Outcome, USAGE};
use crate::output::{grouped, print_json, print_lines};

/// Runs until Ctrl-C on a terminal.
pub fn run(global: &Global, interval: f64) -> Outcome {
    if !(0.1..=3600.0).contains(&interval) {
        return Err(Failure::new(USAGE, anyhow!("--interval is from 0.1 to 3600 seconds")));
    }
    let client = Client::new(global)?;
    if global.output != Output::Text {
        let value = json!({"counts": client.get("/v1/counts")?, "lanes": client.get("/v1/lanes")?});
        print_json(&value, global.output)?;
        return Ok(OK);
    }
    let live = std::io::stdout().is_terminal();
    loop {
        let (counts, lanes) = (client.get("/v1/counts")?, client.get("/v1/lanes")?);
        if live {
            print!("\x1b[2J\x1b[H");
        }
        let mut lines = vec![format!("{}  {}", client.server(), counts_line(&counts)), String::new()];
        lines.extend(lanes_table(&lanes));
        print_lines(&lines)?;
        if !live {
            return Ok(OK);
        }
        std::io::stdout().flush()?;
        std::thread::park_timeout(Duration::from_secs_f64(interval));
    }
}

/// Verdicts in one line.
pub fn counts_line(counts: &Value) -> String {
    let names = ["read", "accepted", "duplicate", "conflict", "rejected", "undecodable"];
    let parts = names.map(|name| format!("{name} {}", grouped(counts[name].as_u64().unwrap_or(0))));
    parts.join("  ")
}
