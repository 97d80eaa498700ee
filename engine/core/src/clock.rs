//! The only place where time is read, be it the clock's or the processor's. Folds never see it: time
//! reaches them as records.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall and monotonic time.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch. May jump either way.
    fn wall_ms(&self) -> i64;
    /// Time since an arbitrary start. Never goes back within one process.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where clocks are read")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where clocks are read")]
    fn wall_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Processor time of this process, user and system, in seconds and in steps of 10 ms; 0 where the
/// system does not tell.
#[must_use]
pub fn cpu_seconds() -> f64 {
    cpu_ticks(2) / TICKS_PER_SECOND
}

/// As [`cpu_seconds`], with that of the processes which this one has waited for.
#[must_use]
pub fn cpu_seconds_with_children() -> f64 {
    cpu_ticks(4) / TICKS_PER_SECOND
}

/// Ticks a second in `/proc/self/stat`, fixed in Linux's ABI.
const TICKS_PER_SECOND: f64 = 100.0;

/// The sum of the first of: own user and system time, and those of children.
fn cpu_ticks(times: usize) -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in front may hold spaces; behind its bracket, times are the fields from the 12th.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = rest.split_whitespace().skip(11).take(times);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum()
}

/// A clock that moves only when told to, for tests and simulation.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: std::sync::atomic::AtomicI64,
}

impl ManualClock {
    /// A clock standing at `now_ms`.
    #[must_use]
    pub fn at(now_ms: i64) -> Self {
        Self { now_ms: now_ms.into() }
    }

    /// Moves both times forward.
    pub fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.now_ms.fetch_add(by_ms, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.now_ms.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.wall_ms()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::{cpu_seconds, cpu_seconds_with_children};

    #[test]
    fn processor_time_goes_on_with_work() {
        let before = cpu_seconds();
        let work = |_| (0..100_000).fold(1_u64, |mixed, at| std::hint::black_box(mixed.rotate_left(7) ^ at));
        let goes_on = (0..100_000).map(work).any(|_| cpu_seconds() > before);
        assert!(goes_on && cpu_seconds_with_children() > before);
    }
}
