//! Views folded again from the journal into memory, and held against the stored ones row by row
//! (I19). What the model says of them is another matter: this is the real fold.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use hongbao_audit::{Invariant, Report};
use hongbao_engine::inputs::InputMarks;
use hongbao_engine::log::Log;
use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::partition::Partition;
use hongbao_engine::processor::{Outputs, Processor};
use hongbao_engine::records::{Offset, ReadBatch, crc};
use hongbao_engine::store::{Applied, Rows, Store, StoreError};
use hongbao_processors::intake::JOURNAL;
use hongbao_processors::views::{Views, ViewsLimits, ViewsReader};

const READ_BYTES: usize = 4 << 20;
/// Staged bytes after which changes are put into the store.
const STAGED_BYTES_MAX: usize = 64 << 20;

/// Folds the journal of a partition up to an offset.
pub fn rebuild(
    log: &dyn Log,
    partition: Partition,
    to: Offset,
    done: &AtomicU64,
) -> anyhow::Result<Arc<MemoryStore>> {
    let store = Arc::new(MemoryStore::new());
    let state: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let reader = ViewsReader::new(log.partitions());
    let mut views = Views::open(partition.0, state, ViewsLimits::default(), &reader)?;
    let mut marks = InputMarks::new(usize::MAX);
    let (mut batch, mut applied) = (ReadBatch::new(), Applied::default());
    while applied.offset < to {
        log.read(partition, JOURNAL, applied.offset, READ_BYTES, &mut batch)?;
        let end = batch.next_offset().context("the journal ends before the offset that was folded")?;
        if end > to {
            batch = cut(&batch, to);
        }
        let before = applied.offset;
        let last = batch.frame_count().checked_sub(1).and_then(|last| batch.get(last));
        let last = last.and_then(|frame| frame.get(frame.len().checked_sub(1)?)).context("an empty batch")?;
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

fn commit(views: &mut Views, store: &MemoryStore, own: Rows, applied: Applied) -> anyhow::Result<()> {
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

/// Whether a store holds exactly the rows of another.
pub fn compare(
    store: &dyn Store,
    rebuilt: &dyn Store,
    name: &str,
    report: &mut Report,
) -> Result<bool, StoreError> {
    let (mut rows, mut equal, mut failed) = (0_u64, 0_u64, None);
    store.scan(&[], &[0xff], &mut |key, row| {
        rows += 1;
        match rebuilt.get(key) {
            Ok(Some(expected)) if expected == row => equal += 1,
            Ok(expected) => {
                let (key, what) =
                    (key.escape_ascii(), if expected.is_some() { "differs" } else { "is not rebuilt" });
                report.find(Invariant::I19, format_args!("{name}: the row {key} {what}"));
            }
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let mut expected = 0_u64;
    rebuilt.scan(&[], &[0xff], &mut |_, _| {
        expected += 1;
        ControlFlow::Continue(())
    })?;
    report.checked(Invariant::I19, "rows", expected);
    if rows != equal || rows != expected {
        tell_missing(store, rebuilt, name, report)?;
    }
    Ok(rows == equal && rows == expected)
}

/// Tells which rows a store lacks.
fn tell_missing(
    store: &dyn Store,
    rebuilt: &dyn Store,
    name: &str,
    report: &mut Report,
) -> Result<(), StoreError> {
    let mut failed = None;
    rebuilt.scan(&[], &[0xff], &mut |key, _| match store.get(key) {
        Ok(Some(_)) => ControlFlow::Continue(()),
        Ok(None) => {
            report.find(Invariant::I19, format_args!("{name}: the row {} is missing", key.escape_ascii()));
            ControlFlow::Continue(())
        }
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(()), Err)
}
