//! The log over all partitions of a directory.

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use hongbao_engine::clock::{Clock, SystemClock};
use hongbao_engine::log::{Appended, Log, LogError, Position, check_group};
use hongbao_engine::partition::Partition;
use hongbao_engine::progress::Progress;
use hongbao_engine::records::{Frame, Offset, ReadBatch};
use hongbao_engine::thread::{self, JoinHandle};

use crate::commit::Commit;
use crate::core::Core;
use crate::device::{Device, OsDevice};
use crate::error::OpenError;
use crate::frame::Identity;
use crate::group::group_len;
use crate::meta::{Meta, lock_to_read, lock_to_write, parent, partition_dir};
use crate::options::{PAGE_BYTES, SegmentOptions};
use crate::partition::PartitionLog;
use crate::recovery::{PartitionRecovery, Place, Recovery};
use crate::segment::{NextOffsets, SegmentHeader, segment_path};

/// A [`Log`] in segment files. Dropping it syncs what was appended and marks a clean close.
pub struct SegmentLog {
    inner: Arc<Inner>,
    /// None when the log is open for reading only.
    sync_thread: Option<JoinHandle<()>>,
    /// Held as long as the log is open.
    _lock: File,
}

struct Inner {
    core: Core,
    partitions: Vec<PartitionLog>,
    commit: Commit,
}

impl SegmentLog {
    /// Opens the log in `dir`, or creates it in a directory that is empty or does not exist. Torn
    /// ends are cut off; a damaged partition opens as one whose calls give
    /// [`LogError::Corrupt`] (I26), and does not hinder the others.
    ///
    /// # Errors
    /// [`OpenError`]; the directory is then as it was, unless the file system failed.
    pub fn open(
        dir: &Path,
        options: SegmentOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(dir, options, clock, Arc::new(OsDevice))
    }

    /// [`SegmentLog::open`] over a device that may fail, for fault tests.
    ///
    /// # Errors
    /// As [`SegmentLog::open`].
    pub fn open_on(
        dir: &Path,
        options: SegmentOptions,
        clock: Arc<dyn Clock>,
        device: Arc<dyn Device>,
    ) -> Result<(Self, Recovery), OpenError> {
        options.check()?;
        let lock = lock_to_write(dir)?;
        let meta = match Meta::read(dir)? {
            Some(meta) if meta.partitions != options.partitions => {
                let (found, asked) = (meta.partitions, options.partitions);
                return Err(OpenError::Partitions { dir: dir.to_owned(), found, asked });
            }
            Some(meta) if meta.ready => meta,
            Some(meta) => create(dir, meta, &options, &*device)?,
            None => create(dir, Meta::fresh(dir, options.partitions)?, &options, &*device)?,
        };
        let core = Core::new(meta.log_id, options.segment_bytes, device, clock);
        let commit = Commit::new(meta.partitions, options.sync_max_delay, options.sync_max_bytes);
        let (inner, recovery) = Inner::recover(dir, core, meta.partitions, commit, true)?;
        let inner = Arc::new(inner);
        let shared = Arc::clone(&inner);
        let spawned = thread::Builder::new()
            .name("log-sync".to_owned())
            .spawn(move || shared.commit.run(&shared.core, &shared.partitions));
        let sync_thread = Some(spawned.map_err(OpenError::io(dir))?);
        Ok((Self { inner, sync_thread, _lock: lock }, recovery))
    }

    /// Opens a log to look at it, up to its recovered end, without changing anything. Refused while
    /// somebody has it open to write; several may read at a time. Appends and trims give
    /// [`LogError::Failed`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_read_only(dir: &Path) -> Result<(Self, Recovery), OpenError> {
        let lock = lock_to_read(dir)?;
        let meta = Meta::read(dir)?.filter(|meta| meta.ready).ok_or_else(|| OpenError::NotALog {
            dir: dir.to_owned(),
            what: "its creation was not finished".to_owned(),
        })?;
        let core = Core::new(meta.log_id, u64::MAX, Arc::new(OsDevice), Arc::new(SystemClock::new()));
        let commit = Commit::new(meta.partitions, std::time::Duration::ZERO, 0);
        let (inner, recovery) = Inner::recover(dir, core, meta.partitions, commit, false)?;
        Ok((Self { inner: Arc::new(inner), sync_thread: None, _lock: lock }, recovery))
    }

    /// The random number that the log was made with: what was folded from it can be told from what
    /// was folded from any other log.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.inner.core.log_id
    }

    fn partition(&self, partition: Partition) -> Result<&PartitionLog, LogError> {
        let known = self.inner.partitions.get(usize::from(partition.0));
        known.ok_or_else(|| LogError::Invalid(format!("there is no partition {partition}")))
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        self.inner.commit.stop();
        if let Some(thread) = self.sync_thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the sync thread of the log panicked");
        }
    }
}

