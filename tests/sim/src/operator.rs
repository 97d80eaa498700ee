//! The operator: settings at every start and when they change, the time, a part of the awards once
//! more.

use std::collections::BTreeMap;

use hongbao_engine::clock::Clock;
use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::ReadBatch;
use hongbao_processors::controls::ControlWriter;
use hongbao_processors::intake::AWARDS;
use hongbao_schemas::control::ControlKey;
use hongbao_schemas::money::Asset;
use hongbao_schemas::settings::{Activity, RewardType, Scene, Settings};

use crate::clients::{ACTIVITY, scene_id};

/// Lanes in their order, cash first.
pub const LANES: [&str; 3] = ["cash", "coupon", "pendant"];

/// Seals control records.
#[must_use]
pub fn control_key() -> ControlKey {
    ControlKey::new([7; 32])
}

/// Settings of a world.
#[must_use]
pub fn settings(number: u64, cash_max_minor: i64, has_films: bool) -> Settings {
    let assets = ["CNY/2", "COUPON/0", "PENDANT/0"];
    let mut reward_types = BTreeMap::new();
    let mut scenes = BTreeMap::new();
    for (index, lane) in LANES.iter().enumerate() {
        let Ok(asset) = Asset::parse(assets[index]) else { continue };
        let max_minor = if index == 0 { cash_max_minor } else { 5 };
        reward_types.insert((*lane).to_owned(), RewardType { asset, max_minor, lane: (*lane).to_owned() });
        let scene =
            Scene { reward_type: (*lane).to_owned(), text: (*lane).to_owned(), reconcile: index != 1 };
        if index != 1 || has_films {
            scenes.insert(scene_id(index as u8).to_owned(), scene);
        }
    }
    let activities = BTreeMap::from([(ACTIVITY.to_owned(), Activity { scenes })]);
    Settings { number, name: "sim".to_owned(), reward_types, activities, reconcile_overdue_after_ms: 60_000 }
}

/// Appends the time.
///
/// # Errors
/// [`LogError`].
pub fn tick(log: &dyn Log, clock: &dyn Clock, partition: u16) -> Result<(), LogError> {
    let writer = ControlWriter { log, key: &control_key() };
    writer.tick(Partition(partition), clock.wall_ms()).map(drop)
}

/// Puts settings in force in one partition; the same ones once more change nothing.
///
/// # Errors
/// [`LogError`].
pub fn publish(
    log: &dyn Log,
    clock: &dyn Clock,
    partition: u16,
    settings: &Settings,
) -> Result<(), LogError> {
    let body = settings.to_json().unwrap_or_default();
    let writer = ControlWriter { log, key: &control_key() };
    let number = settings.number.cast_signed();
    writer.settings(Partition(partition), number, &body, clock.wall_ms()).map(drop)
}

/// Records of `awards`, as somebody would read them out to append them once more.
///
/// # Errors
/// [`LogError`].
pub fn read_again(
    log: &dyn Log,
    partition: u16,
    from_permille: u32,
    count: u32,
) -> Result<Vec<Vec<u8>>, LogError> {
    let partition = Partition(partition);
    let (start, end) = log.range(partition, AWARDS)?;
    let from = start + (end - start) * u64::from(from_permille.min(1_000)) / 1_000;
    let mut batch = ReadBatch::new();
    let mut records = Vec::new();
    log.read(partition, AWARDS, from, 1 << 20, &mut batch)?;
    for (_, record) in batch.frames().flat_map(|frame| frame.records()) {
        if records.len() == count as usize {
            break;
        }
        records.push(record.to_vec());
    }
    Ok(records)
}
