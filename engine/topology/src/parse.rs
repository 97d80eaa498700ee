//! From YAML events to the node tree. Everything these files do not need is refused by name:
//! anchors, aliases, tags, several documents, keys that are not words. Size and nesting are bounded.

use crate::node::{Entry, Key, Node, NodeKind, Scalar, Style};
use crate::problem::{Code, Fault, Problems, Reported, shown};
use crate::source::{FileId, Span};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};
use std::collections::BTreeMap;

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// The deepest nesting of maps and lists.
pub const DEPTH_MAX: usize = 16;
/// The most keys and values in one file.
pub const NODES_MAX: usize = 50_000;

/// Parses one file. `Err` when there is no tree to read on in; smaller faults are reported and
/// leave a [`NodeKind::Broken`] behind.
pub(crate) fn parse(file: FileId, problems: &mut Problems<'_>) -> Result<Node, Reported> {
    let text = problems.text(file);
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", text.len());
        return Err(problems.report_file(file, Fault::new(Code::File, message, "split the campaigns")));
    }
    let last = Span { file, ..Span::default() };
    let mut builder =
        Builder { file, events: Parser::new_from_str(text), problems, nodes: 0, depth: 0, text, last };
    builder.document()
}

type Events<'t> = Parser<'t, StrInput<'t>>;

struct Builder<'p, 'a, 't> {
    file: FileId,
    events: Events<'t>,
    problems: &'p mut Problems<'a>,
    nodes: usize,
    depth: usize,
    text: &'t str,
    /// Of the event read last.
    last: Span,
}

