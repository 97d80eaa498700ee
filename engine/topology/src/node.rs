//! The tree of one YAML file: what the walker reads. Every node knows its place; scalars keep
//! their style, because only plain ones are interpolated or taken for numbers.

use crate::problem::Reported;
use crate::source::Span;

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: NodeKind,
}

/// The kinds of values.
#[derive(Debug)]
pub(crate) enum NodeKind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something was wrong here and has been reported; readers stay silent about it.
    Broken(Reported),
}

/// One `key: value`.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) value: Node,
}

/// A key; always text.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) plain: bool,
    pub(crate) span: Span,
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Quoted,
    Block,
}

/// A scalar after interpolation.
#[derive(Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) style: Style,
    /// The text as written, when a variable took part in it. Messages show this and not the
    /// value, which may be a secret.
    pub(crate) written: Option<String>,
}

impl Scalar {
    /// Nothing at all: an empty plain scalar, `~` or `null`, that no variable made.
    pub(crate) fn is_null(&self) -> bool {
        self.style == Style::Plain
            && self.written.is_none()
            && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// A variable (with its default) gave the empty text.
    pub(crate) fn is_blanked(&self) -> bool {
        self.text.is_empty() && self.written.is_some()
    }
}

impl Node {
    /// What the node is, for "expected X, found Y".
    pub(crate) fn found(&self) -> &'static str {
        match &self.kind {
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a map",
            NodeKind::Scalar(scalar) if scalar.is_null() => "nothing",
            NodeKind::Scalar(_) | NodeKind::Broken(_) => "a single value",
        }
    }
}
