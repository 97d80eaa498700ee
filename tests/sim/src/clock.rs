//! Virtual time. Wall clocks may jump and freeze; monotonic time goes on, and begins anew with each
//! process.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hongbao_engine::clock::Clock;

/// 2027-02-05T20:00:00+08:00, where every run begins.
pub const START_MS: i64 = 1_801_828_800_000;

const NOT_FROZEN: i64 = i64::MIN;

/// The clocks of the machine that runs now, moved by the world.
#[derive(Debug)]
pub struct SimClock {
    now_ms: AtomicI64,
    offset_ms: AtomicI64,
    frozen_at_ms: AtomicI64,
    booted_ms: AtomicI64,
    latest_ms: AtomicI64,
}

/// The clocks of another machine: its wall clock, and when its process began.
#[derive(Clone, Copy, Debug)]
pub struct NodeClock {
    offset_ms: i64,
    frozen_at_ms: i64,
    booted_ms: i64,
    latest_ms: i64,
}

impl NodeClock {
    /// Of a machine whose wall clock is ahead of the true time by so much.
    #[must_use]
    pub fn ahead(offset_ms: i64) -> Self {
        Self { offset_ms, frozen_at_ms: NOT_FROZEN, booted_ms: 0, latest_ms: i64::MIN }
    }
}

impl Default for SimClock {
    fn default() -> Self {
        let NodeClock { offset_ms, frozen_at_ms, booted_ms, latest_ms } = NodeClock::ahead(0);
        Self {
            now_ms: AtomicI64::new(0),
            offset_ms: offset_ms.into(),
            frozen_at_ms: frozen_at_ms.into(),
            booted_ms: booted_ms.into(),
            latest_ms: latest_ms.into(),
        }
    }
}

impl SimClock {
    /// True time since the start of the run, in milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// Lets true time come to `to_ms`.
    pub fn advance_to(&self, to_ms: i64) {
        self.now_ms.store(to_ms.max(self.now_ms()), Ordering::Relaxed);
    }

    /// The wall clock jumps.
    pub fn jump(&self, by_ms: i64) {
        self.offset_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// The wall clock stops, or goes on from where the true time is.
    pub fn freeze(&self, frozen: bool) {
        let at_ms = if frozen { self.wall_ms() } else { NOT_FROZEN };
        self.frozen_at_ms.store(at_ms, Ordering::Relaxed);
    }

    /// The wall clock is right again.
    pub fn heal(&self) {
        self.offset_ms.store(0, Ordering::Relaxed);
        self.frozen_at_ms.store(NOT_FROZEN, Ordering::Relaxed);
    }

    /// From now on a process on another machine runs; the clocks of the one that ran until now.
    pub fn exchange(&self, other: &mut NodeClock) {
        let swap = |clock: &AtomicI64, ms: &mut i64| *ms = clock.swap(*ms, Ordering::Relaxed);
        swap(&self.offset_ms, &mut other.offset_ms);
        swap(&self.frozen_at_ms, &mut other.frozen_at_ms);
        swap(&self.booted_ms, &mut other.booted_ms);
        swap(&self.latest_ms, &mut other.latest_ms);
    }

    /// A process begins.
    pub fn boot(&self) {
        self.booted_ms.store(self.now_ms(), Ordering::Relaxed);
        self.latest_ms.store(i64::MIN, Ordering::Relaxed);
    }

    /// The latest time that the wall clock has told since the process began.
    #[must_use]
    pub fn latest_ms(&self) -> i64 {
        self.latest_ms.load(Ordering::Relaxed)
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> i64 {
        let wall_ms = match self.frozen_at_ms.load(Ordering::Relaxed) {
            NOT_FROZEN => START_MS + self.now_ms() + self.offset_ms.load(Ordering::Relaxed),
            frozen_at_ms => frozen_at_ms,
        };
        self.latest_ms.fetch_max(wall_ms, Ordering::Relaxed);
        wall_ms
    }

    fn monotonic(&self) -> Duration {
        let since_ms = self.now_ms() - self.booted_ms.load(Ordering::Relaxed);
        Duration::from_millis(u64::try_from(since_ms).unwrap_or(0))
    }
}
