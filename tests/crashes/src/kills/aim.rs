//! Where to kill next: places that were hit least, at a pass that is likely to be reached. What chance
//! leaves out in the end is planned.

use std::collections::BTreeMap;

use hongbao_engine::crash::{POINTS, When};

use crate::wait::Dice;

/// Passes that a place is expected to be reached at most, at first.
const FIRST_BOUND: u64 = 6;
const BOUND_MAX: u64 = 60;

/// One kill in so many is a plain one, at any moment.
const PLAIN_ONE_IN: u64 = 12;

/// Places that one planned chain goes for.
const PLANNED: usize = 8;
/// A place that was never reached is planned for this often.
const PLANS_MAX: u64 = 4;
/// Pass of a place while awards come in: a few are over, and so the place is not the first of its kind.
const PLANNED_COUNT: u64 = 2;

/// What is known of a place.
#[derive(Clone, Copy, Debug)]
struct Place {
    when: When,
    hits: u64,
    misses: u64,
    /// Aimed at by a chain that goes on.
    aimed: u64,
    /// Chains that were planned for it.
    plans: u64,
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

/// How a life of a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By SIGKILL at the place that it was armed for.
    AtPlace,
    /// By a SIGKILL from outside: at any moment, or because it had not reached its place.
    AtMoment,
    /// By itself, in a graceful stop that did not come by its place: no kill.
    ByItself,
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
            plans: 0,
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
        // What is to be mended is there once.
        let bound = if place.when == When::Mending { 1 } else { place.bound };
        Target::Place { name, when: place.when, count: 1 + dice.below(bound) }
    }

    /// Notes how a process ended; none when it ended as none should.
    pub fn note(&mut self, target: Target, ended: Option<Ended>) {
        self.moments += u64::from(ended == Some(Ended::AtMoment));
        let Target::Place { name, .. } = target else { return };
        let Some(place) = self.places.get_mut(name) else { return };
        place.aimed = place.aimed.saturating_sub(1);
        if ended == Some(Ended::AtPlace) {
            place.hits += 1;
            place.bound = (place.bound + 1).min(BOUND_MAX);
        } else {
            place.misses += 1;
            place.bound = (place.bound / 2).max(1);
        }
    }

    /// A chain of kills at places that were never reached and that no other chain goes for: each with
    /// what must come before it. None when there is nothing more to try.
    pub fn plan(&mut self) -> Option<Vec<Vec<Target>>> {
        let is_open = |place: &&mut Place| place.hits == 0 && place.aimed == 0 && place.plans < PLANS_MAX;
        let mut open: Vec<(&'static str, &mut Place)> = self
            .places
            .iter_mut()
            .map(|(name, place)| (*name, place))
            .filter(|(_, place)| is_open(place))
            .collect();
        // Only an empty folder is made, once a chain.
        open.sort_by_key(|(_, place)| place.when != When::Making);
        let makings = open.iter().filter(|(_, place)| place.when == When::Making).count();
        let chosen = open.into_iter().skip(makings.saturating_sub(1)).take(PLANNED);
        let steps: Vec<Vec<Target>> = chosen
            .map(|(name, place)| {
                place.plans += 1;
                place.aimed += 1;
                steps_to(name, place.when)
            })
            .collect();
        (!steps.is_empty()).then_some(steps)
    }

    /// Gives back places of a plan that no process was armed for.
    pub fn give_back(&mut self, steps: &[Vec<Target>]) {
        for target in steps.iter().filter_map(|targets| targets.last()) {
            if let Target::Place { name, .. } = target
                && let Some(place) = self.places.get_mut(name)
            {
                place.aimed = 0;
            }
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

/// Kills that end with one at a place.
fn steps_to(name: &'static str, when: When) -> Vec<Target> {
    let place = |name, when, count| Target::Place { name, when, count };
    match when {
        When::Running => vec![place(name, when, PLANNED_COUNT)],
        When::Making | When::Opening | When::Stopping => vec![place(name, when, 1)],
        // A segment that was made and not begun is removed; one behind which another was begun is sealed.
        When::Mending => {
            let before = if name == "log.repair.removed" { "log.segment.created" } else { "log.rolled" };
            vec![place(before, When::Running, 1), place(name, when, 1)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_by_itself_is_no_kill_at_any_moment() {
        let mut aim = Aim::default();
        let (name, when) = POINTS[0];
        let place = Target::Place { name, when, count: 1 };
        for ended in [Some(Ended::ByItself), None] {
            aim.note(place, ended);
        }
        assert_eq!((aim.hits().1, aim.hits().0[name]), (0, 0));
        assert!(aim.missing().contains(&(name, 2)));
        aim.note(place, Some(Ended::AtMoment));
        aim.note(Target::Moment { after_ms: 1 }, Some(Ended::AtMoment));
        aim.note(place, Some(Ended::AtPlace));
        assert_eq!((aim.hits().1, aim.hits().0[name]), (2, 1));
    }
}
