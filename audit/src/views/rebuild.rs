//! Views folded again from the journal into memory, and held against the stored ones row by row
//! (I19). What the model says of them is another matter: this is the real fold.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hongbao_engine::inputs::{InputError, InputMarks};
use hongbao_engine::log::{Log, LogError};
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::Partition;
use hongbao_engine::processor::{Outputs, Processor, ProcessorError};
use hongbao_engine::records::{Offset, ReadBatch, crc};
use hongbao_engine::store::{Applied, Rows, Store, StoreError};
use hongbao_processors::intake::JOURNAL;
use hongbao_processors::views::{Views, ViewsLimits, ViewsReader};

use crate::{Invariant, Report};

const READ_BYTES: usize = 4 << 20;
/// Staged bytes after which changes are put into the store.
const STAGED_BYTES_MAX: usize = 64 << 20;

/// Rows read at a time.
const PAGE_ROWS: usize = 4096;
/// All keys of rows are between these.
const FIRST_KEY: &[u8] = &[];
const END_KEY: &[u8] = &[0xff];

/// Why a journal cannot be folded.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// It cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Records of a writer are missing.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The views do not take it.
    #[error(transparent)]
    Views(#[from] ProcessorError),
    /// The views cannot be kept in memory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is shorter than what was folded.
    #[error("the journal ends before the offset that was folded")]
    Short,
}

/// Folds the journal of a partition up to an offset, with views of these limits. Adds the records
/// folded to `done` on the way.
///
/// # Errors
/// [`RebuildError`].
pub fn rebuild(
    log: &dyn Log,
    partition: Partition,
    to: Offset,
    limits: ViewsLimits,
    done: &AtomicU64,
) -> Result<Arc<MemoryStore>, RebuildError> {
    let store = Arc::new(MemoryStore::new());
    let state: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let reader = ViewsReader::new(log.partitions());
    let mut views = Views::open(partition.0, state, limits, &reader)?;
    let mut marks = InputMarks::new(usize::MAX);
    let (mut batch, mut applied) = (ReadBatch::new(), Applied::default());
    while applied.offset < to {
        log.read(partition, JOURNAL, applied.offset, READ_BYTES, &mut batch)?;
        let end = batch.next_offset().ok_or(RebuildError::Short)?;
        if end > to {
            batch = cut(&batch, to);
        }
        let before = applied.offset;
        let last = batch.frame_count().checked_sub(1).and_then(|last| batch.get(last));
        let last =
            last.and_then(|frame| frame.get(frame.len().checked_sub(1)?)).ok_or(RebuildError::Short)?;
        applied = Applied { offset: end.min(to), last_record_crc: crc(last) };
        marks.select(&batch, Duration::ZERO)?;
        views.apply(&marks.selected(&batch), &mut Outputs::new())?;
        if views.staged_bytes() > STAGED_BYTES_MAX {
            commit(&mut views, &store, Rows::new(), applied)?;
        }
        done.fetch_add(applied.offset - before, Ordering::Relaxed);
    }
    let mut own = Rows::new();
    marks.save(&mut own);
    own.sort();
    if to > 0 {
        commit(&mut views, &store, own, applied)?;
    }
    Ok(store)
}

fn commit(views: &mut Views, store: &MemoryStore, own: Rows, applied: Applied) -> Result<(), RebuildError> {
    let mut runs = views.freeze()?()?;
    runs.push(own);
    store.commit(&runs, applied)?;
    views.committed();
    Ok(())
}

/// The records of a batch below an offset.
fn cut(batch: &ReadBatch, to: Offset) -> ReadBatch {
    let mut shorter = ReadBatch::new();
    for frame in batch.frames().filter(|frame| frame.first_offset() < to) {
        let mut owned = frame.to_owned_frame();
        owned.ends.truncate((to - owned.first_offset) as usize);
        owned.bytes.truncate(owned.ends.last().map_or(0, |end| *end as usize));
        *shorter.next_frame() = owned;
    }
    shorter
}

/// Whether a store holds exactly the rows of another. Both are read once, in the order of keys.
///
/// # Errors
/// [`StoreError`].
pub fn compare(
    store: &dyn Store,
    rebuilt: &dyn Store,
    name: &str,
    report: &mut Report,
) -> Result<bool, StoreError> {
    let mut expected = RowsInOrder { store: rebuilt, page: VecDeque::new(), next: Some(Vec::new()) };
    let (mut differences, mut failed) = (0_u64, None);
    let mut differs = |key: &[u8], what: &str| {
        differences += 1;
        report.find(Invariant::I19, format_args!("{name}: the row {} {what}", key.escape_ascii()));
    };
    let mut rows = 0;
    store.scan(FIRST_KEY, END_KEY, &mut |key, row| {
        rows += 1;
        loop {
            match expected.peek() {
                Ok(Some((rebuilt, _))) if &**rebuilt < key => differs(rebuilt, "is missing"),
                Ok(Some((rebuilt, value))) if rebuilt == key => {
                    if value != row {
                        differs(key, "differs");
                    }
                    expected.page.pop_front();
                    return ControlFlow::Continue(());
                }
                Ok(_) => {
                    differs(key, "is not rebuilt");
                    return ControlFlow::Continue(());
                }
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            expected.page.pop_front();
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    while let Some((rebuilt, _)) = expected.peek()? {
        differs(rebuilt, "is missing");
        expected.page.pop_front();
    }
    report.checked(Invariant::I19, "rows", rows);
    Ok(differences == 0)
}

/// Key and value.
type Row = (Vec<u8>, Vec<u8>);

/// Rows of a store, a page at a time.
struct RowsInOrder<'a> {
    store: &'a dyn Store,
    page: VecDeque<Row>,
    /// Where the next page begins, if there is one.
    next: Option<Vec<u8>>,
}

impl RowsInOrder<'_> {
    fn peek(&mut self) -> Result<Option<&Row>, StoreError> {
        if self.page.is_empty()
            && let Some(from) = self.next.take()
        {
            let (page, next) = (&mut self.page, &mut self.next);
            self.store.scan(&from, END_KEY, &mut |key, row| {
                if page.len() == PAGE_ROWS {
                    *next = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
                page.push_back((key.to_vec(), row.to_vec()));
                ControlFlow::Continue(())
            })?;
        }
        Ok(self.page.front())
    }
}
