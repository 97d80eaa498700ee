//! `hongbao tap`: records of a topic as NDJSON.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::anyhow;
use serde_json::Value;

use crate::cli::{Global, TapArgs};
use crate::client::{Client, segment};
use crate::exit::{Failure, OK, Outcome, USAGE};
use crate::output::is_read;

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

    /// Fields are those of the record, and those of what surrounds it.
    fn knows(&self, view: &Value) -> bool {
        [&view["record"], view].iter().any(|object| object.get(&self.field).is_some())
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

/// Fields that are filtered by and that no record had so far.
struct Unknown<'f> {
    filters: Vec<&'f Filter>,
    /// Fields of the records seen.
    seen: BTreeSet<String>,
}

impl<'f> Unknown<'f> {
    fn new(filters: &'f [Filter]) -> Self {
        Self { filters: filters.iter().collect(), seen: BTreeSet::new() }
    }

    fn look(&mut self, records: &[Value]) {
        for record in records {
            if self.filters.is_empty() {
                return;
            }
            self.filters.retain(|filter| !filter.knows(record));
            let objects = [&record["record"], record].into_iter().filter_map(Value::as_object);
            self.seen.extend(objects.flat_map(|object| object.keys().cloned()).filter(|key| key != "record"));
        }
    }

    /// Says once, after some records, which fields none of them had.
    fn tell(&mut self) {
        if self.seen.is_empty() {
            return;
        }
        let known = std::mem::take(&mut self.seen).into_iter().collect::<Vec<_>>().join(", ");
        for filter in self.filters.drain(..) {
            eprintln!("[tap] no record had a field `{}`; the fields were: {known}", filter.field);
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
    let mut unknown = Unknown::new(&filters);
    let mut left = args.limit.unwrap_or(u64::MAX);
    loop {
        for (partition, place) in &mut places {
            loop {
                let view = page(&client, &args.topic, *partition, place, to, PAGE)?;
                let records = view["records"].as_array().map_or(&[][..], Vec::as_slice);
                unknown.look(records);
                let matching =
                    records.iter().filter(|record| filters.iter().all(|filter| filter.matches(record)));
                let lines: Vec<String> = matching
                    .take(usize::try_from(left).unwrap_or(usize::MAX))
                    .map(Value::to_string)
                    .collect();
                left -= lines.len() as u64;
                if !is_read(&lines)? || left == 0 {
                    return Ok(OK);
                }
                *place = format!("offset:{}", view["next"].as_u64().unwrap_or(0));
                // A page of large records is short although more follow.
                if records.is_empty() {
                    break;
                }
            }
        }
        unknown.tell();
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
