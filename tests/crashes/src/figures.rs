//! What a run came to: one JSON object, and the exit code.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use hongbao_engine::clock::cpu_seconds_with_children;
use serde_json::{Map, Value, json};

use crate::wait::elapsed;

/// Ran, and found something.
const FOUND: u8 = 3;

/// What every run counts.
const EVERYWHERE: [&str; 4] = ["awards", "crashes", "unknown_outcomes", "duplicates"];

/// Figures of a run.
pub struct Figures {
    name: &'static str,
    began: Duration,
    cpu_s_before: f64,
    fields: Map<String, Value>,
    /// Why the harness itself could not go on.
    trouble: Option<String>,
    /// What must not be; any of them fails the run.
    pub violations: Vec<String>,
}

impl Figures {
    /// A run begins.
    #[must_use]
    pub fn begin(name: &'static str, seed: u64) -> Self {
        let mut figures = Self {
            name,
            began: elapsed(),
            cpu_s_before: cpu_seconds_with_children(),
            fields: Map::new(),
            trouble: None,
            violations: Vec::new(),
        };
        figures.set("seeds", json!(1));
        figures.set("seed", json!(seed));
        for field in EVERYWHERE {
            figures.set(field, json!(0));
        }
        figures
    }

    /// Sets a figure.
    pub fn set(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    /// Adds to a figure.
    pub fn add(&mut self, name: &str, more: u64) {
        self.set(name, json!(self.number(name) + more));
    }

    /// A figure; 0 when there is none.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        self.fields.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    /// A field; none when it was never set.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// Notes that the harness itself could not go on; what was counted and found before stays.
    pub fn trouble(&mut self, error: &io::Error) {
        self.trouble.get_or_insert_with(|| error.to_string());
    }

    /// Whether the run came to its end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.trouble.is_none()
    }

    /// Adds what a part counted, and what it found.
    pub fn absorb(&mut self, part: Self) {
        for field in EVERYWHERE {
            self.add(field, part.number(field));
        }
        let name = part.name;
        if let Some(trouble) = part.trouble {
            self.trouble.get_or_insert_with(|| format!("{name}: {trouble}"));
        }
        self.violations.extend(part.violations.into_iter().map(|violation| format!("{name}: {violation}")));
    }

    /// The figures as one JSON object.
    #[must_use]
    pub fn line(&self) -> String {
        let tenths = |seconds: f64| json!((seconds * 10.0).round() / 10.0);
        let mut whole = self.fields.clone();
        whole.insert("name".to_owned(), json!(self.name));
        if let Some(trouble) = &self.trouble {
            whole.insert("error".to_owned(), json!(trouble));
        }
        whole.insert("violations".to_owned(), json!(self.violations.len()));
        whole.insert("wall_s".to_owned(), tenths(elapsed().saturating_sub(self.began).as_secs_f64()));
        whole.insert("cpu_s".to_owned(), tenths(cpu_seconds_with_children() - self.cpu_s_before));
        Value::Object(whole).to_string()
    }

    /// Prints violations on stderr and the figures on stdout, and tells the exit code.
    #[must_use]
    pub fn end(self) -> ExitCode {
        for violation in &self.violations {
            eprintln!("VIOLATION {violation}");
        }
        if let Some(trouble) = &self.trouble {
            eprintln!("error: {trouble}");
        }
        println!("{}", self.line());
        match (&self.trouble, self.violations.is_empty()) {
            (_, false) => ExitCode::from(FOUND),
            (Some(_), true) => ExitCode::FAILURE,
            (None, true) => ExitCode::SUCCESS,
        }
    }
}
