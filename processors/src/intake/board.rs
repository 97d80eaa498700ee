//! What one partition's intake shows to other threads: its counts, and the verdicts of records
//! that somebody waits for (`Prefer: wait`). Intake touches it once per batch, under one short
//! lock; who waits is answered after the lock is given back.

use std::ops::AddAssign;
use std::sync::Arc;

use hongbao_engine::records::Offset;
use hongbao_schemas::refusal::Refusal;
use parking_lot::Mutex;

/// How many of the last verdicts stay known, so that a watch that comes after its batch was
/// applied is answered too. A caller watches right after its append; this is 36 ms of the
/// design's estimated peak in one partition.
pub const RECENT_VERDICTS: usize = 1 << 16;

/// Award records by verdict, since the log's first record. A fold of the log: `read` is the sum
/// of the others at every moment (I1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Award records read; control records are not among them.
    pub read: u64,
    /// First of their order number.
    pub accepted: u64,
    /// Repeats of an accepted order with the same payload.
    pub duplicate: u64,
    /// Repeats of an accepted order number with another payload.
    pub conflict: u64,
    /// Refused, by any code.
    pub rejected: u64,
    /// Waiting for budget.
    pub parked: u64,
    /// Never decided: what stands in `dlq.intake`.
    pub undecodable: u64,
}

impl Counts {
    /// Counts one record; control records leave the counts as they are.
    #[inline]
    pub fn count(&mut self, verdict: Verdict) {
        let of_verdict = match verdict {
            Verdict::Accepted => &mut self.accepted,
            Verdict::Duplicate => &mut self.duplicate,
            Verdict::Conflict => &mut self.conflict,
            Verdict::Rejected(_) => &mut self.rejected,
            Verdict::Undecodable => &mut self.undecodable,
            Verdict::Control => return,
        };
        *of_verdict += 1;
        self.read += 1;
    }

    /// Sum of all verdicts: equal to `read`, or a fold went wrong (I1).
    #[must_use]
    pub fn sum(&self) -> u64 {
        [self.duplicate, self.conflict, self.rejected, self.parked, self.undecodable]
            .into_iter()
            .fold(self.accepted, u64::saturating_add)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.conflict += other.conflict;
        self.rejected += other.rejected;
        self.parked += other.parked;
        self.undecodable += other.undecodable;
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut total, part| {
            total += part;
            total
        })
    }
}

/// What became of one record of `awards`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// First of its order number.
    Accepted,
    /// The same order number with the same payload was accepted before.
    Duplicate,
    /// The same order number with another payload was accepted before; that one stands (I3).
    Conflict,
    /// Refused; the order number is not used up.
    Rejected(Refusal),
    /// Not decided; stands in `dlq.intake`.
    Undecodable,
    /// A control record: no award, no verdict.
    Control,
}

impl Verdict {
    /// The word in answers of the API (`api/openapi.json`).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::Rejected(_) => "rejected",
            Self::Undecodable => "undecodable",
            Self::Control => "control",
        }
    }

    /// The problem code of a conflict or a refusal.
    #[must_use]
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Conflict => Some("order_conflict"),
            Self::Rejected(refusal) => Some(refusal.code()),
            Self::Accepted | Self::Duplicate | Self::Undecodable | Self::Control => None,
        }
    }
}

// The ring and the batch hold one byte a record.
const _: () = assert!(size_of::<Option<Verdict>>() == 1);

/// Called once with one entry per watched offset, in order, when all of them were applied. `None`
/// is a verdict no longer known (the watch came too late), or an offset without a record. Called
/// from intake's thread or from within [`IntakeBoard::watch`]; it must not block.
pub type Answer = Box<dyn FnOnce(Vec<Option<Verdict>>) + Send>;

/// Verdicts of the records applied in one batch, by runs of consecutive offsets.
#[derive(Debug, Default)]
pub(super) struct BatchVerdicts {
    verdicts: Vec<Option<Verdict>>,
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    first: Offset,
    start: usize,
}

impl BatchVerdicts {
    pub(super) fn clear(&mut self) {
        self.verdicts.clear();
        self.runs.clear();
    }

    /// The next records pushed stand at `first` and behind it.
    pub(super) fn start_run(&mut self, first: Offset) {
        self.runs.push(Run { first, start: self.verdicts.len() });
    }

    #[inline]
    pub(super) fn push(&mut self, verdict: Verdict) {
        self.verdicts.push(Some(verdict));
    }

    fn runs(&self) -> impl Iterator<Item = (Offset, &[Option<Verdict>])> {
        self.runs.iter().enumerate().map(|(index, run)| {
            let end = self.runs.get(index + 1).map_or(self.verdicts.len(), |next| next.start);
            (run.first, &self.verdicts[run.start..end])
        })
    }
}

/// One partition's counts and watchers.
pub struct IntakeBoard {
    inner: Mutex<Inner>,
}

