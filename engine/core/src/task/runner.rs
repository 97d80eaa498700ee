//! The task that folds one partition of a topic into a store and appends what the fold writes.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::{Step, Task, TaskError, TaskPolicy, TaskSpec, TaskStatus, WaitsFor};
use crate::clock::Clock;
use crate::commit::{CommitHandle, CommitJob, Committer};
use crate::inputs::{InputMarks, MARK_ROWS};
use crate::log::Log;
use crate::mutant;
use crate::outputs::{Flushed, OutputLog, SEQUENCE_ROWS};
use crate::partition::Partition;
use crate::processor::{Outputs, Processor, ProcessorError};
use crate::records::{Offset, ReadBatch};
use crate::store::{Applied, Rows, Store};

/// Longest time that a wait for a commit goes on without looking; its end also wakes it.
const STOP_LOOK_EVERY: Duration = Duration::from_millis(20);

/// Everything a task is connected to.
#[derive(Clone)]
pub struct TaskPorts {
    /// Input and outputs.
    pub log: Arc<dyn Log>,
    /// The store of this task alone.
    pub store: Arc<dyn Store>,
    /// Does the commits.
    pub committer: Arc<Committer>,
    /// Tells when a commit is due and how long something has been waited for.
    pub clock: Arc<dyn Clock>,
}

/// Folds a partition. See the [module](super).
pub struct TaskRunner<P> {
    ports: TaskPorts,
    policy: TaskPolicy,
    status: Arc<TaskStatus>,
    partition: Partition,
    input_topic: String,
    processor: P,
    batch: ReadBatch,
    marks: InputMarks,
    outputs: OutputLog,
    /// Applied, and its outputs are in the log or submitted to it.
    applied: Applied,
    /// Applied by the fold, with outputs that the log has no room for yet.
    unflushed: Option<Boundary>,
    commits: Commits,
    /// End of the input when the task was opened, or when outputs were found whose input is behind that.
    recovery_end: Offset,
    /// End of the input when missing records became overdue: if they are not in front of it, they
    /// did not come in time.
    overdue_end: Option<Offset>,
}

/// The end of an applied batch.
#[derive(Clone, Copy)]
struct Boundary {
    applied: Applied,
    appended_at_ms: i64,
    records: usize,
}

/// What was handed to the committer, and since when there is more.
struct Commits {
    handed_over: Offset,
    more_since: Option<Duration>,
    under_way: Option<CommitHandle>,
}

impl Commits {
    /// What the task waits for, when it would wait for `other` were there room in the store.
    fn waits_for(&self, other: WaitsFor) -> WaitsFor {
        let is_full = self.under_way.as_ref().is_some_and(CommitHandle::waits_for_space);
        if is_full { WaitsFor::StoreSpace } else { other }
    }
}

impl<P: Processor> TaskRunner<P> {
    /// Opens a task where its store stands, and makes sure that the log is the one that the store
    /// was folded from (I6): the last applied record must be there and unchanged.
    ///
    /// `build` makes the fold; it gets the outputs with the topics of `spec` registered.
    ///
    /// # Errors
    /// [`TaskError`]; the task cannot start, others can (I26).
    pub fn open(
        spec: &TaskSpec<'_>,
        ports: TaskPorts,
        policy: TaskPolicy,
        build: impl FnOnce(&mut Outputs) -> Result<P, ProcessorError>,
    ) -> Result<Self, TaskError> {
        let applied = ports.store.applied()?;
        verify_last_record(&*ports.log, spec, applied)?;
        let mut marks = InputMarks::new(policy.held_bytes_max);
        marks.load(&rows_of_kind(&*ports.store, MARK_ROWS)?)?;
        let mut outputs = OutputLog::new(ports.log.clone(), spec.partition, spec.source, spec.outputs);
        outputs.load(&rows_of_kind(&*ports.store, SEQUENCE_ROWS)?)?;
        // Asked for after the outputs' ends, so that the input of every output is below it.
        let (_, recovery_end) = ports.log.range(spec.partition, spec.input_topic)?;
        let processor = build(outputs.outputs_mut())?;
        let status = TaskStatus::new(spec.name, spec.partition, spec.input_topic, applied.offset);
        let commits = Commits { handed_over: applied.offset, more_since: None, under_way: None };
        Ok(Self {
            ports,
            policy,
            status: Arc::new(status),
            partition: spec.partition,
            input_topic: spec.input_topic.to_owned(),
            processor,
            batch: ReadBatch::new(),
            marks,
            outputs,
            applied,
            unflushed: None,
            commits,
            recovery_end,
            overdue_end: None,
        })
    }

