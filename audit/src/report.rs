//! What an audit found, by invariant.

use std::collections::BTreeMap;
use std::fmt::{Arguments, Display};

use hongbao_engine::partition::Partition;
use hongbao_engine::records::Offset;

/// Findings told in full of one invariant; further ones are only counted.
pub const DETAILS_MAX: usize = 10;

/// What must be true of the data, by its id in `docs/ARCHITECTURE.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "`Invariant::what` says it")]
pub enum Invariant {
    I1,
    I2,
    I3,
    I4,
    I5,
    I6,
    I8,
    I9,
    I10,
    I11,
    I12,
    I13,
    I15,
    I16,
    I18,
    I19,
    I24,
    I26,
    I30,
}

impl Invariant {
    /// All that are looked at, in order.
    pub const ALL: [Self; 19] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I6,
        Self::I8,
        Self::I9,
        Self::I10,
        Self::I11,
        Self::I12,
        Self::I13,
        Self::I15,
        Self::I16,
        Self::I18,
        Self::I19,
        Self::I24,
        Self::I26,
        Self::I30,
    ];

    /// The id, such as `I15`.
    #[must_use]
    pub fn id(self) -> String {
        format!("{self:?}")
    }

    /// What must be true, in a line.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::I1 => "every award has one verdict",
            Self::I2 => "at most one accept per order number",
            Self::I3 => "a conflict is no duplicate",
            Self::I4 => "a replay writes the same bytes",
            Self::I5 => "no gap, no repeat applied",
            Self::I6 => "stores are folds of their logs",
            Self::I8 => "amounts are whole and positive",
            Self::I9 => "credited is a subset of accepted",
            Self::I10 => "at most one effect per order",
            Self::I11 => "accepted orders end one way, or are open",
            Self::I12 => "intents come before effects",
            Self::I13 => "one key, one payload",
            Self::I15 => "wallets, totals and ledgers agree",
            Self::I16 => "never negative",
            Self::I18 => "totals never go back",
            Self::I19 => "a rebuilt view is equal",
            Self::I24 => "an older epoch changes nothing",
            Self::I26 => "all of the log can be read",
            Self::I30 => "settings follow the log",
        }
    }
}

/// Where a record is; prints as `journal/3@88123`.
#[derive(Clone, Copy, Debug)]
pub struct At<'a>(pub &'a str, pub Partition, pub Offset);

impl Display for At<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}@{}", self.0, self.1, self.2)
    }
}

/// What was looked at and found of one invariant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// How much of what was looked at.
    pub checked: BTreeMap<&'static str, u64>,
    /// How many findings there are.
    pub findings: u64,
    /// The first of them, at most [`DETAILS_MAX`] unless the report keeps every one.
    pub details: Vec<String>,
}

/// Findings of an audit. Reports of partitions add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    lines: BTreeMap<Invariant, Line>,
    keeps_every_detail: bool,
}

impl Report {
    /// Nothing looked at yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing looked at yet; keeps the details of every finding, for a reader who passes over some of them.
    #[must_use]
    pub fn with_every_detail() -> Self {
        Self { keeps_every_detail: true, ..Self::default() }
    }

    /// Counts `count` of `unit` (a plural) as looked at.
    pub fn checked(&mut self, invariant: Invariant, unit: &'static str, count: u64) {
        *self.lines.entry(invariant).or_default().checked.entry(unit).or_default() += count;
    }

    /// Adds a finding. `detail` names partition, offset and order where it can.
    pub fn find(&mut self, invariant: Invariant, detail: Arguments<'_>) {
        let line = self.lines.entry(invariant).or_default();
        line.findings += 1;
        if self.keeps_every_detail || line.details.len() < DETAILS_MAX {
            line.details.push(detail.to_string());
        }
    }

    /// Adds a finding unless `is_so`.
    pub fn expect(&mut self, invariant: Invariant, is_so: bool, otherwise: Arguments<'_>) {
        if !is_so {
            self.find(invariant, otherwise);
        }
    }

    /// What was looked at and found of an invariant.
    #[must_use]
    pub fn line(&self, invariant: Invariant) -> Line {
        self.lines.get(&invariant).cloned().unwrap_or_default()
    }

    /// Invariants with findings.
    #[must_use]
    pub fn broken(&self) -> Vec<Invariant> {
        self.lines.iter().filter(|(_, line)| line.findings > 0).map(|(invariant, _)| *invariant).collect()
    }

    /// Adds another report, such as a further partition's.
    pub fn absorb(&mut self, other: Self) {
        for (invariant, more) in other.lines {
            let line = self.lines.entry(invariant).or_default();
            for (unit, count) in more.checked {
                *line.checked.entry(unit).or_default() += count;
            }
            line.findings += more.findings;
            let most = if self.keeps_every_detail { usize::MAX } else { DETAILS_MAX };
            let room = most.saturating_sub(line.details.len());
            line.details.extend(more.details.into_iter().take(room));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_add_up_and_keep_few_details() {
        let mut report = Report::new();
        for offset in 0..7 {
            report.find(Invariant::I2, format_args!("{}", At("journal", Partition(3), offset)));
            report.expect(Invariant::I9, offset < 7, format_args!("never"));
        }
        report.checked(Invariant::I2, "order numbers", 5);
        let mut sum = report.clone();
        sum.absorb(report);
        let line = sum.line(Invariant::I2);
        assert_eq!((line.findings, line.details.len(), line.checked["order numbers"]), (14, 10, 10));
        assert_eq!(line.details[6], "journal/3@6");
        assert_eq!(sum.broken(), [Invariant::I2]);
        assert_eq!(sum.line(Invariant::I19), Line::default());
        let mut every = Report::with_every_detail();
        (0..7).for_each(|_| every.absorb(sum.clone()));
        (0..20).for_each(|offset| every.find(Invariant::I2, format_args!("{offset}")));
        assert_eq!(every.line(Invariant::I2).details.len(), 90, "10 of each that keeps few, and its own");
    }

    #[test]
    fn ids_are_in_order() {
        let ids: Vec<String> = Invariant::ALL.iter().map(|invariant| invariant.id()).collect();
        assert!(Invariant::ALL.is_sorted(), "{ids:?}");
        assert_eq!((ids[0].as_str(), ids[18].as_str()), ("I1", "I30"));
    }
}
