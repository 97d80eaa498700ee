//! The typed walker: reads maps with known keys and maps of ids out of the node tree, and records
//! every fault with its place. Readers return `Err` only with proof that they reported.

use crate::keys::{self, Section, listed};
use crate::node::{Entry, Node, NodeKind, Scalar, Style};
use crate::problem::{Code, Fault, Problems, Reported, shown};
use crate::source::Span;
use crate::text::is_boolean_word;

/// A value and the place it was read from.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// What is being read, for messages: where a fault points when there is no better place, and how
/// the thing is called (`rate` of lane `cash`).
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) span: Span,
    pub(crate) called: String,
    /// Whether it is a whole file, which need not be named together with its keys.
    is_root: bool,
}

impl Subject {
    pub(crate) fn new(span: Span, called: String) -> Subject {
        Subject { span, called, is_root: false }
    }

    /// The whole file.
    pub(crate) fn root(node: &Node, called: &str) -> Subject {
        Subject { span: node.span.start(), called: called.to_owned(), is_root: true }
    }

    /// How a key of it is called.
    fn key(&self, key: &str) -> String {
        if self.is_root { format!("`{key}`") } else { format!("`{key}` of {}", self.called) }
    }
}

/// A map with known keys, while it is read.
#[derive(Debug)]
pub(crate) struct Fields<'n> {
    subject: Subject,
    entries: &'n [Entry],
    /// Keys that an unknown one was most likely meant to be: not reported as missing as well.
    meant: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Opens a map and reports its unknown keys.
    pub(crate) fn open(
        problems: &mut Problems<'_>,
        node: &'n Node,
        subject: Subject,
        section: &Section,
    ) -> Result<Fields<'n>, Reported> {
        let mut fields = Fields::unchecked(problems, node, subject)?;
        for entry in fields.entries.iter().filter(|entry| !section.keys.contains(&entry.key.text.as_str())) {
            let unknown = entry.key.text.as_str();
            if let keys::Hint::Meant(key) = keys::hint(section, unknown) {
                fields.meant.push(key);
            }
            let message = format!("unknown key {} in {}", shown(unknown), fields.subject.called);
            let help = keys::help(section, unknown);
            problems.report(entry.key.span, Fault::new(Code::UnknownKey, message, help));
        }
        Ok(fields)
    }

    /// Opens a map without a look at its keys.
    pub(crate) fn unchecked(
        problems: &mut Problems<'_>,
        node: &'n Node,
        subject: Subject,
    ) -> Result<Fields<'n>, Reported> {
        let entries = map_entries(problems, node, &subject)?;
        Ok(Fields { subject, entries, meant: Vec::new() })
    }

    /// The value of a key that may be left out. A variable that gave nothing counts as left out.
    pub(crate) fn get(&self, key: &str) -> Option<(&'n Node, Subject)> {
        let entry = self.entries.iter().find(|entry| entry.key.text == key)?;
        if matches!(&entry.value.kind, NodeKind::Scalar(scalar) if scalar.is_blanked()) {
            return None;
        }
        Some((&entry.value, Subject::new(entry.key.span, self.subject.key(key))))
    }

    /// Whether an unknown key was most likely meant to be this one.
    pub(crate) fn is_misspelt(&self, key: &str) -> bool {
        self.meant.contains(&key)
    }

    /// The place of a key, or of the whole map when it is left out.
    pub(crate) fn place(&self, key: &str) -> Span {
        let entry = self.entries.iter().find(|entry| entry.key.text == key);
        entry.map_or(self.subject.span, |entry| entry.key.span)
    }

    /// The value of a key that must be there.
    pub(crate) fn need(
        &self,
        problems: &mut Problems<'_>,
        key: &str,
    ) -> Result<(&'n Node, Subject), Reported> {
        self.get(key).ok_or_else(|| self.missing(problems, key))
    }

    /// Reports that a required key is missing or empty.
    pub(crate) fn missing(&self, problems: &mut Problems<'_>, key: &str) -> Reported {
        if let Some(entry) = self.entries.iter().find(|entry| entry.key.text == key) {
            let message = format!("{} is empty", self.subject.key(key));
            let help = "the variable is set to nothing: set it, or give a default with `:-`";
            return problems.report(entry.value.span, Fault::new(Code::Missing, message, help));
        }
        if self.is_misspelt(key) {
            // The unknown key that looks like this one has been reported: one fault, one problem.
            return problems.reported_elsewhere();
        }
        let message = format!("{} has no `{key}`", self.subject.called);
        problems.report(self.subject.span, Fault::new(Code::Missing, message, keys::add(key)))
    }

    /// Reads a required scalar.
    pub(crate) fn required<T>(
        &self,
        problems: &mut Problems<'_>,
        key: &str,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Result<T, Reported> {
        let (node, subject) = self.need(problems, key)?;
        scalar(problems, node, &subject, read)
    }

    /// Reads an optional scalar.
    pub(crate) fn optional<T>(
        &self,
        problems: &mut Problems<'_>,
        key: &str,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Result<Option<T>, Reported> {
        self.get(key).map(|(node, subject)| scalar(problems, node, &subject, read)).transpose()
    }

    /// Reads a whole number or a truth value, which must stand without quotes.
    pub(crate) fn optional_plain<T>(
        &self,
        problems: &mut Problems<'_>,
        key: &str,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Result<Option<T>, Reported> {
        let Some((node, subject)) = self.get(key) else { return Ok(None) };
        plain(problems, node, &subject, read).map(Some)
    }

    /// As [`Fields::optional_plain`] for a key that must be there.
    pub(crate) fn required_plain<T>(
        &self,
        problems: &mut Problems<'_>,
        key: &str,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Result<T, Reported> {
        let (node, subject) = self.need(problems, key)?;
        plain(problems, node, &subject, read)
    }

    /// The single key of a map whose key is the kind of the thing.
    pub(crate) fn kind(
        &self,
        problems: &mut Problems<'_>,
        section: &Section,
    ) -> Result<(&'n str, &'n Node, Subject), Reported> {
        let known = |entry: &&Entry| section.keys.contains(&entry.key.text.as_str());
        let kinds: Vec<&Entry> = self.entries.iter().filter(known).collect();
        if let [only] = kinds.as_slice() {
            let kind = only.key.text.as_str();
            return Ok((kind, &only.value, Subject::new(only.key.span, self.subject.key(kind))));
        }
        let help = format!("give exactly one of {}", listed(section.keys));
        let (span, message) = match kinds.get(1) {
            Some(second) => (second.key.span, format!("{} has {} kinds", self.subject.called, kinds.len())),
            None if self.entries.is_empty() => {
                (self.subject.span, format!("{} has no kind", self.subject.called))
            }
            // Only unknown keys, each of them reported with help.
            None => return Err(problems.reported_elsewhere()),
        };
        Err(problems.report(span, Fault::new(Code::OneKind, message, help)))
    }
}

fn map_entries<'n>(
    problems: &mut Problems<'_>,
    node: &'n Node,
    subject: &Subject,
) -> Result<&'n [Entry], Reported> {
    match &node.kind {
        NodeKind::Map(entries) => Ok(entries),
        NodeKind::Broken(reported) => Err(*reported),
        NodeKind::Scalar(_) | NodeKind::List(_) => {
            let message = format!("{} must be a map, found {}", subject.called, node.found());
            let help = "write `key: value` lines indented below it, or `{key: value}`; `{}` for an empty one";
            let span = if node.found() == "nothing" { subject.span } else { node.span };
            Err(problems.report(span, Fault::new(Code::WrongType, message, help)))
        }
    }
}

/// One entry of a map of ids.
#[derive(Debug)]
pub(crate) struct IdEntry<'n> {
    pub(crate) id: &'n str,
    pub(crate) span: Span,
    pub(crate) subject: Subject,
    pub(crate) node: &'n Node,
    /// Whether the id is well formed.
    pub(crate) checked: Result<(), Reported>,
}

