//! Text for people: aligned tables and numbers that can be read.

use std::io::Write;

use serde_json::Value;

use crate::cli::Output;
use crate::exit::Failure;

/// A number with thousands separated by commas.
pub fn grouped(number: impl std::fmt::Display) -> String {
    let text = number.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}")
}

/// An amount in its asset's unit, such as `CNY 18.88` or `COUPON 3`.
pub fn amount(asset: &str, minor: i64) -> String {
    let (code, scale) = asset.split_once('/').unwrap_or((asset, "0"));
    let scale: usize = scale.parse().unwrap_or(0);
    let digits = minor.unsigned_abs().to_string();
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if minor < 0 { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    format!("{code} {sign}{}{point}{fraction}", grouped(whole))
}

/// Lines of an aligned table; the first column is left-aligned, as is each that `left` names.
pub fn table(header: &[&str], rows: &[Vec<String>], left: &[usize]) -> Vec<String> {
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
            cells.chain([header[column].chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let is_left = column == 0 || left.contains(&column);
            if is_left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines
}

/// Prints lines on stdout. A reader that has gone away is no failure.
pub fn print_lines(lines: &[String]) -> Result<(), Failure> {
    is_read(lines).map(drop)
}

/// As [`print_lines`]; false when the reader has gone away, for whoever would print for ever.
pub fn is_read(lines: &[String]) -> Result<bool, Failure> {
    let mut stdout = std::io::stdout().lock();
    for line in lines {
        match writeln!(stdout, "{line}") {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Prints a JSON value in the form asked for: `ndjson` has a line for each element of an array.
pub fn print_json(value: &Value, output: Output) -> Result<(), Failure> {
    let lines = match (output, value) {
        (Output::Ndjson, Value::Array(elements)) => elements.iter().map(Value::to_string).collect(),
        (Output::Ndjson, value) => vec![value.to_string()],
        (_, value) => vec![format!("{value:#}")],
    };
    print_lines(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_amounts_read_well() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        for (asset, minor, text) in [
            ("CNY/2", 1888, "CNY 18.88"),
            ("CNY/2", 5, "CNY 0.05"),
            ("CNY/2", -123_456, "CNY -1,234.56"),
            ("COUPON/0", 3, "COUPON 3"),
            ("ODD", 3, "ODD 3"),
        ] {
            assert_eq!(amount(asset, minor), text);
        }
    }

    #[test]
    fn tables_are_aligned() {
        let rows = vec![vec!["cash".to_owned(), "12".to_owned()], vec!["a".to_owned(), "3,456".to_owned()]];
        assert_eq!(table(&["LANE", "SENT"], &rows, &[]), ["LANE   SENT", "cash     12", "a     3,456"]);
    }
}
