//! Awards written with other schemas, and container files.

use std::sync::LazyLock;

use hongbao_schemas::award::{Award, AwardBuf};
use hongbao_schemas::container;
use hongbao_schemas::record::RecordKind;
use hongbao_schemas::writer_schemas::WriterSchemas;

use crate::meter::{Bound, bounded};

/// Values of the general reader: a byte of input can be an item of an array or a pair of a map.
const VALUES: Bound = Bound { factor: 512, base: 256 << 10 };
/// The general reader reserves what a file says that follows, up to 64 MiB at a time, which a table
/// rounds up.
const CONTAINER: Bound = Bound { factor: 512, base: 256 << 20 };

struct Foreign {
    schemas: WriterSchemas,
    /// Their fingerprints, in the order of the first byte of an input.
    fingerprints: Vec<u64>,
}

static FOREIGN: LazyLock<Foreign> = LazyLock::new(foreign);

/// Schemas with a field less, a field of every shape more, and a nullable one.
fn foreign() -> Foreign {
    let own = RecordKind::Award.avsc();
    let more = r#"{"name":"tags","type":{"type":"array","items":["null","string",{"type":"map","values":"bytes"}]}},
        {"name":"tree","type":["null",{"type":"record","name":"Tree","fields":[
            {"name":"left","type":["null","Tree"]},{"name":"right","type":["null","Tree"]},
            {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"]}},
            {"name":"sum","type":{"type":"fixed","name":"Sum","size":4}}]}]},
        {"name":"weight","type":"double"},{"name":"count","type":"int"},{"name":"nothings","type":{"type":"array","items":"null"}},"#;
    let mut found = Foreign { schemas: WriterSchemas::new(), fingerprints: Vec::new() };
    let first_field =
        own.find("\"fields\"").and_then(|at| own.get(at..)?.find('[').map(|more| at + more + 1));
    let Some((head, tail)) = first_field.and_then(|at| own.split_at_checked(at)) else { return found };
    let renamed = own.replace("timestamp-millis", "long");
    for text in [format!("{head}{more}{tail}"), renamed] {
        found.fingerprints.extend(found.schemas.add(&text));
    }
    found
}

/// First byte: which schema. Then the body.
pub(crate) fn record(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    let known = &FOREIGN.fingerprints;
    assert!(!known.is_empty(), "violation: no foreign schema");
    let fingerprint = known[usize::from(*which) % known.len()];
    let mut record = vec![0xC3, 0x01];
    record.extend_from_slice(&fingerprint.to_le_bytes());
    record.extend_from_slice(body);
    let mut out = Vec::new();
    let resolved = bounded(VALUES, bytes.len(), || FOREIGN.schemas.resolve(&record, &mut out));
    if resolved.is_err() {
        assert!(out.is_empty(), "violation: something was written all the same");
        return;
    }
    let Ok(award) = Award::decode(&out) else { panic!("violation: what was resolved cannot be read") };
    let mut again = Vec::new();
    award.encode(&mut again);
    assert!(again == out, "violation: written in two ways");
    let mut twice = Vec::new();
    assert!(FOREIGN.schemas.resolve(&record, &mut twice).is_ok() && twice == out, "violation: I4");
}

pub(crate) fn container(bytes: &[u8]) {
    let awards: Vec<AwardBuf> = bounded(CONTAINER, bytes.len(), || match container::read(bytes) {
        Ok(awards) => awards.take(1_000).filter_map(Result::ok).collect(),
        Err(_) => Vec::new(),
    });
    for award in &awards {
        let mut record = Vec::new();
        award.as_award().encode(&mut record);
        assert!(Award::decode(&record) == Ok(award.as_award()), "violation: cannot be read again");
    }
}
