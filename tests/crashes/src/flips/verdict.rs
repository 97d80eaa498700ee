//! What became of a damaged folder, and what a node and the audit may say of it. Whoever refuses or halts
//! must name the damaged part in words that we know; a cut is accepted only where nothing that is left
//! could have told the damage from a torn write.

use serde_json::Value;

use super::damage::Damage;
use super::part::Part;
use super::shown::Shown;
use super::torn::Lost;
use crate::process::{End, tail};

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
/// Lines shown of what a node said.
const LINES: usize = 12;
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
    /// Its name among the figures.
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
    /// What was changed.
    pub damage: &'a Damage,
    /// The part of the folder that the changed file belongs to.
    pub part: &'a Part,
    /// What the node showed.
    pub shown: &'a Shown,
    /// Counts of the undamaged folder.
    pub sound: &'a Value,
    /// What the node said, from its first line on.
    pub said: &'a str,
    /// How the audit ended.
    pub audit: End,
    /// What the audit printed.
    pub printed: &'a str,
    /// What the damage may take away unnoticed.
    pub may_lose: Option<Lost>,
}

impl Ran<'_> {
    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        if let Some(reasons) = &self.shown.halted {
            return self.halted(reasons);
        }
        let is_same = self.shown.counts == *self.sound && self.shown.wrong.is_empty();
        if is_same && self.audit == End::Code(0) {
            return Verdict::Equal;
        }
        if is_cut(self.said, self.damage) {
            return match self.may_lose {
                Some(lost) if self.lost_only(lost) && !self.is_wrong_elsewhere() => Verdict::Cut,
                Some(lost) => self.different(&format!("was cut off, and more than {lost:?} is missing")),
                None => self.different("was cut off, though what is left said that it had been durable"),
            };
        }
        let is_of_part = audit_names(self.audit, self.printed, self.part, 0).is_ok();
        match self.audit {
            End::Code(3) if is_same && is_of_part && failing(self.printed) == ["I26"] => Verdict::Found,
            End::Code(1) if is_same && is_of_part => Verdict::Found,
            _ => self.different("shows something else, or the audit found something else"),
        }
    }

    /// What a node comes to in which something has halted: all of it must be of the damaged part, and what
    /// is not of it must be as it was.
    fn halted(&self, reasons: &str) -> Verdict {
        let is_behind = self.may_lose.is_some() && self.said.contains(CUT);
        let mut lines = reasons.lines().skip(1).filter(|line| !line.is_empty()).peekable();
        if lines.peek().is_none() {
            return self.different("halted and does not say why");
        }
        let is_of_part = |line: &str| {
            let is_known =
                KNOWN.iter().any(|words| line.contains(words)) || (is_behind && tells_behind(line));
            is_known && self.part.owns(line)
        };
        if let Some(line) = lines.find(|line| !is_of_part(line)) {
            return self.different(&format!("halted for something else: {line}"));
        }
        let may_miss = is_behind && self.part.is_log();
        if self.shown.wrong.iter().any(|(partition, _)| !may_miss || self.part.partition != Some(*partition))
        {
            return self.different("another part than the one that has halted is not as it was");
        }
        // Of each lost posting the store has a row, somebody's balance and what was issued.
        let lost = self.may_lose.filter(|_| is_behind && !self.part.is_log());
        let hidden_max = lost.map_or(0, |lost| 3 * lost.records);
        match audit_names(self.audit, self.printed, self.part, hidden_max) {
            Ok(()) => Verdict::Halted,
            Err(why) => self.different(&why),
        }
    }

    /// Whether anything outside of the partition of the log that was cut is not as it was.
    fn is_wrong_elsewhere(&self) -> bool {
        let is_here = |partition: u16| self.part.is_log() && self.part.partition == Some(partition);
        self.shown.wrong.iter().any(|(partition, _)| !is_here(*partition))
    }

    /// Whether what is missing is what was cut off, and nothing else.
    fn lost_only(&self, lost: Lost) -> bool {
        let count = |counts: &Value, field: &str| counts[field].as_u64().unwrap_or_default();
        let fewer = |field: &str| count(self.sound, field).checked_sub(count(&self.shown.counts, field));
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
                        && findings.iter().all(|finding| {
                            finding.contains(GONE) || is_more(finding, lost.records.saturating_sub(1))
                        })
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
        let Self { shown, sound, audit, printed, said, .. } = self;
        let Shown { halted, counts, wrong } = shown;
        let halted = halted.as_deref().unwrap_or("ready");
        let wrong: Vec<String> =
            wrong.iter().map(|(partition, what)| format!("\n{partition}: {what}")).collect();
        let (wrong, said) = (wrong.concat(), tail(said, LINES));
        Verdict::Different(format!(
            "{why}: counts are {counts}, were {sound}{wrong}\n{halted}\naudit: {audit:?}\n{printed}\nit said:\n{said}"
        ))
    }
}

