//! Any history against a naive model, through freezes, commits and crashes, and against the same
//! history in one batch.

use std::collections::HashMap;

use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::control::ControlKind;
use hongbao_schemas::refusal::Refusal;
use hongbao_schemas::settings::Settings;
use proptest::prelude::*;

use super::harness::{Harness, PARTITION, award, control, encoded, settings_with_lane, tick};
use crate::intake::{Counts, Verdict};

/// One record of the input.
#[derive(Clone, Debug)]
enum Input {
    Award(AwardBuf),
    Tick { number: i64, at_ms: i64 },
    Settings { number: u64, lane: &'static str, has_film: bool },
    Noise(Vec<u8>),
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Append(Input),
    Apply(usize),
    Freeze,
    Commit,
    Crash,
}

fn settings_text(number: u64, lane: &str, has_film: bool) -> String {
    let text = settings_with_lane(number, lane);
    if has_film { text } else { text.replace("\"film\": {\"reward_type\"", "\"gone\": {\"reward_type\"") }
}

impl Input {
    fn record(&self) -> Vec<u8> {
        match self {
            Self::Award(award) => encoded(&award.as_award()),
            Self::Tick { number, at_ms } => tick(*number, *at_ms),
            Self::Settings { number, lane, has_film } => {
                let text = settings_text(*number, lane, *has_film);
                control(ControlKind::Settings, PARTITION.0, number.cast_signed(), 0, text.as_bytes())
            }
            Self::Noise(bytes) => bytes.clone(),
        }
    }
}

/// Everything a plain reader of the rules would remember.
#[derive(Default)]
struct Model {
    settings: Option<Settings>,
    payloads: HashMap<String, AwardBuf>,
    verdicts: Vec<Verdict>,
}

impl Model {
    fn take(&mut self, input: &Input) {
        let verdict = match input {
            Input::Award(award) if award.act_id == "d" => Verdict::Undecodable,
            Input::Award(award) => match self.refusal(award) {
                Some(refusal) => Verdict::Rejected(refusal),
                None => self.look_up(award),
            },
            Input::Tick { .. } => Verdict::Control,
            Input::Settings { number, lane, has_film } => {
                if self.settings.as_ref().is_none_or(|settings| settings.number < *number) {
                    let text = settings_text(*number, lane, *has_film);
                    self.settings = Some(Settings::from_json(text.as_bytes()).unwrap());
                }
                Verdict::Control
            }
            Input::Noise(_) => Verdict::Undecodable,
        };
        self.verdicts.push(verdict);
    }

    fn refusal(&self, award: &AwardBuf) -> Option<Refusal> {
        let parts: Vec<&str> = award.order_no.rsplitn(5, '_').collect();
        if parts.len() < 5 || parts.iter().any(|part| part.is_empty()) {
            return Some(Refusal::MalformedOrderNo);
        }
        if parts[4] != award.act_id {
            return Some(Refusal::OrderNoActIdMismatch);
        }
        if parts[3] != award.scene_id {
            return Some(Refusal::OrderNoSceneMismatch);
        }
        let activities = self.settings.as_ref().map(|settings| &settings.activities);
        let Some(activity) = activities.and_then(|activities| activities.get(&award.activity_id)) else {
            return Some(Refusal::UnknownActivity);
        };
        let Some(scene) = activity.scenes.get(&award.scene_id) else {
            return Some(Refusal::UnknownScene);
        };
        if scene.reward_type != award.reward_type {
            return Some(Refusal::RewardTypeMismatch);
        }
        let max_minor = self.settings.as_ref().unwrap().reward_types[&award.reward_type].max_minor;
        match award.amount_minor {
            ..=0 => Some(Refusal::AmountNotPositive),
            amount if amount > max_minor => Some(Refusal::AmountAboveCap),
            _ => None,
        }
    }

    fn look_up(&mut self, award: &AwardBuf) -> Verdict {
        let Some(first) = self.payloads.get(&award.order_no) else {
            self.payloads.insert(award.order_no.clone(), award.clone());
            return Verdict::Accepted;
        };
        let payload = |award: &AwardBuf| {
            let AwardBuf { act_id, activity_id, scene_id, reward_type, reward_id, amount_minor, .. } =
                award.clone();
            (act_id, activity_id, scene_id, reward_type, reward_id, amount_minor)
        };
        if payload(first) == payload(award) { Verdict::Duplicate } else { Verdict::Conflict }
    }

