//! What is wrong with a file: a stable code, a place, a message and help. Problems are collected,
//! never returned one by one, and are kept in bounds whatever the input is (I29).

use crate::source::{FileId, SourceText, Span};
use std::fmt;

/// The most problems that are kept; the rest are counted in a last one ([`Code::TooMany`]).
pub const PROBLEMS_MAX: usize = 200;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        /// A stable code. Codes are never reused or renumbered; `docs/CONFIGURATION.md` lists them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $variant),+ }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Code] = &[$(Code::$variant),+];

            /// The code as it is printed, such as `E0110`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text),+ }
            }
        }
    };
}

codes! {
    /// A file cannot be read, is too large or is not UTF-8.
    File = "E0100",
    /// Not valid YAML.
    Syntax = "E0101",
    /// The same key twice in one map.
    DuplicateKey = "E0102",
    /// A part of YAML that these files do not use: anchors, aliases, tags, several documents.
    Feature = "E0103",
    /// Nested too deeply, or too many entries.
    TooBig = "E0104",
    /// A variable is not set or is empty and has no default.
    Unset = "E0105",
    /// `${` that is not one of the known forms.
    Interpolation = "E0106",
    /// `${NAME}` in a quoted or block scalar, where it is not expanded.
    QuotedVariable = "E0107",
    /// `${` in a key.
    VariableInKey = "E0108",
    /// A key that is not known at this place.
    UnknownKey = "E0110",
    /// A required key or value is missing.
    Missing = "E0111",
    /// A map, a list, text or a number where something else belongs.
    WrongType = "E0112",
    /// A plain word that other YAML readers take for a boolean.
    BooleanWord = "E0113",
    /// Not a number, or not in the unit's grammar.
    BadNumber = "E0114",
    /// Outside of the allowed range.
    OutOfRange = "E0115",
    /// Not one of the known words.
    UnknownWord = "E0116",
    /// Not a valid name, asset, URL, address or text.
    BadText = "E0117",
    /// Not exactly one kind.
    OneKind = "E0118",
    /// A version of the file format that this program does not know.
    Version = "E0119",
    /// An empty map or list where something is needed.
    Empty = "E0120",
    /// A user name or password in a URL; the line is not shown.
    SecretInUrl = "E0121",
    /// A downstream that is not declared.
    UnknownDownstream = "E0130",
    /// A lane that is not declared.
    UnknownLane = "E0131",
    /// A lane in two pools, or twice in one.
    LaneTwice = "E0132",
    /// A reward type in two lanes, or twice in one.
    RewardTypeTwice = "E0133",
    /// A declared reward type without a lane.
    RewardTypeUnserved = "E0134",
    /// A scene's reward type that no campaign declares.
    SceneRewardType = "E0135",
    /// A scene id twice, across all campaigns.
    SceneTwice = "E0136",
    /// A reward type declared differently in two campaigns.
    RewardTypeDiffers = "E0137",
    /// An activity declared in two files.
    ActivityTwice = "E0138",
    /// Two settings that contradict each other.
    Contradiction = "E0140",
    /// Open to other machines without tokens.
    OpenListen = "E0141",
    /// There is no campaign file.
    NoCampaign = "E0142",
    /// A file that would be ignored because of its name.
    FileName = "E0143",
    /// A `key_life` that leaves no time to send anything again.
    ShortKeyLife = "E0144",
    /// More problems than are shown.
    TooMany = "E0199",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One problem. `Display` renders it with its source line and a caret, without colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(crate) code: Code,
    pub(crate) file: String,
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) note: Option<String>,
    pub(crate) help: Option<String>,
    pub(crate) excerpt: Option<Excerpt>,
}

/// The part of the source line that is shown, and where the carets stand in it (in characters).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub(crate) text: String,
    pub(crate) caret: usize,
    pub(crate) width: usize,
}

