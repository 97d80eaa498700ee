//! Clients: they make awards, deliver them at least once, and know what was acknowledged.

mod award;

use std::collections::VecDeque;

use hongbao_engine::log::{Log, Position};
use hongbao_engine::mutant;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_processors::intake::AWARDS;

pub use award::{ACTIVITY, delivery, poison, scene_id};

/// Records appended together at most.
const BATCH_MAX: usize = 8;

/// A record on its way.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its partition.
    pub partition: u16,
    /// Its bytes.
    pub record: Vec<u8>,
    /// The award's order number if it is a whole one.
    pub order_no: Option<String>,
}

/// All clients together.
#[derive(Debug, Default)]
pub struct Clients {
    waiting: VecDeque<Delivery>,
    unacknowledged: VecDeque<(Position, Delivery)>,
    /// What is durable as far as clients know.
    pub acknowledged: Vec<Delivery>,
    /// Deliveries made again since nobody had acknowledged them.
    pub retries: u64,
}

impl Clients {
    /// Something is to be delivered.
    pub fn add(&mut self, delivery: Delivery) {
        self.waiting.push_back(delivery);
    }

    /// Whether everything is acknowledged, but for partitions that take nothing any more.
    #[must_use]
    pub fn is_done(&self, is_lost: impl Fn(u16) -> bool) -> bool {
        let unacknowledged = self.unacknowledged.iter().map(|(_, delivery)| delivery);
        self.waiting.iter().chain(unacknowledged).all(|delivery| is_lost(delivery.partition))
    }

    /// Where it stands, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { waiting, unacknowledged, .. } = self;
        let first = unacknowledged.front().map(|(position, delivery)| (*position, delivery.partition));
        format!(
            "{} wait, {} are not acknowledged, the first at {first:?}",
            waiting.len(),
            unacknowledged.len()
        )
    }

    /// Appends what waits for one partition, as far as there is room; whether anything was.
    pub fn deliver(&mut self, log: &dyn Log) -> bool {
        let Some(first) = self.waiting.front() else { return false };
        let partition = first.partition;
        let same = self.waiting.iter().take(BATCH_MAX).take_while(|next| next.partition == partition).count();
        let mut records = RecordBuf::new();
        self.waiting.iter().take(same).for_each(|next| records.push(&next.record));
        let frame = Frame { topic: AWARDS, envelope: Envelope::PRODUCER, records: &records };
        match log.append(Partition(partition), &[frame]) {
            Ok(appended) => {
                let sent = self.waiting.drain(..same).map(|delivery| (appended.position, delivery));
                self.unacknowledged.extend(sent);
                true
            }
            Err(_) => {
                // Others need not wait for this partition.
                self.waiting.rotate_left(same);
                false
            }
        }
    }

    /// Takes note of what became durable.
    pub fn acknowledge(&mut self, log: &dyn Log) {
        let known = |(position, delivery): &(Position, Delivery)| {
            let durable = log.durable(Partition(delivery.partition));
            durable.is_ok_and(|durable| durable >= *position || mutant!(M90))
        };
        for _ in 0..self.unacknowledged.len() {
            let Some(next) = self.unacknowledged.pop_front() else { break };
            if known(&next) {
                self.acknowledged.push(next.1);
            } else {
                self.unacknowledged.push_back(next);
            }
        }
    }

    /// The process has ended: what it has not acknowledged is delivered again.
    pub fn connection_lost(&mut self) {
        self.retries += self.unacknowledged.len() as u64;
        for (_, delivery) in self.unacknowledged.drain(..).rev() {
            self.waiting.push_front(delivery);
        }
    }
}
