//! Which orders of a lane may end as reported (I11). The journal tells of each attempt how it ended, so that a
//! node that gives up what it should have asked about or sent again is found out; the downstream's book tells
//! what it would have been answered.

use std::collections::BTreeMap;
use std::io;

use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_schemas::journal::{CreditFact, CreditStage, Fact};
use hongbao_segments::SegmentLog;

use crate::attempts::ATTEMPTS_MAX;
use crate::rig::{Effects, KeyDigest, key_digest};
use crate::story::each_record_of;
use crate::topology::Keys;

/// How the reason of a report begins when the downstream was asked and did not have the order.
const ASKED_AND_ABSENT: &str = "absent";

/// What may be reported of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Nothing: its downstream knows keys for ever, or is the embedded ledger.
    Nothing,
    /// What its downstream allows that is outside.
    Outside(Keys),
}

/// What the journal tells of the attempts of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Attempts {
    order_no: String,
    /// Intents that were not withdrawn.
    begun: u64,
    /// Attempts of which no answer was ever understood.
    unanswered: u64,
    /// There is an intent behind which nothing stands yet.
    is_open: bool,
    /// Why it was reported, if it was.
    reported: Option<String>,
    /// When the process that reported it took over the lane, in milliseconds since the Unix epoch.
    taken_over_ms: i64,
}

impl Attempts {
    fn take(&mut self, stage: CreditStage, reason: &str) {
        let is_open = std::mem::replace(&mut self.is_open, stage == CreditStage::Started);
        match stage {
            CreditStage::Started => {
                self.begun += 1;
                // The process ended before it knew more of the attempt before.
                self.unanswered += u64::from(is_open);
            }
            CreditStage::Withdrawn => self.begun = self.begun.saturating_sub(1),
            CreditStage::Unknown => self.unanswered += 1,
            CreditStage::Reported => {
                self.unanswered += u64::from(is_open);
                self.reported = Some(reason.to_owned());
            }
            CreditStage::Credited | CreditStage::Refused | CreditStage::Deferred => {}
        }
    }

    /// What is wrong with the report of this order, if it was reported and should not have been.
    fn is_wrong(&self, allowed: Allowed) -> Option<&'static str> {
        let reason = self.reported.as_deref()?;
        match allowed {
            Allowed::Nothing => Some("nothing of this lane may be"),
            Allowed::Outside(Keys::ForADay) if self.begun >= ATTEMPTS_MAX => None,
            Allowed::Outside(Keys::ForADay) => Some("its key lived, and attempts were left"),
            Allowed::Outside(Keys::None) if self.unanswered == 0 => Some("every attempt was answered"),
            Allowed::Outside(Keys::None) if !reason.starts_with(ASKED_AND_ABSENT) => {
                Some("the downstream has not said that it has no such order")
            }
            Allowed::Outside(Keys::None) => None,
        }
    }
}

/// What the journal of a data folder tells of the orders of its lanes, by lane, partition and sequence.
#[derive(Default)]
pub struct Reports {
    orders: BTreeMap<(String, u16, i64), Attempts>,
    /// When a process took over a lane last, as far as the journal was read.
    taken_over_ms: BTreeMap<(String, u16), i64>,
}

/// Source of a lane's facts, in front of its name.
const SOURCE: &str = "sink.";

impl Reports {
    /// Reads the journal.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(log: &SegmentLog) -> io::Result<Self> {
        let mut reports = Self::default();
        for partition in 0..log.partitions() {
            each_record_of(log, Partition(partition), "journal", |record| {
                if let Ok(fact) = Fact::decode(record) {
                    reports.take(partition, &fact);
                }
            })?;
        }
        Ok(reports)
    }

    fn take(&mut self, partition: u16, fact: &Fact<'_>) {
        match fact {
            Fact::Accepted(fact) => {
                let place = (fact.lane.to_owned(), partition, fact.lane_seq);
                fact.award.order_no.clone_into(&mut self.orders.entry(place).or_default().order_no);
            }
            Fact::Opened(fact) => {
                if let Some(lane) = fact.source.strip_prefix(SOURCE) {
                    self.taken_over_ms.insert((lane.to_owned(), partition), fact.at_ms);
                }
            }
            Fact::Credit(fact) => self.take_credit(partition, fact),
            _ => {}
        }
    }

    fn take_credit(&mut self, partition: u16, fact: &CreditFact<'_>) {
        let since = self.taken_over_ms.get(&(fact.lane.to_owned(), partition)).copied();
        for seq in fact.ranges.iter().flat_map(|range| range.first()..range.end()) {
            let order = self.orders.entry((fact.lane.to_owned(), partition, seq)).or_default();
            order.take(fact.stage, fact.reason);
            order.taken_over_ms = since.unwrap_or(i64::MIN);
        }
    }

    fn of_lane(&self, lane: &str) -> impl Iterator<Item = (&(String, u16, i64), &Attempts)> {
        self.orders.iter().filter(move |((of, ..), _)| of == lane)
    }

    /// Orders of a lane that were reported.
    #[must_use]
    pub fn reported(&self, lane: &str) -> u64 {
        self.of_lane(lane).filter(|(_, order)| order.reported.is_some()).count() as u64
    }

    /// Attempts of a lane of which no answer was ever understood.
    #[must_use]
    pub fn unanswered(&self, lane: &str) -> u64 {
        self.of_lane(lane).map(|(_, order)| order.unanswered).sum()
    }

    /// How many orders of a lane were reported and should not have been, and the first of them.
    #[must_use]
    pub fn wrong(&self, lane: &str, allowed: Allowed) -> Option<String> {
        let mut wrong =
            self.of_lane(lane).filter_map(|(place, order)| Some((place, order, order.is_wrong(allowed)?)));
        let ((_, partition, seq), order, why) = wrong.next()?;
        let more = wrong.count();
        Some(format!(
            "I11: lane {lane} reported order {seq} of partition {partition}, but {why}: {order:?}; {more} more"
        ))
    }

    /// Reported orders of a lane that had taken effect before the process that reported them began: it must
    /// have been told so when it asked.
    #[must_use]
    pub fn known_downstream(&self, lane: &str, effects: &BTreeMap<KeyDigest, Effects>) -> Option<String> {
        let mut known = self.of_lane(lane).filter(|(_, order)| {
            let known = effects.get(&key_digest(&order.order_no));
            order.reported.is_some() && known.is_some_and(|known| known.first_ms < order.taken_over_ms)
        });
        let (_, order) = known.next()?;
        let more = known.count();
        Some(format!("I11: reported although the downstream had it at the start: {order:?}; {more} more"))
    }
}

