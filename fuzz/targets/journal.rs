//! Fuzzes the target `journal`; see `tests/hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hongbao_fuzz::run("journal", bytes));
