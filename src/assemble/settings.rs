//! The topology's settings, put in force in every partition at the start (I30). Their number counts
//! up whenever they change; intake ignores a number that is not above the one in force.

use std::time::Duration;

use anyhow::{Context, bail};
use hongbao_engine::clock::Clock;
use hongbao_engine::log::{Log, LogError, Position};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Offset, ReadBatch};
use hongbao_processors::controls::ControlWriter;
use hongbao_processors::intake::AWARDS;
use hongbao_schemas::control::{Control, ControlKey, ControlKind};
use hongbao_schemas::settings::Settings;
use hongbao_topology::Topology;

use super::data_dir::DataDir;

const SETTINGS_FILE: &str = "settings.json";
const DURABLE_WAIT: Duration = Duration::from_secs(30);
const SCAN_BYTES: usize = 1 << 20;

/// The settings of a partition as its intake has folded them so far.
#[derive(Clone, Copy, Debug)]
pub struct FoldedSettings {
    pub partition: Partition,
    /// Number in force there; 0 before the first.
    pub number: i64,
    /// First offset of `awards` that is not folded.
    pub applied: Offset,
}

/// Puts the topology's settings in force in every partition but those that are damaged (I26), which
/// get them at a later start.
///
/// Their number counts up whenever they differ from those of the last start. They are appended at
/// every start: a number that is in force already changes nothing, and one whose append a crash
/// cut short is completed. Where the log is full and holds them already, they need not stand there
/// again. A file of the last start that is lost, or older than what was folded, does
/// not decide the number: the log does.
pub fn publish_settings(
    log: &dyn Log,
    clock: &dyn Clock,
    data: &DataDir,
    topology: &Topology,
    folded: &[FoldedSettings],
) -> anyhow::Result<()> {
    let key = data.control_key();
    let last = data.folder().read(SETTINGS_FILE, Settings::from_json)?;
    let last_number = last.as_ref().map_or(0, |settings| settings.number);
    let in_force = number_in_force(log, &key, last.is_none(), last_number, folded)?;
    let settings = match last {
        Some(last) if in_force <= last_number && topology.settings(last_number) == last => last,
        _ => topology.settings(in_force.max(last_number) + 1),
    };
    let body = settings.to_json().context("settings")?;
    if settings.number != last_number {
        data.folder().write(SETTINGS_FILE, &body)?;
        tracing::info!(number = settings.number, "settings changed");
    }
    let number = i64::try_from(settings.number).context("settings number")?;
    let writer = ControlWriter { log, key: &key };
    let mut positions = Vec::new();
    for partition in (0..log.partitions()).map(Partition) {
        let publish = || {
            // Time first, so that nothing is folded before there is any.
            writer.tick(partition, clock.wall_ms())?;
            writer.settings(partition, number, &body, clock.wall_ms())
        };
        let published = match publish() {
            Err(error @ LogError::Full(_)) => {
                let place = folded.iter().find(|place| place.partition == partition);
                if !unless_damaged(partition, stands(log, &key, settings.number, place))?.unwrap_or(true) {
                    let what = format!("settings {number} are not in force in partition {partition}");
                    return Err(error).context(what);
                }
                tracing::warn!(partition = partition.0, %error, "settings that are in force were not repeated");
                None
            }
            published => unless_damaged(partition, published)?,
        };
        positions.extend(published.map(|position| (partition, position)));
    }
    hongbao_engine::kill_point!("settings.appended");
    wait_durable(log, clock, &positions)?;
    hongbao_engine::kill_point!("settings.durable");
    Ok(())
}

/// Whether settings of this number stand in the log of a partition, folded or not. Nothing looks for any
/// in a partition that is not folded at all.
fn stands(
    log: &dyn Log,
    key: &ControlKey,
    number: u64,
    place: Option<&FoldedSettings>,
) -> Result<bool, LogError> {
    let Some(place) = place else { return Ok(true) };
    let is_folded = u64::try_from(place.number).is_ok_and(|folded| folded >= number);
    Ok(is_folded || last_number_in(log, key, place.partition, place.applied)? >= number)
}

