//! The part of YAML that cases are written in, as JSON values: maps, lists, texts, whole numbers.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Value};

/// The one document of a text.
pub fn parse(text: &str) -> Value {
    let mut parser = Parser::new_from_str(text);
    let mut root = None;
    while let Some(event) = parser.next_event() {
        match event.unwrap_or_else(|error| panic!("{error}:\n{text}")).0 {
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
            first => assert!(root.replace(value(first, &mut parser)).is_none(), "two documents:\n{text}"),
        }
    }
    root.unwrap()
}

fn next<'t>(parser: &mut Parser<'t, StrInput<'t>>) -> Event<'t> {
    parser.next_event().unwrap().unwrap().0
}

fn value<'t>(event: Event<'t>, parser: &mut Parser<'t, StrInput<'t>>) -> Value {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) => {
            text.parse::<i64>().map_or_else(|_| Value::from(&*text), Value::from)
        }
        Event::Scalar(text, ..) => Value::from(&*text),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match next(parser) {
                    Event::SequenceEnd => return Value::Array(items),
                    first => items.push(value(first, parser)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut entries = Map::new();
            loop {
                let key = match next(parser) {
                    Event::MappingEnd => return Value::Object(entries),
                    Event::Scalar(key, ..) => key.into_owned(),
                    other => panic!("not a key: {other:?}"),
                };
                let first = next(parser);
                let value = value(first, parser);
                assert!(entries.insert(key.clone(), value).is_none(), "{key} is there twice");
            }
        }
        other => panic!("not used in cases: {other:?}"),
    }
}
