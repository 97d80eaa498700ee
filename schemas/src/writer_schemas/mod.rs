//! Awards written with other versions of the schema. Slower than the codec of our own version by
//! far, and only for records that it refused with [`DecodeError::UnknownSchema`].

mod skim;

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use apache_avro::rabin::Rabin;
use apache_avro::schema::{Name, RecordSchema, ResolvedSchema};
use apache_avro::schema_compatibility::SchemaCompatibility;
use apache_avro::types::Value;
use apache_avro::{GenericSingleObjectReader, Schema};

use crate::award::AwardBuf;
use crate::ext::ExtBuf;
use crate::limits::AWARD_BYTES_MAX;
use crate::record::RecordKind;
use crate::wire::{self, DecodeError};

/// The schema that awards are resolved to; `None` would be a fault of the build, which a test
/// rules out.
static AWARD: LazyLock<Option<Schema>> = LazyLock::new(|| Schema::parse_str(RecordKind::Award.avsc()).ok());

/// Why a schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WriterSchemaError {
    /// Not the text of a schema.
    #[error("not an Avro schema: {0}")]
    Text(String),
    /// Records of it cannot be read as awards.
    #[error("records of this schema cannot be read as hongbao.Award: {0}")]
    Incompatible(String),
}

/// Schemas that awards may have been written with, by fingerprint.
#[derive(Default)]
pub struct WriterSchemas {
    writers: Vec<Writer>,
    /// Places in `writers`.
    by_fingerprint: BTreeMap<u64, usize>,
}

impl std::fmt::Debug for WriterSchemas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_fingerprint.keys()).finish()
    }
}

struct Writer {
    schema: Schema,
    /// The schema's named parts, for look-ups only.
    names: HashMap<Name, Schema>,
    reader: GenericSingleObjectReader,
}

impl WriterSchemas {
    /// No schema but our own, which needs none of this.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a schema, the text of an `.avsc` file, and returns its fingerprint as specified.
    ///
    /// # Errors
    /// [`WriterSchemaError`]: not a schema, or one whose records are no awards: a field without
    /// default is missing, or a type does not fit.
    pub fn add(&mut self, avsc: &str) -> Result<u64, WriterSchemaError> {
        let text = |error: &dyn std::fmt::Display| WriterSchemaError::Text(error.to_string());
        let schema = Schema::parse_str(avsc).map_err(|error| text(&error))?;
        check(&schema)?;
        let fingerprints = fingerprints(avsc).ok_or_else(|| text(&"no fingerprint"))?;
        let reader = GenericSingleObjectReader::builder()
            .schema(schema.clone())
            .header(Vec::new()) // it gets the body alone
            .build()
            .map_err(|error| text(&error))?;
        let resolved = ResolvedSchema::new(&schema).map_err(|error| text(&error))?;
        let names = resolved.get_names().iter().map(|(name, part)| (name.clone(), (*part).clone())).collect();
        for fingerprint in fingerprints {
            self.by_fingerprint.insert(fingerprint, self.writers.len());
        }
        self.writers.push(Writer { schema, names, reader });
        Ok(fingerprints[0])
    }

    /// Appends to `out` the award in `record` as a record of our own schema. The same record gives
    /// the same bytes (I4): pairs of `ext` come by ascending key.
    ///
    /// # Errors
    /// [`DecodeError`], and `out` is as before; [`DecodeError::UnknownSchema`] when the schema was
    /// not added. Memory stays within a small multiple of the record's size.
    pub fn resolve(&self, record: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let (fingerprint, mut body) = wire::open(record)?;
        let place = self.by_fingerprint.get(&fingerprint).ok_or(DecodeError::UnknownSchema)?;
        let writer = self.writers.get(*place).ok_or(DecodeError::UnknownSchema)?;
        if record.len() > AWARD_BYTES_MAX {
            return Err(DecodeError::Undecodable);
        }
        // The general reader takes missing bytes for nulls and allocates what lengths promise.
        let mut bytes = body.rest();
        skim::skim(&writer.schema, &writer.names, &mut body)?;
        body.finish()?;
        let value = writer.reader.read_value(&mut bytes).map_err(|_| DecodeError::Undecodable)?;
        let award = resolve_value(value).ok_or(DecodeError::Undecodable)?;
        if award.as_award().encoded_bytes_max() > AWARD_BYTES_MAX {
            return Err(DecodeError::Undecodable);
        }
        award.as_award().encode(out);
        Ok(())
    }
}