/// Damage of one partition is not the end of the others.
fn unless_damaged<T>(partition: Partition, result: Result<T, LogError>) -> Result<Option<T>, LogError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error @ LogError::Corrupt { .. }) => {
            tracing::error!(partition = partition.0, %error, "no settings for a damaged partition");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn wait_durable(log: &dyn Log, clock: &dyn Clock, positions: &[(Partition, Position)]) -> anyhow::Result<()> {
    let started = clock.monotonic();
    for (partition, position) in positions {
        loop {
            let seen = log.progress().version();
            let durable = unless_damaged(*partition, log.durable(*partition))?;
            if durable.is_none_or(|durable| durable >= *position) {
                break;
            }
            if clock.monotonic().saturating_sub(started) > DURABLE_WAIT {
                bail!("the settings did not become durable within {} s", DURABLE_WAIT.as_secs());
            }
            log.progress().wait(seen, Duration::from_millis(50));
        }
    }
    Ok(())
}

/// The highest number that was ever in force. Only when the file of the last start cannot be right,
/// what is in the log and not yet folded is looked through for it.
fn number_in_force(
    log: &dyn Log,
    key: &ControlKey,
    is_lost: bool,
    last_number: u64,
    folded: &[FoldedSettings],
) -> Result<u64, LogError> {
    let mut highest = 0;
    let mut is_written = false;
    for place in folded {
        highest = highest.max(u64::try_from(place.number).unwrap_or(0));
        let range = unless_damaged(place.partition, log.range(place.partition, AWARDS))?;
        is_written |= range.is_some_and(|(_, end)| end > 0);
    }
    if highest <= last_number && !(is_lost && is_written) {
        return Ok(highest);
    }
    tracing::warn!(
        last_number,
        folded_number = highest,
        "{SETTINGS_FILE} is lost or older than the settings in force; their number is taken from the log"
    );
    for place in folded {
        let found =
            unless_damaged(place.partition, last_number_in(log, key, place.partition, place.applied))?;
        highest = highest.max(found.unwrap_or(0));
    }
    Ok(highest)
}

/// The highest number among the settings of a partition from an offset on.
fn last_number_in(
    log: &dyn Log,
    key: &ControlKey,
    partition: Partition,
    from: Offset,
) -> Result<u64, LogError> {
    let (start, end) = log.range(partition, AWARDS)?;
    let (mut at, mut highest) = (from.max(start), 0);
    let mut batch = ReadBatch::new();
    while at < end {
        log.read(partition, AWARDS, at, SCAN_BYTES, &mut batch)?;
        if batch.is_empty() {
            break;
        }
        for (offset, record) in batch.frames().flat_map(|frame| frame.records()) {
            at = offset + 1;
            let control = Control::decode(record).ok().filter(|control| {
                control.kind == ControlKind::Settings
                    && control.partition == partition.0
                    && control.verify(key)
            });
            highest = highest.max(control.map_or(0, |control| u64::try_from(control.number).unwrap_or(0)));
        }
    }
    Ok(highest)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hongbao_engine::clock::ManualClock;
    use hongbao_engine::memory::log::MemoryLog;

    use super::*;

    const TOPOLOGY: &str = "\
version: 1
name: test
partitions: 2
log:
  segments: {segment_size: 16MiB, sync: {max_delay: 1ms, max_bytes: 1MiB}}
downstreams:
  bank:
    embedded: {}
lanes:
  cash: {reward_types: [cash], downstream: bank, rate: 1000/s}
";

    fn topology(max_minor: u64) -> Topology {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("topology.yaml"), TOPOLOGY).unwrap();
        std::fs::create_dir(folder.path().join("campaigns")).unwrap();
        let campaign = format!(
            "version: 1\nactivity: spring\nreward_types:\n  cash: {{asset: CNY/2, max_minor: {max_minor}}}\n\
             scenes:\n  rain: {{reward_type: cash}}\n"
        );
        std::fs::write(folder.path().join("campaigns/spring.yaml"), campaign).unwrap();
        hongbao_topology::load(&folder.path().join("topology.yaml"), &|_| None).unwrap()
    }

    fn place(partition: u16, number: i64, applied: Offset) -> FoldedSettings {
        FoldedSettings { partition: Partition(partition), number, applied }
    }

    struct World {
        _folder: tempfile::TempDir,
        data: DataDir,
        log: MemoryLog,
        clock: ManualClock,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let data = DataDir::open_or_create(&folder.path().join("data"), "test", 2).unwrap();
            let log = MemoryLog::new(2, Arc::new(ManualClock::at(0)));
            Self { _folder: folder, data, log, clock: ManualClock::at(1_000) }
        }

        /// A start whose intakes have folded up to these numbers and offsets.
        fn start(&self, max_minor: u64, folded: [(i64, Offset); 2]) -> Settings {
            let [(zero, zero_end), (one, one_end)] = folded;
            self.publish(max_minor, &[place(0, zero, zero_end), place(1, one, one_end)]).unwrap();
            self.data.folder().read(SETTINGS_FILE, Settings::from_json).unwrap().unwrap()
        }

        fn publish(&self, max_minor: u64, folded: &[FoldedSettings]) -> anyhow::Result<()> {
            publish_settings(&self.log, &self.clock, &self.data, &topology(max_minor), folded)
        }

        fn lose(&self) {
            std::fs::remove_file(self.data.path(SETTINGS_FILE)).unwrap();
        }

        fn published(&self) -> u64 {
            last_number_in(&self.log, &self.data.control_key(), Partition(1), 0).unwrap()
        }
    }

    #[test]
    fn the_number_counts_up_with_each_change() {
        let world = World::new();
        assert_eq!(world.start(100, [(0, 0); 2]).number, 1);
        assert_eq!(world.start(100, [(1, 2); 2]).number, 1);
        assert_eq!(world.start(200, [(1, 2); 2]).number, 2);
        // A partition that is behind, or one that never got them, changes nothing.
        assert_eq!(world.start(200, [(0, 0), (2, 6)]).number, 2);
        assert_eq!(world.published(), 2);
    }

    #[test]
    fn a_lost_or_old_file_does_not_make_settings_that_intake_ignores() {
        let world = World::new();
        world.start(100, [(0, 0); 2]);
        let old = std::fs::read(world.data.path(SETTINGS_FILE)).unwrap();
        world.start(200, [(1, 2); 2]);
        world.start(300, [(2, 4); 2]);
        world.lose();
        assert_eq!(world.start(100, [(3, 6), (2, 4)]).number, 4, "above what one partition has folded");
        world.lose();
        assert_eq!(world.start(200, [(0, 0); 2]).number, 5, "above what is in the log and not folded");
        assert_eq!(world.published(), 5);
        // Old settings with an old number, which are those of the topology again.
        std::fs::write(world.data.path(SETTINGS_FILE), old).unwrap();
        assert_eq!(world.start(100, [(5, 10); 2]).number, 6);
        assert_eq!(world.published(), 6);
    }

    #[test]
    fn a_full_log_keeps_only_new_settings_from_being_put_in_force() {
        let world = World::new();
        assert_eq!(world.start(100, [(0, 0); 2]).number, 1);
        world.log.set_bytes_max(0);
        // Both have folded them, or one has them in its log at least; a halted one folds nothing.
        assert_eq!(world.start(100, [(1, 2); 2]).number, 1);
        assert_eq!(world.start(100, [(1, 2), (0, 0)]).number, 1);
        world.publish(100, &[]).unwrap();
        let error = world.publish(100, &[place(1, 0, 2)]).unwrap_err().to_string();
        assert!(error.contains("settings 1 are not in force in partition 1"), "{error}");
        let error = world.publish(200, &[place(0, 1, 2), place(1, 1, 2)]).unwrap_err();
        assert!(error.to_string().contains("settings 2 are not in force in partition 0"), "{error}");
        assert!(matches!(error.downcast_ref(), Some(LogError::Full(_))), "{error}");
        world.log.set_bytes_max(usize::MAX);
        assert_eq!(world.start(200, [(1, 2); 2]).number, 2);
        assert_eq!(world.published(), 2);
    }

    #[test]
    fn a_damaged_partition_does_not_keep_the_others_from_their_settings() {
        let world = World::new();
        world.log.corrupt(Partition(0), "a flipped byte");
        assert_eq!(world.start(100, [(0, 0); 2]).number, 1);
        assert_eq!(world.published(), 1);
    }
}
