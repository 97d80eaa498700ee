//! The book on disk: an append-only file of fixed-size records, each with a checksum.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes of a record: key, payload, time, checksum.
const RECORD_BYTES: usize = 16 + 16 + 8 + 8;
const READ_BYTES: usize = 256 << 10;

/// One effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Digest of the key.
    pub key: u128,
    /// Digest of the payload.
    pub payload: u128,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// An open book file.
#[derive(Debug)]
pub struct BookFile {
    out: BufWriter<File>,
}

impl BookFile {
    /// Opens or creates the file and gives every whole record to `each`. What follows the last
    /// whole record is cut off: it was never answered.
    ///
    /// # Errors
    /// Any of the file's.
    pub fn open(path: &Path, mut each: impl FnMut(Record)) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let whole = read_records(&file, &mut each)?;
        file.set_len(whole)?;
        let mut out = BufWriter::with_capacity(64 * 1024, file);
        out.seek(SeekFrom::Start(whole))?;
        Ok(Self { out })
    }

    /// Appends a record.
    ///
    /// # Errors
    /// Any of the file's.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        self.out.write_all(&encode(record))
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// Any of the file's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Gives every whole record of a book to `each` and leaves the file as it is. A book that was never
/// written has none.
///
/// # Errors
/// Any of the file's.
pub fn read_book(path: &Path, mut each: impl FnMut(Record)) -> io::Result<()> {
    match File::open(path) {
        Ok(file) => read_records(&file, &mut each).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads up to the first record that is not whole, and returns where that is.
fn read_records(file: &File, each: &mut impl FnMut(Record)) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(READ_BYTES, file);
    let mut bytes = [0; RECORD_BYTES];
    let mut whole = 0;
    loop {
        match reader.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(whole),
            Err(error) => return Err(error),
        }
        let Some(record) = decode(&bytes) else { return Ok(whole) };
        each(record);
        whole += RECORD_BYTES as u64;
    }
}

fn encode(record: &Record) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    bytes[..16].copy_from_slice(&record.key.to_le_bytes());
    bytes[16..32].copy_from_slice(&record.payload.to_le_bytes());
    bytes[32..40].copy_from_slice(&record.at_ms.to_le_bytes());
    let sum = checksum(&bytes[..40]);
    bytes[40..].copy_from_slice(&sum);
    bytes
}

fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Record> {
    if bytes[40..] != checksum(&bytes[..40]) {
        return None;
    }
    Some(Record {
        key: u128::from_le_bytes(bytes[..16].try_into().ok()?),
        payload: u128::from_le_bytes(bytes[16..32].try_into().ok()?),
        at_ms: i64::from_le_bytes(bytes[32..40].try_into().ok()?),
    })
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    sum
}
