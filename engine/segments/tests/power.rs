//! Power loss at any moment: every group that was acknowledged is there, as a prefix of what was
//! appended, and what was read once after a recovery survives the next loss (I25, F2).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use std::sync::Arc;

use support::lossy::LossyDevice;
use support::scenarios::{self, groups_in};
use support::{Random, ZERO, append_groups, contents, group, open_over, small, try_append, try_open};

#[test]
fn acknowledged_groups_survive_power_losses() {
    for seed in 0..40 {
        let result = std::panic::catch_unwind(|| scenarios::power_losses(seed));
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
