//! Where to kill next: places that were hit least, at a pass that is likely to be reached.

use std::collections::BTreeMap;

use hongbao_engine::crash::{POINTS, When};

use crate::wait::Dice;

/// Passes that a place is expected to be reached at most, at first.
const FIRST_BOUND: u64 = 6;
const BOUND_MAX: u64 = 60;

/// One kill in so many is a plain one, at any moment.
const PLAIN_ONE_IN: u64 = 12;

/// What is known of a place.
#[derive(Clone, Copy, Debug)]
struct Place {
    when: When,
    hits: u64,
    misses: u64,
    /// Aimed at by a chain that goes on.
    aimed: u64,
    bound: u64,
}

/// How the next process shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// At this pass of this place.
    Place { name: &'static str, when: When, count: u64 },
    /// By a SIGKILL at any moment, after so many milliseconds.
    Moment { after_ms: u64 },
}

/// All places.
pub struct Aim {
    places: BTreeMap<&'static str, Place>,
    moments: u64,
}

impl Default for Aim {
    fn default() -> Self {
        let place = |when| Place {
            when,
            hits: 0,
            misses: 0,
            aimed: 0,
            bound: match when {
                When::Running => FIRST_BOUND,
                When::Making | When::Opening | When::Mending | When::Stopping => 2,
            },
        };
        let places = POINTS.iter().map(|(name, when)| (*name, place(*when))).collect();
        Self { places, moments: 0 }
    }
}

impl Aim {
    /// Chooses for a process: the first of a data folder, or one after the place where the last ended.
    pub fn next(&mut self, is_first: bool, last: Option<&str>, dice: &mut Dice) -> Target {
        if dice.below(PLAIN_ONE_IN) == 0 {
            return Target::Moment { after_ms: dice.below(150) };
        }
        // Only a process that ended within a roll leaves anything to mend.
        let is_roll = last.is_some_and(|last| last.starts_with("log.segment.") || last == "log.rolled");
        let may = |name: &str, when: When| match when {
            When::Making => is_first,
            When::Mending if name == "log.repair.removed" => {
                last.is_some_and(|last| last == "log.segment.created" || last == "log.segment.allocated")
            }
            When::Mending => is_roll || last.is_some_and(|last| last.starts_with("log.footer.")),
            When::Opening | When::Running | When::Stopping => !is_first,
        };
        let weight = |place: &Place| place.hits + place.aimed + place.misses / 4;
        let fits = || self.places.iter().filter(|(name, place)| may(name, place.when));
        let mending = fits().filter(|(_, place)| place.when == When::Mending);
        let least = mending.min_by_key(|(_, place)| weight(place)).map(|(_, place)| weight(place));
        let others = fits().map(|(_, place)| weight(place)).min().unwrap_or_default();
        // Chances to mend are rare: they are taken while they are behind twice the others.
        let is_mending = least.is_some_and(|least| least <= 2 * others + 1);
        let bound = if is_mending { least.unwrap_or_default() } else { others };
        let candidates: Vec<&'static str> = fits()
            .filter(|(_, place)| weight(place) <= bound && (!is_mending || place.when == When::Mending))
            .map(|(name, _)| *name)
            .collect();
        let name = candidates[dice.below(candidates.len() as u64) as usize];
        let Some(place) = self.places.get_mut(name) else { return Target::Moment { after_ms: 0 } };
        place.aimed += 1;
        Target::Place { name, when: place.when, count: 1 + dice.below(place.bound) }
    }

    /// Notes whether a process ended as it should have.
    pub fn note(&mut self, target: Target, is_hit: bool) {
        let Target::Place { name, .. } = target else {
            self.moments += 1;
            return;
        };
        let Some(place) = self.places.get_mut(name) else { return };
        place.aimed = place.aimed.saturating_sub(1);
        if is_hit {
            place.hits += 1;
            place.bound = (place.bound + 1).min(BOUND_MAX);
        } else {
            place.misses += 1;
            self.moments += 1;
            place.bound = (place.bound / 2).max(1);
        }
    }

    /// Kills by place, and those at any moment.
    #[must_use]
    pub fn hits(&self) -> (BTreeMap<&'static str, u64>, u64) {
        (self.places.iter().map(|(name, place)| (*name, place.hits)).collect(), self.moments)
    }

    /// Places that no process ended at, with how often it was tried.
    #[must_use]
    pub fn missing(&self) -> Vec<(&'static str, u64)> {
        let missing = self.places.iter().filter(|(_, place)| place.hits == 0);
        missing.map(|(name, place)| (*name, place.misses)).collect()
    }
}
