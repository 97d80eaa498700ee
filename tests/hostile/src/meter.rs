//! How much memory a call takes at its peak, where somebody counts.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts live bytes; an allocator that a fuzz binary installs.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// Forgets the peak so far and returns the bytes live now.
    pub begin: fn() -> usize,
    /// Most bytes that were live since.
    pub peak: fn() -> usize,
    /// Told each time a call comes closer to its bound than any before: peak divided by bound.
    pub closer: fn(f64),
}

static METER: OnceLock<Meter> = OnceLock::new();
/// The closest so far, in millionths of the bound.
static CLOSEST: AtomicU64 = AtomicU64::new(0);

/// Installs the one meter of a process. Without it nothing is measured.
pub fn install_meter(meter: Meter) {
    METER.get_or_init(|| meter);
}

/// Bytes that a call may hold at its peak: `factor` for each byte of input, and `base`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) factor: usize,
    pub(crate) base: usize,
}

impl Bound {
    /// The rule: four times the input and 64 KiB.
    pub(crate) const RULE: Self = Self { factor: 4, base: 64 << 10 };
}

/// Makes a call on `input_bytes` bytes of input; what it returns counts as held.
pub(crate) fn bounded<T>(bound: Bound, input_bytes: usize, call: impl FnOnce() -> T) -> T {
    let Some(meter) = METER.get() else { return call() };
    let before = (meter.begin)();
    let result = call();
    let peak = (meter.peak)().saturating_sub(before);
    let most = bound.factor * input_bytes + bound.base;
    let share = (peak as u64).saturating_mul(1_000_000) / most as u64;
    if share > CLOSEST.fetch_max(share, Ordering::Relaxed) {
        (meter.closer)(share as f64 / 1e6);
    }
    assert!(peak <= most, "violation: {peak} bytes held for an input of {input_bytes}, at most {most}");
    result
}
