//! Opening a partition: what of its segments is sound, what was torn and is cut off, and what is
//! damage.
//!
//! Segments with a sound footer are believed; all others are walked frame by frame. The stream
//! ends at the first place where no complete, sound group follows. If anything says that more was
//! durable (a later frame, a later segment, the footer of an earlier one), a group that was promised
//! is gone: the partition is damaged (I26). Else the machine or the process stopped in the middle
//! of a write, nobody was told of it, and what is left is cut off.
//!
//! A file that lost its end holds nothing that says so. But it had its whole length before anything
//! in it was synced, and its header says how long that is; the footer before says that it was.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hongbao_engine::log::Position;
use hongbao_engine::mutant;
use hongbao_engine::partition::Partition;

use crate::append::Writer;
use crate::core::Core;
use crate::error::OpenError;
use crate::footer::Trailer;
use crate::frame::Identity;
use crate::partition::{OpenSegment, PartitionLog, Segment, Shared};
use crate::segment::{FoundHeader, Listing, SegmentHeader, segment_path};
use crate::topics::Topics;
use crate::walk::{Rest, Walked, scan, walk};

/// What was found when a log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// One of each partition, in order.
    pub partitions: Vec<PartitionRecovery>,
}

/// What was found in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRecovery {
    /// Which one.
    pub partition: Partition,
    /// Everything before this position was recovered; it is where the next group goes.
    pub end: Position,
    /// Segments kept.
    pub segments: usize,
    /// Segments that had to be walked because they have no sound footer; at least the last one.
    pub walked: usize,
    /// What was torn and is cut off: never promised to anybody.
    pub cut: Option<Cut>,
    /// What is damaged (I26): the partition can neither be read nor written to.
    pub damage: Option<String>,
}

/// Where and why a partition was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file that ends here now.
    pub file: PathBuf,
    /// Place in the file.
    pub at: u64,
    /// What was found there.
    pub what: String,
    /// Later segments that were removed.
    pub segments_removed: usize,
}

/// The state of a partition while its segments are taken in, oldest first.
#[derive(Default)]
pub(crate) struct Rebuild {
    pub(crate) shared: Shared,
    /// Position after the last sound group.
    pub(crate) position: u64,
    chain: u32,
    /// Highest position that anything says was durable.
    pub(crate) durable: u64,
    /// Whether the segment taken last was believed by its footer.
    by_footer: bool,
    /// The segment taken last, if it was walked.
    pub(crate) tail: Option<Tail>,
    walked: usize,
}

/// The last segment taken, which may be the one to write to.
pub(crate) struct Tail {
    pub(crate) generation: u32,
    pub(crate) header: SegmentHeader,
    pub(crate) at: u64,
    pub(crate) closed: bool,
    flaw: Option<&'static str>,
    /// Whether the header, and with it the length of the file, is known to have been synced: the
    /// footer before says so, and only a segment with a footer is ever dropped from the front.
    head_synced: bool,
}

/// A partition's directory to recover.
pub(crate) struct Place<'a> {
    pub(crate) core: &'a Core,
    pub(crate) dir: PathBuf,
    pub(crate) number: Partition,
    /// Whether what is torn may be cut off, and groups appended.
    pub(crate) writable: bool,
}

/// Why the stream does not go on in a segment.
enum Broken {
    /// It may never have been written in full.
    Torn(String),
    /// The device does not give it. Nothing is known of it, so nothing may be cut off.
    Unreadable(String),
}

impl Broken {
    fn of(path: &Path, error: &impl std::fmt::Display) -> Self {
        Self::Unreadable(format!("{}: {error}", path.display()))
    }
}