impl<'t> Builder<'_, '_, 't> {
    fn document(&mut self) -> Result<Node, Reported> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    let help = "keep one document; a campaign is a file of its own under campaigns/";
                    self.refuse(span, "a second document in one file", help);
                    break;
                }
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                first => root = Some(self.node(first, span)?),
            }
        }
        root.ok_or_else(|| {
            let fault = Fault::new(Code::Empty, "the file is empty", "start with `version: 1`");
            self.problems.report_file(self.file, fault)
        })
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Reported> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                self.last = self.span(span.start, span.end);
                Ok((event, self.last))
            }
            Some(Err(error)) => {
                let span = self.span(*error.marker(), *error.marker());
                Err(self.syntax(span, error.info()))
            }
            None => Ok((Event::StreamEnd, Span { file: self.file, ..Span::default() })),
        }
    }

    fn syntax(&mut self, span: Span, info: &str) -> Reported {
        if info.contains("unknown anchor") {
            return self.refuse(span, "an alias (`*name`)", "write the value out");
        }
        let mut lines = self.text.lines().enumerate().skip((span.line as usize).saturating_sub(1)).take(3);
        let line = lines.clone().next().map_or("", |(_, line)| line);
        let tabbed = lines.find(|(_, line)| line.trim_start_matches(' ').starts_with('\t'));
        if let Some((index, line)) = tabbed {
            // The parser names the value before; the tab is what has to go.
            let column = line.len() - line.trim_start_matches(' ').len() + 1;
            let (line, column) = (u32::try_from(index + 1), u32::try_from(column));
            let (line, column) = (line.unwrap_or(u32::MAX), column.unwrap_or(u32::MAX));
            let span = Span { line, column, ..span }.start();
            let fault = Fault::new(Code::Syntax, "not valid YAML: a tab in the indentation", "use spaces");
            return self.problems.report(span, fault);
        }
        let help = if line.contains("${") {
            "a value with `${...}` stands on a line of its own, not inside `{...}` or `[...]`"
        } else {
            "check the indentation, brackets and quotes here and in the lines above"
        };
        self.problems.report(span, Fault::new(Code::Syntax, format!("not valid YAML: {info}"), help))
    }

    fn refuse(&mut self, span: Span, what: &str, help: &str) -> Reported {
        let message = format!("{what} is not used in these files");
        self.problems.report(span, Fault::new(Code::Feature, message, help))
    }

    fn span(&self, start: Marker, end: Marker) -> Span {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Span {
            file: self.file,
            line: count(start.line()).max(1),
            column: count(start.col()).saturating_add(1),
            end_line: count(end.line()).max(1),
            end_column: count(end.col()).saturating_add(1),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Node, Reported> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let message = format!("the file has more than {NODES_MAX} keys and values");
            return Err(self.problems.report(span, Fault::new(Code::TooBig, message, "split the campaigns")));
        }
        let kind = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                self.decorations(span, anchor, tag.is_some()).map_or_else(
                    || NodeKind::Scalar(Scalar { text: text.into_owned(), style, written: None }),
                    NodeKind::Broken,
                )
            }
            Event::SequenceStart(anchor, tag) => {
                self.decorations(span, anchor, tag.is_some());
                self.nested(span, Self::list)?
            }
            Event::MappingStart(anchor, tag) => {
                self.decorations(span, anchor, tag.is_some());
                self.nested(span, Self::map)?
            }
            _ => NodeKind::Broken(self.refuse(span, "an alias (`*name`)", "write the value out")),
        };
        Ok(Node { span, kind })
    }

    fn decorations(&mut self, span: Span, anchor: usize, tagged: bool) -> Option<Reported> {
        let anchored =
            (anchor > 0).then(|| self.refuse(span, "an anchor (`&name`)", "remove it and write values out"));
        let tagged =
            tagged.then(|| self.refuse(span, "a tag (`!name`)", "remove it; units are in the values"));
        anchored.or(tagged)
    }

    fn nested(
        &mut self,
        span: Span,
        read: impl FnOnce(&mut Self) -> Result<NodeKind, Reported>,
    ) -> Result<NodeKind, Reported> {
        if self.depth >= DEPTH_MAX {
            let message = format!("nested more than {DEPTH_MAX} levels deep");
            let fault = Fault::new(Code::TooBig, message, "nothing here needs more than six levels");
            return Err(self.problems.report(span, fault));
        }
        self.depth += 1;
        let kind = read(self);
        self.depth -= 1;
        kind
    }

    fn list(&mut self) -> Result<NodeKind, Reported> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::SequenceEnd | Event::StreamEnd => return Ok(NodeKind::List(items)),
                first => items.push(self.node(first, span)?),
            }
        }
    }

    fn map(&mut self) -> Result<NodeKind, Reported> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: BTreeMap<String, Span> = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(NodeKind::Map(entries));
            }
            let key = self.node(event, span)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            let Some(key) = self.key(key) else { continue };
            if let Some(first) = places.get(&key.text) {
                let fault = Fault::new(
                    Code::DuplicateKey,
                    format!("the key {} stands here a second time", shown(&key.text)),
                    "remove one of the two",
                );
                let end = Span { end_line: self.last.end_line, end_column: self.last.end_column, ..key.span };
                self.problems.report_repeated(key.span, fault, *first, end);
                if self.problems.keeps_last() {
                    entries.retain(|entry| entry.key.text != key.text);
                    entries.push(Entry { key, value });
                }
                continue;
            }
            places.insert(key.text.clone(), key.span);
            entries.push(Entry { key, value });
        }
    }

    /// The key as text, or nothing when it is not a word (then it has been reported).
    fn key(&mut self, node: Node) -> Option<Key> {
        let span = node.span;
        match node.kind {
            NodeKind::Scalar(scalar) if scalar.text.is_empty() || scalar.style == Style::Block => {
                self.refuse(span, "a key that is not a word", "write `key: value`");
                None
            }
            NodeKind::Scalar(scalar) => {
                Some(Key { text: scalar.text, plain: scalar.style == Style::Plain, span })
            }
            NodeKind::Broken(_) => None,
            NodeKind::List(_) | NodeKind::Map(_) => {
                let help = "write `key: value`; a value with `${...}` stands on a line of its own";
                self.refuse(span.start(), "a map or list as a key", help);
                None
            }
        }
    }
}