impl Inner {
    /// Recovers all partitions, on as many threads as there are processors.
    fn recover(
        dir: &Path,
        core: Core,
        count: u16,
        commit: Commit,
        writable: bool,
    ) -> Result<(Self, Recovery), OpenError> {
        let threads = available_parallelism().map_or(1, NonZero::get).min(usize::from(count));
        let place = |number| {
            let number = Partition(number);
            Place { core: &core, dir: partition_dir(dir, number.0), number, writable }.open()
        };
        let mut opened: Vec<(PartitionLog, PartitionRecovery)> = thread::scope(|scope| {
            let share = |thread: usize| (thread as u16..count).step_by(threads).map(place).collect();
            let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
            let joined = handles.into_iter().map(|handle| {
                let panicked = || OpenError::io(dir)(io::Error::other("recovery panicked"));
                handle.join().map_err(|_| panicked()).flatten()
            });
            joined.collect::<Result<Vec<Vec<_>>, OpenError>>()
        })?
        .into_iter()
        .flatten()
        .collect();
        opened.sort_by_key(|(partition, _)| partition.number);
        let (partitions, recoveries): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        for recovery in &recoveries {
            let partition = recovery.partition.0;
            if let Some(what) = &recovery.damage {
                tracing::error!(partition, %what, "the log is damaged");
            }
            if let Some(cut) = &recovery.cut {
                tracing::warn!(partition, file = %cut.file.display(), at = cut.at, what = %cut.what, "a torn end was cut off");
            }
        }
        Ok((Self { core, partitions, commit }, Recovery { partitions: recoveries }))
    }
}

/// Creates all partitions of a log, or what is missing after a crash in here. The meta file says
/// in the end that they are there, so that a missing segment is never taken for an empty log.
fn create(dir: &Path, meta: Meta, options: &SegmentOptions, device: &dyn Device) -> Result<Meta, OpenError> {
    let allocated = options.segment_bytes / PAGE_BYTES * PAGE_BYTES;
    meta.write(dir, device)?;
    device.sync_dir(parent(dir)).map_err(OpenError::io(dir))?;
    for partition in 0..meta.partitions {
        let partition_dir = partition_dir(dir, partition);
        let path = segment_path(&partition_dir, 1);
        let header = SegmentHeader {
            identity: Identity { log_id: meta.log_id, partition, generation: 1 },
            recycled: false,
            allocated,
            previous: 0,
            base: 0,
            durable: 0,
            created_at_ms: 0,
            topics: NextOffsets::new(),
        };
        let create = || {
            fs::create_dir_all(&partition_dir)?;
            let file = device.create(&path)?;
            // Its length; the space is reserved with the first group.
            device.set_len(&file, allocated)?;
            device.write(&file, &mut [IoSlice::new(&header.encode())], 0)?;
            device.sync(&file)?;
            device.sync_dir(&partition_dir)
        };
        create().map_err(OpenError::io(&path))?;
        hongbao_engine::kill_point!("log.partition.made");
    }
    device.sync_dir(dir).map_err(OpenError::io(dir))?;
    let meta = Meta { ready: true, ..meta };
    meta.write(dir, device)?;
    Ok(meta)
}

impl Log for SegmentLog {
    fn partitions(&self) -> u16 {
        self.inner.partitions.len() as u16
    }

    fn append(&self, partition: Partition, group: &[Frame<'_>]) -> Result<Appended, LogError> {
        let log = self.partition(partition)?;
        check_group(group)?;
        let appended = log.append(&self.inner.core, group)?;
        self.inner.commit.note(&self.inner.core, partition, group_len(group));
        Ok(appended)
    }

    fn durable(&self, partition: Partition) -> Result<Position, LogError> {
        self.inner.core.check()?;
        self.partition(partition)?.durable()
    }

    fn range(&self, partition: Partition, topic: &str) -> Result<(Offset, Offset), LogError> {
        self.inner.core.check()?;
        self.partition(partition)?.range(topic)
    }

    fn read(
        &self,
        partition: Partition,
        topic: &str,
        from: Offset,
        max_bytes: usize,
        out: &mut ReadBatch,
    ) -> Result<(), LogError> {
        out.clear();
        self.inner.core.check()?;
        self.partition(partition)?.read(&self.inner.core, topic, from, max_bytes, out)
    }

    fn trim(&self, partition: Partition, floors: &[(&str, Offset)]) -> Result<(), LogError> {
        self.partition(partition)?.trim(&self.inner.core, floors)
    }

    fn progress(&self) -> &Progress {
        &self.inner.core.progress
    }
}