    /// What other threads may read.
    #[must_use]
    pub fn status(&self) -> Arc<TaskStatus> {
        self.status.clone()
    }

    /// The fold.
    #[must_use]
    pub fn processor(&self) -> &P {
        &self.processor
    }

    #[cfg(test)]
    pub(super) fn processor_mut(&mut self) -> &mut P {
        &mut self.processor
    }

    /// Steps until there is nothing to do, or what there is has to wait.
    ///
    /// # Errors
    /// As [`Task::step`].
    pub fn drain(&mut self) -> Result<(), TaskError> {
        while self.step()? != Step::Idle {}
        Ok(())
    }

    /// Commits everything applied and waits for it, as a graceful stop does. What cannot be
    /// committed yet, since outputs wait for room in the log or records are held behind missing
    /// ones, stays for the next start to do again.
    ///
    /// # Errors
    /// [`TaskError`]; [`TaskError::StopTimeout`] when it takes too long, [`TaskError::StoreFull`] when
    /// there is no room.
    pub fn commit_now(&mut self) -> Result<(), TaskError> {
        let start = self.ports.clock.monotonic();
        if self.unflushed.is_some() {
            self.flush(start)?;
        }
        loop {
            let seen = self.ports.log.progress().version();
            // Also what a committer without threads needs.
            self.ports.committer.run_ready();
            self.poll_commit()?;
            let is_possible = self.unflushed.is_none() && !self.marks.is_holding();
            let is_all = self.commits.handed_over == self.applied.offset || !is_possible;
            if is_all && self.commits.under_way.is_none() {
                return Ok(());
            }
            // Nobody knows when there will be room, and others wait to be stopped.
            if self.commits.waits_for(WaitsFor::Nothing) == WaitsFor::StoreSpace {
                return Err(TaskError::StoreFull);
            }
            if is_possible {
                self.begin_commit()?;
            }
            let waited = self.ports.clock.monotonic().saturating_sub(start);
            if waited >= self.policy.stop_timeout {
                return Err(TaskError::StopTimeout { waited_ms: waited.as_millis() });
            }
            self.ports.log.progress().wait(seen, STOP_LOOK_EVERY);
        }
    }

    fn advance(&mut self) -> Result<Step, TaskError> {
        let now = self.ports.clock.monotonic();
        self.poll_commit()?;
        if self.unflushed.is_some() {
            return self.flush(now);
        }
        let (_, input_end) = self.ports.log.range(self.partition, &self.input_topic)?;
        self.status.set_input_end(input_end);
        let is_full = self.is_staged_full();
        self.check_missing(now, input_end, is_full)?;
        if is_full {
            self.begin_commit()?;
            self.status.set_waits_for(self.commits.waits_for(WaitsFor::Commit));
            return Ok(Step::Idle);
        }
        if !self.apply_batch(now)? {
            self.note_recovered()?;
            self.commit_if_due(now)?;
            let waits_for =
                if self.marks.is_holding() { WaitsFor::MissingRecords } else { WaitsFor::Nothing };
            self.status.set_waits_for(self.commits.waits_for(waits_for));
            return Ok(Step::Idle);
        }
        self.flush(now)
    }