/// What the ids of a map name, how many there may be, and what they look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    pub(crate) what: &'static str,
    pub(crate) most: usize,
    pub(crate) check: fn(&str) -> Result<String, Fault>,
}

/// The entries of a map of ids. A bad id is reported and kept, so that what refers to it is not
/// reported as well.
pub(crate) fn ids<'n>(
    problems: &mut Problems<'_>,
    node: &'n Node,
    subject: &Subject,
    kind: &Ids,
) -> Result<Vec<IdEntry<'n>>, Reported> {
    let entries = map_entries(problems, node, subject)?;
    if entries.len() > kind.most {
        let message = format!("{} holds {} entries; at most {}", subject.called, entries.len(), kind.most);
        let help = "split what is served into several deployments";
        return Err(problems.report(subject.span, Fault::new(Code::TooBig, message, help)));
    }
    let mut out = Vec::with_capacity(entries.len());
    for entry in entries {
        let (id, span) = (entry.key.text.as_str(), entry.key.span);
        let checked = if entry.key.plain && is_boolean_word(id) {
            Err(boolean_word(id))
        } else {
            (kind.check)(id).map(|_| ())
        };
        let checked = checked.map_err(|fault| problems.report(span, fault));
        let called = format!("{} {}", kind.what, shown(id));
        let subject = Subject::new(span, called);
        out.push(IdEntry { id, span, subject, node: &entry.value, checked });
    }
    Ok(out)
}

