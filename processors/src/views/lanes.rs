//! Where the orders of each lane stand, and what their sinks are told when they open. All ended
//! below a mark; above it, ranges. So an order takes no memory of its own unless it is in flight.

use std::sync::Arc;

use hongbao_engine::mutant;
use hongbao_schemas::journal::CreditStage;

use super::commit::SmallRows;
use super::entry::Pointer;
use super::open::RecentOrders;
use super::pieces::{Piece, RangeMap};
use super::rows;
use super::wire::{Take, put_i64, put_str, put_u64};

/// Most ranges above the mark of one lane. Sinks bound what they have in flight and unresolved far
/// below; the bound keeps memory and the lane's row finite whatever they write (I29).
pub(super) const RANGES_MAX: usize = 1 << 18;

/// Number of a reason's text.
pub(super) type ReasonId = u16;

/// Where an order stands that was sent, or is about to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Time of the first intent that may have had an effect: the life of the idempotency key counts
    /// from here (I14).
    pub(super) first_intent_at_ms: i64,
    /// An attempt is running, as far as the journal tells.
    pub(super) in_flight: bool,
    pub(super) earlier: Earlier,
}

/// What is known of attempts before the running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Earlier {
    /// There is none, or all had no effect.
    Settled,
    /// One was started again before it was settled.
    Unsettled,
    /// One is unresolved, for this reason.
    Unknown(ReasonId),
}

/// Where an order stands, unless it was only accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Credited, refused or reported.
    Ended,
    /// Not ended.
    Sent(Attempt),
}

impl Standing {
    /// Whether the last that is known is that nothing is known.
    pub(super) const fn is_unknown(self) -> bool {
        match self {
            Self::Ended => false,
            Self::Sent(attempt) => !attempt.in_flight || matches!(attempt.earlier, Earlier::Unknown(_)),
        }
    }
}

/// The fact cannot follow what happened before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contradiction;

/// Where an order stands after a fact that names it; `None` is accepted and nothing more.
#[inline]
pub(super) fn after(
    before: Option<Standing>,
    stage: CreditStage,
    at_ms: i64,
    reason: ReasonId,
) -> Result<Option<Standing>, Contradiction> {
    let attempt = match before {
        Some(Standing::Ended) => return Err(Contradiction),
        Some(Standing::Sent(attempt)) => Some(attempt),
        None => None,
    };
    let fresh = Attempt { first_intent_at_ms: at_ms, in_flight: true, earlier: Earlier::Settled };
    let next = match (stage, attempt) {
        (CreditStage::Credited | CreditStage::Refused | CreditStage::Reported, _) => Standing::Ended,
        (CreditStage::Started, None) => Standing::Sent(fresh),
        (CreditStage::Started, Some(running)) => {
            let unsettled = running.in_flight && running.earlier == Earlier::Settled;
            let earlier = if unsettled { Earlier::Unsettled } else { running.earlier };
            let first = if mutant!(M30) { at_ms } else { running.first_intent_at_ms };
            Standing::Sent(Attempt { in_flight: true, earlier, first_intent_at_ms: first })
        }
        (CreditStage::Unknown, attempt) => Standing::Sent(Attempt {
            in_flight: false,
            earlier: Earlier::Unknown(reason),
            ..attempt.unwrap_or(fresh)
        }),
        (CreditStage::Deferred | CreditStage::Withdrawn, Some(running)) if running.in_flight => {
            if running.earlier == Earlier::Settled {
                return Ok(None);
            }
            Standing::Sent(Attempt { in_flight: false, ..running })
        }
        (CreditStage::Deferred | CreditStage::Withdrawn, _) => return Err(Contradiction),
    };
    Ok(Some(next))
}

/// Counts of a lane, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LaneCounts {
    /// Items of all attempts, resends included.
    pub(super) sent: u64,
    pub(super) credited: u64,
    pub(super) refused: u64,
    pub(super) reported: u64,
    /// Orders that are unknown now.
    pub(super) unknown: u64,
}

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: Arc<str>,
    /// Sequence of the next accepted order.
    pub(super) next_seq: u64,
    /// Every order below this has ended.
    pub(super) ended_below: u64,
    pub(super) counts: LaneCounts,
    /// From the first to the last order that was refused or reported: others need no look-up.
    exceptions: Option<(u64, u64)>,
    above: RangeMap<Standing>,
    pub(super) recent: RecentOrders,
    changed: bool,
}

