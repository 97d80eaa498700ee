//! Walks over a body by its schema: the bytes are there, lengths are true, and nothing is nested
//! too deeply. What comes through can be given to a reader that trusts its input.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, Name, NamespaceRef, RecordSchema, UuidSchema};

use crate::limits::WRITER_DEPTH_MAX;
use crate::wire::{DecodeError, Reader};

/// The named parts of a schema.
type Names = HashMap<Name, Schema>;

/// Moves `body` behind one value of `schema`.
pub(super) fn skim(schema: &Schema, names: &Names, body: &mut Reader<'_>) -> Result<(), DecodeError> {
    skim_value(Place { schema, namespace: None, depth: 0 }, names, body)
}

/// A schema within a schema.
#[derive(Clone, Copy)]
struct Place<'s> {
    schema: &'s Schema,
    namespace: NamespaceRef<'s>,
    depth: usize,
}

impl<'s> Place<'s> {
    fn down(self, schema: &'s Schema) -> Self {
        Self { schema, depth: self.depth + 1, ..self }
    }
}

fn skim_value(place: Place<'_>, names: &Names, body: &mut Reader<'_>) -> Result<(), DecodeError> {
    if place.depth > WRITER_DEPTH_MAX {
        return Err(DecodeError::Undecodable);
    }
    match place.schema {
        Schema::Null => Ok(()),
        Schema::Boolean => below(i64::from(body.fixed::<1>()?[0]), 2),
        Schema::Int | Schema::Date | Schema::TimeMillis => {
            i32::try_from(body.long()?).map(drop).map_err(|_| DecodeError::Undecodable)
        }
        Schema::Long
        | Schema::TimeMicros
        | Schema::TimestampMillis
        | Schema::TimestampMicros
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => body.long().map(drop),
        Schema::Float => body.take(4).map(drop),
        Schema::Double => body.take(8).map(drop),
        Schema::Bytes
        | Schema::BigDecimal
        | Schema::Uuid(UuidSchema::Bytes)
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Bytes, .. }) => body.bytes().map(drop),
        Schema::String | Schema::Uuid(UuidSchema::String) => body.str().map(drop),
        Schema::Fixed(fixed)
        | Schema::Duration(fixed)
        | Schema::Uuid(UuidSchema::Fixed(fixed))
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. }) => {
            body.take(fixed.size).map(drop)
        }
        Schema::Enum(symbols) => below(body.long()?, symbols.symbols.len()),
        Schema::Array(_) | Schema::Map(_) | Schema::Union(_) | Schema::Record(_) | Schema::Ref { .. } => {
            skim_nested(place, names, body)
        }
    }
}

fn skim_nested(place: Place<'_>, names: &Names, body: &mut Reader<'_>) -> Result<(), DecodeError> {
    match place.schema {
        Schema::Array(array) => {
            // Items may take no byte at all; still there are not more of them than bytes.
            let mut items_left = body.rest().len();
            body.blocks(|body| {
                items_left = items_left.checked_sub(1).ok_or(DecodeError::Undecodable)?;
                skim_value(place.down(&array.items), names, body)
            })
            .map(drop)
        }
        Schema::Map(map) => body
            .blocks(|body| {
                body.str()?;
                skim_value(place.down(&map.types), names, body)
            })
            .map(drop),
        Schema::Union(union) => {
            let index = usize::try_from(body.long()?).map_err(|_| DecodeError::Undecodable)?;
            let variant = union.variants().get(index).ok_or(DecodeError::Undecodable)?;
            skim_value(place.down(variant), names, body)
        }
        Schema::Record(RecordSchema { name, fields, .. }) => {
            let namespace = name.namespace().or(place.namespace);
            fields.iter().try_for_each(|field| {
                skim_value(Place { namespace, ..place.down(&field.schema) }, names, body)
            })
        }
        Schema::Ref { name } => {
            let name = name.fully_qualified_name(place.namespace);
            let schema = names.get(name.as_ref()).ok_or(DecodeError::Undecodable)?;
            skim_value(Place { namespace: name.namespace(), ..place.down(schema) }, names, body)
        }
        _ => Ok(()),
    }
}

fn below(value: i64, limit: usize) -> Result<(), DecodeError> {
    match usize::try_from(value) {
        Ok(value) if value < limit => Ok(()),
        _ => Err(DecodeError::Undecodable),
    }
}
