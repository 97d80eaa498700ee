//! Waiting for what must happen, and seeded choices. Deadlines are so generous that a slow machine
//! never decides a test.

use std::sync::LazyLock;
use std::time::Duration;

use hongbao_engine::clock::{Clock, SystemClock};

/// For everything that should take a moment.
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(10);

static CLOCK: LazyLock<SystemClock> = LazyLock::new(SystemClock::new);

/// Time since the first use.
pub fn elapsed() -> Duration {
    CLOCK.monotonic()
}

/// Waits so long.
pub fn pause(time: Duration) {
    let end = elapsed() + time;
    while let Some(left) = end.checked_sub(elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Looks again and again until there is something.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_for(DEADLINE, what, look)
}

/// As [`until`], for at most so long.
pub fn until_for<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = elapsed() + deadline;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(elapsed() < end, "not within {deadline:?}: {what}");
        pause(LOOK_EVERY);
    }
}

/// Numbers that are a function of a seed (SplitMix64).
#[derive(Clone, Copy, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
