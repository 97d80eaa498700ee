//! What became of a damaged folder, and what a node and the audit may say of it. Whoever refuses or halts
//! must name the damaged part in words that we know; a cut is accepted only where nothing that is left
//! could have told the damage from a torn write.

use std::path::Path;

use serde_json::Value;

use super::damage::Damage;
use super::torn::Lost;
use crate::process::End;

/// What the node says when it takes the end of a log for torn.
const CUT: &str = "a torn end was cut off";
/// Words of those who refuse or halt because of what they found in a file.
const KNOWN: [&str; 11] = [
    " is damaged: ",
    " is malformed: its checksum is missing or differs",
    " is not a log: ",
    " has format version ",
    " was allocated and synced",
    "the store failed: ",
    "cannot open the store: ",
    "the store is damaged: ",
    ": this segment is missing",
    " is of version ",
    "it belongs to ",
];
/// What the audit says of an order whose posting is gone from a ledger's book.
const GONE: &str = "credited in the journal, and nowhere else";

/// What became of a damaged folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The node shows the same, and the audit finds nothing.
    Equal,
    /// The node does not start, and says why.
    Refused,
    /// A part of the node has halted and says why.
    Halted,
    /// The end of the log was taken for torn, cut off and reported: nothing behind it said that it
    /// had been durable.
    Cut,
    /// The node shows the same; what nobody has read yet is found by the audit.
    Found,
    /// Wrong.
    Different(String),
}

impl Verdict {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Refused => "refused",
            Self::Halted => "halted",
            Self::Cut => "cut_and_reported",
            Self::Found => "found_by_audit",
            Self::Different(_) => "different",
        }
    }
}

/// A node that went on over a damaged folder, and its audit.
pub struct Ran<'a> {
    pub damage: &'a Damage,
    pub counts: &'a Value,
    /// What the undamaged folder shows.
    pub sound: &'a Value,
    pub said: &'a str,
    pub audit: End,
    pub printed: &'a str,
    /// What the damage may take away unnoticed.
    pub may_lose: Option<Lost>,
}

impl Ran<'_> {
    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        let is_same = self.counts == self.sound;
        if is_same && self.audit == End::Code(0) {
            return Verdict::Equal;
        }
        if self.said.contains(CUT) && matches!(self.damage.kind, "segment" | "end") {
            return match self.may_lose {
                Some(lost) if self.lost_only(lost) => Verdict::Cut,
                Some(lost) => self.different(&format!("was cut off, and more than {lost:?} is missing")),
                None => self.different("was cut off, though what is left said that it had been durable"),
            };
        }
        let is_unread = failing(self.printed) == ["I26"] && names(self.printed, self.damage);
        match self.audit {
            End::Code(3) if is_same && is_unread => Verdict::Found,
            End::Code(1) if is_same && is_told(&errors(self.printed), self.damage) => Verdict::Found,
            _ => self.different("shows something else, or the audit found something else"),
        }
    }

    /// Whether what is missing is what was cut off, and nothing else.
    fn lost_only(&self, lost: Lost) -> bool {
        let count = |counts: &Value, field: &str| counts[field].as_u64().unwrap_or_default();
        let fewer = |field: &str| count(self.sound, field).checked_sub(count(self.counts, field));
        let verdicts = ["accepted", "duplicate"].map(fewer);
        let others = ["conflict", "rejected", "parked", "undecodable"];
        let is_short_of_awards = fewer("read") == Some(lost.awards)
            && verdicts.iter().flatten().sum::<u64>() == lost.awards
            && !verdicts.contains(&None)
            && others.iter().all(|field| fewer(field) == Some(0));
        // A ledger's book is a log of its own: its postings are missed by nobody but the audit.
        let is_book = self.damage.path.starts_with("ledger");
        let findings = findings(self.printed);
        is_short_of_awards
            && match self.audit {
                End::Code(0) => true,
                End::Code(3) if is_book => {
                    failing(self.printed) == ["I15"]
                        && findings.len() as u64 <= lost.records
                        && findings.iter().all(|finding| finding.contains(GONE) || is_more(finding, lost))
                }
                // Lost intents are missed where their orders took effect.
                End::Code(3) => {
                    failing(self.printed) == ["I12"]
                        && lost.records > 0
                        && findings.iter().all(|finding| {
                            finding.contains("took effect without an intent") || finding.starts_with("and ")
                        })
                }
                _ => false,
            }
    }

    fn different(&self, why: &str) -> Verdict {
        let Self { counts, sound, audit, printed, .. } = self;
        Verdict::Different(format!("{why}: counts are {counts}, were {sound}; audit: {audit:?}\n{printed}"))
    }
}

