//! The record that `preload/files.c` makes of a run.

use std::io;
use std::ops::Range;
use std::path::Path;

/// Bytes before text and data of a record.
const HEAD_BYTES: usize = 25;

/// One call, in the order in which they took effect.
#[derive(Clone, Debug)]
pub enum Event {
    Write {
        inode: u64,
        at: u64,
        data: Range<usize>,
    },
    /// Of a file or a folder.
    Sync {
        inode: u64,
    },
    /// A sync that was made to fail.
    FailedSync {
        inode: u64,
    },
    Truncate {
        inode: u64,
        len: u64,
    },
    /// The file is at least so long from now on.
    Allocate {
        inode: u64,
        len: u64,
    },
    /// What the file holds there reads as zeros from now on; its size stays.
    Clear {
        inode: u64,
        at: u64,
        len: u64,
    },
    Create {
        inode: u64,
        path: String,
    },
    MakeFolder {
        inode: u64,
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    /// Bytes leave by a socket; `part` counts those that leave together.
    Send {
        socket: u64,
        part: u64,
        data: Range<usize>,
    },
}

/// A recorded run.
pub struct Trace {
    bytes: Vec<u8>,
    pub events: Vec<Event>,
}

impl Trace {
    /// Reads a record.
    ///
    /// # Errors
    /// Of the file system, or when it is not a record.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut trace = Self { bytes: std::fs::read(path)?, events: Vec::new() };
        let mut at = 0;
        while at < trace.bytes.len() {
            let (event, next) = trace.event(at).ok_or(io::ErrorKind::InvalidData)?;
            trace.events.push(event);
            at = next;
        }
        Ok(trace)
    }

    /// The bytes of an event.
    #[must_use]
    pub fn data(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }

    fn event(&self, at: usize) -> Option<(Event, usize)> {
        let head = self.bytes.get(at..at + HEAD_BYTES)?;
        let long = |from: usize| Some(u64::from_le_bytes(head[from..from + 8].try_into().ok()?));
        let len = |from: usize| Some(u32::from_le_bytes(head[from..from + 4].try_into().ok()?) as usize);
        let (inode, number) = (long(1)?, long(9)?);
        let text_at = at + HEAD_BYTES;
        let data = text_at + len(17)?..text_at + len(17)? + len(21)?;
        let text = std::str::from_utf8(self.bytes.get(text_at..data.start)?).ok()?.to_owned();
        let next = data.end;
        self.bytes.get(data.clone())?;
        let two = || text.split_once('\n').map(|(from, to)| (from.to_owned(), to.to_owned()));
        let event = match head[0] {
            1 => Event::Write { inode, at: number, data },
            2 => Event::Sync { inode },
            3 => Event::Truncate { inode, len: number },
            4 => Event::Allocate { inode, len: number },
            5 => Event::Create { inode, path: text },
            6 => two().map(|(from, to)| Event::Rename { from, to })?,
            7 => Event::Unlink { path: text },
            8 => Event::MakeFolder { inode, path: text },
            9 => two().map(|(from, to)| Event::Link { from, to })?,
            12 => {
                let len = self.bytes.get(data)?.try_into().ok()?;
                Event::Clear { inode, at: number, len: u64::from_le_bytes(len) }
            }
            11 => Event::FailedSync { inode },
            10 => Event::Send { socket: inode, part: number, data },
            _ => return None,
        };
        Some((event, next))
    }
}
