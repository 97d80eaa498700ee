//! Scenarios that hold as they are, and break with a bug planted (`tests/planted.rs`).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hongbao_engine::log::{Log, LogError, Position};
use hongbao_engine::partition::Partition;
use hongbao_segments::{SPARES_MAX, SegmentLog, SegmentOptions};

use super::faulty::{Fault, FaultyDevice};
use super::lossy::LossyDevice;
use super::{
    Contents, Random, ZERO, append, append_groups, contents, copied, expected, files, group, open, open_over,
    segments, small, try_append, try_contents, try_open, wait_durable, wait_sealed,
};

pub fn log_of(dir: &Path, groups: u64) -> SegmentLog {
    let log = open(dir, small());
    append_groups(&log, 0..groups);
    wait_sealed(dir, small().segment_bytes);
    log
}

/// `contents` without what lies before its starts, which are taken from `found`.
pub fn from_starts(mut contents: Contents, found: &Contents) -> Contents {
    for (topic, (start, texts)) in &mut contents {
        *start = found[topic].0;
        texts.drain(..*start as usize);
    }
    contents
}

pub fn trim(log: &SegmentLog, orders: u64) {
    // Each group has one order; a fact's number follows from it.
    let facts: u64 = (0..orders).map(|number| number % 3 + 1).sum();
    log.trim(ZERO, &[("orders.cash", orders), ("journal", facts)]).unwrap();
}

/// A group torn at any byte, in a file that was used before, is cut off as a whole (rule 7).
pub fn torn_over_an_old_group() {
    let dir = super::directory();
    let log = log_of(dir.path(), 100);
    trim(&log, 90);
    assert_eq!(files(dir.path(), "spare").len(), SPARES_MAX);
    let sealed = segments(dir.path()).len();
    let mut next = 100;
    while segments(dir.path()).len() == sealed {
        append_groups(&log, next..next + 1);
        next += 1;
    }
    append_groups(&log, next..next + 2);
    next += 2;
    let killed = copied(dir.path());
    let file = segments(killed.path()).pop().unwrap();
    let old = fs::read(&file).unwrap();
    append_groups(&log, next..next + 1);
    let new = fs::read(segments(dir.path()).last().unwrap()).unwrap();
    let start = (0..old.len()).find(|at| old[*at] != new[*at]).unwrap();
    let end = (0..old.len()).rfind(|at| old[*at] != new[*at]).unwrap() + 1;
    for at in start..=end {
        fs::write(&file, [&new[..at], &old[at..]].concat()).unwrap();
        let log = open(killed.path(), small());
        let found = contents(&log);
        let whole = at == end;
        let all = expected((0..next + u64::from(whole)).map(group));
        assert_eq!(found, from_starts(all, &found), "torn at {at} of {start}..{end}");
    }
}

/// A file whose sync has failed once is never synced again: the next one would succeed, and what it was
/// to write would be gone (I25).
pub fn a_sync_that_fails_once() {
    let dir = super::directory();
    let device = Arc::new(FaultyDevice::default());
    let (log, _) = open_over(dir.path(), small(), Arc::clone(&device) as _).unwrap();
    append_groups(&log, 0..5);
    device.set(Some(Fault::SyncOnce));
    let syncs = device.syncs.load(Ordering::SeqCst);
    let position = append(&log, &group(5));
    let told = wait_durable(&log, ZERO, position);
    assert!(matches!(told, Err(LogError::Failed(_))), "told durable after a failed sync: {told:?}");
    drop(log);
    assert_eq!(device.syncs.load(Ordering::SeqCst), syncs + 1, "synced after a failure");
}

/// A bit flipped in one of three partitions stops that one, and the others go on (I26).
pub fn damage_in_one_partition() {
    let dir = super::directory();
    let options = SegmentOptions { partitions: 3, ..small() };
    let log = open(dir.path(), options.clone());
    for partition in 0..3 {
        for number in 0..10 {
            let partition = Partition(partition);
            let position = try_append(&log, partition, &group(number)).unwrap();
            wait_durable(&log, partition, position).unwrap();
        }
    }
    let dir = copied(dir.path());
    let file = dir.path().join("p-0001/0000000001.seg");
    let mut bytes = fs::read(&file).unwrap();
    bytes[64 + 256 + 3] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (log, recovery) = try_open(dir.path(), options).unwrap();
    let damaged: Vec<bool> = recovery.partitions.iter().map(|found| found.damage.is_some()).collect();
    assert_eq!(damaged, [false, true, false]);
    let what = recovery.partitions[1].damage.as_ref().unwrap();
    assert!(what.contains("0000000001.seg at 64: found a damaged payload"), "{what}");
    for partition in [0, 2] {
        let partition = Partition(partition);
        assert_eq!(try_contents(&log, partition), Ok(expected((0..10).map(group))));
        let position = try_append(&log, partition, &group(10)).unwrap();
        wait_durable(&log, partition, position).unwrap();
    }
    let one = Partition(1);
    assert!(matches!(try_contents(&log, one), Err(LogError::Corrupt { partition: 1, .. })));
}

/// The number of groups in `found`, which must be the first ones, and not fewer than `acked`.
pub fn groups_in(found: &Contents, acked: usize) -> usize {
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

/// Groups appended while the power is lost now and then: what was acknowledged is there (I25).
pub fn power_losses(seed: u64) {
    let mut random = Random(seed);
    let dir = super::directory();
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
