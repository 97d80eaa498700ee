//! `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and the escape `$${`, in plain scalars that
//! are values. It runs on the parsed tree, so a value never changes the structure of a file, and
//! what a variable holds is not looked at again.

use crate::node::{Node, NodeKind, Scalar, Style};
use crate::problem::{Code, Fault, Problems, shown};
use crate::source::Span;

/// Where variables come from: the process environment in the binary, a closure in tests.
/// `None` means not set.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The longest value that a variable may give, in bytes.
pub const VARIABLE_BYTES_MAX: usize = 16 * 1024;

/// Interpolates a tree in place; a scalar that cannot be completed is reported and broken.
pub(crate) fn interpolate(node: &mut Node, lookup: &Lookup<'_>, problems: &mut Problems<'_>) {
    match &mut node.kind {
        NodeKind::Broken(_) => {}
        NodeKind::List(items) => items.iter_mut().for_each(|item| interpolate(item, lookup, problems)),
        NodeKind::Map(entries) => {
            for entry in entries {
                check_key(&entry.key.text, entry.key.span, problems);
                interpolate(&mut entry.value, lookup, problems);
            }
        }
        NodeKind::Scalar(scalar) if scalar.text.contains("${") => match expand_scalar(scalar, lookup) {
            Ok((text, used)) => {
                let written = std::mem::replace(&mut scalar.text, text);
                scalar.written = used.then_some(written);
            }
            Err(fault) => node.kind = NodeKind::Broken(problems.report(node.span, fault)),
        },
        NodeKind::Scalar(_) => {}
    }
}

fn check_key(key: &str, span: Span, problems: &mut Problems<'_>) {
    if key.contains("${") {
        let message = format!("the key {} holds a variable", shown(key));
        let help = "variables are for values only; write the key out";
        problems.report(span, Fault::new(Code::VariableInKey, message, help));
    }
}

/// The text of a scalar and whether a variable took part in it.
fn expand_scalar(scalar: &Scalar, lookup: &Lookup<'_>) -> Result<(String, bool), Fault> {
    let plain = scalar.style == Style::Plain;
    let mut out = String::new();
    let mut used = false;
    let mut rest = scalar.text.as_str();
    while let Some(at) = rest.find("${") {
        let (before, tail) = rest.split_at(at);
        let tail = tail.strip_prefix("${").unwrap_or(tail);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = tail;
            continue;
        }
        out.push_str(before);
        let Some((inside, after)) = tail.split_once('}') else {
            return Err(unclosed(plain));
        };
        if !plain {
            return Err(quoted(scalar.style, inside));
        }
        out.push_str(&variable(inside, lookup)?);
        used = true;
        rest = after;
    }
    out.push_str(rest);
    Ok((out, used))
}

fn unclosed(plain: bool) -> Fault {
    let help = if plain { "close it: `${NAME}`, or write `$${` for a literal `${`" } else { "write `$${`" };
    Fault::new(Code::Interpolation, "`${` without a closing `}`", help)
}

fn quoted(style: Style, inside: &str) -> Fault {
    let (how, help) = match style {
        Style::Block => ("stands in a block of text", "write the value on one line without `|` or `>`"),
        _ => ("is quoted", "remove the quotes"),
    };
    let variable = shown(&format!("${{{inside}}}"));
    let escaped = shown(&format!("$${{{inside}}}"));
    let message = format!("{variable} {how}, so it is not expanded");
    Fault::new(Code::QuotedVariable, message, format!("{help}, or write {escaped} for the literal text"))
}

/// The value of what stands between `${` and `}`.
fn variable(inside: &str, lookup: &Lookup<'_>) -> Result<String, Fault> {
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    let (name, form) = inside.split_at(end);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let known_form = form.is_empty() || form.starts_with(":-") || form.starts_with(":?");
    if !starts_well || !known_form || form.contains("${") {
        let message = format!("{} is not a variable", shown(&format!("${{{inside}}}")));
        let help = "the forms are `${NAME}`, `${NAME:-default}` and `${NAME:?message}`, not nested; \
                    `$${` is a literal `${`";
        return Err(Fault::new(Code::Interpolation, message, help));
    }
    let value = lookup(name);
    if value.as_ref().is_some_and(|value| value.len() > VARIABLE_BYTES_MAX) {
        let message = format!("the value of `{name}` is longer than {VARIABLE_BYTES_MAX} bytes");
        return Err(Fault::new(Code::TooBig, message, "is it the right variable?"));
    }
    if let Some(default) = form.strip_prefix(":-") {
        return Ok(value.filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned()));
    }
    let required = form.strip_prefix(":?");
    let state = if value.is_some() { "empty" } else { "not set" };
    match value {
        Some(value) if required.is_none() || !value.is_empty() => Ok(value),
        _ => Err(unset(name, state, required.unwrap_or(""))),
    }
}

