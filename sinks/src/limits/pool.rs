//! One bound shared by lanes: permits go to lanes in rank order (I20).
//!
//! A lower lane takes freely what the lanes above it could not use at this moment: the pool's
//! permits minus what each of them wants and its own limit allows. Beyond that it takes only from
//! the floor, which is a limiter of its own: over any 10 s at most the stated share of the pool's
//! refill. When the floor is due, the lanes above wait until the pool has gathered a batch for
//! it; otherwise a lane that takes every permit as it comes would starve the lanes below.
//!
//! Where less leaves than the pool allows, such as to a slow downstream, a share of the refill could
//! be all of it. So beside a lane above that is ready, the floor is also at most the stated share of
//! what was granted.

use std::time::Duration;

use hongbao_engine::mutant;

use super::rate::{Limiter, Rate};

/// The window of the floor, in seconds.
const FLOOR_WINDOW_S: u64 = 10;

/// What a lane would like to send now, in the order of rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Orders it could send if it had the permits: 0 for a lane whose downstream is paused.
    pub demand: u64,
    /// Permits its own limit would give.
    pub own_available: u64,
    /// Size of the batch that is ready to leave, if there is one.
    pub front: Option<u64>,
}

impl Want {
    fn claim(&self) -> u64 {
        self.demand.min(self.own_available)
    }

    fn ready(&self) -> Option<u64> {
        self.front.filter(|count| *count <= self.own_available)
    }
}

/// Permits shared by lanes of different rank.
#[derive(Debug)]
pub struct Pool {
    permits: Limiter,
    floor: Option<Limiter>,
    floor_permille: u64,
    /// The floor's share of what was granted, less what it got, in thousandths of a permit.
    owed_milli: u64,
    lanes: usize,
    turn: usize,
}

impl Pool {
    /// An empty pool of `lanes` lanes. `floor_permille` is the share of the permits, in
    /// thousandths, that lower lanes together get while a higher one waits.
    #[must_use]
    pub fn new(rate: Rate, lanes: usize, floor_permille: u32, now: Duration) -> Self {
        let permits = Limiter::new(rate, now);
        let floor_permille = u64::from(floor_permille.min(1000));
        let share_milli = permits.refill_milli() * floor_permille / 1000;
        let window_permits = share_milli * FLOOR_WINDOW_S / 1000;
        let burst = rate.burst().min((window_permits / FLOOR_WINDOW_S).max(1));
        // The burst is part of the window's share, so that no window sees more than the share.
        let refill_milli = share_milli.saturating_sub(burst * 1000 / FLOOR_WINDOW_S);
        let floor = (window_permits >= 1 && lanes > 1 && refill_milli > 0)
            .then(|| Limiter::with_refill(burst, refill_milli, now));
        Self { permits, floor, floor_permille, owed_milli: 0, lanes, turn: 0 }
    }

    /// Begins anew, empty until then: somebody else may send up to there (I21).
    pub fn begin(&mut self, begins: Duration) {
        self.permits = Limiter::new(self.permits.rate(), begins);
    }

    /// Largest batch that a lane of this rank can ever get permits for.
    #[must_use]
    pub fn batch_max(&self, rank: usize) -> u64 {
        let whole = self.permits.rate().burst();
        match &self.floor {
            Some(floor) if rank > 0 => whole.min(floor.rate().burst()),
            _ => whole,
        }
    }

    /// Largest batch of a lower lane that permits gather for while the lanes above it keep so many for
    /// themselves; at least 1.
    #[must_use]
    pub fn batch_max_beside(&self, claims: u64) -> u64 {
        self.permits.rate().burst().saturating_sub(claims).max(1)
    }

    /// Permits that could be taken now.
    pub fn available(&mut self, now: Duration) -> u64 {
        self.permits.available(now)
    }

    /// Time until the pool has `count` permits; none when it never has.
    pub fn wait_for(&mut self, count: u64, now: Duration) -> Option<Duration> {
        self.permits.wait_for(count, now)
    }

    /// Refill in thousandths of a permit per second.
    #[must_use]
    pub fn refill_milli(&self) -> u64 {
        self.permits.refill_milli()
    }

    /// Permits that will have been there by `ahead` from now: of the floor only, for a lower lane
    /// that gets no more.
    pub fn available_within(&mut self, floor_only: bool, ahead: Duration, now: Duration) -> u64 {
        match &mut self.floor {
            _ if !floor_only => self.permits.available_within(ahead, now),
            Some(floor) => floor.available_within(ahead, now),
            None => 0,
        }
    }

    /// Takes the permits for one ready batch and says whose. Call it until it says none; `wants`
    /// are the pool's lanes in rank order, as they are at each call.
    pub fn grant(&mut self, wants: &[Want], now: Duration) -> Option<usize> {
        let available = self.permits.available(now);
        if let Some((lane, count)) = self.floor_turn(wants, available, now) {
            // Not enough gathered yet: nobody else takes, or it never would be.
            let granted = self.permits.take_all(count, now)
                && self.floor.as_mut().is_some_and(|floor| floor.take_all(count, now));
            if !granted {
                return None;
            }
            self.owed_milli = self.owed_milli.saturating_sub(count.saturating_mul(1000));
            self.note_granted(count);
            self.turn = lane;
            return Some(lane);
        }
        let mut reserved: u64 = 0;
        for (lane, want) in wants.iter().enumerate() {
            if let Some(count) = want.ready()
                && reserved.saturating_add(count) <= available
            {
                self.permits.take_all(count, now);
                self.note_granted(count);
                return Some(lane);
            }
            if !mutant!(M65) {
                reserved = reserved.saturating_add(want.claim());
            }
        }
        None
    }

    /// The floor is owed its share. That adds up to its largest batch at most, where no single batch
    /// owes it more.
    fn note_granted(&mut self, count: u64) {
        let batch_max = self.floor.as_ref().map_or(0, |floor| floor.rate().burst()).saturating_mul(1000);
        let share = count.saturating_mul(self.floor_permille);
        let most = batch_max.max(share).max(self.owed_milli);
        self.owed_milli = self.owed_milli.saturating_add(share).min(most);
    }

    /// Whether a lane among those is ready and gets the next permits by its rank, once they have gathered.
    fn is_one_in_line(&self, above: &[Want]) -> bool {
        let whole = self.permits.rate().burst();
        let mut claims: u64 = 0;
        above.iter().any(|want| {
            let fits = want.ready().is_some_and(|count| claims.saturating_add(count) <= whole);
            claims = claims.saturating_add(want.claim());
            fits
        })
    }

    /// The lower lane whose turn it is, if one is held back by lanes above it and the floor has
    /// enough for its batch.
    fn floor_turn(&mut self, wants: &[Want], available: u64, now: Duration) -> Option<(usize, u64)> {
        let floor_available = self.floor.as_mut()?.available(now);
        let lower = self.lanes.min(wants.len()).checked_sub(1).filter(|count| *count > 0)?;
        (0..lower).find_map(|step| {
            let lane = 1 + (self.turn + step) % lower;
            let count = wants[lane].ready()?;
            let above = wants[..lane].iter().fold(0u64, |sum, want| sum.saturating_add(want.claim()));
            let is_held_back = above > 0 && above.saturating_add(count) > available;
            let is_owed =
                count.saturating_mul(1000) <= self.owed_milli || !self.is_one_in_line(&wants[..lane]);
            (is_held_back && is_owed && count <= floor_available).then_some((lane, count))
        })
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
