//! Small files: the meta file of a log, and the book of a simulated downstream.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hongbao_engine::clock::ManualClock;
use hongbao_engine::log::Log;
use hongbao_segments::{SegmentLog, SegmentOptions, UnsyncedDevice};
use hongbao_sinks::simulated::file::{BookFile, Record, read_book};

use crate::meter::{Bound, bounded};
use crate::segments::{LOG_ID, folder, written};

/// A log without records, its threads, and what each of its partitions holds.
const OPEN: Bound = Bound { factor: 4, base: 2 << 20 };
/// A buffer to read and one to write, and the records as the caller keeps them.
const BOOK: Bound = Bound { factor: 4, base: 512 << 10 };
const RECORD_BYTES: usize = 48;
const SUMMED_BYTES: usize = 40;

fn text(id: u64, partitions: u16, ready: &str) -> String {
    format!("hongbao log\nversion 1\nid {id:016x}\npartitions {partitions}\nready {ready}\n")
}

fn with_sum(text: &[u8]) -> Vec<u8> {
    [text, format!("crc32c {:08x}\n", crc32c::crc32c(text)).as_bytes()].concat()
}

/// First byte: whether the sum is put right, and whether the log is also opened to write. Then the
/// meta file, without its last line when the sum is put right.
pub(crate) fn meta(bytes: &[u8]) {
    let Some((flags, rest)) = bytes.split_first() else { return };
    let dir = folder().join("of-meta");
    let file = if flags & 1 == 0 { with_sum(rest) } else { rest.to_vec() };
    written(make_log(&dir, &file), &dir);
    let before = names(&dir);
    let sound = [text(LOG_ID, 1, "yes"), text(LOG_ID, 1, "no")].map(|text| with_sum(text.as_bytes()));
    let opened = bounded(OPEN, bytes.len(), || SegmentLog::open_read_only(&dir));
    match &opened {
        // There is one partition, of this log.
        Ok(_) => assert!(file == sound[0], "violation: {} was believed", file.escape_ascii()),
        Err(error) => {
            assert!(file != sound[0], "violation: a sound meta file is refused: {error}");
            assert!(!error.to_string().contains("panicked"), "violation: {error}");
        }
    }
    drop(opened);
    let untouched = || fs::read(dir.join("meta")).is_ok_and(|now| now == file) && names(&dir) == before;
    assert!(untouched(), "violation: a look has changed something");
    if flags & 2 != 0 {
        let options = SegmentOptions {
            partitions: 1,
            segment_bytes: 4 << 10,
            sync_max_delay: Duration::ZERO,
            sync_max_bytes: 1 << 20,
        };
        let clock = Arc::new(ManualClock::at(0));
        let opened = bounded(OPEN, bytes.len(), || {
            SegmentLog::open_on(&dir, options, clock, Arc::new(UnsyncedDevice))
        });
        match opened {
            Ok((log, _)) => {
                let id = log.id();
                assert!(log.partitions() == 1, "violation: {} partitions", log.partitions());
                drop(log);
                // What was never finished is finished, whichever log it was to be.
                let was = [text(id, 1, "yes"), text(id, 1, "no")].map(|text| with_sum(text.as_bytes()));
                assert!(was.contains(&file), "violation: {} was believed", file.escape_ascii());
                let again = SegmentLog::open_read_only(&dir).map(|(log, _)| log.id());
                assert!(again.as_ref().is_ok_and(|again| *again == id), "violation: then {again:?}");
            }
            Err(error) => {
                assert!(!sound.contains(&file), "violation: a sound meta file is refused: {error}");
                assert!(untouched(), "violation: refused, and changed: {error}");
            }
        }
    }
    // The next one begins anew: opening to write may have made another log.
    drop(fs::remove_dir_all(&dir));
}

/// A log of one empty partition, and the meta file to try.
fn make_log(dir: &Path, meta: &[u8]) -> io::Result<()> {
    drop(fs::remove_dir_all(dir));
    fs::create_dir_all(dir.join("p-0000"))?;
    fs::write(dir.join("LOCK"), b"")?;
    fs::write(dir.join("meta"), meta)?;
    let mut header = vec![0; 64];
    header[..4].copy_from_slice(b"hbS1");
    header[8..10].copy_from_slice(&1_u16.to_le_bytes());
    header[16..24].copy_from_slice(&LOG_ID.to_le_bytes());
    header[24..28].copy_from_slice(&1_u32.to_le_bytes());
    let crc = crc32c::crc32c(&header[8..]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    header.resize(4 << 10, 0);
    fs::write(dir.join("p-0000/0000000001.seg"), header)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

/// First byte: whether sums are put right. Then a book.
pub(crate) fn book(bytes: &[u8]) {
    let Some((flags, rest)) = bytes.split_first() else { return };
    let path = folder().join("book");
    let mut file = rest.to_vec();
    if flags & 1 == 0 {
        for record in file.chunks_exact_mut(RECORD_BYTES) {
            let sum = blake3::hash(&record[..SUMMED_BYTES]);
            record[SUMMED_BYTES..].copy_from_slice(&sum.as_bytes()[..RECORD_BYTES - SUMMED_BYTES]);
        }
    }
    written(fs::write(&path, &file), &path);
    let is_whole = |record: &&[u8]| {
        let sum = blake3::hash(&record[..SUMMED_BYTES]);
        record[SUMMED_BYTES..] == sum.as_bytes()[..RECORD_BYTES - SUMMED_BYTES]
    };
    let whole = file.chunks_exact(RECORD_BYTES).take_while(is_whole).count();
    let mut read = Vec::new();
    let looked = bounded(BOOK, bytes.len(), || read_book(&path, |record| read.push(record)));
    assert!(looked.is_ok() && read.len() == whole, "violation: {} of {whole} records", read.len());
    assert!(fs::read(&path).is_ok_and(|now| now == file), "violation: a look has changed the book");
    let mut again = Vec::new();
    let opened = bounded(BOOK, bytes.len(), || BookFile::open(&path, |record| again.push(record)));
    assert!(again == read, "violation: {again:?}, read before {read:?}");
    // What is appended comes behind the last whole record.
    let added = Record { key: 7, payload: 8, at_ms: 9 };
    let appended = opened.and_then(|mut book| book.append(&added).and_then(|()| book.flush()));
    assert!(appended.is_ok(), "violation: {appended:?}");
    let mut last = Vec::new();
    let looked = read_book(&path, |record| last.push(record));
    read.push(added);
    assert!(looked.is_ok() && last == read, "violation: then {last:?} instead of {read:?}");
}
