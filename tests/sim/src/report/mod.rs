//! What runs came to, in numbers, and the one line that is left of a whole set of them.

pub mod set;
pub mod timeline;

use std::collections::BTreeMap;
use std::time::Duration;

use hongbao_engine::clock::cpu_seconds_with_children;
use serde_json::{Value, json};

/// Numbers of one run, or of many.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Awards made by clients, duplicates included.
    pub awards: u64,
    /// Orders accepted.
    pub accepted: u64,
    /// Awards found to be duplicates.
    pub duplicates: u64,
    /// Processes that ended in the middle of something: at a call, which was planned. Stops and starts by
    /// the operator are among what was seen.
    pub crashes: u64,
    /// Orders sent whose outcome was unknown.
    pub unknown_outcomes: u64,
    /// Questions without an answer.
    pub asks_unknown: u64,
    /// Orders sent, resends included.
    pub sends: u64,
    /// Orders asked about.
    pub asks: u64,
    /// Effects in all true books.
    pub effects: u64,
    /// Deliveries made again by clients.
    pub retries: u64,
    /// Time that passed in the worlds.
    pub virtual_ms: u64,
    /// Turns of the scheduler.
    pub turns: u64,
    /// How often rare things happened.
    pub seen: BTreeMap<String, u64>,
    /// Turns since time moved; of the run under way.
    pub(crate) turns_at_once: u32,
    /// Turns in which nothing moved; of the run under way.
    pub(crate) idle: u32,
}

impl Stats {
    /// Something rare happened so many times.
    pub fn sometimes(&mut self, what: &str, count: u64) {
        if count > 0 {
            match self.seen.get_mut(what) {
                Some(seen) => *seen += count,
                None => drop(self.seen.insert(what.to_owned(), count)),
            }
        }
    }

    /// The fields that the last line of every command has; each adds its own.
    #[must_use]
    pub fn line(&self, name: &str, seeds: u64, violations: usize, wall: Duration) -> Value {
        json!({
            "name": name,
            "seeds": seeds,
            "awards": self.awards,
            "crashes": self.crashes,
            "unknown_outcomes": self.unknown_outcomes,
            "duplicates": self.duplicates,
            "violations": violations,
            "wall_s": round(wall.as_secs_f64()),
            "cpu_s": round(cpu_seconds_with_children()),
        })
    }

    /// Adds another run's numbers.
    pub fn absorb(&mut self, other: &Self) {
        self.awards += other.awards;
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.crashes += other.crashes;
        self.unknown_outcomes += other.unknown_outcomes;
        self.asks_unknown += other.asks_unknown;
        self.sends += other.sends;
        self.asks += other.asks;
        self.effects += other.effects;
        self.retries += other.retries;
        self.virtual_ms += other.virtual_ms;
        self.turns += other.turns;
        for (what, count) in &other.seen {
            self.sometimes(what, *count);
        }
    }
}

/// Both objects' fields in one.
#[must_use]
pub fn joined(mut line: Value, more: Value) -> Value {
    if let (Value::Object(fields), Value::Object(more)) = (&mut line, more) {
        fields.extend(more);
    }
    line
}

/// To hundredths.
#[must_use]
pub fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