impl Problem {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The file's name as it was given to the compiler.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1; 0 when the problem is the file itself.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.span.line
    }

    /// The column in characters, from 1; 0 when the problem is the file itself.
    #[must_use]
    pub fn column(&self) -> u32 {
        self.span.column
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Another place that belongs to the problem, if there is one.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// What to do about it, if that can be said.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// A problem of a file as a whole, such as one that cannot be read.
    pub(crate) fn of_file(code: Code, file: &str, message: String, help: Option<&str>) -> Problem {
        Problem {
            code,
            file: file.to_owned(),
            span: Span::default(),
            message,
            note: None,
            help: help.map(str::to_owned),
            excerpt: None,
        }
    }
}

/// What a pure parser of one value says; the walker adds the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Fault {
    pub(crate) fn new(code: Code, message: impl Into<String>, help: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), help: Some(help.into()) }
    }
}

/// Proof that a problem was recorded: only [`Problems`] makes one, so a reader that gives up
/// cannot do so silently.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported(());

/// The collector of one compilation.
#[derive(Debug)]
pub(crate) struct Problems<'t> {
    files: Vec<SourceText<'t>>,
    list: Vec<Problem>,
    dropped: usize,
    /// Keys that stand a second time, with their values.
    repeated: Vec<Span>,
    /// Of a key that stands twice, whether the second value is read instead of the first.
    keeps_last: bool,
}

impl<'t> Problems<'t> {
    pub(crate) fn new(files: Vec<SourceText<'t>>) -> Problems<'t> {
        Problems { files, list: Vec::new(), dropped: 0, repeated: Vec::new(), keeps_last: false }
    }

    /// A collector for another look at the same files that reads what the first one left out: the
    /// values of keys that stand a second time. Nothing when there are none.
    pub(crate) fn second_look(&self) -> Option<Problems<'t>> {
        let again = || Problems { keeps_last: true, ..Problems::new(self.files.clone()) };
        (!self.repeated.is_empty()).then(again)
    }

    /// Takes from a second look what it found in the values that were left out.
    pub(crate) fn add_second_look(&mut self, again: Problems<'_>) {
        let inside = |problem: &Problem| {
            let at = (problem.span.line, problem.span.column);
            self.repeated.iter().any(|left_out| {
                let key = (left_out.line, left_out.column);
                left_out.file == problem.span.file
                    && key < at
                    && at < (left_out.end_line, left_out.end_column)
            })
        };
        let found: Vec<Problem> = again.list.into_iter().filter(inside).collect();
        for problem in found {
            if !self.is_full() && !self.list.contains(&problem) {
                self.list.push(problem);
            }
        }
    }

    pub(crate) fn keeps_last(&self) -> bool {
        self.keeps_last
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether further problems are only counted: help for them need not be looked for.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= PROBLEMS_MAX
    }

    pub(crate) fn text(&self, file: FileId) -> &'t str {
        self.files.get(file.0).map_or("", SourceText::text)
    }

    pub(crate) fn name(&self, file: FileId) -> &str {
        self.files.get(file.0).map_or("", SourceText::name)
    }

    /// Records a problem at a place.
    pub(crate) fn report(&mut self, span: Span, fault: Fault) -> Reported {
        self.report_with_note(span, fault, None)
    }

    /// Records a key that stands a second time; `whole` is the key with its value.
    pub(crate) fn report_repeated(&mut self, span: Span, fault: Fault, first: Span, whole: Span) {
        self.repeated.push(whole);
        self.report_again(span, fault, "first", first);
    }

    /// Records a problem that also points at an earlier place.
    pub(crate) fn report_again(&mut self, span: Span, fault: Fault, said: &str, first: Span) -> Reported {
        let name = self.name(first.file);
        let note = format!("{said} at {name}:{}:{}", first.line, first.column);
        self.report_with_note(span, fault, Some(note))
    }

    /// Proof for a fault whose cause has been recorded already at another place.
    ///
    /// Falls back to an internal fault, so that nothing is ever dropped in silence.
    pub(crate) fn reported_elsewhere(&mut self) -> Reported {
        if self.list.is_empty() {
            let help = "please report this with the file";
            return self.report_file(FileId(0), Fault::new(Code::File, "the file cannot be used", help));
        }
        Reported(())
    }

    /// Records a problem of a file as a whole.
    pub(crate) fn report_file(&mut self, file: FileId, fault: Fault) -> Reported {
        self.report(Span { file, ..Span::default() }, fault)
    }

    fn report_with_note(&mut self, span: Span, fault: Fault, note: Option<String>) -> Reported {
        if self.is_full() {
            self.dropped += 1;
            return Reported(());
        }
        let source = self.files.get(span.file.0);
        let span = source.map_or(span, |source| source.clamped(span));
        self.list.push(Problem {
            code: fault.code,
            file: source.map_or("", SourceText::name).to_owned(),
            excerpt: source
                .filter(|_| fault.code != Code::SecretInUrl)
                .and_then(|source| source.excerpt(span)),
            span,
            message: fault.message,
            note,
            help: fault.help,
        });
        Reported(())
    }

    /// All problems by file, line and column, in the order in which the files were given.
    pub(crate) fn into_list(mut self) -> Vec<Problem> {
        self.list.sort_by_key(|problem| (problem.span.file, problem.span.line, problem.span.column));
        if self.dropped > 0 {
            let last = self.list.last().map_or("", Problem::file).to_owned();
            let message = format!("{} more problems are not shown", self.dropped);
            self.list.push(Problem::of_file(Code::TooMany, &last, message, Some("fix the ones above first")));
        }
        self.list
    }
}

