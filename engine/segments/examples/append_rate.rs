//! How fast one partition takes records of 98 bytes in frames of 1000, and gives them back; beside
//! it a plain file written and synced the same way, with nothing else done.
//!
//! `cargo run --release -p hongbao-segments --example append_rate -- [dir] [million records] [delay ms]`

use std::error::Error;
use std::fs::File;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_engine::log::{Log, Position};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, ReadBatch, RecordBuf};
use hongbao_segments::{Device, OsDevice, SegmentLog, SegmentOptions};

const RECORD_BYTES: usize = 98;
const FRAME_RECORDS: usize = 1_000;
const ZERO: Partition = Partition(0);

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(|| PathBuf::from("append-rate"), PathBuf::from);
    let records = args.next().map_or(Ok(20.0), |text| text.parse::<f64>())? * 1e6;
    let delay_ms = args.next().map_or(Ok(10), |text| text.parse())?;
    let frames = (records / FRAME_RECORDS as f64) as u64;
    let rate = |took: Duration| records / took.as_secs_f64() / 1e6;
    let plain = plain_file(&dir.with_extension("plain"), frames, Duration::from_millis(delay_ms))?;
    println!("plain file: {:.2} M/s", rate(plain));
    let clock = Arc::new(SystemClock::new());
    let mut options = SegmentOptions::new(1);
    options.sync_max_delay = Duration::from_millis(delay_ms);
    let (log, _) = SegmentLog::open(&dir, options.clone(), Arc::clone(&clock) as Arc<dyn Clock>)?;

    let mut buf = RecordBuf::new();
    for number in 0..FRAME_RECORDS {
        buf.push(&[number as u8; RECORD_BYTES]);
    }
    let frame = Frame { topic: "awards", envelope: Envelope::PRODUCER, records: &buf };
    let start = clock.monotonic();
    let mut last = Position::default();
    for _ in 0..frames {
        last = log.append(ZERO, &[frame])?.position;
    }
    let appended = clock.monotonic() - start;
    loop {
        let seen = log.progress().version();
        if log.durable(ZERO)? >= last {
            break;
        }
        log.progress().wait(seen, Duration::from_millis(100));
    }
    let durable = clock.monotonic() - start;
    println!(
        "append, a sync each {delay_ms} ms: {:.2} M/s, {:.2} M/s to durable",
        rate(appended),
        rate(durable)
    );

    let (start_offset, end) = log.range(ZERO, "awards")?;
    let (mut batch, mut next, mut count) = (ReadBatch::new(), start_offset, 0_usize);
    let start = clock.monotonic();
    while next < end {
        log.read(ZERO, "awards", next, 1 << 20, &mut batch)?;
        count += batch.record_count();
        next = batch.next_offset().unwrap_or(end);
    }
    let took = clock.monotonic() - start;
    println!("read: {:.2} M/s ({count} records)", count as f64 / took.as_secs_f64() / 1e6);
    drop(log);

    let start = clock.monotonic();
    let (log, recovery) = SegmentLog::open(&dir, options, Arc::clone(&clock) as Arc<dyn Clock>)?;
    let found = recovery.partitions.iter().map(|found| found.segments).sum::<usize>();
    println!("open: {:?} for {found} segments", clock.monotonic() - start);
    drop(log);
    Ok(())
}

/// Time to write the bytes of the records to one preallocated file with a thread that syncs it.
fn plain_file(path: &Path, frames: u64, delay: Duration) -> io::Result<Duration> {
    let clock = SystemClock::new();
    let bytes = vec![7; RECORD_BYTES * FRAME_RECORDS];
    let file = OsDevice.create(path)?;
    OsDevice.allocate(&file, frames * bytes.len() as u64)?;
    let start = clock.monotonic();
    thread::scope(|scope| {
        let (stop, stopped) = channel::<()>();
        let (syncing, clock): (&File, &SystemClock) = (&file, &clock);
        let syncs = scope.spawn(move || {
            let mut rest = delay;
            while stopped.recv_timeout(rest) == Err(RecvTimeoutError::Timeout) {
                let begun = clock.monotonic();
                OsDevice.sync(syncing)?;
                rest = delay.saturating_sub(clock.monotonic() - begun);
            }
            OsDevice.sync(syncing)
        });
        for frame in 0..frames {
            OsDevice.write(&file, &mut [IoSlice::new(&bytes)], frame * bytes.len() as u64)?;
        }
        drop(stop);
        syncs.join().unwrap_or_else(|_| Err(io::Error::other("the sync thread panicked")))
    })?;
    let took = clock.monotonic() - start;
    std::fs::remove_file(path)?;
    Ok(took)
}
