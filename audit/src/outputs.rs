//! What intake wrote, held against what it must have written: record by record and byte for byte
//! (I1, I3, I4).

use std::collections::BTreeMap;

use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::Offset;
use hongbao_schemas::dead_letter::DeadLetter;
use hongbao_schemas::journal::Fact;
use hongbao_schemas::order::Order;

use crate::report::{Invariant, Report};
use crate::stream::{Record, Stream};
use crate::verdicts::{DEAD_LETTERS, Expected, INTAKE, JOURNAL};

/// The topics that intake writes in one partition.
pub struct Outputs<'a> {
    log: &'a dyn Log,
    partition: Partition,
    topics: BTreeMap<String, Topic<'a>>,
    /// What is missing is still to come, see [`IntakeAudit::unfinished`](crate::IntakeAudit::unfinished).
    pub(crate) is_unfinished: bool,
}

struct Topic<'a> {
    stream: Stream<'a>,
    end: Offset,
    /// Sinks write there too.
    is_shared: bool,
    /// The next record of intake, not compared yet.
    found: Option<Found>,
    /// Award of the last record that was there and of the first one that was not.
    last_there: Option<Offset>,
    first_missing: Option<Offset>,
}

/// A record of intake.
struct Found {
    offset: Offset,
    seq: u64,
    bytes: Vec<u8>,
}

impl<'a> Outputs<'a> {
    /// Before the first record.
    #[must_use]
    pub fn new(log: &'a dyn Log, partition: Partition) -> Self {
        Self { log, partition, topics: BTreeMap::new(), is_unfinished: false }
    }

    /// Compares the next record of a topic with the one that must be there.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn expect(&mut self, expected: &Expected, report: &mut Report) -> Result<(), LogError> {
        self.open(&expected.topic)?;
        match self.topics.get_mut(&expected.topic) {
            Some(topic) => topic.expect(expected, report),
            None => Ok(()),
        }
    }

    fn open(&mut self, name: &str) -> Result<(), LogError> {
        if !self.topics.contains_key(name) {
            let stream = Stream::open(self.log, self.partition, name)?;
            let end = stream.end()?;
            let is_shared = name == JOURNAL;
            let topic = Topic { stream, end, is_shared, found: None, last_there: None, first_missing: None };
            self.topics.insert(name.to_owned(), topic);
        }
        Ok(())
    }

    /// Tells what no award asks for, and whether all topics end at the same award. Returns the
    /// first award that intake has not decided, if there is one.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn finish(mut self, report: &mut Report) -> Result<Option<Offset>, LogError> {
        for name in [JOURNAL, DEAD_LETTERS] {
            self.open(name)?;
        }
        for topic in self.topics.values_mut() {
            while topic.look(report)? {
                topic.extra(report);
            }
            if topic.stream.topic() != JOURNAL && !self.is_unfinished {
                topic.stream.finish(report);
            }
        }
        let undecided = self.topics.values().filter_map(|topic| topic.first_missing).min();
        for topic in self.topics.values().filter(|_| !self.is_unfinished) {
            if let (Some(there), Some(missing)) = (topic.last_there, undecided)
                && there >= missing
            {
                let (name, partition) = (topic.stream.topic(), self.partition);
                report.find(
                    Invariant::I1,
                    format_args!("{name}/{partition} has the record of award {there}, while one of award {missing} is missing"),
                );
            }
        }
        Ok(undecided)
    }
}

