//! Problems as text, in the manner of rustc: code, place, source line, carets, notes and help.

use crate::problem::Problem;
use std::fmt;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error[{}]: {}", self.code(), self.message())?;
        let number = self.line().to_string();
        let margin = " ".repeat(number.len());
        match &self.excerpt {
            Some(excerpt) => {
                writeln!(f, "{margin}--> {}:{}:{}", self.file(), self.line(), self.column())?;
                writeln!(f, "{margin} |")?;
                writeln!(f, "{number} | {}", excerpt.text)?;
                let before: usize = excerpt.text.chars().take(excerpt.caret).map(cells).sum();
                let under: usize =
                    excerpt.text.chars().skip(excerpt.caret).take(excerpt.width).map(cells).sum();
                writeln!(f, "{margin} | {}{}", " ".repeat(before), "^".repeat(under.max(1)))?;
            }
            None if self.line() == 0 => writeln!(f, "{margin}--> {}", self.file())?,
            None => writeln!(f, "{margin}--> {}:{}:{}", self.file(), self.line(), self.column())?,
        }
        if let Some(note) = self.note() {
            writeln!(f, "{margin} = note: {note}")?;
        }
        if let Some(help) = self.help() {
            writeln!(f, "{margin} = help: {help}")?;
        }
        Ok(())
    }
}

/// All problems, a blank line between them.
#[must_use]
pub fn render(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// How many terminal cells a character takes: two for the wide ones of East Asian scripts, so
/// that carets stand below what they mean in a line with a Chinese bill text.
fn cells(char: char) -> usize {
    let wide = matches!(char as u32,
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd);
    if wide { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Code, Fault, Problems};
    use crate::source::{SourceText, Span};

    fn one(text: &str, span: Span, fault: Fault) -> String {
        let mut problems = Problems::new(vec![SourceText::new("topology.yaml", text)]);
        problems.report(span, fault);
        render(&problems.into_list())
    }

    #[test]
    fn looks_like_rustc() {
        let span = Span { line: 2, column: 9, end_line: 2, end_column: 12, ..Span::default() };
        let fault = Fault::new(Code::UnknownKey, "unknown key `rat` in lane `cash`", "did you mean `rate`?");
        let expected = "\
error[E0110]: unknown key `rat` in lane `cash`
 --> topology.yaml:2:9
  |
2 | cash: { rat: 5/s }
  |         ^^^
  = help: did you mean `rate`?
";
        assert_eq!(one("lanes:\ncash: { rat: 5/s }\n", span, fault), expected);
    }

    #[test]
    fn carets_stand_below_what_they_mean_after_wide_characters() {
        let span = Span { line: 1, column: 5, end_line: 1, end_column: 7, ..Span::default() };
        let shown = one("红包: 雨雨!", span, Fault::new(Code::BadText, "m", "h"));
        assert!(shown.contains("\n  |       ^^^^\n"), "{shown}");
    }

    #[test]
    fn a_file_as_a_whole_has_no_excerpt() {
        let problem = Problem::of_file(Code::File, "x.yaml", "cannot be read".to_owned(), Some("look"));
        assert_eq!(problem.to_string(), "error[E0100]: cannot be read\n --> x.yaml\n  = help: look\n");
    }
}