/// What a node comes to that does not start: it says why, in words that we know, and names what is damaged,
/// which is not of one partition alone. So does the audit, if it finds anything.
pub fn refuses(said: &str, damage: &Damage, part: &Part, audit: End, printed: &str) -> Verdict {
    let wrong = if !is_told(&errors(said), part) {
        "refuses for something else".to_owned()
    } else if part.partition.is_some() {
        "one partition is damaged, and the node does not start".to_owned()
    } else if let Err(why) = audit_names(audit, printed, part, 0) {
        why
    } else {
        return Verdict::Refused;
    };
    Verdict::Different(format!("{wrong}: {damage:?}\n{said}\naudit: {audit:?}\n{printed}"))
}

/// Whether the node says that it has cut off the end of a log.
pub fn is_cut(said: &str, damage: &Damage) -> bool {
    said.contains(CUT) && matches!(damage.kind, "segment" | "end")
}

/// Whether a line says that something was cut off which a store still knows: all that can be told where
/// nothing that is left of the log says that it had been durable.
fn tells_behind(line: &str) -> bool {
    let tells = |words: [&str; 2]| words.iter().all(|word| line.contains(word));
    tells([" has applied ", ", but the log ends at "])
        || tells(["the ledger's book, ", ", which the store has seen"])
}

/// Whether an audit is clean, or speaks of the damaged part alone; else what is wrong with it. As many as
/// `hidden_max` findings of an invariant may be counted without being shown.
fn audit_names(audit: End, printed: &str, part: &Part, hidden_max: u64) -> Result<(), String> {
    let findings = findings(printed);
    match audit {
        End::Code(0) => Ok(()),
        End::Code(1) if is_told(&errors(printed), part) => Ok(()),
        End::Code(3) if !findings.is_empty() => {
            let is_expected = |finding: &&&str| part.owns(finding) || is_more(finding, hidden_max);
            let other = findings.iter().find(|finding| !is_expected(finding));
            other.map_or(Ok(()), |finding| Err(format!("the audit finds something else: {finding}")))
        }
        _ => Err("the audit does not say what it found".to_owned()),
    }
}

fn is_told(text: &str, part: &Part) -> bool {
    KNOWN.iter().any(|words| text.contains(words)) && part.is_named(text)
}