#[cfg(test)]
mod tests {
    use CreditStage::{Credited, Deferred, Reported, Started, Unknown, Withdrawn};
    use hongbao_schemas::journal::{Opened, RangesBuf, SeqRange};

    use super::*;

    const NO_KEYS: Allowed = Allowed::Outside(Keys::None);
    const A_DAY: Allowed = Allowed::Outside(Keys::ForADay);

    fn told(stages: &[CreditStage], reason: &str) -> Reports {
        let mut reports = Reports::default();
        tell(&mut reports, stages, reason);
        reports
    }

    /// Facts of the orders 7 and 8.
    fn tell(reports: &mut Reports, stages: &[CreditStage], reason: &str) {
        let mut ranges = RangesBuf::new();
        SeqRange::new(7, 2).into_iter().for_each(|range| ranges.push(range));
        for stage in stages {
            let fact =
                CreditFact { stage: *stage, lane: "coupon", at_ms: 1, ranges: ranges.as_ranges(), reason };
            reports.take(0, &Fact::Credit(fact));
        }
    }

    #[test]
    fn what_had_taken_effect_before_a_start_is_not_reported_after_it() {
        let mut reports = told(&[Started], "");
        let order_no = "p1_film_c1_t_9";
        let place = ("coupon".to_owned(), 0, 8);
        reports.orders.get_mut(&place).unwrap().order_no = order_no.to_owned();
        let known = |reports: &Reports, at_ms| {
            let effects = BTreeMap::from([(key_digest(order_no), Effects { count: 1, first_ms: at_ms })]);
            reports.known_downstream("coupon", &effects).is_some()
        };
        for (source, at_ms) in [("sink.coupon", 50), ("sink.cash", 90)] {
            let opened = Opened { source, writer: [7; 16], epoch: 2, at_ms };
            reports.take(0, &Fact::Opened(opened));
        }
        assert!(!known(&reports, 49), "not reported yet");
        tell(&mut reports, &[Unknown, Reported], "absent, never sent twice without keys");
        assert!(known(&reports, 49) && !known(&reports, 50));
        assert_eq!(reports.known_downstream("coupon", &BTreeMap::new()), None);
    }

    #[test]
    fn without_keys_only_what_was_left_unanswered_and_asked_about_is_reported() {
        let absent = "absent, never sent twice without keys";
        for (stages, reason, is_allowed) in [
            (&[Started, Unknown, Reported][..], absent, true),
            // Killed before the answer.
            (&[Started, Reported], absent, true),
            (&[Started, Deferred, Started, Reported], absent, true),
            (&[Started, Unknown, Credited], "", true),
            // Everything that was open at a kill, without a question.
            (&[Started, Reported], "restarted before the answer", false),
            (&[Started, Unknown, Reported], "status 500", false),
            (&[Reported], absent, false),
            (&[Started, Deferred, Reported], absent, false),
            (&[Started, Withdrawn, Reported], absent, false),
        ] {
            let reports = told(stages, reason);
            assert_eq!(reports.wrong("coupon", NO_KEYS).is_none(), is_allowed, "{stages:?} {reason}");
            assert_eq!(reports.wrong("cash", NO_KEYS), None);
            let is_reported = stages.ends_with(&[Reported]);
            assert_eq!(reports.reported("coupon"), 2 * u64::from(is_reported), "{stages:?}");
            assert_eq!(reports.wrong("coupon", Allowed::Nothing).is_some(), is_reported, "{stages:?}");
        }
    }

    #[test]
    fn with_a_living_key_an_order_is_reported_after_all_attempts_only() {
        let most = ATTEMPTS_MAX as usize;
        for (attempts, is_allowed) in [(1, false), (most - 1, false), (most, true)] {
            let mut stages = [Started, Unknown].repeat(attempts);
            stages.push(Reported);
            let reports = told(&stages, "absent, too many attempts");
            assert_eq!(reports.wrong("coupon", A_DAY).is_none(), is_allowed, "{attempts} attempts");
            assert_eq!(reports.unanswered("coupon"), 2 * attempts as u64);
        }
    }
}
