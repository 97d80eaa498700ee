//! Group commit of the segment log: nobody is told that a group is durable before it is, nobody
//! reads what is not, and nobody waits for ever, also when a sync fails (I25).

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::ManualClock;
use hongbao_engine::log::{Log, LogError, Position};
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Envelope, Frame, ReadBatch, RecordBuf};
use hongbao_engine::thread;
use hongbao_interleavings::explore;
use hongbao_segments::{Device, OsDevice, SegmentLog, SegmentOptions};
use parking_lot::Mutex;
use tempfile::TempDir;

/// What a disk would still have after a power cut: by file, bytes written and bytes synced.
#[derive(Default)]
struct Disk {
    files: Vec<(u64, u64, u64)>,
    /// Syncs that succeed before one fails; none fails without it.
    syncs_left: Option<usize>,
}

#[derive(Clone, Default)]
struct Watched(Arc<Mutex<Disk>>);

impl Watched {
    fn note(&self, file: &File, change: impl FnOnce(&mut (u64, u64, u64))) -> io::Result<()> {
        let inode = file.metadata()?.ino();
        let mut disk = self.0.lock();
        let place = disk.files.iter().position(|(known, ..)| *known == inode);
        let place = place.unwrap_or_else(|| {
            disk.files.push((inode, 0, 0));
            disk.files.len() - 1
        });
        change(&mut disk.files[place]);
        Ok(())
    }

    /// Bytes synced of the one segment of a partition.
    fn synced(&self, segment: &Path) -> u64 {
        let inode = std::fs::metadata(segment).unwrap().ino();
        self.0.lock().files.iter().find(|(known, ..)| *known == inode).map_or(0, |(_, _, synced)| *synced)
    }
}

impl Device for Watched {
    fn create(&self, path: &Path) -> io::Result<File> {
        let file = OsDevice.create(path)?;
        self.note(&file, |entry| (entry.1, entry.2) = (0, 0))?;
        Ok(file)
    }

    fn allocate(&self, _: &File, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        OsDevice.set_len(file, len)
    }

    fn clear_from(&self, file: &File, at: u64) -> io::Result<()> {
        OsDevice.clear_from(file, at)
    }

    fn write(&self, file: &File, slices: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        // The frame of a clean close holds no record, and says that all before it is durable.
        let closes = matches!(slices, [only] if only.starts_with(b"hbF1") && only[76..80] == [0; 4]);
        if closes {
            self.note(file, |(_, written, synced)| assert_eq!(written, synced, "closed too early (I25)"))?;
        }
        OsDevice.write(file, slices, at)?;
        self.note(file, |(_, written, _)| *written = (*written).max(at + len as u64))
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        // A sync covers what was written when it began, and takes a while.
        let mut covered = 0;
        self.note(file, |(_, written, _)| covered = *written)?;
        thread::yield_now();
        if let Some(left) = &mut self.0.lock().syncs_left {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("broken"))?;
        }
        self.note(file, |(_, _, synced)| *synced = (*synced).max(covered))
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// A log, and its folder in memory, which goes with it.
struct Rig {
    dir: TempDir,
    device: Watched,
    log: Arc<SegmentLog>,
}

impl Rig {
    fn new(sync_max_delay: Duration) -> Self {
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = made.unwrap();
        let options =
            SegmentOptions { partitions: 2, segment_bytes: 64 << 10, sync_max_delay, sync_max_bytes: 700 };
        let device = Watched::default();
        let clock = Arc::new(ManualClock::at(0));
        let (log, _) = SegmentLog::open_on(dir.path(), options, clock, Arc::new(device.clone())).unwrap();
        Self { dir, device, log: Arc::new(log) }
    }

