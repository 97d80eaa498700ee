//! Awards from several senders that do what a producer should: send a batch again until it is
//! acknowledged. What they sent is a function of the seed and of how far they came.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::node::{Client, Dice, pause};

const SENDERS: u64 = 2;
const BATCH_ITEMS: u64 = 100;
const PEOPLE: u64 = 3000;
/// Time between two batches of a sender, and between two tries.
const PACE: Duration = Duration::from_millis(15);

/// What was acknowledged, and what must follow from it.
#[derive(Debug, Default)]
pub struct Sent {
    /// Orders and their sum by reward type.
    pub by_type: BTreeMap<String, (u64, i64)>,
    /// Sums by person and asset.
    pub people: BTreeMap<String, BTreeMap<String, i64>>,
    pub repeats: u64,
    pub conflicts: u64,
    pub refusals: u64,
}

impl Sent {
    /// Distinct valid order numbers.
    pub fn orders(&self) -> u64 {
        self.by_type.values().map(|(count, _)| count).sum()
    }

    fn add(&mut self, order: &Order) {
        let sum = self.by_type.entry(order.reward_type.to_owned()).or_default();
        *sum = (sum.0 + 1, sum.1 + order.amount_minor);
        let person = self.people.entry(order.act_id.clone()).or_default();
        *person.entry(order.asset.to_owned()).or_default() += order.amount_minor;
    }

    fn merge(&mut self, other: Self) {
        for (reward_type, (count, minor)) in other.by_type {
            let sum = self.by_type.entry(reward_type).or_default();
            *sum = (sum.0 + count, sum.1 + minor);
        }
        for (act_id, sums) in other.people {
            let person = self.people.entry(act_id).or_default();
            for (asset, minor) in sums {
                *person.entry(asset).or_default() += minor;
            }
        }
        self.repeats += other.repeats;
        self.conflicts += other.conflicts;
        self.refusals += other.refusals;
    }
}

/// The order with a number of its own.
struct Order {
    act_id: String,
    scene_id: &'static str,
    reward_type: &'static str,
    asset: &'static str,
    number: u64,
    amount_minor: i64,
}

impl Order {
    /// A function of seed, sender and number.
    fn of(seed: u64, sender: u64, number: u64) -> Self {
        let mut dice = Dice(seed ^ (sender << 56) ^ (number << 8));
        let act_id = format!("p{}", dice.below(PEOPLE));
        let (scene_id, reward_type, asset, most) = match dice.below(10) {
            0..5 => ("rain", "cash", "CNY/2", 20_000),
            5..9 => ("film", "coupon.film", "COUPON/0", 2),
            _ => ("firework", "pendant", "PENDANT/0", 1),
        };
        let amount_minor = 1 + dice.below(most).cast_signed();
        Self { act_id, scene_id, reward_type, asset, number, amount_minor }
    }

    fn order_no(&self, sender: u64) -> String {
        format!("{}_{}_s{sender}_t_{}", self.act_id, self.scene_id, self.number)
    }

    fn write(&self, sender: u64, amount_minor: i64, lines: &mut String) {
        let Self { act_id, scene_id, reward_type, .. } = self;
        let order_no = self.order_no(sender);
        writeln!(
            lines,
            r#"{{"order_no":"{order_no}","act_id":"{act_id}","activity_id":"spring","scene_id":"{scene_id}","reward_type":"{reward_type}","amount_minor":{amount_minor},"event_time":"2027-02-05T20:00:00+08:00"}}"#
        )
        .unwrap();
    }
}

#[derive(Default)]
struct Shared {
    server: Mutex<Option<String>>,
    acknowledged: AtomicU64,
    newest: Mutex<BTreeMap<u64, String>>,
    stop: AtomicBool,
}

/// The senders.
pub struct Traffic {
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<Sent>>,
}

impl Traffic {
    /// Starts them; there is nobody to send to yet.
    pub fn start(seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let senders = (0..SENDERS).map(|sender| {
            let sender = Sender { seed, sender, shared: Arc::clone(&shared), client: None };
            std::thread::spawn(move || sender.run())
        });
        let senders = senders.collect();
        Self { shared, senders }
    }

    /// Where to send from now on.
    pub fn send_to(&self, server: Option<&str>) {
        *self.shared.server.lock() = server.map(str::to_owned);
    }

    /// Distinct valid order numbers that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// The newest of them, of each sender.
    pub fn newest_acknowledged(&self) -> Vec<String> {
        self.shared.newest.lock().values().cloned().collect()
    }

    /// Ends when the batch at hand is acknowledged everywhere.
    pub fn finish(self) -> Sent {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut sent = Sent::default();
        for sender in self.senders {
            sent.merge(sender.join().unwrap());
        }
        assert_eq!(sent.orders(), self.shared.acknowledged.load(Ordering::SeqCst));
        sent
    }
}

struct Sender {
    seed: u64,
    sender: u64,
    shared: Arc<Shared>,
    /// Of the server at hand.
    client: Option<Client>,
}

impl Sender {
    fn run(mut self) -> Sent {
        let mut sent = Sent::default();
        let mut next = 0;
        while !self.shared.stop.load(Ordering::SeqCst) {
            let mut batch = Sent::default();
            let (lines, last) = self.batch(next, &mut batch);
            next += BATCH_ITEMS;
            if !self.deliver(lines) {
                break;
            }
            self.shared.acknowledged.fetch_add(batch.orders(), Ordering::SeqCst);
            self.shared.newest.lock().insert(self.sender, last);
            sent.merge(batch);
            pause(PACE);
        }
        sent
    }

    /// New orders, and among them repeats, conflicts and refusals of earlier ones.
    fn batch(&self, first: u64, batch: &mut Sent) -> (Vec<u8>, String) {
        let mut dice = Dice(self.seed.wrapping_mul(31) ^ (self.sender << 48) ^ first);
        let mut lines = String::new();
        let mut last = String::new();
        for number in first..first + BATCH_ITEMS {
            let order = Order::of(self.seed, self.sender, number);
            order.write(self.sender, order.amount_minor, &mut lines);
            batch.add(&order);
            last = order.order_no(self.sender);
            let earlier = Order::of(self.seed, self.sender, dice.below(number + 1));
            match dice.below(100) {
                0..9 => {
                    earlier.write(self.sender, earlier.amount_minor, &mut lines);
                    batch.repeats += 1;
                }
                9 => {
                    // Another amount that is allowed too, where there is one.
                    let amount_minor = if earlier.amount_minor > 1 { 1 } else { 2 };
                    if earlier.reward_type != "pendant" {
                        earlier.write(self.sender, amount_minor, &mut lines);
                        batch.conflicts += 1;
                    }
                }
                10 => {
                    earlier.write(self.sender, 0, &mut lines);
                    batch.refusals += 1;
                }
                _ => {}
            }
        }
        (lines.into_bytes(), last)
    }

    /// Sends until acknowledged; not when it ends before there ever was a server.
    fn deliver(&mut self, lines: Vec<u8>) -> bool {
        loop {
            let server = self.shared.server.lock().clone();
            match server {
                None if self.shared.stop.load(Ordering::SeqCst) => return false,
                None => {}
                Some(server) => {
                    let known = self.client.take().filter(|client| client.base() == server);
                    let client = self.client.insert(known.unwrap_or_else(|| Client::new(&server)));
                    match client.try_publish("application/x-ndjson", lines.clone(), false) {
                        Ok(answer) if answer.status == 202 => return true,
                        Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                        Err(_) => {}
                    }
                }
            }
            pause(PACE);
        }
    }
}
