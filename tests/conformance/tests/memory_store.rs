//! The in-memory store keeps the store contract.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use hongbao_engine::memory::store::MemoryStore;

#[test]
fn memory_store_conforms() {
    // "Reopening" finds the same value again: it is as durable as that.
    let opened: Mutex<BTreeMap<PathBuf, Arc<MemoryStore>>> = Mutex::default();
    hongbao_conformance::store::suite(|dir| {
        let mut opened = opened.lock().unwrap();
        Arc::clone(opened.entry(dir.to_path_buf()).or_default()) as _
    });
}