impl Lane {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            next_seq: 1,
            ended_below: 1,
            counts: LaneCounts::default(),
            exceptions: None,
            above: RangeMap::default(),
            recent: RecentOrders::starting_at(1),
            changed: true,
        }
    }

    /// Orders accepted and not ended.
    pub(super) const fn backlog(&self) -> u64 {
        self.next_seq - 1 - self.counts.credited - self.counts.refused - self.counts.reported
    }

    /// Where an order stands; `None` is accepted and nothing more.
    pub(super) fn standing(&self, seq: u64) -> Option<Standing> {
        if seq < self.ended_below { Some(Standing::Ended) } else { self.above.get(seq) }
    }

    /// Whether an ended order may be refused or reported rather than credited.
    pub(super) fn may_be_exception(&self, seq: u64) -> bool {
        self.exceptions.is_some_and(|(first, last)| (first..=last).contains(&seq))
    }

    /// Ranges above the mark, ascending.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Piece<Standing>> + '_ {
        self.above.iter()
    }

    /// Takes the next sequence.
    #[inline]
    pub(super) fn accept(&mut self) -> u64 {
        self.changed = true;
        self.next_seq += 1;
        self.next_seq - 1
    }

    /// Replaces `out` with the pieces of `first..=last`, all of them accepted orders.
    pub(super) fn pieces(&self, first: u64, last: u64, out: &mut Vec<Piece<Standing>>) {
        self.above.pieces(first.max(self.ended_below), last, out);
        if first < self.ended_below {
            let last = last.min(self.ended_below - 1);
            out.insert(0, Piece { first, last, value: Some(Standing::Ended) });
        }
    }

    /// Puts all orders of a piece where `after` says they stand now.
    pub(super) fn settle(&mut self, piece: &Piece<Standing>, stage: CreditStage, after: Option<Standing>) {
        self.changed = true;
        let count = piece.count();
        let counts = &mut self.counts;
        match stage {
            // The intent is all that is known of a send; what turns out not to have left is taken back.
            CreditStage::Started => counts.sent += count,
            CreditStage::Withdrawn => counts.sent -= count,
            CreditStage::Credited => counts.credited += count,
            CreditStage::Refused => counts.refused += count,
            CreditStage::Reported => counts.reported += count,
            CreditStage::Deferred | CreditStage::Unknown => {}
        }
        let unknown = |standing: Option<Standing>| standing.is_some_and(Standing::is_unknown);
        match (unknown(piece.value), unknown(after)) {
            (false, true) => counts.unknown += count,
            (true, false) => counts.unknown -= count,
            _ => {}
        }
        if matches!(stage, CreditStage::Refused | CreditStage::Reported) {
            let (first, last) = self.exceptions.unwrap_or((piece.first, piece.last));
            self.exceptions = Some((first.min(piece.first), last.max(piece.last)));
        }
        self.above.set(piece.first, piece.last, after);
    }

    /// Raises the mark over what has ended; false when there are too many ranges above it.
    pub(super) fn raise_mark(&mut self) -> bool {
        while let Some(lowest) = self.above.first()
            && lowest.first == self.ended_below
            && lowest.value == Some(Standing::Ended)
        {
            self.ended_below = lowest.last + 1;
            self.above.pop_first();
        }
        self.above.len() <= RANGES_MAX
    }

    fn encode(&self, row: &mut Vec<u8>) {
        put_str(row, &self.name);
        put_u64(row, self.next_seq);
        put_u64(row, self.ended_below);
        let counts = &self.counts;
        for count in [counts.sent, counts.credited, counts.refused, counts.reported, counts.unknown] {
            put_u64(row, count);
        }
        let (first, last) = self.exceptions.unwrap_or((0, 0));
        put_u64(row, first);
        put_u64(row, last);
        put_u64(row, self.above.len() as u64);
        let mut next = self.ended_below;
        for piece in self.above.iter() {
            put_u64(row, piece.first - next);
            put_u64(row, piece.count());
            encode_standing(piece.value, row);
            next = piece.last + 1;
        }
    }

    fn decode(row: &[u8]) -> Option<Self> {
        let mut take = Take::new(row);
        let mut lane = Self::new(take.str()?);
        lane.next_seq = take.u64()?;
        lane.ended_below = take.u64()?;
        lane.counts = LaneCounts {
            sent: take.u64()?,
            credited: take.u64()?,
            refused: take.u64()?,
            reported: take.u64()?,
            unknown: take.u64()?,
        };
        let counts = &lane.counts;
        let ended = counts.credited.checked_add(counts.refused)?.checked_add(counts.reported)?;
        if ended > lane.next_seq.checked_sub(1)? {
            return None;
        }
        let span = (take.u64()?, take.u64()?);
        lane.exceptions = (span.0 > 0).then_some(span);
        let ranges = take.u64()?;
        let mut next = lane.ended_below;
        for _ in 0..ranges {
            let first = next.checked_add(take.u64()?)?;
            let last = first.checked_add(take.u64()?.checked_sub(1)?)?;
            if !lane.above.push(first, last, decode_standing(&mut take)?) {
                return None;
            }
            next = last.checked_add(1)?;
        }
        take.end()?;
        lane.recent = RecentOrders::starting_at(lane.next_seq);
        lane.changed = false;
        (lane.ended_below >= 1 && next <= lane.next_seq).then_some(lane)
    }
}

