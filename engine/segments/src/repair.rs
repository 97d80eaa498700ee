//! What opening a partition changes on disk: torn ends are cut off, what is readable is made
//! durable, missing footers are written.

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::path::PathBuf;

use crate::append::Writer;
use crate::error::OpenError;
use crate::options::SPARES_MAX;
use crate::partition::Segment;
use crate::recovery::{Place, Rebuild, Tail};
use crate::segment::{read_up_to, segment_path};
use crate::walk::Rest;

const COPY_BYTES: u64 = 1 << 20;

impl Place<'_> {
    /// Makes everything up to the recovered end readable; and, unless the log is opened only to
    /// be read, durable, and the end ready to be written to.
    pub(crate) fn finish(
        &self,
        rebuild: &mut Rebuild,
        rest: &Rest,
        beyond: &[u32],
        spares: Vec<PathBuf>,
    ) -> Result<Option<Writer>, OpenError> {
        let writer = if self.writable {
            self.cut_off(rebuild, rest, beyond)?;
            self.make_durable(rebuild)?;
            hongbao_engine::kill_point!("log.repair.durable");
            self.write_footers(rebuild)?;
            self.keep_spares(rebuild, spares)?;
            rebuild.writer()
        } else {
            None
        };
        let shared = &mut rebuild.shared;
        (shared.appended, shared.durable) = (rebuild.position, rebuild.position);
        shared.topics.begin_sync();
        shared.topics.end_sync();
        Ok(writer)
    }

    /// Removes what lies behind the end, so that it can never come alive again when later frames
    /// are written before it.
    fn cut_off(&self, rebuild: &Rebuild, rest: &Rest, beyond: &[u32]) -> Result<(), OpenError> {
        for generation in beyond.iter().rev() {
            let path = segment_path(&self.dir, *generation);
            fs::remove_file(&path).map_err(OpenError::io(&path))?;
            hongbao_engine::kill_point!("log.repair.removed");
        }
        let last = rebuild.shared.segments.back().and_then(|segment| segment.open.as_ref());
        if let (Some(tail), Some(open)) = (&rebuild.tail, last) {
            let path = segment_path(&self.dir, tail.generation);
            self.clear(tail, &open.file, rest).map_err(OpenError::io(&path))?;
        }
        Ok(())
    }

    /// Clears a file behind its end. It is never shorter than its header says once that was synced:
    /// that would be damage.
    fn clear(&self, tail: &Tail, file: &File, rest: &Rest) -> io::Result<()> {
        let device = &self.core.device;
        let is_short = file.metadata()?.len() < tail.header.allocated;
        if is_short {
            device.set_len(file, tail.header.allocated)?;
        }
        if rest.any {
            device.clear_from(file, tail.at)?;
        }
        if is_short || rest.any { device.sync(file) } else { Ok(()) }
    }

    /// What was read may stand only in the page cache. It is written once more and synced, since
    /// a sync that failed before may have left pages that look clean and are not on the disk. The
    /// same for the names of files, of which some may just have been removed.
    fn make_durable(&self, rebuild: &Rebuild) -> Result<(), OpenError> {
        let first = rebuild.shared.first_generation;
        for (generation, segment) in (first..).zip(&rebuild.shared.segments) {
            let next = rebuild.shared.end_of(generation);
            let end = next.unwrap_or(rebuild.position);
            let path = segment_path(&self.dir, generation);
            self.rewrite(segment, rebuild.durable, end).map_err(OpenError::io(&path))?;
        }
        self.core.device.sync_dir(&self.dir).map_err(OpenError::io(&self.dir))
    }

    /// Writes again what lies between two positions of a segment without a footer.
    fn rewrite(&self, segment: &Segment, durable: u64, end: u64) -> io::Result<()> {
        let Some(open) = &segment.open else { return Ok(()) };
        let place = |position: u64| segment.data_at + (position - segment.base);
        // Without any durable frame the header may not be durable either.
        let mut at = if durable > segment.base { place(durable.min(end)) } else { 0 };
        let end = place(end);
        while at < end {
            let bytes = read_up_to(&open.file, at, (end - at).min(COPY_BYTES) as usize)?;
            if bytes.is_empty() {
                // The file ends inside the padding of its last frame.
                break;
            }
            self.core.device.write(&open.file, &mut [IoSlice::new(&bytes)], at)?;
            at += bytes.len() as u64;
        }
        hongbao_engine::kill_point!("log.repair.rewritten");
        self.core.device.sync(&open.file)
    }

    /// Seals what was walked and is not the last, so that only the last segment has no footer. All
    /// that was recovered is durable now.
    fn write_footers(&self, rebuild: &mut Rebuild) -> Result<(), OpenError> {
        let durable = rebuild.position;
        let shared = &mut rebuild.shared;
        for generation in shared.first_generation..shared.last_generation() {
            let Some(end) = shared.end_of(generation) else { continue };
            let Some(segment) = shared.segment_mut(generation) else { continue };
            let Some(open) = segment.open.take() else { continue };
            let path = segment_path(&self.dir, generation);
            let seal = segment.seal(self.identity(generation), &open, end, durable);
            seal.write(&open.file, &*self.core.device).map_err(OpenError::io(&path))?;
            hongbao_engine::kill_point!("log.repair.sealed");
        }
        Ok(())
    }

    fn keep_spares(&self, rebuild: &mut Rebuild, mut spares: Vec<PathBuf>) -> Result<(), OpenError> {
        for path in spares.drain(SPARES_MAX.min(spares.len())..) {
            fs::remove_file(&path).map_err(OpenError::io(&path))?;
        }
        rebuild.shared.spares = spares;
        Ok(())
    }
}
