//! Fuzzes the target `rain_profile`; see `tests/hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hongbao_fuzz::run("rain_profile", bytes));