    /// Reads a batch and applies it; false if there is none.
    fn apply_batch(&mut self, now: Duration) -> Result<bool, TaskError> {
        let mut from = self.applied.offset;
        if mutant!(M61) {
            from = from.max(self.ports.log.range(self.partition, &self.input_topic)?.0);
        }
        let max_bytes = self.policy.read_bytes_max;
        self.ports.log.read(self.partition, &self.input_topic, from, max_bytes, &mut self.batch)?;
        let Some(last) = self.batch.frame_count().checked_sub(1).and_then(|index| self.batch.get(index))
        else {
            return Ok(false);
        };
        let Some(last_record) = last.len().checked_sub(1).and_then(|index| last.get(index)) else {
            return Ok(false);
        };
        crate::kill_point!("task.read");
        let boundary = Boundary {
            applied: Applied {
                offset: last.first_offset() + last.len() as u64,
                last_record_crc: crc32c::crc32c(last_record),
            },
            appended_at_ms: last.appended_at_ms(),
            records: self.batch.record_count(),
        };
        self.marks.select(&self.batch, now)?;
        let frames = self.marks.selected(&self.batch);
        if !frames.is_empty() {
            self.processor.apply(&frames, self.outputs.outputs_mut())?;
        }
        crate::kill_point!("task.applied");
        self.unflushed = Some(boundary);
        Ok(true)
    }

    /// Hands the outputs of the applied batch to the log; then the batch counts as applied.
    fn flush(&mut self, now: Duration) -> Result<Step, TaskError> {
        let Some(boundary) = self.unflushed else { return Ok(Step::Idle) };
        crate::kill_point!("task.outputs.built");
        if self.outputs.flush()? == Flushed::LogFull {
            self.status.set_waits_for(WaitsFor::LogSpace);
            return Ok(Step::Idle);
        }
        crate::kill_point!("task.outputs.submitted");
        self.unflushed = None;
        self.applied = boundary.applied;
        self.commits.more_since.get_or_insert(now);
        self.status.set_applied(boundary.applied.offset, boundary.appended_at_ms, self.outputs.position());
        self.status.set_waits_for(self.commits.waits_for(WaitsFor::Nothing));
        let left_out = self.marks.left_out();
        self.status.set_left_out(left_out.repeats, left_out.outdated);
        self.note_recovered()?;
        self.commit_if_due(now)?;
        Ok(Step::Worked(boundary.records))
    }

    /// Whether more is staged than may be while there is something to commit.
    fn is_staged_full(&self) -> bool {
        let staged_bytes = self.processor.staged_bytes();
        self.status.set_staged_bytes(staged_bytes);
        let is_committable =
            self.commits.under_way.is_some() || self.commits.handed_over != self.applied.offset;
        is_committable && staged_bytes > self.policy.staged_bytes_max
    }

    fn check_missing(&mut self, now: Duration, input_end: Offset, is_full: bool) -> Result<(), TaskError> {
        let Some(missing) = self.marks.overdue(now, self.policy.gap_timeout) else {
            self.overdue_end = None;
            return Ok(());
        };
        let overdue_end = *self.overdue_end.get_or_insert(input_end);
        // With too much staged nothing more can be read, and nothing committed before the gap closes;
        // unless a commit from before the gap is under way, which makes room when it ends.
        let is_stuck = is_full && self.commits.under_way.is_none();
        if (self.applied.offset >= overdue_end || is_stuck) && !mutant!(M100) {
            return Err(missing.into());
        }
        Ok(())
    }

    fn note_recovered(&mut self) -> Result<(), TaskError> {
        if self.applied.offset >= self.recovery_end && !self.status.recovered() {
            if !self.marks.is_holding()
                && let Err(ahead) = self.outputs.check_none_ahead()
            {
                // The input of what another process has written meanwhile is there by now as well.
                let (_, end) = self.ports.log.range(self.partition, &self.input_topic)?;
                if end <= self.applied.offset {
                    return Err(ahead.into());
                }
                self.recovery_end = end;
                return Ok(());
            }
            self.status.set_recovered();
        }
        Ok(())
    }

    fn commit_if_due(&mut self, now: Duration) -> Result<(), TaskError> {
        let Some(since) = self.commits.more_since else { return Ok(()) };
        let staged_bytes = self.processor.staged_bytes();
        self.status.set_staged_bytes(staged_bytes);
        let records = self.applied.offset - self.commits.handed_over;
        let is_due = records >= self.policy.commit_records
            || now.saturating_sub(since) >= self.policy.commit_interval
            || staged_bytes >= self.policy.commit_staged_bytes;
        if is_due {
            self.begin_commit()?;
        }
        Ok(())
    }

