//! The judge that sees money alone: without a planted bug it sees none doubled or lost, and what is
//! stored of it shows both for the rules of the protocol.

use hongbao_sim::oracles::money::IDS;
use hongbao_sim::plan::{Judge, of_money};
use hongbao_sim::stored;
use hongbao_sim::trace::Trace;
use hongbao_sim::world::run;

#[test]
fn no_money_is_doubled_or_lost() {
    for seed in 1..=150 {
        let violation = run(&of_money(seed), Trace::default()).violation;
        assert_eq!(violation, None, "seed {seed}");
    }
}

#[test]
fn each_rule_has_a_scenario_that_doubles_or_loses_money() {
    let all = stored::all("scenarios").unwrap();
    // Rule 7 is of the segments' files: `engine/segments/tests/planted.rs`.
    for rule in [1, 2, 3, 4, 5, 6, 8] {
        let of_rule = all.iter().filter(|(name, _)| name.starts_with(&format!("rule-{rule}-")));
        let of_rule: Vec<_> = of_rule.collect();
        assert!(!of_rule.is_empty(), "rule {rule}");
        for (name, stored) in of_rule {
            assert_eq!(stored.plan.judge, Judge::Money, "{name}");
            assert!(IDS.contains(&&*stored.invariant), "{name}: {}", stored.invariant);
        }
    }
}