/// Whether one who does not start says why, in words that we know, and names what is damaged.
pub fn refuses(said: &str, damage: &Damage) -> bool {
    is_told(&errors(said), damage)
}

/// Whether reasons for halting are some that we know, and name what is damaged.
pub fn halts(reasons: &str, damage: &Damage) -> bool {
    is_told(reasons, damage)
}

/// Whether a node halted because it had cut off what its stores still know: all that can be told where
/// nothing that is left of the log says that it had been durable.
pub fn is_behind(reasons: &str, said: &str) -> bool {
    let mut lines = reasons.lines().skip(1).filter(|line| !line.is_empty()).peekable();
    said.contains(CUT)
        && lines.peek().is_some()
        && lines.all(|line| {
            let tells = |words: [&str; 2]| words.iter().all(|word| line.contains(word));
            tells([" has applied ", ", but the log ends at "])
                || tells(["the ledger's book, ", ", which the store has seen"])
        })
}

fn is_told(text: &str, damage: &Damage) -> bool {
    KNOWN.iter().any(|words| text.contains(words)) && names(text, damage)
}

fn errors(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    lines.join("\n")
}

/// Whether a text names the file, or the log, partition or store that it belongs to.
fn names(text: &str, damage: &Damage) -> bool {
    let path = &damage.path;
    let is_database = path.parent().and_then(Path::file_name).is_some_and(|name| name == "db");
    let unit = match damage.kind {
        "folder" => Some(path.as_path()),
        _ if is_database => path.parent().and_then(Path::parent),
        _ => path.parent(),
    };
    let Some(unit) = unit.and_then(Path::to_str) else { return false };
    // `state/intake-0` is the task `intake/0`, `ledger/bank/accounts-0` partition 0 of the ledger `bank`.
    let task = unit.strip_prefix("state/").map(|task| format!("{}: ", task.replace('-', "/")));
    let ledger = unit.strip_prefix("ledger/").and_then(|unit| unit.split_once("/accounts-"));
    let ledger = ledger.map(|(name, partition)| format!("ledger {name}: partition {partition}: "));
    text.contains(unit) || [task, ledger].into_iter().flatten().any(|name| text.contains(&name))
}

/// Invariants that an audit says are broken.
fn failing(printed: &str) -> Vec<&str> {
    let broken = |line: &&str| line.split_whitespace().nth(1) == Some("FAIL");
    printed.lines().filter(broken).filter_map(|line| line.split_whitespace().next()).collect()
}

/// What an audit found, a line for each.
fn findings(printed: &str) -> Vec<&str> {
    printed.lines().filter(|line| line.starts_with("       ")).map(str::trim).collect()
}

