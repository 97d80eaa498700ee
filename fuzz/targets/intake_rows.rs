//! Fuzzes the target `intake_rows`; see `tests/hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hongbao_fuzz::run("intake_rows", bytes));
