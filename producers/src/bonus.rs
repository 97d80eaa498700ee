//! The award interface (R1): one call for every game, app and reward type. What intake would
//! refuse is refused here, typed and counted, before anything is sent (R2).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use hongbao_schemas::award::Award;
use hongbao_schemas::ext::ExtBuf;
use hongbao_schemas::order_no::{OrderNo, OrderNoError};
use hongbao_schemas::refusal::Refusal;
use hongbao_schemas::settings::Settings;

use crate::sender::{SendError, Sender};

/// Where something was won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity<'a> {
    /// The parent activity.
    pub activity_id: &'a str,
    /// The scene; decides the reward type.
    pub scene_id: &'a str,
    /// The round within the scene, such as one rain of several.
    pub rain_id: &'a str,
}

/// Who won it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User<'a> {
    /// The person across apps.
    pub act_id: &'a str,
    /// The app; may be empty.
    pub app: &'a str,
}

/// What was won, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bonus<'a> {
    reward_type: &'a str,
    reward_id: &'a str,
    amount_minor: i64,
    event_time_ms: i64,
    award_type: &'a str,
    stage: &'a str,
    ext: &'a [(&'a str, &'a str)],
}

impl<'a> Bonus<'a> {
    /// `amount_minor` of a reward type, in the minor unit of its asset, won at `event_time_ms`
    /// milliseconds since the Unix epoch. A repeated call must say the same: equal order numbers
    /// with another reward or amount are a conflict (I3).
    #[must_use]
    pub fn new(reward_type: &'a str, amount_minor: i64, event_time_ms: i64) -> Self {
        let (reward_id, award_type, stage) = ("", reward_type, "1");
        Self { reward_type, reward_id, amount_minor, event_time_ms, award_type, stage, ext: &[] }
    }

    /// Which coupon template or pendant; none unless set.
    #[must_use]
    pub fn reward_id(self, reward_id: &'a str) -> Self {
        Self { reward_id, ..self }
    }

    /// Fourth part of the order number; the reward type unless set.
    #[must_use]
    pub fn award_type(self, award_type: &'a str) -> Self {
        Self { award_type, ..self }
    }

    /// Fifth part of the order number, which tells several awards of one kind apart; `1` unless
    /// set.
    #[must_use]
    pub fn stage(self, stage: &'a str) -> Self {
        Self { stage, ..self }
    }

    /// The caller's own pairs (R7); for a key given twice the later one counts.
    #[must_use]
    pub fn ext(self, ext: &'a [(&'a str, &'a str)]) -> Self {
        Self { ext, ..self }
    }
}

/// Why an award was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BonusError {
    /// The parts do not make an order number.
    #[error("the parts make no order number: {0}")]
    OrderNo(#[from] OrderNoError),
    /// Intake would refuse it.
    #[error("the award would be refused: {0}")]
    Refused(Refusal),
    /// It was valid, and the sender did not take it.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl BonusError {
    /// The stable code, by which refusals are counted.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::OrderNo(_) => Refusal::MalformedOrderNo.code(),
            Self::Refused(refusal) => refusal.code(),
            Self::Send(error) => error.code(),
        }
    }
}

/// What became of the calls so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BonusCounts {
    /// Taken by the sender.
    pub sent: u64,
    /// Not sent, by code.
    pub not_sent: BTreeMap<&'static str, u64>,
}

/// The award library. Shared by all threads of a game.
pub struct Awards {
    sender: Arc<dyn Sender>,
    settings: RwLock<Arc<Settings>>,
    sent: AtomicU64,
    not_sent: Mutex<BTreeMap<&'static str, u64>>,
}

