//! What an audit found, a line for each invariant.

use hongbao_audit::{Invariant, Line, Report};
use serde_json::{Value, json};

use crate::cli::Output;
use crate::exit::Failure;
use crate::output::{grouped, print_json, print_lines};

/// Prints the report on stdout.
pub fn print(report: &Report, output: Output) -> Result<(), Failure> {
    match output {
        Output::Text => print_lines(&text(report)),
        output => print_json(&json(report), output),
    }
}

fn text(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for invariant in Invariant::ALL {
        let line = report.line(invariant);
        let word = if line.findings == 0 { "ok" } else { "FAIL" };
        let (id, what, checked) = (invariant.id(), invariant.what(), checked(&line));
        lines.push(format!("{id:<4} {word:<4}  {what:<41}  {checked}").trim_end().to_owned());
        lines.extend(findings(&line).iter().map(|finding| format!("       {finding}")));
    }
    lines
}

fn json(report: &Report) -> Value {
    let lines = Invariant::ALL.into_iter().map(|invariant| {
        let line = report.line(invariant);
        json!({
            "invariant": invariant.id(),
            "ok": line.findings == 0,
            "what": invariant.what(),
            "checked": checked(&line),
            "findings": findings(&line),
        })
    });
    lines.collect()
}

fn checked(line: &Line) -> String {
    let parts: Vec<String> =
        line.checked.iter().map(|(unit, count)| format!("{} {unit}", grouped(count))).collect();
    if parts.is_empty() { "nothing to look at".to_owned() } else { parts.join(", ") }
}

fn findings(line: &Line) -> Vec<String> {
    let mut findings = line.details.clone();
    let more = line.findings - findings.len() as u64;
    if more > 0 {
        findings.push(format!("and {} more", grouped(more)));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_follow_their_line() {
        let mut report = Report::new();
        report.checked(Invariant::I2, "order numbers", 8_123_456);
        for offset in 0..12 {
            report.find(Invariant::I15, format_args!("journal/3@{offset}"));
        }
        let text = text(&report);
        assert_eq!(text[1], "I2   ok    at most one accept per order number        8,123,456 order numbers");
        let at = text.iter().position(|line| line.starts_with("I15")).unwrap();
        assert_eq!(text[at], "I15  FAIL  wallets, totals and ledgers agree          nothing to look at");
        assert_eq!((&*text[at + 1], &*text[at + 11]), ("       journal/3@0", "       and 2 more"));

        let json = json(&report);
        let broken: Vec<&Value> =
            json.as_array().unwrap().iter().filter(|line| line["ok"] == false).collect();
        assert_eq!(broken.len(), 1);
        assert_eq!(
            (&broken[0]["invariant"], broken[0]["findings"].as_array().unwrap().len()),
            (&json!("I15"), 11)
        );
        assert_eq!(json[1]["checked"], "8,123,456 order numbers");
    }
}
