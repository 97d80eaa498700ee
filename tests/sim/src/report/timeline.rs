//! A violation for people: the steps of its plan, and what happened, with the lines about the order
//! concerned marked.

use std::fmt::Write as _;

use crate::oracles::Violation;
use crate::plan::Plan;
use crate::trace::{Line, Trace};
use crate::world::run;

/// Lines of a history shown at most.
const LINES_MAX: usize = 250;

/// Plays the plan once more and tells its story.
#[must_use]
pub fn story(plan: &Plan) -> String {
    let played = run(plan, Trace::verbose());
    let mut text = String::new();
    let Some(violation) = &played.violation else { return "the plan breaks nothing\n".to_owned() };
    let Violation { invariant, what, order_no } = violation;
    // Writing to a string does not fail.
    let _ok = writeln!(text, "{invariant}: {what}");
    let _ok =
        writeln!(text, "seed {}, {} steps, {} events", plan.options.seed, plan.steps.len(), played.events);
    let _ok = writeln!(text, "options: {}", serde_json::to_string(&plan.options).unwrap_or_default());
    for step in &plan.steps {
        let _ok = writeln!(
            text,
            "  step {:>7} ms  {}",
            step.at_ms,
            serde_json::to_string(&step.op).unwrap_or_default()
        );
    }
    let lines = played.trace.lines();
    let kept = choose(&lines, order_no.as_deref());
    if kept.len() < lines.len() {
        let _ok = writeln!(text, "{} of {} events:", kept.len(), lines.len());
    }
    for line in kept {
        let is_of_order = order_no.as_deref().is_some_and(|order_no| line.text.contains(order_no));
        let mark = if is_of_order { '*' } else { ' ' };
        let _ok = writeln!(text, "{mark} {:>8} ms  {}", line.at_ms, line.text);
    }
    text
}

/// All lines if there are few; else those about the order, about processes and faults, and the end.
fn choose<'a>(lines: &'a [Line], order_no: Option<&str>) -> Vec<&'a Line> {
    if lines.len() <= LINES_MAX {
        return lines.iter().collect();
    }
    let is_of_order = |line: &Line| order_no.is_some_and(|order_no| line.text.contains(order_no));
    let is_turn = |line: &Line| {
        ["start", "end", "operator", "op", "heal", "log.cut"]
            .contains(&line.text.split(' ').next().unwrap_or_default())
    };
    let tail = lines.len() - 40;
    let chosen =
        lines.iter().enumerate().filter(|(at, line)| *at >= tail || is_of_order(line) || is_turn(line));
    let chosen: Vec<&Line> = chosen.map(|(_, line)| line).collect();
    let surplus = chosen.len().saturating_sub(LINES_MAX);
    chosen.into_iter().skip(surplus).collect()
}
