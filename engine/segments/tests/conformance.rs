//! The log keeps the contract of the port, with segments large and small, syncs fast and slow.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::sync::Arc;
use std::time::Duration;

use hongbao_conformance::log::persistent_suite;
use hongbao_engine::clock::SystemClock;
use hongbao_engine::log::Log;
use hongbao_segments::{SegmentLog, SegmentOptions};

fn conforms(options: &SegmentOptions) {
    persistent_suite(|dir| -> Arc<dyn Log> {
        let (log, _) = SegmentLog::open(dir, options.clone(), Arc::new(SystemClock::new())).unwrap();
        Arc::new(log)
    });
}

#[test]
fn with_the_usual_options() {
    conforms(&SegmentOptions::new(2));
}

#[test]
fn with_small_segments_synced_at_once() {
    conforms(&SegmentOptions {
        partitions: 2,
        segment_bytes: 320 << 10,
        sync_max_delay: Duration::ZERO,
        sync_max_bytes: 1,
    });
}

#[test]
fn with_syncs_by_bytes_only() {
    let options = SegmentOptions { sync_max_bytes: 1, ..SegmentOptions::new(3) };
    conforms(&SegmentOptions { sync_max_delay: Duration::from_secs(3_600), ..options });
}