/// The CRC-64-AVRO of a schema, as specified and as `apache-avro` for Rust computes it: the two
/// differ when the schema has logical types, and writers of both kinds exist.
pub(crate) fn fingerprints(avsc: &str) -> Option<[u64; 2]> {
    let mut json: serde_json::Value = serde_json::from_str(avsc).ok()?;
    let by_rust = Schema::parse(&json).ok()?;
    strip_logical_types(&mut json);
    let specified = Schema::parse(&json).ok()?;
    let number = |schema: &Schema| schema.fingerprint::<Rabin>().bytes.try_into().map(u64::from_le_bytes);
    Some([number(&specified).ok()?, number(&by_rust).ok()?])
}

fn strip_logical_types(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Object(members) => {
            members.remove("logicalType");
            members.values_mut().for_each(strip_logical_types);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(strip_logical_types),
        _ => (),
    }
}

/// Whether records of this schema can be read as awards.
pub(crate) fn check(writer: &Schema) -> Result<(), WriterSchemaError> {
    let misfit = |error: &dyn std::fmt::Display| WriterSchemaError::Incompatible(error.to_string());
    let own = AWARD.as_ref().ok_or_else(|| misfit(&"our own schema is broken"))?;
    SchemaCompatibility::can_read(writer, own).map_err(|error| misfit(&error))?;
    let Schema::Record(RecordSchema { fields, .. }) = writer else {
        return Err(misfit(&"not a record"));
    };
    // A time in another unit would be read as wrong by a factor of a thousand or more.
    match fields.iter().find(|field| field.name == "event_time").map(|field| &field.schema) {
        Some(Schema::Long | Schema::TimestampMillis) => Ok(()),
        _ => Err(misfit(&"event_time is not in milliseconds")),
    }
}

/// The award that a value of a checked schema is; `None` when a value does not fit after all.
pub(crate) fn resolve_value(value: Value) -> Option<AwardBuf> {
    let names: HashMap<Name, Schema> = HashMap::new();
    let Value::Record(fields) = value.resolve_with_names(AWARD.as_ref()?, &names).ok()? else {
        return None;
    };
    let mut fields: BTreeMap<String, Value> = fields.into_iter().collect();
    let mut text = |name: &str| match fields.remove(name)? {
        Value::String(text) => Some(text),
        _ => None,
    };
    let (order_no, act_id, activity_id) = (text("order_no")?, text("act_id")?, text("activity_id")?);
    let (scene_id, reward_type) = (text("scene_id")?, text("reward_type")?);
    let (reward_id, app) = (text("reward_id")?, text("app")?);
    let Some(Value::Long(amount_minor)) = fields.remove("amount_minor") else {
        return None;
    };
    let Some(Value::TimestampMillis(event_time_ms)) = fields.remove("event_time") else {
        return None;
    };
    let Some(Value::Map(pairs)) = fields.remove("ext") else {
        return None;
    };
    let text = |(key, value)| match value {
        Value::String(value) => Some((key, value)),
        _ => None,
    };
    let pairs: BTreeMap<String, String> = pairs.into_iter().map(text).collect::<Option<_>>()?;
    Some(AwardBuf {
        order_no,
        act_id,
        activity_id,
        scene_id,
        reward_type,
        reward_id,
        amount_minor,
        event_time_ms,
        app,
        ext: ExtBuf::from_map(&pairs),
    })
}