    fn segment(&self, partition: Partition) -> PathBuf {
        self.dir.path().join(format!("p-{:04}/0000000001.seg", partition.0))
    }
}

fn append(log: &SegmentLog, partition: Partition, text: &str) -> Result<Position, LogError> {
    let mut records = RecordBuf::new();
    records.push(text.as_bytes());
    let frame = Frame { topic: "t", envelope: Envelope::PRODUCER, records: &records };
    log.append(partition, &[frame]).map(|appended| appended.position)
}

fn wait(log: &SegmentLog, partition: Partition, position: Position) -> Result<(), LogError> {
    loop {
        let seen = log.progress().version();
        if log.durable(partition)? >= position {
            return Ok(());
        }
        log.progress().wait(seen, Duration::from_secs(1));
    }
}

/// Header bytes of a segment without topics: positions count from behind it.
const HEADER_BYTES: u64 = 64;

fn groups_become_durable(sync_max_delay: Duration) {
    let rig = Rig::new(sync_max_delay);
    let writers: Vec<_> = (0..3_u16)
        .map(|number| {
            let (log, device) = (Arc::clone(&rig.log), rig.device.clone());
            let partition = Partition(number % 2);
            let segment = rig.segment(partition);
            thread::spawn(move || {
                for round in 0..2 {
                    let position = append(&log, partition, &format!("{number}.{round}")).unwrap();
                    wait(&log, partition, position).unwrap();
                    let synced = device.synced(&segment);
                    assert!(
                        synced >= position.0 + HEADER_BYTES,
                        "told at {synced}, before {position:?} (I25)"
                    );
                }
            })
        })
        .collect();
    let (log, device, segment) = (Arc::clone(&rig.log), rig.device.clone(), rig.segment(Partition(0)));
    let reader = thread::spawn(move || {
        let mut batch = ReadBatch::new();
        let mut next = 0;
        for _ in 0..6 {
            log.read(Partition(0), "t", next, 1 << 20, &mut batch).unwrap();
            next = batch.next_offset().unwrap_or(next);
            // Each record takes a frame of 256 bytes and its end, padded to 320.
            let synced = device.synced(&segment);
            assert!(synced >= HEADER_BYTES + next * 320, "read {next} records at {synced} (I25)");
            thread::yield_now();
        }
    });
    writers.into_iter().chain([reader]).for_each(|thread| thread.join().unwrap());
    assert_eq!(rig.log.range(Partition(0), "t").unwrap(), (0, 4));
    assert_eq!(rig.log.range(Partition(1), "t").unwrap(), (0, 2));
}

#[test]
fn at_once() {
    explore(|| groups_become_durable(Duration::ZERO));
}

#[test]
fn after_a_delay_or_enough_bytes() {
    explore(|| groups_become_durable(Duration::from_millis(10)));
}

#[test]
fn a_failed_sync_reaches_everybody() {
    explore(|| {
        let rig = Rig::new(Duration::ZERO);
        rig.device.0.lock().syncs_left = Some(1);
        let writers: Vec<_> = (0..3_u16)
            .map(|number| {
                let (log, device) = (Arc::clone(&rig.log), rig.device.clone());
                let partition = Partition(number % 2);
                let segment = rig.segment(partition);
                thread::spawn(move || {
                    let mut failed = false;
                    for round in 0..2 {
                        let told = append(&log, partition, &format!("{number}.{round}"))
                            .and_then(|position| wait(&log, partition, position).map(|()| position));
                        match told {
                            Ok(position) => {
                                assert!(!failed, "durable after a failed sync");
                                assert!(device.synced(&segment) >= position.0 + HEADER_BYTES, "I25");
                            }
                            Err(LogError::Failed(_)) => failed = true,
                            Err(other) => panic!("{other}"),
                        }
                    }
                    failed
                })
            })
            .collect();
        let failed: Vec<bool> = writers.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(failed.contains(&true), "one sync for six groups: somebody must have been told");
    });
}

#[test]
fn a_close_syncs_what_was_appended() {
    explore(|| {
        let rig = Rig::new(Duration::from_millis(10));
        let log = Arc::clone(&rig.log);
        let writer = thread::spawn(move || append(&log, Partition(0), "last").unwrap());
        let position = writer.join().unwrap();
        let (segment, device) = (rig.segment(Partition(0)), rig.device.clone());
        let Rig { dir: _kept, log, .. } = rig;
        drop(Arc::into_inner(log));
        assert!(device.synced(&segment) >= position.0 + HEADER_BYTES, "closed before it was durable");
    });
}
