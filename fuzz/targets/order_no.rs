//! Fuzzes the target `order_no`; see `tests/hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hongbao_fuzz::run("order_no", bytes));