    /// Hands everything applied to the committer, unless an earlier commit is under way, frames are
    /// held, or the committer has no place.
    fn begin_commit(&mut self) -> Result<(), TaskError> {
        let is_nothing_new = self.commits.handed_over == self.applied.offset;
        if self.commits.under_way.is_some() || is_nothing_new || (self.marks.is_holding() && !mutant!(M11)) {
            return Ok(());
        }
        let Some(place) = self.ports.committer.try_reserve() else { return Ok(()) };
        let mut task_rows = Rows::new();
        self.marks.save(&mut task_rows);
        self.outputs.save(&mut task_rows)?;
        task_rows.sort();
        let fold_rows = self.processor.freeze()?;
        crate::kill_point!("task.commit.frozen");
        let handle = place.submit(CommitJob {
            partition: self.partition,
            after: self.outputs.position(),
            store: self.ports.store.clone(),
            fold_rows,
            task_rows,
            applied: self.applied,
        });
        crate::kill_point!("task.commit.queued");
        let handed_over = self.applied.offset;
        self.commits = Commits { handed_over, more_since: None, under_way: Some(handle) };
        Ok(())
    }

    fn poll_commit(&mut self) -> Result<(), TaskError> {
        let Some(outcome) = self.commits.under_way.as_ref().and_then(CommitHandle::poll) else {
            return Ok(());
        };
        self.commits.under_way = None;
        let applied = outcome?;
        crate::kill_point!("task.commit.learned");
        self.processor.committed();
        self.status.set_committed(applied.offset);
        self.status.set_staged_bytes(self.processor.staged_bytes());
        Ok(())
    }
}

impl<P: Processor> Task for TaskRunner<P> {
    fn name(&self) -> &str {
        self.status.name()
    }

    fn step(&mut self) -> Result<Step, TaskError> {
        if let Some(reason) = self.status.halted() {
            return Err(TaskError::Halted(reason));
        }
        self.advance().inspect_err(|error| self.status.set_halted(&error.to_string()))
    }

    fn stop(&mut self) -> Result<(), TaskError> {
        if self.status.halted().is_some() {
            return Ok(());
        }
        self.commit_now().inspect_err(|error| self.status.set_halted(&error.to_string()))
    }

    fn halt(&mut self, reason: &str) {
        self.status.set_halted(reason);
    }
}

/// Refuses a log that is shorter than what was applied, or holds another last applied record.
fn verify_last_record(log: &dyn Log, spec: &TaskSpec<'_>, applied: Applied) -> Result<(), TaskError> {
    let topic = spec.input_topic;
    let (start, end) = log.range(spec.partition, topic)?;
    let Some(offset) = applied.offset.checked_sub(1).filter(|_| !mutant!(M12)) else { return Ok(()) };
    if end < applied.offset {
        return Err(TaskError::LogBehindStore {
            topic: topic.to_owned(),
            applied: applied.offset,
            log_end: end,
        });
    }
    if start > offset && mutant!(M61) {
        return Ok(());
    }
    if start > offset {
        return Err(TaskError::LastRecordTrimmed { topic: topic.to_owned(), offset, log_start: start });
    }
    let mut batch = ReadBatch::new();
    log.read(spec.partition, topic, offset, 1, &mut batch)?;
    let found = batch.get(0).and_then(|frame| frame.get(0)).map_or(0, crc32c::crc32c);
    if found != applied.last_record_crc {
        return Err(TaskError::LastRecordChanged {
            topic: topic.to_owned(),
            offset,
            stored: applied.last_record_crc,
            found,
        });
    }
    Ok(())
}

/// All rows of a kind, their keys without it.
fn rows_of_kind(store: &dyn Store, kind: [u8; 2]) -> Result<Rows, TaskError> {
    let end = [kind[0], kind[1] + 1];
    let mut rows = Rows::new();
    store.scan(&kind, &end, &mut |key, value| {
        rows.put(&key[kind.len()..], value);
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}
