//! The sync thread: appends of all partitions share its syncs, and become readable by them (I25).

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::mutant;
use hongbao_engine::partition::Partition;
use parking_lot::{Condvar, Mutex};

use crate::core::Core;
use crate::device::is_full;
use crate::footer::Seal;
use crate::partition::{OpenSegment, PartitionLog, Segment};
use crate::sealed::SealedSegment;

/// What waits to be synced.
pub(crate) struct Commit {
    sync_max_delay: Duration,
    sync_max_bytes: u64,
    state: Mutex<Pending>,
    wake: Condvar,
}

struct Pending {
    /// By partition.
    dirty: Vec<bool>,
    bytes: u64,
    /// When the first append not synced was made, by the monotonic clock.
    since: Option<Duration>,
    stop: bool,
}

impl Commit {
    pub(crate) fn new(partitions: u16, sync_max_delay: Duration, sync_max_bytes: u64) -> Self {
        let dirty = vec![false; usize::from(partitions)];
        let state = Mutex::new(Pending { dirty, bytes: 0, since: None, stop: false });
        Self { sync_max_delay, sync_max_bytes, state, wake: Condvar::new() }
    }

    /// Notes an append.
    pub(crate) fn note(&self, core: &Core, partition: Partition, bytes: u64) {
        let mut state = self.state.lock();
        if let Some(dirty) = state.dirty.get_mut(usize::from(partition.0)) {
            *dirty = true;
        }
        state.bytes = state.bytes.saturating_add(bytes);
        let first = state.since.is_none();
        if first {
            state.since = Some(core.clock.monotonic());
        }
        let enough = state.bytes >= self.sync_max_bytes;
        drop(state);
        if first || enough {
            self.wake.notify_one();
        }
    }

    /// Makes the thread sync what is left and end.
    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.wake.notify_one();
    }

    /// Waits until a sync is due and takes the partitions to sync. `None` when there is nothing
    /// left to do for ever.
    fn next(&self, core: &Core) -> Option<Vec<usize>> {
        let mut state = self.state.lock();
        while state.since.is_none() && !state.stop {
            self.wake.wait(&mut state);
        }
        let since = state.since?;
        let waited = core.clock.monotonic().saturating_sub(since);
        let rest = self.sync_max_delay.saturating_sub(waited);
        if !rest.is_zero() {
            let wait_on = |state: &mut Pending| state.bytes < self.sync_max_bytes && !state.stop;
            self.wake.wait_while_for(&mut state, wait_on, rest);
        }
        (state.bytes, state.since) = (0, None);
        let taken = |dirty: &mut bool| std::mem::take(dirty);
        Some(
            state.dirty.iter_mut().enumerate().filter_map(|(at, dirty)| taken(dirty).then_some(at)).collect(),
        )
    }

    /// The body of the sync thread.
    pub(crate) fn run(&self, core: &Core, partitions: &[PartitionLog]) {
        let _guard = FailOnPanic(core);
        while let Some(due) = self.next(core) {
            let due: Vec<&PartitionLog> = due.into_iter().filter_map(|at| partitions.get(at)).collect();
            if core.check().is_err() || sync(core, &due).is_err() {
                return;
            }
        }
        if core.check().is_err() {
            return;
        }
        for partition in partitions {
            if let Err(error) = partition.close(core) {
                tracing::warn!(partition = partition.number.0, %error, "the log was not closed cleanly");
            }
        }
    }
}

/// Without the sync thread nothing becomes durable: those who wait must learn of its end.
struct FailOnPanic<'a>(&'a Core);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the sync thread panicked".to_owned());
        }
    }
}

/// The log has failed; why is known to [`Core`].
struct Failed;

/// Syncs partitions, makes their records readable, and tells of it once.
fn sync(core: &Core, due: &[&PartitionLog]) -> Result<(), Failed> {
    let jobs: Vec<(&PartitionLog, Job)> = due.iter().map(|part| (*part, part.begin_sync())).collect();
    hongbao_engine::kill_point!("log.sync.begun");
    for (partition, job) in &jobs {
        if let Err(error) = job.run(core, partition) {
            core.fail(format!("syncing partition {}: {error}", partition.number));
            return Err(Failed);
        }
    }
    hongbao_engine::kill_point!("log.synced");
    for (partition, job) in &jobs {
        partition.end_sync(job.position);
    }
    hongbao_engine::kill_point!("log.readable");
    core.progress.bump();
    hongbao_engine::kill_point!("log.told");
    for (partition, _) in &jobs {
        if let Err(error) = partition.seal_segments(core) {
            core.fail(format!("sealing a segment of partition {}: {error}", partition.number));
            return Err(Failed);
        }
    }
    Ok(())
}

/// One partition's part of a sync.
struct Job {
    /// Oldest first: a segment is never durable before what it follows.
    files: Vec<Arc<File>>,
    dir: bool,
    position: u64,
}

impl Job {
    fn run(&self, core: &Core, partition: &PartitionLog) -> io::Result<()> {
        for file in &self.files {
            let synced = core.device.sync(file);
            if mutant!(M91) { synced.or_else(|_| core.device.sync(file)) } else { synced }?;
        }
        hongbao_engine::kill_point!("log.segment.synced");
        if self.dir { core.device.sync_dir(&partition.dir) } else { Ok(()) }
    }
}

impl PartitionLog {
    fn begin_sync(&self) -> Job {
        let mut shared = self.shared.lock();
        shared.topics.begin_sync();
        let open = shared.segments.iter_mut().filter_map(|segment| segment.open.as_deref_mut());
        let dirty = open.filter_map(|open| std::mem::take(&mut open.dirty).then(|| Arc::clone(&open.file)));
        let files = dirty.collect();
        Job { files, dir: std::mem::take(&mut shared.dir_dirty), position: shared.appended }
    }

    fn end_sync(&self, position: u64) {
        let mut shared = self.shared.lock();
        shared.topics.end_sync();
        shared.durable = position;
    }

    /// Writes the footers of segments that are complete and, with the head of their successor,
    /// durable. Only the sync thread may call it, with no sync under way.
    fn seal_segments(&self, core: &Core) -> io::Result<()> {
        while let Some((file, seal)) = self.next_to_seal(core) {
            let generation = seal.identity.generation;
            match seal.write(&file, &*core.device) {
                Ok(()) => self.sealed(generation),
                // Its index stays in memory, and the next sync tries again.
                Err(error) if is_full(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn next_to_seal(&self, core: &Core) -> Option<(Arc<File>, Seal)> {
        let shared = self.shared.lock();
        let mut found = None;
        let mut next: Option<(&Segment, &OpenSegment)> = None;
        let newest_first = (shared.first_generation..=shared.last_generation()).rev();
        for (generation, segment) in newest_first.zip(shared.segments.iter().rev()) {
            let Some(open) = &segment.open else { break };
            if let Some((successor, successor_open)) = next
                && !open.dirty
                && !successor_open.dirty
            {
                found = Some((generation, segment, open, successor.base));
            }
            next = Some((segment, open));
        }
        let (generation, segment, open, end) = found?;
        let identity = self.identity(core, generation);
        Some((Arc::clone(&open.file), segment.seal(identity, open, end, shared.durable)))
    }

    /// Forgets the index of a segment that has its footer now, after a while.
    fn sealed(&self, generation: u32) {
        let mut shared = self.shared.lock();
        let open = shared.segment_mut(generation).and_then(|segment| segment.open.take());
        if let Some(open) = open {
            let OpenSegment { file, index, .. } = *open;
            shared.cache.put(Arc::new(SealedSegment { generation, file, index }));
        }
    }
}
