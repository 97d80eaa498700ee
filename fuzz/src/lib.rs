//! The fuzzers: one program a target, which runs its checks under libFuzzer with a counting
//! allocator. `scripts/fuzz` builds and runs them.

use std::sync::OnceLock;

use hongbao_hostile::{Meter, Target, install_meter, target};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

static TARGET: OnceLock<Option<&'static Target>> = OnceLock::new();

/// Writes how close a call came to its bound, so that whoever runs this can tell.
fn note(ratio: f64) {
    if let Some(path) = std::env::var_os("HONGBAO_FUZZ_RATIO") {
        // The figure is a courtesy; the bound is checked all the same.
        drop(std::fs::write(path, format!("{ratio:.6}")));
    }
}

fn begin() -> usize {
    ALLOCATOR.reset_peak_usage();
    ALLOCATOR.current_usage()
}

fn peak() -> usize {
    ALLOCATOR.peak_usage()
}

/// Runs one input of a target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGET.get_or_init(|| {
        install_meter(Meter { begin, peak, closer: note });
        target(name)
    });
    match target {
        Some(target) => (target.check)(bytes),
        None => panic!("no target {name}"),
    }
}
