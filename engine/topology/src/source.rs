//! A source text and places in it: lines as YAML counts them, and the excerpt shown with a problem.

use crate::problem::{Excerpt, masked};

/// Which of the given files; 0 is the topology.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId(pub(crate) usize);

/// A stretch of a file. Lines and columns count from 1, columns in characters; the end is
/// exclusive. Line 0 means the file as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) file: FileId,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) end_line: u32,
    pub(crate) end_column: u32,
}

impl Span {
    /// The first character only: carets under a whole map would say nothing.
    pub(crate) fn start(self) -> Span {
        Span { end_line: self.line, end_column: self.column.saturating_add(1), ..self }
    }
}

/// The most characters of a source line that are shown.
const EXCERPT_CHARS_MAX: usize = 140;
/// How many characters before the caret are kept when a line is longer than that.
const EXCERPT_CHARS_BEFORE: usize = 70;

/// A named text, cut into lines once.
#[derive(Clone, Debug)]
pub(crate) struct SourceText<'t> {
    name: String,
    text: &'t str,
    lines: Vec<&'t str>,
}

impl<'t> SourceText<'t> {
    pub(crate) fn new(name: &str, text: &'t str) -> SourceText<'t> {
        SourceText { name: name.to_owned(), text, lines: split_lines(text) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    /// The span within the text: the parser places the end of the input on a line of its own.
    pub(crate) fn clamped(&self, span: Span) -> Span {
        let lines = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        if span.line <= lines {
            return span;
        }
        let length = self.lines.last().map_or(0, |line| line.chars().count());
        let column = u32::try_from(length).unwrap_or(u32::MAX).saturating_add(1);
        Span { line: lines, column, ..span }.start()
    }

    /// The line of `span` with the place of the carets, cut around them when it is long.
    pub(crate) fn excerpt(&self, span: Span) -> Option<Excerpt> {
        let index = (span.line as usize).checked_sub(1)?;
        // As many characters as before, so that the carets stand right.
        let line = masked(self.lines.get(index).copied().unwrap_or(""));
        let column = (span.column as usize).saturating_sub(1);
        let from = if line.chars().nth(EXCERPT_CHARS_MAX).is_some() {
            column.saturating_sub(EXCERPT_CHARS_BEFORE)
        } else {
            0
        };
        let text: String = line
            .chars()
            .skip(from)
            .take(EXCERPT_CHARS_MAX)
            .map(|char| if char.is_control() || char == '\u{feff}' { ' ' } else { char })
            .collect();
        let length = text.chars().count();
        let caret = (column - from).min(length);
        let end = if span.end_line > span.line {
            length
        } else {
            (span.end_column as usize).saturating_sub(1 + from)
        };
        Some(Excerpt { width: end.min(length).saturating_sub(caret).max(1), text, caret })
    }
}

/// YAML ends a line with LF, CR LF or CR.
fn split_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\n', '\r']) {
        let (line, tail) = rest.split_at(at);
        lines.push(line);
        let crlf = tail.strip_prefix("\r\n");
        rest = crlf.or_else(|| tail.strip_prefix(['\n', '\r'])).unwrap_or("");
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_in_yaml() {
        assert_eq!(split_lines("a\nb\r\nc\rd\n"), ["a", "b", "c", "d", ""]);
        assert_eq!(split_lines(""), [""]);
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let text = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let source = SourceText::new("t", &text);
        let span = Span { line: 1, column: 5001, end_line: 1, end_column: 5002, ..Span::default() };
        let excerpt = source.excerpt(span).unwrap();
        assert_eq!(excerpt.text.chars().count(), EXCERPT_CHARS_MAX);
        assert_eq!(excerpt.text.chars().nth(excerpt.caret), Some('X'));
        assert_eq!(excerpt.width, 1);
    }

    #[test]
    fn places_outside_of_the_text_are_harmless() {
        let source = SourceText::new("t", "ab");
        for (line, column) in [(1, 900), (7, 1), (u32::MAX, u32::MAX), (0, 0)] {
            let span = Span { line, column, end_line: line, end_column: 3, ..Span::default() };
            let excerpt = source.excerpt(span);
            assert_eq!(excerpt.is_none(), line == 0);
        }
    }
}