struct Inner {
    counts: Counts,
    applied: Offset,
    recent: Box<[Option<Verdict>]>,
    watching: Vec<Watching>,
    next_id: u64,
}

struct Watching {
    id: u64,
    first: Offset,
    found: Vec<Option<Verdict>>,
    answer: Answer,
}

impl std::fmt::Debug for IntakeBoard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IntakeBoard").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Default for IntakeBoard {
    fn default() -> Self {
        Self::new()
    }
}

impl IntakeBoard {
    /// A board of a partition nothing of which was applied.
    #[must_use]
    pub fn new() -> Self {
        let recent = vec![None; RECENT_VERDICTS].into_boxed_slice();
        let inner = Inner { counts: Counts::default(), applied: 0, recent, watching: Vec::new(), next_id: 0 };
        Self { inner: Mutex::new(inner) }
    }

    /// Counts as of the last batch; they add up (I1).
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner.lock().counts
    }

    /// First offset of `awards` not yet applied.
    #[must_use]
    pub fn applied(&self) -> Offset {
        self.inner.lock().applied
    }

    /// Calls `answer` with the verdicts of the `count` records from `first` on, once all of them
    /// were applied; at once if they were. Dropping the returned [`Watch`] gives up. Memory: one
    /// byte a record until the answer; whoever admits requests bounds their number (I29).
    pub fn watch(self: &Arc<Self>, first: Offset, count: usize, answer: Answer) -> Watch {
        let mut inner = self.inner.lock();
        let found = inner.known(first, count);
        let id = inner.next_id;
        inner.next_id += 1;
        if inner.applied >= first + count as u64 {
            drop(inner);
            answer(found);
        } else {
            inner.watching.push(Watching { id, first, found, answer });
        }
        Watch { board: Arc::clone(self), id }
    }

    /// Replaces what the board shows by the state that a store was opened with.
    pub(super) fn restore(&self, counts: Counts, applied: Offset) {
        let mut inner = self.inner.lock();
        inner.counts = counts;
        inner.applied = applied;
        inner.recent.fill(None);
    }

    /// Shows a batch.
    pub(super) fn publish(&self, counts: Counts, batch: &BatchVerdicts) {
        let answered = {
            let mut inner = self.inner.lock();
            inner.counts = counts;
            for (first, verdicts) in batch.runs() {
                inner.record(first, verdicts);
            }
            inner.take_answered()
        };
        for watching in answered {
            (watching.answer)(watching.found);
        }
    }
}

impl Inner {
    /// Verdicts of the asked records as far as they are known.
    fn known(&self, first: Offset, count: usize) -> Vec<Option<Verdict>> {
        let oldest = self.applied.saturating_sub(RECENT_VERDICTS as u64);
        (first..first + count as u64)
            .map(|offset| {
                let is_known = (oldest..self.applied).contains(&offset);
                is_known.then(|| self.recent[slot(offset)]).flatten()
            })
            .collect()
    }

    fn record(&mut self, first: Offset, verdicts: &[Option<Verdict>]) {
        // Offsets left out hold no record; what the ring says of them is of an older lap.
        let left_out = first.saturating_sub(self.applied).min(RECENT_VERDICTS as u64);
        for offset in first - left_out..first {
            self.recent[slot(offset)] = None;
        }
        let skipped = verdicts.len().saturating_sub(RECENT_VERDICTS);
        let kept = &verdicts[skipped..];
        let start = slot(first + skipped as u64);
        let before_wrap = kept.len().min(RECENT_VERDICTS - start);
        self.recent[start..start + before_wrap].copy_from_slice(&kept[..before_wrap]);
        self.recent[..kept.len() - before_wrap].copy_from_slice(&kept[before_wrap..]);
        self.applied = first + verdicts.len() as u64;
        for watching in &mut self.watching {
            watching.fill(first, verdicts);
        }
    }

    fn take_answered(&mut self) -> Vec<Watching> {
        let applied = self.applied;
        self.watching.extract_if(.., |watching| watching.end() <= applied).collect()
    }
}

fn slot(offset: Offset) -> usize {
    (offset % RECENT_VERDICTS as u64) as usize
}

impl Watching {
    fn end(&self) -> Offset {
        self.first + self.found.len() as u64
    }

    /// Takes over what lies in both ranges.
    fn fill(&mut self, first: Offset, verdicts: &[Option<Verdict>]) {
        let from = self.first.max(first);
        let to = self.end().min(first + verdicts.len() as u64);
        if from < to {
            let source = &verdicts[(from - first) as usize..(to - first) as usize];
            let start = (from - self.first) as usize;
            self.found[start..start + source.len()].copy_from_slice(source);
        }
    }
}

/// Holds a watch; dropped, it is given up and its answer never called.
#[must_use]
pub struct Watch {
    board: Arc<IntakeBoard>,
    id: u64,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.board.inner.lock().watching.retain(|watching| watching.id != self.id);
    }
}
