//! Writes journals as intake and sinks would.

use std::collections::BTreeMap;

use hongbao_schemas::award::Award;
use hongbao_schemas::ext::Ext;
use hongbao_schemas::journal::{
    Accepted, Conflict, CreditFact, CreditStage, Fact, Opened, RangesBuf, Rejected, SeqRange,
    SettingsChanged, Ticked,
};
use hongbao_schemas::money::Asset;
use hongbao_schemas::settings::{Activity, RewardType, Scene, Settings};

/// Where all journals begin.
pub(super) const START_MS: i64 = 1_800_000_000_000;

/// What a scene gives, and where that is credited.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) activity_id: &'static str,
    pub(super) scene_id: &'static str,
    pub(super) reward_type: &'static str,
    pub(super) asset: &'static str,
    pub(super) lane: &'static str,
}

const fn given(
    activity_id: &'static str,
    scene_id: &'static str,
    reward_type: &'static str,
    asset: &'static str,
    lane: &'static str,
) -> Given {
    Given { activity_id, scene_id, reward_type, asset, lane }
}

/// Two assets of money on one lane and one of pieces on another, in two activities.
pub(super) const GIVEN: [Given; 4] = [
    given("spring", "rain", "cash", "CNY/2", "cash"),
    given("spring", "film", "coupon.film", "COUPON/0", "coupon"),
    given("spring", "coins", "coin", "COIN/3", "cash"),
    given("autumn", "rain", "cash", "CNY/2", "cash"),
];

pub(super) const CASH: usize = 0;
pub(super) const FILM: usize = 1;
pub(super) const COIN: usize = 2;
pub(super) const AUTUMN: usize = 3;

/// Settings in which the scenes of `unreconciled` are not reconciled.
pub(super) fn settings(unreconciled: &[usize], overdue_after_ms: i64) -> Settings {
    let mut settings = Settings {
        number: 1,
        name: "test".to_owned(),
        reward_types: BTreeMap::new(),
        activities: BTreeMap::new(),
        reconcile_overdue_after_ms: overdue_after_ms,
    };
    for (place, given) in GIVEN.iter().enumerate() {
        let asset = Asset::parse(given.asset).unwrap();
        let reward_type = RewardType { asset, max_minor: i64::MAX, lane: given.lane.to_owned() };
        settings.reward_types.insert(given.reward_type.to_owned(), reward_type);
        let activity = settings.activities.entry(given.activity_id.to_owned());
        let scene = Scene {
            reward_type: given.reward_type.to_owned(),
            text: format!("text of {}", given.scene_id),
            reconcile: !unreconciled.contains(&place),
        };
        let empty = || Activity { scenes: BTreeMap::new() };
        activity.or_insert_with(empty).scenes.insert(given.scene_id.to_owned(), scene);
    }
    settings
}

/// A journal being written. Positions of records are their offsets.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) records: Vec<Vec<u8>>,
    next_seq: BTreeMap<&'static str, i64>,
    /// Milliseconds since [`START_MS`].
    pub(super) now_ms: i64,
    awards: i64,
}

impl Journal {
    fn push(&mut self, fact: &Fact<'_>) -> u64 {
        let mut record = Vec::new();
        fact.encode(&mut record);
        self.records.push(record);
        self.records.len() as u64 - 1
    }

    fn at_ms(&self) -> i64 {
        START_MS + self.now_ms
    }

    fn award(&mut self) -> i64 {
        self.awards += 1;
        self.awards - 1
    }

    /// An accepted award; returns its order number.
    pub(super) fn accept(&mut self, act_id: &str, given: usize, amount_minor: i64) -> String {
        let award_offset = self.award();
        let Given { activity_id, scene_id, reward_type, asset, lane } = GIVEN[given];
        let order_no = format!("{act_id}_{scene_id}_r1_{reward_type}_{award_offset}");
        let reward_id = format!("{reward_type}-{amount_minor}");
        let at_ms = self.at_ms();
        let award = Award {
            order_no: &order_no,
            act_id,
            activity_id,
            scene_id,
            reward_type,
            reward_id: &reward_id,
            amount_minor,
            event_time_ms: at_ms - 7,
            app: "app",
            ext: Ext::EMPTY,
        };
        let seq = self.next_seq.entry(lane).or_insert(1);
        let lane_seq = *seq;
        *seq += 1;
        self.push(&Fact::Accepted(Accepted { award, asset, lane, lane_seq, award_offset, at_ms }));
        order_no
    }

    /// A credit fact, `later_ms` after the journal's time.
    pub(super) fn credit(
        &mut self,
        stage: CreditStage,
        lane: &str,
        ranges: &[(u64, u64)],
        later_ms: i64,
        reason: &str,
    ) {
        let mut buf = RangesBuf::new();
        for (first, count) in ranges {
            buf.push(SeqRange::new(first.cast_signed(), count.cast_signed()).unwrap());
        }
        let at_ms = self.at_ms() + later_ms;
        self.push(&Fact::Credit(CreditFact { stage, lane, at_ms, ranges: buf.as_ranges(), reason }));
    }

    pub(super) fn reject(&mut self, order_no: &str, act_id: &str, code: &str) {
        let award_offset = self.award();
        self.push(&Fact::Rejected(Rejected {
            order_no,
            act_id,
            activity_id: "spring",
            scene_id: "rain",
            reward_type: "cash",
            reward_id: "",
            amount_minor: -5,
            code,
            award_offset,
            at_ms: self.at_ms(),
        }));
    }

    pub(super) fn conflict(&mut self, order_no: &str, act_id: &str, amount_minor: i64) {
        let award_offset = self.award();
        self.push(&Fact::Conflict(Conflict {
            order_no,
            act_id,
            activity_id: "spring",
            scene_id: "rain",
            reward_type: "cash",
            reward_id: "",
            amount_minor,
            award_offset,
            at_ms: self.at_ms(),
        }));
    }

    /// Time moves on by `by_ms`.
    pub(super) fn tick(&mut self, by_ms: i64) {
        self.now_ms += by_ms;
        let award_offset = self.award();
        self.push(&Fact::Ticked(Ticked { at_ms: self.at_ms(), award_offset }));
    }

    pub(super) fn settings(&mut self, settings: &Settings) {
        let body = settings.to_json().unwrap();
        let (award_offset, at_ms) = (self.award(), self.at_ms());
        self.push(&Fact::SettingsChanged(SettingsChanged { number: 1, body: &body, award_offset, at_ms }));
    }

    pub(super) fn opened(&mut self, source: &str, writer: u8, epoch: i64) {
        let at_ms = self.at_ms();
        self.push(&Fact::Opened(Opened { source, writer: [writer; 16], epoch, at_ms }));
    }
}
