//! The files of a commit.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use hongbao_engine::store::{Applied, Rows, StoreError};
use rocksdb::{Options, SstFileWriter};

use crate::error::not_written;

/// Row of [`Applied`].
pub(crate) const APPLIED: &[u8] = b"~applied";

/// Row of the owner's name.
pub(crate) const IDENTITY: &[u8] = b"~identity";

/// `applied` as it is stored.
pub(crate) fn encode_applied(applied: Applied) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&applied.offset.to_le_bytes());
    bytes[8..].copy_from_slice(&applied.last_record_crc.to_le_bytes());
    bytes
}

/// Reverses [`encode_applied`].
pub(crate) fn decode_applied(bytes: &[u8]) -> Result<Applied, StoreError> {
    let parts =
        bytes.split_first_chunk::<8>().and_then(|(offset, crc)| Some((*offset, crc.try_into().ok()?)));
    let Some((offset, crc)) = parts else {
        return Err(StoreError::Corrupt(format!("the applied offset has {} bytes, not 12", bytes.len())));
    };
    Ok(Applied { offset: u64::from_le_bytes(offset), last_record_crc: u32::from_le_bytes(crc) })
}

type Row<'a> = (&'a [u8], Option<&'a [u8]>);

/// Runs of this size, in bytes, get a file of their own. One that overlaps nothing, such as entries
/// that are appended, is stored at the bottom at once and never merged. Smaller runs share a file
/// with the applied offset, which every commit overwrites: so they are merged, and a store that is
/// written a little for months does not end in a million files.
pub(crate) const OWN_FILE_BYTES: usize = 2 << 20;

/// Writes the files of commit `number` into `staging`, durably; returns their paths.
pub(crate) fn write_files(
    staging: &Path,
    number: u64,
    options: &Options,
    runs: &[Rows],
    applied: Applied,
) -> Result<Vec<PathBuf>, StoreError> {
    let (large, mut small): (Vec<_>, Vec<_>) = runs.iter().partition(|run| run.byte_len() >= OWN_FILE_BYTES);
    let mut paths = Vec::with_capacity(large.len() + 1);
    for (index, run) in large.into_iter().enumerate() {
        let path = staging.join(format!("{number}-{index}.sst"));
        write_file(&path, options, run.iter(), None)?;
        paths.push(path);
    }
    small.sort_unstable_by_key(|run| run.key_range());
    let path = staging.join(format!("{number}-applied.sst"));
    let applied = encode_applied(applied);
    write_file(&path, options, small.into_iter().flat_map(Rows::iter), Some((APPLIED, Some(&applied))))?;
    paths.push(path);
    Ok(paths)
}

/// Writes one file of ascending rows, with `extra` at its place among them. At least one row.
pub(crate) fn write_file<'a>(
    path: &Path,
    options: &Options,
    rows: impl Iterator<Item = Row<'a>>,
    mut extra: Option<Row<'_>>,
) -> Result<(), StoreError> {
    let mut writer = SstFileWriter::create(options);
    let write = || {
        writer.open(path)?;
        let mut put = |(key, value): Row<'_>| match value {
            Some(value) => writer.put(key, value),
            None => writer.delete(key),
        };
        for row in rows {
            if let Some(extra) = extra.take_if(|(key, _)| *key < row.0) {
                put(extra)?;
            }
            put(row)?;
        }
        hongbao_engine::kill_point!("store.staged.rows");
        extra.map_or(Ok(()), put)?;
        hongbao_engine::kill_point!("store.staged.positions");
        // Finishing syncs the file.
        writer.finish()
    };
    write().map_err(|error| not_written(&error))?;
    hongbao_engine::kill_point!("store.staged.synced");
    keep_cached(path);
    Ok(())
}

/// The library drops a file that it has written from the page cache, and the first look-up of each
/// of its blocks would wait for the device. Reading the file once brings it back; what goes wrong
/// here costs only time, and the ingest says it.
fn keep_cached(path: &Path) {
    const READ_BYTES: usize = 1 << 20;
    let Ok(file) = File::open(path) else { return };
    drop(std::io::copy(&mut BufReader::with_capacity(READ_BYTES, file), &mut std::io::sink()));
}

/// Whether a run holds a row that belongs to the store itself.
pub(crate) fn holds_reserved(run: &Rows) -> bool {
    let spans = run.key_range().is_some_and(|(first, last)| first <= IDENTITY && last >= APPLIED);
    spans && run.iter().any(|(key, _)| [APPLIED, IDENTITY].contains(&key))
}