/// A list of scalars, each with its place. The good ones are returned beside the verdict, so that
/// checks across the file can go on.
pub(crate) fn list<T>(
    problems: &mut Problems<'_>,
    node: &Node,
    subject: &Subject,
    read: impl Fn(&str) -> Result<T, Fault>,
) -> (Vec<At<T>>, Result<(), Reported>) {
    let items = match &node.kind {
        NodeKind::List(items) => items,
        NodeKind::Broken(reported) => return (Vec::new(), Err(*reported)),
        NodeKind::Scalar(_) | NodeKind::Map(_) => {
            let message = format!("{} must be a list, found {}", subject.called, node.found());
            let fault = Fault::new(Code::WrongType, message, "write `[a, b]`; a single one is `[a]`");
            let span = if node.found() == "nothing" { subject.span } else { node.span };
            return (Vec::new(), Err(problems.report(span, fault)));
        }
    };
    let mut verdict = Ok(());
    if items.is_empty() {
        let fault = Fault::new(Code::Empty, format!("{} is empty", subject.called), "name at least one");
        verdict = Err(problems.report(node.span.start(), fault));
    }
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        let subject = Subject::new(item.span, format!("an item of {}", subject.called));
        match scalar(problems, item, &subject, &read) {
            Ok(value) => values.push(At { value, span: item.span }),
            Err(reported) => verdict = Err(reported),
        }
    }
    (values, verdict)
}

/// Reads one scalar by a pure parser.
pub(crate) fn scalar<T>(
    problems: &mut Problems<'_>,
    node: &Node,
    subject: &Subject,
    read: impl Fn(&str) -> Result<T, Fault>,
) -> Result<T, Reported> {
    let scalar = as_scalar(problems, node, subject)?;
    let result = match scalar.style {
        Style::Plain if scalar.written.is_none() && is_boolean_word(&scalar.text) => {
            // `true` is for truth values only; those are read by `plain`.
            Err(boolean_word(&scalar.text))
        }
        _ => read(&scalar.text),
    };
    result.map_err(|fault| problems.report(node.span, located(fault, scalar, subject)))
}

/// Reads one scalar that must stand without quotes: a number or a truth value.
pub(crate) fn plain<T>(
    problems: &mut Problems<'_>,
    node: &Node,
    subject: &Subject,
    read: impl Fn(&str) -> Result<T, Fault>,
) -> Result<T, Reported> {
    let scalar = as_scalar(problems, node, subject)?;
    let result = if scalar.style == Style::Plain {
        read(&scalar.text)
    } else {
        let message = format!("{} is text", shown(&scalar.text));
        Err(Fault::new(Code::WrongType, message, "remove the quotes"))
    };
    result.map_err(|fault| problems.report(node.span, located(fault, scalar, subject)))
}