const ENDED: u8 = 0;
const IN_FLIGHT: u8 = 1;
const WAITING: u8 = 2;

fn encode_standing(standing: Option<Standing>, row: &mut Vec<u8>) {
    let Some(Standing::Sent(attempt)) = standing else {
        row.push(ENDED);
        return;
    };
    row.push(if attempt.in_flight { IN_FLIGHT } else { WAITING });
    put_i64(row, attempt.first_intent_at_ms);
    put_u64(
        row,
        match attempt.earlier {
            Earlier::Settled => 0,
            Earlier::Unsettled => 1,
            Earlier::Unknown(reason) => 2 + u64::from(reason),
        },
    );
}

fn decode_standing(take: &mut Take<'_>) -> Option<Standing> {
    let in_flight = match take.byte()? {
        ENDED => return Some(Standing::Ended),
        IN_FLIGHT => true,
        WAITING => false,
        _ => return None,
    };
    let first_intent_at_ms = take.i64()?;
    let earlier = match take.u64()? {
        0 => Earlier::Settled,
        1 => Earlier::Unsettled,
        reason => Earlier::Unknown(ReasonId::try_from(reason - 2).ok()?),
    };
    Some(Standing::Sent(Attempt { first_intent_at_ms, in_flight, earlier }))
}

/// All lanes of a partition, numbered in the order of their first order.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
}

impl Lanes {
    #[inline]
    pub(super) fn get(&self, lane: u16) -> Option<&Lane> {
        self.lanes.get(usize::from(lane))
    }

    #[inline]
    pub(super) fn get_mut(&mut self, lane: u16) -> Option<&mut Lane> {
        self.lanes.get_mut(usize::from(lane))
    }

    /// The lane of an entry.
    pub(super) fn of(&self, at: Pointer) -> Option<&Lane> {
        self.get(at.lane())
    }

    /// Number of a lane; there are few, so this is a walk.
    #[inline]
    pub(super) fn find(&self, name: &str) -> Option<u16> {
        self.lanes.iter().position(|lane| &*lane.name == name).map(|at| at as u16)
    }

    /// Number of a lane, new if it never was; `None` when there are too many.
    #[inline]
    pub(super) fn resolve(&mut self, name: &str) -> Option<u16> {
        if let Some(found) = self.find(name) {
            return Some(found);
        }
        let number = u16::try_from(self.lanes.len()).ok()?;
        self.lanes.push(Lane::new(name));
        Some(number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Lane)> {
        (0..).zip(&self.lanes)
    }

    /// Gives up recent orders that ended, or beyond `max` a lane.
    pub(super) fn trim(&mut self, max: usize) {
        for lane in &mut self.lanes {
            lane.recent.trim(max, lane.ended_below);
        }
    }

    /// Adds the rows changed since the last freeze.
    pub(super) fn freeze(&mut self, out: &mut SmallRows) {
        for (number, lane) in (0..).zip(&mut self.lanes) {
            if std::mem::take(&mut lane.changed) {
                let mut row = Vec::new();
                lane.encode(&mut row);
                out.put(&rows::u16_key(rows::LANE, number), &row);
            }
        }
    }

    /// Adds a `cl` row, in the order of keys.
    pub(super) fn load(&mut self, row: &[u8]) -> Option<()> {
        self.lanes.push(Lane::decode(row)?);
        Some(())
    }
}
