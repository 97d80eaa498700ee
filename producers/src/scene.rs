//! Helpers for the three kinds of game (R1): each fixes activity, scene and reward type, and
//! builds the order number, so that the same win sent twice is the same order.

use std::sync::Arc;

use hongbao_schemas::refusal::Refusal;

use crate::bonus::{Activity, Awards, Bonus, BonusError, User};

/// A scene bound to the library; its reward type is the one its settings had at the binding.
#[derive(Clone, Debug)]
struct Scene {
    awards: Arc<Awards>,
    activity_id: String,
    scene_id: String,
    reward_type: String,
}

impl Scene {
    fn bind(awards: Arc<Awards>, activity_id: &str, scene_id: &str) -> Result<Self, BonusError> {
        let settings = awards.settings();
        let activity =
            settings.activities.get(activity_id).ok_or(BonusError::Refused(Refusal::UnknownActivity))?;
        let scene = activity.scenes.get(scene_id).ok_or(BonusError::Refused(Refusal::UnknownScene))?;
        let (activity_id, scene_id) = (activity_id.to_owned(), scene_id.to_owned());
        Ok(Self { awards, activity_id, scene_id, reward_type: scene.reward_type.clone() })
    }

    fn send(&self, rain_id: &str, user: User<'_>, bonus: Bonus<'_>) -> Result<String, BonusError> {
        let activity = Activity { activity_id: &self.activity_id, scene_id: &self.scene_id, rain_id };
        self.awards.send_bonus(activity, user, bonus)
    }
}

/// A scene of red-packet rains: a person opens one packet in each.
#[derive(Clone, Debug)]
pub struct RedPacketRain {
    scene: Scene,
}

impl RedPacketRain {
    /// Binds a scene.
    ///
    /// # Errors
    /// [`BonusError::Refused`] when the settings do not have it.
    pub fn bind(awards: Arc<Awards>, activity_id: &str, scene_id: &str) -> Result<Self, BonusError> {
        Scene::bind(awards, activity_id, scene_id).map(|scene| Self { scene })
    }

    /// The packet that `user` opened in the rain `rain_id`.
    ///
    /// # Errors
    /// As [`Awards::send_bonus`].
    pub fn packet(
        &self,
        user: User<'_>,
        rain_id: &str,
        amount_minor: i64,
        event_time_ms: i64,
    ) -> Result<String, BonusError> {
        let bonus = Bonus::new(&self.scene.reward_type, amount_minor, event_time_ms);
        self.scene.send(rain_id, user, bonus.award_type("packet"))
    }
}

/// A scene where a full set of cards is drawn once for a share of the prize.
#[derive(Clone, Debug)]
pub struct CardCollection {
    scene: Scene,
}

impl CardCollection {
    /// Binds a scene.
    ///
    /// # Errors
    /// [`BonusError::Refused`] when the settings do not have it.
    pub fn bind(awards: Arc<Awards>, activity_id: &str, scene_id: &str) -> Result<Self, BonusError> {
        Scene::bind(awards, activity_id, scene_id).map(|scene| Self { scene })
    }

    /// The share that `user` drew; a person draws once.
    ///
    /// # Errors
    /// As [`Awards::send_bonus`].
    pub fn draw(&self, user: User<'_>, amount_minor: i64, event_time_ms: i64) -> Result<String, BonusError> {
        let bonus = Bonus::new(&self.scene.reward_type, amount_minor, event_time_ms);
        self.scene.send("draw", user, bonus.award_type("card"))
    }
}

/// A scene of fireworks: a person wins several things in one show.
#[derive(Clone, Debug)]
pub struct Fireworks {
    scene: Scene,
}

/// One thing won in a show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FireworksPrize<'a> {
    /// The show.
    pub show_id: &'a str,
    /// Which of the person's wins in the show, from 1.
    pub win: u32,
    /// Coupon template or pendant; may be empty.
    pub reward_id: &'a str,
    /// In the minor unit of the reward type's asset.
    pub amount_minor: i64,
    /// Milliseconds since the Unix epoch.
    pub event_time_ms: i64,
}

impl Fireworks {
    /// Binds a scene.
    ///
    /// # Errors
    /// [`BonusError::Refused`] when the settings do not have it.
    pub fn bind(awards: Arc<Awards>, activity_id: &str, scene_id: &str) -> Result<Self, BonusError> {
        Scene::bind(awards, activity_id, scene_id).map(|scene| Self { scene })
    }

    /// What `user` won.
    ///
    /// # Errors
    /// As [`Awards::send_bonus`].
    pub fn win(&self, user: User<'_>, prize: FireworksPrize<'_>) -> Result<String, BonusError> {
        let stage = prize.win.to_string();
        let bonus = Bonus::new(&self.scene.reward_type, prize.amount_minor, prize.event_time_ms)
            .reward_id(prize.reward_id)
            .award_type("firework")
            .stage(&stage);
        self.scene.send(prize.show_id, user, bonus)
    }
}

#[cfg(test)]
mod tests {
    use hongbao_schemas::award::Award;

    use super::*;
    use crate::testing::{Taken, settings};

    const USER: User<'_> = User { act_id: "a_1", app: "toutiao" };

    fn library() -> (Arc<Awards>, Arc<Taken>) {
        let taken = Arc::new(Taken::default());
        (Arc::new(Awards::new(taken.clone(), Arc::new(settings()))), taken)
    }

    #[test]
    fn each_helper_fixes_scene_and_type_and_builds_the_order_number() {
        let (awards, taken) = library();
        let rain = RedPacketRain::bind(awards.clone(), "spring-2027", "rain-1").unwrap();
        let cards = CardCollection::bind(awards.clone(), "spring-2027", "cards-1").unwrap();
        let fireworks = Fireworks::bind(awards, "spring-2027", "film-1").unwrap();
        let prize =
            FireworksPrize { show_id: "s2", win: 3, reward_id: "t9", amount_minor: 1, event_time_ms: 5 };
        let order_nos = [
            rain.packet(USER, "r4", 88, 5).unwrap(),
            cards.draw(USER, 66, 5).unwrap(),
            fireworks.win(USER, prize).unwrap(),
        ];
        let expected = ["a_1_rain-1_r4_packet_1", "a_1_cards-1_draw_card_1", "a_1_film-1_s2_firework_3"];
        assert_eq!(order_nos, expected);
        let sent = taken.take();
        let parts: Vec<_> = sent
            .iter()
            .map(|(_, record)| Award::decode(record).unwrap())
            .map(|award| (award.scene_id, award.reward_type, award.reward_id, award.amount_minor))
            .collect();
        let expected = [
            ("rain-1", "cash", "", 88),
            ("cards-1", "cash.video", "", 66),
            ("film-1", "coupon.film", "t9", 1),
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn the_same_win_sent_twice_is_the_same_record() {
        let (awards, taken) = library();
        let rain = RedPacketRain::bind(awards, "spring-2027", "rain-1").unwrap();
        for _ in 0..2 {
            rain.packet(USER, "r4", 88, 5).unwrap();
        }
        let sent = taken.take();
        assert_eq!(sent[0], sent[1]);
    }

    #[test]
    fn an_unknown_scene_cannot_be_bound() {
        for (activity_id, scene_id, code) in
            [("autumn", "rain-1", "unknown_activity"), ("spring-2027", "rain-9", "unknown_scene")]
        {
            let (awards, _taken) = library();
            let error = RedPacketRain::bind(awards, activity_id, scene_id).unwrap_err();
            assert_eq!(error.code(), code);
        }
    }
}