fn errors(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    lines.join("\n")
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

/// Whether a line counts findings that are not shown, and those are `most` or less.
fn is_more(finding: &str, most: u64) -> bool {
    let number = finding.strip_prefix("and ").and_then(|rest| rest.strip_suffix(" more"));
    number.and_then(|number| number.replace(',', "").parse::<u64>().ok()).is_some_and(|more| more <= most)
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

    /// What a node showed, and what was said of it.
    struct Case {
        damage: Damage,
        shown: Shown,
        said: &'static str,
        audit: End,
        printed: String,
        may_lose: Option<Lost>,
    }

    impl Case {
        /// All is as it was.
        fn sound(kind: &'static str, path: &str) -> Self {
            let shown = Shown { halted: None, counts: counts(10), wrong: Vec::new() };
            let (audit, printed) = (End::Code(0), String::new());
            Self { damage: damage(kind, path), shown, said: "", audit, printed, may_lose: None }
        }

        fn verdict(&self) -> Verdict {
            let Self { damage, shown, said, audit, printed, may_lose } = self;
            let (part, sound) = (&Part::of(damage), &counts(10));
            let (audit, may_lose) = (*audit, *may_lose);
            Ran { damage, part, shown, sound, said, audit, printed, may_lose }.verdict()
        }
    }

    fn are_different(cases: impl IntoIterator<Item = Case>) {
        for case in cases {
            let wrong = case.verdict();
            assert!(matches!(wrong, Verdict::Different(_)), "{wrong:?}: {} {}", case.said, case.printed);
        }
    }

    #[test]
    fn a_cut_is_accepted_only_with_what_it_may_take_away() {
        let case = |read, said, audit, may_lose| {
            let mut case = Case::sound("end", "log/p-0000/0000000001.seg");
            (case.said, case.audit, case.may_lose) = (said, audit, may_lose);
            case.shown.counts = counts(read);
            case
        };
        let cut = || case(8, CUT, End::Code(0), Some(LOST));
        let with_wallet = |partition| {
            let mut cut = cut();
            cut.shown.wrong.push((partition, "p1 had 7, has 5".to_owned()));
            cut
        };
        assert_eq!(cut().verdict(), Verdict::Cut);
        assert_eq!(with_wallet(0).verdict(), Verdict::Cut);
        assert_eq!(case(10, "", End::Code(0), None).verdict(), Verdict::Equal);
        are_different([
            with_wallet(1),
            case(8, "", End::Code(0), Some(LOST)),
            case(7, CUT, End::Code(0), Some(LOST)),
            case(9, CUT, End::Code(0), Some(LOST)),
            case(11, CUT, End::Code(0), Some(LOST)),
            case(8, CUT, End::Code(3), Some(LOST)),
            case(8, CUT, End::Code(1), Some(LOST)),
            case(8, CUT, End::Code(0), None),
        ]);
    }

    #[test]
    fn the_audit_of_a_cut_book_may_miss_its_postings_alone() {
        let case = |printed: &str, may_lose| {
            let mut case = Case::sound("segment", "ledger/bank/book/p-0001/0000000002.seg");
            (case.said, case.audit, case.may_lose) = (CUT, End::Code(3), may_lose);
            case.printed = printed.to_owned();
            case
        };
        let lost = Some(Lost { records: 1, awards: 0 });
        let gone = format!("I15  FAIL  ledgers agree\n       journal/1@9 order a: {GONE} (did it?)\n");
        assert_eq!(case(&gone, lost).verdict(), Verdict::Cut);
        let twice = format!("{gone}       journal/1@10 order b: {GONE}\n");
        let other = gone.replace(GONE, "another amount");
        let more = format!("I9   FAIL  effects\n{gone}");
        // The wallets are folds of the log, which has lost nothing.
        let mut poorer = case(&gone, lost);
        poorer.shown.wrong.push((1, "p1 had 7, has 5".to_owned()));
        are_different([case(&twice, lost), case(&other, lost), case(&more, lost), case(&gone, None), poorer]);
    }

    #[test]
    fn what_the_audit_finds_counts_only_where_the_node_shows_the_same() {
        let found = "I26  FAIL  all can be read\n       /d/log/p-0000/0000000001.seg at 64: damaged\n";
        let case = |read, printed: &str, audit| {
            let mut case = Case::sound("segment", "log/p-0000/0000000001.seg");
            (case.shown.counts, case.audit) = (counts(read), audit);
            case.printed = printed.to_owned();
            case
        };
        assert_eq!(case(10, found, End::Code(3)).verdict(), Verdict::Found);
        let elsewhere = found.replace("p-0000", "p-0001");
        let both = format!("{found}       /d/log/p-0001/0000000001.seg at 64: damaged\n");
        let hidden = format!("{found}       and 3 more\n");
        let more = format!("I15  FAIL  agree\n{found}");
        let mut poorer = case(10, found, End::Code(3));
        poorer.shown.wrong.push((0, "p1 had 7, has 5".to_owned()));
        are_different([
            case(9, found, End::Code(3)),
            case(10, &elsewhere, End::Code(3)),
            case(10, &both, End::Code(3)),
            case(10, &hidden, End::Code(3)),
            case(10, &more, End::Code(3)),
            case(10, "error: no such file", End::Code(1)),
            case(9, "", End::Code(0)),
            poorer,
        ]);
    }

    const HALTED: &str =
        "halted:\nledger bank: partition 1: the ledger's store: the store is damaged: CURRENT\n";

    #[test]
    fn only_the_damaged_part_may_halt() {
        let case = |path, reasons: &str| {
            let mut case = Case::sound("current", path);
            case.shown.halted = Some(reasons.to_owned());
            case
        };
        let (damaged, other) = ("ledger/bank/accounts-1/db/CURRENT", "ledger/bank/accounts-0/db/CURRENT");
        assert_eq!(case(damaged, HALTED).verdict(), Verdict::Halted);
        are_different([
            case(other, HALTED),
            case(damaged, "halted:\n"),
            case(damaged, &format!("{HALTED}ledger bank: partition 0: the store is damaged: CURRENT\n")),
            case(damaged, &format!("{HALTED}intake/0: the store failed: no such file\n")),
            case(damaged, &format!("{HALTED}views/1: it is tired\n")),
        ]);
        let views = case("state/views-0/db/CURRENT", "halted:\nviews/0: the store is damaged: x\n");
        assert_eq!(views.verdict(), Verdict::Halted);
    }

    #[test]
    fn what_has_not_halted_must_be_as_it_was() {
        let case = |wrong: Option<u16>, audit, printed: &str| {
            let mut case = Case::sound("current", "ledger/bank/accounts-1/db/CURRENT");
            case.shown.halted = Some(HALTED.to_owned());
            case.shown.wrong.extend(wrong.map(|partition| (partition, "p1 had 7, has 5".to_owned())));
            (case.audit, case.printed) = (audit, printed.to_owned());
            case
        };
        let found = "I26  FAIL  all can be read\n       partition 1: the store is damaged: CURRENT\n";
        assert_eq!(case(None, End::Code(3), found).verdict(), Verdict::Halted);
        let elsewhere = format!("{found}I15  FAIL  agree\n       journal/0@9 order a: another amount\n");
        are_different([
            case(Some(0), End::Code(0), ""),
            case(Some(1), End::Code(0), ""),
            case(None, End::Code(3), &elsewhere),
            case(None, End::Code(3), &format!("{found}       and 3 more\n")),
            case(None, End::Code(1), "error: no such file"),
            case(None, End::Code(-1), ""),
        ]);
    }

    #[test]
    fn a_ledger_whose_book_was_cut_off_may_have_more_findings_than_are_shown() {
        let behind = "ledger's book, partition 1, offset 238: ends before 241, which the store has seen";
        let case = |more: u64, lost| {
            let mut case = Case::sound("segment", "ledger/bank/book/p-0001/0000000001.seg");
            (case.said, case.audit, case.may_lose) = (CUT, End::Code(3), lost);
            case.shown.halted = Some(format!("halted:\nledger bank: partition 1: the {behind}\n"));
            case.printed = format!(
                "I6   FAIL  stores are folds\n       ledger bank of partition 1: stands at 241\n       and {more} more\n"
            );
            case
        };
        assert_eq!(case(9, Some(LOST)).verdict(), Verdict::Halted);
        are_different([case(10, Some(LOST)), case(9, None)]);
    }

    #[test]
    fn who_has_cut_off_what_a_store_knows_may_halt() {
        let behind =
            "halted:\nintake/0: the store has applied awards up to offset 9, but the log ends at 7\n";
        let case = |reasons: &str, said, may_lose| {
            let mut case = Case::sound("end", "log/p-0000/0000000001.seg");
            (case.said, case.may_lose) = (said, may_lose);
            case.shown.halted = Some(reasons.to_owned());
            case
        };
        assert_eq!(case(behind, CUT, Some(LOST)).verdict(), Verdict::Halted);
        are_different([
            case(behind, "", Some(LOST)),
            case(behind, CUT, None),
            case("halted:\n", CUT, Some(LOST)),
            case(&format!("{behind}views/0: no\n"), CUT, Some(LOST)),
            case(&behind.replace("intake/0", "intake/1"), CUT, Some(LOST)),
        ]);
    }

    #[test]
    fn refusals_are_known_and_name_what_is_damaged_and_not_a_partition() {
        let said = "ready\nerror: /x/data/control.key is malformed: its checksum is missing or differs\n";
        let refuses = |said: &str, path: &str, audit, printed: &str| {
            let damage = damage("folder", path);
            refuses(said, &damage, &Part::of(&damage), audit, printed)
        };
        assert_eq!(refuses(said, "control.key", End::Code(0), ""), Verdict::Refused);
        let one = "error: /x/data/log/p-0001/3.seg is damaged: x";
        let found = "I15  FAIL  agree\n       journal/0@9 order a: another amount\n";
        for wrong in [
            refuses(said, "lanes.json", End::Code(0), ""),
            refuses("error: address in use", "control.key", End::Code(0), ""),
            refuses(said, "control.key", End::Code(3), found),
            refuses(one, "log/p-0001/3.seg", End::Code(0), ""),
        ] {
            assert!(matches!(wrong, Verdict::Different(_)), "{wrong:?}");
        }
    }
}
