//! Awards, what was acknowledged of them, and what must follow. A batch without an answer is sent
//! again until there is one, as a producer does.

use std::collections::BTreeMap;

use crate::wait::Dice;

/// What the lanes take: scene, reward type, share in hundred, largest amount.
const SCENES: [(&str, &str, u64, u64); 3] =
    [("rain", "cash", 50, 20_000), ("film", COUPON, 40, 2), ("firework", PENDANT, 10, 1)];

/// Reward type of what always goes to the downstream outside.
pub const COUPON: &str = "coupon.film";
/// Reward type of what goes there where [`Pendants`](crate::rig::Pendants) are given outside.
pub const PENDANT: &str = "pendant";

const PEOPLE: u64 = 40;

/// The senders' side of one data folder.
pub struct Traffic {
    /// Part of every order number, so that two folders never share one.
    stem: String,
    dice: Dice,
    /// Orders made so far.
    made: u64,
    /// The batch that was sent last and is not acknowledged.
    open: Option<Vec<Order>>,
    /// Acknowledged orders.
    acknowledged: BTreeMap<String, Order>,
    /// Duplicates that were sent on purpose.
    pub repeats: u64,
}

/// An award as it was sent.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its number, which no other order at the same downstream has.
    pub order_no: String,
    /// Its reward type, which decides its lane.
    pub reward_type: &'static str,
    /// It as JSON, with the end of the line.
    line: String,
}

impl Traffic {
    /// Nothing sent yet.
    #[must_use]
    pub fn new(stem: String, seed: u64) -> Self {
        let (open, acknowledged) = (None, BTreeMap::new());
        Self { stem, dice: Dice(seed), made: 0, open, acknowledged, repeats: 0 }
    }

    /// The next request: the batch that is not acknowledged yet, or a new one.
    pub fn batch(&mut self, items: u64) -> Vec<u8> {
        let batch = self.open.take().unwrap_or_else(|| (0..items).map(|_| self.order()).collect());
        let mut lines: String = batch.iter().map(|order| order.line.as_str()).collect();
        if let Some(earlier) = self.earlier() {
            lines.push_str(&earlier);
            self.repeats += 1;
        }
        self.open = Some(batch);
        lines.into_bytes()
    }

    /// The batch sent last was acknowledged.
    pub fn acknowledge(&mut self) {
        for order in self.open.take().into_iter().flatten() {
            self.acknowledged.insert(order.order_no.clone(), order);
        }
    }

    /// Orders of the batch that waits for its acknowledgement: they may be in the log, and be paid.
    pub fn open(&self) -> impl Iterator<Item = &Order> {
        self.open.iter().flatten()
    }

    /// All orders that were sent, acknowledged or not.
    pub fn sent(&self) -> impl Iterator<Item = &Order> {
        self.acknowledged.values().chain(self.open())
    }

    /// Whether a batch waits for its acknowledgement.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Acknowledged orders by number.
    #[must_use]
    pub fn acknowledged(&self) -> &BTreeMap<String, Order> {
        &self.acknowledged
    }

    /// Now and then an order that was acknowledged before.
    fn earlier(&mut self) -> Option<String> {
        if self.acknowledged.is_empty() || self.dice.below(3) > 0 {
            return None;
        }
        let index = self.dice.below(self.acknowledged.len() as u64) as usize;
        self.acknowledged.values().nth(index).map(|order| order.line.clone())
    }

    fn order(&mut self) -> Order {
        let number = self.made;
        self.made += 1;
        let act_id = format!("p{}", self.dice.below(PEOPLE));
        let mut drawn = self.dice.below(100);
        let scene = SCENES.iter().find(|(_, _, share, _)| {
            let is_it = drawn < *share;
            drawn = drawn.saturating_sub(*share);
            is_it
        });
        let (scene_id, reward_type, _, most) = *scene.unwrap_or(&SCENES[0]);
        let amount_minor = 1 + self.dice.below(most);
        let order_no = format!("{act_id}_{scene_id}_{}_t_{number}", self.stem);
        let line = format!(
            r#"{{"order_no":"{order_no}","act_id":"{act_id}","activity_id":"spring","scene_id":"{scene_id}","reward_type":"{reward_type}","amount_minor":{amount_minor},"event_time":"2027-02-05T20:00:00+08:00"}}{}"#,
            '\n'
        );
        Order { order_no, reward_type, line }
    }
}
