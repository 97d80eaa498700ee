//! What the measurements share: keys, times and the process's own figures.

use std::time::Duration;

use hongbao_engine::clock::{Clock, SystemClock, cpu_seconds};

/// A row key of 32 bytes for the `index`-th order number: kind, scene, person, rain, type, stage.
pub fn write_key(index: u64, key: &mut Vec<u8>) {
    let act_id = 10_000_000_000 + index.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 89_999_999_999;
    key.clear();
    key.extend_from_slice(b"rain26\0");
    push_digits(act_id, key);
    key.push(0);
    push_digits(1000 + index / 100_000 % 9000, key);
    key.extend_from_slice(b"\0cash\x001");
}

fn push_digits(mut number: u64, key: &mut Vec<u8>) {
    let start = key.len();
    while number > 0 {
        key.push(b'0' + (number % 10) as u8);
        number /= 10;
    }
    key[start..].reverse();
}

/// The `index`-th of a sequence of well-spread numbers (SplitMix64).
pub fn spread(index: u64) -> u64 {
    let mut mixed = index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Wall time and the CPU time of all threads of this process since some moment.
pub struct Watch {
    clock: SystemClock,
    cpu_s: f64,
}

impl Watch {
    /// Starts now.
    pub fn start() -> Self {
        Self { clock: SystemClock::new(), cpu_s: cpu_seconds() }
    }

    /// Wall time since the start.
    pub fn wall(&self) -> Duration {
        self.clock.monotonic()
    }

    /// CPU time since the start, in seconds.
    pub fn cpu_s(&self) -> f64 {
        cpu_seconds() - self.cpu_s
    }
}

/// Resident memory of this process, in MB.
pub fn resident_mb() -> u64 {
    const PAGES_PER_MB: u64 = 256;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) / PAGES_PER_MB
}

/// The `position`-th argument as a number, or `default`.
pub fn argument(position: usize, default: u64) -> u64 {
    std::env::args().nth(position).and_then(|text| text.parse().ok()).unwrap_or(default)
}