impl Place<'_> {
    /// Recovers the partition. Damage makes a partition that only says so.
    ///
    /// # Errors
    /// When files are missing or do not belong here, or the file system fails.
    pub(crate) fn open(self) -> Result<(PartitionLog, PartitionRecovery), OpenError> {
        let listing = Listing::read(&self.dir)?;
        let mut rebuild = Rebuild::default();
        let (mut kept, mut flaw) = (0, None);
        for generation in &listing.segments {
            let is_last = kept + 1 == listing.segments.len();
            match self.take(&mut rebuild, *generation, is_last)? {
                Ok(()) => kept += 1,
                Err(Broken::Torn(what)) => {
                    flaw = Some(what);
                    break;
                }
                Err(Broken::Unreadable(what)) => return Ok(self.damaged(&rebuild, kept, what)),
            }
        }
        let flaw = flaw.as_deref();
        let (kept, beyond) = listing.segments.split_at(kept);
        let rest = match self.judge(&rebuild, beyond, flaw)? {
            Ok(rest) => rest,
            Err(damage) => return Ok(self.damaged(&rebuild, kept.len(), damage)),
        };
        let cut = self.cut(&rebuild, &rest, beyond, flaw);
        let recovery = PartitionRecovery {
            partition: self.number,
            end: Position(rebuild.position),
            segments: kept.len(),
            walked: rebuild.walked,
            cut,
            damage: None,
        };
        let writer = self.finish(&mut rebuild, &rest, beyond, listing.spares)?;
        Ok((PartitionLog::new(self.number, self.dir, writer, rebuild.shared), recovery))
    }

    fn damaged(self, rebuild: &Rebuild, segments: usize, what: String) -> (PartitionLog, PartitionRecovery) {
        let recovery = PartitionRecovery {
            partition: self.number,
            end: Position(rebuild.position),
            segments,
            walked: rebuild.walked,
            cut: None,
            damage: Some(what.clone()),
        };
        (PartitionLog::damaged(self.number, self.dir, what), recovery)
    }

    pub(crate) fn identity(&self, generation: u32) -> Identity {
        Identity { log_id: self.core.log_id, partition: self.number.0, generation }
    }

    pub(crate) fn open_file(&self, path: &Path) -> Result<File, OpenError> {
        OpenOptions::new().read(true).write(self.writable).open(path).map_err(OpenError::io(path))
    }

    /// Takes in the next segment.
    fn take(
        &self,
        rebuild: &mut Rebuild,
        generation: u32,
        is_last: bool,
    ) -> Result<Result<(), Broken>, OpenError> {
        let path = segment_path(&self.dir, generation);
        let identity = self.identity(generation);
        let file = self.open_file(&path)?;
        let header = match SegmentHeader::read(&file, &path, &identity)? {
            FoundHeader::Sound(header) => header,
            FoundHeader::Unsound(what) => {
                return Ok(Err(Broken::Torn(format!("{}: {what}", path.display()))));
            }
            FoundHeader::Unreadable(what) => return Ok(Err(Broken::of(&path, &what))),
        };
        if let Err(what) = rebuild.continue_with(&header) {
            return Ok(Err(Broken::Torn(format!("{}: {what}", path.display()))));
        }
        let sealed = match Trailer::read(&file, &identity) {
            Ok(trailer) => {
                trailer.filter(|trailer| trailer.base == header.base && trailer.end >= trailer.base)
            }
            Err(error) => return Ok(Err(Broken::of(&path, &error))),
        };
        match sealed {
            Some(_) if is_last => {
                let next = segment_path(&self.dir, generation + 1);
                return Err(OpenError::segment(&next, "this segment is missing"));
            }
            Some(trailer) => rebuild.add_sealed(&header, &trailer),
            None => match walk(&file, &header) {
                Ok(walked) => rebuild.add_walked(header, file, walked),
                Err(error) => return Ok(Err(Broken::of(&path, &error))),
            },
        }
        Ok(Ok(()))
    }

    /// Whether what lies behind the end proves that something durable is gone; and what lies
    /// behind the end in the last segment taken.
    fn judge(
        &self,
        rebuild: &Rebuild,
        beyond: &[u32],
        flaw: Option<&str>,
    ) -> Result<Result<Rest, String>, OpenError> {
        let Some(tail) = rebuild.tail.as_ref().filter(|_| !rebuild.by_footer) else {
            return Ok(Err(flaw.unwrap_or("no sound segment").to_owned()));
        };
        let path = segment_path(&self.dir, tail.generation);
        let place = |what: &str| format!("{} at {}: {what}", path.display(), tail.at);
        let file = self.open_file(&path)?;
        let rest = match scan(&file, tail.at, &self.identity(tail.generation)) {
            Ok(rest) => rest,
            Err(error) => return Ok(Err(place(&error.to_string()))),
        };
        let mut durable = rest.durable.max(rebuild.durable);
        for generation in beyond {
            match self.durable_in(*generation)? {
                Ok(found) => durable = durable.max(found),
                Err(what) => return Ok(Err(what)),
            }
        }
        if durable > rebuild.position && !mutant!(M67) {
            let found = tail.flaw.or(flaw).unwrap_or("nothing");
            let proof = format!("found {found}, but everything up to {durable} was durable");
            return Ok(Err(format!("{}, position {}", place(&proof), rebuild.position)));
        }
        let len = file.metadata().map_err(OpenError::io(&path))?.len();
        if let Some(what) = tail.header.is_short(len, tail.head_synced || durable > tail.header.base) {
            return Ok(Err(format!("{}: {what}", path.display())));
        }
        Ok(Ok(rest))
    }

    /// The highest position that a segment beyond the end says was durable.
    fn durable_in(&self, generation: u32) -> Result<Result<u64, String>, OpenError> {
        let path = segment_path(&self.dir, generation);
        let identity = self.identity(generation);
        let file = self.open_file(&path)?;
        let durable = match SegmentHeader::read(&file, &path, &identity)? {
            FoundHeader::Sound(header) => header.durable,
            FoundHeader::Unsound(_) => 0,
            FoundHeader::Unreadable(what) => return Ok(Err(format!("{}: {what}", path.display()))),
        };
        let found = Trailer::read(&file, &identity).and_then(|trailer| {
            let rest = scan(&file, 0, &identity)?;
            Ok(trailer.map_or(0, |trailer| trailer.durable()).max(rest.durable))
        });
        Ok(match found {
            Ok(found) => Ok(durable.max(found)),
            Err(error) => Err(format!("{}: {error}", path.display())),
        })
    }

    /// What is torn, if anything is. Behind the end of a file that was used before lies what it
    /// held then, which says nothing.
    fn cut(&self, rebuild: &Rebuild, rest: &Rest, beyond: &[u32], flaw: Option<&str>) -> Option<Cut> {
        let tail = rebuild.tail.as_ref()?;
        let torn = rest.frames || (rest.any && !tail.header.recycled);
        (torn || !beyond.is_empty()).then(|| Cut {
            file: segment_path(&self.dir, tail.generation),
            at: tail.at,
            what: tail.flaw.or(flaw).unwrap_or("something that is not a frame").to_owned(),
            segments_removed: beyond.len(),
        })
    }
}

