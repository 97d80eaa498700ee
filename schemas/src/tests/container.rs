//! Awards in container files.

use apache_avro::Writer;

use super::*;
use crate::container::{ContainerError, read};
use crate::limits::AWARD_BYTES_MAX;

/// A container file of these values.
fn file(avsc: &str, values: Vec<Value>) -> Vec<u8> {
    let schema = Schema::parse_str(avsc).unwrap();
    let mut writer = Writer::new(&schema, Vec::new()).unwrap();
    for value in values {
        writer.append_value(value).unwrap();
    }
    writer.into_inner().unwrap()
}

fn value(award: &AwardBuf) -> Value {
    let ext = award.ext.as_ext().iter().map(|(key, value)| (key.to_owned(), text_value(value))).collect();
    let fields = award_fields(&award.as_award(), Value::Map(ext));
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[test]
fn reads_what_was_written() {
    let awards: Vec<AwardBuf> =
        (1..=2000).map(|amount_minor| AwardBuf { amount_minor, ..sample_award() }).collect();
    let bytes = file(RecordKind::Award.avsc(), awards.iter().map(value).collect());
    let found: Result<Vec<_>, _> = read(bytes.as_slice()).unwrap().collect();
    assert_eq!(found.unwrap(), awards);
    assert_eq!(read(file(RecordKind::Award.avsc(), vec![]).as_slice()).unwrap().count(), 0);
}

#[test]
fn tells_bad_records_from_bad_files() {
    let optional_app = RecordKind::Award.avsc().replace(
        r#""name": "app", "type": "string", "default": """#,
        r#""name": "app", "type": ["null", "string"]"#,
    );
    assert_ne!(optional_app, RecordKind::Award.avsc());
    let with_app = |app: Option<&str>| {
        let Value::Record(mut fields) = value(&sample_award()) else { panic!("not a record") };
        for (name, value) in &mut fields {
            if name == "app" {
                *value = match app {
                    Some(app) => Value::Union(1, Box::new(text_value(app))),
                    None => Value::Union(0, Box::new(Value::Null)),
                };
            }
        }
        Value::Record(fields)
    };
    let large = "x".repeat(AWARD_BYTES_MAX);
    let values = vec![with_app(Some("douyin")), with_app(None), with_app(Some(&large)), with_app(Some("a"))];
    let found: Vec<_> = read(file(&optional_app, values).as_slice()).unwrap().collect();
    assert!(matches!(
        found.as_slice(),
        [Ok(_), Err(ContainerError::Misfit), Err(ContainerError::TooLarge), Ok(_)]
    ));

    let whole = file(RecordKind::Award.avsc(), vec![value(&sample_award())]);
    let found: Vec<_> = read(&whole[..whole.len() - 20]).unwrap().collect();
    assert!(matches!(found.as_slice(), [Err(ContainerError::Damaged(_))]), "{found:?}");
    for bytes in [b"".as_slice(), b"{}", &whole[..100]] {
        assert!(matches!(read(bytes).map(drop), Err(ContainerError::Damaged(_))));
    }
    let orders = file(RecordKind::Order.avsc(), vec![]);
    assert!(matches!(read(orders.as_slice()).map(drop), Err(ContainerError::Schema(_))));
}
