//! Fuzzes the target `writer_schema`; see `tests/hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hongbao_fuzz::run("writer_schema", bytes));
