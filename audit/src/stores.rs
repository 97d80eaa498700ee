//! What all stores have in common: where they stand in their log, and the rows of the engine.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use hongbao_engine::log::Log;
use hongbao_engine::partition::Partition;
use hongbao_engine::records::{Offset, ReadBatch, crc};
use hongbao_engine::store::{Store, StoreError};

use crate::AuditError;
use crate::report::{Invariant, Report};

/// Where a store stands, and whether its log still holds the record that it applied last.
///
/// # Errors
/// [`AuditError`].
pub fn applied_offset(
    store: &dyn Store,
    name: &str,
    (log, partition, topic): (&dyn Log, Partition, &str),
    report: &mut Report,
) -> Result<Offset, AuditError> {
    let applied = store.applied()?;
    let (_, end) = log.range(partition, topic)?;
    report.checked(Invariant::I6, "stores", 1);
    if applied.offset > end {
        let offset = applied.offset;
        report.find(
            Invariant::I6,
            format_args!("{name} stands at {offset}, {topic}/{partition} ends at {end}"),
        );
        return Ok(end);
    }
    if let Some(last) = applied.offset.checked_sub(1) {
        let mut batch = ReadBatch::new();
        log.read(partition, topic, last, 1, &mut batch)?;
        let found = batch.get(0).and_then(|frame| frame.get(0)).map(crc);
        if found != Some(applied.last_record_crc) {
            report.find(
                Invariant::I6,
                format_args!("{name} was folded from another record than {topic}/{partition}@{last}"),
            );
        }
    }
    Ok(applied.offset)
}

/// Visits all rows whose key begins with `kind`, the key without it.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn rows_of(
    store: &dyn Store,
    kind: [u8; 2],
    mut visit: impl FnMut(&[u8], &[u8]),
) -> Result<(), StoreError> {
    let end = [kind[0], kind[1] + 1];
    store.scan(&kind, &end, &mut |key, row| {
        visit(key.get(kind.len()..).unwrap_or(&[]), row);
        ControlFlow::Continue(())
    })
}

/// The numbers that the engine keeps about topics a fold writes: `~s` + topic → next sequence and
/// an offset, 8 bytes each.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn check_sequences(
    store: &dyn Store,
    name: &str,
    written: &BTreeMap<String, u64>,
    report: &mut Report,
) -> Result<(), StoreError> {
    let mut found = BTreeMap::new();
    rows_of(store, *b"~s", |topic, row| {
        let next = row.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        found.insert(String::from_utf8_lossy(topic).into_owned(), next);
    })?;
    for (topic, written) in written {
        let next = found.remove(topic);
        if next != Some(written + 1) {
            report.find(
                Invariant::I5,
                format_args!("{name}: goes on in {topic} with {next:?}, {written} were written"),
            );
        }
    }
    for (topic, next) in found.iter().filter(|(_, next)| **next != 1) {
        report.find(Invariant::I5, format_args!("{name}: goes on in {topic} with {next}, none was written"));
    }
    Ok(())
}
