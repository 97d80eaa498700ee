//! Records as `apache-avro` reads them.

use std::sync::LazyLock;

use apache_avro::types::Value;
use apache_avro::{GenericSingleObjectReader, Schema};
use hongbao_schemas::record::RecordKind;

struct Reference {
    schema: Schema,
    reader: GenericSingleObjectReader,
}

static REFERENCES: LazyLock<Vec<Option<Reference>>> =
    LazyLock::new(|| RecordKind::ALL.into_iter().map(reference).collect());

fn reference(kind: RecordKind) -> Option<Reference> {
    let schema = Schema::parse_str(kind.avsc()).ok()?;
    // The bodies are given without their headers.
    let reader =
        GenericSingleObjectReader::builder().schema(schema.clone()).header(Vec::new()).build().ok()?;
    Some(Reference { schema, reader })
}

/// The value of a record. It may have bytes behind it, which `apache-avro` does not mind.
pub(crate) fn value(kind: RecordKind, record: &[u8]) -> Option<Value> {
    let place = RecordKind::ALL.into_iter().position(|known| known == kind)?;
    let reference = REFERENCES.get(place)?.as_ref()?;
    let mut body = record.get(10..)?;
    reference.reader.read_value(&mut body).ok().filter(|value| value.validate(&reference.schema))
}

/// What both codecs make of a record and of what we wrote after reading it must be the same.
pub(crate) fn agree(kind: RecordKind, record: &[u8], rewritten: &[u8]) {
    let theirs = value(kind, record);
    assert!(theirs.is_some(), "violation: only we read this {}", kind.name());
    assert!(value(kind, rewritten) == theirs, "violation: {} means something else", kind.name());
}
