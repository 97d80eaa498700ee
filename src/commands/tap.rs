//! `hongbao tap`: records of a topic as NDJSON.

use std::time::Duration;

use anyhow::anyhow;
use serde_json::Value;

use crate::cli::{Global, TapArgs};
use crate::client::{Client, segment};
use crate::exit::{Failure, OK, Outcome, USAGE};
use crate::output::print_lines;

/// Time between two looks for new records.
const POLL: Duration = Duration::from_millis(200);
const PAGE: u64 = 5000;

struct Filter {
    field: String,
    value: String,
}

impl Filter {
    fn parse(text: &str) -> Result<Self, Failure> {
        let (field, value) = text
            .split_once('=')
            .ok_or_else(|| Failure::new(USAGE, anyhow!("--where wants FIELD=VALUE, not `{text}`")))?;
        Ok(Self { field: field.to_owned(), value: value.to_owned() })
    }

    /// Looks for the field in the record first, then in what surrounds it.
    fn matches(&self, view: &Value) -> bool {
        let inner = &view["record"];
        let found = if inner[&self.field].is_null() { &view[&self.field] } else { &inner[&self.field] };
        match found {
            Value::Null => false,
            Value::String(text) => *text == self.value,
            other => {
                let shown = other.to_string();
                shown == self.value
            }
        }
    }
}

/// Prints one partition after the other, then follows them all if asked to.
pub fn run(global: &Global, args: &TapArgs) -> Outcome {
    let client = Client::new(global)?;
    let filters: Vec<Filter> =
        args.filters.iter().map(|text| Filter::parse(text)).collect::<Result<_, _>>()?;
    let follow = args.from.is_none() && args.to.is_none();
    let from = args.from.as_deref().unwrap_or(if follow { "end" } else { "start" });
    let to = args.to.as_deref().unwrap_or("end");
    let mut places: Vec<(u16, String)> = match args.partition {
        Some(partition) => vec![(partition, from.to_owned())],
        None => {
            let first = page(&client, &args.topic, 0, "end", "end", 1)?;
            let partitions =
                first["partitions"].as_u64().and_then(|count| u16::try_from(count).ok()).unwrap_or(1);
            (0..partitions).map(|partition| (partition, from.to_owned())).collect()
        }
    };
    eprintln!("[tap] {} from {from}{}", args.topic, if follow { ", following" } else { "" });
    let mut left = args.limit.unwrap_or(u64::MAX);
    loop {
        for (partition, place) in &mut places {
            loop {
                let view = page(&client, &args.topic, *partition, place, to, PAGE)?;
                let records = view["records"].as_array().map_or(&[][..], Vec::as_slice);
                let matching =
                    records.iter().filter(|record| filters.iter().all(|filter| filter.matches(record)));
                let lines: Vec<String> = matching
                    .take(usize::try_from(left).unwrap_or(usize::MAX))
                    .map(Value::to_string)
                    .collect();
                left -= lines.len() as u64;
                print_lines(&lines)?;
                if left == 0 {
                    return Ok(OK);
                }
                *place = format!("offset:{}", view["next"].as_u64().unwrap_or(0));
                if records.len() < PAGE as usize {
                    break;
                }
            }
        }
        if !follow {
            return Ok(OK);
        }
        std::thread::park_timeout(POLL);
    }
}

fn page(
    client: &Client,
    topic: &str,
    partition: u16,
    from: &str,
    to: &str,
    limit: u64,
) -> Result<Value, Failure> {
    let (topic, from, to) = (segment(topic), segment(from), segment(to));
    client.get(&format!("/v1/topics/{topic}/records?partition={partition}&from={from}&to={to}&limit={limit}"))
}