/// Text from a file for a message: in backticks, control characters escaped, user names and
/// passwords masked, at most 60 characters.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    let mut out = String::from("`");
    for (index, char) in masked(text).chars().enumerate() {
        if index == SHOWN_CHARS_MAX {
            out.push('…');
            break;
        }
        if char.is_control() {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
    }
    out.push('`');
    out
}

/// The text with a star for each character that may be of a user name or password: in every word
/// `scheme://user:password@...` or `user:password@...` what stands before the last `@`.
pub(crate) fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        let begin = word.find("://").map_or(0, |at| at + "://".len());
        let end = word.rfind('@').filter(|end| begin <= *end && (begin > 0 || word[..*end].contains(':')));
        let (before, secret, after) = match end {
            Some(end) => (&word[..begin], &word[begin..end], &word[end..]),
            None => (word, "", ""),
        };
        out.push_str(before);
        out.extend(secret.chars().map(|_| '*'));
        out.push_str(after);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_in_order() {
        let texts: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let mut sorted = texts.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(texts, sorted);
    }

    #[test]
    fn shown_text_is_bounded_and_safe_for_a_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb"), "`a\\u{1b}[2Jb`");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), 63);
    }

    #[test]
    fn user_names_and_passwords_are_masked() {
        for (text, expected) in [
            ("http://a/b", "http://a/b"),
            ("http://me:hunter2@a/b", "http://**********@a/b"),
            ("url: ftp://me@a # x@y", "url: ftp://**@a # x@y"),
            ("{url: s3://me:hun/t@er2@a, b: c}", "{url: s3://************@a, b: c}"),
            ("me:hunter2@a", "**********@a"),
            ("\u{7ea2}:\u{5305}@a\tb", "***@a\tb"),
            ("me@a http://a me:1@b", "me@a http://a ****@b"),
            ("a@http://b", "a@http://b"),
        ] {
            assert_eq!(masked(text), expected, "{text}");
            assert_eq!(masked(text).chars().count(), text.chars().count(), "{text}");
        }
        assert_eq!(shown("ftp://me:hunter2@a"), "`ftp://**********@a`");
    }

    #[test]
    fn problems_beyond_the_limit_are_counted_and_not_kept() {
        let mut problems = Problems::new(vec![SourceText::new("t.yaml", "a: 1\n")]);
        for line in 0..PROBLEMS_MAX + 7 {
            let span = Span { line: line as u32, ..Span::default() };
            problems.report(span, Fault::new(Code::Syntax, "x", "y"));
        }
        let list = problems.into_list();
        assert_eq!(list.len(), PROBLEMS_MAX + 1);
        let last = list.last().unwrap();
        assert_eq!((last.code(), last.message()), (Code::TooMany, "7 more problems are not shown"));
    }
}
