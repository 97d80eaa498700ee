//! Topology cases: what goes in, and what must come out of intake, views and dispatcher together,
//! in a world without disk, threads and real time. A case is a file of `tests/topology_cases`:
//!
//! ```yaml
//! title: what it shows
//! topology: |          # optional, as is `campaign`; else those in shared/
//! steps:
//!   - award: {order_no: u1_rain_1_cash_1, verdict: accepted}
//!   - say: {bank: {u1_rain_1_cash_1: [unknown, credited]}}   # answers to sends, credited by default
//!   - tell: {bank: {u1_rain_1_cash_1: [pending, absent]}}    # answers to asks, absent by default
//!   - run: 2s                                                # time goes on; `sleep`: and nobody works
//!   - restart: crash                                         # or `commit`, before which all is saved
//!   - see: {orders: {u1_rain_1_cash_1: credited}}
//! ```

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "crashes/src/attempts.rs"]
mod attempts;
mod driver;

use std::path::PathBuf;

use driver::Case;

fn cases() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/topology_cases");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    paths.sort();
    paths
}

#[test]
fn every_case_comes_out_as_written() {
    let paths = cases();
    assert!(paths.len() >= 12, "{paths:?}");
    let mut failed = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let outcome = std::panic::catch_unwind(|| Case::read(&text).run());
        if outcome.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "these cases fail, see above: {failed:?}");
}

/// What a topology accepts as a simulated downstream is what there is.
#[test]
fn simulated_profiles_are_the_ones_that_a_topology_knows() {
    let there: &[&str] = &hongbao_sinks::simulated::Profile::NAMES;
    assert_eq!(hongbao_topology::limits::SIMULATED_PROFILES, there);
}

/// The crash harness, which knows no dispatcher, judges reports by the attempts that one makes (I11).
#[test]
fn the_crash_harness_counts_as_many_attempts_as_the_dispatcher_makes() {
    let policy = hongbao_sinks::dispatch::Policy::default();
    assert_eq!(attempts::ATTEMPTS_MAX, u64::from(policy.attempts_max));
}

/// What a case cannot say is refused, so that no expectation is skipped for a typing error.
#[test]
fn cases_are_read_strictly() {
    let good = "title: t\nsteps:\n  - award: {order_no: u1_rain_1_cash_1, verdict: accepted}\n";
    Case::read(good).run();
    for (from, to) in [
        ("verdict: accepted", "verdict: duplicate"),
        ("verdict: accepted", "verdikt: accepted"),
        ("verdict: accepted", "amount_minor: 1"),
        ("award:", "awards:"),
        ("title: t\n", ""),
        ("  - award", "  - see: {orders: {u1_rain_1_cash_1: accepted}}\n  - award"),
        ("accepted}", "accepted}\n  - see: {wallets: {u1: {CNY/2: {credited: 1, pending: 0}}}}"),
        ("accepted}", "accepted}\n  - see: {wallets: {u1: {}}}"),
        ("accepted}", "accepted}\n  - see: {sent: {bank: [u1_rain_1_cash_1]}}"),
    ] {
        let text = good.replacen(from, to, 1);
        let outcome = std::panic::catch_unwind(|| Case::read(&text).run());
        assert!(outcome.is_err(), "passes:\n{text}");
    }
}
