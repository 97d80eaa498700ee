//! The RocksDB store keeps the store contract.

use std::sync::Arc;

use hongbao_rocks::{RocksEnv, RocksStore};

#[test]
fn rocks_store_conforms() {
    let environment = RocksEnv::new(8 << 20).unwrap();
    hongbao_conformance::store::suite(|dir| {
        // The suite's directory exists and is empty; the store makes its own below it as well.
        Arc::new(RocksStore::open(&dir.join("a/b"), &environment, "suite").unwrap())
    });
}
