//! Power loss at any moment: every group that was acknowledged is there, as a prefix of what was
//! appended, and what was read once after a recovery survives the next loss (I25, F2).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::log::{Log, Position};
use hongbao_segments::SegmentOptions;
use support::lossy::LossyDevice;
use support::{
    Contents, Random, ZERO, append, append_groups, contents, expected, group, open_over, small, try_append,
    try_open, wait_durable,
};

/// The number of groups in `found`, which must be the first ones, and not fewer than `acked`.
fn groups_in(found: &Contents, acked: usize) -> usize {
    let (start, orders) = &found["orders.cash"];
    let count = *start as usize + orders.len();
    assert!(count >= acked, "{acked} groups were acknowledged, {count} are there");
    let mut all = expected((0..count as u64).map(group));
    for (topic, (start, texts)) in &mut all {
        *start = found[topic].0;
        texts.drain(..*start as usize);
    }
    assert_eq!(*found, all, "not the first {count} groups");
    count
}

/// Opens what a power loss left; a second loss comes during the recovery, a third right after it.
fn survives(dir: &Path, acked: usize, random: &mut Random) {
    let device = Arc::new(LossyDevice::over(dir, Random(random.next())));
    device.acked(acked);
    device.lose_one_in(10);
    let (log, recovery) = open_over(dir, small(), Arc::clone(&device) as _).unwrap();
    assert_eq!(recovery.partitions[0].damage, None, "{recovery:?}");
    let first = contents(&log);
    let count = groups_in(&first, acked);
    let after = device.lose();
    for (left, acked) in device.losses() {
        let (log, recovery) = try_open(left.path(), small()).unwrap();
        assert_eq!(recovery.partitions[0].damage, None, "{recovery:?}");
        groups_in(&contents(&log), acked);
    }
    let (second, recovery) = try_open(after.path(), small()).unwrap();
    assert_eq!(recovery.partitions[0].damage, None, "{recovery:?}");
    assert_eq!(contents(&second), first, "what was readable is gone after another loss");
    append_groups(&second, count as u64..count as u64 + 1);
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let dir = support::directory();
    let sync_max_delay = Duration::from_millis(random.below(3));
    let segment_bytes = if random.chance(2) { 8 << 10 } else { 16 << 10 };
    let options = SegmentOptions { segment_bytes, sync_max_delay, ..small() };
    drop(try_open(dir.path(), options.clone()).unwrap());
    let device = Arc::new(LossyDevice::over(dir.path(), Random(random.next())));
    device.lose_one_in(20);
    let (log, _) = open_over(dir.path(), options, Arc::clone(&device) as _).unwrap();
    let mut positions: Vec<Position> = Vec::new();
    for number in 0..150 {
        let position = append(&log, &group(number));
        positions.push(position);
        if random.chance(6) {
            wait_durable(&log, ZERO, position).unwrap();
        }
        let durable = log.durable(ZERO).unwrap();
        let acked = positions.partition_point(|position| *position <= durable);
        device.acked(acked);
        if random.chance(40) {
            let orders = acked as u64 / 2;
            let facts: u64 = (0..orders).map(|number| number % 3 + 1).sum();
            log.trim(ZERO, &[("orders.cash", orders), ("journal", facts)]).unwrap();
        }
    }
    drop(log);
    for (left, acked) in device.losses() {
        survives(left.path(), acked, &mut random);
    }
}

#[test]
fn acknowledged_groups_survive_power_losses() {
    for seed in 0..40 {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}

#[test]
fn what_a_killed_process_left_is_durable_before_it_is_read_again() {
    for seed in 0..20 {
        let dir = support::directory();
        drop(try_open(dir.path(), small()).unwrap());
        let device = Arc::new(LossyDevice::over(dir.path(), Random(seed)));
        let (log, _) = open_over(dir.path(), small(), Arc::clone(&device) as _).unwrap();
        append_groups(&log, 0..5);
        // The sync fails and the system forgets what it could not write, but still shows it.
        device.fail_syncs(true);
        for number in 5..8 + seed {
            if try_append(&log, ZERO, &group(number)).is_err() {
                break;
            }
        }
        drop(log);
        device.fail_syncs(false);
        let (log, _) = open_over(dir.path(), small(), Arc::clone(&device) as _).unwrap();
        let shown = contents(&log);
        assert!(groups_in(&shown, 5) > 5, "nothing was shown that was not durable");
        let left = device.lose();
        let (log, _) = try_open(left.path(), small()).unwrap();
        assert_eq!(contents(&log), shown, "seed {seed}: what was readable is gone");
    }
}