fn as_scalar<'n>(
    problems: &mut Problems<'_>,
    node: &'n Node,
    subject: &Subject,
) -> Result<&'n Scalar, Reported> {
    let fault = match &node.kind {
        NodeKind::Scalar(scalar) if !scalar.is_null() => return Ok(scalar),
        NodeKind::Scalar(_) => {
            let message = format!("{} has no value", subject.called);
            return Err(problems
                .report(subject.span, Fault::new(Code::Missing, message, "write one behind the colon")));
        }
        NodeKind::Broken(reported) => return Err(*reported),
        NodeKind::List(_) | NodeKind::Map(_) => {
            let message = format!("{} must be a single value, found {}", subject.called, node.found());
            Fault::new(Code::WrongType, message, "write one value behind the colon")
        }
    };
    Err(problems.report(node.span.start(), fault))
}

/// Says whose value it is, and hides what a variable gave: it may be a secret.
fn located(fault: Fault, scalar: &Scalar, subject: &Subject) -> Fault {
    let message = match &scalar.written {
        Some(written) => {
            let value = shown(&scalar.text);
            let hidden = format!("the value of {}", shown(written));
            let message = match fault.message.strip_prefix(value.as_str()) {
                Some(rest) if !rest.contains(value.as_str()) => format!("{hidden}{rest}"),
                None if !fault.message.contains(value.as_str()) => fault.message,
                _ => format!("{hidden} does not fit"),
            };
            format!("{}: {message}", subject.called)
        }
        None => format!("{}: {}", subject.called, fault.message),
    };
    Fault { message, ..fault }
}

fn boolean_word(text: &str) -> Fault {
    let message = format!("{} is read as a truth value by other YAML tools", shown(text));
    Fault::new(Code::BooleanWord, message, format!("quote it: `\"{text}\"`, or choose another word"))
}

/// Reads `true` or `false`.
pub(crate) fn truth(text: &str) -> Result<bool, Fault> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => {
            let lower = text.to_ascii_lowercase();
            let meant = match lower.as_str() {
                "yes" | "on" | "y" | "true" => Some("true"),
                "no" | "off" | "n" | "false" => Some("false"),
                _ => None,
            };
            let message = format!("{} is neither `true` nor `false`", shown(text));
            Err(match meant {
                Some(word) => Fault::new(Code::BooleanWord, message, format!("write `{word}`")),
                None => Fault::new(Code::UnknownWord, message, "write `true` or `false`"),
            })
        }
    }
}

/// A parser whose result must lie between two bounds, both included.
pub(crate) fn between<T: PartialOrd + Copy>(
    parse: impl Fn(&str) -> Result<T, Fault>,
    min: T,
    max: T,
    show: impl Fn(T) -> String,
) -> impl Fn(&str) -> Result<T, Fault> {
    move |text| {
        let value = parse(text)?;
        if value < min || value > max {
            let message = format!("{} is outside of {} to {}", shown(text), show(min), show(max));
            let help = format!("choose a value from {} to {}", show(min), show(max));
            return Err(Fault::new(Code::OutOfRange, message, help));
        }
        Ok(value)
    }
}

/// A parser of one of some words.
pub(crate) fn one_of<T: Copy>(
    what: &'static str,
    words: &'static [&'static str],
    value: impl Fn(usize) -> T,
) -> impl Fn(&str) -> Result<T, Fault> {
    move |text| match words.iter().position(|word| *word == text) {
        Some(index) => Ok(value(index)),
        None => {
            let message = format!("{} is not a {what}", shown(text));
            let help = match keys::nearest(words, text) {
                Some(near) => format!("did you mean `{near}`? known: {}", listed(words)),
                None => format!("known: {}", listed(words)),
            };
            Err(Fault::new(Code::UnknownWord, message, help))
        }
    }
}
