//! Views over a store in memory, with commits taken apart.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use hongbao_engine::memory::store::MemoryStore;
use hongbao_engine::processor::{FrozenRows, Outputs, Processor, ProcessorError};
use hongbao_engine::records::{FrameRef, ReadBatch};
use hongbao_engine::store::{Applied, Store};

use crate::views::{Views, ViewsLimits, ViewsReader};

/// Limits so small that everything is given up and looked up all the time.
pub(super) const TINY: ViewsLimits =
    ViewsLimits { users_max: 2, recent_orders_max: 3, known_users_bytes: 128 };

/// Views of one partition.
pub(super) struct Rig {
    pub(super) store: Arc<MemoryStore>,
    pub(super) views: Views,
    pub(super) reader: Arc<ViewsReader>,
    limits: ViewsLimits,
    /// Records applied.
    pub(super) applied: usize,
    frozen: Option<(FrozenRows, usize)>,
    written: bool,
}

impl Rig {
    pub(super) fn new(limits: ViewsLimits) -> Self {
        Self::over(Arc::new(MemoryStore::new()), limits)
    }

    /// Views over what a store holds.
    pub(super) fn over(store: Arc<MemoryStore>, limits: ViewsLimits) -> Self {
        let reader = Arc::new(ViewsReader::new(1));
        let views = Views::open(0, Arc::clone(&store) as Arc<dyn Store>, limits, &reader).unwrap();
        let applied = store.applied().unwrap().offset as usize;
        Self { store, views, reader, limits, applied, frozen: None, written: false }
    }

    /// Loses all that is not in the store.
    pub(super) fn crash(self) -> Self {
        Self::over(self.store, self.limits)
    }

    /// Applies the next records, up to `end`.
    pub(super) fn apply(&mut self, records: &[Vec<u8>], end: usize) {
        self.try_apply(records, end).unwrap();
    }

    /// Applies all further records in one batch.
    pub(super) fn apply_all(&mut self, records: &[Vec<u8>]) {
        self.apply(records, records.len());
    }

    pub(super) fn try_apply(&mut self, records: &[Vec<u8>], end: usize) -> Result<(), ProcessorError> {
        let mut batch = ReadBatch::new();
        let frame = batch.next_frame();
        frame.first_offset = self.applied as u64;
        for record in &records[self.applied..end] {
            frame.bytes.extend_from_slice(record);
            frame.ends.push(frame.bytes.len() as u32);
        }
        let frames: Vec<FrameRef<'_>> = batch.frames().collect();
        self.views.apply(&frames, &mut Outputs::new())?;
        self.applied = end;
        Ok(())
    }

    /// First step of a commit, if none is under way.
    pub(super) fn freeze(&mut self) {
        if self.frozen.is_none() && !self.written {
            self.frozen = Some((self.views.freeze().unwrap(), self.applied));
        }
    }

    /// Second step.
    pub(super) fn write(&mut self) {
        if let Some((build, applied)) = self.frozen.take() {
            let runs = build().unwrap();
            self.store.commit(&runs, Applied { offset: applied as u64, last_record_crc: 0 }).unwrap();
            self.written = true;
        }
    }

    /// Third step.
    pub(super) fn committed(&mut self) {
        if std::mem::take(&mut self.written) {
            self.views.committed();
        }
    }

    pub(super) fn commit(&mut self) {
        self.write();
        self.committed();
        self.freeze();
        self.write();
        self.committed();
    }

    /// Every row in the store.
    pub(super) fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut rows = BTreeMap::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            rows.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        };
        self.store.scan(&[], &[0xff; 4], &mut visit).unwrap();
        rows
    }
}