impl Topic<'_> {
    fn expect(&mut self, expected: &Expected, report: &mut Report) -> Result<(), LogError> {
        while self.look(report)? {
            let Some(found) = &self.found else { break };
            if found.seq == expected.seq && found.bytes == expected.bytes {
                self.last_there = Some(expected.award_offset);
                self.found = None;
                return Ok(());
            }
            let order = match award_of(self.stream.topic(), &found.bytes) {
                Some(award_offset) => award_offset.cmp(&expected.award_offset),
                None => found.seq.cmp(&expected.seq),
            };
            match order {
                std::cmp::Ordering::Less => self.extra(report),
                std::cmp::Ordering::Equal => {
                    self.differs(expected, report);
                    return Ok(());
                }
                std::cmp::Ordering::Greater => {
                    self.missing(expected, report);
                    return Ok(());
                }
            }
        }
        self.first_missing.get_or_insert(expected.award_offset);
        Ok(())
    }

    /// Sees to it that the next record of intake is at hand; false at the end.
    fn look(&mut self, report: &mut Report) -> Result<bool, LogError> {
        // What is wrong with the journal as a whole is told by its own fold.
        let mut unused = Report::new();
        let is_shared = self.is_shared;
        while self.found.is_none() {
            let report = if is_shared { &mut unused } else { &mut *report };
            let Some(record) = self.stream.next(self.end, report)? else { return Ok(false) };
            let Record { offset, source, seq, bytes, .. } = record;
            if source == INTAKE {
                self.found = Some(Found { offset, seq, bytes: bytes.to_vec() });
            } else if !is_shared {
                let source = source.to_owned();
                let at = self.stream.at(offset);
                report.find(Invariant::I24, format_args!("{at}: written by {source:?}, which may not"));
            }
        }
        Ok(true)
    }

    fn extra(&mut self, report: &mut Report) {
        let Some(found) = self.found.take() else { return };
        let at = self.stream.at(found.offset);
        let said = describe(at.0, &found.bytes);
        report.find(invariant_of(at.0, &found.bytes), format_args!("{at}: no award asks for this: {said}"));
    }

    fn differs(&mut self, expected: &Expected, report: &mut Report) {
        let Some(found) = self.found.take() else { return };
        self.last_there = Some(expected.award_offset);
        let at = self.stream.at(found.offset);
        let award = expected.award_offset;
        let (is, must) = (describe(at.0, &found.bytes), describe(at.0, &expected.bytes));
        let (left, right) = (invariant_of(at.0, &found.bytes), invariant_of(at.0, &expected.bytes));
        let same_kind = is.split(' ').next() == must.split(' ').next();
        let invariant = match (left, right) {
            (Invariant::I1, Invariant::I1) if same_kind => Invariant::I4,
            (Invariant::I1, other) => other,
            (other, _) => other,
        };
        report.find(invariant, format_args!("{at}: for award {award} it says {is}, not {must}"));
    }

    fn missing(&self, expected: &Expected, report: &mut Report) {
        let Expected { topic, award_offset, bytes, .. } = expected;
        let (said, partition) = (describe(topic, bytes), self.stream.at(0).1);
        report.find(
            invariant_of(topic, bytes),
            format_args!("{topic}/{partition}: for award {award_offset} there is no {said}"),
        );
    }
}

/// The award that a record is about, where the record says so.
fn award_of(topic: &str, record: &[u8]) -> Option<Offset> {
    let award_offset = match topic {
        JOURNAL => match Fact::decode(record).ok()? {
            Fact::Accepted(fact) => fact.award_offset,
            Fact::Rejected(fact) => fact.award_offset,
            Fact::Conflict(fact) => fact.award_offset,
            Fact::Ticked(fact) => fact.award_offset,
            Fact::SettingsChanged(fact) => fact.award_offset,
            Fact::Opened(_) | Fact::Credit(_) => return None,
        },
        DEAD_LETTERS => DeadLetter::decode(record).ok()?.offset,
        _ => return None,
    };
    Some(award_offset.cast_unsigned())
}

/// The invariant that a wrong or missing record of this kind breaks.
fn invariant_of(topic: &str, record: &[u8]) -> Invariant {
    match Fact::decode(record) {
        Ok(Fact::Conflict(_)) if topic == JOURNAL => Invariant::I3,
        Ok(Fact::SettingsChanged(_)) if topic == JOURNAL => Invariant::I30,
        _ => Invariant::I1,
    }
}

/// A record of intake for people, its kind first.
fn describe(topic: &str, record: &[u8]) -> String {
    match topic {
        JOURNAL => match Fact::decode(record) {
            Ok(Fact::Accepted(fact)) => format!(
                "accepted {} {} {} as {} of {} at {}",
                fact.award.order_no,
                fact.award.amount_minor,
                fact.asset,
                fact.lane_seq,
                fact.lane,
                fact.at_ms
            ),
            Ok(Fact::Rejected(fact)) => format!("rejected {} {} at {}", fact.order_no, fact.code, fact.at_ms),
            Ok(Fact::Conflict(fact)) => {
                format!("conflict {} {} at {}", fact.order_no, fact.amount_minor, fact.at_ms)
            }
            Ok(Fact::Ticked(fact)) => format!("ticked at {}", fact.at_ms),
            Ok(Fact::SettingsChanged(fact)) => format!("settings {} at {}", fact.number, fact.at_ms),
            Ok(Fact::Opened(_) | Fact::Credit(_)) => "foreign fact".to_owned(),
            Err(error) => format!("unreadable record ({error})"),
        },
        DEAD_LETTERS => match DeadLetter::decode(record) {
            Ok(letter) => format!("letter {} about {}", letter.code, letter.offset),
            Err(error) => format!("unreadable record ({error})"),
        },
        _ => match Order::decode(record) {
            Ok(order) => format!("order {} {} {}", order.order_no, order.amount_minor, order.asset),
            Err(error) => format!("unreadable record ({error})"),
        },
    }
}