    fn counts(&self) -> Counts {
        let count =
            |verdict: fn(&Verdict) -> bool| self.verdicts.iter().filter(|v| verdict(v)).count() as u64;
        Counts {
            read: count(|verdict| *verdict != Verdict::Control),
            accepted: count(|verdict| *verdict == Verdict::Accepted),
            duplicate: count(|verdict| *verdict == Verdict::Duplicate),
            conflict: count(|verdict| *verdict == Verdict::Conflict),
            rejected: count(|verdict| matches!(verdict, Verdict::Rejected(_))),
            parked: 0,
            undecodable: count(|verdict| *verdict == Verdict::Undecodable),
        }
    }
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(texts).prop_map(str::to_owned)
}

/// Mostly valid awards of few people and rains, so that numbers meet again.
fn any_award() -> impl Strategy<Value = AwardBuf> {
    let names = (
        one_of(&["a", "a", "a_1", "d"]),
        one_of(&["spring", "spring", "spring", "spring", "empty", "autumn"]),
        one_of(&["rain", "rain", "film", "snow"]),
        one_of(&["", "", "", "t1"]),
    );
    let values = (prop::sample::select(vec![1_i64, 1, 1, 2, 0, 201]), 0..3_u32, 0..20_u32, 0..3_i64);
    (names, values).prop_map(|((act_id, activity_id, scene_id, reward_id), values)| {
        let (amount_minor, rain, twist, event_time_ms) = values;
        let order_no = match twist {
            0 => "a_rain_r1".to_owned(),
            1 => format!("a_{scene_id}_r{rain}_x_1"),
            2 => format!("{act_id}_rain_r{rain}_x_1"),
            _ => format!("{act_id}_{scene_id}_r{rain}_x_1"),
        };
        let reward_type = if scene_id == "film" || twist == 3 { "film" } else { "cash" }.to_owned();
        let texts = (order_no, act_id, activity_id, scene_id, reward_type, reward_id);
        let (order_no, act_id, activity_id, scene_id, reward_type, reward_id) = texts;
        AwardBuf {
            order_no,
            act_id,
            activity_id,
            scene_id,
            reward_type,
            reward_id,
            amount_minor,
            event_time_ms,
            ..award()
        }
    })
}

fn any_input() -> impl Strategy<Value = Input> {
    let noise = prop::collection::vec(any::<u8>(), 0..4).prop_map(Input::Noise);
    let lanes = prop::sample::select(vec!["coupon", "cash", "a-lane"]);
    prop_oneof![
        20 => any_award().prop_map(Input::Award),
        1 => (0..20_i64, 0..9_000_000_i64).prop_map(|(number, at_ms)| Input::Tick { number, at_ms }),
        1 => (1..8_u64, lanes, any::<bool>())
            .prop_map(|(number, lane, has_film)| Input::Settings { number, lane, has_film }),
        1 => noise,
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => any_input().prop_map(Step::Append),
        6 => (1..9_usize).prop_map(Step::Apply),
        1 => Just(Step::Freeze),
        1 => Just(Step::Commit),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #[test]
    fn any_history_is_the_models(steps in prop::collection::vec(any_step(), 0..300)) {
        let first = Input::Settings { number: 1, lane: "coupon", has_film: true };
        let (mut harness, mut model) = (Harness::new(), Model::default());
        for step in std::iter::once(&Step::Append(first)).chain(&steps) {
            match step {
                Step::Append(input) => {
                    harness.log.push(input.record());
                    model.take(input);
                }
                Step::Apply(records_max) => {
                    let first = harness.applied;
                    let verdicts = harness.apply(*records_max);
                    prop_assert_eq!(&verdicts[..], &model.verdicts[first..first + verdicts.len()]);
                }
                Step::Freeze => harness.freeze(),
                Step::Commit => harness.commit(),
                Step::Crash => harness.reopen(),
            }
        }
        harness.apply(usize::MAX);
        prop_assert_eq!(harness.board.counts(), model.counts());

        let mut at_once = Harness::new();
        at_once.feed(&harness.log);
        prop_assert_eq!(at_once.verdicts(0, at_once.log.len()), model.verdicts);
        prop_assert_eq!(at_once.written, harness.written);
    }
}