impl std::fmt::Debug for Awards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Awards").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Awards {
    /// A library that checks against `settings` and sends through `sender`.
    #[must_use]
    pub fn new(sender: Arc<dyn Sender>, settings: Arc<Settings>) -> Self {
        let settings = RwLock::new(settings);
        Self { sender, settings, sent: AtomicU64::new(0), not_sent: Mutex::default() }
    }

    /// Checks later calls against other settings. Intake decides by those in force in the log.
    pub fn use_settings(&self, settings: Arc<Settings>) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// The settings that calls are checked against.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives `user` a `bonus` in `activity` and returns its order number. Returns before the award
    /// is durable, see [`Self::wait_durable`]; the same call again is harmless.
    ///
    /// # Errors
    /// [`BonusError`], counted by its code; the award was not sent.
    pub fn send_bonus(
        &self,
        activity: Activity<'_>,
        user: User<'_>,
        bonus: Bonus<'_>,
    ) -> Result<String, BonusError> {
        let sent = self.try_send(activity, user, bonus);
        match &sent {
            Ok(_) => {
                self.sent.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let mut not_sent = self.not_sent.lock().unwrap_or_else(PoisonError::into_inner);
                *not_sent.entry(error.code()).or_default() += 1;
            }
        }
        sent
    }

    fn try_send(
        &self,
        activity: Activity<'_>,
        user: User<'_>,
        bonus: Bonus<'_>,
    ) -> Result<String, BonusError> {
        let Activity { activity_id, scene_id, rain_id } = activity;
        let order_no = OrderNo::join(user.act_id, scene_id, rain_id, bonus.award_type, bonus.stage)?;
        let ext: ExtBuf = bonus.ext.iter().copied().collect();
        let award = Award {
            order_no: &order_no,
            act_id: user.act_id,
            activity_id,
            scene_id,
            reward_type: bonus.reward_type,
            reward_id: bonus.reward_id,
            amount_minor: bonus.amount_minor,
            event_time_ms: bonus.event_time_ms,
            app: user.app,
            ext: ext.as_ext(),
        };
        check(&self.settings(), &award).map_err(BonusError::Refused)?;
        let mut record = Vec::new();
        award.encode(&mut record);
        self.sender.submit(user.act_id, &record)?;
        Ok(order_no)
    }

    /// Returns when everything sent before the call is durable (I25).
    ///
    /// # Errors
    /// [`SendError`]: what was sent since the last success may or may not be there.
    pub fn wait_durable(&self, timeout: Duration) -> Result<(), SendError> {
        self.sender.wait_durable(timeout)
    }

    /// Counts of all calls so far.
    #[must_use]
    pub fn counts(&self) -> BonusCounts {
        let not_sent = self.not_sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        BonusCounts { sent: self.sent.load(Ordering::Relaxed), not_sent }
    }
}

/// The refusals that need settings, in intake's order. Those of the order number cannot happen to
/// one that was put together from the award's own parts.
fn check(settings: &Settings, award: &Award<'_>) -> Result<(), Refusal> {
    let activity = settings.activities.get(award.activity_id).ok_or(Refusal::UnknownActivity)?;
    let scene = activity.scenes.get(award.scene_id).ok_or(Refusal::UnknownScene)?;
    let reward_type = settings.reward_types.get(award.reward_type);
    let Some(reward_type) = reward_type.filter(|_| scene.reward_type == award.reward_type) else {
        return Err(Refusal::RewardTypeMismatch);
    };
    if award.amount_minor <= 0 {
        return Err(Refusal::AmountNotPositive);
    }
    if award.amount_minor > reward_type.max_minor {
        return Err(Refusal::AmountAboveCap);
    }
    Ok(())
}

