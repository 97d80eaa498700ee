//! How many awards a core decides: decode, decide, encode, without a log and without commits.
//!
//! `cargo run --release -p hongbao-processors --example intake_rate -- [awards]`. The rain repeats
//! 8% from the last million and 1% of any age; all of it is in the window, so this is an upper
//! bound for the intake of one partition. Prints a line for each million.

use std::error::Error;
use std::sync::Arc;

use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::Partition;
use hongbao_engine::processor::{Outputs, Processor};
use hongbao_engine::records::ReadBatch;
use hongbao_engine::seen::SeenLimits;
use hongbao_processors::intake::{Intake, IntakeBoard, IntakeSpec};
use hongbao_producers::rain::{Profile, Rain};
use hongbao_schemas::control::{Control, ControlKey, ControlKind};
use hongbao_schemas::settings::Settings;

const FRAME_RECORDS: usize = 1_000;
const BATCH_FRAMES: usize = 10;
const REPORT_EVERY: u64 = 1_000_000;

const SETTINGS: &[u8] = br#"{
    "number": 1, "name": "rate",
    "reward_types": {
        "cash": {"asset": "CNY/2", "max_minor": 20000, "lane": "cash"},
        "coupon.film": {"asset": "COUPON/0", "max_minor": 1, "lane": "coupon"}},
    "activities": {"spring-2027": {"scenes": {
        "rain-1": {"reward_type": "cash", "text": "rain", "reconcile": true},
        "film-1": {"reward_type": "coupon.film", "text": "film", "reconcile": false}}}},
    "reconcile_overdue_after_ms": 900000}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let total: u64 = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 5_000_000,
    };
    let clock = SystemClock::new();
    let board = Arc::new(IntakeBoard::new());
    let control_key = ControlKey::new([7; 32]);
    let settings = Control::seal(ControlKind::Settings, 0, 1, 0, SETTINGS, &control_key);
    let spec = IntakeSpec {
        partition: Partition(0),
        partitions: 1,
        control_key,
        seen: SeenLimits { window_keys_max: 8_000_000 },
        board: board.clone(),
    };
    let mut outputs = Outputs::new();
    let mut intake = Intake::open(spec, Arc::new(MemoryStore::new()), &mut outputs)?;
    let profile = Profile::named("steady")?;
    let mut rain = Rain::new(&profile, &Settings::from_json(SETTINGS)?, 7, total)?;
    let mut batch = ReadBatch::new();
    let frame = batch.next_frame();
    settings.encode(&mut frame.bytes);
    frame.ends.push(frame.bytes.len() as u32);

    let (mut all, mut million, mut out_bytes) = (Spent::default(), Spent::default(), 0);
    let mut done = 0;
    loop {
        let frames: Vec<_> = batch.frames().collect();
        let start = Spent::until_now(&clock);
        intake.apply(&frames, &mut outputs)?;
        million.add_since(start, Spent::until_now(&clock));
        out_bytes += drain(&mut outputs);
        if done > 0 && done % REPORT_EVERY == 0 {
            println!("{done:>10} awards: {}", million.rates(REPORT_EVERY));
            all.add_since(Spent::default(), std::mem::take(&mut million));
        }
        let made = fill(&mut batch, &mut rain, done + 1);
        if made == 0 {
            break;
        }
        done += made;
    }
    all.add_since(Spent::default(), million);
    println!("{}, {out_bytes} bytes written, {:?}", all.rates(done), board.counts());
    Ok(())
}

/// Replaces a batch by the rain's next records, the first at `first_offset`; tells how many.
fn fill(batch: &mut ReadBatch, rain: &mut Rain, first_offset: u64) -> u64 {
    batch.clear();
    let before = rain.left();
    while batch.frame_count() < BATCH_FRAMES && rain.left() > 0 {
        let frame = batch.next_frame();
        frame.first_offset = first_offset + before - rain.left();
        while frame.ends.len() < FRAME_RECORDS
            && let Some(delivery) = rain.next_delivery()
        {
            frame.bytes.extend_from_slice(delivery.award);
            frame.ends.push(frame.bytes.len() as u32);
        }
    }
    before - rain.left()
}

/// Time of this thread: on the wall, and on a core as Linux counts it.
#[derive(Clone, Copy, Default)]
struct Spent {
    wall_s: f64,
    cpu_s: f64,
}

impl Spent {
    fn until_now(clock: &SystemClock) -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let cpu_ns = text.split(' ').next().and_then(|first| first.parse::<f64>().ok());
        Self { wall_s: clock.monotonic().as_secs_f64(), cpu_s: cpu_ns.unwrap_or(f64::NAN) / 1e9 }
    }

    fn add_since(&mut self, start: Self, end: Self) {
        self.wall_s += end.wall_s - start.wall_s;
        self.cpu_s += end.cpu_s - start.cpu_s;
    }

    fn rates(&self, awards: u64) -> String {
        let millions = awards as f64 / 1e6;
        format!("{:.2} M/s, {:.2} M/s a core", millions / self.wall_s, millions / self.cpu_s)
    }
}

/// Forgets what was written, as a log that has taken it would let the task do.
fn drain(outputs: &mut Outputs) -> usize {
    let mut bytes = 0;
    for topic in outputs.topics_mut() {
        bytes += topic.records.byte_len();
        topic.first_seq += topic.records.len() as u64;
        topic.records.clear();
    }
    bytes
}
