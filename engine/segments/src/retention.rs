//! Trimming: whole sealed segments are dropped from the front, and some kept to be written again.

use std::fs;

use hongbao_engine::log::LogError;
use hongbao_engine::records::Offset;

use crate::core::Core;
use crate::options::SPARES_MAX;
use crate::partition::PartitionLog;
use crate::segment::{segment_path, spare_path};

impl PartitionLog {
    /// See [`hongbao_engine::log::Log::trim`].
    pub(crate) fn trim(&self, core: &Core, floors: &[(&str, Offset)]) -> Result<(), LogError> {
        if self.writer.lock().is_none() {
            self.check(&self.shared.lock())?;
            return Err(LogError::Failed("the log is open for reading only".to_owned()));
        }
        let _one_at_a_time = self.trimming.lock();
        while let Some((generation, keep)) = self.forget_oldest(core, floors)? {
            self.remove(core, generation, keep)?;
        }
        Ok(())
    }

    /// Takes the oldest segment from the readers' view if the floors give it up. Returns its
    /// generation, and whether to keep the file.
    fn forget_oldest(&self, core: &Core, floors: &[(&str, Offset)]) -> Result<Option<(u32, bool)>, LogError> {
        core.check()?;
        let mut shared = self.shared.lock();
        self.check(&shared)?;
        let generation = shared.first_generation;
        // Only a sealed segment goes: its footer proves that it and its successor are durable.
        let sealed = shared.segments.front().is_some_and(|segment| segment.open.is_none());
        if !sealed || !shared.topics.may_drop(generation, floors) {
            return Ok(None);
        }
        shared.topics.drop_oldest(generation);
        shared.cache.remove(generation);
        shared.segments.pop_front();
        shared.first_generation += 1;
        Ok(Some((generation, shared.spares.len() < SPARES_MAX)))
    }

    /// Removes the file durably before the next one goes: a gap would look like a loss.
    fn remove(&self, core: &Core, generation: u32, keep: bool) -> Result<(), LogError> {
        let path = segment_path(&self.dir, generation);
        let spare = spare_path(&self.dir, generation);
        let removed = if keep { fs::rename(&path, &spare) } else { fs::remove_file(&path) };
        removed
            .and_then(|()| core.device.sync_dir(&self.dir))
            .map_err(|error| core.fail(format!("trimming {}: {error}", path.display())))?;
        if keep {
            self.shared.lock().spares.push(spare);
        }
        Ok(())
    }
}
