//! The part of a node that damage belongs to: a partition of a log, a store, or a file of the folder. Only
//! this part may halt, and only this part may be missed or named by the audit.

use std::collections::BTreeSet;
use std::path::Path;

use super::damage::Damage;

/// What stands before the number of a partition, in what the node and the audit say.
const MARKS: [&str; 16] = [
    "partition ",
    "intake-",
    "views-",
    "intake/",
    "views/",
    "accounts-",
    "/p-",
    "awards/",
    "journal/",
    "book/",
    "dlq.intake/",
    "orders.cash/",
    "orders.coupon/",
    "orders.other/",
    "lane cash/",
    "lane coupon/",
];

/// A damaged part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Path of the file, or of the store or partition that it belongs to, below the data folder.
    unit: Option<String>,
    /// How the node names a task or a ledger's partition.
    owner: Option<String>,
    /// The partition, unless the damage is in what all partitions share.
    pub partition: Option<u16>,
}

impl Part {
    /// What a changed file belongs to.
    pub fn of(damage: &Damage) -> Self {
        let path = &damage.path;
        let is_database = path.parent().and_then(Path::file_name).is_some_and(|name| name == "db");
        let unit = match damage.kind {
            "folder" => Some(path.as_path()),
            _ if is_database => path.parent().and_then(Path::parent),
            _ => path.parent(),
        };
        let unit = unit.and_then(Path::to_str).map(str::to_owned);
        let named = unit.as_deref().unwrap_or_default();
        // `state/intake-0` is the task `intake/0`, `ledger/bank/accounts-0` partition 0 of the ledger `bank`.
        let task = named.strip_prefix("state/").map(|task| format!("{}: ", task.replace('-', "/")));
        let ledger = named.strip_prefix("ledger/").and_then(|unit| unit.split_once("/accounts-"));
        let ledger = ledger.map(|(name, partition)| format!("ledger {name}: partition {partition}: "));
        let owner = task.or(ledger);
        let partition = partitions_in(&format!("/{named}")).first().copied();
        Self { unit, owner, partition }
    }

    /// Whether a text names it.
    pub fn is_named(&self, text: &str) -> bool {
        [&self.unit, &self.owner].into_iter().flatten().any(|name| text.contains(name.as_str()))
    }

    /// Whether it is a partition of the log, or of all partitions.
    pub fn is_log(&self) -> bool {
        self.unit.as_deref().is_some_and(|unit| unit.starts_with("log"))
    }

    /// Whether a line of the node or of the audit speaks of this part: of no other partition, and of this one
    /// or of the part by its name.
    pub fn owns(&self, line: &str) -> bool {
        let partitions = partitions_in(line);
        let is_here = self.partition.is_some_and(|partition| partitions.contains(&partition));
        let is_elsewhere =
            self.partition.is_some() && partitions.iter().any(|one| Some(*one) != self.partition);
        !is_elsewhere && (is_here || self.is_named(line))
    }
}

/// Partitions that a text speaks of. What it quotes is what a file holds, which may be the damage.
fn partitions_in(text: &str) -> BTreeSet<u16> {
    let text: String = text.split('`').step_by(2).collect();
    let behind = MARKS.iter().flat_map(|mark| text.split(mark).skip(1));
    let number = |rest: &str| {
        let digits = rest.find(|one: char| !one.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
        digits.parse().ok()
    };
    behind.filter_map(number).collect()
}

/// Tasks among reasons for halting that are folds, by their partitions: nothing is read of those.
pub fn halted_folds(reasons: &str, kinds: &[&str]) -> BTreeSet<u16> {
    let fold = |line: &str| {
        let (kind, rest) = line.split_once('/')?;
        let (partition, _) = rest.split_once(": ")?;
        kinds.contains(&kind).then(|| partition.parse().ok())?
    };
    reasons.lines().filter_map(fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: &'static str, path: &str) -> Part {
        Part::of(&Damage { kind, path: path.into(), at: 7, what: "set to zero" })
    }

    #[test]
    fn a_part_is_of_one_partition_or_of_all() {
        for (kind, path, partition) in [
            ("segment", "log/p-0001/0000000001.seg", Some(1)),
            ("end", "ledger/bank/book/p-0000/0000000002.seg", Some(0)),
            ("table", "state/views-1/db/000007.sst", Some(1)),
            ("identity", "state/intake-0/identity", Some(0)),
            ("manifest", "ledger/bank/accounts-1/db/MANIFEST-000001", Some(1)),
            ("meta", "log/meta", None),
            ("folder", "lanes.json", None),
        ] {
            assert_eq!(part(kind, path).partition, partition, "{path}");
        }
        assert!(part("segment", "log/p-0001/1.seg").is_log());
        assert!(!part("segment", "ledger/bank/book/p-0001/1.seg").is_log());
    }

    #[test]
    fn lines_of_other_partitions_belong_to_others() {
        let one = part("segment", "log/p-0001/0000000001.seg");
        assert!(one.owns("intake/1: log/p-0001/0000000001.seg at 64 is damaged: x"));
        assert!(one.owns("journal/1@9 order p0_rain_c_t_7: no fact"));
        assert!(!one.owns("intake/0: the store has applied awards up to offset 9"));
        assert!(!one.owns("partition 0: log/p-0001/0000000001.seg at 64 is damaged: x"));
        assert!(!one.owns("simulated partner: 3 keys took effect"));
        let store = part("identity", "state/intake-1/identity");
        assert!(store.owns("intake/1: /d/state/intake-1: it belongs to `intake-9`, not to `intake-1`"));
        assert!(!store.owns("intake/0: /d/state/intake-0: it belongs to `intake-1`, not to `intake-0`"));
        let file = part("folder", "control.key");
        assert!(file.owns("error: /d/control.key is malformed") && !file.owns("journal/1@9 order a"));
    }

    #[test]
    fn folds_that_have_halted_are_told_from_ledgers_and_lanes() {
        let reasons =
            "halted:\nintake/0: a\nviews/1: b/7: c\nledger bank: partition 1: d\nlane cash: e/0: f\n";
        assert_eq!(halted_folds(reasons, &["intake", "views"]), BTreeSet::from([0, 1]));
        assert_eq!(halted_folds(reasons, &["intake"]), BTreeSet::from([0]));
    }
}