fn unset(name: &str, state: &str, wanted: &str) -> Fault {
    let mut message = format!("the variable `{name}` is {state}");
    if !wanted.is_empty() {
        message.push_str(": ");
        message.push_str(shown(wanted).trim_matches('`'));
    }
    Fault::new(Code::Unset, message, format!("set `{name}`, or give a default: `${{{name}:-...}}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(style: Style, text: &str) -> Result<String, (&'static str, String)> {
        let lookup = |name: &str| match name {
            "HOST" => Some("db".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("a: [${HOST}] # \"x\"\n".to_owned()),
            "_u9" => Some("u".to_owned()),
            "LONG" => Some("x".repeat(VARIABLE_BYTES_MAX + 1)),
            _ => None,
        };
        let scalar = Scalar { text: text.to_owned(), style, written: None };
        expand_scalar(&scalar, &lookup)
            .map(|(text, _)| text)
            .map_err(|fault| (fault.code.as_str(), fault.message))
    }

    #[test]
    fn values_of_plain_scalars() {
        let cases = [
            ("x", "x"),
            ("${HOST}", "db"),
            ("http://${HOST}:${PORT:-80}/", "http://db:80/"),
            ("${HOST:-other}", "db"),
            ("${EMPTY}", ""),
            ("${EMPTY:-full}", "full"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b?c}", "a:-b?c"),
            ("${NONE:-1 2}", "1 2"),
            ("${_u9}", "u"),
            ("${HOST:?message}", "db"),
            ("$${HOST}", "${HOST}"),
            ("$$${HOST}", "$${HOST}"),
            ("$${HOST}${HOST}", "${HOST}db"),
            ("$HOST $ $$ }", "$HOST $ $$ }"),
            ("${TRICKY}", "a: [${HOST}] # \"x\"\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(Style::Plain, text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn faults_of_plain_scalars() {
        let cases = [
            ("${NONE}", "E0105", "the variable `NONE` is not set"),
            ("${NONE:?the broker list}", "E0105", "the variable `NONE` is not set: the broker list"),
            ("${EMPTY:?the broker list}", "E0105", "the variable `EMPTY` is empty: the broker list"),
            ("${NONE:?}", "E0105", "the variable `NONE` is not set"),
            ("${", "E0106", "`${` without a closing `}`"),
            ("a${HOST", "E0106", "`${` without a closing `}`"),
            ("${}", "E0106", "`${}` is not a variable"),
            ("${9A}", "E0106", "`${9A}` is not a variable"),
            ("${A B}", "E0106", "`${A B}` is not a variable"),
            ("${A-x}", "E0106", "`${A-x}` is not a variable"),
            ("${A?x}", "E0106", "`${A?x}` is not a variable"),
            ("${A:+x}", "E0106", "`${A:+x}` is not a variable"),
            ("${A:x}", "E0106", "`${A:x}` is not a variable"),
            ("${红}", "E0106", "`${红}` is not a variable"),
            ("${A:-${HOST}}", "E0106", "`${A:-${HOST}` is not a variable"),
            ("${LONG}", "E0104", "the value of `LONG` is longer than 16384 bytes"),
        ];
        for (text, code, message) in cases {
            assert_eq!(expand(Style::Plain, text), Err((code, message.to_owned())), "{text}");
        }
    }

    #[test]
    fn quoted_and_block_text_is_not_expanded() {
        let message = "`${HOST}` is quoted, so it is not expanded".to_owned();
        assert_eq!(expand(Style::Quoted, "a ${HOST}"), Err(("E0107", message)));
        let message = "`${HOST}` stands in a block of text, so it is not expanded".to_owned();
        assert_eq!(expand(Style::Block, "${HOST}\n"), Err(("E0107", message)));
        assert_eq!(expand(Style::Quoted, "$${HOST}").as_deref(), Ok("${HOST}"));
        assert_eq!(expand(Style::Quoted, "${HOST"), Err(("E0106", "`${` without a closing `}`".to_owned())));
        assert_eq!(expand(Style::Quoted, "$HOST").as_deref(), Ok("$HOST"));
    }
}