/// Whether a line counts findings that are not shown, and those are not too many.
fn is_more(finding: &str, lost: Lost) -> bool {
    let number = finding.strip_prefix("and ").and_then(|rest| rest.strip_suffix(" more"));
    number
        .and_then(|number| number.replace(',', "").parse::<u64>().ok())
        .is_some_and(|more| more < lost.records)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn damage(kind: &'static str, path: &str) -> Damage {
        Damage { kind, path: path.into(), at: 7, what: "set to zero" }
    }

    fn counts(read: u64) -> Value {
        json!({"read": read, "accepted": read, "duplicate": 0, "conflict": 0, "rejected": 0, "parked": 0,
            "undecodable": 0})
    }

    const LOST: Lost = Lost { records: 3, awards: 2 };

    #[test]
    fn a_cut_is_accepted_only_with_what_it_may_take_away() {
        let end = damage("end", "log/p-0000/0000000001.seg");
        let sound = counts(10);
        let verdict = |read, said, audit, may_lose| {
            let counts = counts(read);
            let ran =
                Ran { damage: &end, counts: &counts, sound: &sound, said, audit, printed: "", may_lose };
            ran.verdict()
        };
        assert_eq!(verdict(8, CUT, End::Code(0), Some(LOST)), Verdict::Cut);
        assert_eq!(verdict(10, "", End::Code(0), None), Verdict::Equal);
        for wrong in [
            verdict(8, "", End::Code(0), Some(LOST)),
            verdict(7, CUT, End::Code(0), Some(LOST)),
            verdict(9, CUT, End::Code(0), Some(LOST)),
            verdict(11, CUT, End::Code(0), Some(LOST)),
            verdict(8, CUT, End::Code(3), Some(LOST)),
            verdict(8, CUT, End::Code(1), Some(LOST)),
            verdict(8, CUT, End::Code(0), None),
        ] {
            assert!(matches!(wrong, Verdict::Different(_)), "{wrong:?}");
        }
    }

    #[test]
    fn the_audit_of_a_cut_book_may_miss_its_postings_alone() {
        let book = damage("segment", "ledger/bank/book/p-0001/0000000002.seg");
        let sound = counts(10);
        let verdict = |printed: &str, may_lose| {
            let audit = End::Code(3);
            let ran =
                Ran { damage: &book, counts: &sound, sound: &sound, said: CUT, audit, printed, may_lose };
            ran.verdict()
        };
        let lost = Some(Lost { records: 1, awards: 0 });
        let gone = format!("I15  FAIL  ledgers agree\n       journal/1@9 order a: {GONE} (did it?)\n");
        assert_eq!(verdict(&gone, lost), Verdict::Cut);
        let twice = format!("{gone}       journal/1@10 order b: {GONE}\n");
        let other = gone.replace(GONE, "another amount");
        let more = format!("I9   FAIL  effects\n{gone}");
        for wrong in
            [verdict(&twice, lost), verdict(&other, lost), verdict(&more, lost), verdict(&gone, None)]
        {
            assert!(matches!(wrong, Verdict::Different(_)), "{wrong:?}");
        }
    }

    #[test]
    fn what_the_audit_finds_counts_only_where_the_node_shows_the_same() {
        let damage = damage("segment", "log/p-0000/0000000001.seg");
        let (sound, other) = (counts(10), counts(9));
        let found = "I26  FAIL  all can be read\n       /d/log/p-0000/0000000001.seg at 64: damaged\n";
        let verdict = |counts, printed: &str, audit| {
            let ran =
                Ran { damage: &damage, counts, sound: &sound, said: "", audit, printed, may_lose: None };
            ran.verdict()
        };
        assert_eq!(verdict(&sound, found, End::Code(3)), Verdict::Found);
        let elsewhere = found.replace("p-0000", "p-0001");
        let more = format!("I15  FAIL  agree\n{found}");
        for wrong in [
            verdict(&other, found, End::Code(3)),
            verdict(&sound, &elsewhere, End::Code(3)),
            verdict(&sound, &more, End::Code(3)),
            verdict(&sound, "error: no such file", End::Code(1)),
            verdict(&other, "", End::Code(0)),
        ] {
            assert!(matches!(wrong, Verdict::Different(_)), "{wrong:?}");
        }
    }

    #[test]
    fn refusals_are_known_and_name_what_is_damaged() {
        let said = "ready\nerror: /x/data/control.key is malformed: its checksum is missing or differs\n";
        assert!(refuses(said, &damage("folder", "control.key")));
        assert!(!refuses(said, &damage("folder", "lanes.json")));
        assert!(!refuses("error: address in use", &damage("folder", "control.key")));
        let halted = "halted:\nledger bank: partition 1: the ledger's store: the store is damaged: CURRENT\n";
        assert!(halts(halted, &damage("current", "ledger/bank/accounts-1/db/CURRENT")));
        assert!(!halts(halted, &damage("current", "ledger/bank/accounts-0/db/CURRENT")));
        let behind =
            "halted:\nintake/0: the store has applied awards up to offset 9, but the log ends at 7\n";
        assert!(is_behind(behind, CUT) && !is_behind(behind, "") && !is_behind("halted:\n", CUT));
        assert!(!is_behind(&format!("{behind}views/0: no\n"), CUT) && !is_behind(halted, CUT));
        assert!(halts("views/0: the store is damaged: x", &damage("table", "state/views-0/db/7.sst")));
    }
}
