//! Whatever the files hold: no panic, bounded answers, and places that exist.

use super::support::{CAMPAIGN, TOPOLOGY, compile_with};
use hongbao_topology::{PROBLEMS_MAX, Problem, render};
use proptest::prelude::*;

/// What must hold of any answer about any text.
fn sound(topology: &str, campaign: &str) -> Result<(), TestCaseError> {
    let variables = [("A", "x"), ("B", "5ms"), ("C", "")];
    let Err(problems) = compile_with(topology, campaign, &variables) else { return Ok(()) };
    prop_assert!(!problems.is_empty() && problems.len() <= PROBLEMS_MAX + 1);
    let place = |problem: &Problem| (problem.file() != "topology.yaml", problem.line(), problem.column());
    // The last one may only count what is not shown.
    prop_assert!(problems[..problems.len() - 1].is_sorted_by_key(place));
    for problem in &problems {
        let text = if problem.file() == "topology.yaml" { topology } else { campaign };
        prop_assert!(problem.line() as usize <= text.matches(['\n', '\r']).count() + 1);
    }
    prop_assert!(render(&problems).len() <= problems.len() * 4096 + 64);
    Ok(())
}

/// Pieces that parsers stumble over.
const PIECES: &[&str] = &[
    "version: 1",
    "name: ",
    "partitions: 8",
    "log:",
    "segments:",
    "downstreams:",
    "lanes:",
    "pools:",
    "embedded: {}",
    "rate: 5/s",
    "{",
    "}",
    "[",
    "]",
    "- ",
    ": ",
    ", ",
    "\n",
    "\n  ",
    "\n    ",
    "\t",
    "#",
    "\"",
    "'",
    "&a ",
    "*a",
    "!t ",
    "<<: ",
    "? ",
    "|",
    ">",
    "---\n",
    "...",
    "%YAML 1.1\n",
    "${A}",
    "${B:-1}",
    "${C:?m}",
    "${",
    "$${",
    "yes",
    "null",
    "~",
    "\u{feff}",
    "红",
    "\u{85}",
    "\u{1b}",
    "\r\n",
    "\r",
    "\0",
];

fn piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(PIECES).prop_map(str::to_owned);
    prop_oneof![8 => known, 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        sound(&text, CAMPAIGN)?;
        sound(TOPOLOGY, &text)?;
    }

    #[test]
    fn random_yaml(pieces in prop::collection::vec(piece(), 0..60)) {
        let text = pieces.concat();
        sound(&text, CAMPAIGN)?;
        sound(TOPOLOGY, &text)?;
    }

    #[test]
    fn good_files_with_a_random_wound(at in 0usize..2000, length in 0usize..40, pieces in prop::collection::vec(piece(), 0..4)) {
        for (index, text) in [TOPOLOGY, CAMPAIGN].into_iter().enumerate() {
            let chars: Vec<char> = text.chars().collect();
            let from = at % chars.len();
            let to = (from + length).min(chars.len());
            let before: String = chars[..from].iter().collect();
            let after: String = chars[to..].iter().collect();
            let wounded = [before, pieces.concat(), after].concat();
            if index == 0 { sound(&wounded, CAMPAIGN)? } else { sound(TOPOLOGY, &wounded)? }
        }
    }
}

#[test]
fn huge_files_get_short_answers() {
    let texts = [
        "a: 1\n".repeat(200_000),
        "[".repeat(1_000_000),
        "{".repeat(1_000_000),
        "- ".repeat(500_000),
        "? ".repeat(500_000),
        (0..40_000).map(|n| format!("key{n}: 1\n")).collect(),
        format!("name: {}", "x".repeat(1_000_000)),
        format!("lanes: {{{}}}", (0..9_000).map(|n| format!("l{n}: {{}}")).collect::<Vec<_>>().join(", ")),
        (0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect(),
        (0..20_000).map(|n| format!("lanes{n}:\n  a: {{downstream: x}}\n")).collect(),
        "x".repeat(2_000_000),
        "&a ".repeat(300_000),
        "${".repeat(400_000),
    ];
    for text in texts {
        for (topology, campaign) in [(text.as_str(), CAMPAIGN), (TOPOLOGY, text.as_str())] {
            let problems = compile_with(topology, campaign, &[]).unwrap_err();
            assert!(problems.len() <= PROBLEMS_MAX + 1);
            assert!(render(&problems).len() < 200_000);
        }
    }
    let scene = |n: usize| format!("  s-{n}: {{reward_type: coupon.nothing{n}}}\n");
    let many: String = (0..5_000).map(scene).collect();
    let campaign = format!("version: 1\nactivity: base\nscenes:\n{many}");
    let problems = compile_with(TOPOLOGY, &campaign, &[]).unwrap_err();
    assert_eq!(problems.len(), PROBLEMS_MAX + 1);
}