/// As intake decides: the refusals of the order number, then those that need settings.
#[cfg(test)]
pub(crate) fn check_all(settings: &Settings, award: &Award<'_>) -> Result<(), Refusal> {
    let order_no = OrderNo::parse(award.order_no).map_err(|_| Refusal::MalformedOrderNo)?;
    if order_no.act_id() != award.act_id {
        return Err(Refusal::OrderNoActIdMismatch);
    }
    if order_no.scene_id() != award.scene_id {
        return Err(Refusal::OrderNoSceneMismatch);
    }
    check(settings, award)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Taken, settings};

    const ACTIVITY: Activity<'_> = Activity { activity_id: "spring-2027", scene_id: "rain-1", rain_id: "r7" };
    const USER: User<'_> = User { act_id: "a_1", app: "douyin" };

    fn library() -> (Awards, Arc<Taken>) {
        let taken = Arc::new(Taken::default());
        (Awards::new(taken.clone(), Arc::new(settings())), taken)
    }

    #[test]
    fn an_award_is_sent_as_given_under_its_person() {
        let (awards, taken) = library();
        let bonus = Bonus::new("cash", 188, 1_643_601_600_123)
            .reward_id("red-envelope")
            .award_type("packet")
            .stage("2")
            .ext(&[("device", "d1"), ("room", "8")]);
        let order_no = awards.send_bonus(ACTIVITY, USER, bonus).unwrap();
        assert_eq!(order_no, "a_1_rain-1_r7_packet_2");
        let sent = taken.take();
        let [(act_id, record)] = &sent[..] else { panic!("one award") };
        assert_eq!(act_id, "a_1");
        let ext: ExtBuf = [("device", "d1"), ("room", "8")].into_iter().collect();
        let expected = Award {
            order_no: "a_1_rain-1_r7_packet_2",
            act_id: "a_1",
            activity_id: "spring-2027",
            scene_id: "rain-1",
            reward_type: "cash",
            reward_id: "red-envelope",
            amount_minor: 188,
            event_time_ms: 1_643_601_600_123,
            app: "douyin",
            ext: ext.as_ext(),
        };
        assert_eq!(Award::decode(record).unwrap(), expected);
    }

    #[test]
    fn what_intake_would_refuse_is_not_sent_and_is_counted() {
        let activity = |activity_id, scene_id, rain_id| Activity { activity_id, scene_id, rain_id };
        let user = |act_id| User { act_id, app: "" };
        let (spring, rain) = ("spring-2027", "rain-1");
        let cash = |amount| Bonus::new("cash", amount, 1);
        let long = "a".repeat(120);
        let cases = [
            (activity(spring, rain, ""), user("a1"), cash(1), "malformed_order_no"),
            (activity(spring, rain, "r_1"), user("a1"), cash(1), "malformed_order_no"),
            (activity(spring, rain, "r1"), user("甲"), cash(1), "malformed_order_no"),
            (activity(spring, rain, "r1"), user(&long), cash(1), "malformed_order_no"),
            (activity("autumn", rain, "r1"), user("a1"), cash(1), "unknown_activity"),
            (activity(spring, "rain-9", "r1"), user("a1"), cash(1), "unknown_scene"),
            (
                activity(spring, rain, "r1"),
                user("a1"),
                Bonus::new("coupon.film", 1, 1),
                "reward_type_mismatch",
            ),
            (activity(spring, rain, "r1"), user("a1"), cash(0), "amount_not_positive"),
            (activity(spring, rain, "r1"), user("a1"), cash(20_001), "amount_above_cap"),
        ];
        let (awards, taken) = library();
        let mut expected = BonusCounts::default();
        for (activity, user, bonus, code) in cases {
            let error = awards.send_bonus(activity, user, bonus).unwrap_err();
            assert_eq!(error.code(), code, "{activity:?} {user:?} {bonus:?}");
            *expected.not_sent.entry(code).or_default() += 1;
        }
        assert_eq!(taken.take(), []);
        assert_eq!(awards.counts(), expected);
    }

    /// Mostly what an order number may hold.
    fn any_part() -> impl Strategy<Value = String> {
        prop_oneof![20 => "[a-zA-Z0-9.:-]{1,4}", 1 => "[a-z_]{0,4}", 1 => "[ -~]{1,40}"]
    }

    proptest! {
        #[test]
        fn an_order_number_splits_into_its_parts_or_is_not_made(
            parts in prop::array::uniform5(any_part()),
        ) {
            let [act_id, scene_id, rain_id, award_type, stage] = &parts;
            let (awards, taken) = library();
            let mut any_scene = settings();
            let spring = any_scene.activities.get_mut("spring-2027").unwrap();
            let scene = spring.scenes["rain-1"].clone();
            spring.scenes.insert(scene_id.clone(), scene);
            awards.use_settings(Arc::new(any_scene));
            let activity = Activity { activity_id: "spring-2027", scene_id, rain_id };
            let user = User { act_id, app: "" };
            let bonus = Bonus::new("cash", 1, 1).award_type(award_type).stage(stage);
            match awards.send_bonus(activity, user, bonus) {
                Ok(text) => {
                    let order_no = OrderNo::parse(&text).unwrap();
                    let found =
                        [order_no.act_id(), order_no.scene_id(), order_no.rain_id(), order_no.award_type()];
                    prop_assert_eq!(&found[..], &parts[..4]);
                    prop_assert_eq!(order_no.stage(), stage);
                    prop_assert_eq!(taken.take().len(), 1);
                }
                Err(error) => {
                    prop_assert!(matches!(error, BonusError::OrderNo(_)), "{}", error);
                    prop_assert_eq!(taken.take().len(), 0);
                }
            }
        }
    }

    #[test]
    fn a_sender_that_takes_nothing_is_told_and_counted() {
        let (awards, taken) = library();
        taken.refuse(SendError::TooLarge { bytes: 9, max_bytes: 8 });
        let error = awards.send_bonus(ACTIVITY, USER, Bonus::new("cash", 1, 1)).unwrap_err();
        assert_eq!(error.code(), "award_too_large");
        let counts = awards.counts();
        assert_eq!((counts.sent, counts.not_sent["award_too_large"]), (0, 1));
    }

    #[test]
    fn later_calls_are_checked_against_new_settings() {
        let (awards, _taken) = library();
        let cash = Bonus::new("cash", 20_001, 1);
        assert!(awards.send_bonus(ACTIVITY, USER, cash).is_err());
        let mut raised = settings();
        raised.reward_types.get_mut("cash").unwrap().max_minor = 30_000;
        awards.use_settings(Arc::new(raised));
        assert_eq!(awards.send_bonus(ACTIVITY, USER, cash).as_deref(), Ok("a_1_rain-1_r7_cash_1"));
        assert_eq!(awards.counts().sent, 1);
    }
}
