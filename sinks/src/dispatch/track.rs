//! One lane in one partition: how it opens (rule 3), what it has read, what is on its way to the
//! journal.

use std::collections::VecDeque;
use std::time::Duration;

use hongbao_engine::log::Position;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::Offset;

use crate::downstream::Ticket;

use super::facts::Facts;
use super::held::HeldOrders;
use super::lane::Stock;
use super::now::Now;
use super::reader::Reader;
use super::ready::Ready;

/// One lane in one partition.
#[derive(Debug)]
pub struct Track {
    /// The partition.
    pub partition: Partition,
    /// Whether it may send.
    pub phase: Phase,
    /// Facts on their way to the journal.
    pub facts: Facts,
    /// The log had no space for them the last time.
    pub is_refused: bool,
    /// Where its last facts were appended.
    pub last_append: Option<Position>,
    /// When it started to run.
    pub opened_at: Now,
    /// Where it reads.
    pub reader: Reader,
    /// Fresh orders read.
    pub ready: Ready,
    /// Since when fresh orders wait.
    pub ready_since: Duration,
    /// Orders kept one by one.
    pub held: HeldOrders,
    /// How many more fresh orders than held ones had their turn, while both waited.
    pub fresh_lead: i64,
    /// What has an intent and is not sent yet.
    pub stock: Stock,
    /// Fresh orders from intent to outcome.
    pub fresh_in_flight: usize,
    /// Orders whose outcome the next process might not see yet.
    pub released: Released,
    /// Batches whose intents are not in the log yet.
    pub unflushed: Vec<Ticket>,
    /// Batches whose intents are in the log and not known to count, in order.
    pub intended: VecDeque<(Position, Ticket)>,
    /// How far the journal is to be read before the first of them count. Only by reading.
    pub look: Option<Look>,
    /// How long it took to read up to the last such end. Only by reading.
    pub lag: Duration,
    /// Up to where the journal is known to hold nobody who replaces this track. Only by reading.
    pub unreplaced: Offset,
}

/// An end of the journal to which it must be read before intents in front of it count (rule 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// That end.
    pub end: Offset,
    /// Monotonic time before it was asked for.
    pub since: Duration,
    /// How many of the batches intended were durable then.
    pub batches: usize,
}

/// Orders that were let go by facts which are not durable: whoever opens after a crash holds them again.
#[derive(Debug, Default)]
pub struct Released {
    unwritten: usize,
    written: VecDeque<(Position, usize)>,
    len: usize,
}

impl Released {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// So many more, by facts that are not in the log yet.
    pub fn add(&mut self, count: usize) {
        self.unwritten += count;
        self.len += count;
    }

    /// All facts so far are in the log, in front of this position.
    pub fn written(&mut self, position: Position) {
        let count = std::mem::take(&mut self.unwritten);
        if count > 0 {
            self.written.push_back((position, count));
        }
    }

    /// Whether facts wait to become durable.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.written.is_empty()
    }

    /// The log is durable up to here.
    pub fn durable(&mut self, durable: Position) {
        while let Some((_, count)) = self.written.pop_front_if(|(position, _)| *position <= durable) {
            self.len -= count;
        }
    }
}

/// How far a track is with opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits until the view has folded the journal up to where it ended at the start.
    CatchingUp {
        /// That end.
        end: Offset,
    },
    /// Its `Opened` waits to be appended or, with an offset, to be folded.
    Announced {
        /// Where the `Opened` is.
        offset: Option<Offset>,
    },
    /// Open.
    Running,
    /// Stopped for good, with the reason (I26).
    Halted(String),
}

impl Track {
    /// A track that has to open; the journal ends at `journal_end`.
    #[must_use]
    pub fn new(partition: Partition, journal_end: Offset) -> Self {
        Self {
            partition,
            phase: Phase::CatchingUp { end: journal_end },
            facts: Facts::default(),
            is_refused: false,
            last_append: None,
            opened_at: Now { wall_ms: 0, mono: Duration::ZERO, has_gone_back: false },
            reader: Reader::default(),
            ready: Ready::default(),
            ready_since: Duration::ZERO,
            held: HeldOrders::default(),
            fresh_lead: 0,
            stock: Stock::default(),
            fresh_in_flight: 0,
            released: Released::default(),
            unflushed: Vec::new(),
            intended: VecDeque::new(),
            look: None,
            lag: Duration::ZERO,
            unreplaced: 0,
        }
    }

    /// Whether it is open.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether it goes on when more of the journal was folded. Only by reading.
    #[must_use]
    pub fn waits_for_view(&self) -> bool {
        self.look.is_some() || self.reader.stopped_at().is_some()
    }

    /// Whether it has stopped for good.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        matches!(self.phase, Phase::Halted(_))
    }

    /// Orders that count against the lane's bound (I29).
    #[must_use]
    pub fn unresolved(&self) -> usize {
        let unread = usize::try_from(self.reader.open_left()).unwrap_or(usize::MAX);
        (self.held.len() + self.fresh_in_flight + self.released.len()).saturating_add(unread)
    }

    /// Whether intents made now would wait: the log took none of the last ones, or the journal is read
    /// so late that none could be sent in time.
    #[must_use]
    pub fn is_held_up(&self, send_within: Duration) -> bool {
        self.is_refused || self.is_read_late(send_within)
    }

    /// Whether the journal is read so late that nothing intended could be sent in time.
    #[must_use]
    pub fn is_read_late(&self, send_within: Duration) -> bool {
        self.lag >= send_within
    }

    /// Fresh orders are in flight no longer, by facts that are not durable yet. A track that has halted
    /// meanwhile does not know of them.
    pub fn release_fresh(&mut self, count: usize) {
        self.fresh_in_flight = self.fresh_in_flight.saturating_sub(count);
        self.released.add(count);
    }

    /// Stops it for good and lets go of its orders. What it had under way is unresolved for
    /// whoever opens next. Returns whether it stopped by this.
    pub fn halt(&mut self, lane: &str, reason: String) -> bool {
        if self.is_halted() {
            return false;
        }
        tracing::error!(lane, partition = self.partition.0, reason, "lane halted");
        // What had an intent is taken back batch by batch.
        let stock = self.stock;
        *self = Self { phase: Phase::Halted(reason), stock, ..Self::new(self.partition, 0) };
        true
    }
}
