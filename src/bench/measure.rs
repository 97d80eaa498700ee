//! Wall time, CPU time of all threads, peak memory, and what machine and commit they belong to.

use std::time::Duration;

use hongbao_engine::clock::{Clock, SystemClock, cpu_seconds};
use serde_json::{Map, Value, json};

use crate::output::grouped;

/// A measurement under way.
pub struct Meter {
    clock: SystemClock,
    cpu_s: f64,
}

/// What one stretch took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    pub wall_s: f64,
    pub cpu_s: f64,
}

impl Meter {
    /// Starts.
    pub fn start() -> Self {
        Self { clock: SystemClock::new(), cpu_s: cpu_seconds() }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }

    /// What it took since the start, all threads together.
    pub fn took(&self) -> Took {
        Took { wall_s: self.clock.monotonic().as_secs_f64(), cpu_s: cpu_seconds() - self.cpu_s }
    }
}

fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    (kib.unwrap_or(0.0) / 1024.0).round()
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{}, {cores} cores", model.unwrap_or("unknown").trim())
}

/// The commit that this binary was built from.
const COMMIT: &str = env!("HONGBAO_COMMIT");

/// What a benchmark found.
pub struct Report {
    pub name: &'static str,
    pub events: u64,
    pub took: Took,
    pub limit_events_per_s: Option<f64>,
    pub params: Value,
    /// Figures of this benchmark alone.
    pub extra: Map<String, Value>,
    /// What the figure does not include.
    pub not_included: &'static str,
}

impl Report {
    fn events_per_s(&self) -> f64 {
        self.events as f64 / self.took.wall_s.max(1e-9)
    }

    fn cpu_s_per_million(&self) -> f64 {
        self.took.cpu_s / (self.events as f64 / 1e6)
    }

    /// The object of `-o json`.
    pub fn json(&self) -> Value {
        let mut object = json!({
            "name": self.name,
            "events": self.events,
            "wall_s": rounded(self.took.wall_s),
            "cpu_s": rounded(self.took.cpu_s),
            "events_per_s": self.events_per_s().round(),
            "cpu_s_per_million": rounded(self.cpu_s_per_million()),
            "peak_rss_mb": peak_rss_mb(),
            "params": self.params,
            "machine": machine(),
            "commit": COMMIT,
            "not_included": self.not_included,
        });
        if let (Some(fields), Some(limit)) = (object.as_object_mut(), self.limit_events_per_s) {
            fields.insert("limit_events_per_s".to_owned(), json!(limit.round()));
            fields.insert("ratio_to_limit".to_owned(), json!(rounded(self.events_per_s() / limit)));
        }
        if let Some(fields) = object.as_object_mut() {
            fields.extend(self.extra.clone());
        }
        object
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{}: {} events in {:.2} s, {}/s, {:.2} CPU-s per million, peak {} MB",
            self.name,
            grouped(self.events),
            self.took.wall_s,
            grouped(self.events_per_s() as u64),
            self.cpu_s_per_million(),
            peak_rss_mb(),
        )];
        if let Some(limit) = self.limit_events_per_s {
            let ratio = self.events_per_s() / limit;
            lines.push(format!("  raw limit in this run: {}/s, ratio {ratio:.2}", grouped(limit as u64)));
        }
        lines.extend(self.extra.iter().map(|(name, value)| format!("  {name}: {value}")));
        lines.push(format!("  params: {}", self.params));
        lines.push(format!("  not included: {}", self.not_included));
        lines.push(format!("  {}, commit {COMMIT}", machine()));
        lines
    }
}

/// Three decimals are more than a noisy machine gives.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
