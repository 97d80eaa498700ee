//! Thread interleavings of the product's own code, chosen by a scheduler instead of by chance.
//! What is here runs a scenario many times; the scenarios are the tests.

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};

/// Runs of a scenario in the ordinary tests; `HONGBAO_INTERLEAVINGS` sets another number.
const RUNS: usize = 300;
/// Preemptions that the second half of the runs places with care.
const PREEMPTIONS: usize = 4;

/// What is no number from 1 on is refused: whoever asked for something shall not get something else.
fn runs() -> usize {
    let Some(text) = std::env::var_os("HONGBAO_INTERLEAVINGS") else { return RUNS };
    match text.to_str().and_then(|text| text.parse().ok()) {
        Some(runs) if runs > 0 => runs,
        _ => panic!("HONGBAO_INTERLEAVINGS is a number from 1 on, not {}", text.display()),
    }
}

fn run(scheduler: impl Scheduler + 'static, scenario: fn()) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.failure_persistence = FailurePersistence::Print;
    Runner::new(scheduler, config).run(scenario);
}

/// Runs a scenario under many schedules: half of them random, half with few preemptions at places
/// chosen so that each bug of that depth is likely to be met. Panics where the scenario does, and
/// where its threads wait for each other or for a wake-up that never comes; what is printed then
/// lets `shuttle::replay` repeat that one run.
pub fn explore(scenario: fn()) {
    let runs = runs();
    run(RandomScheduler::new(runs.div_ceil(2)), scenario);
    run(PctScheduler::new(PREEMPTIONS, runs / 2), scenario);
}
