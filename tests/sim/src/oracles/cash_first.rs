//! While cash waits in a pool, lower lanes together take at most the floor of its permits over any
//! 10 s; with a floor of 0, none (I20).
//!
//! From outside it can be told only sometimes that cash waits for nothing but the pool: its intent
//! is durable, is fresh, has not grown old and was not withdrawn; it has no limit of its own; and
//! the lower lane's batch went to the same downstream, which took it, so that it would have taken
//! cash. What cannot be told is left out, in favour of the dispatcher.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hongbao_audit::Journal;

use crate::downstreams::Sent;
use crate::operator::LANES;
use crate::options::{LogProfile, Options};

/// The window of the floor.
const WINDOW_MS: i64 = 10_000;

/// See the [module](self).
#[derive(Debug)]
pub struct CashFirst {
    downstream: usize,
    send_within_ms: i64,
    /// Orders of lower lanes in a window.
    share: u64,
    /// Orders of cash by partition and number in the lane, with when their intent was durable.
    waiting: BTreeMap<(u16, u64), i64>,
    known: BTreeSet<(u16, u64)>,
    forgotten: BTreeSet<u16>,
    taken: VecDeque<(i64, u64)>,
    /// Orders of lower lanes that left while cash waited.
    pub contended: u64,
}

impl CashFirst {
    /// For a world in which it can be told; none for others.
    #[must_use]
    pub fn new(options: &Options) -> Option<Self> {
        let (pool, cash) = (options.pool?, options.lanes.first()?);
        let is_alone = options.lanes.iter().skip(1).all(|lane| lane.downstream != cash.downstream);
        // Behind a broker an intent counts when it was read, which cannot be seen.
        if cash.rate.is_some() || options.log == LogProfile::Broker || is_alone {
            return None;
        }
        Some(Self {
            downstream: cash.downstream,
            send_within_ms: options.dispatch.send_within_ms.cast_signed(),
            share: pool.rate * u64::from(pool.floor_permille) * WINDOW_MS.cast_unsigned() / 1_000_000,
            waiting: BTreeMap::new(),
            known: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            taken: VecDeque::new(),
            contended: 0,
        })
    }

    /// The cash of a partition waits for more than the pool from now on.
    pub fn forget(&mut self, partition: u16) {
        if self.forgotten.insert(partition) {
            self.waiting.retain(|(of, _), _| *of != partition);
        }
    }

    /// More of the journal of a partition is durable, as of now.
    pub fn follow(&mut self, partition: u16, journal: &Journal, now_ms: i64) {
        if self.forgotten.contains(&partition) {
            return;
        }
        for (number, order) in (1_u64..).zip(journal.orders_of_lane(LANES[0])) {
            let place = (partition, number);
            let is_fresh = order.in_flight && order.intents == 1 && !order.unresolved;
            if !is_fresh {
                self.waiting.remove(&place);
            } else if self.known.insert(place) {
                self.waiting.insert(place, now_ms);
            }
        }
    }

    /// Another process starts: what the one before had waiting has ended with it.
    pub fn start_of_process(&mut self) {
        self.waiting.clear();
    }

    /// A batch has left, from a dispatcher in which cash and the batch's lane were held up by
    /// nothing if `is_running`. Returns what is wrong with it.
    pub fn sent(&mut self, sent: &Sent, is_running: bool) -> Option<String> {
        let (partition, lane) = (sent.batch.partition().0, sent.batch.lane());
        if lane == LANES[0] {
            for (number, _) in sent.batch.orders() {
                self.known.insert((partition, number));
                self.waiting.remove(&(partition, number));
            }
            return None;
        }
        let oldest_ms = sent.at_ms - self.send_within_ms;
        let waits = self.waiting.values().filter(|since_ms| **since_ms >= oldest_ms).count();
        if !is_running || sent.downstream != self.downstream || waits == 0 {
            return None;
        }
        self.contended += sent.batch.len() as u64;
        self.taken.push_back((sent.at_ms, sent.batch.len() as u64));
        while self.taken.front().is_some_and(|(at_ms, _)| *at_ms <= sent.at_ms - WINDOW_MS) {
            self.taken.pop_front();
        }
        let count: u64 = self.taken.iter().map(|(_, count)| count).sum();
        (count > self.share).then(|| {
            format!(
                "{count} orders of lower lanes within 10 s, {} allowed, the last of {lane}, while {waits} of cash wait",
                self.share
            )
        })
    }
}
