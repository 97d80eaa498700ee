//! Control records: settings at the start, and the time once a second. They reach the folds as
//! records of `awards`, so that a replay sees them where they were (I30).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use hongbao_engine::clock::Clock;
use hongbao_engine::log::{Log, LogError};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, RecordBuf};
use hongbao_processors::intake::AWARDS;
use hongbao_schemas::control::{Control, ControlKey, ControlKind};
use hongbao_schemas::settings::Settings;
use hongbao_topology::Topology;

use super::data_dir::DataDir;
use super::sealed_file;

const SETTINGS_FILE: &str = "settings.json";
const TICK_EVERY: Duration = Duration::from_secs(1);
const DURABLE_WAIT: Duration = Duration::from_secs(30);

/// Puts the topology's settings in force in every partition.
///
/// Their number counts up whenever they differ from those of the last start. They are appended at
/// every start: a number that is in force already changes nothing, and one whose append a crash
/// cut short is completed.
pub fn publish_settings(
    log: &dyn Log,
    clock: &dyn Clock,
    data: &DataDir,
    topology: &Topology,
) -> anyhow::Result<()> {
    let path = data.path(SETTINGS_FILE);
    let last = match sealed_file::read(&path)? {
        Some(json) => {
            Some(Settings::from_json(&json).with_context(|| format!("{} is malformed", path.display()))?)
        }
        None => None,
    };
    let last_number = last.as_ref().map_or(0, |settings| settings.number);
    let settings = match last {
        Some(last) if topology.settings(last_number) == last => last,
        _ => topology.settings(last_number + 1),
    };
    let body = settings.to_json().context("settings")?;
    if settings.number != last_number {
        data.write_durably(SETTINGS_FILE, &body)?;
        tracing::info!(number = settings.number, "settings changed");
    }
    let number = i64::try_from(settings.number).context("settings number")?;
    let key = data.control_key();
    let mut positions = Vec::new();
    for partition in (0..log.partitions()).map(Partition) {
        // Time first, so that nothing is folded before there is any.
        tick(log, clock, partition, &key)?;
        let control = Control::seal(ControlKind::Settings, partition.0, number, clock.wall_ms(), &body, &key);
        positions.push((partition, append(log, partition, &control)?));
    }
    hongbao_engine::kill_point!("settings.appended");
    let started = clock.monotonic();
    for (partition, position) in positions {
        loop {
            let seen = log.progress().version();
            if log.durable(partition)? >= position {
                break;
            }
            if clock.monotonic().saturating_sub(started) > DURABLE_WAIT {
                bail!("the settings did not become durable within {} s", DURABLE_WAIT.as_secs());
            }
            log.progress().wait(seen, Duration::from_millis(50));
        }
    }
    hongbao_engine::kill_point!("settings.durable");
    Ok(())
}

fn append(
    log: &dyn Log,
    partition: Partition,
    control: &Control<'_>,
) -> Result<hongbao_engine::log::Position, LogError> {
    let mut records = RecordBuf::new();
    records.push_with(|bytes| control.encode(bytes));
    let frame = Frame { topic: AWARDS, envelope: Envelope::PRODUCER, records: &records };
    Ok(log.append(partition, &[frame])?.position)
}

/// Appends the time. Numbers must count up for ever, also when the clock goes back; the end of the
/// topic does, since every tick moves it.
fn tick(log: &dyn Log, clock: &dyn Clock, partition: Partition, key: &ControlKey) -> Result<(), LogError> {
    let (_, end) = log.range(partition, AWARDS)?;
    let number = i64::try_from(end).unwrap_or(i64::MAX).saturating_add(1);
    let tick = Control::seal(ControlKind::Tick, partition.0, number, clock.wall_ms(), &[], key);
    append(log, partition, &tick)?;
    hongbao_engine::kill_point!("tick.appended");
    Ok(())
}

/// Appends the time to every partition, once a second, until dropped.
pub struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread.
    pub fn start(log: Arc<dyn Log>, clock: Arc<dyn Clock>, key: ControlKey) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let builder = std::thread::Builder::new().name("ticker".to_owned());
        let thread = builder.spawn(move || {
            while !stopping.load(Ordering::Acquire) {
                for partition in (0..log.partitions()).map(Partition) {
                    if let Err(error) = tick(&*log, &*clock, partition, &key) {
                        tracing::warn!(%error, partition = partition.0, "a tick could not be appended");
                    }
                }
                std::thread::park_timeout(TICK_EVERY);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}