impl Rebuild {
    /// Whether a segment goes on where the one before ended.
    fn continue_with(&mut self, header: &SegmentHeader) -> Result<(), String> {
        if self.shared.segments.is_empty() {
            self.shared.first_generation = header.identity.generation;
            self.shared.topics = Topics::starting_at(&header.topics);
            (self.position, self.chain) = (header.base, header.previous);
            return Ok(());
        }
        if (header.base, header.previous) != (self.position, self.chain) {
            let (base, position) = (header.base, self.position);
            return Err(format!("it begins at position {base}, the one before ends at {position}"));
        }
        let goes_on = if self.by_footer {
            self.shared.topics.add_up_to(header.identity.generation - 1, &header.topics)
        } else {
            self.shared.topics.next_offsets() == header.topics
        };
        if goes_on { Ok(()) } else { Err("its offsets do not follow".to_owned()) }
    }

    fn add_sealed(&mut self, header: &SegmentHeader, trailer: &Trailer) {
        self.shared.segments.push_back(Segment { base: header.base, data_at: header.len(), open: None });
        (self.position, self.chain) = (trailer.end, trailer.chain);
        self.durable = self.durable.max(trailer.durable());
        (self.by_footer, self.tail) = (true, None);
    }

    fn add_walked(&mut self, header: SegmentHeader, file: File, walked: Walked) {
        let generation = header.identity.generation;
        let (base, data_at) = (header.base, header.len());
        self.shared.topics.add_index(generation, &walked.index);
        self.position = base + (walked.at - data_at);
        self.chain = walked.chain;
        self.durable = self.durable.max(walked.durable);
        let head_synced = self.by_footer || self.shared.segments.is_empty();
        let Walked { at, closed, flaw, .. } = walked;
        let tail = Tail { generation, header, at, closed, flaw, head_synced };
        (self.by_footer, self.tail) = (false, Some(tail));
        self.walked += 1;
        let file = Arc::new(file);
        let open = OpenSegment { file, index: walked.index, chain: walked.chain, dirty: false };
        self.shared.segments.push_back(Segment { base, data_at, open: Some(Box::new(open)) });
    }

    pub(crate) fn writer(&self) -> Option<Writer> {
        let tail = self.tail.as_ref()?;
        let segment = self.shared.segments.back()?;
        Some(Writer {
            generation: tail.generation,
            file: Arc::clone(&segment.open.as_ref()?.file),
            base: segment.base,
            data_at: segment.data_at,
            end: tail.at,
            chain: self.chain,
            room: if tail.header.allocated == 0 { u64::MAX } else { tail.header.allocated },
            allocated: false,
            closed: tail.closed,
        })
    }
}
